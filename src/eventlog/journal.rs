//! The journal: where appended entries are durable first.
//!
//! The storage engine makes an entry durable by several threads and in several writes, each of which
//! waits for the disk, and for the file's new size as well. A file that has all of its blocks already
//! takes one write and one sync. So what is appended is made durable here, and the database has
//! some time to write it down; what a crash keeps it from, the next start takes from here
//! ([ADR 25](../../docs/adr/0025-journal.md)). `docs/format.md` describes the file.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::frame::Entry;
use super::head::{CHECKSUM_BYTES, checksum, take};
use crate::domain::Lsn;
use crate::durable;

/// Size of the file. At the rate at which batches come it lasts for longer than the database takes to
/// write down what is in it.
const FILE_BYTES: usize = 8 << 20;

const MAGIC: [u8; 8] = *b"LRUNJNL1";
/// The magic, the pass and the length.
const HEAD_BYTES: usize = 8 + 8 + 4;
/// Before each entry: its LSN and its length.
const ENTRY_HEAD_BYTES: usize = 8 + 4;

/// The open file, and how far it is written.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    /// Where the next group goes.
    at: usize,
    /// A number that all groups have which were written since the file was last begun anew, so that
    /// what still lies behind them is not taken for one of theirs.
    pass: u64,
    group: Vec<u8>,
}

impl Journal {
    /// Opens the file, creating it when there is none. The first append overwrites what is in it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let open = || File::options().read(true).write(true).open(path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Written and not only reserved: a block's first write changes what the file system
                // knows of the file, and that would have to be synced, too.
                durable::write_atomically(path, &vec![0; FILE_BYTES])?;
                open()?
            }
            opened => opened?,
        };
        Ok(Self { file, at: 0, pass: rand::random(), group: Vec::new() })
    }

    /// What was appended in one piece since the file was begun anew, oldest first, up to the first that
    /// is not whole.
    pub(super) fn groups(&self) -> io::Result<Vec<Vec<Entry>>> {
        let mut bytes = Vec::with_capacity(FILE_BYTES);
        let mut file = &self.file;
        file.rewind()?;
        file.take(FILE_BYTES as u64).read_to_end(&mut bytes)?;
        let (mut rest, mut pass) = (bytes.as_slice(), None);
        let mut groups = Vec::new();
        while let Some((group, of)) = group(&mut rest)
            && *pass.get_or_insert(of) == of
        {
            groups.push(group);
        }
        Ok(groups)
    }

    /// Makes entries durable, all of them or none. False, and nothing was written, when there is no room
    /// for them.
    ///
    /// After an error nobody knows what is durable: never call it again, stop.
    pub(super) fn append(&mut self, entries: &[Entry]) -> io::Result<bool> {
        let length: usize = entries.iter().map(|(_, bytes)| ENTRY_HEAD_BYTES + bytes.len()).sum();
        let end = self.at + HEAD_BYTES + length + CHECKSUM_BYTES;
        let Some(length) = u32::try_from(length).ok().filter(|_| end <= FILE_BYTES) else {
            return Ok(false);
        };
        self.group.clear();
        self.group.extend_from_slice(&MAGIC);
        self.group.extend_from_slice(&self.pass.to_be_bytes());
        self.group.extend_from_slice(&length.to_be_bytes());
        for (first, bytes) in entries {
            self.group.extend_from_slice(&first.to_key());
            // Shorter than the whole, whose length fits.
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            self.group.extend_from_slice(&length.to_be_bytes());
            self.group.extend_from_slice(bytes);
        }
        let sum = checksum(&self.group);
        self.group.extend_from_slice(&sum);
        self.file.write_all_at(&self.group, self.at as u64)?;
        self.file.sync_data()?;
        if durable::is_removed(&self.file)? {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the journal was removed"));
        }
        self.at = end;
        Ok(true)
    }

    /// At a clean stop: takes away what is durable elsewhere, if that is all.
    pub(super) fn clear(&self) -> io::Result<()> {
        // Nobody needs this to be durable.
        if self.at == 0 { self.file.write_all_at(&[0; HEAD_BYTES], 0) } else { Ok(()) }
    }

    /// Begins anew: everything that was appended is durable elsewhere.
    pub(super) fn restart(&mut self) {
        self.at = 0;
        self.pass = rand::random();
    }
}

/// The next group, and its pass; none when none that is whole comes.
fn group(rest: &mut &[u8]) -> Option<(Vec<Entry>, u64)> {
    let mut head = *rest;
    let magic = take::<8>(&mut head)?;
    let pass = u64::from_be_bytes(take(&mut head)?);
    let length = u32::from_be_bytes(take(&mut head)?) as usize;
    let (group, mut left) = rest.split_at_checked(HEAD_BYTES + length)?;
    let sum = take(&mut left)?;
    if magic != MAGIC || sum != checksum(group) {
        return None;
    }
    let entries = entries(group.get(HEAD_BYTES..)?)?;
    *rest = left;
    Some((entries, pass))
}

