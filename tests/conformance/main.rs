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
#[path = "../support/service.rs"]
mod service;
mod special;
mod table;
mod visits;
mod workers;
mod world;

use std::collections::BTreeSet;
use std::thread;

use ledgerun::http::ROUTES;

use crate::client::Client;
use crate::memory::Memory;
use crate::service::Service;
use crate::visits::{Half, Mode, Visits};
use crate::world::World;

/// Enough slots that what runs for ever leaves some free, and one retry so that failures end soon.
const SETTINGS: &[&str] =
    &["--slots", "8", "--max-retries", "1", "--retry-backoff", "1ms", "--poll-hold", "20ms"];

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

    let service = Service::start(folder.path(), SETTINGS);
    memory.compare(&Client::new(visits, service.url(), Half::Second, Mode::Json));
    walk(visits, &service, &world, Half::Second);
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
