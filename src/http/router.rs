//! The route table: data first, then how a path finds its row.

use std::collections::BTreeMap;
use std::pin::Pin;

use warp::http::Method;
use warp::reply::Response;

use super::error::Error;
use super::request::Request;
use super::{
    archives, backups, chunks, compact, feed, health, imports, jobs_change, jobs_list, jobs_read,
    jobs_submit, log, queues, recordings, replays, sysinfo, verify, workers,
};
use crate::domain::{ContentHash, Lsn, QueueId, QueueToken};

/// What a handler gives back when it is done.
pub(super) type Answer = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>;

/// What a request must bring for a row to answer it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Nothing: probes know no token.
    Open,
    /// The access token, when the service has one.
    Token,
    /// A socket whose other end is this machine, and a `Host` and `Origin` of ours; the access
    /// token too, when the service has one.
    LoopbackPeer,
    /// The queue's own token, which is in the path; no access token.
    QueueToken,
}

/// One row of the API.
pub struct Route {
    /// The method. GET rows answer HEAD too.
    pub method: Method,
    /// The path as the documentation spells it. `{worker}`, `{action}` and `{hash}` are 40 hex
    /// digits, `{token}` is 24, `{lsn}`, `{id}` and `{queue}` are decimal numbers. `/apply` stands
    /// for `/compute` everywhere.
    pub pattern: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
    /// Who may use it.
    pub access: Access,
    pub(super) handler: fn(Request) -> Answer,
}

/// A row needs the access token unless it says otherwise: `handler as Open`.
macro_rules! access {
    () => {
        Access::Token
    };
    ($access:ident) => {
        Access::$access
    };
}

macro_rules! row {
    ($method:ident, $pattern:expr, $access:expr, $handler:path, $doc:literal) => {
        Route {
            method: Method::$method,
            pattern: $pattern,
            doc: $doc,
            access: $access,
            handler: |request| Box::pin($handler(request)),
        }
    };
}

/// The rows `[below a queue]` are two each: by the queue's number, which this machine alone may use,
/// and by its token.
macro_rules! routes {
    (
        $($method:ident $pattern:literal $handler:path $(as $access:ident)? : $doc:literal;)*
        [below a queue]
        $($of_queue:ident $rest:literal $inner:path: $told:literal;)*
    ) => {
        &[
            $(row!($method, $pattern, access!($($access)?), $handler, $doc),)*
            $(
                row!($of_queue, concat!("/compute/queues/{queue}", $rest), Access::LoopbackPeer, $inner, $told),
                row!($of_queue, concat!("/compute/queues/{token}", $rest), Access::QueueToken, $inner, $told),
            )*
        ]
    };
}

