//! A session of everything that clients do, and that it comes out the same when it is run again.

use std::path::Path;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use serde_json::{Value, json};

use crate::actions::{exec, register_builtin, shader, shader_source};
use crate::api::{self, submit, submit_all};
use crate::http::Http;
use crate::scripts::{FAILING, FLAKY, Script, action, content};
use crate::service::Service;
use crate::{random, setting};

pub(crate) const OPTIONS: [&str; 8] = [
    "--slots",
    "4",
    "--retry-backoff",
    "1ms",
    "--retry-backoff-max",
    "10ms",
    "--min-free-space",
    "0",
];

/// What a recorded job was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Prints its tone, and writes it into a file where there is one.
    Tone {
        word: String,
        file: bool,
    },
    /// Does something else with a built-in function.
    Exec,
    /// What the changed worker fails at.
    Doomed,
    /// The translation of the round's source.
    Shader {
        target: &'static str,
        round: u64,
    },
    Script,
    Failing,
}

/// A session that was recorded.
pub(crate) struct Session {
    pub(crate) recording: u64,
    /// Every job, in the order of their LSNs.
    pub(crate) jobs: Vec<(u64, Kind)>,
    pub(crate) builtin: String,
    pub(crate) failing: String,
}

/// A client that is being recorded.
struct Client<'a> {
    http: &'a Http,
    random: StdRng,
    session: Session,
    steady: String,
    bulky: String,
    flaky: String,
    queues: Vec<u64>,
}

const TARGETS: [&str; 4] = ["spirv", "msl", "hlsl", "glsl"];

/// How often the session goes around, to have this many jobs.
const JOBS_A_ROUND: u64 = 100;

/// Large enough to be read in many pieces.
const LARGE_BYTES: usize = 700_000;

impl<'a> Client<'a> {
    fn new(http: &'a Http) -> Self {
        let large = content(1, LARGE_BYTES);
        let steady = Script {
            name: "steady",
            functions: &["Alpha", "Beta"],
            before: "",
            values: &[("v", b"small")],
        };
        let bulky = Script {
            name: "bulky",
            functions: &["Bulk"],
            before: "",
            values: &[("small", b"small"), ("large", &large)],
        };
        let flaky = Script {
            name: "flaky",
            functions: &["Gamma"],
            before: FLAKY,
            values: &[("v", b"by luck")],
        };
        let failing =
            Script { name: "failing", functions: &["Delta"], before: FAILING, values: &[] };
        let queue = |name: &str, retries: u64| {
            let settings = json!({ "name": name, "max_retries": retries });
            let answer = http.post("/compute/queues", &settings).unwrap().expect(200);
            answer["queue_id"].as_u64().unwrap()
        };
        let session = Session {
            recording: 0,
            jobs: Vec::new(),
            builtin: register_builtin(http),
            failing: failing.register(http).unwrap(),
        };
        Self {
            http,
            random: random(),
            session,
            steady: steady.register(http).unwrap(),
            bulky: bulky.register(http).unwrap(),
            flaky: flaky.register(http).unwrap(),
            queues: vec![queue("patient", 12), queue("hasty", 1)],
        }
    }

    fn upload(&self, bytes: &[u8]) {
        let id = ledgerun::domain::ChunkId::of(bytes).to_string();
        assert!(matches!(self.http.put_chunk(&id, bytes.to_vec()).unwrap().status, 200 | 201));
    }

    fn path(&self, queue: Option<usize>, worker: &str, query: &str) -> String {
        match queue {
            None => format!("/compute/jobs/{worker}{query}"),
            Some(ix) => format!("/compute/queues/{}/jobs/{worker}{query}", self.queues[ix]),
        }
    }

    fn batch(&mut self, path: &str, jobs: &[(Value, Kind)]) -> Vec<u64> {
        let actions: Vec<Value> = jobs.iter().map(|(action, _)| action.clone()).collect();
        let lsns = submit_all(self.http, path, &actions);
        let kinds = jobs.iter().map(|(_, kind)| kind.clone());
        self.session.jobs.extend(lsns.iter().copied().zip(kinds));
        lsns
    }

