//! A server of its own for each test.

use std::net::SocketAddr;
use std::sync::Arc;

use ledgerun::chunks::{self, Store};
use ledgerun::clock::System;
use ledgerun::domain::{
    Answer, AttemptRef, Cause, Command, Failure, FailureKind, Host, Millis, ObjectRef, Outcome,
    RunnerName, Usage,
};
use ledgerun::engine::{Accepted, Boot, Handle, Options, Parts, PastOptions, Running};
use ledgerun::eventlog::MemoryLog;
use ledgerun::http::{self, HttpConfig};
use ledgerun::views::Published;
use ledgerun::wire::cb::Object;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::client::Call;

pub struct Server {
    pub address: SocketAddr,
    pub engine: Handle,
    pub store: Store,
    runtime: Runtime,
    running: Option<Running>,
    stop: Option<oneshot::Sender<()>>,
    dir: tempfile::TempDir,
}

impl Server {
    pub fn start() -> Self {
        Self::with(HttpConfig::default())
    }

    pub fn with(config: HttpConfig) -> Self {
        let mut server = Self::booting(config);
        let (boot, parts) = server.1;
        server.0.running = Some(boot.open(parts).unwrap());
        server.0
    }

    /// A server that keeps states to look back with every few records, and chunks no longer than
    /// they are needed.
    pub fn looking_back() -> Self {
        let options = chunks::Options { grace: Millis(0), ..chunks::Options::default() };
        let (mut server, (boot, mut parts)) = Self::booting_with(HttpConfig::default(), options);
        parts.past = PastOptions {
            dir: Some(server.dir.path().join("checkpoints")),
            checkpoint_every: 16,
            trail_every: 4,
            recent_max: 3,
            ..PastOptions::default()
        };
        server.running = Some(boot.open(parts).unwrap());
        server
    }

    /// A server whose log is still being read.
    pub fn booting(config: HttpConfig) -> (Self, (Boot, Parts)) {
        Self::booting_with(config, chunks::Options::default())
    }

    fn booting_with(config: HttpConfig, options: chunks::Options) -> (Self, (Boot, Parts)) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("chunks"), options).unwrap();
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let boot = Boot::new();
        let parts = Parts {
            options: Options::default(),
            log: Box::new(MemoryLog::new()),
            published: Published::default(),
            past: PastOptions::default(),
            chunks: store.clone(),
            runner: None,
            clock: Arc::new(System),
            entropy: Arc::new(System),
        };
        let (stop, stopped) = oneshot::channel();
        let engine = boot.handle();
        runtime.spawn(http::serve(listener, engine.clone(), store.clone(), config, async {
            drop(stopped.await);
        }));
        let server = Self { address, engine, store, runtime, running: None, stop: Some(stop), dir };
        (server, (boot, parts))
    }

    pub fn get(&self, path: &str) -> Call<'_> {
        Call::new(self, "GET", path)
    }

    pub fn post(&self, path: &str) -> Call<'_> {
        Call::new(self, "POST", path)
    }

    pub fn call(&self, method: &'static str, path: &str) -> Call<'_> {
        Call::new(self, method, path)
    }

    pub fn execute(&self, command: Command) -> Accepted {
        self.runtime.block_on(self.engine.execute(command, Cause::UNKNOWN)).unwrap()
    }

    /// Hands the next ready job out, as a scheduler would, and starts it.
    pub fn begin(&self) -> AttemptRef {
        let assign = Command::Assign { runner: RunnerName::local(), host: Host::Linux };
        let Answer::Assigned(attempt) = self.execute(assign).answer else {
            panic!("nothing is ready")
        };
        self.execute(Command::StartAttempt { attempt, sandbox: "none".into() });
        attempt
    }

    pub fn end(&self, attempt: AttemptRef, outcome: Outcome) {
        let usage = Usage { cpu_ms: 12, peak_rss_bytes: 3_456 };
        self.execute(Command::FinishAttempt { attempt, outcome, usage });
    }

    /// Runs the next ready job to this output.
    pub fn complete(&self, output: &Object) {
        let attempt = self.begin();
        let output = output
            .inline()
            .unwrap_or_else(|| ObjectRef::Chunk(self.store.put_unnamed(output.bytes()).unwrap()));
        self.end(attempt, Outcome::Completed { output, cacheable: true, bytes: 7, stderr: None });
    }

    /// Runs the next ready job to a failure that no retry can mend.
    pub fn fail(&self, reason: &str) {
        let attempt = self.begin();
        let failure = Failure {
            kind: FailureKind::InputLost,
            reason: reason.into(),
            exit_code: Some(3),
            signal: None,
            stderr: None,
        };
        self.end(attempt, Outcome::Failed(failure));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(running) = self.running.take() {
            drop(running.stop(std::time::Duration::ZERO));
        }
    }
}
