//! Archives: a recording as one file, out and in.

use ledgerun::http::{HttpConfig, Limits};
use serde_json::{Value, json};

use crate::client::{CB, JSON, OCTETS};
use crate::fixture::action_json;
use crate::server::Server;

const IMPORT: &str = "/compute/record/import";

impl Server {
    /// A recording as a file.
    #[track_caller]
    pub fn archive(&self, recording: u64) -> Vec<u8> {
        let reply = self.get(&format!("/compute/record/{recording}/archive")).send().expect(200);
        assert_eq!(reply.media(), OCTETS);
        reply.body
    }

    #[track_caller]
    fn take_in(&self, archive: &[u8]) -> Value {
        self.post(IMPORT).body(OCTETS, archive).accept(JSON).send().expect(200).value()
    }

    /// What must be the same after a refusal: the log's end and what is held.
    fn state(&self) -> Value {
        let info = self.show("/compute/sysinfo");
        json!([info["log"]["last_lsn"], info["chunks"], self.show("/compute/record")])
    }
}

#[test]
fn an_archive_that_goes_elsewhere_and_back_is_the_same() {
    let here = Server::start();
    let recording = here.session();
    let archive = here.archive(recording);
    assert_eq!(here.archive(recording), archive, "it does not change");
    let shown = here.show(&format!("/compute/record/{recording}"));

    let there = Server::start();
    let taken = there.take_in(&archive);
    let expected = json!({
        "recording": 2, "jobs": 5, "chunks": shown["chunks"], "bytes": shown["bytes"],
    });
    assert_eq!(taken, expected, "after the record that makes the worker known");
    assert_eq!(there.archive(2), archive);
    let workers = there.show("/compute/workers");
    assert_eq!(workers["workers"][0]["worker"], shown["workers"][0]);
    let there_shown = there.show("/compute/record/2");
    for same in ["name", "state", "start_lsn", "stop_lsn", "jobs", "open_jobs", "workers"] {
        assert_eq!(there_shown[same], shown[same], "{same}");
    }
    assert_eq!(
        (&there_shown["chunks"], &there_shown["bytes"]),
        (&shown["chunks"], &shown["bytes"])
    );
    assert_eq!(there_shown["imported"], true);
    // A job of a worker that only the archive brought.
    let lsn = there.submit(&action_json(77));
    let job = there.get(&format!("/compute/jobs/{lsn}")).send().expect(202).value();
    assert_eq!(job["worker"], shown["workers"][0]);

    // Once more is another recording. The worker is known.
    let again = there.post("/apply/record/import").body(OCTETS, &archive).accept(CB);
    let again = again.send_chunked().expect(200).value();
    assert_eq!(again["recording"], lsn + 1);
    there.call("DELETE", "/compute/record/2").send().expect(200);
    assert_eq!(there.archive(lsn + 1), archive);
    assert_eq!(here.take_in(&archive)["jobs"], 5, "where it comes from, too");
}

#[test]
fn an_archive_says_what_it_is_and_nothing_of_this_machine() {
    let server = Server::start();
    let recording = server.session();
    let path = format!("/compute/record/{recording}/archive");
    let whole = server.get(&path).accept("application/*").send().expect(200);
    assert_eq!(whole.header("content-disposition"), "attachment; filename=\"a-session.lrec\"");
    let head = server.call("HEAD", &path).send().expect(200);
    assert_eq!((head.media(), head.body.len()), (OCTETS, 0));
    assert_eq!(head.header("content-disposition"), whole.header("content-disposition"));
    server.get(&path).accept(JSON).send().refused(406, "not_acceptable");
    server.post(&path).send().refused(405, "method_not_allowed");
    let host = server.show("/compute/sysinfo")["host"].as_str().unwrap().to_owned();
    if host.len() > 3 {
        let found = whole.body.windows(host.len()).any(|window| window == host.as_bytes());
        assert!(!found, "the host's name is in it");
    }
}

