//! The life of jobs, outside of queues and in them: submitting, watching, changing.

use ledgerun::domain::ChunkId;
use ledgerun::wire::package::{self, Limits};
use serde_json::{Value, json};

use crate::bodies::{Body, Temper, VALUE, action};
use crate::client::{CB, Client, JSON, PKG};
use crate::visits::Mode;
use crate::world::{Base, World, new_chunk, until};

const LIMITS: Limits = Limits {
    root_bytes_max: 1 << 20,
    attachments_max: 100,
    total_bytes_max: 1 << 30,
    attachment_bytes_max: 1 << 30,
    raw_bytes_max: 1 << 30,
};

/// Walks the rows of jobs at one place.
pub(crate) fn all(client: &Client<'_>, world: &World, base: &Base) {
    for target in [base.jobs(), format!("{}/{}", base.jobs(), world.worker(Temper::Quick).id())] {
        submit(client, world, base, &target);
        terms(client, world, base, &target);
        need(client, world, base, &target);
        batch(client, world, base, &target);
    }
    nobody(client, world, base);
    completed(client, world, base);
    failed(client, world, base);
    open(client, world, base);
    running(client, world, base);
    priorities(client, world, base);
    unknown(client, world, base);
}

/// Submits an action to whoever takes it.
#[track_caller]
pub(crate) fn new_job(
    client: &Client<'_>,
    world: &World,
    base: &Base,
    temper: Temper,
) -> (u64, Body) {
    let action = world.worker(temper).action(client.visits.number());
    let lsn = client.post(&base.jobs(), &action).expect(200).value()["lsn"].as_u64().unwrap();
    (lsn, action)
}

fn submit(client: &Client<'_>, world: &World, base: &Base, target: &str) {
    let quick = world.worker(Temper::Quick);
    let action = quick.action(client.visits.number());
    let call = client.call("POST", target).body(&action);
    let call = call.header("ue-session", "0123456789ABCDEF01234567").header("ue-request", "77");
    let answer = call.send().expect(200);
    let job = answer.value();
    let lsn = job["lsn"].as_u64().unwrap();
    assert!(answer.lsn() >= lsn);
    assert_eq!((&job["action"], &job["worker"]), (&json!(action.id()), &json!(quick.id())));
    let known = ["pending", "submitting", "running", "completed"];
    assert!(known.contains(&job["state"].as_str().unwrap()), "{job}");
    let done = client.untraced(|| until(client, base, lsn, "completed"));
    assert_eq!(done["queue"], json!(base.queue));
    assert_eq!(done["priority"], 2);

    let events = client.get(&format!("{}/events", base.job(lsn))).expect(200).value();
    let cause = json!({ "session": "0123456789abcdef01234567", "request": 77 });
    assert_eq!((&events["events"][0]["lsn"], &events["events"][0]["cause"]), (&json!(lsn), &cause));

    let again = client.post(target, &action).expect(200).value();
    assert_eq!((&again["state"], &again["cached"]), (&json!("completed"), &json!(true)));
    let other = again["lsn"].as_u64().unwrap();
    assert!(other > lsn, "a job of its own");
    assert_eq!(client.get(&base.job(other)).expect(200).value()["result"], done["result"]);
    for (spelling, cached) in [("cache=use", Value::Bool(true)), ("cache=skip", Value::Null)] {
        let answer = client.untraced(|| client.post(&format!("{target}?{spelling}"), &action));
        let answer = answer.expect(200).value();
        assert_eq!(answer["cached"], cached, "{spelling}");
        client.untraced(|| until(client, base, answer["lsn"].as_u64().unwrap(), "completed"));
    }
}

/// Query parameters, and what is wrong with a body's fields.
fn terms(client: &Client<'_>, world: &World, base: &Base, target: &str) {
    let action = world.worker(Temper::Quick).action(client.visits.number());
    for query in ["cache=never", "priority=high", "priority=2147483648", "priority="] {
        let refused = client.post(&format!("{target}?{query}"), &action);
        let refused = refused.refused(400, "bad_parameter");
        let name = query.split('=').next().unwrap();
        assert!(refused["error"].as_str().unwrap().contains(name), "{refused}");
    }
    for priority in [5, i32::MIN, 0] {
        let answer = client.untraced(|| {
            let action = world.worker(Temper::Quick).action(client.visits.number());
            client.post(&format!("{target}?priority={priority}"), &action).expect(200).value()
        });
        let lsn = answer["lsn"].as_u64().unwrap();
        let done = client.untraced(|| until(client, base, lsn, "completed"));
        assert_eq!(done["priority"], priority);
    }
    let mut json = action.json.clone();
    json["FunctionVersion"] = json!("not a version");
    let refused = client.post(target, &Body::plain(json)).refused(400, "malformed_body");
    assert!(refused["error"].as_str().unwrap().contains("FunctionVersion"), "{refused}");
}

