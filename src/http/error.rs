//! The only place that knows status codes: one table from what went wrong to what the client reads.

use std::time::Duration;

use warp::http::StatusCode;

use super::negotiate::Media;
use super::respond;
use crate::domain::{ActionId, ChunkId, JobState, Lsn, QueueState, Rejection, WorkerId};
use crate::engine::{CompactError, PastError};
use crate::{chunks, engine, eventlog};

/// Why a request has no better answer. The text is for a person.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("no such path; docs/http.md lists them all")]
    UnknownPath,
    #[error("this path takes {allow}")]
    MethodNotAllowed { allow: String },
    #[error("none of the accepted types can be given; there is {}", names(.offers))]
    NotAcceptable { offers: Vec<Media> },
    #[error("the body's type is {found:?}; this path takes {}", names(.allowed))]
    UnsupportedMedia { found: String, allowed: Vec<Media> },
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge { limit: u64 },
    #[error("the JSON body has more than {limit} values; send compact binary, or smaller batches")]
    TooManyValues { limit: usize },
    #[error("the body came too slowly: {} s of silence are taken, less what its bytes make up for", .idle.as_secs_f64())]
    BodyTimeout { idle: Duration },
    #[error("the request's head is not HTTP")]
    MalformedHead,
    #[error("the request's head is too large; {HEAD_BYTES_MAX} bytes are taken")]
    HeadTooLarge,
    #[error("the request's path is too long")]
    UriTooLong,
    #[error("all connections that this address may have are in use")]
    TooManyConnections,
    #[error("the body broke off")]
    BodyBroken {
        #[source]
        source: warp::Error,
    },
    /// Bytes that don't follow their format; `what` names the body's part.
    #[error("{what} is malformed: {reason}")]
    Malformed { what: &'static str, reason: String },
    #[error("field {field}: {reason}")]
    BadField { field: String, reason: String },
    #[error("query parameter {name}: {found:?} is not {expected}")]
    BadParameter { name: &'static str, expected: &'static str, found: String },
    #[error("the path names {what} {path}, but the body's object is {body}")]
    WrongId { what: &'static str, path: String, body: String },
    /// Bytes that are no archive of a recording, or not that one.
    #[error("the archive is damaged at byte {position}: {reason}")]
    DamagedArchive { position: u64, reason: String },
    #[error("a batch has at most {limit} actions, this one has {found}")]
    BatchTooLarge { limit: usize, found: usize },
    #[error("missing chunks: {}; send them in a package, or one by one", .need.len())]
    Need { need: Vec<ChunkId> },
    #[error("worker {0} is not known; register it first")]
    UnknownWorker(WorkerId),
    #[error("worker {0} is not known")]
    NoSuchWorker(WorkerId),
    #[error("chunk {0} is not held")]
    NoSuchChunk(ChunkId),
    #[error("no job of action {action} by worker {worker} is known")]
    NoSuchAction { worker: WorkerId, action: ActionId },
    #[error("every job of this action was cancelled")]
    AllCancelled { job: Lsn },
    #[error("no such queue: it was never made, or it was forgotten after its end")]
    NoSuchQueue,
    #[error("job {job} {}: {reason}", .state.name())]
    JobEnded { job: Lsn, state: JobState, reason: String },
    #[error("job {job} completed, but value {chunk} of its result cannot be read")]
    ResultIncomplete { job: Lsn, chunk: ChunkId },
    #[error("job {job} was cancelled")]
    JobCancelled { job: Lsn },
    #[error("the log starts at {first}; what came before is gone")]
    LogTrimmed { first: Lsn },
    #[error("LSN {lsn} is still to come; the newest is {newest}")]
    LsnInFuture { lsn: Lsn, newest: Lsn },
    /// Of an answer about the past.
    #[error("chunk {chunk} was held then and has been let go since")]
    ChunkGone { chunk: ChunkId },
    #[error("{found:?} is neither loopback nor a configured host name")]
    ForeignHost { found: String },
    #[error("requests from pages of {found:?} are not taken")]
    ForeignOrigin { found: String },
    /// `shown`: a token came, and it is another one.
    #[error("{}; send Authorization: Bearer TOKEN", if *.shown { "the access token is wrong" } else { "an access token is needed" })]
    Unauthorized { shown: bool },
    #[error("only processes on the service's own machine may ask for this, by a loopback address")]
    NotLoopback,
    #[error("the range lies outside of the chunk's {length} bytes")]
    RangeNotSatisfiable { length: u64 },
    #[error("too much is being received at once; try again in a moment")]
    Busy,
    #[error("the disk is nearly full; nothing new is taken until there is room")]
    NoRoom,
    /// Something of ours broke. The client gets no details, the log does.
    #[error("internal error: {0}")]
    Internal(String),
    #[error(transparent)]
    Engine(#[from] engine::Error),
    #[error(transparent)]
    Chunks(#[from] chunks::Error),
    #[error("cannot read the log")]
    Log(#[from] eventlog::Error),
    #[error(transparent)]
    Compact(#[from] CompactError),
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        Self::Engine(engine::Error::Rejected(rejection))
    }
}

impl From<PastError> for Error {
    fn from(error: PastError) -> Self {
        match error {
            PastError::Ahead { lsn, newest } => Self::LsnInFuture { lsn, newest },
            PastError::Gone { first } => Self::LogTrimmed { first },
            PastError::Starting => engine::Error::Starting.into(),
            PastError::Stopping => engine::Error::Stopping.into(),
            PastError::Log(error) => Self::Log(error),
            PastError::Base(_)
            | PastError::Apply(_)
            | PastError::Lost { .. }
            | PastError::Panicked => Self::Internal(respond::sentence(&error)),
        }
    }
}

/// Bytes of the largest head; a connection buffers no more of a request. A body passes through it
/// in pieces no larger.
pub(super) const HEAD_BYTES_MAX: usize = 16 << 10;

/// What a person sends again later needs to know when.
pub(super) const RETRY_AFTER_SECONDS: &str = "1";

impl Error {
    /// The status and the stable word that programs match on.
    pub(super) fn status(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::UnknownPath => (S::NOT_FOUND, "unknown_path"),
            Self::MethodNotAllowed { .. } => (S::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::NotAcceptable { .. } => (S::NOT_ACCEPTABLE, "not_acceptable"),
            Self::UnsupportedMedia { .. } => (S::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Self::BodyTooLarge { .. } => (S::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::TooManyValues { .. } => (S::PAYLOAD_TOO_LARGE, "too_many_values"),
            Self::BatchTooLarge { .. } => (S::PAYLOAD_TOO_LARGE, "batch_too_large"),
            Self::BodyTimeout { .. } => (S::REQUEST_TIMEOUT, "body_timeout"),
            Self::BodyBroken { .. } => (S::BAD_REQUEST, "body_broken"),
            Self::MalformedHead => (S::BAD_REQUEST, "malformed_head"),
            Self::HeadTooLarge => (S::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large"),
            Self::UriTooLong => (S::URI_TOO_LONG, "uri_too_long"),
            Self::TooManyConnections => (S::SERVICE_UNAVAILABLE, "too_many_connections"),
            Self::Malformed { .. } => (S::BAD_REQUEST, "malformed_body"),
            Self::BadField { .. } => (S::BAD_REQUEST, "bad_field"),
            Self::BadParameter { .. } => (S::BAD_REQUEST, "bad_parameter"),
            Self::WrongId { .. } => (S::BAD_REQUEST, "wrong_id"),
            Self::DamagedArchive { .. } => (S::BAD_REQUEST, "damaged_archive"),
            Self::Need { .. } => (S::NOT_FOUND, "missing_chunks"),
            Self::UnknownWorker(_) => (S::FAILED_DEPENDENCY, "unknown_worker"),
            Self::NoSuchWorker(_) => (S::NOT_FOUND, "unknown_worker"),
            Self::NoSuchChunk(_) => (S::NOT_FOUND, "unknown_chunk"),
            Self::NoSuchAction { .. } => (S::NOT_FOUND, "unknown_action"),
            Self::NoSuchQueue => (S::NOT_FOUND, "unknown_queue"),
            Self::AllCancelled { .. } | Self::JobCancelled { .. } => (S::GONE, "job_cancelled"),
            Self::JobEnded { state, .. } => (S::INTERNAL_SERVER_ERROR, ended_code(*state)),
            Self::ResultIncomplete { .. } => (S::INTERNAL_SERVER_ERROR, "result_incomplete"),
            Self::LogTrimmed { .. } => (S::GONE, "log_trimmed"),
            Self::LsnInFuture { .. } => (S::BAD_REQUEST, "lsn_in_future"),
            Self::ChunkGone { .. } => (S::GONE, "chunk_gone"),
            Self::ForeignHost { .. } => (S::FORBIDDEN, "foreign_host"),
            Self::ForeignOrigin { .. } => (S::FORBIDDEN, "foreign_origin"),
            Self::Unauthorized { .. } => (S::UNAUTHORIZED, "unauthorized"),
            Self::NotLoopback => (S::FORBIDDEN, "not_loopback"),
            Self::RangeNotSatisfiable { .. } => (S::RANGE_NOT_SATISFIABLE, "range_not_satisfiable"),
            Self::Busy => (S::SERVICE_UNAVAILABLE, "over_capacity"),
            Self::NoRoom => (S::INSUFFICIENT_STORAGE, "insufficient_storage"),
            Self::Internal(_) => (S::INTERNAL_SERVER_ERROR, "internal"),
            Self::Engine(error) => engine_status(error),
            Self::Chunks(error) => chunk_status(error),
            Self::Log(_) => (S::INTERNAL_SERVER_ERROR, "log_unreadable"),
            Self::Compact(error) => compact_status(error),
        }
    }

    /// Whether the rest of the request's body is left unread, so that the connection can't be used
    /// for another request.
    pub(super) fn closes(&self) -> bool {
        matches!(
            self,
            Self::BodyTooLarge { .. } | Self::BodyTimeout { .. } | Self::BodyBroken { .. }
        )
    }
}

/// A refusal by the rules or by the state of the writer.
fn engine_status(error: &engine::Error) -> (StatusCode, &'static str) {
    use StatusCode as S;
    match error {
        engine::Error::Rejected(rejection) => rejection_status(rejection),
        engine::Error::Busy => (S::SERVICE_UNAVAILABLE, "over_capacity"),
        engine::Error::Starting => (S::SERVICE_UNAVAILABLE, "starting"),
        engine::Error::Stopping => (S::SERVICE_UNAVAILABLE, "stopping"),
        engine::Error::Poisoned => (S::SERVICE_UNAVAILABLE, "log_poisoned"),
    }
}

/// Why the log was not compacted.
fn compact_status(error: &CompactError) -> (StatusCode, &'static str) {
    use StatusCode as S;
    match error {
        CompactError::NoRoom { .. } => (S::INSUFFICIENT_STORAGE, "insufficient_storage"),
        CompactError::Stopping => (S::SERVICE_UNAVAILABLE, "stopping"),
        CompactError::NotReady => (S::SERVICE_UNAVAILABLE, "log_poisoned"),
        _ => (S::INTERNAL_SERVER_ERROR, "not_compacted"),
    }
}

/// A refusal or a failure of the chunk store.
fn chunk_status(error: &chunks::Error) -> (StatusCode, &'static str) {
    use StatusCode as S;
    match error {
        chunks::Error::Mismatch { .. } => (S::BAD_REQUEST, "wrong_hash"),
        chunks::Error::TooLong { .. } => (S::PAYLOAD_TOO_LARGE, "body_too_large"),
        chunks::Error::Missing(_) => (S::NOT_FOUND, "unknown_chunk"),
        chunks::Error::Damaged { .. } => (S::INTERNAL_SERVER_ERROR, "chunk_damaged"),
        chunks::Error::Open { .. } | chunks::Error::Io { .. } => {
            (S::INTERNAL_SERVER_ERROR, "chunk_store_failed")
        }
        // The second time it goes elsewhere.
        chunks::Error::Rotten { .. } => (S::SERVICE_UNAVAILABLE, "chunk_damaged"),
        // The service ends, and a restart recovers.
        chunks::Error::Database { .. } | chunks::Error::Poisoned(_) => {
            (S::SERVICE_UNAVAILABLE, "chunk_store_failed")
        }
    }
}

/// A refusal by the rules, also of one item of a batch.
pub(super) fn rejection_status(rejection: &Rejection) -> (StatusCode, &'static str) {
    use StatusCode as S;
    match rejection {
        // Never 404: the engine would take that for missing chunks and upload them all.
        Rejection::UnknownWorker(_) => (S::FAILED_DEPENDENCY, "unknown_worker"),
        Rejection::NoWorker(_) => (S::FAILED_DEPENDENCY, "no_worker"),
        Rejection::TooLong { .. } => (S::BAD_REQUEST, "too_long"),
        Rejection::UnknownJob(_) => (S::NOT_FOUND, "unknown_job"),
        Rejection::WorkerBusy { .. } => (S::CONFLICT, "worker_busy"),
        Rejection::WrongState { state, .. } => (S::CONFLICT, state_code(*state)),
        Rejection::RetryLimit { .. } => (S::CONFLICT, "retry_limit"),
        Rejection::UnknownQueue(_) => (S::NOT_FOUND, "unknown_queue"),
        Rejection::QueueState { state, .. } => (S::CONFLICT, queue_code(*state)),
        Rejection::QueueHolds { .. } => (S::CONFLICT, "queue_holds_results"),
        Rejection::QueueOfReplay { .. } => (S::CONFLICT, "queue_of_replay"),
        Rejection::RecordingActive { .. } => (S::CONFLICT, "recording_active"),
        Rejection::RecordingOpen { .. } => (S::CONFLICT, "recording_open"),
        Rejection::NotRecording => (S::CONFLICT, "not_recording"),
        Rejection::UnknownRecording(_) => (S::NOT_FOUND, "unknown_recording"),
        Rejection::RecordingInUse { .. } => (S::CONFLICT, "recording_in_use"),
        Rejection::UnknownReplay(_) => (S::NOT_FOUND, "unknown_replay"),
        Rejection::ReplayOver(_) => (S::CONFLICT, "replay_over"),
        Rejection::ReplayPosition { .. } => (S::CONFLICT, "replay_position"),
        Rejection::TooManyQueues => (S::INSUFFICIENT_STORAGE, "too_many_queues"),
    }
}

/// The word for a state that forbids a change.
const fn state_code(state: JobState) -> &'static str {
    match state {
        JobState::Pending => "job_is_pending",
        JobState::Submitting => "job_is_submitting",
        JobState::Running => "job_is_running",
        JobState::Retracted => "job_is_retracted",
        JobState::Completed => "job_is_completed",
        JobState::Failed => "job_is_failed",
        JobState::Abandoned => "job_is_abandoned",
        JobState::Cancelled => "job_is_cancelled",
    }
}

/// The word for a queue's state that forbids a change.
const fn queue_code(state: QueueState) -> &'static str {
    match state {
        QueueState::Active => "queue_is_active",
        QueueState::Draining => "queue_is_draining",
        QueueState::Complete => "queue_is_complete",
        QueueState::Cancelled => "queue_is_cancelled",
        QueueState::Expired => "queue_is_expired",
    }
}

const fn ended_code(state: JobState) -> &'static str {
    match state {
        JobState::Abandoned => "job_abandoned",
        JobState::Cancelled => "job_cancelled",
        JobState::Failed
        | JobState::Pending
        | JobState::Submitting
        | JobState::Running
        | JobState::Retracted
        | JobState::Completed => "job_failed",
    }
}

fn names(list: &[Media]) -> String {
    let names: Vec<&str> = list.iter().map(|media| media.name()).collect();
    names.join(", ")
}
