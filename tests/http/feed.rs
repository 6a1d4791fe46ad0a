//! The feed of ended jobs, and the log.

use std::collections::BTreeSet;
use std::time::Duration;

use ledgerun::clock::monotonic;
use serde_json::Value;

use crate::fixture::action_json;
use crate::server::Server;

fn page(server: &Server, query: &str) -> (Vec<Value>, u64) {
    let page = server.get(&format!("/compute/jobs/completed?{query}")).send().expect(200).value();
    (page["completed"].as_array().unwrap().clone(), page["next"].as_u64().unwrap())
}

#[test]
fn a_consumer_sees_each_end_exactly_once() {
    let server = Server::start();
    server.register();
    assert_eq!(page(&server, "since=0"), (Vec::new(), 0));
    let mut expected = BTreeSet::new();
    for n in 0..4 {
        expected.insert(server.submit(&action_json(n)));
        // Shares the execution, so that both end by one event.
        expected.insert(server.submit(&action_json(n)));
        server.complete(&server.output(&[]));
        if n == 2 {
            let lost = server.submit(&action_json(100));
            server.fail("broken");
            expected.insert(lost);
            let dropped = server.submit(&action_json(101));
            server.call("DELETE", &format!("/compute/jobs/{dropped}")).send().expect(200);
            expected.insert(dropped);
        }
    }
    let mut since = 0;
    let mut seen = Vec::new();
    let mut ends = Vec::new();
    loop {
        let (jobs, next) = page(&server, &format!("since={since}&limit=1"));
        if jobs.is_empty() {
            assert_eq!(next, since);
            break;
        }
        let end = jobs[0]["completed_lsn"].as_u64().unwrap();
        assert!(jobs.iter().all(|job| job["completed_lsn"] == end), "one event, one page");
        assert!(jobs.iter().all(|job| job["queue"].is_null()));
        assert_eq!(next, end);
        ends.push(end);
        seen.extend(jobs.iter().map(|job| job["lsn"].as_u64().unwrap()));
        since = next;
    }
    assert!(ends.is_sorted());
    assert_eq!(seen.len(), expected.len());
    assert_eq!(seen.iter().copied().collect::<BTreeSet<_>>(), expected);
    let (all, next) = page(&server, "limit=1000000");
    assert_eq!((all.len(), next), (expected.len(), since));
    let states: BTreeSet<&str> = all.iter().map(|job| job["state"].as_str().unwrap()).collect();
    assert_eq!(states, BTreeSet::from(["cancelled", "completed", "failed"]));

    let first = seen[0];
    server
        .post(&format!("/compute/jobs/{first}/retire"))
        .accept("application/json")
        .send()
        .expect(200);
    let (rest, _) = page(&server, "since=0");
    assert!(rest.iter().all(|job| job["lsn"] != first), "a retired job is not listed");
}

#[test]
fn a_long_poll_is_woken_by_an_end() {
    let server = Server::start();
    server.register();
    let job = server.submit(&action_json(1));
    let (_, since) = page(&server, "since=0");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let started = monotonic();
            let (jobs, _) = page(&server, &format!("since={since}&wait=60"));
            (jobs, started.elapsed())
        });
        let attempt = server.begin();
        let output = server.output(&[]).inline().unwrap();
        server.end(
            attempt,
            ledgerun::domain::Outcome::Completed {
                output,
                cacheable: true,
                bytes: 7,
                stderr: None,
            },
        );
        let (jobs, took) = waiting.join().unwrap();
        assert_eq!(jobs[0]["lsn"], job);
        assert!(took < Duration::from_secs(30), "{took:?}");
    });
    let started = monotonic();
    let (none, next) = page(&server, &format!("since={}&wait=0.3", u64::MAX));
    assert_eq!((none.len(), next), (0, u64::MAX));
    assert!(started.elapsed() >= Duration::from_millis(300));
    server.get("/compute/jobs/completed?wait=-1").send().refused(400, "bad_parameter");
}

#[test]
fn the_log_is_read_line_by_line() {
    let server = Server::start();
    server.register();
    for n in 0..50 {
        server.submit(&action_json(n));
    }
    let lines = |query: &str| -> Vec<u64> {
        let reply = server.get(&format!("/compute/log?{query}")).send().expect(200);
        let read =
            |line: &str| serde_json::from_str::<Value>(line).unwrap()["lsn"].as_u64().unwrap();
        reply.text().lines().map(read).collect()
    };
    assert_eq!(lines(""), (1..=51).collect::<Vec<_>>());
    assert_eq!(lines("from=10&limit=3"), [10, 11, 12]);
    assert_eq!(lines("from=52"), [] as [u64; 0]);
    assert_eq!(lines("limit=99999999").len(), 51);
    // Follows until the limit.
    std::thread::scope(|scope| {
        let following = scope.spawn(|| lines("from=51&limit=2&wait=60"));
        server.submit(&action_json(99));
        assert_eq!(following.join().unwrap(), [51, 52]);
    });
    server.get("/compute/log").accept("text/html").send().refused(406, "not_acceptable");
}