/// What an action lacks is asked for, and nothing else.
fn need(client: &Client<'_>, world: &World, base: &Base, target: &str) {
    let quick = world.worker(Temper::Quick);
    let (_, held) = client.untraced(|| new_chunk(client));
    let lacking = format!("lacking {}", client.visits.number()).into_bytes();
    let number = client.visits.number();
    let action = action(&quick.function, number, &[&lacking, &held, &lacking]);
    let refused = client.post(target, &action).refused(404, "missing_chunks");
    assert_eq!(refused["need"], json!([ChunkId::of(&lacking).to_string()]));
    for (accept, mode, media) in [
        ("", Mode::Binary, CB),
        ("", Mode::Json, JSON),
        ("*/*", Mode::Binary, CB),
        (JSON, Mode::Binary, JSON),
        ("text/html, */*;q=0.1", Mode::Binary, CB),
    ] {
        let call = client.call("POST", target).bytes(mode.media(), action.spelled(mode));
        let reply = client.untraced(|| call.accept(accept).send());
        assert_eq!(reply.media(), media, "Accept {accept:?}, body {mode:?}");
        reply.refused(404, "missing_chunks");
    }
    let package = action.package(&[&lacking, &held]);
    let answer = client.call("POST", target).bytes(PKG, package).send().expect(200).value();
    assert_eq!(answer["action"], action.id());
    client.untraced(|| until(client, base, answer["lsn"].as_u64().unwrap(), "completed"));
}

fn batch(client: &Client<'_>, world: &World, base: &Base, target: &str) {
    let quick = world.worker(Temper::Quick);
    let number = || client.visits.number();
    let (first, second) = (quick.action(number()), quick.action(number()));
    let lacking = format!("lacking {}", number()).into_bytes();
    let items = [
        first.clone(),
        Body::plain(json!({ "Function": "Nap" })),
        action(&quick.function, number(), &[&lacking]),
        second.clone(),
    ];
    let answer = client.post(target, &Body::batch(&items)).expect(200).value();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), items.len());
    assert_eq!(results[0]["action"], first.id());
    assert_eq!(results[1]["code"], "malformed_body");
    assert!(results[1]["error"].as_str().unwrap().contains("actions[1]"), "{answer}");
    assert_eq!(results[2]["need"], json!([ChunkId::of(&lacking).to_string()]));
    assert_eq!(results[3]["action"], second.id());
    let lsns = [0, 3].map(|index: usize| results[index]["lsn"].as_u64().unwrap());
    assert_eq!(lsns[0] + 1, lsns[1], "one after the other");
    client.untraced(|| lsns.map(|lsn| until(client, base, lsn, "completed")));
    let many = Body::batch(&vec![first; 17]);
    client.post(target, &many).refused(413, "batch_too_large");
    let package = Body::batch(&items[2..]).package(&[&lacking]);
    let answer = client.call("POST", target).bytes(PKG, package).send().expect(200).value();
    assert!(
        answer["results"].as_array().unwrap().iter().all(|one| one["lsn"].is_u64()),
        "{answer}"
    );
}

/// A function that nobody offers and a worker that nobody registered are not missing chunks.
fn nobody(client: &Client<'_>, world: &World, base: &Base) {
    let refused = client.post(&base.jobs(), &action("Nobody", 1, &[])).refused(424, "no_worker");
    assert_eq!(refused["function"], "Nobody");
    let unknown = "6".repeat(40);
    let quick = world.worker(Temper::Quick).action(1);
    let refused = client.post(&format!("{}/{unknown}", base.jobs()), &quick);
    assert_eq!(refused.refused(424, "unknown_worker")["worker"], unknown);
}

