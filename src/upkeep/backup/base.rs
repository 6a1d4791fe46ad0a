//! The state that a compacted log begins with, and what is kept from before it, in a backup.

use std::io::{self, Read as _, Write};
use std::path::Path;

use bytes::Bytes;

use super::Error;
use super::container::{Kind, PIECE_BYTES, Writer, kept_values};
use super::manifest::{Manifest, PartKind};
use super::parts::{Follower, Stop, blocks, unexpected};
use super::send::{send_records, sent};
use crate::domain::{Lsn, sentence};
use crate::eventlog::compact::{Base, BaseError, Proof};
use crate::eventlog::{Error as LogError, LogReader};

/// Writes it.
pub(super) fn send(log: &dyn LogReader, out: &mut Writer<impl Write>) -> Result<(), Error> {
    let Some(base) = log.base() else { return Ok(()) };
    log.check_base()?;
    out.block(Kind::Base, &base.to_bytes()).map_err(sent)?;
    let mut body = log.base_body();
    let mut part = Vec::with_capacity(PIECE_BYTES);
    loop {
        part.clear();
        let unreadable = |source: io::Error| LogError::Base { source: source.into() };
        (&mut body).take(PIECE_BYTES as u64).read_to_end(&mut part).map_err(unreadable)?;
        if part.is_empty() {
            break;
        }
        out.block(Kind::State, &part).map_err(sent)?;
    }
    send_records(log.kept(), Kind::Kept, out)
}

/// What is in a block of it.
pub(super) enum Content<'a> {
    Head(Base),
    /// The next part of the state.
    State(&'a [u8]),
    Kept(Vec<(Lsn, Bytes)>),
}

/// Follows its blocks: the head, the state, the records.
#[derive(Default)]
pub(super) struct Parts(Option<Proof>);

impl Parts {
    pub(super) fn push<'a>(
        &mut self,
        kind: Kind,
        payload: &'a [u8],
    ) -> Result<Content<'a>, String> {
        let told = |error: BaseError| format!("of the base state {error}");
        match (&mut self.0, kind) {
            (none @ None, Kind::Base) => {
                let proof = Proof::of(payload).map_err(told)?;
                let base = proof.base();
                *none = Some(proof);
                Ok(Content::Head(base))
            }
            (Some(proof), Kind::State) => {
                proof.body(payload);
                Ok(Content::State(payload))
            }
            (Some(proof), Kind::Kept) => {
                let values = kept_values(payload).ok_or("a block of kept records breaks off")?;
                for (lsn, value) in &values {
                    proof.keep(*lsn, value).map_err(told)?;
                }
                Ok(Content::Kept(values))
            }
            _ => Err(format!("a block of kind {kind:?} is out of place")),
        }
    }

    /// After the last block.
    pub(super) fn end(self) -> Result<Base, String> {
        let proof = self.0.ok_or("there is no base state")?;
        proof.end().map_err(|error| format!("of the base state {}", sentence(&error)))
    }
}

/// Reads the base state of a backup, if it has one, checked. What `each` was given is only sound when
/// this succeeds.
pub(super) fn read(
    dir: &Path,
    manifest: &Manifest,
    each: &mut dyn FnMut(Content<'_>) -> Result<(), Error>,
) -> Result<Follower, Error> {
    let Some(part) = manifest.of(PartKind::Base).next() else { return Ok(Follower::START) };
    let mut parts = Parts::default();
    blocks(dir, part, &mut |kind, payload| {
        let (Kind::Base | Kind::State | Kind::Kept) = kind else { return Err(unexpected(kind)) };
        let content = parts.push(kind, payload).map_err(Stop::Damaged)?;
        Ok(each(content)?)
    })?;
    let damaged = |what| Error::Damaged { path: dir.join(&part.name), offset: 0, what };
    let base = parts.end().map_err(damaged)?;
    if part.last != Some(base.lsn) {
        return Err(damaged(format!("it is the state at record {}", base.lsn)));
    }
    Ok(Follower { last: base.lsn, chain: base.chain })
}
