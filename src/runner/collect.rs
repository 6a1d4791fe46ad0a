//! What an attempt made: read, verified and put into the chunk store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

use super::content::{PIECE_BYTES, fill};
use super::failure::{Stop, failure};
use super::folder::{OUTPUT_FILE, OUTPUTS};
use super::local::Control;
use crate::chunks::{self, Batch, Store};
use crate::domain::event::TAIL_INLINE_BYTES_MAX;
use crate::domain::object::INLINE_BYTES_MAX;
use crate::domain::{Blob, Failure, FailureKind, ObjectRef, Outcome, Tail, sentence};
use crate::wire::cb::Object;
use crate::wire::compressed::{Limits, Reader};
use crate::wire::output::{Output, OutputValue};

/// Largest output object, in bytes.
const OUTPUT_BYTES_MAX: u64 = 16 << 20;

/// Puts the outputs of an attempt that exited 0 into the store and says what they are. Everything
/// is durable on return.
pub(super) fn collect(
    store: &Store,
    folder: &Path,
    stderr: &[u8],
    control: &Control,
) -> Result<Outcome, Stop> {
    let output = read_output(folder)?;
    let mut batch = Lazy { store, batch: None };
    if !output.values().is_empty() {
        // The worker may have replaced the folder by a link; every process of it is gone now.
        if !fs::symlink_metadata(folder.join(OUTPUTS)).is_ok_and(|found| found.is_dir()) {
            return Err(bad("Outputs is not a folder any more").into());
        }
        let mut done = BTreeSet::new();
        for value in output.values() {
            if done.insert((value.hash, value.size)) {
                add_value(&mut batch, folder, &output, *value, control)?;
            }
        }
    }
    let cacheable = output.is_cacheable();
    let values: BTreeMap<_, _> = output.values().iter().map(|v| (v.hash, v.size)).collect();
    let values = values.values().fold(0_u64, |sum, size| sum.saturating_add(*size));
    let object = output.into_object();
    let bytes = values.saturating_add(object.bytes().len() as u64);
    let output = if object.bytes().len() <= INLINE_BYTES_MAX {
        ObjectRef::Inline(Blob(object.into_bytes()))
    } else {
        ObjectRef::Chunk(batch.get().put_unnamed(object.bytes()).map_err(unstored)?)
    };
    let stderr = keep_tail(&mut batch, stderr)?;
    batch.commit()?;
    Ok(Outcome::Completed { output, cacheable, bytes, stderr })
}

/// Adds the end of stderr to a failure.
pub(super) fn with_tail(store: &Store, failure: Failure, stderr: &[u8]) -> Failure {
    let mut batch = Lazy { store, batch: None };
    let kept = keep_tail(&mut batch, stderr).and_then(|tail| batch.commit().map(|()| tail));
    // The failure itself is worth more than its last words.
    Failure { stderr: kept.unwrap_or_default(), ..failure }
}

fn keep_tail(batch: &mut Lazy<'_>, stderr: &[u8]) -> Result<Option<Tail>, Failure> {
    if stderr.is_empty() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(stderr);
    if text.len() <= TAIL_INLINE_BYTES_MAX {
        return Ok(Some(Tail::Inline(text.into_owned())));
    }
    let chunk = batch.get().put_unnamed(stderr).map_err(unstored)?;
    Ok(Some(Tail::Chunk { chunk, bytes: stderr.len() as u64 }))
}

/// A batch that is only begun, and only synced, when there is something to store.
struct Lazy<'a> {
    store: &'a Store,
    batch: Option<Batch>,
}

impl Lazy<'_> {
    fn get(&mut self) -> &mut Batch {
        self.batch.get_or_insert_with(|| self.store.batch())
    }

    fn commit(self) -> Result<(), Failure> {
        self.batch.map_or(Ok(()), Batch::commit).map_err(unstored)
    }
}

