//! Which jobs a replay runs, in which order, how often and how fast.

use std::time::Duration;

use ledgerun::domain::Timestamp;
use serde_json::{Value, json};

use crate::api::{self, submit, submit_all};
use crate::http::Http;
use crate::scripts::{FAILING, Script, action};
use crate::service::Service;
use crate::session::OPTIONS;

/// Records jobs of two functions in turns, and one that fails.
fn record(http: &Http, count: u64) -> (u64, Vec<u64>) {
    let script = Script {
        name: "steady",
        functions: &["Alpha", "Beta"],
        before: "",
        values: &[("v", b"value")],
    };
    let worker = script.register(http).unwrap();
    let failing = Script { name: "failing", functions: &["Delta"], before: FAILING, values: &[] };
    let failing = failing.register(http).unwrap();
    let recording = api::start(http);
    let actions: Vec<Value> = (0..count)
        .map(|number| action(if number % 2 == 0 { "Alpha" } else { "Beta" }, number))
        .collect();
    let mut jobs = submit_all(http, &format!("/compute/jobs/{worker}"), &actions);
    jobs.push(submit(http, &format!("/compute/jobs/{failing}"), &action("Delta", 1)));
    api::stop(http);
    api::settled(http, recording);
    (recording, jobs)
}

#[test]
fn a_replay_runs_what_was_asked_for_in_recorded_order() {
    let data = tempfile::tempdir().unwrap();
    let service = Service::start(data.path(), &OPTIONS);
    let http = Http::new(service.url());
    let (recording, jobs) = record(&http, 12);
    let pick = |indexes: &[usize]| -> Vec<u64> { indexes.iter().map(|ix| jobs[*ix]).collect() };
    let all: Vec<usize> = (0..13).collect();
    let plans = [
        (json!({}), all.clone()),
        (json!({ "speed": "max", "only": null, "limit": null }), all),
        (json!({ "offset": 3, "stride": 4 }), vec![3, 7, 11]),
        (json!({ "offset": 1, "stride": 2, "limit": 3 }), vec![1, 3, 5]),
        (json!({ "limit": 2, "repeat": 3 }), vec![0, 1, 0, 1, 0, 1]),
        (json!({ "only": ["Beta"] }), vec![1, 3, 5, 7, 9, 11]),
        (json!({ "only": ["Beta"], "offset": 2, "stride": 3, "repeat": 2 }), vec![5, 11, 5, 11]),
        (json!({ "only": [jobs[4], "Delta", jobs[2]] }), vec![2, 4, 12]),
        (json!({ "limit": 0 }), vec![]),
        (json!({ "offset": 100 }), vec![]),
        (json!({ "only": ["Nobody"] }), vec![]),
    ];
    for (plan, indexes) in plans {
        let replay = api::replay(&http, recording, &plan);
        let report = api::done(&http, replay);
        report.all_matched();
        assert_eq!(report.total, indexes.len() as u64, "{plan}");
        let ran = api::submissions(&http, replay);
        let recorded: Vec<u64> = ran.iter().map(|(_, job, _)| *job).collect();
        assert_eq!(recorded, pick(&indexes), "{plan}");
        let positions = ran.iter().map(|(position, ..)| *position);
        assert!(positions.eq(0..indexes.len() as u64), "{plan}");
    }
}

/// The same recording against the same workers tells the same, whatever that is.
#[test]
fn two_replays_tell_the_same() {
    let data = tempfile::tempdir().unwrap();
    let service = Service::start(data.path(), &OPTIONS);
    let http = Http::new(service.url());
    let (recording, jobs) = record(&http, 30);
    let old = http.json(&format!("/compute/jobs/{}", jobs[0]))["worker"].clone();
    let failing = http.json(&format!("/compute/jobs/{}", jobs[30]))["worker"].clone();
    let other = Script {
        name: "other",
        functions: &["Alpha", "Beta", "Delta"],
        before: "grep -qa Beta Build.action && exit 4\n",
        values: &[("v", b"another value"), ("w", b"one more")],
    };
    let other = other.register(&http).unwrap();
    let (old, failing) = (old.as_str().unwrap(), failing.as_str().unwrap());
    let plan = json!({ "worker_map": { (old): other, (failing): other } });
    let [first, second] = [(), ()].map(|()| {
        let replay = api::replay(&http, recording, &plan);
        api::done(&http, replay)
    });
    assert_eq!(first, second);
    // One value differs in each of Alpha, and one is new.
    assert_eq!((first.matched, first.mismatched.len(), first.failed.len()), (0, 30, 15));
    assert_eq!(first.newly_passing, [jobs[30]]);
    let new = first.mismatched.iter().filter(|((_, value), _)| value == "w");
    assert!(new.clone().count() == 15 && new.into_iter().all(|(_, (was, _))| was.is_empty()));
}

/// Microseconds of a record's time.
fn micros(at: &str) -> i64 {
    let time: Timestamp = serde_json::from_value(json!(at)).unwrap();
    time.0
}

/// Recorded 100 ms apart or more.
const APART: Duration = Duration::from_millis(100);

/// How much earlier than it should a job may be submitted: both times are of records, which are
/// written in rounds.
const EARLY_MICROS: i64 = 20_000;

#[test]
fn speed_divides_the_recorded_spacing() {
    let data = tempfile::tempdir().unwrap();
    let service = Service::start(data.path(), &OPTIONS);
    let http = Http::new(service.url());
    let values: [(&str, &[u8]); 1] = [("v", b"value")];
    let script = Script { name: "steady", functions: &["Alpha"], before: "", values: &values };
    let worker = script.register(&http).unwrap();
    let recording = api::start(&http);
    for number in 0..6 {
        if number > 0 {
            // The pause is what is recorded.
            std::thread::sleep(APART);
        }
        submit(&http, &format!("/compute/jobs/{worker}"), &action("Alpha", number));
    }
    api::stop(&http);
    api::settled(&http, recording);
    let recorded: Vec<i64> = api::log(&http, recording)
        .iter()
        .filter(|record| !record["event"]["job_submitted"].is_null())
        .map(|record| micros(record["at"].as_str().unwrap()))
        .collect();
    assert_eq!(recorded.len(), 6);
    let length = |speed: i64| {
        let replay = api::replay(&http, recording, &json!({ "speed": speed }));
        api::done(&http, replay).all_matched();
        let ran = api::submissions(&http, replay);
        let times: Vec<i64> = ran.iter().map(|(.., at)| micros(at)).collect();
        for (was, now) in recorded.iter().zip(&times) {
            let due = (was - recorded[0]) / speed;
            let passed = now - times[0];
            assert!(passed >= due - EARLY_MICROS, "{passed} us after the first, not {due}");
        }
        times[5] - times[0]
    };
    // A busy machine is late now and then, but not always.
    let faster = (0..10).any(|_| length(10) < length(1));
    assert!(faster, "ten times the speed takes as long");
}
