//! `serve`: puts the parts together and keeps them going until a signal or a failure.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use serde::Serialize;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::exit::{Code, Coded};
use super::{allocator, files, output, settings, watch};
use crate::chunks;
use crate::clock::System;
use crate::config::ServeArgs;
use crate::domain::Lsn;
use crate::engine::{Boot, Handle, Opening, Parts, Running};
use crate::eventlog::{self, DataDir, Kind, OpenOptions, SledLog};
use crate::http::{self, AccessToken, HttpConfig};
use crate::replay;
use crate::runner::Runner;
use crate::runner::local::{LocalOptions, LocalRunner};

/// How long the service stays after its storage has failed, to tell those who wait.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Connections that may wait to be accepted; the system may allow fewer.
const BACKLOG: u32 = 4_096;

/// What a stop waits for running attempts when nothing else is said.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

pub(super) fn serve(args: &ServeArgs) -> anyhow::Result<Code> {
    allocator::settle();
    if args.sandbox == Some(crate::config::Sandbox::Strict) {
        let why = anyhow!(
            "--sandbox strict is refused: this version isolates attempts by folder and process group \
             only; use best-effort or off"
        );
        return Err(Coded::error(Code::Usage, why));
    }
    let access_token = settings::access_token(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(http::threads())
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let service = start(&runtime, args, access_token)?;
    announce(&service.announcement)?;
    let kept = runtime.block_on(keep(service));
    // After a second signal or a failure there may be threads that would wait for attempts.
    runtime.shutdown_background();
    kept
}

/// The signals that end the service.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on they end nothing by themselves.
    fn new(runtime: &tokio::runtime::Runtime) -> std::io::Result<Self> {
        let _context = runtime.enter();
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The number of the next one.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.terminate.recv() => 15,
            _ = self.interrupt.recv() => 2,
        }
    }
}

/// What is said on stdout once the service takes work.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Announcement {
    ready: bool,
    pub(super) url: String,
    pid: u32,
    data_dir: String,
    last_lsn: Lsn,
}

/// A service that is open for business.
pub(super) struct Service {
    pub(super) announcement: Announcement,
    running: Running,
    /// Ends the HTTP edge.
    stop_http: oneshot::Sender<Infallible>,
    http: tokio::task::JoinHandle<std::io::Result<()>>,
    grace: Duration,
    store: chunks::Store,
    dir: Arc<DataDir>,
    signals: Signals,
    /// Nobody else may have it before the runner has ended.
    _scratch: Arc<DataDir>,
}

/// Takes the data directory, listens, reads the log and opens. While the log is read, health checks
/// are answered.
pub(super) fn start(
    runtime: &tokio::runtime::Runtime,
    args: &ServeArgs,
    access_token: Option<AccessToken>,
) -> anyhow::Result<Service> {
    let root = args.data_dir()?;
    survive_file_limits(runtime)?;
    let dir = Arc::new(DataDir::lock(&root).map_err(|wrong| dir_failed(&root, wrong))?);
    let past = settings::past(args, &dir);
    // Reads while the databases are opened.
    let mut opening = Opening::begin(&past);
    let store = open_store(&dir, args)?;
    let boot = Boot::new();
    let handle = boot.handle();
    let scratch = scratch_dir(args, &dir)?;
    let runner = start_runner(args, &scratch, &store, &handle)?;
    let grace = args.shutdown_grace.map_or(SHUTDOWN_GRACE, |span| span.0);

    // After the runner has its supervisor: attempts keep the limit that programs expect.
    let connections_max = files::connections_max(args.connections_max);
    let listener = listen(runtime, args.listen())?;
    let url = url(listener.local_addr()?);
    let (stop_http, stopped) = oneshot::channel();
    let config = settings::http_config(args, &dir, runner.as_deref(), grace);
    let config = HttpConfig { connections_max, access_token, ..config };
    let edge = http::serve(listener, handle.clone(), store.clone(), config, async {
        // Resolves when the sender is dropped.
        let _ = stopped.await;
    });
    let http = runtime.spawn(edge);

    let options = OpenOptions { accept_lost_history: args.accept_lost_history == Some(true) };
    let log = SledLog::open_with(&dir, options, &mut opening).map_err(log_failed)?;
    let last = log.last();
    let parts = Parts {
        options: settings::options(args),
        log: Box::new(log),
        published: opening.done(),
        past,
        chunks: store.clone(),
        runner: runner.map(|runner| runner as Arc<dyn Runner>),
        clock: Arc::new(System),
        entropy: Arc::new(System),
    };
    let running = boot.open(parts).map_err(|wrong| Coded::error(Code::StorageFailed, wrong))?;
    watch::space(runtime, args, dir.clone(), handle.clone());
    runtime.spawn(replay::driver::run(handle, store.clone()));
    tracing::info!(%url, data_dir = %dir.root().display(), %last, "ready");
    // Before anybody is told, so that no signal ends the service the hard way from here on.
    let signals = Signals::new(runtime)?;
    let announcement = Announcement {
        ready: true,
        url,
        pid: std::process::id(),
        data_dir: dir.root().display().to_string(),
        last_lsn: last,
    };
    Ok(Service {
        announcement,
        running,
        stop_http,
        http,
        grace,
        store,
        dir,
        signals,
        _scratch: scratch,
    })
}

