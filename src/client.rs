//! A typed client of the HTTP API, used by the command line and the tests.

mod backups;
mod batches;
mod files;
mod queues;
mod recordings;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::batches::{BatchItem, BatchOptions, JobTimes, RecordTime};
use self::files::file_pieces;
pub use self::files::{Saving, save};
pub use self::queues::{
    CreatedQueue, NoQueueRef, Queue, QueueRef, QueueSettings, Queues, jobs_path,
};
pub use self::recordings::{
    Mismatch, NewFailure, Recording, Recordings, Replay, ReplayPlan, ReplaySummary, Replays,
    StartedRecording, StartedReplay, TakenRecording, count_jobs,
};
use crate::domain::{ActionId, ChunkId, Lsn, WorkerId};

/// Talks to one service.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    token: Option<Token>,
    at: Option<Lsn>,
    http: reqwest::Client,
}

/// An access token, kept out of what is printed.
#[derive(Clone)]
struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Why a call gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers there.
    #[error(
        "cannot reach the service at {host}; start one with `ledgerun serve` or name another with --host"
    )]
    Unreachable {
        host: String,
        #[source]
        source: reqwest::Error,
    },
    /// No service can have that address.
    #[error("{host:?} is not the URL of a service, which looks like http://127.0.0.1:8558")]
    NoUrl { host: String },
    /// The connection broke in the middle.
    #[error("the connection to {host} broke")]
    Broken {
        host: String,
        #[source]
        source: reqwest::Error,
    },
    /// The service refused. `body` is its answer, whose `error` says why.
    #[error("{}", refusal(*.status, .body))]
    Refused { status: StatusCode, body: Value },
    /// The answer is not what this version understands.
    #[error("the service at {host} gave an answer that can't be read: {why}")]
    Unreadable { host: String, why: String },
    #[error("cannot read {path}")]
    File {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot write {path}")]
    Write {
        path: String,
        #[source]
        source: std::io::Error,
    },
}

fn refusal(status: StatusCode, body: &Value) -> String {
    match body.get("error").and_then(Value::as_str) {
        Some(error) => error.to_owned(),
        None => format!("the service answered {status}"),
    }
}

impl Error {
    /// The stable code of a refusal.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { body, .. } => body.get("code").and_then(Value::as_str),
            _ => None,
        }
    }
}

/// The answer to a submission.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Submitted {
    pub lsn: Lsn,
    pub action: ActionId,
    pub worker: WorkerId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(default)]
    pub cached: bool,
}

/// One line of the completed feed.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Completion {
    pub lsn: Lsn,
    pub completed_lsn: Lsn,
    pub state: String,
    pub action: ActionId,
    pub worker: WorkerId,
    pub queue: Option<u32>,
}

/// A page of the completed feed. Store `next` and pass it as `since`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Completed {
    pub completed: Vec<Completion>,
    pub next: Lsn,
}

/// How to submit.
#[derive(Clone, Copy, Debug, Default)]
pub struct SubmitOptions {
    pub worker: Option<WorkerId>,
    pub priority: Option<i32>,
    /// Run it even when its result is held.
    pub fresh: bool,
    /// The queue it belongs to.
    pub queue: Option<QueueRef>,
}

/// An answer that is read piece by piece.
pub struct Pieces {
    host: String,
    response: reqwest::Response,
}

impl Pieces {
    /// How many bytes it has in all, when the service says so.
    pub fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next piece, `None` after the last.
    pub async fn next(&mut self) -> Result<Option<bytes::Bytes>, Error> {
        self.response.chunk().await.map_err(|source| broken(&self.host, source))
    }
}

impl Pieces {
    /// Goes through the whole lines of an answer, as they come.
    pub async fn each_line<E: From<Error>>(
        &mut self,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut open = Vec::new();
        while let Some(piece) = self.next().await? {
            for part in piece.split_inclusive(|byte| *byte == b'\n') {
                open.extend_from_slice(part);
                if open.ends_with(b"\n") {
                    each(&open)?;
                    open.clear();
                }
            }
        }
        Ok(())
    }
}

fn broken(host: &str, source: reqwest::Error) -> Error {
    let host = host.to_owned();
    // The path may hold the token of a queue.
    let source = source.without_url();
    if source.is_connect() {
        Error::Unreachable { host, source }
    } else {
        Error::Broken { host, source }
    }
}

impl Client {
    /// A client of the service at `host`, such as `http://127.0.0.1:8558`. Without a scheme, HTTP.
    pub fn new(host: &str) -> Result<Self, Error> {
        let url = if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
        // Only HTTP: the service speaks nothing else.
        match reqwest::Url::parse(&url) {
            Ok(parsed) if parsed.scheme() == "http" && parsed.has_host() => {}
            _ => return Err(Error::NoUrl { host: host.to_owned() }),
        }
        let base = url.trim_end_matches('/').to_owned();
        // No proxy: the service is on this machine or named on purpose, and a result is not for
        // strangers.
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .build()
            .map_err(|source| Error::Broken { host: base.clone(), source })?;
        Ok(Self { base, token: None, at: None, http })
    }

    /// Shows an access token with every request.
    #[must_use]
    pub fn with_token(mut self, token: Option<String>) -> Self {
        self.token = token.map(Token);
        self
    }

