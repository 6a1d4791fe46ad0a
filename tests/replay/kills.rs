//! SIGKILL at random moments: while recording, stopping, exporting, importing and running again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use ledgerun::clock::monotonic;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::api::{self, Report};
use crate::http::{Http, Unknown};
use crate::scripts::{FAILING, FLAKY, Script, action, content};
use crate::service::Service;
use crate::session::OPTIONS;
use crate::{eventually, random, setting, wire};

fn kills() -> u64 {
    setting("LEDGERUN_REPLAY_KILLS", 20)
}

fn service(data: &Path) -> (Service, Http) {
    let service = Service::start(data, &OPTIONS);
    let http = Http::new(service.url());
    (service, http)
}

/// A moment that is not one of those at which something has just happened.
fn a_moment(random: &mut StdRng) {
    std::thread::sleep(Duration::from_micros(random.random_range(0..8_000)));
}

/// Registers what the sessions here are made of: a worker with a large value, one that needs
/// several tries, and one that always fails.
fn workers(http: &Http) -> Vec<(String, &'static str)> {
    let large = content(5, 90_000);
    let scripts = [
        Script {
            name: "steady",
            functions: &["Alpha"],
            before: "",
            values: &[("small", b"small"), ("large", &large)],
        },
        Script { name: "flaky", functions: &["Gamma"], before: FLAKY, values: &[("v", b"luck")] },
        Script { name: "failing", functions: &["Delta"], before: FAILING, values: &[] },
    ];
    let functions = ["Alpha", "Gamma", "Delta"];
    let workers = scripts.iter().map(|script| script.register(http).unwrap());
    workers.zip(functions).collect()
}

/// Jobs of these workers, in a queue of patience.
struct Jobs {
    workers: Vec<(String, &'static str)>,
    queue: u64,
    next: u64,
}

impl Jobs {
    fn new(http: &Http) -> Self {
        let settings = json!({ "max_retries": 12, "expire_after_idle_s": 0 });
        let answer = http.post("/compute/queues", &settings).unwrap().expect(200);
        let queue = answer["queue_id"].as_u64().unwrap();
        Self { workers: workers(http), queue, next: 0 }
    }

