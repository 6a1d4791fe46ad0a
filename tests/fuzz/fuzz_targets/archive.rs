//! The archive of a recording: refused at a byte of it, or written again as the same bytes.

#![no_main]

use std::io::{Cursor, Read as _};
use std::sync::Mutex;

use ledgerun::domain::{ChunkId, Lsn};
use ledgerun::replay::archive::{Archive, Encoder, Error, Item, Reader, verify};
use libfuzzer_sys::fuzz_target;

const MAGIC: &[u8] = b"LRUNREC1";
const HEADER_BYTES: usize = 12;
const END: u8 = 6;

fuzz_target!(|bytes: &[u8]| {
    let mut file = bytes.to_vec();
    seal(&mut file);
    let verified = verify(file.as_slice(), &mut |_| {});
    match &verified {
        Err(Error::Refused { offset, reason }) => {
            assert!(*offset <= file.len() as u64);
            assert!(!reason.to_string().is_empty());
        }
        Err(error) => panic!("{error:?}"),
        Ok(summary) => assert_eq!(summary.file_bytes, file.len() as u64),
    }
    if let Ok(written) = rewrite(&file) {
        assert_eq!(written, file);
    } else {
        assert!(verified.is_err());
    }
    look(&file, verified.is_ok());
});

/// Makes checksums and the hash at the end fit, since no mutation would.
fn seal(file: &mut [u8]) {
    let mut at = MAGIC.len();
    while let Some(header) = file.get(at..at + HEADER_BYTES) {
        let (start, _) = header.split_at(8);
        let length = u32::from_be_bytes([start[4], start[5], start[6], start[7]]) as usize;
        let payload = at + HEADER_BYTES..(at + HEADER_BYTES).saturating_add(length);
        if file.get(payload.clone()).is_none() {
            return;
        }
        if file[at] == END && length == 32 {
            let hash = blake3::hash(&file[..at]);
            file[payload.clone()].copy_from_slice(hash.as_bytes());
        }
        let mut sum = crc32fast::Hasher::new();
        sum.update(&file[at..at + 8]);
        sum.update(&file[payload.clone()]);
        file[at + 8..at + HEADER_BYTES].copy_from_slice(&sum.finalize().to_be_bytes());
        at = payload.end;
    }
}

fn rewrite(file: &[u8]) -> Result<Vec<u8>, Error> {
    let mut reader = Reader::open(file)?;
    let mut encoder = Encoder::new(Vec::new(), reader.head())?;
    while let Some(item) = reader.advance()? {
        match item {
            Item::Log { value, .. } => encoder.log(value)?,
            Item::Context { lsn, value } => encoder.context(lsn, value)?,
            Item::Chunk { chunk, bytes } => encoder.chunk(&chunk, bytes)?,
            Item::Data(data) => encoder.data(data)?,
        }
    }
    encoder.finish()
}

/// Reading at any place never panics; of a verified archive it gives everything.
fn look(file: &[u8], verified: bool) {
    let Ok(archive) = Archive::open(Mutex::new(Cursor::new(file))) else {
        assert!(!verified);
        return;
    };
    let lsn = archive.head().start;
    let records = archive.records().take(10_000).filter(|record| record.is_err()).count();
    let found = archive.record(lsn);
    let nobody = archive.record(Lsn(u64::MAX));
    let mut read = 0;
    for entry in archive.chunks().take(1_000) {
        let Ok(entry) = entry else { continue };
        let mut content = archive.content(&entry).take(1 << 20);
        read += usize::from(content.read_to_end(&mut Vec::new()).is_err());
        let _ = archive.entry(&ChunkId(entry.chunk.0));
    }
    if verified {
        assert!(records == 0 && read == 0);
        assert!(matches!(found, Ok(Some(record)) if record.lsn == lsn));
        assert!(matches!(nobody, Ok(None)));
    }
}