    /// Reads workers, jobs and queues as they were when this LSN was the newest.
    #[must_use]
    pub fn at(mut self, lsn: Option<Lsn>) -> Self {
        self.at = lsn;
        self
    }

    /// Where it talks to.
    pub fn host(&self) -> &str {
        &self.base
    }

    /// A request to a path that starts with a slash.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        // What can't be asked of the past takes no notice of it.
        let at = self.at.filter(|_| method == Method::GET).map(|at| ("at", at.0));
        let request = self.http.request(method, format!("{}{path}", self.base));
        let request = if at.is_some() { request.query(&[at]) } else { request };
        match &self.token {
            Some(Token(token)) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request; anything but success or 202 is an error with the service's own words.
    pub async fn send(&self, request: RequestBuilder) -> Result<reqwest::Response, Error> {
        let response = request.send().await.map_err(|source| self.broken(source))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = response.bytes().await.map_err(|source| self.broken(source))?;
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| {
            Value::Object(
                [("error".to_owned(), String::from_utf8_lossy(&bytes).into())]
                    .into_iter()
                    .collect(),
            )
        });
        Err(Error::Refused { status, body })
    }

    fn broken(&self, source: reqwest::Error) -> Error {
        broken(&self.base, source)
    }

    /// Sends a request and reads its JSON answer.
    pub async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        let response = self.send(request.header(ACCEPT, "application/json")).await?;
        let bytes = response.bytes().await.map_err(|source| self.broken(source))?;
        serde_json::from_slice(&bytes)
            .map_err(|wrong| Error::Unreadable { host: self.base.clone(), why: wrong.to_string() })
    }

    /// GETs a JSON answer.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.json(self.request(Method::GET, path)).await
    }

    /// POSTs JSON and reads the JSON answer.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Error> {
        self.json(self.request(Method::POST, path).json(body)).await
    }

    /// Uploads a chunk from memory. True when it was new.
    pub async fn put_chunk(&self, id: ChunkId, bytes: bytes::Bytes) -> Result<bool, Error> {
        let request = self
            .request(Method::PUT, &format!("/compute/chunks/{id}"))
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(bytes);
        Ok(self.send(request).await?.status() == StatusCode::CREATED)
    }

    /// Uploads a chunk from a file, in pieces. True when it was new.
    pub async fn put_file(&self, id: ChunkId, path: &Path) -> Result<bool, Error> {
        let (length, pieces) = file_pieces(path, |_| {}).await?;
        let request = self
            .request(Method::PUT, &format!("/compute/chunks/{id}"))
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(reqwest::header::CONTENT_LENGTH, length)
            .body(pieces);
        Ok(self.send(request).await?.status() == StatusCode::CREATED)
    }

    /// Which of these chunks the service doesn't hold.
    pub async fn missing(&self, chunks: &[ChunkId]) -> Result<Vec<ChunkId>, Error> {
        #[derive(Deserialize)]
        struct Need {
            need: Vec<ChunkId>,
        }
        let body = serde_json::json!({ "chunks": chunks });
        Ok(self.post::<Need>("/compute/chunks", &body).await?.need)
    }

    /// Sends a request whose answer is read in pieces.
    pub async fn pieces(&self, request: RequestBuilder) -> Result<Pieces, Error> {
        let response = self.send(request).await?;
        Ok(Pieces { host: self.base.clone(), response })
    }

    /// A chunk, in pieces.
    pub async fn chunk(&self, id: ChunkId) -> Result<Pieces, Error> {
        let request = self
            .request(Method::GET, &format!("/compute/chunks/{id}"))
            .header(ACCEPT, "application/octet-stream");
        self.pieces(request).await
    }

    /// A chunk, into a file that appears whole or not at all.
    pub async fn download(&self, id: ChunkId, target: &Path) -> Result<(), Error> {
        let mut pieces = self.chunk(id).await?;
        save(&mut pieces, target, Saving { replace: true, durable: false }, |_| {}).await
    }

    /// Submits one action in its JSON spelling. A refusal with a `need` list names what to upload
    /// first: [`Error::Refused`] with status 404.
    pub async fn submit(&self, action: &Value, options: SubmitOptions) -> Result<Submitted, Error> {
        let worker = options.worker.map(|worker| format!("/{worker}")).unwrap_or_default();
        let jobs = jobs_path(options.queue);
        let mut request = self.request(Method::POST, &format!("{jobs}{worker}"));
        if let Some(priority) = options.priority {
            request = request.query(&[("priority", priority)]);
        }
        if options.fresh {
            request = request.query(&[("cache", "skip")]);
        }
        self.json(request.json(action)).await
    }

    /// The completed feed after `since`; waits up to `wait` for something to list.
    pub async fn completed(
        &self,
        since: Lsn,
        limit: usize,
        wait: Duration,
    ) -> Result<Completed, Error> {
        self.completed_in(None, since, limit, wait).await
    }

    /// A job as JSON, whatever its state.
    pub async fn job(&self, lsn: Lsn) -> Result<Value, Error> {
        self.get(&format!("/compute/jobs/{lsn}")).await
    }

    /// Whether the service answers that it is ready.
    pub async fn is_ready(&self) -> bool {
        self.send(self.request(Method::GET, "/compute/ready")).await.is_ok()
    }
}
