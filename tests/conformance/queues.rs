//! The life of queues, by number and by token.

use serde_json::{Value, json};

use crate::bodies::{Body, Temper};
use crate::client::{Client, JSON};
use crate::jobs::new_job;
use crate::world::{Base, Queue, World, new_queue, until};

/// Walks the rows of queues.
pub(crate) fn all(client: &Client<'_>, world: &World) {
    made(client);
    listed(client, world);
    unknown(client);
    // Ends while the others are walked.
    let short = new_queue(client, &json!({ "expire_after_idle_s": 1 }));
    for by_token in [false, true] {
        drained(client, world, by_token);
        cancelled(client, world, by_token);
    }
    expired(client, world, &short);
}

fn base(queue: &Queue, by_token: bool) -> Base {
    let prefix = if by_token { &queue.by_token } else { &queue.by_number };
    let (prefix, queue, over) = (prefix.clone(), Some(queue.id), String::new());
    Base { prefix, queue, over, completed: 0, action: String::new(), open: 0, running: 0 }
}

/// Settings come back as they were given, in both kinds of queues.
fn made(client: &Client<'_>) {
    let settings = json!({
        "max_retries": 5,
        "name": "nightly",
        "metadata": { "branch": "main", "numbers": [1, 2.5, true] },
        "expire_after_idle_s": 3_600,
        "max_running": 2,
    });
    for path in ["/compute/queues", "/compute/queues/remote"] {
        for body in [settings.clone(), json!({})] {
            let answer = client.post(path, &Body::plain(body.clone())).expect(200);
            let shown = queue_of(client, &answer.value());
            for (name, value) in body.as_object().unwrap() {
                assert_eq!(shown[name], *value, "{name}");
            }
            assert_eq!((&shown["state"], &shown["is_complete"]), (&json!("active"), &json!(true)));
        }
        let answer = client.push(path).expect(200).value();
        let shown = queue_of(client, &answer);
        assert_eq!(
            (&shown["max_retries"], &shown["expire_after_idle_s"]),
            (&json!(1), &json!(900))
        );
        let long = Body::plain(json!({ "name": "n".repeat(513) }));
        assert_eq!(client.post(path, &long).refused(400, "too_long")["limit"], 512);
        for (name, wrong) in [
            ("name", json!(7)),
            ("metadata", json!("text")),
            ("expire_after_idle_s", json!(-1)),
            ("max_running", json!("two")),
            ("max_retries", json!("none")),
        ] {
            let refused = client.post(path, &Body::plain(json!({ name: wrong })));
            let refused = refused.refused(400, "bad_field");
            assert!(refused["error"].as_str().unwrap().contains(name), "{refused}");
        }
    }
}

/// What a new queue is shown as, by each of its names.
fn queue_of(client: &Client<'_>, answer: &Value) -> Value {
    let shown = client.get(&format!("/compute/queues/{}", answer["queue_id"])).expect(200).value();
    if let Some(token) = answer["queue_token"].as_str() {
        assert!(token.len() == 24 && token.bytes().all(|b| b"0123456789abcdef".contains(&b)));
        let target = format!("/compute/queues/{token}");
        assert_eq!(client.get(&target).expect(200).value(), shown);
        let upper = format!("/compute/queues/{}", token.to_ascii_uppercase());
        assert_eq!(client.get(&upper).expect(200).value(), shown);
    }
    shown
}

