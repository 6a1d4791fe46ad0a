//! What was seen on the way, and what of the table is missing in it.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::table::{Found, ROWS, find};

/// How a client spells objects.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Mode {
    Json,
    Binary,
}

impl Mode {
    pub(crate) const BOTH: [Self; 2] = [Self::Json, Self::Binary];

    pub(crate) const fn media(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Binary => "application/x-ue-cb",
        }
    }

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Json => Self::Binary,
            Self::Binary => Self::Json,
        }
    }
}

/// Before or after the kill.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Half {
    First,
    Second,
}

/// One thing that the walk must see in each half and in each spelling.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Sight {
    Status(usize, u16),
    Parameter(usize, &'static str, &'static str),
    /// A path that was asked with a method that it doesn't have.
    OtherMethod(&'static str),
    /// A row by its other name.
    Alias(usize),
    Head(usize),
    /// Answers of this type for each thing that `Accept` can say.
    Negotiated(usize),
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub(crate) struct Visits {
    seen: Mutex<BTreeSet<(Half, Mode, Sight)>>,
    /// What was asked by GET: path and `Accept`.
    asked: Mutex<BTreeSet<(String, String)>>,
    /// Codes of errors.
    codes: Mutex<BTreeSet<(Half, Mode, String)>>,
    numbers: AtomicU64,
}

/// An answer as it is noted.
pub(crate) struct Noted<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) status: u16,
    /// The text of an error, if it is one.
    pub(crate) error: &'a str,
    pub(crate) code: &'a str,
}

impl Visits {
    /// A number that nobody got before.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes an answer. One that the table doesn't have is a failure.
    #[track_caller]
    pub(crate) fn note(&self, half: Half, mode: Mode, answer: &Noted<'_>) {
        let Noted { method, target, status, error, code } = *answer;
        if !code.is_empty() {
            self.codes.lock().unwrap().insert((half, mode, code.to_owned()));
        }
        let mut seen = Vec::new();
        match find(method, target) {
            Found::Row(row) => {
                let known = &ROWS[row];
                assert!(
                    known.statuses.contains(&status),
                    "{method} {target}: {status} is no answer of {}: {error}",
                    known.name()
                );
                seen.push(Sight::Status(row, status));
                if target.starts_with("/apply/") {
                    seen.push(Sight::Alias(row));
                }
                if method == "HEAD" {
                    seen.push(Sight::Head(row));
                }
                let query = target.split_once('?').map_or("", |(_, query)| query);
                let given: Vec<_> =
                    query.split('&').filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
                for parameter in &known.parameters {
                    let here = given.contains(&parameter.name);
                    let bad = status == 400
                        && error.starts_with(&format!("query parameter {}:", parameter.name));
                    let how = match (here, status) {
                        (true, ..400) => "good",
                        (false, ..400) => "absent",
                        (true, _) if bad => "bad",
                        _ => continue,
                    };
                    seen.push(Sight::Parameter(row, parameter.name, how));
                }
            }
            Found::OtherMethods(path) => {
                assert!(matches!(status, 401 | 403 | 405), "{method} {target}: {status} {error}");
                if status == 405 {
                    seen.push(Sight::OtherMethod(path));
                }
            }
            Found::Nothing => {
                assert!(matches!(status, 401 | 403 | 404), "{method} {target}: {status} {error}");
            }
        }
        let seen = seen.into_iter().map(|sight| (half, mode, sight));
        self.seen.lock().unwrap().extend(seen);
    }

    /// Notes that a row follows `Accept`.
    pub(crate) fn note_negotiated(&self, half: Half, mode: Mode, row: usize) {
        self.seen.lock().unwrap().insert((half, mode, Sight::Negotiated(row)));
    }

    /// Remembers that something was asked by GET.
    pub(crate) fn ask(&self, path: &str, accept: &str) {
        self.asked.lock().unwrap().insert((path.to_owned(), accept.to_owned()));
    }

    /// All that was asked by GET until now.
    pub(crate) fn asked(&self) -> BTreeSet<(String, String)> {
        self.asked.lock().unwrap().clone()
    }

    /// The codes of errors that were seen in both halves and both spellings.
    pub(crate) fn codes(&self) -> BTreeSet<String> {
        let codes = self.codes.lock().unwrap();
        let everywhere = |code: &String| {
            let halves = [Half::First, Half::Second];
            let mut all = halves.into_iter().flat_map(|half| Mode::BOTH.map(|mode| (half, mode)));
            all.all(|(half, mode)| codes.contains(&(half, mode, code.clone())))
        };
        codes.iter().map(|(_, _, code)| code.clone()).filter(everywhere).collect()
    }

    /// What of the table was not seen, one line each.
    pub(crate) fn missing(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let mut missing = Vec::new();
        for half in [Half::First, Half::Second] {
            for mode in Mode::BOTH {
                for sight in wanted() {
                    if !seen.contains(&(half, mode, sight.clone())) {
                        missing.push(format!("{half:?} half, {mode:?}: {}", told(&sight)));
                    }
                }
            }
        }
        missing
    }
}

fn wanted() -> Vec<Sight> {
    let mut wanted = Vec::new();
    for (index, row) in ROWS.iter().enumerate() {
        wanted.extend(row.statuses.iter().map(|status| Sight::Status(index, *status)));
        for parameter in &row.parameters {
            let hows = ["absent", "good", "bad"];
            let hows = hows.into_iter().filter(|how| parameter.can_be_bad || *how != "bad");
            wanted.extend(hows.map(|how| Sight::Parameter(index, parameter.name, how)));
        }
        wanted.push(Sight::OtherMethod(&row.path));
        wanted.push(Sight::Negotiated(index));
        if !row.path.starts_with("/health") {
            wanted.push(Sight::Alias(index));
        }
        if row.method == "GET" {
            wanted.push(Sight::Head(index));
        }
    }
    wanted
}

fn told(sight: &Sight) -> String {
    match sight {
        Sight::Status(row, status) => format!("{} never answered {status}", ROWS[*row].name()),
        Sight::Parameter(row, name, how) => {
            format!("{} was never asked with {name} {how}", ROWS[*row].name())
        }
        Sight::OtherMethod(path) => format!("{path} was never asked by another method"),
        Sight::Alias(row) => format!("{} was never asked by its other name", ROWS[*row].name()),
        Sight::Head(row) => format!("{} was never asked by HEAD", ROWS[*row].name()),
        Sight::Negotiated(row) => format!("{} was never asked by `Accept`", ROWS[*row].name()),
    }
}