/// A write beyond the limit on file sizes is then an error like any other, instead of the end of the
/// process. The handler stays although nobody listens.
fn survive_file_limits(runtime: &tokio::runtime::Runtime) -> std::io::Result<()> {
    let _context = runtime.enter();
    let exceeded = SignalKind::from_raw(nix::sys::signal::Signal::SIGXFSZ as i32);
    signal(exceeded).map(drop)
}

/// Takes a data directory that must be there, and opens its chunk store, for a command that works
/// without a service.
pub(super) fn offline(root: &Path) -> anyhow::Result<(Arc<DataDir>, chunks::Store)> {
    if !root.join("log").is_dir() {
        let why = anyhow!("{} is no data directory: it has no log", root.display());
        return Err(Coded::error(Code::Usage, why));
    }
    let dir = DataDir::lock(root).map_err(|wrong| dir_failed(root, wrong))?;
    let store = open_store(&dir, &ServeArgs::default())?;
    Ok((Arc::new(dir), store))
}

/// Opens the chunk store, on a full disk with the space that was set aside for that.
pub(super) fn open_store(dir: &DataDir, args: &ServeArgs) -> anyhow::Result<chunks::Store> {
    let mut options = chunks::Options::default();
    if let Some(grace) = args.chunk_grace {
        options.grace = settings::millis(grace);
    }
    let open = || chunks::Store::open(&dir.chunks(), options.clone());
    let opened = match open() {
        Err(wrong) if wrong.is_disk_full() && dir.drop_ballast() => {
            tracing::warn!(%wrong, "disk full, opening on the space set aside");
            open()
        }
        other => other,
    };
    opened
        .map_err(|wrong| {
            let code = match wrong.io_kind() {
                Some(kind) if is_configuration(kind) => Code::Usage,
                Some(_) => Code::StorageFailed,
                None => Code::Damaged,
            };
            Coded::error(code, wrong)
        })
        .context("cannot open the chunk store")
}

/// Says that the service is ready; it serves whether anybody listens to that or not.
fn announce(ready: &Announcement) -> anyhow::Result<()> {
    match output::json(ready) {
        Err(wrong) if wrong.is::<output::ReaderGone>() => Ok(()),
        other => other,
    }
}

