//! Everything that isn't as it should be: a table of inputs, each with the status, the code and the
//! words it is refused with, in both spellings. After each the service works as before.

mod buffers;
mod names;
mod objects;
mod packages;
mod requests;

use crate::bytes;
use crate::editor::{Editor, End};
use crate::host::Service;
use crate::wire::{CB, JSON, PKG, Reply, Request};
use crate::work::{self, Parcel};

/// Most memory of the service, whatever it is sent.
pub(crate) const PEAK_BYTES_MAX: u64 = 200 << 20;

/// A service that has done one build, and can do it again.
pub(crate) struct Bench {
    pub(crate) service: Service,
    pub(crate) worker: Parcel,
    done: Parcel,
}

/// One line of the table.
pub(crate) struct Wrong {
    what: String,
    request: Request,
    status: u16,
    code: &'static str,
    /// Parts of the message, in any order.
    says: Vec<String>,
}

impl Wrong {
    pub(crate) fn new(what: impl Into<String>, request: Request) -> Self {
        Self { what: what.into(), request, status: 400, code: "malformed_body", says: Vec::new() }
    }

    pub(crate) fn is(mut self, status: u16, code: &'static str) -> Self {
        (self.status, self.code) = (status, code);
        self
    }

    pub(crate) fn says(mut self, words: impl Into<String>) -> Self {
        self.says.push(words.into());
        self
    }
}

impl Bench {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let service = Service::start(&[&["--slots", "2"], arguments].concat());
        let bench = Self {
            service,
            worker: work::worker("", bytes::lz4),
            done: work::reverse("a good build"),
        };
        let editor = Editor::open(bench.service.address(), "/compute", *b"first-editor");
        let End::Built(_) = editor.build(&bench.worker, &bench.done).1 else { panic!("no build") };
        bench
    }

    pub(crate) fn send(&self, request: &Request) -> Reply {
        request.send(self.service.address())
    }

    /// Where actions for the worker go.
    pub(crate) fn jobs(&self) -> String {
        format!("/compute/jobs/{}", self.worker.hash())
    }

    /// Submits the good action once more and reads its result.
    pub(crate) fn assert_works(&self, after: &str) {
        let again = Request::post(self.jobs(), CB, self.done.object.bytes().to_vec());
        let reply = self.send(&again);
        assert_eq!(reply.status, 200, "after {after}: {}", reply.shown());
        let result = Request::get(format!("{}/{}", self.jobs(), self.done.hash()));
        let reply = self.send(&result.header("Accept", PKG));
        assert_eq!((reply.status, reply.media()), (200, PKG), "after {after}");
    }

    pub(crate) fn assert_small(&self) {
        let peak = self.service.peak_rss_bytes();
        assert!(peak < PEAK_BYTES_MAX, "the service had taken {} MiB", peak >> 20);
    }

    /// Sends the whole table, and tells all that is not as it says.
    pub(crate) fn check(&self, table: Vec<Wrong>) {
        let mut problems = Vec::new();
        for wrong in table {
            let told = self.refusals(&wrong);
            if let Err(problem) = told {
                problems.push(format!("{}: {problem}", wrong.what));
            }
            self.assert_works(&wrong.what);
        }
        assert!(problems.is_empty(), "{}", problems.join("\n"));
        self.assert_small();
    }

    /// Sends one wrong request in every way that an answer can be asked for.
    fn refusals(&self, wrong: &Wrong) -> Result<(), String> {
        if wrong.request.has("Accept") {
            return judge(wrong, &self.send(&wrong.request)).map(|_| ());
        }
        let accepting = |media: &str| self.send(&wrong.request.clone().header("Accept", media));
        let json = accepting(JSON);
        let binary = accepting(CB);
        for (reply, media) in [(&json, JSON), (&binary, CB)] {
            if reply.media() != media {
                return Err(format!("{} came as {:?}", reply.status, reply.header("content-type")));
            }
        }
        let said = [
            judge(wrong, &json)?,
            judge(wrong, &binary)?,
            judge(wrong, &self.send(&wrong.request))?,
        ];
        if said[0] != said[1] || said[0] != said[2] {
            return Err(format!("it says different things: {said:?}"));
        }
        Ok(())
    }
}

/// What the answer says, when it is the right one.
fn judge(wrong: &Wrong, reply: &Reply) -> Result<serde_json::Value, String> {
    let body = reply.value();
    let text = body["error"].as_str().unwrap_or_default();
    let said = format!("{} {body}", reply.status);
    if (reply.status, body["code"].as_str()) != (wrong.status, Some(wrong.code)) {
        return Err(format!("not {} {}: {said}", wrong.status, wrong.code));
    }
    for words in &wrong.says {
        if !text.contains(words.as_str()) {
            return Err(format!("not a word of {words:?}: {said}"));
        }
    }
    let sane = |c: char| !c.is_control();
    if text.len() < 10 || text.len() > 400 || !text.chars().all(sane) {
        return Err(format!("nothing for a person: {said}"));
    }
    Ok(body)
}
