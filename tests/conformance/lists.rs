//! Lists and feeds, with every parameter.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::bodies::Temper;
use crate::client::{Client, JSON};
use crate::jobs::new_job;
use crate::world::{Base, World, until};

/// Walks the lists and the feed of one place.
pub(crate) fn all(client: &Client<'_>, world: &World, base: &Base) {
    narrowed(client, world, base);
    paged(client, base);
    refused(client, base);
    feed(client, base);
    waiting(client, world, base);
}

fn jobs(client: &Client<'_>, base: &Base, query: &str) -> Vec<Value> {
    let list = client.get(&format!("{}{query}", base.jobs())).expect(200).value();
    list["jobs"].as_array().unwrap().clone()
}

fn lsns(jobs: &[Value], name: &str) -> Vec<u64> {
    jobs.iter().map(|job| job[name].as_u64().unwrap()).collect()
}

/// Each filter shows some jobs, all of them such, and without it there are others.
fn narrowed(client: &Client<'_>, world: &World, base: &Base) {
    let everything = jobs(client, base, "?limit=10000");
    assert!(lsns(&everything, "lsn").is_sorted());
    let quick = world.worker(Temper::Quick);
    let mut filters = vec![
        ("state", json!("completed")),
        ("state", json!("failed")),
        ("state", json!("cancelled")),
        ("state", json!("pending")),
        ("worker", json!(quick.id())),
        ("function", json!(quick.function)),
    ];
    if base.queue.is_none() {
        filters.push(("queue", json!(world.bases[1].queue)));
    }
    for (name, value) in filters {
        let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        let found = jobs(client, base, &format!("?limit=10000&{name}={text}"));
        let expected: Vec<_> =
            everything.iter().filter(|job| job[name] == value).cloned().collect();
        assert!(!found.is_empty() && found.len() < everything.len(), "{name}={text}");
        assert_eq!(lsns(&found, "lsn"), lsns(&expected, "lsn"), "{name}={text}");
    }
    assert!(jobs(client, base, "?function=Nobody").is_empty());
    if let Some(queue) = base.queue {
        assert!(everything.iter().all(|job| job["queue"] == queue), "{everything:?}");
    }
}

fn paged(client: &Client<'_>, base: &Base) {
    let all = lsns(&jobs(client, base, "?limit=10000"), "lsn");
    assert_eq!(lsns(&jobs(client, base, ""), "lsn"), all[..all.len().min(100)]);
    let after = all[all.len() / 2];
    let rest: Vec<_> = all.iter().copied().filter(|lsn| *lsn > after).collect();
    assert_eq!(lsns(&jobs(client, base, &format!("?limit=10000&after={after}")), "lsn"), rest);
    let (mut seen, mut after) = (Vec::new(), 0);
    loop {
        let target = format!("{}?limit=7&after={after}", base.jobs());
        let page = client.get(&target).expect(200).value();
        let found = lsns(page["jobs"].as_array().unwrap(), "lsn");
        assert!(found.len() <= 7);
        seen.extend(found);
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(seen, all, "pages hold each job once");
}

/// Parameters that can't be what they are.
fn refused(client: &Client<'_>, base: &Base) {
    let mut queries = vec![
        (base.jobs(), "state=odd"),
        (base.jobs(), "worker=7"),
        (base.jobs(), "after=x"),
        (base.jobs(), "limit=-1"),
        (base.feed(), "since=x"),
        (base.feed(), "since=-1"),
        (base.feed(), "limit=many"),
        (base.feed(), "wait=soon"),
        (base.feed(), "wait=-1"),
        (base.feed(), "wait=NaN"),
    ];
    if base.queue.is_none() {
        queries.push((base.jobs(), "queue=x"));
    }
    for (path, query) in queries {
        let refused = client.get(&format!("{path}?{query}")).refused(400, "bad_parameter");
        let name = query.split('=').next().unwrap();
        assert!(refused["error"].as_str().unwrap().contains(name), "{refused}");
    }
}

fn feed(client: &Client<'_>, base: &Base) {
    let feed = base.feed();
    let whole = client.get(&format!("{feed}?limit=999999")).expect(200).value();
    let ended = whole["completed"].as_array().unwrap();
    assert!(lsns(ended, "completed_lsn").is_sorted());
    assert_eq!(whole["next"], ended.last().unwrap()["completed_lsn"]);
    let states: BTreeSet<_> = ended.iter().map(|job| job["state"].as_str().unwrap()).collect();
    assert_eq!(Vec::from_iter(states), ["cancelled", "completed", "failed"]);
    if base.queue.is_some() {
        assert!(ended.iter().all(|job| job["queue"] == json!(base.queue)), "{whole}");
    }
    let first = client.get(&feed).expect(200).value();
    assert_eq!(first, client.get(&format!("{feed}?since=0&wait=0")).expect(200).value());
    let (mut seen, mut since) = (Vec::new(), 0);
    loop {
        let page = client.get(&format!("{feed}?since={since}&limit=5")).expect(200).value();
        let jobs = page["completed"].as_array().unwrap();
        assert!(jobs.iter().all(|job| job["completed_lsn"].as_u64() > Some(since)), "{page}");
        seen.extend(jobs.iter().cloned());
        let next = page["next"].as_u64().unwrap();
        if jobs.is_empty() {
            assert_eq!(next, since);
            break;
        }
        since = next;
    }
    assert_eq!(seen, *ended, "pages hold each end once");
    let empty = client.get(&format!("{feed}?since={since}&wait=0.01")).expect(200).value();
    assert_eq!(empty, json!({ "completed": [], "next": since }));
}

/// Who waits is told of an end when it comes.
fn waiting(client: &Client<'_>, world: &World, base: &Base) {
    let since = client.get(&format!("{}?limit=999999", base.feed())).expect(200).value();
    let since = since["next"].as_u64().unwrap();
    let (lsn, _) = new_job(client, world, base, Temper::Quick);
    let target = format!("{}?since={since}&wait=30", base.feed());
    let mut call = client.call("GET", &target);
    if client.half == crate::visits::Half::First {
        call = call.accept(JSON);
    }
    let page = call.send().expect(200).value();
    assert_eq!(page["completed"][0]["lsn"], lsn, "{page}");
    client.untraced(|| until(client, base, lsn, "completed"));
}
