//! What was answered before a kill is answered after it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::client::{CB, Client, JSON};
use crate::table::looks_back;

/// An answer, without what changes by itself.
#[derive(Clone, PartialEq, Debug)]
struct Kept {
    status: u16,
    media: String,
    content: Content,
}

#[derive(Clone, PartialEq, Debug)]
enum Content {
    Object(Value),
    Bytes(Vec<u8>),
    /// The beginning of what grows.
    Log(String),
}

/// Everything that was asked, and the answers.
pub(crate) struct Memory(BTreeMap<(String, String), (Kept, u64)>);

impl Memory {
    /// Asks again for all that was ever asked by GET.
    pub(crate) fn of(client: &Client<'_>) -> Self {
        let asked = client.visits.asked();
        Self(asked.into_iter().map(|asked| (asked.clone(), ask(client, &asked))).collect())
    }

    /// Asks all of it of a service that was killed and started.
    pub(crate) fn compare(&self, client: &Client<'_>) {
        for (asked, (before, lsn)) in &self.0 {
            let (after, now) = ask(client, asked);
            let (target, accept) = asked;
            assert!(now >= *lsn, "{target}: the answer is older than before");
            if let (Content::Log(old), Content::Log(new)) = (&before.content, &after.content) {
                assert!(new.starts_with(old), "{target}: the log is another one");
                continue;
            }
            assert_eq!(after, *before, "GET {target} as {accept} is another after the kill");
        }
    }

    /// Asks all that can be asked of the past, as it was when it was asked first.
    pub(crate) fn look_back(&self, client: &Client<'_>) -> usize {
        let mut asked_again = 0;
        for ((target, accept), (before, lsn)) in &self.0 {
            if !looks_back(&target.replacen("/apply", "/compute", 1)) {
                continue;
            }
            let sign = if target.contains('?') { '&' } else { '?' };
            let past = (format!("{target}{sign}at={lsn}"), accept.clone());
            let (then, at) = ask(client, &past);
            assert_eq!(then, *before, "GET {} as {accept} is another than it was", past.0);
            assert_eq!(at, *lsn, "GET {}", past.0);
            asked_again += 1;
        }
        asked_again
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

fn ask(client: &Client<'_>, (target, accept): &(String, String)) -> (Kept, u64) {
    let reply = client.call("GET", target).accept(accept).send();
    let media = reply.media().to_owned();
    let content = if target.starts_with("/compute/log") {
        Content::Log(reply.text())
    } else if matches!(media.as_str(), CB | JSON) {
        let mut object = reply.value();
        if target == "/compute/sysinfo" {
            object = lasting(&object);
        }
        settle(&mut object);
        // Which of what is open runs just now is chance.
        if target.contains("state=pending") {
            object = Value::Null;
        }
        Content::Object(object)
    } else {
        Content::Bytes(reply.body.clone())
    };
    (Kept { status: reply.status, media, content }, reply.lsn())
}

/// What `sysinfo` says of things that a kill doesn't change.
fn lasting(info: &Value) -> Value {
    let names = ["host", "os", "arch", "logical_cores", "memory_total_bytes", "version"];
    let mut kept = Value::from_iter(names.map(|name| (name, info[name].clone())));
    kept["chunks"] = json!([info["chunks"]["count"], info["chunks"]["bytes"]]);
    kept["first_lsn"] = info["log"]["first_lsn"].clone();
    let runner = &info["runners"][0];
    kept["runner"] = json!([runner["name"], runner["host"], runner["slots"], runner["sandbox"]]);
    kept
}

/// Takes away what a kill changes: what ran is pending again, and is tried again.
fn settle(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(settle),
        Value::Object(fields) => {
            let state = fields.get("state").and_then(Value::as_str);
            if matches!(state, Some("pending" | "submitting" | "running")) {
                fields.insert("state".into(), json!("open"));
                for live in ["attempts", "because", "waits_for", "attempt", "runner", "position"] {
                    fields.remove(live);
                }
            }
            if let Some(active) = fields.get("active_count").cloned() {
                let count = |name: &str| fields.get(name).and_then(Value::as_u64).unwrap();
                assert_eq!(active, count("queued_count") + count("running_count"));
                fields.remove("queued_count");
                fields.remove("running_count");
            }
            if let (Some(pending), Some(running)) = (fields.get("pending"), fields.get("running")) {
                let lists = [pending.as_array(), running.as_array()];
                let mut open: Vec<_> = lists.into_iter().flatten().flatten().cloned().collect();
                open.sort_by_key(Value::as_u64);
                fields.remove("running");
                fields.insert("pending".into(), Value::Array(open));
            }
            if let Some(events) = fields.get_mut("events").and_then(Value::as_array_mut) {
                let is_attempt = |event: &Value| {
                    let kind = event["event"].as_object().and_then(|event| event.keys().next());
                    kind.is_some_and(|kind| kind.starts_with("attempt_"))
                };
                // An open job's attempts go on after those that were lost.
                if !events.iter().any(|event| !event["event"]["attempt_finished"].is_null()) {
                    events.retain(|event| !is_attempt(event));
                }
            }
            fields.values_mut().for_each(settle);
        }
        _ => {}
    }
}
