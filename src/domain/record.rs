//! One entry of the log.

use serde::{Deserialize, Serialize};

use super::event::Event;
use super::ids::{Lsn, ObjectId};
use super::time::Timestamp;

/// Largest encoded record, in bytes. sled must never move a page of the log into a blob file,
/// because those are not synced (docs/format.md).
pub const RECORD_BYTES_MAX: usize = 4_096;

/// A fact with its position, its time and what led to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Position; consecutive, never reused.
    pub lsn: Lsn,
    /// When it was decided, by the service's clock.
    pub at: Timestamp,
    /// The record before this one about the same subject, zero for the first. A job's or an
    /// execution's history is read backwards along it, so no index of events is needed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub prev: Lsn,
    /// Who asked.
    #[serde(default, skip_serializing_if = "Cause::is_unknown")]
    pub cause: Cause,
    pub event: Event,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(lsn: &Lsn) -> bool {
    *lsn == Lsn::ZERO
}

/// The request that led to a record: the engine's `UE-Session` and `UE-Request` headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Cause {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<ObjectId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
}

impl Cause {
    /// Nobody outside asked.
    pub const UNKNOWN: Self = Self { session: None, request: None };

    fn is_unknown(&self) -> bool {
        *self == Self::UNKNOWN
    }
}
