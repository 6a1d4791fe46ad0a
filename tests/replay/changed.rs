//! A worker that does some things differently, and what is told of it.

use std::collections::{BTreeMap, BTreeSet};

use ledgerun::domain::ChunkId;
use serde_json::json;

use crate::actions::register_changed;
use crate::api;
use crate::http::Http;
use crate::scripts::Script;
use crate::session::{Kind, Session};

/// The hash of the only value of a recorded job.
fn value_of(http: &Http, lsn: u64) -> String {
    let job = api::ended(http, lsn);
    let values = job["result"]["Values"].as_array().unwrap_or_else(|| panic!("{job}"));
    assert_eq!(values.len(), 1, "{job}");
    values[0]["RawHash"].as_str().unwrap().to_owned()
}

fn hash(text: &str) -> String {
    ChunkId::of(text.as_bytes()).to_string()
}

/// What the changed worker must come to: each value that differs, with both hashes.
fn expected(
    http: &Http,
    session: &Session,
    ran: &dyn Fn(u64) -> bool,
) -> BTreeMap<(u64, String), (String, String)> {
    let mut all = BTreeMap::new();
    for (lsn, kind) in session.jobs.iter().filter(|(lsn, _)| ran(*lsn)) {
        match kind {
            Kind::Tone { word, file } if word.starts_with("tone-a") => {
                let now = word.replace("tone-a", "tone-b");
                let both = (hash(&format!("{word}\n")), hash(&format!("{now}\n")));
                all.insert((*lsn, "stdout".to_owned()), both.clone());
                if *file {
                    all.insert((*lsn, "file/out/f".to_owned()), both);
                }
            }
            Kind::Shader { target: "hlsl", round } => {
                let as_glsl = Kind::Shader { target: "glsl", round: *round };
                let (other, _) = session.jobs.iter().find(|(_, kind)| *kind == as_glsl).unwrap();
                let both = (value_of(http, *lsn), value_of(http, *other));
                all.insert((*lsn, "Shader".to_owned()), both);
            }
            _ => {}
        }
    }
    all
}

/// Runs the session again, with the built-in worker changed and the failing one mended.
pub(crate) fn is_told(http: &Http, session: &Session) {
    let mended = Script { name: "mended", functions: &["Delta"], before: "", values: &[] };
    let map = json!({
        (session.builtin.as_str()): register_changed(http),
        (session.failing.as_str()): mended.register(http).unwrap(),
    });
    let replay = api::replay(http, session.recording, &json!({ "worker_map": map }));
    let report = api::done(http, replay);
    let cancelled: BTreeSet<u64> = api::log(http, session.recording)
        .iter()
        .filter(|record| record["lsn"].as_u64().unwrap() < replay)
        .filter_map(|record| record["event"]["job_cancelled"]["job"].as_u64())
        .collect();
    let ran = |lsn: u64| !cancelled.contains(&lsn);
    let of = |wanted: Kind| -> Vec<u64> {
        let jobs = session.jobs.iter().filter(|(lsn, kind)| *kind == wanted && ran(*lsn));
        jobs.map(|(lsn, _)| *lsn).collect()
    };
    let expected = expected(http, session, &ran);
    assert!(expected.len() >= 40, "{expected:?}");
    assert_eq!(report.mismatched, expected);
    let doomed = of(Kind::Doomed);
    assert_eq!(report.failed.keys().copied().collect::<Vec<_>>(), doomed);
    assert!(!doomed.is_empty() && report.failed.values().all(|error| error.contains('9')));
    assert_eq!(report.newly_passing, of(Kind::Failing));
    assert!(!report.newly_passing.is_empty());
    assert_eq!(report.judged(), report.total);
}
