//! `run -- CMD…`: a command line as an action of the built-in `Exec` function.

mod describe;
mod result;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::describe::{Described, describe};
use self::result::Job;
use super::away::{self, Away};
use super::queue::InQueue;
use super::submit::submit_with_inputs;
use super::{Global, exit::Code, output, workers};
use crate::client::{Client, Error, QueueRef, SubmitOptions, Submitted, jobs_path};
use crate::domain::Lsn;

#[derive(Args, Debug)]
#[command(
    after_help = "Arguments that name files below this directory are inputs by themselves. A second \
    identical run is answered from the first one's result; --fresh runs it again.\n\n\
    Exits with the command's own code, 128 + N when signal N ended it; 125 when the service failed, \
    126 when the command can't be started, 127 when there is none.\n\n\
    Examples:\n  ledgerun run -- wc -l README.md\n  \
    ledgerun run --input src --output 'out/**' -- sh -c 'mkdir out && cc -o out/main src/*.c'"
)]
pub(super) struct RunCommand {
    /// File or directory below this directory that the command reads
    #[arg(long, short, value_name = "PATH")]
    input: Vec<PathBuf>,
    /// Files the command writes, as a glob such as `out/**`; they are fetched back here
    #[arg(long, short, value_name = "GLOB")]
    output: Vec<String>,
    /// Variable of the command's environment, which is otherwise empty but for PATH
    #[arg(long, short, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// File that becomes the command's standard input; `-` takes this program's
    #[arg(long, value_name = "FILE")]
    stdin: Option<PathBuf>,
    /// Directory, among the inputs, to run in
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// Don't take arguments that name files for inputs
    #[arg(long)]
    no_auto_inputs: bool,
    /// Larger is sooner [default: 2]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// Run it even when its result is held
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    within: InQueue,
    /// The command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    command: Vec<String>,
}

/// Ends with the command's exit code; this program's own failures have codes of their own.
pub(super) async fn run(global: &Global, command: RunCommand) -> Code {
    match attempt(global, &command).await {
        Ok(code) => code,
        Err(wrong) => {
            output::complain(&format!("{wrong:#}"));
            Code::Service
        }
    }
}

async fn attempt(global: &Global, command: &RunCommand) -> anyhow::Result<Code> {
    let client = global.client()?;
    let described = describe(command)?;
    let queue = command.within.queue;
    let options =
        SubmitOptions { worker: None, priority: command.priority, fresh: command.fresh, queue };
    let submitted = submit(&client, &described, options).await?;
    // From here on there is something to cancel.
    let mut interrupts = Interrupts::new()?;
    let job = tokio::select! {
        job = wait(&client, queue, submitted.lsn) => job?,
        number = interrupts.next() => {
            let path = format!("{}/{}/cancel", jobs_path(queue), submitted.lsn);
            let request = client.request(reqwest::Method::POST, &path);
            client.send(request).await.context("interrupted, but the job could not be cancelled")?;
            output::complain(&format!("interrupted; job {} is cancelled", submitted.lsn));
            return Ok(Code::Child(128 + number));
        }
    };
    let Some(result) = job.result.filter(|_| job.state == "completed") else {
        let reason = job.error.map(|reason| format!(": {reason}")).unwrap_or_default();
        let lsn = submitted.lsn;
        bail!("job {lsn} was {}{reason}; `ledgerun jobs show {lsn}` has the details", job.state);
    };
    tokio::select! {
        fetched = result.fetch(global, &client, &submitted) => match fetched {
            Err(wrong) if wrong.is::<output::ReaderGone>() => {}
            other => other?,
        },
        number = interrupts.next() => return Ok(Code::Child(128 + number)),
    }
    Ok(result.code())
}

/// Signals that end this program.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The number of the one that came.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 2,
            _ = self.terminate.recv() => 15,
        }
    }
}

/// Submits; registers the built-in worker first where the service doesn't know it.
async fn submit(
    client: &Client,
    described: &Described,
    options: SubmitOptions,
) -> anyhow::Result<Submitted> {
    let Described { action, inputs, .. } = described;
    let refused = match submit_with_inputs(client, action, options, inputs).await {
        Ok(submitted) => return Ok(submitted),
        Err(refused) => refused,
    };
    if refused.downcast_ref::<Error>().and_then(Error::code) != Some("no_worker") {
        return Err(refused);
    }
    workers::add_builtin(client).await.context("cannot register the built-in worker")?;
    submit_with_inputs(client, action, options, inputs).await
}

/// Waits for the job's end and says how it ended. A service that restarts meanwhile still has the
/// job, so this waits for it to come back.
async fn wait(client: &Client, queue: Option<QueueRef>, job: Lsn) -> Result<Job, Error> {
    let mut since = Lsn(job.0.saturating_sub(1));
    let mut away = Away::default();
    loop {
        match look(client, queue, job, &mut since).await {
            Ok(Some(job)) => return Ok(job),
            Ok(None) => away.back(),
            Err(wrong) => away.bear(wrong, output::complain).await?,
        }
    }
}

/// Reads the completed feed, which is woken by every end. A job ends after it was submitted, so the
/// feed is read from there; one answered from a held result ends with its submission.
async fn look(
    client: &Client,
    queue: Option<QueueRef>,
    job: Lsn,
    since: &mut Lsn,
) -> Result<Option<Job>, Error> {
    let page = client.completed_in(queue, *since, 1_000, Duration::from_mins(1)).await?;
    if page.completed.iter().any(|ended| ended.lsn == job) {
        return client.get(&format!("{}/{job}", jobs_path(queue))).await.map(Some);
    }
    *since = page.next;
    if page.completed.is_empty() {
        // The service waits before it says so, except while it stops.
        tokio::time::sleep(away::STEP).await;
    }
    Ok(None)
}
