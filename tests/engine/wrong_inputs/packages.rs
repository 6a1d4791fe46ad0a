//! Packages whose parts contradict each other, or that want something of the service's machine.

use ledgerun::domain::ContentHash;

use super::{Bench, Wrong};
use crate::bytes::{COMPRESSED, Entry, OBJECT, message, stored};
use crate::wire::{PKG, Request};
use crate::work::{self, Parcel};

fn entries(parcel: &Parcel) -> Vec<Entry> {
    let attachments = parcel.chunks.iter();
    let attachments = attachments.map(|chunk| Entry::attachment(chunk.hash, &chunk.packed));
    std::iter::once(Entry::root(parcel.object.bytes())).chain(attachments).collect()
}

/// The good package, changed by `change`.
fn with(parcel: &Parcel, change: impl FnOnce(&mut Vec<Entry>)) -> Vec<u8> {
    let mut entries = entries(parcel);
    change(&mut entries);
    message(&entries)
}

fn lies(parcel: &Parcel) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let good = with(parcel, |_| {});
    let patched = |at: usize, bytes: &[u8]| {
        let mut package = good.clone();
        package[at..at + bytes.len()].copy_from_slice(bytes);
        package
    };
    // What a client on the same machine would have opened: a path behind offset, size and length.
    let mut reference = [vec![0; 8], vec![0xff; 8], vec![11, 0, 0, 0, 0, 0, 0, 0]].concat();
    reference.extend(b"/etc/passwd");
    let local =
        Entry { flags: COMPRESSED | 8, ..Entry::attachment(parcel.chunks[0].hash, &reference) };
    let fields = [&[0x10][..], parcel.hash().as_bytes(), parcel.object.bytes(), &[0x01]].concat();
    vec![
        ("an empty body", Vec::new(), "16 bytes short"),
        ("a package of fields", fields, "sequence of compact binary fields"),
        ("an object alone", parcel.object.bytes().to_vec(), "sequence of compact binary fields"),
        ("no magic", patched(0, b"PK"), "not ccaa77aa"),
        ("half a header", good[..9].to_vec(), "ends at byte 9, 7 bytes short"),
        ("half a table", good[..40].to_vec(), "a table up to byte 112 in a message of 40"),
        ("a package that breaks off", good[..good.len() - 7].to_vec(), "are there"),
        ("bytes after the end", [good.clone(), vec![0; 3]].concat(), "are there"),
        ("2^32 - 1 attachments", patched(4, &[0xff; 4]), "counts 4294967295 attachments"),
        ("a reserved word", patched(8, &[1]), "reserved word at byte 8"),
        (
            "a root of 8 EiB",
            with(parcel, |e| e[0].size = 1 << 63),
            "root object of 9223372036854775808",
        ),
        ("an attachment of 8 EiB", with(parcel, |e| e[1].size = 1 << 63), "above the limit"),
        ("sizes that wrap around", with(parcel, |e| e[1].size = u64::MAX - 10), "above the limit"),
        ("unknown flags", with(parcel, |e| e[1].flags |= 0x10), "unknown flags 00000011"),
        ("an error entry", with(parcel, |e| e[1].flags |= 4), "holds an error"),
        ("a local reference", with(parcel, |e| e[1] = local), "never followed"),
        (
            "a root that is binary",
            with(parcel, |e| e[0].flags = COMPRESSED),
            "not marked as an object",
        ),
        ("a root of another hash", with(parcel, |e| e[0].hash.0[3] ^= 1), "as the table says"),
        (
            "a root that is a buffer of nothing",
            with(parcel, |e| *e = vec![Entry::root(b"")]),
            "the package's root is malformed",
        ),
        ("a root that isn't packed", with(parcel, |e| e[0].flags = OBJECT), "entry 0 holds"),
        (
            "an attachment of another hash",
            with(parcel, |e| {
                let other = stored(b"not what the table says");
                (e[1].size, e[1].payload) = (other.len() as u64, other);
            }),
            "entry 1 holds",
        ),
        (
            "an attachment that isn't packed",
            with(parcel, |e| {
                (e[1].size, e[1].payload) = (3, b"raw".to_vec());
            }),
            "entry 1 (payload at byte",
        ),
        (
            "an attachment twice",
            with(parcel, |e| {
                let twice = e[1].clone();
                e.push(twice);
            }),
            "entry 3 repeats hash",
        ),
        (
            "the root as attachment",
            with(parcel, |e| {
                let root = e[0].clone();
                e.push(root);
            }),
            "entry 3 repeats hash",
        ),
        (
            "an attachment nobody refers to",
            with(parcel, |e| {
                e.push(Entry::attachment(ContentHash::of(b"stray"), &stored(b"stray")));
            }),
            "the root does not refer to",
        ),
    ]
}

#[test]
fn packages_that_lie() {
    let bench = Bench::start(&[]);
    let action = work::reverse("never submitted");
    let worker = work::worker("never registered", crate::bytes::lz4);
    let worker_path = format!("/compute/workers/{}", worker.hash());
    let mut table = Vec::new();
    for (path, parcel) in [(bench.jobs(), &action), (worker_path.clone(), &worker)] {
        for (what, body, says) in lies(parcel) {
            table.push(Wrong::new(what, Request::post(&path, PKG, body)).says(says));
        }
    }
    let other = format!("/compute/workers/{}", bench.worker.hash());
    let wrong_id = |what: &str, request: Request| {
        let (path, body) = (bench.worker.hash().to_string(), worker.hash().to_string());
        Wrong::new(what, request).is(400, "wrong_id").says(path).says(body)
    };
    let bytes = worker.object.bytes().to_vec();
    table.push(wrong_id("another worker's path", Request::post(&other, crate::wire::CB, bytes)));
    table.push(wrong_id("another worker's path", Request::post(&other, PKG, worker.package())));
    bench.check(table);

    // Nothing of all that was kept: both are asked for all they need.
    for (path, parcel) in [(bench.jobs(), &action), (worker_path, &worker)] {
        let bytes = parcel.object.bytes().to_vec();
        let reply = bench.send(&Request::post(&path, crate::wire::CB, bytes)).expect(404);
        assert_eq!(reply.value()["need"].as_array().unwrap().len(), parcel.chunks.len());
        bench.send(&Request::post(&path, PKG, parcel.package())).expect(200);
    }
}