    /// Commands: with inputs, with files, of several tones, failing ones, a large one.
    fn commands(&mut self, round: u64) {
        let input = content(round, 3_000);
        self.upload(&input);
        let mut jobs = Vec::new();
        for number in 0..4 {
            let word = format!("{}-{round}", ["tone-a", "tone-c"][number % 2]);
            let file = number % 3 == 0;
            let command = if file {
                format!("echo {word}; mkdir out; echo {word} > out/f; echo same > out/same")
            } else {
                format!("echo {word}")
            };
            jobs.push((exec(&command, None), Kind::Tone { word, file }));
        }
        for number in 0..2 {
            let command = format!("cat input; echo {number} >&2; exit {number}");
            jobs.push((exec(&command, Some(&input)), Kind::Exec));
        }
        jobs.push((exec(&format!("echo doomed {round}"), None), Kind::Doomed));
        // An action that can't be run completes with an error message and no value.
        jobs.push((exec("cat out/none", Some(b"")), Kind::Exec));
        self.upload(b"");
        if round == 1 {
            let large = content(99, 2 * LARGE_BYTES);
            self.upload(&large);
            jobs.push((exec("cat input input", Some(&large)), Kind::Exec));
        }
        jobs.shuffle(&mut self.random);
        let path = self.path(Some(0), &self.session.builtin.clone(), "");
        self.batch(&path, &jobs);
    }

    /// Translations, of which some are wrong.
    fn shaders(&mut self, round: u64) {
        let mut jobs = Vec::new();
        let source = shader_source(round);
        self.upload(source.as_bytes());
        for target in TARGETS {
            jobs.push((shader(target, &source), Kind::Shader { target, round }));
        }
        let wrong = format!("fn entry() {{ return {round}; }}");
        self.upload(wrong.as_bytes());
        jobs.push((shader("msl", &wrong), Kind::Exec));
        let path = self.path(None, &self.session.builtin.clone(), "?priority=3");
        self.batch(&path, &jobs);
    }

    /// Many small ones: new ones, ones that are joined, ones whose result is held, fresh ones.
    fn scripts(&mut self, round: u64) {
        for part in 0..6 {
            let function = ["Alpha", "Beta"][part % 2];
            let fresh = if part == 5 { "&cache=skip" } else { "" };
            let query = format!("?priority={}{fresh}", self.random.random_range(0..5));
            let queue = [None, Some(0), Some(1)][self.random.random_range(0..3)];
            let path = self.path(queue, &self.steady.clone(), &query);
            let number = |random: &mut StdRng| match random.random_range(0..3) {
                0 => round * 100 + random.random_range(0..50),
                1 => random.random_range(0..round * 100 + 1),
                _ => random.random_range(0..6),
            };
            let numbers: Vec<u64> = (0..11).map(|_| number(&mut self.random)).collect();
            let jobs: Vec<_> =
                numbers.iter().map(|n| (action(function, *n), Kind::Script)).collect();
            self.batch(&path, &jobs);
        }
        let bulk: Vec<_> = (0..3).map(|n| (action("Bulk", round + n), Kind::Script)).collect();
        let path = self.path(None, &self.bulky.clone(), "?priority=1");
        self.batch(&path, &bulk);
        let flaky: Vec<_> =
            (0..5).map(|n| (action("Gamma", round * 5 + n), Kind::Script)).collect();
        let path = self.path(Some(0), &self.flaky.clone(), "");
        self.batch(&path, &flaky);
        let failing: Vec<_> =
            (0..4).map(|n| (action("Delta", round * 3 + n), Kind::Failing)).collect();
        let path = self.path(Some(1), &self.session.failing.clone(), "");
        self.batch(&path, &failing);
    }

    /// The last of them are cancelled, which some are too late for; one is more urgent all at once.
    fn cancels(&mut self, round: u64) {
        let jobs: Vec<_> =
            (0..9).map(|n| (action("Alpha", 1_000_000 + round * 9 + n), Kind::Script)).collect();
        let path = self.path(Some(1), &self.steady.clone(), "?priority=-5");
        let lsns = self.batch(&path, &jobs);
        let change = |lsn: u64, what: &str, body: &Value| {
            let reply = self.http.post(&format!("/compute/jobs/{lsn}/{what}"), body).unwrap();
            assert!(matches!(reply.status, 200 | 409), "{reply:?}");
        };
        for lsn in lsns.iter().rev().take(6) {
            change(*lsn, "cancel", &json!({}));
        }
        change(lsns[1], "priority", &json!({ "priority": 9 }));
        change(lsns[2], "retract", &json!({}));
    }

