//! Builds, as an editor has them made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use ledgerun::domain::ObjectId;
use serde_json::Value;

use crate::bytes;
use crate::editor::{Editor, End, Step};
use crate::host::Service;
use crate::result::Built;
use crate::wire::{PKG, Request};
use crate::work::{self, Parcel};

/// A retry that a test can wait for.
const QUICK: [&str; 6] = ["--slots", "2", "--max-retries", "2", "--retry-backoff", "10ms"];

fn built(end: End) -> Built {
    match end {
        End::Built(built) => built,
        End::Failed(reply) => panic!("{}: {}", reply.status, reply.shown()),
    }
}

#[track_caller]
fn assert_reversed(built: &Built, seed: &str) {
    let (short, long) = work::texts(seed);
    let expected = [("Input", short), ("Virtual0", long)].map(|(name, mut text)| {
        text.reverse();
        (ObjectId::of_name(name), text)
    });
    assert_eq!(built.values, BTreeMap::from(expected));
    assert!(built.errors.is_empty());
}

/// Records of the log, as events by name.
fn events(service: &Service) -> Vec<(String, Value)> {
    let reply = Request::get("/compute/log?limit=100000").send(service.address()).expect(200);
    let lines = String::from_utf8(reply.body).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let named = lines.map(|line| {
        let (name, _) = line["event"].as_object().unwrap().iter().next().unwrap();
        (name.clone(), line.clone())
    });
    named.collect()
}

fn count(events: &[(String, Value)], wanted: &str) -> usize {
    events.iter().filter(|(name, _)| name == wanted).count()
}

#[test]
fn a_build_takes_the_steps_that_the_engine_knows() {
    let service = Service::start(&QUICK);
    let worker = work::worker("", bytes::lz4);
    let editor = Editor::open(service.address(), "/compute", *b"first-editor");

    // Nothing is known: both objects are asked for what is missing, then sent as packages.
    let (trace, end) = editor.build(&worker, &work::reverse("one"));
    assert_reversed(&built(end), "one");
    let first = [
        (Step::FindWorker, 404),
        (Step::Descriptor, 404),
        (Step::WorkerPackage, 200),
        (Step::Action, 404),
        (Step::ActionPackage, 200),
        (Step::Poll, 200),
    ];
    assert_eq!(trace.without_waiting(), first);

    // The worker is known: the inputs come at once.
    let (trace, end) = editor.build(&worker, &work::reverse("two"));
    assert_reversed(&built(end), "two");
    let known = [(Step::FindWorker, 200), (Step::ActionPackage, 200), (Step::Poll, 200)];
    assert_eq!(trace.without_waiting(), known);

    // With negotiation they are asked for, and not when they are held.
    let editor = Editor::open(service.address(), "/apply", *b"negotiating!").negotiating();
    let (trace, end) = editor.build(&worker, &work::reverse("three"));
    assert_reversed(&built(end), "three");
    let asked = [
        (Step::FindWorker, 200),
        (Step::Action, 404),
        (Step::ActionPackage, 200),
        (Step::Poll, 200),
    ];
    assert_eq!(trace.without_waiting(), asked);
    let (trace, end) = editor.build(&worker, &work::reverse("two"));
    assert_reversed(&built(end), "two");
    let held = [(Step::FindWorker, 200), (Step::Action, 200), (Step::Poll, 200)];
    assert_eq!(trace.without_waiting(), held);
}

#[test]
fn only_what_is_missing_is_needed_and_an_empty_need_may_be_answered_with_everything() {
    let service = Service::start(&QUICK);
    let worker = work::worker("", bytes::lz4);
    let editor = Editor::open(service.address(), "/compute", *b"first-editor").negotiating();
    built(editor.build(&worker, &work::reverse("one")).1);

    // One of two inputs is held, and the other is asked for alone.
    let (short, _) = work::texts("one");
    let action = work::action("Reverse", &[("Input", &short), ("Other", b"not yet held")]);
    let jobs = format!("/compute/jobs/{}?priority=5", worker.hash());
    let reply = editor.post(&jobs, crate::wire::CB, action.object.bytes().to_vec()).expect(404);
    assert_eq!(reply.value()["need"], serde_json::json!([action.chunks[1].hash]));
    editor.post(&jobs, PKG, action.package_of(&[action.chunks[1].hash])).expect(200);

    // Everything once more, held or not, is as good; so is nothing, when nothing is missing.
    editor.post(&jobs, PKG, action.package()).expect(200);
    editor.post(&jobs, PKG, action.package_of(&[])).expect(200);
    let path = format!("/compute/workers/{}", worker.hash());
    editor.post(&path, PKG, worker.package_of(&[])).expect(200);
    editor.post(&path, PKG, worker.package()).expect(200);

    // A package that leaves out what was needed is told so again.
    let other = work::reverse("other");
    let reply = editor.post(&jobs, PKG, other.package_of(&[])).expect(404);
    assert_eq!(reply.value()["need"].as_array().unwrap().len(), 2);
}

