//! One round: every figure of everybody, taken in turns.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use crate::figures::Figures;
use crate::jobs::Way;
use crate::load;
use crate::options::Options;
use crate::process::{Server, disk_bytes};
use crate::systems::{self, Ledgerun, System};
use crate::{actions, finished, limits};

/// Clients of the single submits.
pub(crate) const CLIENTS: [usize; 3] = [1, 16, 64];
/// Entries of a batch, and how many clients send them.
pub(crate) const BATCH: usize = 64;
pub(crate) const BATCH_CLIENTS: usize = 4;
/// Entries of the one large batch, and jobs there are at a restart.
pub(crate) const BULK: usize = 100_000;

pub(crate) const PER_CLIENT: &str = "limit: a file per client, fdatasync each";
pub(crate) const GROUP_COMMIT: &str = "limit: one file, group commit";

pub(crate) fn one(options: &Options, figures: &mut Figures) {
    let systems = systems::all();
    let systems: Vec<&dyn System> = systems
        .iter()
        .map(|system| &**system)
        .filter(|system| options.wants(system.name()))
        .filter(|system| match system.missing() {
            Some(why) => {
                figures.fail(system.name(), &why);
                false
            }
            None => true,
        })
        .collect();
    let time = Duration::from_millis(if options.quick { 1_000 } else { 3_000 });
    for clients in CLIENTS {
        if options.wants_part("submit") {
            disk(options, figures, clients, time);
            for system in &systems {
                let outcome = submits(*system, options, figures, clients, time);
                note(figures, system.name(), outcome);
            }
        }
    }
    for system in systems.iter().filter(|system| system.stores()) {
        if options.wants_part("batch") {
            let outcome = batches(*system, options, figures, time);
            note(figures, system.name(), outcome);
        }
        if options.wants_part("bulk") {
            let outcome = bulk(*system, options, figures);
            note(figures, system.name(), outcome);
        }
    }
    if options.wants_part("noop") {
        noop(options, figures);
    }
    if options.wants_part("finished") && options.wants("Ledgerun") {
        let outcome = restart_with_results(options, figures);
        note(figures, "Ledgerun", outcome);
    }
}

fn note(figures: &mut Figures, of: &str, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        figures.fail(of, &error.to_string());
    }
}

fn folder(options: &Options) -> io::Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("ledgerun-peers-").tempdir_in(&options.dir)?;
    // Who may not be root must get to what is its own within.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), mode)?;
    Ok(folder)
}

/// A server on an empty directory of its own.
fn fresh(system: &dyn System, options: &Options) -> io::Result<(Server, tempfile::TempDir)> {
    let folder = folder(options)?;
    let inner = folder.path().join("own");
    std::fs::create_dir(&inner)?;
    Ok((system.start(&inner, true)?, folder))
}

/// The physical limits.
fn disk(options: &Options, figures: &mut Figures, clients: usize, time: Duration) {
    type Measure = fn(&Path, usize, Duration) -> io::Result<load::Run>;
    let both: [(&str, Measure); 2] =
        [(PER_CLIENT, limits::file_per_client), (GROUP_COMMIT, limits::group_commit)];
    for (name, measure) in both.into_iter().filter(|(name, _)| options.wants(name)) {
        let run = folder(options).and_then(|folder| measure(folder.path(), clients, time));
        match run {
            Ok(run) => add(figures, name, clients, &run),
            Err(error) => figures.fail(name, &error.to_string()),
        }
    }
}

fn add(figures: &mut Figures, name: &str, clients: usize, run: &load::Run) {
    figures.add(&format!("submits/s, {clients}"), name, run.rate);
    figures.add(&format!("p50 ms, {clients}"), name, run.quantile(0.5));
    figures.add(&format!("p99 ms, {clients}"), name, run.quantile(0.99));
}

/// One entry a request.
fn submits(
    system: &dyn System,
    options: &Options,
    figures: &mut Figures,
    clients: usize,
    time: Duration,
) -> io::Result<()> {
    let (server, _folder) = fresh(system, options)?;
    let template = |client| system.request(&server, client, 1);
    let templates: Option<Vec<_>> = (0..clients).map(template).collect();
    let templates = templates.ok_or(io::ErrorKind::Unsupported)?;
    let numbers = Arc::new(AtomicU64::new(0));
    let run = load::run(server.address, system.dialect(), templates, time, &numbers)?;
    add(figures, system.name(), clients, &run);
    Ok(())
}

