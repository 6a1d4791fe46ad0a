//! A record in one line.

use serde_json::Value;

use super::super::output;

/// A longer text is cut for people: objects of any size are part of records.
const TEXT_CHARS_MAX: usize = 40;

/// One record for a person: position, time, what happened, and its fields.
pub(in super::super) fn describe(record: &Value) -> String {
    let lsn = record.get("lsn").and_then(Value::as_u64).unwrap_or_default();
    let at = output::text(record, "at");
    let event = record.get("event").and_then(Value::as_object);
    let (name, body) = event.and_then(|event| event.iter().next()).unzip();
    let mut fields = String::new();
    for (key, value) in body.and_then(Value::as_object).into_iter().flatten() {
        fields.push(' ');
        fields.push_str(key);
        fields.push('=');
        short(value, &mut fields);
    }
    format!("{lsn:>8}  {at}  {:<24}{fields}", name.map_or("?", String::as_str))
}

/// A value in few characters: no quotes, long texts cut.
fn short(value: &Value, out: &mut String) {
    match value {
        Value::String(text) if text.chars().count() > TEXT_CHARS_MAX => {
            out.extend(text.chars().take(TEXT_CHARS_MAX / 2));
            out.push('…');
        }
        Value::String(text) => out.push_str(text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                short(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (index, (key, item)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push('=');
                short(item, out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_record_is_one_short_line() {
        let record = json!({ "lsn": 12, "at": "2026-11-25T17:26:22.449800Z", "cause": {},
            "event": { "job_submitted": { "worker": "c51363ef217c6789c85637eb85b4b874873dd147",
                "object": { "inline": "A".repeat(500) }, "run": "opens", "list": [1, "b"] } } });
        assert_eq!(
            describe(&record),
            "      12  2026-11-25T17:26:22.449800Z  job_submitted            \
             list=[1 b] object={inline=AAAAAAAAAAAAAAAAAAAA…} run=opens \
             worker=c51363ef217c6789c85637eb85b4b874873dd147"
        );
    }
}
