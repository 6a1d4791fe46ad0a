//! No-op jobs from the first submission to the last completion, two at a time: the same program
//! for all.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ledgerun::client::Client;
use ledgerun::domain::Lsn;

use crate::load;
use crate::process::{disk_bytes, program};
use crate::systems::{Ledgerun, System as _};

const SLOTS: usize = 2;
/// A file system in memory.
const MEMORY: &str = "/dev/shm";

/// A way to run jobs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Ledgerun {
        /// Whether attempts have their folders in memory.
        scratch: bool,
    },
    HyperQueue,
    Parallel,
    Xargs,
    BareLoop,
}

/// What was measured.
pub(crate) struct Ran {
    /// Jobs a second.
    pub(crate) rate: f64,
    /// What was left on the disk, for each job.
    pub(crate) disk_per_job: Option<f64>,
}

impl Way {
    /// As it is by itself.
    pub(crate) const PLAIN: Self = Self::Ledgerun { scratch: false };
    /// With its documented setting for many short jobs.
    pub(crate) const SCRATCH: Self = Self::Ledgerun { scratch: true };

    pub(crate) const ALL: [Self; 6] =
        [Self::PLAIN, Self::SCRATCH, Self::HyperQueue, Self::Parallel, Self::Xargs, Self::BareLoop];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ledgerun { scratch: false } => "Ledgerun",
            Self::Ledgerun { scratch: true } => "Ledgerun, scratch in memory",
            Self::HyperQueue => "HyperQueue",
            Self::Parallel => "GNU parallel",
            Self::Xargs => "xargs",
            Self::BareLoop => "limit: bare spawn loop",
        }
    }

    pub(crate) fn missing(self) -> Option<String> {
        let needed = match self {
            Self::SCRATCH => {
                let there = Path::new(MEMORY).is_dir();
                return (!there).then(|| format!("there is no {MEMORY}"));
            }
            Self::Ledgerun { .. } | Self::BareLoop => return None,
            Self::HyperQueue => {
                let python = crate::installed("venv/bin/python");
                let asked = Command::new(python).args(["-c", "import hyperqueue"]).output();
                let there = asked.is_ok_and(|output| output.status.success());
                return (!there)
                    .then(|| "no hyperqueue: benches/peers/install.sh puts it there".into());
            }
            Self::Parallel => "parallel",
            Self::Xargs => "xargs",
        };
        program(needed, &[]).is_none().then(|| format!("no {needed} in the path"))
    }

    /// Runs `program` so many times, in the empty directory `dir`.
    pub(crate) fn run(self, dir: &Path, program: &Path, jobs: usize) -> io::Result<Ran> {
        let took = match self {
            Self::Ledgerun { scratch } => {
                let mut system = Ledgerun::new(SLOTS);
                let folder = || {
                    let mut builder = tempfile::Builder::new();
                    builder.prefix("ledgerun-peers-").tempdir_in(MEMORY)
                };
                let memory = scratch.then(folder).transpose()?;
                system.scratch = memory.as_ref().map(|memory| memory.path().to_owned());
                return ledgerun(&system, dir, program, jobs);
            }
            Self::HyperQueue => hyperqueue(dir, program, jobs)?,
            Self::Parallel => {
                let mut command = Command::new("parallel");
                command.args(["--will-cite", "--joblog", "jobs.log", "-j2"]).arg(program);
                lines(&mut command, dir, jobs)?
            }
            Self::Xargs => {
                let mut command = Command::new("xargs");
                lines(command.args(["-P2", "-n1"]).arg(program), dir, jobs)?
            }
            Self::BareLoop => bare_loop(dir, program, jobs)?,
        };
        Ok(Ran { rate: jobs as f64 / took.as_secs_f64(), disk_per_job: None })
    }
}

/// All jobs in one batch; then the feed of ended jobs until the last.
fn ledgerun(system: &Ledgerun, dir: &Path, program: &Path, jobs: usize) -> io::Result<Ran> {
    let server = system.start_with(dir, program)?;
    let kept = || disk_bytes(&dir.join("data/log")) + disk_bytes(&dir.join("data/chunks"));
    let before = kept();
    let request = system.request(&server, 0, jobs).ok_or(io::ErrorKind::Unsupported)?;
    let began = Instant::now();
    load::once(server.address, system.dialect(), request, &AtomicU64::new(0))?;
    let host = format!("http://{}", server.address);
    load::runtime().block_on(async {
        let client = Client::new(&host).map_err(io::Error::other)?;
        let (mut since, mut ended) = (Lsn::ZERO, 0);
        while ended < jobs {
            let page = client.completed(since, 10_000, Duration::from_secs(30)).await;
            let page = page.map_err(io::Error::other)?;
            if let Some(bad) = page.completed.iter().find(|job| job.state != "completed") {
                return Err(io::Error::other(format!("job {} is {}", bad.lsn, bad.state)));
            }
            ended += page.completed.len();
            since = page.next;
            // A page for each job would measure the feed.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    })?;
    let took = began.elapsed();
    let left = kept().saturating_sub(before);
    let rate = jobs as f64 / took.as_secs_f64();
    Ok(Ran { rate, disk_per_job: Some(left as f64 / jobs as f64) })
}

/// Through Python, because `HyperQueue` comes as a library for it.
fn hyperqueue(dir: &Path, program: &Path, jobs: usize) -> io::Result<Duration> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/run_hyperqueue.py");
    let output = Command::new(crate::installed("venv/bin/python"))
        .arg(script)
        .arg(jobs.to_string())
        .args([program, dir])
        .output()?;
    // Behind what HyperQueue itself says there.
    let printed = String::from_utf8_lossy(&output.stdout);
    let seconds = printed.lines().last().and_then(|line| line.trim().parse().ok());
    let failed = || io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned());
    let seconds: f64 = seconds.ok_or_else(failed)?;
    Ok(Duration::from_secs_f64(seconds))
}

/// A command that takes its jobs as lines.
fn lines(command: &mut Command, dir: &Path, jobs: usize) -> io::Result<Duration> {
    let path = dir.join("lines");
    let mut file = File::create(&path)?;
    for number in 0..jobs {
        writeln!(file, "{number}")?;
    }
    command.current_dir(dir).stdin(File::open(&path)?).stdout(Stdio::null());
    let began = Instant::now();
    let status = command.status()?;
    let took = began.elapsed();
    if status.success() { Ok(took) } else { Err(io::Error::other(status.to_string())) }
}

/// Threads that spawn the program and wait for it.
fn bare_loop(dir: &Path, program: &Path, jobs: usize) -> io::Result<Duration> {
    let next = AtomicUsize::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let one = || -> io::Result<()> {
            while next.fetch_add(1, Ordering::Relaxed) < jobs {
                let mut command = Command::new(program);
                let status = command.current_dir(dir).stdin(Stdio::null()).status()?;
                if !status.success() {
                    return Err(io::Error::other(status.to_string()));
                }
            }
            Ok(())
        };
        let threads: Vec<_> = (0..SLOTS).map(|_| scope.spawn(one)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap())
    })?;
    Ok(began.elapsed())
}
