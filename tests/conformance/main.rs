//! Walks every route of the API: every method, query parameter and status code, in JSON and in
//! compact binary, before and after a SIGKILL in the middle. What must be seen is in `table`, and
//! at the end nothing of it may be missing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod bodies;
mod client;
mod jobs;
mod lists;
mod memory;
mod probes;
mod queues;
mod recordings;
#[path = "../support/service.rs"]
mod service;
mod special;
mod table;
mod visits;
mod workers;
mod world;

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;

use ledgerun::http::ROUTES;

use crate::client::Client;
use crate::memory::Memory;
use crate::service::Service;
use crate::visits::{Half, Mode, Visits};
use crate::world::World;

/// Enough slots that what runs for ever leaves some free, and one retry so that failures end soon.
const SETTINGS: &[&str] = &[
    "--slots",
    "8",
    "--max-retries",
    "1",
    "--retry-backoff",
    "1ms",
    "--poll-hold",
    "20ms",
    // So that the past is read from disk, too.
    "--checkpoint-every",
    "100",
    "--batch-actions-max",
    "16",
];

/// Codes of errors that no walk can see, or that belong to other tests.
const UNSEEN: &[&str] = &[
    // About connections, whatever the route: `tests/http` has them.
    "body_broken",
    "body_timeout",
    "head_too_large",
    "malformed_head",
    "over_capacity",
    "too_many_connections",
    "uri_too_long",
    // States that last for a moment, or that only a runner elsewhere could bring about.
    "job_abandoned",
    "job_is_abandoned",
    "job_is_submitting",
    "starting",
    // No route asks for what they refuse, or nothing gets there in a test's time.
    "replay_over",
    "replay_position",
    "chunk_gone",
    "log_trimmed",
    "queue_holds_results",
    "queue_is_active",
    "too_many_queues",
    // Storage that failed: `tests/faults` and the stores' own tests have them.
    "chunk_damaged",
    "chunk_store_failed",
    "internal",
    "log_poisoned",
    "log_unreadable",
];

#[test]
fn every_route_is_in_the_table() {
    let known: BTreeSet<_> = table::ROWS.iter().map(table::Row::name).collect();
    let served: BTreeSet<_> =
        ROUTES.iter().map(|route| format!("{} {}", route.method, route.pattern)).collect();
    let new: Vec<_> = served.difference(&known).collect();
    assert!(new.is_empty(), "no walk visits {new:?}");
    let lost: Vec<_> = known.difference(&served).collect();
    assert!(lost.is_empty(), "the service doesn't have {lost:?}");
}

#[test]
fn every_promise_is_kept_before_and_after_a_kill() {
    let visits = Visits::default();
    thread::scope(|scope| {
        let usual = scope.spawn(|| usual(&visits));
        let special = scope.spawn(|| special(&visits));
        usual.join().unwrap();
        special.join().unwrap();
    });
    let missing = visits.missing();
    assert!(missing.is_empty(), "{} are missing:\n{}", missing.len(), missing.join("\n"));
    let seen = visits.codes();
    let documented = documented_codes();
    let wanted: BTreeSet<_> =
        documented.iter().filter(|code| !UNSEEN.contains(&code.as_str())).cloned().collect();
    let missing: Vec<_> = wanted.difference(&seen).collect();
    assert!(missing.is_empty(), "documented and never seen: {missing:?}");
    let unknown: Vec<_> = seen.difference(&documented).collect();
    assert!(unknown.is_empty(), "seen and never documented: {unknown:?}");
}

/// The codes of the table in the description of the API.
fn documented_codes() -> BTreeSet<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/http.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("\n## Error codes\n").unwrap();
    let rows = section.lines().take_while(|line| !line.starts_with("## "));
    let column = rows.filter_map(|line| line.split('|').nth(2));
    let codes: BTreeSet<_> = column
        .flat_map(|column| column.split('`').skip(1).step_by(2))
        .filter(|code| *code != "code")
        .map(ToOwned::to_owned)
        .collect();
    assert!(codes.len() > 40, "where are the codes? {codes:?}");
    codes
}

/// What a service does that has nothing in its way.
fn usual(visits: &Visits) {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), SETTINGS);
    let world = World::make(&Client::new(visits, service.url(), Half::First, Mode::Json));
    walk(visits, &service, &world, Half::First);
    let memory = Memory::of(&Client::new(visits, service.url(), Half::First, Mode::Json));
    assert!(memory.len() > 500, "only {} answers to compare", memory.len());
    service.kill();
    let checkpoints = std::fs::read_dir(folder.path().join("checkpoints")).unwrap().count();
    assert!(checkpoints > 1, "there is nothing to look back with");

    let service = Service::start(folder.path(), SETTINGS);
    memory.compare(&Client::new(visits, service.url(), Half::Second, Mode::Json));
    walk(visits, &service, &world, Half::Second);
    // Much has changed since.
    let client = Client::new(visits, service.url(), Half::Second, Mode::Json);
    assert!(memory.look_back(&client) > 400);
}

/// Both spellings walk the same way, and are answered alike.
fn walk(visits: &Visits, service: &Service, world: &World, half: Half) {
    let traces = Mode::BOTH.map(|mode| {
        let client = Client::new(visits, service.url(), half, mode);
        probes::all(&client, world);
        workers::all(&client, world);
        for base in &world.bases {
            jobs::all(&client, world, base);
            lists::all(&client, world, base);
        }
        queues::all(&client, world);
        recordings::all(&client, world);
        client.trace()
    });
    for (json, binary) in traces[0].iter().zip(&traces[1]) {
        assert_eq!(json, binary, "a change is answered differently in the two spellings");
    }
    assert_eq!(traces[0].len(), traces[1].len());
}

/// A service that is in some way hindered.
fn special(visits: &Visits) {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), SETTINGS);
    let world = World::make(&Client::new(visits, service.url(), Half::First, Mode::Json));
    service.kill();
    for half in [Half::First, Half::Second] {
        special::all(visits, folder.path(), &world, half);
    }
}