fn listen(runtime: &tokio::runtime::Runtime, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listen = async {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    runtime.block_on(listen).map_err(|wrong| {
        let hint = match wrong.kind() {
            std::io::ErrorKind::AddrInUse => {
                "; stop what runs there, or choose another port with --listen (0 picks a free one)"
            }
            std::io::ErrorKind::PermissionDenied => "; ports below 1024 need privileges",
            std::io::ErrorKind::AddrNotAvailable => "; this machine doesn't have that address",
            _ => "",
        };
        Coded::error(Code::Usage, anyhow!("cannot listen on {address}: {wrong}{hint}"))
    })
}

/// The directory for what attempts need only as long as they run: one of its own, or the data
/// directory. Whoever starts there deletes what it finds, so it is taken like that.
fn scratch_dir(args: &ServeArgs, dir: &Arc<DataDir>) -> anyhow::Result<Arc<DataDir>> {
    let Some(scratch) = &args.scratch_dir else { return Ok(Arc::clone(dir)) };
    if scratch.canonicalize().is_ok_and(|scratch| scratch == dir.root()) {
        return Ok(Arc::clone(dir));
    }
    let locked = DataDir::lock(scratch).map_err(|wrong| dir_failed(scratch, wrong));
    locked.map(Arc::new).context("cannot use the directory of --scratch-dir")
}

fn start_runner(
    args: &ServeArgs,
    scratch: &DataDir,
    store: &chunks::Store,
    handle: &Handle,
) -> anyhow::Result<Option<Arc<LocalRunner>>> {
    let mut options = LocalOptions::new(scratch.root());
    if let Some(slots) = args.slots {
        options.slots = slots;
    }
    if options.slots == 0 {
        return Ok(None);
    }
    let runner = LocalRunner::start(options, store.clone(), Arc::new(handle.clone()))
        .map_err(|wrong| {
            let wrong = anyhow::Error::from(wrong);
            let mut causes = wrong.chain().filter_map(|e| e.downcast_ref::<std::io::Error>());
            let misplaced = causes.any(|io| is_configuration(io.kind()));
            Coded::error(if misplaced { Code::Usage } else { Code::StorageFailed }, wrong)
        })
        .context("cannot start the runner")?;
    Ok(Some(Arc::new(runner)))
}

/// Waits for a signal or a failure, and ends the service accordingly.
async fn keep(mut service: Service) -> anyhow::Result<Code> {
    let failed = tokio::select! {
        failed = service.running.ended() => Some(
            Coded::error(Code::StorageFailed, failed)
                .context("nothing that was acknowledged is lost; start the service again"),
        ),
        failed = watch::store(&service.store) => Some(Coded::error(Code::StorageFailed, failed)),
        failed = watch::place(&service.dir) => Some(Coded::error(Code::StorageFailed, failed)),
        ended = &mut service.http => {
            ended?.context("the HTTP edge failed")?;
            bail!("the HTTP edge ended by itself");
        }
        _ = service.signals.next() => None,
    };
    if let Some(failed) = failed {
        // Nothing is taken any more; who waits learns that the outcome is unknown.
        drop(service.stop_http);
        let _ = tokio::time::timeout(LAST_ANSWERS, service.http).await;
        return Err(failed);
    }
    let grace = service.grace;
    tracing::info!(?grace, "stopping; a second signal ends at once");
    let Service { running, stop_http, http, mut signals, .. } = service;
    tokio::select! {
        stopped = stop(running, stop_http, http, grace) => {
            stopped?;
            tracing::info!("stopped");
        }
        // Nothing acknowledged is lost: it was durable before it was acknowledged.
        _ = signals.next() => tracing::info!("stopped at once"),
    }
    Ok(Code::Clean)
}

impl Service {
    /// The number of the first signal that is to end the program.
    pub(super) async fn signal(&mut self) -> u8 {
        self.signals.next().await
    }

    /// Ends it cleanly; attempts that run are not waited for.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        stop(self.running, self.stop_http, self.http, Duration::ZERO).await
    }
}

async fn stop(
    running: Running,
    stop_http: oneshot::Sender<Infallible>,
    http: tokio::task::JoinHandle<std::io::Result<()>>,
    grace: Duration,
) -> anyhow::Result<()> {
    let stopped = tokio::task::spawn_blocking(move || running.stop(grace)).await?;
    stopped.map_err(|wrong| Coded::error(Code::StorageFailed, wrong))?;
    // The edge answered 503 until now.
    drop(stop_http);
    if let Err(wrong) = http.await? {
        tracing::warn!(%wrong, "the HTTP edge ended badly");
    }
    Ok(())
}

/// The URL of an address; an unspecified one is reached by loopback.
fn url(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => format!("http://127.0.0.1:{}", v4.port()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => format!("http://[::1]:{}", v6.port()),
        other => format!("http://{other}"),
    }
}

/// A directory that can't be used for a reason other than its content is a matter of configuration.
pub(super) fn dir_failed(root: &Path, wrong: eventlog::Error) -> anyhow::Error {
    let hint = "; choose another with --data-dir";
    if wrong.io_kind().is_some_and(is_configuration) {
        let why = anyhow!("cannot use data directory {}: {}{hint}", root.display(), {
            let wrong: anyhow::Error = wrong.into();
            format!("{wrong:#}")
        });
        return Coded::error(Code::Usage, why);
    }
    match wrong.kind() {
        Kind::InUse => Coded::error(Code::InUse, anyhow!("{wrong}{hint}, or stop that one")),
        _ => log_failed(wrong),
    }
}

/// Whether an I/O error means that the wrong directory or the wrong user was chosen.
fn is_configuration(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind as K;
    matches!(
        kind,
        K::PermissionDenied | K::NotADirectory | K::AlreadyExists | K::ReadOnlyFilesystem
    )
}

pub(super) fn log_failed(wrong: eventlog::Error) -> anyhow::Error {
    let code = match wrong.kind() {
        Kind::InUse => Code::InUse,
        Kind::Damaged => Code::Damaged,
        Kind::Storage if wrong.io_kind().is_some_and(is_configuration) => Code::Usage,
        Kind::Storage | Kind::Refused => Code::StorageFailed,
    };
    Coded::error(code, wrong)
}
