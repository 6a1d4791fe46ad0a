//! The state that a log begins with when its oldest records were folded, as the log holds it.

use std::io::{self, BufReader, BufWriter, Read, Write};

use serde::{Deserialize as _, Serialize as _};

use crate::eventlog::compact::Base;
use crate::eventlog::{self, LogReader, Mark};
use crate::views::{LAYOUT, Published};

/// A body nests less deep by far.
const DEPTH_MAX: usize = 64;
/// Bytes read or written at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Why a base state can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BaseStateError {
    #[error(
        "the state that the log begins with has layout {found}, and this program knows {LAYOUT}"
    )]
    Layout { found: u32 },
    #[error("the state that the log begins with is not readable")]
    NoState(#[source] rmp_serde::decode::Error),
    #[error("the state that the log begins with is another than it says")]
    OtherState,
}

/// The state that a log begins with; none when that is record 1.
pub fn base_state(log: &dyn LogReader) -> Result<Option<Published>, BaseStateError> {
    let Some(base) = log.base() else { return Ok(None) };
    let Base { lsn, layout, digest, bytes, .. } = base;
    if layout != LAYOUT {
        return Err(BaseStateError::Layout { found: layout });
    }
    let body = BufReader::with_capacity(BUFFER_BYTES, log.base_body()).take(bytes);
    let mut deserializer = rmp_serde::Deserializer::new(body);
    deserializer.set_max_depth(DEPTH_MAX);
    let state = Published::deserialize(&mut deserializer).map_err(BaseStateError::NoState)?;
    let left = deserializer.into_inner().limit();
    if left > 0 || state.lsn() != lsn || state.digest() != digest {
        return Err(BaseStateError::OtherState);
    }
    Ok(Some(state))
}

/// What the first record of a log is folded into, verified in full, and what that record follows.
pub fn beginning(log: &dyn LogReader) -> Result<(Published, Mark), eventlog::Error> {
    log.check_base()?;
    let state = base_state(log).map_err(|wrong| eventlog::Error::Base { source: wrong.into() })?;
    Ok((state.unwrap_or_default(), Mark::before(log)))
}

/// Writes a state as [`base_state`] reads it.
pub(super) fn write(state: &Published, out: impl Write) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
    let mut serializer = rmp_serde::Serializer::new(&mut out);
    state.serialize(&mut serializer).map_err(io::Error::other)?;
    out.flush()
}
