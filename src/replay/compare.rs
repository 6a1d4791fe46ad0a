//! What differs between a recorded output and that of a replay.

use std::collections::BTreeMap;

use crate::domain::{ContentHash, Lsn, Mismatch, ObjectId};
use crate::wire::output::Output;

/// The values that differ, by id; the output objects when these alone do. Nothing: they match.
pub fn differences(job: Lsn, recorded: &Output, replayed: &Output) -> Vec<Mismatch> {
    let mut values: BTreeMap<ObjectId, (Option<ContentHash>, Option<ContentHash>)> =
        BTreeMap::new();
    for value in recorded.values() {
        values.entry(value.id).or_default().0 = Some(value.hash.0);
    }
    for value in replayed.values() {
        values.entry(value.id).or_default().1 = Some(value.hash.0);
    }
    let differing = values.into_iter().filter(|(_, (was, is))| was != is);
    let mut found: Vec<Mismatch> = differing
        .map(|(id, (was, is))| {
            let name = recorded.value_name(id).or_else(|| replayed.value_name(id));
            let value = Some(name.map_or_else(|| id.to_string(), ToOwned::to_owned));
            Mismatch { job, value, recorded: was, replayed: is }
        })
        .collect();
    let (was, is) = (recorded.object().bytes(), replayed.object().bytes());
    if found.is_empty() && was != is {
        let hash = |bytes: &[u8]| Some(ContentHash::of(bytes));
        found.push(Mismatch { job, value: None, recorded: hash(was), replayed: hash(is) });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::cb::Attachment;
    use crate::wire::value::Value;

    const STDOUT: &str = "stdout";

    fn output(values: &[(ObjectId, &str)], note: &str) -> Output {
        let listed = values.iter().map(|(id, content)| {
            Value::object([
                ("Id", Value::from(*id)),
                (
                    "RawHash",
                    Value::Attachment(Attachment::Binary(ContentHash::of(content.as_bytes()))),
                ),
                ("RawSize", Value::from(content.len() as u64)),
            ])
        });
        let stdout = ObjectId::of_name(STDOUT).to_string();
        let names = Value::object([(stdout, Value::from(STDOUT.to_owned()))]);
        let meta = Value::object([("Note", Value::from(note.to_owned())), ("Values", names)]);
        let object = Value::object([("Values", Value::array(listed)), ("Meta", meta)]).to_object();
        Output::parse(object).unwrap()
    }

    #[test]
    fn every_value_that_differs_is_named_with_both_hashes() {
        let (a, b, c) = (ObjectId::of_name(STDOUT), ObjectId([2; 12]), ObjectId([3; 12]));
        let was = output(&[(a, "one"), (b, "same"), (c, "gone")], "");
        let is = output(&[(ObjectId([4; 12]), "new"), (b, "same"), (a, "two")], "");
        let hash = |content: &str| Some(ContentHash::of(content.as_bytes()));
        let mismatch = |value: String, recorded, replayed| Mismatch {
            job: Lsn(7),
            value: Some(value),
            recorded,
            replayed,
        };
        let mut found = differences(Lsn(7), &was, &is);
        found.sort_by(|left, right| left.value.cmp(&right.value));
        assert_eq!(
            found,
            [
                mismatch(c.to_string(), hash("gone"), None),
                mismatch(ObjectId([4; 12]).to_string(), None, hash("new")),
                mismatch(STDOUT.to_owned(), hash("one"), hash("two")),
            ]
        );
    }

    #[test]
    fn equal_values_in_another_object_are_a_difference_of_the_object() {
        let values = [(ObjectId([1; 12]), "same")];
        let (was, is) = (output(&values, "a"), output(&values, "b"));
        let found = differences(Lsn(7), &was, &is);
        let hash = |output: &Output| Some(ContentHash::of(output.object().bytes()));
        let expected =
            Mismatch { job: Lsn(7), value: None, recorded: hash(&was), replayed: hash(&is) };
        assert_eq!(found, [expected]);
        assert_eq!(differences(Lsn(7), &was, &was.clone()), []);
    }
}