#[test]
fn executables_in_blocks_of_either_method_are_unpacked_and_run() {
    let service = Service::start(&QUICK);
    let editor = Editor::open(service.address(), "/compute", *b"first-editor");
    let workers = [
        ("lz4", 4, work::worker("lz4", bytes::lz4)),
        ("oodle", 3, work::worker("oodle", bytes::oodle_of_stored_blocks)),
        ("stored", 0, work::worker("stored", bytes::stored)),
    ];
    for (name, method, worker) in workers {
        let packed = &worker.chunks[0].packed;
        assert_eq!(packed[8], method);
        assert_eq!(packed[12..16] > [0, 0, 0, 1][..], method != 0, "several blocks");
        assert_reversed(&built(editor.build(&worker, &work::reverse(name)).1), name);
    }
}

#[test]
fn a_build_with_errors_is_a_result_without_values() {
    let service = Service::start(&QUICK);
    let worker = work::worker("", bytes::lz4);
    let editor = Editor::open(service.address(), "/compute", *b"first-editor");
    let action = work::action("Complain", &[("Input", b"x")]);
    let (_, end) = editor.build(&worker, &action);
    let built = built(end);
    assert_eq!((built.values.len(), &*built.errors), (0, &["this can't be built".to_owned()][..]));
    assert_eq!(count(&events(&service), "attempt_assigned"), 1, "it is not tried again");
}

#[test]
fn a_crashing_worker_is_an_error_after_its_retries() {
    let service = Service::start(&QUICK);
    let worker = work::worker("", bytes::lz4);
    let editor = Editor::open(service.address(), "/compute", *b"first-editor");
    let action = work::action("Crash", &[("Input", b"x")]);
    let (trace, end) = editor.build(&worker, &action);
    assert_eq!(trace.0.last(), Some(&(Step::Poll, 500)));
    let End::Failed(reply) = end else { panic!("a crash is no result") };
    let body = reply.value();
    assert_eq!(body["code"], "job_failed", "{body}");
    let said = body["error"].as_str().unwrap();
    assert!(said.contains("signal 6") || said.contains("SIGABRT"), "{said}");
    assert_eq!(count(&events(&service), "attempt_assigned"), 3, "once and two retries");

    // It stays that way, and a later build of something else is none the worse.
    let (_, end) = editor.build(&worker, &work::reverse("after"));
    assert_reversed(&built(end), "after");
}

#[test]
fn two_editors_of_sixteen_connections_share_every_execution() {
    const ACTIONS: usize = 24;
    let service = Service::start(&QUICK);
    let worker = work::worker("", bytes::lz4);
    let seeds: Vec<String> = (0..ACTIONS).map(|number| format!("action {number}")).collect();
    let parcels: Vec<Parcel> = seeds.iter().map(|seed| work::reverse(seed)).collect();
    let editors = [
        Editor::open(service.address(), "/compute", *b"first-editor"),
        Editor::open(service.address(), "/apply", *b"secondeditor").negotiating(),
    ];
    let results = Mutex::new(BTreeMap::<usize, Vec<Built>>::new());
    std::thread::scope(|scope| {
        for editor in &editors {
            for (number, parcel) in parcels.iter().enumerate() {
                let (results, worker) = (&results, &worker);
                scope.spawn(move || {
                    let built = built(editor.build(worker, parcel).1);
                    results.lock().unwrap().entry(number).or_default().push(built);
                });
            }
        }
    });
    for (number, both) in results.into_inner().unwrap() {
        assert_eq!(both.len(), 2);
        assert_eq!(both[0], both[1], "both got the same bytes");
        assert_reversed(&both[0], &seeds[number]);
    }

    let events = events(&service);
    assert_eq!(count(&events, "worker_registered"), 1);
    assert_eq!(count(&events, "job_submitted"), 2 * ACTIONS, "each submission is a job");
    assert_eq!(count(&events, "attempt_assigned"), ACTIONS, "each action runs once");
    let submitted = events.iter().filter(|(name, _)| name == "job_submitted");
    let sessions: BTreeSet<String> =
        submitted.map(|(_, line)| line["cause"]["session"].as_str().unwrap().to_owned()).collect();
    let expected = [*b"first-editor", *b"secondeditor"].map(|id| ObjectId(id).to_string());
    assert_eq!(sessions, BTreeSet::from(expected), "the log says who asked");
}