#[test]
fn an_archive_waits_for_jobs_that_have_not_ended() {
    let server = Server::start();
    server.register();
    let recording = server.record();
    let path = format!("/compute/record/{recording}/archive");
    server.submit(&action_json(1));
    server.submit(&action_json(2));
    for query in ["", "?wait=0", "?wait=5"] {
        let refused = server.get(&format!("{path}{query}")).send();
        assert_eq!(refused.refused(409, "recording_active")["recording"], recording);
    }
    server.stop_recording();
    for (query, open) in [("?wait=0", 2), ("?wait=0.05", 2)] {
        let refused = server.get(&format!("{path}{query}")).send().refused(409, "recording_open");
        assert_eq!(refused["open_jobs"], open);
    }
    server.complete(&server.output(&[]));
    let refused = server.call("GET", &format!("{path}?wait=0")).send();
    assert_eq!(refused.refused(409, "recording_open")["open_jobs"], 1);
    server.call("HEAD", &format!("{path}?wait=0")).send().expect(409);
    for bad in ["-1", "x", "nan", "inf"] {
        let refused = server.get(&format!("{path}?wait={bad}")).send();
        refused.refused(400, "bad_parameter");
    }
    let (waited, waited_too) = std::thread::scope(|scope| {
        let one = scope.spawn(|| server.get(&path).send());
        let two = scope.spawn(|| server.get(&format!("{path}?wait=60")).send());
        // Both are asking, or will ask; either way they get it.
        server.complete(&server.output(&[("Last", b"last")]));
        (one.join().unwrap(), two.join().unwrap())
    });
    let archive = waited.expect(200).body;
    assert_eq!(waited_too.expect(200).body, archive);
    assert_eq!(server.archive(recording), archive);
}

#[test]
fn whoever_waits_hears_of_the_end_of_the_recording() {
    let server = Server::start();
    server.register();
    let recording = server.record();
    server.submit(&action_json(1));
    server.stop_recording();
    let path = format!("/compute/record/{recording}");
    let waited = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.get(&format!("{path}/archive")).send());
        server.call("DELETE", &path).send().expect(200);
        waiting.join().unwrap()
    });
    waited.refused(404, "unknown_recording");
}

#[test]
fn a_damaged_archive_is_refused_with_its_place_and_leaves_nothing() {
    let archive = {
        let server = Server::start();
        let recording = server.session();
        server.archive(recording)
    };
    let server = Server::start();
    let before = server.state();
    let refused = |bytes: &[u8]| {
        let refused = server.post(IMPORT).body(OCTETS, bytes).send();
        let refused = refused.refused(400, "damaged_archive");
        let position = refused["position"].as_u64().unwrap();
        assert!(position <= archive.len() as u64 + 100, "{refused}");
        assert!(refused["error"].as_str().unwrap().contains(&position.to_string()), "{refused}");
        position
    };
    assert_eq!(refused(b""), 0);
    assert_eq!(refused(b"no archive at all, but long enough to be one"), 0);
    let step = (archive.len() / 60).max(1);
    for at in (0..archive.len()).step_by(step) {
        refused(&archive[..at]);
        let mut flipped = archive.clone();
        flipped[at] ^= 1 << (at % 8);
        refused(&flipped);
    }
    refused(&archive[..archive.len() - 1]);
    let trailing = [&archive[..], b"\0"].concat();
    assert_eq!(refused(&trailing), archive.len() as u64);
    refused(&[&archive[..], &archive[..]].concat());
    assert_eq!(server.state(), before, "nothing of all that was kept");
    server.take_in(&archive);
}

#[test]
fn what_is_no_archive_by_its_head_is_refused_before_it_is_read() {
    let limits = Limits { archive_bytes: 10_000, ..Limits::default() };
    let server = Server::with(HttpConfig { limits, ..HttpConfig::default() });
    for media in [JSON, CB, "application/x-ue-cbpkg", "text/plain"] {
        let refused = server.post(IMPORT).body(media, b"{}").send();
        refused.refused(415, "unsupported_media_type");
    }
    server
        .post(IMPORT)
        .body(OCTETS, b"x")
        .accept("text/html")
        .send()
        .refused(406, "not_acceptable");
    let announced = server.post(IMPORT).header("content-type", OCTETS).send_announcing(10_001);
    announced.refused(413, "body_too_large");
    let long = server.post(IMPORT).body(OCTETS, vec![0; 20_000]).send_chunked();
    long.refused(413, "body_too_large");
    server.engine.set_has_room(false);
    server.post(IMPORT).body(OCTETS, b"x").send().refused(507, "insufficient_storage");
    server.engine.set_has_room(true);
    server.post(IMPORT).body(OCTETS, b"x").send().refused(400, "damaged_archive");
}

#[test]
fn an_archive_larger_than_memory_allows_goes_out_as_fast_as_it_is_taken() {
    let server = Server::start();
    server.register();
    let recording = server.record();
    let value: Vec<u8> = (0..6_000_000_u32).flat_map(u32::to_le_bytes).collect();
    server.submit(&action_json(1));
    server.complete(&server.output(&[("Large", &value)]));
    server.stop_recording();
    let archive = server.archive(recording);
    assert!(archive.len() > value.len());
    let there = Server::start();
    assert_eq!(there.take_in(&archive)["chunks"], 2);
    // Many at once share the turns.
    let same = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| there.archive(2) == archive)).collect();
        all.into_iter().all(|one| one.join().unwrap())
    });
    assert!(same);
}