fn read_output(folder: &Path) -> Result<Output, Failure> {
    let mut bytes = Vec::new();
    let file = open(&folder.join(OUTPUT_FILE)).map_err(|problem| match problem {
        Unopened::Missing => bad("exited with code 0 but wrote no Build.output"),
        Unopened::NotAFile => bad("Build.output is not a regular file"),
        Unopened::Failed(error) => bad(format!("cannot read Build.output: {error}")),
    })?;
    file.take(OUTPUT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| bad(format!("cannot read Build.output: {error}")))?;
    if bytes.len() as u64 > OUTPUT_BYTES_MAX {
        return Err(bad(format!("Build.output is larger than {OUTPUT_BYTES_MAX} bytes")));
    }
    let object = Object::parse(bytes)
        .map_err(|error| bad(format!("Build.output is not a compact binary object: {error}")))?;
    Output::parse(object)
        .map_err(|error| bad(format!("Build.output is not a build output: {error}")))
}

/// Verifies one value and adds it to the batch.
fn add_value(
    batch: &mut Lazy<'_>,
    folder: &Path,
    output: &Output,
    value: OutputValue,
    control: &Control,
) -> Result<(), Stop> {
    let name = || match output.value_name(value.id) {
        Some(name) => format!("output value {name} (Outputs/{})", value.hash),
        None => format!("output value Outputs/{}", value.hash),
    };
    let file =
        open(&folder.join(OUTPUTS).join(value.hash.to_string())).map_err(
            |problem| match problem {
                Unopened::Missing => bad(format!("{} is missing", name())),
                Unopened::NotAFile => bad(format!("{} is not a regular file", name())),
                Unopened::Failed(error) => bad(format!("cannot read {}: {error}", name())),
            },
        )?;
    let wrong = |error: io::Error| bad(format!("{}: {}", name(), wrapped(&error)));
    let packed = file.metadata().map_err(wrong)?.len();
    let mut reader = Reader::new(file, Limits::raw(value.size), Some(packed));
    let mut writer = batch.store.writer(value.hash).map_err(unstored)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        if let Some(cut) = control.is_cut() {
            return Err(Stop::Cut(cut));
        }
        let read = fill(&mut reader, &mut piece).map_err(wrong)?;
        if read == 0 {
            break;
        }
        writer.write(piece.get(..read).unwrap_or_default()).map_err(unstored)?;
    }
    let Some(header) = reader.header() else {
        return Err(bad(format!("{} ends early", name())).into());
    };
    if header.content_hash() != value.hash.0 {
        return Err(bad(format!(
            "{} holds content that hashes to {}",
            name(),
            header.content_hash()
        ))
        .into());
    }
    if header.raw_bytes != value.size {
        let (held, said) = (header.raw_bytes, value.size);
        return Err(bad(format!("{} holds {held} bytes, not {said}", name())).into());
    }
    let verified = writer.verify().map_err(unstored)?;
    batch.get().add(verified).map_err(unstored)?;
    Ok(())
}

/// Why a file of the worker's can't be read.
enum Unopened {
    Missing,
    NotAFile,
    Failed(io::Error),
}

/// Opens a regular file: no link is followed and no pipe waited for.
fn open(path: &Path) -> Result<File, Unopened> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let file =
        OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(
            |error| match error.kind() {
                io::ErrorKind::NotFound => Unopened::Missing,
                _ if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) => {
                    Unopened::NotAFile
                }
                _ => Unopened::Failed(error),
            },
        )?;
    match file.metadata() {
        Ok(found) if found.is_file() => Ok(file),
        Ok(_) => Err(Unopened::NotAFile),
        Err(error) => Err(Unopened::Failed(error)),
    }
}

/// What is inside of an I/O error, which may be a decoder's refusal.
fn wrapped(error: &io::Error) -> String {
    error.get_ref().map_or_else(|| error.to_string(), |inner| sentence(inner))
}

fn bad(reason: impl Into<String>) -> Failure {
    failure(FailureKind::BadOutput, reason)
}

/// The store failed, not the worker.
#[expect(clippy::needless_pass_by_value, reason = "used as a function of errors")]
fn unstored(error: chunks::Error) -> Failure {
    failure(FailureKind::RunnerLost, format!("cannot store the outputs: {}", sentence(&error)))
}
