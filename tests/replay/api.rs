//! The routes of recordings and replays, as a client uses them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::eventually;
use crate::http::{Http, Unknown};

#[track_caller]
fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{field} of {value}"))
}

/// Begins a recording. Gives its number.
#[track_caller]
pub(crate) fn start(http: &Http) -> u64 {
    let answer = http.post("/compute/record/start", &json!({})).unwrap().expect(200);
    assert_eq!(answer["recording"], answer["start_lsn"]);
    number(&answer, "recording")
}

/// Ends it.
#[track_caller]
pub(crate) fn stop(http: &Http) -> Value {
    http.post("/compute/record/stop", &json!({})).unwrap().expect(200)
}

/// Waits until it is complete, and gives its archive.
#[track_caller]
pub(crate) fn archive(http: &Http, recording: u64) -> Vec<u8> {
    let reply = http.get(&format!("/compute/record/{recording}/archive")).unwrap();
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    reply.body
}

/// Numbers of all recordings.
#[track_caller]
pub(crate) fn recordings(http: &Http) -> Vec<u64> {
    let list = http.json("/compute/record");
    list["recordings"].as_array().unwrap().iter().map(|row| number(row, "recording")).collect()
}

#[track_caller]
pub(crate) fn recording(http: &Http, recording: u64) -> Value {
    http.json(&format!("/compute/record/{recording}"))
}

/// Waits until all its jobs have ended.
#[track_caller]
pub(crate) fn settled(http: &Http, id: u64) -> Value {
    eventually("the recording is complete", || {
        let row = recording(http, id);
        (row["state"] == "complete").then_some(row)
    })
}

/// Begins a replay. Gives its number.
#[track_caller]
pub(crate) fn replay(http: &Http, recording: u64, plan: &Value) -> u64 {
    let path = format!("/compute/record/{recording}/replay");
    number(&http.post(&path, plan).unwrap().expect(200), "replay")
}

/// What came of a replay so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Report {
    pub(crate) done: bool,
    pub(crate) total: u64,
    pub(crate) matched: u64,
    /// By job and value: both hashes, in hex.
    pub(crate) mismatched: BTreeMap<(u64, String), (String, String)>,
    pub(crate) failed: BTreeMap<u64, String>,
    pub(crate) newly_passing: Vec<u64>,
}

impl Report {
    fn of(value: &Value) -> Self {
        let list = |field: &str| value[field].as_array().unwrap_or_else(|| panic!("{value}"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mismatched = list("mismatched").iter().map(|item| {
            let place = (number(item, "lsn"), text(&item["value"]));
            (place, (text(&item["recorded"]), text(&item["replayed"])))
        });
        let mismatched: BTreeMap<_, _> = mismatched.collect();
        assert_eq!(mismatched.len(), list("mismatched").len(), "a value twice: {value}");
        let failed: BTreeMap<_, _> =
            list("failed").iter().map(|item| (number(item, "lsn"), text(&item["error"]))).collect();
        assert_eq!(failed.len(), list("failed").len(), "a job twice: {value}");
        let passing = list("newly_passing").iter().map(|lsn| lsn.as_u64().unwrap());
        let mut newly_passing: Vec<u64> = passing.collect();
        newly_passing.sort_unstable();
        let state = value["state"].as_str().unwrap();
        assert!(matches!(state, "running" | "done"), "{value}");
        Self {
            done: state == "done",
            total: number(value, "total"),
            matched: number(value, "matched"),
            mismatched,
            failed,
            newly_passing,
        }
    }

    /// How many jobs have a verdict.
    pub(crate) fn judged(&self) -> u64 {
        let mut jobs: Vec<u64> = self.mismatched.keys().map(|(job, _)| *job).collect();
        jobs.dedup();
        self.matched + (jobs.len() + self.failed.len() + self.newly_passing.len()) as u64
    }

    /// Fails unless every job came out as it was.
    #[track_caller]
    pub(crate) fn all_matched(&self) {
        assert!(
            self.done && self.matched == self.total && self.judged() == self.total,
            "{self:#?}"
        );
    }
}

/// What came of a replay so far.
pub(crate) fn report(http: &Http, replay: u64) -> Result<Report, Unknown> {
    let reply = http.get(&format!("/compute/replays/{replay}"))?;
    Ok(Report::of(&reply.expect(200)))
}

/// Waits for the end of a replay.
#[track_caller]
pub(crate) fn done(http: &Http, replay: u64) -> Report {
    eventually("the replay ends", || {
        let report = report(http, replay).unwrap();
        report.done.then_some(report)
    })
}

/// Submits an action. Gives the job's LSN.
#[track_caller]
pub(crate) fn submit(http: &Http, path: &str, action: &Value) -> u64 {
    number(&http.post(path, action).unwrap().expect(200), "lsn")
}

/// Submits actions at once. Gives the jobs' LSNs.
#[track_caller]
pub(crate) fn submit_all(http: &Http, path: &str, actions: &[Value]) -> Vec<u64> {
    let answer = http.post(path, &json!({ "actions": actions })).unwrap().expect(200);
    let results = answer["results"].as_array().unwrap();
    results.iter().map(|result| number(result, "lsn")).collect()
}

/// Waits until a job has ended, and gives it.
#[track_caller]
pub(crate) fn ended(http: &Http, lsn: u64) -> Value {
    eventually("the job ends", || {
        let reply = http.get(&format!("/compute/jobs/{lsn}")).unwrap();
        (reply.status == 200).then(|| reply.value())
    })
}

/// The records from `from` on, up to the newest at this moment.
#[track_caller]
pub(crate) fn log(http: &Http, from: u64) -> Vec<Value> {
    let mut records: Vec<Value> = Vec::new();
    loop {
        let next = from + records.len() as u64;
        let reply = http.get(&format!("/compute/log?from={next}&limit=1000")).unwrap();
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        let lines = reply.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let before = records.len();
        records.extend(lines.map(|line| serde_json::from_slice::<Value>(line).unwrap()));
        if records.len() - before < 1_000 {
            return records;
        }
    }
}

/// Submissions of a replay, as position, recorded job, and the time of the record; in the order of
/// the log.
#[track_caller]
pub(crate) fn submissions(http: &Http, replay: u64) -> Vec<(u64, u64, String)> {
    let records = log(http, replay);
    let queue = records[0]["event"]["replay_started"]["queue"].clone();
    assert!(queue.is_u64(), "{}", records[0]);
    let of = |record: &Value| {
        let job = &record["event"]["job_submitted"];
        let ours = job["queue"] == queue;
        ours.then(|| {
            let at = record["at"].as_str().unwrap().to_owned();
            (number(&job["recorded"], "position"), number(&job["recorded"], "job"), at)
        })
    };
    records.iter().filter_map(of).collect()
}
