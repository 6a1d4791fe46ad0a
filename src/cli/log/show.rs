//! One record with everything in it.

use anyhow::anyhow;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::exit::Code;
use super::super::{Global, output};
use super::read;
use crate::client::Client;
use crate::domain::Lsn;
use crate::wire::cb::Object;

pub(super) async fn run(global: &Global, client: &Client, lsn: Lsn) -> anyhow::Result<Code> {
    let mut found = None;
    client
        .log_lines(lsn, 1, 0, |line| {
            let (lsn, record) = read(line)?;
            found = Some(record);
            anyhow::Ok(lsn)
        })
        .await?;
    let record = found.ok_or_else(|| {
        anyhow!(
            "there is no record {lsn} yet; `ledgerun log dump --follow` shows them as they come"
        )
    })?;
    if global.json {
        output::json(&record)?;
    } else {
        output::line(&text(lsn, &record)?)?;
    }
    Ok(Code::Clean)
}

/// The record for a person: its frame as lines, what happened as JSON.
fn text(lsn: Lsn, record: &Value) -> anyhow::Result<String> {
    let event = record.get("event").and_then(Value::as_object);
    let (name, body) = event.and_then(|event| event.iter().next()).unzip();
    let mut lines = vec![format!("record {lsn}  {}", name.map_or("?", String::as_str))];
    lines.push(format!("  {:<10} {}", "at", output::text(record, "at")));
    if record.get("prev").is_some() {
        let prev = output::text(record, "prev");
        lines.push(format!("  {:<10} {prev}, the one before about the same", "previous"));
    }
    let cause = record.get("cause").and_then(Value::as_object);
    for (key, value) in cause.into_iter().flatten() {
        lines.push(format!(
            "  {key:<10} {}",
            value.as_str().map_or_else(|| value.to_string(), str::to_owned)
        ));
    }
    let mut body = body.cloned().unwrap_or_default();
    spell(&mut body);
    lines.push(serde_json::to_string_pretty(&body)?);
    Ok(lines.join("\n"))
}

/// Puts what an object says in the place of its bytes.
fn spell(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let inline = fields.get("inline").and_then(Value::as_str);
            let bytes = inline.and_then(|text| STANDARD.decode(text).ok());
            let object = bytes.and_then(|bytes| Object::parse(bytes).ok());
            let spelled = object.map(|object| crate::wire::json::to_string(&object));
            match spelled.and_then(|text| serde_json::from_str(&text).ok()) {
                Some(spelled) => *value = spelled,
                None => fields.values_mut().for_each(spell),
            }
        }
        Value::Array(items) => items.iter_mut().for_each(spell),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_spelled_out() {
        let object = Object::build(|object| object.field("Function").str("Exec"));
        let record = json!({
            "lsn": 12, "at": "2026-11-25T17:26:22.449800Z", "prev": 7, "cause": {"request": 3},
            "event": { "job_submitted": {
                "object": { "inline": STANDARD.encode(object.bytes()) },
                "stderr": { "inline": "not base64" },
            } },
        });
        let text = text(Lsn(12), &record).unwrap();
        assert!(text.starts_with("record 12  job_submitted\n"), "{text}");
        for part in ["at         2026", "previous   7", "request    3"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("\"Function\": \"Exec\"") && text.contains("not base64"), "{text}");
    }
}
