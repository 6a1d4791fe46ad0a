//! The command line: one file per subcommand.
//!
//! stdout carries data, stderr everything else. `--json` on every command that reads. Exit codes
//! are in [`exit`].

mod allocator;
mod away;
mod backup;
mod check;
mod completed;
mod demo;
mod exec;
pub mod exit;
mod files;
mod jobs;
mod log;
mod output;
mod progress;
mod queue;
mod record;
mod replay;
mod restore;
mod run;
mod serve;
mod settings;
mod submit;
mod watch;
mod workers;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::{Args, Parser, Subcommand};

use crate::client::Client;
use crate::config;
use crate::domain::Lsn;
use crate::runner::supervisor;
use crate::telemetry;

/// Event-sourced compute service: submit pure actions over HTTP, run them as local processes, lose
/// nothing that was acknowledged.
#[derive(Parser, Debug)]
#[command(name = "ledgerun", version, arg_required_else_help = true, max_term_width = 100)]
#[command(
    after_help = "Start with `ledgerun demo`: it needs nothing else and shows the whole of it.\n\n\
    Exit codes: 0 done, 1 the job or the check failed, 2 usage or configuration, 3 the service can't \
    be reached, 4 data directory in use, 5 data damaged or too new, 6 storage failed. `run` passes on \
    the command's own.\n\n\
    Examples:\n  ledgerun serve --data-dir ./data\n  ledgerun run -- wc -l README.md"
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Where help lists the options of every command.
const COMMON: &str = "Options of every command";

/// Options of every command.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// The service that client commands talk to
    #[arg(
        long,
        global = true,
        env = "LEDGERUN_HOST",
        value_name = "URL",
        hide_env = true,
        default_value = "http://127.0.0.1:8558",
        help_heading = COMMON
    )]
    host: String,
    /// File with the access token to show the service [default: the token in `LEDGERUN_TOKEN`]
    #[arg(long, global = true, value_name = "FILE", help_heading = COMMON)]
    token_file: Option<PathBuf>,
    /// Print JSON for scripts instead of text for people
    #[arg(long, global = true, help_heading = COMMON)]
    json: bool,
    #[command(flatten)]
    log: config::LogArgs,
}

/// When a command that reads is about.
#[derive(Args, Clone, Copy, Debug)]
struct At {
    /// As it was when this LSN was the newest
    #[arg(long, value_name = "LSN")]
    at: Option<Lsn>,
}

impl Global {
    fn client(&self) -> anyhow::Result<Client> {
        let token = config::token(self.token_file.as_deref())?;
        Ok(Client::new(&self.host)?.with_token(token))
    }
}

#[derive(Subcommand, Debug)]
enum Command {
    /// See it work: compile shaders, crash half-way, lose nothing
    Demo(demo::DemoCommand),
    /// Run the service
    Serve(Box<ServeCommand>),
    /// Register and list workers
    #[command(
        subcommand,
        after_help = "Examples:\n  ledgerun worker add --builtin\n  ledgerun worker list"
    )]
    Worker(workers::WorkerCommand),
    /// Submit actions written as JSON
    Submit(submit::SubmitCommand),
    /// Run a command line as an action: inputs up, outputs back, exit code passed on
    Run(run::RunCommand),
    /// List, show and change jobs
    #[command(
        after_help = "Examples:\n  ledgerun jobs list --state running\n  ledgerun jobs explain 1207"
    )]
    Jobs(jobs::JobsArgs),
    /// Make, watch and end groups of jobs
    #[command(
        subcommand,
        after_help = "Examples:\n  ledgerun queue create --name nightly\n  ledgerun queue wait 3"
    )]
    Queue(queue::QueueCommand),
    /// List jobs that ended, each exactly once
    Completed(completed::CompletedCommand),
    /// Make recordings and carry them elsewhere
    #[command(
        subcommand,
        after_help = "Examples:\n  ledgerun record start --name nightly\n  ledgerun record export 12"
    )]
    Record(record::RecordCommand),
    /// Run recordings again and compare
    #[command(
        subcommand,
        after_help = "Examples:\n  ledgerun replay start 12 --wait\n  ledgerun replay show 40"
    )]
    Replay(replay::ReplayCommand),
    /// Run a recording or a folder of actions, wherever there is a service, and compare
    Exec(Box<exec::ExecCommand>),
    /// Read the event log
    #[command(
        subcommand,
        after_help = "Examples:\n  ledgerun log dump --to 20\n  ledgerun log dump --follow"
    )]
    Log(log::LogCommand),
    /// Look for damage in a data directory or a running service
    Check(check::CheckCommand),
    /// Copy the log and the chunks into a folder, or add to it what is new, while the service goes on
    Backup(backup::BackupCommand),
    /// Make a data directory of a backup
    Restore(restore::RestoreCommand),
}

