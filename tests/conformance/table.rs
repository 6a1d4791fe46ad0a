//! What every route may be asked and may answer, as the API's description has it.

use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Who is let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    /// Everybody; a page of somebody else's not.
    Open,
    /// Who shows the access token, where there is one.
    Token,
    /// The same, and only from this machine.
    Loopback,
    /// Who has the queue's token.
    QueueToken,
}

/// What a request's body may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Takes {
    /// None is needed and none is looked at.
    Nothing,
    /// A few fields, or nothing at all.
    Fields,
    /// An object in either spelling, or a package.
    Parcel,
    /// A list of chunks, or a chunk's content.
    ChunksOrContent,
    /// A chunk's content.
    Content,
    /// An archive of a recording.
    Archive,
    /// What a backup has already.
    Known,
}

/// What an answer is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Gives {
    /// An object in either spelling.
    Object,
    /// An object, or the result as a package.
    ObjectOrPackage,
    /// Text, whatever is asked for.
    Text,
    /// A chunk's bytes.
    Bytes,
    /// One object of JSON a line.
    Lines,
    /// An archive of a recording.
    Archive,
    /// What a backup lacks.
    Stream,
}

impl Gives {
    /// Whether it is no object.
    pub(crate) const fn is_plain(self) -> bool {
        matches!(self, Self::Bytes | Self::Lines | Self::Archive | Self::Stream)
    }
}

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) who: Who,
    pub(crate) takes: Takes,
    pub(crate) gives: Gives,
    pub(crate) statuses: BTreeSet<u16>,
    pub(crate) parameters: Vec<Parameter>,
}

/// A query parameter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    /// Whether there are values that it can't have.
    pub(crate) can_be_bad: bool,
}

impl Row {
    /// A name for reports.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Whether it is below one queue.
    pub(crate) fn is_of_queue(&self) -> bool {
        self.path.contains("/{queue}") || self.path.contains("/{token}")
    }

    /// Whether it changes something.
    pub(crate) fn changes(&self) -> bool {
        self.statuses.contains(&503) && self.method != "GET"
    }
}

/// Every row.
pub(crate) static ROWS: LazyLock<Vec<Row>> = LazyLock::new(rows);

type Line = (&'static str, &'static str, Takes, Gives, &'static str, &'static str);

/// Method, path, body, answer, statuses, parameters. What who-may-ask and `Accept` add to the
/// statuses is added below; `!` marks a parameter that takes any value.
const WITHOUT_QUEUES: &[Line] = {
    use Gives::{Bytes, Lines, Object, Text};
    use Takes::{ChunksOrContent, Content, Known, Nothing, Parcel};
    &[
        ("GET", "/health", Nothing, Text, "200 503", ""),
        ("GET", "/health/ready", Nothing, Text, "200 503", ""),
        ("GET", "/compute/ready", Nothing, Object, "200 503", ""),
        ("GET", "/compute/sysinfo", Nothing, Object, "200", ""),
        ("GET", "/compute/workers", Nothing, Object, "200", ""),
        ("POST", "/compute/workers", Parcel, Object, "200 404 503 507", ""),
        ("GET", "/compute/workers/{worker}", Nothing, Object, "200 404", ""),
        ("POST", "/compute/workers/{worker}", Parcel, Object, "200 404 503 507", ""),
        ("DELETE", "/compute/workers/{worker}", Nothing, Object, "200 404 409 503", ""),
        ("POST", "/compute/chunks", ChunksOrContent, Object, "200 201 507", ""),
        ("GET", "/compute/chunks/{hash}", Nothing, Bytes, "200 206 304 404 416", ""),
        ("PUT", "/compute/chunks/{hash}", Content, Object, "200 201 507", ""),
        ("GET", "/compute/jobs/{worker}/{action}", Nothing, Gives::ObjectOrPackage, POLL, ""),
        ("GET", "/compute/log", Nothing, Lines, "200 400", "from limit wait"),
        ("POST", "/compute/log/compact", Nothing, Lines, "200 400 500 503 507", "before keep"),
        ("POST", "/compute/log/verify", Nothing, Lines, "200", ""),
        ("POST", "/compute/backup", Known, Gives::Stream, "200 400", "after"),
    ]
};