/// Several entries a request.
fn batches(
    system: &dyn System,
    options: &Options,
    figures: &mut Figures,
    time: Duration,
) -> io::Result<()> {
    let (server, _folder) = fresh(system, options)?;
    let template = |client| system.request(&server, client, BATCH);
    let Some(templates) = (0..BATCH_CLIENTS).map(template).collect() else { return Ok(()) };
    let numbers = Arc::new(AtomicU64::new(0));
    let run = load::run(server.address, system.dialect(), templates, time, &numbers)?;
    figures.add("batch entries/s", system.name(), run.rate);
    figures.add("batch p99 ms", system.name(), run.quantile(0.99));
    Ok(())
}

/// One large batch, or as many single entries; what they take; and how long a restart needs with
/// them.
fn bulk(system: &dyn System, options: &Options, figures: &mut Figures) -> io::Result<()> {
    let name = system.name();
    let (mut server, folder) = fresh(system, options)?;
    settle();
    let (memory, disk) = (server.memory(), disk_bytes(folder.path()));
    figures.add("idle MB", name, memory as f64 / 1e6);
    let numbers = Arc::new(AtomicU64::new(0));
    if let Some(request) = system.request(&server, 0, BULK) {
        let took = load::once(server.address, system.dialect(), request, &numbers)?;
        figures.add("bulk s", name, took.as_secs_f64());
    } else {
        let template = |client| system.request(&server, client, 1).unwrap();
        while numbers.load(std::sync::atomic::Ordering::Relaxed) < BULK as u64 {
            let templates = (0..64).map(template).collect();
            let time = Duration::from_secs(1);
            load::run(server.address, system.dialect(), templates, time, &numbers)?;
        }
    }
    settle();
    let entries = numbers.load(std::sync::atomic::Ordering::Relaxed);
    let per_entry = |now: u64, before: u64| now.saturating_sub(before) as f64 / entries as f64;
    figures.add("memory bytes/job", name, per_entry(server.memory(), memory));
    figures.add("disk bytes/job", name, per_entry(disk_bytes(folder.path()), disk));
    server.kill();
    let began = Instant::now();
    let mut server = system.start(&folder.path().join("own"), false)?;
    server.wait(|server| system.holds(server, BULK as u64))?;
    figures.add("restart s", name, began.elapsed().as_secs_f64());
    Ok(())
}

/// Lets a server finish what it does behind its answers.
fn settle() {
    std::thread::sleep(Duration::from_millis(500));
}

/// Jobs end to end.
fn noop(options: &Options, figures: &mut Figures) {
    let programs = folder(options).unwrap();
    let program = actions::compile_noop(programs.path());
    for way in Way::ALL {
        if !options.wants(way.name()) {
            continue;
        }
        if let Some(why) = way.missing() {
            figures.fail(way.name(), &why);
            continue;
        }
        let jobs = match (way, options.quick) {
            (_, true) => 1_000,
            // It is the slowest by far.
            (Way::Parallel, false) => 2_000,
            _ => 6_000,
        };
        let ran = folder(options).and_then(|folder| way.run(folder.path(), &program, jobs));
        match ran {
            Ok(ran) => {
                figures.add("jobs/s", way.name(), ran.rate);
                if let Some(bytes) = ran.disk_per_job {
                    figures.add("whole life disk bytes/job", way.name(), bytes);
                }
            }
            Err(error) => figures.fail(way.name(), &error.to_string()),
        }
    }
}

/// A restart after a kill with so many completed jobs, until one can have the last one's result.
fn restart_with_results(options: &Options, figures: &mut Figures) -> io::Result<()> {
    let folder = folder(options)?;
    let data = folder.path().join("data");
    let written = finished::write(&data, BULK);
    let per_job = |bytes: u64| bytes as f64 / BULK as f64;
    figures.add("finished disk bytes/job", "Ledgerun", per_job(disk_bytes(&data.join("log"))));
    let system = Ledgerun::new(0);
    let last = *written.jobs.last().unwrap();
    let answers = |server: &Server| {
        let answer = systems::ledgerun::get(server, &format!("/compute/jobs/{last}"))?;
        let found = load::find(&answer, b"\"result\":");
        found.map(|_| ()).ok_or_else(|| io::Error::other("there is no result"))
    };
    let began = Instant::now();
    let mut server = system.start(folder.path(), false)?;
    server.wait(answers)?;
    figures.add("first start with results s", "Ledgerun", began.elapsed().as_secs_f64());
    settle();
    figures.add("finished memory bytes/job", "Ledgerun", per_job(server.memory()));
    server.kill();
    let began = Instant::now();
    let mut server = system.start(folder.path(), false)?;
    server.wait(answers)?;
    figures.add("restart with results s", "Ledgerun", began.elapsed().as_secs_f64());
    Ok(())
}