fn completed(client: &Client<'_>, world: &World, base: &Base) {
    let worker = world.worker(Temper::Quick).id();
    let (lsn, action) = new_job(client, world, base, Temper::Quick);
    client.untraced(|| until(client, base, lsn, "completed"));
    let job = base.job(lsn);
    let shown = client.get(&job).expect(200).value();
    assert_eq!(shown["result"]["Values"][0]["RawHash"], ChunkId::of(VALUE).to_string());
    assert_eq!(shown["attempts"][0]["outcome"], "completed");
    let result = client.get_as(PKG, &job).expect(200);
    assert_eq!(result.media(), PKG);
    let parsed = package::parse(&result.body, LIMITS).unwrap();
    assert_eq!(parsed.attachments[0].hash, ChunkId::of(VALUE).0);
    let explained = client.get(&format!("{job}/explain")).expect(200).value();
    assert_eq!((&explained["state"], &explained["waits_for"]), (&json!("completed"), &Value::Null));
    if base.queue.is_none() {
        let poll = format!("/compute/jobs/{worker}/{}", action.id());
        assert_eq!(client.get_as(PKG, &poll).expect(200).body, result.body);
        assert_eq!(client.get(&poll).expect(200).value(), shown);
    }
    for path in ["/reschedule", "/cancel", "/retract", "/priority?priority=1", "?priority=1", ""] {
        let refused = client.push(&format!("{job}{path}"));
        assert_eq!(refused.refused(409, "job_is_completed")["state"], "completed");
    }
    client.delete(&job).refused(409, "job_is_completed");
    let (other, other_action) = new_job(client, world, base, Temper::Quick);
    client.untraced(|| until(client, base, other, "completed"));
    for _ in 0..2 {
        let retired = client.push(&format!("{}/retire", base.job(other))).expect(200).value();
        assert_eq!(retired, json!({ "lsn": other, "retired": true }));
    }
    client.get(&base.job(other)).refused(404, "unknown_job");
    if base.queue.is_none() {
        let poll = format!("/compute/jobs/{worker}/{}", other_action.id());
        client.get_as(PKG, &poll).refused(404, "unknown_action");
        client.get(&poll).refused(404, "unknown_action");
    }
}

