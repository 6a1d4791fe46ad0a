//! `Exec`: a command line, with its files declared.
//!
//! The command sees a folder with its inputs at their names and nothing of the worker protocol. Its
//! standard streams are files beside that folder, so their size is the disk's concern. It stays in
//! the attempt's process group: whoever ends the attempt ends it too.

mod outputs;
mod program;
mod spec;
mod work;

use std::fs::{self, File};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use crate::worker::{Failure, Job};

use self::outputs::Outputs;
use self::program::Program;
use self::spec::{RelativePath, Spec};

/// The command's folder, below the attempt's.
const WORK: &str = "Work";
/// Where its output goes meanwhile.
const STREAMS: [&str; 2] = ["stdout", "stderr"];
/// What a shell adds to the number of a signal to make an exit code of it.
const SIGNAL_EXIT_CODE: i32 = 128;

/// The function.
pub(super) fn run(job: &mut Job<'_>) -> Result<(), Failure> {
    let spec: Spec = job.constant("Exec")?;
    spec.check(job)?;
    let outputs = Outputs::parse(&spec.outputs)?;
    let work = job.folder().join(WORK);
    fs::create_dir(&work)?;
    let done = run_in(job, &spec, &outputs, &work);
    // Whatever came of it, the next action of the same process starts afresh.
    clear_away(job, &work);
    done
}

fn run_in(job: &mut Job<'_>, spec: &Spec, outputs: &Outputs, work: &Path) -> Result<(), Failure> {
    // Symbolic links are judged by where they end, so the start has to be the real one.
    let work = work.canonicalize()?;
    work::place(job, spec, &work)?;
    let cwd = directory(&work, &spec.cwd)?;
    let program = program::find(spec, &cwd).map_err(|absent| {
        job.meta("StartError", absent.errno as i32);
        // Whoever installs it wants another try.
        job.not_cacheable();
        Failure::Action(absent.text)
    })?;
    let status = start_and_wait(job, spec, &program, &work, &cwd)?;
    for name in STREAMS {
        job.output_file(name, &stream(job, name))?;
    }
    outputs.collect(job, &work)?;
    report(job, status);
    Ok(())
}

/// The folder that the command starts in.
fn directory(work: &Path, cwd: &str) -> Result<std::path::PathBuf, Failure> {
    if cwd.is_empty() || cwd == "." {
        return Ok(work.to_owned());
    }
    let path = work.join(RelativePath::parse("Cwd", cwd)?.as_path());
    if path.is_dir() {
        Ok(path)
    } else {
        Err(Failure::Action(format!(
            "Cwd {cwd:?} doesn't exist; a folder exists when an input is in it"
        )))
    }
}

fn stream(job: &Job<'_>, name: &str) -> std::path::PathBuf {
    job.folder().join(format!("Exec.{name}"))
}

/// Runs the command to its end. What keeps it from starting is the action's fault.
fn start_and_wait(
    job: &Job<'_>,
    spec: &Spec,
    program: &Program,
    work: &Path,
    cwd: &Path,
) -> Result<ExitStatus, Failure> {
    let stdin = match &spec.stdin {
        None => Stdio::null(),
        Some(name) => File::open(work.join(name))?.into(),
    };
    let mut command = Command::new(program.path());
    command
        .arg0(program.name())
        .args(spec.argv.iter().skip(1))
        .env("PATH", program.search_path())
        .envs(&spec.env)
        .current_dir(cwd)
        .stdin(stdin)
        .stdout(File::create(stream(job, "stdout"))?)
        .stderr(File::create(stream(job, "stderr"))?);
    let mut child = command.spawn().map_err(|error| program.cannot_start(&error))?;
    Ok(child.wait()?)
}

/// How it went, into the output's `Meta`.
fn report(job: &mut Job<'_>, status: ExitStatus) {
    let signal = status.signal().unwrap_or(0);
    let exit_code = status.code().unwrap_or(SIGNAL_EXIT_CODE + signal);
    job.meta("ExitCode", exit_code);
    job.meta("Signal", signal);
    if exit_code != 0 {
        job.not_cacheable();
    }
}

/// Makes room for another action of the same process. What can't be removed is left: the service
/// deletes the whole attempt.
fn clear_away(job: &Job<'_>, work: &Path) {
    let _ = fs::remove_dir_all(work);
    for name in STREAMS {
        let _ = fs::remove_file(stream(job, name));
    }
}
