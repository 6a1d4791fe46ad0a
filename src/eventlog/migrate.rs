//! Brings a log's database to the schema of this program, step by step.
//!
//! A step changes the layout of the database. Records are never rewritten: their codec version says
//! how to read them. Each folder of `migrations/` is one step with its reasons and a log of its
//! time that must stay readable.

#[path = "../../migrations/0005_compaction/up.rs"]
mod compaction;
#[path = "../../migrations/0004_frames/up.rs"]
mod frames;
#[path = "../../migrations/0001_initial/up.rs"]
mod initial;
#[path = "../../migrations/0007_journal/up.rs"]
mod journal;
#[path = "../../migrations/0006_packed_frames/up.rs"]
mod packed_frames;
#[path = "../../migrations/0002_queues/up.rs"]
mod queues;
#[path = "../../migrations/0003_recordings/up.rs"]
mod recordings;

use crate::durable;

/// The schema this program writes: the number of the last step.
pub(super) const SCHEMA: u32 = 7;

/// Tree of records.
pub(super) const EVENTS: &str = "events";
/// Tree of the pieces of the base state.
pub(super) const BASE: &str = "base";
/// Tree of records that are kept from before the base state.
pub(super) const KEPT: &str = "kept";
/// Tree of facts about the log itself.
pub(super) const META: &str = "meta";
/// Key in [`META`]: what the base state says of itself. Absent while nothing was folded.
pub(super) const BASE_KEY: &str = "base";
/// Key in [`META`]: the schema, 4 bytes, big-endian.
const SCHEMA_KEY: &str = "schema";

type Step = fn(&::sled::Db) -> ::sled::Result<()>;

/// The step that leads to each schema, from 1.
const STEPS: [(u32, Step); SCHEMA as usize] = [
    (1, initial::up),
    (2, queues::up),
    (3, recordings::up),
    (4, frames::up),
    (5, compaction::up),
    (6, packed_frames::up),
    (7, journal::up),
];

/// The schema of `db`, `None` when it is new.
pub(super) fn stored(db: &::sled::Db) -> ::sled::Result<Option<u32>> {
    if !has_tree(db, META) {
        return Ok(None);
    }
    let value = db.open_tree(META)?.get(SCHEMA_KEY)?;
    let parse = |value: ::sled::IVec| match value.as_ref().try_into() {
        Ok(bytes) => Ok(u32::from_be_bytes(bytes)),
        Err(_) => Err(::sled::Error::Unsupported("its schema is not 4 bytes".to_owned())),
    };
    value.map(parse).transpose()
}

/// Whether `db` holds no record.
pub(super) fn is_new(db: &::sled::Db) -> ::sled::Result<bool> {
    Ok(!has_tree(db, EVENTS) || db.open_tree(EVENTS)?.is_empty())
}

/// Runs the steps after `stored`, and writes down how far it came after each.
pub(super) fn run(db: &::sled::Db, stored: Option<u32>) -> ::sled::Result<()> {
    let stored = stored.unwrap_or(0);
    for (schema, step) in STEPS.into_iter().filter(|(schema, _)| *schema > stored) {
        step(db)?;
        db.open_tree(META)?.insert(SCHEMA_KEY, &schema.to_be_bytes())?;
        durable::flush(db)?;
    }
    Ok(())
}

fn has_tree(db: &::sled::Db, name: &str) -> bool {
    db.tree_names().iter().any(|known| known == name.as_bytes())
}