/// Every route of the service.
pub static ROUTES: &[Route] = routes! {
    GET "/health" health::plain as Open: "whether the service takes work, as text";
    GET "/health/ready" health::plain as Open: "the same; the engine probes it at start";
    GET "/compute/ready" health::ready as Open: "whether the service takes work";
    GET "/compute/sysinfo" sysinfo::sysinfo: "the machine, the log, the chunk store and the runners";

    GET "/compute/workers" workers::list: "every known worker";
    POST "/compute/workers" workers::register: "register a worker; its id comes from the body";
    GET "/compute/workers/{worker}" workers::get: "a worker's descriptor";
    POST "/compute/workers/{worker}" workers::register: "register a worker, or learn which chunks are missing";
    DELETE "/compute/workers/{worker}" workers::retire: "let a worker take no new job";

    POST "/compute/chunks" chunks::post: "which of these chunks are missing; or store a body";
    GET "/compute/chunks/{hash}" chunks::get: "a chunk, raw or compressed";
    PUT "/compute/chunks/{hash}" chunks::put: "store a chunk";

    GET "/compute/jobs" jobs_list::list: "list and search jobs";
    POST "/compute/jobs" jobs_submit::submit: "submit to whichever worker implements the function";
    GET "/compute/jobs/completed" feed::completed: "every ended job, in the order of their ends";
    GET "/compute/jobs/{worker}" jobs_list::open_of_worker: "a worker's pending and running jobs";
    POST "/compute/jobs/{worker}" jobs_submit::submit: "submit to this worker";
    GET "/compute/jobs/{worker}/{action}" jobs_read::poll: "the newest result of an action";
    GET "/compute/jobs/{lsn}" jobs_read::get: "a job, or its result as a package";
    POST "/compute/jobs/{lsn}" jobs_change::by_body: "cancel, reprioritise or reschedule";
    DELETE "/compute/jobs/{lsn}" jobs_change::cancel: "cancel";
    GET "/compute/jobs/{lsn}/events" jobs_read::events: "the job's records, in order";
    GET "/compute/jobs/{lsn}/explain" jobs_read::explain: "why the job is where it is";
    POST "/compute/jobs/{lsn}/cancel" jobs_change::cancel: "cancel";
    POST "/compute/jobs/{lsn}/priority" jobs_change::priority: "change the priority";
    POST "/compute/jobs/{lsn}/reschedule" jobs_change::reschedule: "try a failed job again";
    POST "/compute/jobs/{lsn}/retract" jobs_change::retract: "pull back for another runner";
    POST "/compute/jobs/{lsn}/retire" jobs_change::retire: "let the result go";

    GET "/compute/log" log::read: "the log, one record a line";
    POST "/compute/log/compact" compact::compact: "fold the oldest records and give their space back";
    POST "/compute/log/verify" verify::verify: "check the log and every chunk that is needed";

    POST "/compute/backup" backups::take: "what a backup lacks, as a stream";

    GET "/compute/record" recordings::list: "every recording";
    POST "/compute/record/start" recordings::start: "record from here on";
    POST "/compute/record/stop" recordings::stop: "record no more";
    POST "/compute/record/import" imports::import: "take in an archive";
    GET "/compute/record/{id}" recordings::get: "what is in a recording";
    DELETE "/compute/record/{id}" recordings::delete: "forget a recording";
    GET "/compute/record/{id}/archive" archives::get: "a recording as one file";
    POST "/compute/record/{id}/replay" replays::start: "run a recording again and compare";
    GET "/compute/replays" replays::list: "every replay";
    GET "/compute/replays/{id}" replays::get: "what came of a replay so far";
    DELETE "/compute/replays/{id}" replays::cancel: "end a replay";

    GET "/compute/queues" queues::list as LoopbackPeer: "every queue";
    POST "/compute/queues" queues::create as LoopbackPeer: "make a queue for this machine";
    POST "/compute/queues/remote" queues::create_remote: "make a queue with a token";

    [below a queue]
    GET "" queues::get: "a queue, its counters and its settings";
    DELETE "" queues::cancel: "cancel it with every job that has not ended";
    POST "/drain" queues::drain: "take no new job, finish the rest";
    GET "/completed" feed::completed: "its ended jobs, in the order of their ends";
    GET "/jobs" jobs_list::list: "list and search its jobs";
    POST "/jobs" jobs_submit::submit: "submit to whichever worker implements the function";
    GET "/jobs/{worker}" jobs_list::open_of_worker: "its pending and running jobs of a worker";
    POST "/jobs/{worker}" jobs_submit::submit: "submit to this worker";
    GET "/jobs/{lsn}" jobs_read::get: "a job, or its result as a package";
    POST "/jobs/{lsn}" jobs_change::by_body: "cancel, reprioritise or reschedule";
    DELETE "/jobs/{lsn}" jobs_change::cancel: "cancel";
    GET "/jobs/{lsn}/events" jobs_read::events: "the job's records, in order";
    GET "/jobs/{lsn}/explain" jobs_read::explain: "why the job is where it is";
    POST "/jobs/{lsn}/cancel" jobs_change::cancel: "cancel";
    POST "/jobs/{lsn}/priority" jobs_change::priority: "change the priority";
    POST "/jobs/{lsn}/reschedule" jobs_change::reschedule: "try a failed job again";
    POST "/jobs/{lsn}/retract" jobs_change::retract: "pull back for another runner";
    POST "/jobs/{lsn}/retire" jobs_change::retire: "let the result go";
};

/// Most segments a path of ours has.
const SEGMENTS_MAX: usize = 6;

/// What the variable parts of a path were, in order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Params {
    pub(super) hashes: [Option<ContentHash>; 2],
    pub(super) lsn: Option<Lsn>,
    pub(super) queue: Option<QueueName>,
}

/// How a path names a queue.
#[derive(Clone, Copy, Debug)]
pub(super) enum QueueName {
    /// None: no queue can have this number.
    Number(Option<QueueId>),
    Token(QueueToken),
}

/// What a path and a method lead to.
pub(super) enum Found<'table> {
    Route(&'table Route, Params),
    /// The path exists; these are its methods, as `Allow` spells them, and who may know.
    OtherMethods(String, Access),
    Nothing,
}

impl Found<'_> {
    /// What must be shown before the answer is told.
    pub(super) const fn access(&self) -> Access {
        match self {
            Self::Route(route, _) => route.access,
            Self::OtherMethods(_, access) => *access,
            Self::Nothing => Access::Token,
        }
    }
}