    /// One more. Most are quick.
    fn submit(&mut self, http: &Http) -> Result<u64, Unknown> {
        self.next += 1;
        let which = match self.next % 10 {
            3 | 6 => 1,
            9 => 2,
            _ => 0,
        };
        let (worker, function) = &self.workers[which];
        let path = match which {
            2 => format!("/compute/jobs/{worker}"),
            _ => format!("/compute/queues/{}/jobs/{worker}", self.queue),
        };
        // Some are equal to ones before.
        let reply = http.post(&path, &action(function, self.next * 5 / 6))?;
        Ok(reply.expect(200)["lsn"].as_u64().unwrap())
    }
}

/// The recording has exactly the jobs that the log has in its range, and all of `told`; it is
/// complete, exports, and runs again as it was. Gives its archive.
fn is_whole(http: &Http, recording: u64, told: &BTreeSet<u64>) -> Vec<u8> {
    let row = api::settled(http, recording);
    let stop = row["stop_lsn"].as_u64().unwrap();
    let log = api::log(http, recording);
    assert!(!log[0]["event"]["recording_started"].is_null(), "{}", log[0]);
    let within = log.iter().filter(|record| record["lsn"].as_u64().unwrap() <= stop);
    let jobs: BTreeSet<u64> = within
        .filter(|record| !record["event"]["job_submitted"].is_null())
        .map(|record| record["lsn"].as_u64().unwrap())
        .collect();
    assert!(told.is_subset(&jobs), "lost: {:?}", told.difference(&jobs));
    assert_eq!(row["jobs"], jobs.len() as u64);
    let archive = api::archive(http, recording);
    let replay = api::replay(http, recording, &json!({}));
    let report = api::done(http, replay);
    report.all_matched();
    assert_eq!(report.total, jobs.len() as u64);
    archive
}

#[test]
fn a_recording_survives_kills_in_the_middle() {
    let mut random = random();
    let data = tempfile::tempdir().unwrap();
    let (mut running, mut http) = service(data.path());
    let mut jobs = Jobs::new(&http);
    let recording = api::start(&http);
    let mut told = BTreeSet::new();
    for _ in 0..kills() {
        let url = running.url().to_owned();
        let count = random.random_range(0..6);
        for _ in 0..count {
            told.insert(jobs.submit(&http).unwrap());
        }
        // The kill comes while more is submitted.
        let heard = std::thread::scope(|scope| {
            let submitting = scope.spawn(|| {
                let http = Http::new(&url);
                let mut heard = Vec::new();
                while let Ok(lsn) = jobs.submit(&http) {
                    heard.push(lsn);
                }
                heard
            });
            a_moment(&mut random);
            running.kill();
            submitting.join().unwrap()
        });
        told.extend(heard);
        (running, http) = service(data.path());
        assert_eq!(api::recordings(&http), [recording]);
        let row = api::recording(&http, recording);
        assert_eq!((&row["state"], &row["stop_lsn"]), (&json!("recording"), &Value::Null));
    }
    api::stop(&http);
    is_whole(&http, recording, &told);
}

#[test]
fn a_stop_happens_or_not_and_loses_nothing() {
    let mut random = random();
    let data = tempfile::tempdir().unwrap();
    let (mut running, mut http) = service(data.path());
    let mut jobs = Jobs::new(&http);
    let mut all = BTreeMap::new();
    let mut stopped = 0;
    for _ in 0..kills() {
        let recording = api::start(&http);
        let told: BTreeSet<u64> =
            (0..random.random_range(1..5)).map(|_| jobs.submit(&http).unwrap()).collect();
        let url = running.url().to_owned();
        let heard = std::thread::scope(|scope| {
            let stopping = scope.spawn(|| Http::new(&url).post("/compute/record/stop", &json!({})));
            std::thread::sleep(Duration::from_micros(random.random_range(0..15_000)));
            running.kill();
            stopping.join().unwrap()
        });
        (running, http) = service(data.path());
        let row = api::recording(&http, recording);
        if let Ok(reply) = heard {
            let answer = reply.expect(200);
            assert_eq!(row["stop_lsn"], answer["stop_lsn"], "an acknowledged stop is lost");
        }
        if row["state"] == "recording" {
            api::stop(&http);
        } else {
            stopped += 1;
        }
        all.insert(recording, told);
    }
    println!("{stopped} of {} were stopped before the kill", all.len());
    assert_eq!(api::recordings(&http), all.keys().copied().collect::<Vec<_>>());
    for (recording, told) in all {
        is_whole(&http, recording, &told);
    }
}

/// A complete recording with some megabytes in its chunks.
fn recorded(data: &Path) -> (u64, Vec<u8>, BTreeSet<u64>) {
    let (_running, http) = service(data);
    let mut jobs = Jobs::new(&http);
    let values: Vec<Vec<u8>> = (0..5).map(|seed| content(seed, 1_000_000)).collect();
    let recording = api::start(&http);
    let mut told: BTreeSet<u64> = (0..20).map(|_| jobs.submit(&http).unwrap()).collect();
    for (number, value) in (0..).zip(&values) {
        let script = Script {
            name: "large",
            functions: &["Alpha"],
            before: "",
            values: &[("v", value.as_slice())],
        };
        let worker = script.register(&http).unwrap();
        let path = format!("/compute/jobs/{worker}");
        told.insert(api::submit(&http, &path, &action("Alpha", number)));
    }
    api::stop(&http);
    let archive = is_whole(&http, recording, &told);
    assert!(archive.len() > 5_000_000, "{} bytes", archive.len());
    (recording, archive, told)
}

#[test]
fn an_export_that_was_interrupted_can_be_had_again() {
    let mut random = random();
    let data = tempfile::tempdir().unwrap();
    let (recording, archive, _) = recorded(data.path());
    let path = format!("/compute/record/{recording}/archive");
    let (mut running, _) = service(data.path());
    for _ in 0..kills() {
        let url = running.url().to_owned();
        let bytes = random.random_range(1..archive.len());
        let read = wire::read_some(&url, &path, bytes, || running.kill());
        assert!(read >= bytes, "the export ended by itself after {read} of {bytes} bytes");
        let http;
        (running, http) = service(data.path());
        assert!(api::archive(&http, recording) == archive, "other bytes than before");
    }
}

/// How long an import takes that nobody disturbs.
fn time_of_import(archive: &[u8]) -> Duration {
    let data = tempfile::tempdir().unwrap();
    let (running, _) = service(data.path());
    let begun = monotonic();
    let path = "/compute/record/import";
    let answer = wire::post_some(running.url(), path, archive, archive.len(), || {});
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    begun.elapsed()
}

#[test]
fn an_import_happens_as_a_whole_or_not_at_all() {
    let mut random = random();
    let origin = tempfile::tempdir().unwrap();
    let (_, archive, told) = recorded(origin.path());
    let usual = time_of_import(&archive);
    let data = tempfile::tempdir().unwrap();
    let (mut running, _) = service(data.path());
    let mut before = running.last_lsn();
    let (mut taken, mut heard) = (0, 0);
    for life in 0..kills() {
        let url = running.url().to_owned();
        // Every other time it has come whole and is being looked at, or was taken a moment ago.
        let (whole, taken_first) = (life % 2 == 0, life % 4 == 0);
        let bytes = if whole { archive.len() } else { random.random_range(0..archive.len()) };
        let wait = usual.mul_f64(random.random_range(0.0..1.5) * f64::from(u8::from(whole)));
        let answer = wire::post_some(&url, "/compute/record/import", &archive, bytes, || {
            if taken_first {
                let http = Http::new(&url);
                eventually("it is imported", || (!api::recordings(&http).is_empty()).then_some(()));
            } else {
                std::thread::sleep(wait);
            }
            running.kill();
        });
        let acknowledged = answer.starts_with("HTTP/1.1 200");
        heard += u64::from(acknowledged);
        let http;
        (running, http) = service(data.path());
        let found = api::recordings(&http);
        assert!(!acknowledged || found.len() == 1, "an acknowledged import is lost");
        if found.is_empty() {
            assert_eq!(running.last_lsn(), before, "something of it is in the log");
        } else {
            taken += 1;
            assert!(whole, "it had not come whole");
            assert!(api::archive(&http, found[0]) == archive, "exported, it has other bytes");
            let path = format!("/compute/record/{}", found[0]);
            http.delete(&path).unwrap().expect(200);
            before = api::log(&http, running.last_lsn()).last().unwrap()["lsn"].as_u64().unwrap();
        }
        if taken == 0 {
            let workers = http.json("/compute/workers");
            assert_eq!(workers["workers"], json!([]), "it left workers");
        }
    }
    println!("{taken} imports happened, of which {heard} were acknowledged");
    assert!(taken * 4 >= kills(), "too few imports were in time");
    // What is left of all that does not keep one from happening.
    let http = Http::new(running.url());
    let reply =
        wire::post_some(running.url(), "/compute/record/import", &archive, archive.len(), || {});
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    let recording = api::recordings(&http)[0];
    assert!(api::archive(&http, recording) == archive);
    let replay = api::replay(&http, recording, &json!({}));
    let report = api::done(&http, replay);
    report.all_matched();
    assert_eq!(report.total, told.len() as u64);
}

/// Every job of a replay that is done ran at its own position, and has one verdict.
fn judged_once(http: &Http, replay: u64, report: &Report) {
    assert_eq!(report.judged(), report.total, "{report:#?}");
    let ran = api::submissions(http, replay);
    let positions: Vec<u64> = ran.iter().map(|(position, ..)| *position).collect();
    assert!(positions.iter().copied().eq(0..report.total), "{positions:?}");
    let records = api::log(http, replay);
    let verdicts = records.iter().map(|record| &record["event"]["replay_judged"]);
    let verdicts: Vec<&Value> = verdicts.filter(|judged| judged["replay"] == replay).collect();
    let matched = verdicts.iter().map(|judged| judged["verdicts"]["matched"].as_u64().unwrap());
    assert_eq!(matched.sum::<u64>(), report.matched);
    let ended = records.iter().filter(|record| record["event"]["replay_ended"]["replay"] == replay);
    assert_eq!(ended.count(), 1);
}

#[test]
fn a_replay_goes_on_after_kills_and_judges_every_job_once() {
    let mut random = random();
    let data = tempfile::tempdir().unwrap();
    let (mut running, mut http) = service(data.path());
    let mut jobs = Jobs::new(&http);
    let recording = api::start(&http);
    for _ in 0..60 {
        jobs.submit(&http).unwrap();
    }
    api::stop(&http);
    api::settled(&http, recording);
    // The steady worker's jobs differ in one value, and the flaky one's fail.
    let changed = Script {
        name: "changed",
        functions: &["Alpha"],
        before: "",
        values: &[("small", b"not so small"), ("large", &content(5, 90_000))],
    };
    let failing = Script { name: "never", functions: &["Gamma"], before: FAILING, values: &[] };
    let map = json!({
        (jobs.workers[0].0.as_str()): changed.register(&http).unwrap(),
        (jobs.workers[1].0.as_str()): failing.register(&http).unwrap(),
    });
    let plan = json!({ "worker_map": map });
    let undisturbed = api::done(&http, api::replay(&http, recording, &plan));
    assert_eq!(undisturbed.judged(), 60);
    assert_eq!((undisturbed.matched, undisturbed.failed.len()), (6, 12), "{undisturbed:#?}");
    let mut killed = 0;
    while killed < kills() {
        let replay = api::replay(&http, recording, &plan);
        let mut seen = 0;
        loop {
            let wanted = seen + random.random_range(1..9);
            let report = eventually("the replay goes on", || {
                let report = api::report(&http, replay).unwrap();
                (report.done || report.judged() >= wanted).then_some(report)
            });
            assert!(report.judged() >= seen, "verdicts are lost");
            seen = report.judged();
            if report.done || killed == kills() {
                break;
            }
            a_moment(&mut random);
            running.kill();
            killed += 1;
            (running, http) = service(data.path());
        }
        let report = api::done(&http, replay);
        assert_eq!(report, undisturbed);
        judged_once(&http, replay, &report);
    }
}