fn listed(client: &Client<'_>, world: &World) {
    let whole = client.get("/compute/queues?limit=1000").expect(200);
    let token = world.bases[2].prefix.rsplit('/').next().unwrap();
    assert!(!whole.text().contains(token), "a token is shown");
    let whole = whole.value()["queues"].as_array().unwrap().clone();
    let ids = |queues: &[Value]| -> Vec<u64> {
        queues.iter().map(|queue| queue["queue_id"].as_u64().unwrap()).collect()
    };
    let all = ids(&whole);
    assert!(all.is_sorted());
    let known = world.bases.iter().filter_map(|base| base.queue);
    assert!(known.into_iter().all(|queue| all.contains(&queue)));
    let one = client.get(&format!("/compute/queues/{}", all[0])).expect(200).value();
    assert_eq!(whole[0], one);
    let (mut seen, mut after) = (Vec::new(), 0);
    loop {
        let page =
            client.get(&format!("/compute/queues?limit=2&after={after}")).expect(200).value();
        seen.extend(ids(page["queues"].as_array().unwrap()));
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(seen, all, "pages hold each queue once");
    client.get("/compute/queues").expect(200);
    for query in ["after=x", "limit=all"] {
        client.get(&format!("/compute/queues?{query}")).refused(400, "bad_parameter");
    }
}

/// Names that lead to no queue.
fn unknown(client: &Client<'_>) {
    let worker = "8".repeat(40);
    for name in ["4000000000", "18446744073709551615", "0123456789abcdef01234567"] {
        let queue = format!("/compute/queues/{name}");
        let gets = ["", "/completed", "/jobs", "/jobs/1", "/jobs/1/events", "/jobs/1/explain"];
        for path in gets {
            client.get(&format!("{queue}{path}")).refused(404, "unknown_queue");
        }
        client.get(&format!("{queue}/jobs/{worker}")).refused(404, "unknown_queue");
        let posts = ["/drain", "/jobs", "/jobs/1", "/jobs/1/cancel", "/jobs/1/priority"];
        let more = ["/jobs/1/reschedule", "/jobs/1/retract", "/jobs/1/retire"];
        for path in posts.into_iter().chain(more) {
            client.push(&format!("{queue}{path}")).refused(404, "unknown_queue");
        }
        client.push(&format!("{queue}/jobs/{worker}")).refused(404, "unknown_queue");
        client.delete(&queue).refused(404, "unknown_queue");
        client.delete(&format!("{queue}/jobs/1")).refused(404, "unknown_queue");
    }
}

fn counts(client: &Client<'_>, base: &Base) -> Value {
    let shown = client.get(&base.prefix).expect(200).value();
    let names = ["active", "completed", "failed", "abandoned", "cancelled", "queued", "running"];
    Value::from_iter(names.map(|name| (name, shown[format!("{name}_count")].clone())))
}

/// Counts its jobs, takes no more when it is drained, and is complete with the last one's end.
fn drained(client: &Client<'_>, world: &World, by_token: bool) {
    let base = base(&new_queue(client, &json!({ "name": "drained" })), by_token);
    let (done, _) = new_job(client, world, &base, Temper::Quick);
    let (failed, _) = new_job(client, world, &base, Temper::Failing);
    let (gone, _) = new_job(client, world, &base, Temper::Foreign);
    let (open, _) = new_job(client, world, &base, Temper::Foreign);
    client.delete(&base.job(gone)).expect(200);
    client.untraced(|| until(client, &base, done, "completed"));
    client.untraced(|| until(client, &base, failed, "failed"));
    let expected = json!({
        "active": 1, "completed": 1, "failed": 1, "abandoned": 0, "cancelled": 1,
        "queued": 1, "running": 0,
    });
    assert_eq!(counts(client, &base), expected);
    for _ in 0..2 {
        let shown = client.push(&format!("{}/drain", base.prefix)).expect(200).value();
        let expected = (&json!("draining"), &json!(false));
        assert_eq!((&shown["state"], &shown["is_complete"]), expected);
    }
    takes_nothing(client, world, &base, "draining");
    client.push(&format!("{}/priority?priority=4", base.job(open))).expect(200);
    client.push(&format!("{}/cancel", base.job(open))).expect(200);
    let shown = client.get(&base.prefix).expect(200).value();
    assert_eq!((&shown["state"], &shown["is_complete"]), (&json!("complete"), &json!(true)));
    takes_nothing(client, world, &base, "complete");
    client.push(&format!("{}/drain", base.prefix)).expect(200);
    client.push(&format!("{}/retire", base.job(done))).expect(200);
    assert_eq!(counts(client, &base)["completed"], 1, "retired ones go on counting");
}

/// Ends all that it has, for good.
fn cancelled(client: &Client<'_>, world: &World, by_token: bool) {
    let base = base(&new_queue(client, &json!({ "name": "cancelled" })), by_token);
    let (running, _) = new_job(client, world, &base, Temper::Endless);
    let (open, _) = new_job(client, world, &base, Temper::Foreign);
    let (done, _) = new_job(client, world, &base, Temper::Quick);
    client.untraced(|| until(client, &base, done, "completed"));
    client.untraced(|| until(client, &base, running, "running"));
    for _ in 0..2 {
        let shown = client.delete(&base.prefix).expect(200).value();
        assert_eq!((&shown["state"], &shown["is_complete"]), (&json!("cancelled"), &json!(true)));
        assert_eq!((&shown["cancelled_count"], &shown["completed_count"]), (&json!(2), &json!(1)));
    }
    for lsn in [running, open] {
        let job = client.get(&base.job(lsn)).expect(200).value();
        assert_eq!(job["state"], "cancelled");
    }
    assert_eq!(client.get(&base.job(done)).expect(200).value()["state"], "completed");
    let feed = client.get(&base.feed()).expect(200).value();
    assert_eq!(feed["completed"].as_array().unwrap().len(), 3, "{feed}");
    takes_nothing(client, world, &base, "cancelled");
    client.push(&format!("{}/drain", base.prefix)).refused(409, "queue_is_cancelled");
}

/// Ends by itself when nobody needs it. Only the list is asked meanwhile, since whoever asks for
/// the queue itself needs it.
fn expired(client: &Client<'_>, world: &World, queue: &Queue) {
    let begun = ledgerun::clock::monotonic();
    let target = format!("/compute/queues?after={}&limit=1", queue.id - 1);
    loop {
        let list = client.call("GET", &target).accept(JSON).send().expect(200).value();
        if list["queues"][0]["state"] == "expired" {
            break;
        }
        assert!(begun.elapsed().as_secs() < 30, "{list}");
        let feed = "/compute/jobs/completed?since=999999999&wait=0.05";
        client.call("GET", feed).send().expect(200);
    }
    for by_token in [false, true] {
        let base = base(queue, by_token);
        assert_eq!(client.get(&base.prefix).expect(200).value()["state"], "expired");
        takes_nothing(client, world, &base, "expired");
        client.push(&format!("{}/drain", base.prefix)).refused(409, "queue_is_expired");
    }
    client.delete(&queue.by_token).expect(200);
}

/// A queue in this state refuses jobs, one by one and in batches.
fn takes_nothing(client: &Client<'_>, world: &World, base: &Base, state: &str) {
    let quick = world.worker(Temper::Quick);
    let action = quick.action(client.visits.number());
    let code = format!("queue_is_{state}");
    for target in [base.jobs(), format!("{}/{}", base.jobs(), quick.id())] {
        for body in [action.clone(), Body::batch(&[action.clone(), action.clone()])] {
            let refused = client.post(&target, &body).refused(409, &code);
            assert_eq!((&refused["queue"], &refused["state"]), (&json!(base.queue), &json!(state)));
        }
    }
}