enum Segment {
    Literal(&'static str),
    Hash,
    Lsn,
    Queue,
    Token,
}

/// One segment of a requested path, sorted once.
enum Part<'path> {
    Word(&'path str),
    Hash(ContentHash),
    Number(&'path str, Lsn),
    Token(QueueToken),
}

impl<'path> From<&'path str> for Part<'path> {
    fn from(text: &'path str) -> Self {
        // To refuse a word as a hash or a number would take a message that nobody reads.
        if text.len() == 2 * ContentHash::BYTES
            && let Ok(hash) = text.parse()
        {
            return Self::Hash(hash);
        }
        // Also one of digits alone: it is longer than any number.
        if let Ok(token) = text.parse() {
            return Self::Token(token);
        }
        if !text.starts_with(|first: char| first.is_ascii_digit()) {
            return Self::Word(text);
        }
        text.parse().map_or(Self::Word(text), |lsn| Self::Number(text, lsn))
    }
}

struct Row {
    segments: Vec<Segment>,
    route: &'static Route,
}

/// What rows are sorted by: how many segments, and the second one, which is a word in all of them.
type Shelf = (usize, &'static str);

/// The table, ready to be searched.
pub(super) struct Router {
    rows: BTreeMap<Shelf, Vec<Row>>,
}

impl Router {
    pub(super) fn new(routes: &'static [Route]) -> Self {
        let mut rows: BTreeMap<Shelf, Vec<Row>> = BTreeMap::new();
        for route in routes {
            let segments = compile(route);
            let second = match segments.get(1) {
                Some(Segment::Literal(word)) => word,
                _ => "",
            };
            rows.entry((segments.len(), second)).or_default().push(Row { segments, route });
        }
        Self { rows }
    }

    /// Finds the row for a method and a path without query.
    pub(super) fn find(&self, method: &Method, path: &str) -> Found<'_> {
        let Some(parts) = split(path) else { return Found::Nothing };
        // HEAD is GET without the body, which the connection leaves out by itself.
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        let mut others: Vec<&Method> = Vec::new();
        let mut access = Access::Token;
        let second = match parts.get(1) {
            Some(Part::Word(text) | Part::Number(text, _)) => *text,
            Some(Part::Hash(_) | Part::Token(_)) | None => "",
        };
        for row in self.rows.get(&(parts.len(), second)).into_iter().flatten() {
            let Some(params) = row.matches(&parts) else { continue };
            if row.route.method == wanted {
                return Found::Route(row.route, params);
            }
            others.push(&row.route.method);
            access = row.route.access;
        }
        if others.is_empty() { Found::Nothing } else { Found::OtherMethods(allow(&others), access) }
    }
}

impl Row {
    fn matches(&self, parts: &[Part<'_>]) -> Option<Params> {
        if parts.len() != self.segments.len() {
            return None;
        }
        let mut params = Params::default();
        let mut hashes = params.hashes.iter_mut();
        for (segment, part) in self.segments.iter().zip(parts) {
            match (segment, part) {
                (Segment::Literal(literal), Part::Word(text) | Part::Number(text, _))
                    if literal == text => {}
                (Segment::Hash, Part::Hash(hash)) => *hashes.next()? = Some(*hash),
                (Segment::Lsn, Part::Number(_, lsn)) => params.lsn = Some(*lsn),
                (Segment::Queue, Part::Number(text, _)) => {
                    params.queue = Some(QueueName::Number(text.parse().ok()));
                }
                (Segment::Token, Part::Token(token)) => {
                    params.queue = Some(QueueName::Token(*token));
                }
                (
                    Segment::Literal(_)
                    | Segment::Hash
                    | Segment::Lsn
                    | Segment::Queue
                    | Segment::Token,
                    _,
                ) => return None,
            }
        }
        Some(params)
    }
}

fn compile(route: &'static Route) -> Vec<Segment> {
    let segments = route.pattern.split('/').skip(1);
    segments
        .map(|segment| match segment {
            "{worker}" | "{action}" | "{hash}" => Segment::Hash,
            "{lsn}" | "{id}" => Segment::Lsn,
            "{queue}" => Segment::Queue,
            "{token}" => Segment::Token,
            literal => Segment::Literal(literal),
        })
        .collect()
}

/// The parts of a path, the alias taken for what it stands for.
fn split(path: &str) -> Option<Vec<Part<'_>>> {
    let path = path.strip_prefix('/')?;
    let mut parts = Vec::with_capacity(SEGMENTS_MAX);
    for text in path.split('/') {
        if parts.len() == SEGMENTS_MAX {
            return None;
        }
        let alias = parts.is_empty() && text == "apply";
        parts.push(Part::from(if alias { "compute" } else { text }));
    }
    Some(parts)
}

fn allow(methods: &[&Method]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for method in methods {
        names.push(method.as_str());
        if **method == Method::GET {
            names.push("HEAD");
        }
    }
    names.join(", ")
}

/// Whether a 404 to this POST must be a compact binary object: the engine's client reads it
/// without looking at it first.
pub(super) fn is_engine_post(method: &Method, path: &str) -> bool {
    let rest = path.strip_prefix("/compute/").or_else(|| path.strip_prefix("/apply/"));
    let Some(rest) = rest else { return false };
    let mut segments = rest.split('/');
    let root = match segments.next() {
        // The jobs of a queue are posted to as all jobs are.
        Some("queues") => segments.nth(1),
        root => root,
    };
    method == Method::POST && matches!(root, Some("workers" | "jobs"))
}

#[cfg(test)]
mod tests;
