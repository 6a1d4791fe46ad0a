//! How long it takes from the start of the program to ready, by what the last one left behind.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::finished::{self, Written};
use crate::load::{self, request};
use crate::server::{Server, data_dir};

/// Starts of each kind.
const ROUNDS: usize = 3;
/// Finished jobs of the larger directory, where `LEDGERUN_START_JOBS` doesn't say.
const JOBS: usize = 1_000_000;

/// What the last life left behind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// A checkpoint of the very end.
    Stopped,
    /// Those that were written on the way.
    Killed,
    /// None.
    Nothing,
}

pub(crate) fn run() {
    println!("\n# From the start of the program to ready, results included");
    let jobs = std::env::var("LEDGERUN_START_JOBS").ok().and_then(|jobs| jobs.parse().ok());
    measure(100_000);
    measure(jobs.unwrap_or(JOBS));
}

fn measure(jobs: usize) {
    // Written by somebody who never opened it again, so the engine has to read all of it as well.
    let folder = data_dir();
    let pristine = folder.path().join("pristine");
    fs::create_dir(&pristine).unwrap();
    let written = finished::write_checkpointed(&pristine, jobs);
    let last = written.last.0;
    let newest = checkpoints(&pristine).pop().unwrap();
    println!(
        "\n{jobs} jobs, {last} records, {} after the last checkpoint of {:.0} MB",
        last - lsn(&newest),
        fs::metadata(&newest).unwrap().len() as f64 / 1e6,
    );
    let stopped = checkpoint_of_the_end(&pristine, folder.path());
    let read = crate::median((0..ROUNDS).map(|_| read_all(&pristine).as_secs_f64()).collect());
    println!("{:<44} {read:>7.3} s", "all its bytes, read");
    for (left, name) in [
        (Left::Stopped, "after a clean stop"),
        (Left::Killed, "after a kill"),
        (Left::Nothing, "after a kill, checkpoints deleted"),
    ] {
        let starts = (0..ROUNDS).map(|_| start(&pristine, folder.path(), &stopped, left, &written));
        let (time, again) = starts.unzip::<_, _, Vec<_>, Vec<_>>();
        let (time, again) = (crate::median(time), crate::median(again));
        println!("{name:<44} {time:>7.3} s, {:>6.1} of that; next start {again:.3} s", time / read);
    }
}

/// Time to ready on a copy of the directory, and of the start after that.
fn start(
    pristine: &Path,
    folder: &Path,
    stopped: &Path,
    left: Left,
    written: &Written,
) -> (f64, f64) {
    let data = folder.join("copy");
    copy(pristine, &data);
    match left {
        Left::Stopped => {
            let name = stopped.file_name().unwrap();
            fs::copy(stopped, data.join("checkpoints").join(name)).unwrap();
        }
        Left::Killed => {}
        Left::Nothing => fs::remove_dir_all(data.join("checkpoints")).unwrap(),
    }
    let (time, server) = timed(&data);
    for job in [written.jobs[0], written.jobs[written.jobs.len() / 2]] {
        // Panics unless it is answered.
        load::run(
            server.address,
            1,
            vec![request("GET", &format!("/compute/jobs/{job}"), "", b"")],
        );
    }
    server.stop();
    let (again, server) = timed(&data);
    drop(server);
    fs::remove_dir_all(&data).unwrap();
    (time.as_secs_f64(), again.as_secs_f64())
}

fn timed(data: &Path) -> (Duration, Server) {
    let began = Instant::now();
    let server = Server::start_in(data, 2);
    (began.elapsed(), server)
}

/// What a clean stop of a service on this directory would have left.
fn checkpoint_of_the_end(pristine: &Path, folder: &Path) -> PathBuf {
    let data = folder.join("stopped");
    copy(pristine, &data);
    Server::start_in(&data, 0).stop();
    let newest = checkpoints(&data).pop().unwrap();
    let kept = folder.join(newest.file_name().unwrap());
    fs::rename(&newest, &kept).unwrap();
    fs::remove_dir_all(&data).unwrap();
    kept
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-r", "--reflink=auto"]).arg(from).arg(to).status();
    assert!(copied.unwrap().success());
    // What is still on its way to the disk would be waited for by the service.
    assert!(Command::new("sync").status().unwrap().success());
}

/// The checkpoints of a data directory, by age.
fn checkpoints(data: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(data.join("checkpoints")).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

fn lsn(checkpoint: &Path) -> u64 {
    checkpoint.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

/// Reads the log and the newest checkpoint, as fast as this machine does.
fn read_all(data: &Path) -> Duration {
    let mut buffer = vec![0; 1 << 20];
    let began = Instant::now();
    for path in [data.join("log/db"), checkpoints(data).pop().unwrap()] {
        let mut file = fs::File::open(path).unwrap();
        while file.read(&mut buffer).unwrap() > 0 {}
    }
    began.elapsed()
}