fn failed(client: &Client<'_>, world: &World, base: &Base) {
    let (lsn, action) = new_job(client, world, base, Temper::Failing);
    client.untraced(|| until(client, base, lsn, "failed"));
    let job = base.job(lsn);
    let shown = client.get(&job).expect(200).value();
    let attempts = shown["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), &shown["retry_count"]), (2, &json!(1)));
    assert_eq!((&attempts[1]["outcome"], &attempts[1]["exit_code"]), (&json!("exited"), &json!(3)));
    assert!(shown["error"].is_string(), "{shown}");
    let refused = client.get_as(PKG, &job).refused(500, "job_failed");
    assert!(refused["error"].as_str().unwrap().contains("not today"), "{refused}");
    if base.queue.is_none() {
        let worker = world.worker(Temper::Failing).id();
        let poll = format!("/compute/jobs/{worker}/{}", action.id());
        client.get_as(PKG, &poll).refused(500, "job_failed");
        assert_eq!(client.get(&poll).expect(200).value(), shown);
    }
    for path in ["/reschedule", ""] {
        let refused = client.push(&format!("{job}{path}")).refused(409, "retry_limit");
        assert_eq!(refused["limit"], 1);
    }
    for path in ["/cancel", "/retract", "/priority?priority=1"] {
        client.push(&format!("{job}{path}")).refused(409, "job_is_failed");
    }
    let fields = Body::plain(json!({ "reschedule": true }));
    client.post(&job, &fields).refused(409, "retry_limit");
}

/// One that waits for ever is pulled back, and then cancelled.
fn open(client: &Client<'_>, world: &World, base: &Base) {
    let (lsn, action) = new_job(client, world, base, Temper::Foreign);
    let worker = world.worker(Temper::Foreign).id();
    let job = base.job(lsn);
    assert_eq!(client.get(&job).expect(202).value()["state"], "pending");
    assert_eq!(
        client.get_as(PKG, &job).expect(202).value(),
        json!({ "lsn": lsn, "state": "pending" })
    );
    let explained = client.get(&format!("{job}/explain")).expect(200).value();
    assert_eq!(explained["waits_for"], "runner", "{explained}");
    let open = client.get(&format!("{}/{worker}", base.jobs())).expect(200).value();
    assert!(open["pending"].as_array().unwrap().contains(&json!(lsn)), "{open}");
    let poll = format!("/compute/jobs/{worker}/{}", action.id());
    if base.queue.is_none() {
        client.get_as(PKG, &poll).expect(202);
        client.get(&poll).expect(202);
    }
    for path in ["/reschedule", "", "/retire"] {
        client.push(&format!("{job}{path}")).refused(409, "job_is_pending");
    }
    for _ in 0..2 {
        let pulled = client.push(&format!("{job}/retract")).expect(200).value();
        assert_eq!(pulled, json!({ "lsn": lsn, "state": "retracted" }));
    }
    client.push(&format!("{job}/reschedule")).refused(409, "job_is_retracted");
    let cancelled = client.push(&format!("{job}/cancel")).expect(200).value();
    assert_eq!(cancelled, json!({ "lsn": lsn, "state": "cancelled" }));
    assert_eq!(client.delete(&job).expect(200).value(), cancelled);
    let fields = Body::plain(json!({ "cancel": true }));
    assert_eq!(client.post(&job, &fields).expect(200).value(), cancelled);
    for path in ["/reschedule", "/retract", "/priority?priority=1", ""] {
        client.push(&format!("{job}{path}")).refused(409, "job_is_cancelled");
    }
    assert_eq!(client.get(&job).expect(200).value()["state"], "cancelled");
    client.get_as(PKG, &job).refused(410, "job_cancelled");
    if base.queue.is_none() {
        client.get_as(PKG, &poll).refused(410, "job_cancelled");
        client.get(&poll).refused(410, "job_cancelled");
    }
}

fn running(client: &Client<'_>, world: &World, base: &Base) {
    let (lsn, _) = new_job(client, world, base, Temper::Endless);
    client.untraced(|| until(client, base, lsn, "running"));
    let job = base.job(lsn);
    client.get_as(PKG, &job).expect(202);
    let worker = world.worker(Temper::Endless).id();
    let open = client.get(&format!("{}/{worker}", base.jobs())).expect(200).value();
    assert!(open["running"].as_array().unwrap().contains(&json!(lsn)), "{open}");
    assert_eq!(client.get(&format!("{job}/explain")).expect(200).value()["waits_for"], "process");
    for path in ["/reschedule", "/retire", ""] {
        client.push(&format!("{job}{path}")).refused(409, "job_is_running");
    }
    client.untraced(|| {
        client.push(&format!("{job}/retract")).expect(200);
        // There is no other runner, so it goes on with this one.
        let again = until(client, base, lsn, "running");
        assert_eq!(again["retry_count"], 0);
        assert_eq!(again["attempts"][0]["outcome"], "retracted");
    });
    assert_eq!(client.delete(&job).expect(200).value()["state"], "cancelled");
    let shown = client.untraced(|| until(client, base, lsn, "cancelled"));
    assert_eq!(shown["attempts"][1]["outcome"], "cancelled");
}

/// Every way to say a priority, and to say it wrong.
fn priorities(client: &Client<'_>, world: &World, base: &Base) {
    let (lsn, _) = new_job(client, world, base, Temper::Foreign);
    let job = base.job(lsn);
    let is = |priority: i32| {
        assert_eq!(client.get(&job).expect(202).value()["priority"], priority);
    };
    let fields = |priority: Value| Body::plain(json!({ "priority": priority }));
    for (priority, tail) in [(9, ""), (-3, "/priority")] {
        let answer = client.post(&format!("{job}{tail}"), &fields(json!(priority))).expect(200);
        assert_eq!(answer.value(), json!({ "lsn": lsn, "priority": priority }));
        is(priority);
        let next = priority + 1;
        client.push(&format!("{job}{tail}?priority={next}")).expect(200);
        is(next);
        for bad in ["x", "3000000000", "1.5"] {
            client.push(&format!("{job}{tail}?priority={bad}")).refused(400, "bad_parameter");
        }
        for bad in [json!("high"), json!(3_000_000_000_u64), json!(1.5), json!(null)] {
            let refused = client.post(&format!("{job}{tail}"), &fields(bad));
            let refused = refused.refused(400, "bad_field");
            assert!(refused["error"].as_str().unwrap().contains("priority"), "{refused}");
        }
        is(next);
    }
    client.push(&format!("{job}/priority")).refused(400, "bad_field");
    let two = Body::plain(json!({ "priority": 1, "cancel": true }));
    client.post(&job, &two).refused(400, "bad_field");
    client.post(&job, &Body::plain(json!({ "something": 1 }))).refused(400, "bad_field");
    client.post(&job, &Body::plain(json!({ "cancel": "yes" }))).refused(400, "bad_field");
    client.push(&format!("{job}/cancel")).expect(200);
}

/// Jobs that were never submitted, or are somebody else's.
fn unknown(client: &Client<'_>, world: &World, base: &Base) {
    let mut strangers = vec![999_999_999];
    if base.queue.is_some() {
        let others = world.bases.iter().filter(|other| other.queue != base.queue);
        strangers.extend(others.flat_map(|other| [other.completed, other.open]));
    }
    for lsn in strangers {
        let job = base.job(lsn);
        for path in ["", "/events", "/explain"] {
            let refused = client.get(&format!("{job}{path}")).refused(404, "unknown_job");
            assert_eq!(refused["lsn"], lsn);
        }
        client.get_as(PKG, &job).refused(404, "unknown_job");
        for path in ["/cancel", "/priority?priority=1", "/reschedule", "/retract", "/retire", ""] {
            client.push(&format!("{job}{path}")).refused(404, "unknown_job");
        }
        client.delete(&job).refused(404, "unknown_job");
    }
    let nobody = "7".repeat(40);
    client.get(&format!("{}/{nobody}", base.jobs())).refused(404, "unknown_worker");
    if base.queue.is_none() {
        let worker = world.worker(Temper::Quick).id();
        client.get(&format!("/compute/jobs/{worker}/{nobody}")).refused(404, "unknown_action");
        client.get(&format!("/compute/jobs/{nobody}/{nobody}")).refused(404, "unknown_action");
    }
}
