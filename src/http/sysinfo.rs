//! The machine and how full everything is.

use warp::reply::Response;

use super::error::Error;
use super::request::Request;
use super::respond::{self, Value, object};
use super::{App, RunnerSummary};
use crate::domain::RunnerName;
use crate::views::Published;

/// GET `/compute/sysinfo`.
pub(super) async fn sysinfo(request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let app = request.app.clone();
    // Reads files of the operating system and of the data directory.
    let value = tokio::task::spawn_blocking(move || gather(&app)).await;
    let value = value.map_err(|_| Error::Internal("cannot gather system information".into()))?;
    Ok(respond::ok(spelling, &value))
}

fn gather(app: &App) -> Value {
    // What the operating system doesn't tell is null.
    let system = ::sysinfo::System::new().ok().map(|mut system| {
        system.refresh_memory();
        system
    });
    let load = ::sysinfo::System::load_average().ok();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    object()
        .with("host", ::sysinfo::System::host_name().ok())
        .with("os", std::env::consts::OS)
        .with("arch", std::env::consts::ARCH)
        .with("logical_cores", cores)
        .with("memory_total_bytes", system.as_ref().map(::sysinfo::System::total_memory))
        .with("memory_available_bytes", system.as_ref().map(::sysinfo::System::available_memory))
        .with("load_average", load.map(|load| vec![load.one, load.five, load.fifteen]))
        .with("version", env!("CARGO_PKG_VERSION"))
        .with("started_at", app.started_at)
        .with("uptime_s", app.started.elapsed().as_secs())
        .with("log", log(app))
        .with("chunks", chunks(app))
        .with("runners", Value::array(app.config.runners.iter().map(|r| runner_of(app, r))))
        .with("data_dir_free_bytes", free_bytes(app))
}

fn log(app: &App) -> Value {
    let log = app.engine.log();
    let last = app.engine.read(Published::lsn);
    object()
        .with("first_lsn", log.map(|log| log.first()))
        .with("last_lsn", last)
        .with("durable_lsn", app.engine.durable())
        .with("bytes", log.map(|log| log.disk_bytes()))
}

fn chunks(app: &App) -> Value {
    let stats = app.chunks.stats();
    object()
        .with("count", stats.count)
        .with("bytes", stats.bytes)
        .with("disk_bytes", stats.disk_bytes)
}

fn free_bytes(app: &App) -> Option<u64> {
    let disk = nix::sys::statvfs::statvfs(app.config.data_dir.as_ref()?).ok()?;
    Some(disk.blocks_available().saturating_mul(disk.fragment_size()))
}

fn runner_of(app: &App, runner: &RunnerSummary) -> Value {
    let running = app.engine.read(|published| running_on(published, &runner.name));
    object()
        .with("name", runner.name.0.to_string())
        .with("host", runner.host.to_string())
        .with("slots", runner.slots)
        .with("running", running)
        .with("sandbox", runner.sandbox.clone())
}

fn running_on(published: &Published, runner: &RunnerName) -> usize {
    published.views.attempts_under_way().filter(|(_, on)| on == runner).count()
}
