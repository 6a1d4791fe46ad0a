//! The receiving half: takes a stream into the folder of a backup.

use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::container::{Kind, Reader};
use super::manifest::{Manifest, Part, PartKind};
use super::parts::{Follower, read_list};
use super::send::{Head, prefix_of};
use super::taking::Taking;
use super::{Error, FORMAT, FORMAT_PLAIN, Listener, Progress, is_known};
use crate::domain::{ChunkId, Lsn};
use crate::durable;
use crate::eventlog::codec::Chain;

/// How the files of a backup begin.
const PREFIXES: [&str; 5] = ["base-", "log-", "chunks-", "held-", ".new-"];
const LOCK: &str = "LOCK";

/// The folder of a backup, which nobody else adds to meanwhile.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    manifest: Option<Manifest>,
    /// Chunks that are in it, in order.
    known: Vec<ChunkId>,
    /// Held, never read.
    _lock: File,
}

/// What was added to a backup.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Taken {
    /// The backup is of the state at this LSN.
    pub lsn: Lsn,
    pub records: u64,
    pub chunks: u64,
    pub bytes: u64,
    /// Chunks that the service listed and could not give.
    pub lost: u64,
    /// Bytes of all files together.
    pub total_bytes: u64,
}

impl Folder {
    /// Opens the backup in `dir`, or begins one there when it is empty or absent. What an interrupted
    /// run left is removed.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(|source| Error::io("create", dir, source))?;
        let manifest = Manifest::load(dir)?;
        let names = names(dir)?;
        let ours = |name: &String| name == LOCK || PREFIXES.iter().any(|p| name.starts_with(p));
        if manifest.is_none() && !names.iter().all(ours) {
            let why = format!("{} holds other files and is no backup", dir.display());
            return Err(Error::Refused(why));
        }
        let path = dir.join(LOCK);
        let lock = File::create(&path).map_err(|source| Error::io("open", &path, source))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let why = format!("another backup is being taken into {}", dir.display());
                return Err(Error::Refused(why));
            }
            Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path, source)),
        }
        let mut known = Vec::new();
        for part in manifest.iter().flat_map(|manifest| &manifest.parts) {
            let path = dir.join(&part.name);
            let meta = fs::metadata(&path).map_err(|source| Error::io("look at", &path, source))?;
            if meta.len() != part.bytes {
                let what = format!("it has {} bytes instead of {}", meta.len(), part.bytes);
                return Err(Error::Damaged { path, offset: meta.len().min(part.bytes), what });
            }
            if part.kind == PartKind::List {
                known.extend(read_list(dir, part)?.into_iter().map(|(id, _)| id));
            }
        }
        known.sort_unstable();
        let folder = Self { dir: dir.to_owned(), manifest, known, _lock: lock };
        folder.tidy()?;
        Ok(folder)
    }

    /// Removes files of ours that the manifest does not name.
    fn tidy(&self) -> Result<(), Error> {
        let parts = self.manifest.iter().flat_map(|manifest| &manifest.parts);
        let named: Vec<&String> = parts.map(|part| &part.name).collect();
        for name in names(&self.dir)? {
            if PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !named.contains(&&name) {
                let path = self.dir.join(name);
                fs::remove_file(&path).map_err(|source| Error::io("remove", &path, source))?;
            }
        }
        Ok(())
    }

    /// The newest record in it, and what stands for the chunks in it, one after another.
    pub fn request(&self) -> (Lsn, Vec<u8>) {
        let after = self.manifest.as_ref().map_or(Lsn::ZERO, |manifest| manifest.lsn);
        (after, self.known.iter().flat_map(prefix_of).collect())
    }

    /// Takes a stream in that was made for [`Folder::request`]. When this fails the backup is as it was
    /// before. `taken_at` is the time, for people.
    pub fn take(
        &mut self,
        stream: impl Read,
        taken_at: String,
        listener: Listener<'_>,
    ) -> Result<Taken, Error> {
        let mut stream = Reader::open(stream, Path::new("the answer of the service"))?;
        let head: Head = match stream.next()? {
            Some((Kind::Head, text)) => serde_json::from_slice(text)
                .map_err(|error| stream.damaged(format!("its head is malformed: {error}")))?,
            _ => return Err(stream.damaged("it does not begin with a head")),
        };
        self.refuse(&head)?;
        let (runs, chain) = match &self.manifest {
            Some(manifest) => (manifest.runs + 1, manifest.chain.clone()),
            None => (1, hex::encode(Chain::START.0)),
        };
        let mut chain_before = Chain::START;
        let _ = hex::decode_to_slice(chain, &mut chain_before.0);
        let follower = Follower { last: head.after, chain: chain_before };
        let told = Progress {
            records_total: head.lsn.next().0.saturating_sub(head.after.next().max(head.first).0),
            bytes_total: head.bytes,
            ..Progress::default()
        };
        let mut taking = Taking::new(&self.dir, runs, follower, told);
        while let Some((kind, _)) = stream.next()? {
            taking.block(kind, &stream)?;
            if !listener(taking.told) {
                return Err(Error::Refused("the backup was stopped".to_owned()));
            }
        }
        taking.end_base(&stream)?;
        let last = (taking.follower.last, hex::encode(taking.follower.chain.0));
        if last != (head.lsn, head.chain.clone()) {
            return Err(stream.damaged("its records are not those that its head tells of"));
        }
        let (parts, held, lost, told) = taking.finish()?;
        let chunks = parts.1;
        self.publish(&head, runs, parts.0, held, lost, taken_at)?;
        let total_bytes = self.manifest.as_ref().map_or(0, Manifest::bytes);
        let Progress { records, bytes, .. } = told;
        Ok(Taken { lsn: head.lsn, records, chunks, bytes, lost, total_bytes })
    }

    /// Refuses the stream of another history.
    fn refuse(&self, head: &Head) -> Result<(), Error> {
        let found = u64::from(head.format);
        if !is_known(found) {
            return Err(Error::TooNew { path: self.dir.clone(), found });
        }
        let dir = self.dir.display();
        let anew = "take the backup into another folder";
        let refused = |why: String| Err(Error::Refused(why));
        let manifest = self.manifest.as_ref().filter(|manifest| manifest.lsn > Lsn::ZERO);
        let Some(manifest) = manifest else { return Ok(()) };
        let other = manifest.origin.is_some() && head.origin.is_some();
        if other && manifest.origin != head.origin {
            return refused(format!("the backup in {dir} is of another instance; {anew}"));
        }
        if head.lsn < manifest.lsn {
            let (has, had) = (head.lsn, manifest.lsn);
            return refused(format!(
                "the instance went back in time: its newest record is {has}, and the backup in {dir} \
                 reaches to {had}; {anew}"
            ));
        }
        if head.first > manifest.lsn.next() {
            let (first, lsn) = (head.first, manifest.lsn);
            return refused(format!(
                "the records after {lsn} are not in the log any more, which begins with {first}; {anew}"
            ));
        }
        if head.after != manifest.lsn || head.after_chain.as_ref() != Some(&manifest.chain) {
            let lsn = manifest.lsn;
            return refused(format!(
                "record {lsn} of the instance is not the one in the backup in {dir}: it was restored \
                 to an older state, or is another instance; {anew}"
            ));
        }
        Ok(())
    }

    /// Makes the new files part of the backup.
    fn publish(
        &mut self,
        head: &Head,
        runs: u64,
        parts: Vec<Part>,
        held: Part,
        lost: u64,
        taken_at: String,
    ) -> Result<(), Error> {
        durable::fsync_dir(&self.dir).map_err(|source| Error::io("sync", &self.dir, source))?;
        let (before, origin) = match self.manifest.take() {
            Some(manifest) => (manifest.parts, manifest.origin),
            None => (Vec::new(), None),
        };
        let mut all: Vec<Part> =
            before.into_iter().filter(|part| part.kind != PartKind::Held).collect();
        all.extend(parts);
        all.push(held);
        let has_base = all.iter().any(|part| part.kind == PartKind::Base);
        let manifest = Manifest {
            format: if has_base { FORMAT } else { FORMAT_PLAIN },
            // The record that tells it may have been folded since.
            origin: head.origin.clone().or(origin),
            lsn: head.lsn,
            chain: head.chain.clone(),
            digest: head.digest,
            layout: head.layout,
            taken_at,
            runs,
            lost,
            parts: all,
        };
        manifest.store(&self.dir)?;
        self.manifest = Some(manifest);
        // The list before, which nothing names any more.
        self.tidy()
    }
}

fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let failed = |source| Error::io("list", dir, source);
    let entries = fs::read_dir(dir).map_err(failed)?;
    let name = |entry: std::io::Result<fs::DirEntry>| {
        Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}