const RECORDINGS: &[Line] = {
    use Gives::Object;
    use Takes::{Fields, Nothing};
    let archive = Gives::Archive;
    &[
        ("GET", "", Nothing, Object, "200 400", "after limit"),
        ("POST", "/start", Fields, Object, "200 409 503 507", ""),
        ("POST", "/stop", Nothing, Object, "200 409 503", ""),
        ("POST", "/import", Takes::Archive, Object, "200 503 507", ""),
        ("GET", "/{id}", Nothing, Object, "200 404", ""),
        ("DELETE", "/{id}", Nothing, Object, "200 404 409 503", ""),
        ("GET", "/{id}/archive", Nothing, archive, "200 400 404 409", "wait"),
        ("POST", "/{id}/replay", Fields, Object, "200 404 409 503 507", ""),
    ]
};

const REPLAYS: &[Line] = {
    use Gives::Object;
    use Takes::Nothing;
    &[
        ("GET", "", Nothing, Object, "200", ""),
        ("GET", "/{id}", Nothing, Object, "200 404", ""),
        ("DELETE", "/{id}", Nothing, Object, "200 404 503", ""),
    ]
};

const QUEUES: &[Line] = {
    use Gives::Object;
    use Takes::{Fields, Nothing};
    &[
        ("GET", "/compute/queues", Nothing, Object, "200 400", "after limit"),
        ("POST", "/compute/queues", Fields, Object, "200 503", ""),
        ("POST", "/compute/queues/remote", Fields, Object, "200 503", ""),
    ]
};

/// Rows that are below one queue only.
const OF_QUEUE: &[Line] = {
    use Gives::Object;
    use Takes::Nothing;
    &[
        ("GET", "", Nothing, Object, "200 404", ""),
        ("DELETE", "", Nothing, Object, "200 404 503", ""),
        ("POST", "/drain", Nothing, Object, "200 404 409 503", ""),
        ("GET", "/completed", Nothing, Object, "200 400 404", FEED),
    ]
};

/// Rows that are there for all jobs and once more below each queue.
const JOBS: &[Line] = {
    use Gives::{Object, ObjectOrPackage};
    use Takes::{Fields, Nothing, Parcel};
    &[
        ("GET", "", Nothing, Object, "200 400", LIST),
        ("POST", "", Parcel, Object, SUBMIT, "priority cache"),
        ("GET", "/{worker}", Nothing, Object, "200 404", ""),
        ("POST", "/{worker}", Parcel, Object, SUBMIT, "priority cache"),
        ("GET", "/{lsn}", Nothing, ObjectOrPackage, POLL, ""),
        ("POST", "/{lsn}", Fields, Object, CHANGE, "priority"),
        ("DELETE", "/{lsn}", Nothing, Object, CHANGE, ""),
        ("GET", "/{lsn}/events", Nothing, Object, "200 404", ""),
        ("GET", "/{lsn}/explain", Nothing, Object, "200 404", ""),
        ("POST", "/{lsn}/cancel", Nothing, Object, CHANGE, ""),
        ("POST", "/{lsn}/priority", Fields, Object, CHANGE, "priority"),
        ("POST", "/{lsn}/reschedule", Nothing, Object, CHANGE, ""),
        ("POST", "/{lsn}/retract", Nothing, Object, CHANGE, ""),
        ("POST", "/{lsn}/retire", Nothing, Object, CHANGE, ""),
    ]
};