    fn work(mut self) -> Session {
        let rounds = setting("LEDGERUN_REPLAY_JOBS", 1_000).div_ceil(JOBS_A_ROUND);
        // Results from before, which some of the recorded jobs are given.
        let before: Vec<Value> = (0..6).map(|number| action("Alpha", number)).collect();
        let path = self.path(None, &self.steady.clone(), "");
        for lsn in submit_all(self.http, &path, &before) {
            assert_eq!(api::ended(self.http, lsn)["state"], "completed");
        }
        self.session.recording = api::start(self.http);
        for round in 1..=rounds {
            self.commands(round);
            self.scripts(round);
            self.shaders(round);
            self.cancels(round);
        }
        let last = action("Alpha", 77_777_777);
        let path = self.path(None, &self.steady.clone(), "?priority=-9");
        let lsn = submit(self.http, &path, &last);
        self.session.jobs.push((lsn, Kind::Script));
        let told = api::stop(self.http);
        assert_eq!(told["recording"], self.session.recording);
        assert_eq!(told["jobs"], self.session.jobs.len() as u64, "{told}");
        self.session.jobs.sort_by_key(|(lsn, _)| *lsn);
        self.session
    }
}

/// Records a session on a new service.
pub(crate) fn record(data: &Path) -> (Service, Session) {
    let service = Service::start(data, &OPTIONS);
    let http = Http::new(service.url());
    let session = Client::new(&http).work();
    (service, session)
}

/// How many recorded jobs ended in each way, of the log from the beginning of the recording on: so
/// that what is compared is what was meant to be.
fn is_mixed(http: &Http, session: &Session) {
    let stop = api::recording(http, session.recording)["stop_lsn"].as_u64().unwrap();
    let records = api::log(http, session.recording);
    let count = |wanted: &dyn Fn(&Value) -> bool| {
        let found = records.iter().filter(|record| wanted(&record["event"]));
        found.count()
    };
    let run =
        |how: &'static str| move |event: &Value| !event["job_submitted"]["run"][how].is_null();
    assert!(count(&run("joins")) > 20, "{}", count(&run("joins")));
    assert!(count(&run("cached")) > 20, "{}", count(&run("cached")));
    assert!(count(&|event| !event["job_cancelled"].is_null()) > 10);
    let finished = |event: &Value, field: &str| !event["attempt_finished"][field].is_null();
    assert!(count(&|event| finished(event, "retry_at")) > 20, "retries");
    assert!(count(&|event| !event["attempt_finished"]["outcome"]["failed"].is_null()) > 40);
    let late = records.iter().filter(|record| {
        record["lsn"].as_u64().unwrap() > stop && !record["event"]["attempt_finished"].is_null()
    });
    assert!(late.count() > 0, "nothing was open at its end");
}

#[test]
fn a_session_comes_out_the_same_and_a_changed_worker_is_told_by_value() {
    let data = tempfile::tempdir().unwrap();
    let (service, session) = record(data.path());
    let http = Http::new(service.url());
    let row = api::settled(&http, session.recording);
    assert!(session.jobs.len() as u64 >= setting("LEDGERUN_REPLAY_JOBS", 1_000));
    assert_eq!(row["jobs"], session.jobs.len() as u64);
    is_mixed(&http, &session);

    let same = api::replay(&http, session.recording, &json!({}));
    let report = api::done(&http, same);
    report.all_matched();
    assert_eq!(report.total, session.jobs.len() as u64);
    let again = api::submissions(&http, same);
    let recorded: Vec<u64> = session.jobs.iter().map(|(lsn, _)| *lsn).collect();
    assert_eq!(again.iter().map(|(_, job, _)| *job).collect::<Vec<_>>(), recorded, "their order");

    crate::changed::is_told(&http, &session);
}