/// The entries of a group; none when it isn't made of entries.
fn entries(body: &[u8]) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let first = Lsn(u64::from_be_bytes(take(&mut rest)?));
        let length = u32::from_be_bytes(take(&mut rest)?) as usize;
        let (entry, left) = rest.split_at_checked(length)?;
        entries.push((first, entry.to_vec()));
        rest = left;
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn journal() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        (dir, path)
    }

    fn group(first: u64, bytes: usize) -> Vec<Entry> {
        let entry = |lsn: u64| (Lsn(lsn), vec![u8::try_from(lsn % 256).unwrap(); bytes]);
        vec![entry(first), entry(first + 1)]
    }

    fn found(path: &Path) -> Vec<Vec<Entry>> {
        Journal::open(path).unwrap().groups().unwrap()
    }

    #[test]
    fn what_was_appended_is_there() {
        let (_dir, path) = journal();
        assert_eq!(found(&path), Vec::<Vec<Entry>>::new());
        let mut journal = Journal::open(&path).unwrap();
        for first in [1, 3, 5] {
            assert!(journal.append(&group(first, 100)).unwrap());
        }
        let all = [group(1, 100), group(3, 100), group(5, 100)];
        assert_eq!(found(&path), all);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), FILE_BYTES as u64);
        // Still after a start at which nothing is appended.
        drop(Journal::open(&path).unwrap());
        assert_eq!(found(&path), all);
    }

    #[test]
    fn what_lies_behind_a_new_beginning_is_not_taken_for_a_part_of_it() {
        let (_dir, path) = journal();
        let mut journal = Journal::open(&path).unwrap();
        for first in [1, 3, 5] {
            journal.append(&group(first, 100)).unwrap();
        }
        journal.restart();
        // Of the same length as what it overwrites.
        journal.append(&group(7, 100)).unwrap();
        assert_eq!(found(&path), [group(7, 100)]);
        Journal::open(&path).unwrap().append(&group(9, 100)).unwrap();
        assert_eq!(found(&path), [group(9, 100)]);
    }

    #[test]
    fn what_is_not_durable_elsewhere_is_not_cleared() {
        let (_dir, path) = journal();
        let mut journal = Journal::open(&path).unwrap();
        journal.append(&group(1, 100)).unwrap();
        journal.clear().unwrap();
        assert_eq!(found(&path), [group(1, 100)]);
        journal.restart();
        journal.clear().unwrap();
        assert_eq!(found(&path), Vec::<Vec<Entry>>::new());
    }

    #[test]
    fn what_has_no_room_is_not_written() {
        let (_dir, path) = journal();
        let mut journal = Journal::open(&path).unwrap();
        let large = group(1, 3 << 20);
        assert!(journal.append(&large).unwrap());
        assert!(!journal.append(&group(3, 2 << 20)).unwrap());
        assert!(journal.append(&group(3, 10)).unwrap());
        assert_eq!(found(&path), [large, group(3, 10)]);
        journal.restart();
        assert!(!journal.append(&group(5, 5 << 20)).unwrap());
    }

    #[test]
    fn a_journal_that_is_gone_takes_nothing() {
        let (_dir, path) = journal();
        let mut journal = Journal::open(&path).unwrap();
        journal.append(&group(1, 10)).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(journal.append(&group(3, 10)).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// A write that was torn, or a bit that rotted, ends it: what was before is whole.
        #[test]
        fn up_to_a_damage_everything_is_whole(at in 0..700_usize, with: u8) {
            let (_dir, path) = journal();
            let mut journal = Journal::open(&path).unwrap();
            let all = [group(1, 80), group(3, 100), group(5, 120)];
            let mut ends = Vec::new();
            for group in &all {
                journal.append(group).unwrap();
                ends.push(journal.at);
            }
            let at = at % journal.at;
            let mut byte = [0];
            journal.file.read_exact_at(&mut byte, at as u64).unwrap();
            journal.file.write_all_at(&[with], at as u64).unwrap();
            let whole = if byte == [with] { 3 } else { ends.partition_point(|end| *end <= at) };
            prop_assert_eq!(found(&path), &all[..whole]);
        }

        #[test]
        fn any_bytes_are_no_more_than_they_are(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let (_dir, path) = journal();
            std::fs::write(&path, [MAGIC.as_slice(), &bytes].concat()).unwrap();
            prop_assert_eq!(found(&path), Vec::<Vec<Entry>>::new());
            if let Some(entries) = entries(&bytes) {
                let taken: usize = entries.iter().map(|(_, entry)| ENTRY_HEAD_BYTES + entry.len()).sum();
                prop_assert_eq!(taken, bytes.len());
            }
        }
    }
}