const POLL: &str = "200 202 404 410 500";
const LIST: &str = "state worker function! after limit";
const FEED: &str = "since limit wait";
const SUBMIT: &str = "200 404 424 503 507";
const CHANGE: &str = "200 404 409 503";

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for line in WITHOUT_QUEUES {
        let open = line.1.starts_with("/health") || line.1 == "/compute/ready";
        rows.push(row(line, "", if open { Who::Open } else { Who::Token }));
    }
    for line in JOBS {
        let mut row = row(line, "/compute/jobs", Who::Token);
        if row.name() == "GET /compute/jobs" {
            row.parameters.push(Parameter { name: "queue", can_be_bad: true });
        }
        rows.push(row);
    }
    let feed = ("GET", "/compute/jobs/completed", Takes::Nothing, Gives::Object, "200 400", FEED);
    rows.push(row(&feed, "", Who::Token));
    rows.extend(RECORDINGS.iter().map(|line| row(line, "/compute/record", Who::Token)));
    rows.extend(REPLAYS.iter().map(|line| row(line, "/compute/replays", Who::Token)));
    for line in QUEUES {
        let remote = line.1.ends_with("/remote");
        rows.push(row(line, "", if remote { Who::Token } else { Who::Loopback }));
    }
    for (name, who) in [("{queue}", Who::Loopback), ("{token}", Who::QueueToken)] {
        let queue = format!("/compute/queues/{name}");
        rows.extend(OF_QUEUE.iter().map(|line| row(line, &queue, who)));
        for line in JOBS {
            let mut row = row(line, &format!("{queue}/jobs"), who);
            row.statuses.insert(404);
            if row.takes == Takes::Parcel {
                row.statuses.insert(409);
            }
            rows.push(row);
        }
    }
    rows
}

fn row(line: &Line, prefix: &str, who: Who) -> Row {
    let (method, path, takes, gives, statuses, parameters) = *line;
    let mut statuses: BTreeSet<u16> =
        statuses.split(' ').map(|status| status.parse().unwrap()).collect();
    if takes != Takes::Nothing {
        statuses.extend([400, 413, 415]);
    }
    if gives != Gives::Text {
        statuses.insert(406);
    }
    if matches!(who, Who::Token | Who::Loopback) {
        statuses.insert(401);
    }
    statuses.insert(403);
    let parameters = parameters.split_whitespace().map(|name| Parameter {
        name: name.trim_end_matches('!'),
        can_be_bad: !name.ends_with('!'),
    });
    let mut parameters: Vec<_> = parameters.collect();
    let path = format!("{prefix}{path}");
    if method == "GET" && looks_back(&path) {
        statuses.insert(400);
        parameters.push(Parameter { name: "at", can_be_bad: true });
    }
    Row { method, path, who, takes, gives, statuses, parameters }
}

/// Whether a read can be of the past.
pub(crate) fn looks_back(path: &str) -> bool {
    ["/compute/workers", "/compute/jobs", "/compute/queues"]
        .iter()
        .any(|root| path.starts_with(root))
}

/// What a method and a path lead to.
pub(crate) enum Found {
    /// The number of a row.
    Row(usize),
    /// A path that is there, as the table has it, but not for this method.
    OtherMethods(&'static str),
    Nothing,
}

/// Finds the row of a request.
pub(crate) fn find(method: &str, target: &str) -> Found {
    let path = target.split('?').next().unwrap();
    let method = if method == "HEAD" { "GET" } else { method };
    let mut known = None;
    // Words go before what stands for something else.
    let mut fitting: Vec<_> =
        ROWS.iter().enumerate().filter(|(_, row)| fits(&row.path, path)).collect();
    fitting.sort_by_key(|(_, row)| row.path.matches('{').count());
    for (index, row) in fitting {
        if row.method == method {
            return Found::Row(index);
        }
        known = Some(row.path.as_str());
    }
    known.map_or(Found::Nothing, Found::OtherMethods)
}

fn fits(pattern: &str, path: &str) -> bool {
    let path =
        path.strip_prefix("/apply").map_or(path.to_owned(), |rest| format!("/compute{rest}"));
    let (pattern, path): (Vec<_>, Vec<_>) =
        (pattern.split('/').collect(), path.split('/').collect());
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    pattern.len() == path.len()
        && pattern.iter().zip(path).all(|(wanted, text)| match *wanted {
            "{worker}" | "{action}" | "{hash}" => hex(text, 40),
            "{token}" => hex(text, 24),
            "{lsn}" | "{id}" | "{queue}" => {
                (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
            }
            word => word == text,
        })
}

/// The methods of a path, as `Allow` lists them.
pub(crate) fn methods(path: &str) -> BTreeSet<&'static str> {
    let rows = ROWS.iter().filter(|row| row.path == path);
    rows.flat_map(|row| if row.method == "GET" { vec!["GET", "HEAD"] } else { vec![row.method] })
        .collect()
}