#[derive(Args, Debug)]
#[command(after_help = "Every option can also be set by LEDGERUN_<OPTION> or by its name in the \
    configuration file;\nthe command line wins over the environment, and that over the file.\n\n\
    Examples:\n  ledgerun serve --data-dir ./data\n  \
    ledgerun serve --listen 127.0.0.1:0 --slots 4 --config ledgerun.toml")]
struct ServeCommand {
    /// TOML file with any of the options below
    #[arg(long, env = "LEDGERUN_CONFIG", value_name = "FILE", hide_env = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    args: config::ServeArgs,
}

/// The program, from the arguments it was started with to its exit code.
pub fn main() -> ExitCode {
    // Before anything else is set up: the supervisor has to stay small, and a worker is started by
    // the worker protocol, not by this command line.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == supervisor::SUBCOMMAND) {
        return supervisor::main();
    }
    if let Some(code) = crate::worker::builtin::main_if_worker(std::env::args_os()) {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(wrong) => {
            // Help and version are data and go to stdout; clap knows which is which.
            let _ = wrong.print();
            return exit::Code::from_clap(&wrong).into();
        }
    };
    match dispatch(cli) {
        Ok(code) => code.into(),
        Err(wrong) => {
            let code = exit::Code::of(&wrong);
            // Whoever doesn't read any more wants no explanation.
            if !wrong.is::<output::ReaderGone>() {
                output::complain(&format!("{wrong:#}"));
            }
            code.into()
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<exit::Code> {
    let Cli { global, command } = cli;
    let client = || -> anyhow::Result<_> {
        start_log(&global.log)?;
        client_runtime().context("cannot start the runtime")
    };
    match command {
        Command::Serve(command) => {
            let ServeCommand { config, args } = *command;
            // The service's own configuration may say how to log.
            let (args, log) = args.with_file(global.log.clone(), config.as_deref())?;
            start_log(&log)?;
            serve::serve(&args)
        }
        Command::Demo(command) => client()?.block_on(demo::run(&global, command)),
        Command::Worker(command) => client()?.block_on(workers::run(&global, command)),
        Command::Submit(command) => client()?.block_on(submit::run(&global, command)),
        Command::Run(command) => Ok(client()?.block_on(run::run(&global, command))),
        Command::Jobs(command) => client()?.block_on(jobs::run(&global, command)),
        Command::Queue(command) => client()?.block_on(queue::run(&global, command)),
        Command::Completed(command) => client()?.block_on(completed::run(&global, command)),
        Command::Record(command) => client()?.block_on(record::run(&global, command)),
        Command::Replay(command) => client()?.block_on(replay::run(&global, command)),
        Command::Exec(command) => {
            let mut log = global.log.clone();
            // A service inside of this program says what is wrong, and nothing else.
            log.log.get_or_insert_with(|| "warn".to_owned());
            start_log(&log)?;
            exec::run(&global, &command)
        }
        Command::Log(command) => client()?.block_on(log::run(&global, command)),
        Command::Check(command) => client()?.block_on(check::run(&global, &command)),
        Command::Backup(command) => client()?.block_on(backup::run(&global, command)),
        Command::Restore(command) => {
            start_log(&global.log)?;
            restore::run(&global, &command)
        }
    }
}

fn start_log(args: &config::LogArgs) -> anyhow::Result<()> {
    telemetry::start(args).map_err(|wrong| exit::Coded::error(exit::Code::Usage, anyhow!(wrong)))
}

/// Environment variables that `serve` listens to.
fn serve_variables() -> Vec<String> {
    let serve = ServeCommand::augment_args(clap::Command::new("serve"));
    let variables = serve.get_arguments().filter_map(clap::Arg::get_env);
    let variables = variables.filter_map(|name| name.to_str().map(str::to_owned));
    // A token has no flag, so that it isn't in the list of processes.
    variables.chain([config::ACCESS_TOKEN.to_owned()]).collect()
}

/// One thread is enough for a client.
fn client_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

#[cfg(test)]
mod tests;
