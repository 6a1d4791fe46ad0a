//! Compressed buffers that lie about themselves, and chunks under wrong names.

use ledgerun::domain::ContentHash;

use super::{Bench, Wrong};
use crate::bytes::{self, Head, lz4, stored, stored_head};
use crate::wire::{CB, COMP, JSON, OCTETS, Request};

const RAW: &[u8] = b"some content, some content, some content, some content, some content";

fn put(hash: ContentHash, body: impl Into<Vec<u8>>) -> Request {
    Request::put(format!("/compute/chunks/{hash}"), COMP, body)
}

/// An LZ4 buffer of one block, changed by `change` before its checksum is made.
fn with(change: impl FnOnce(&mut Head)) -> Vec<u8> {
    let (mut head, body) = bytes::blocks(RAW, 4, 18, lz4_flex::block::compress);
    change(&mut head);
    [head.to_bytes(), body].concat()
}

fn lies() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let good = lz4(RAW);
    let mut damaged = good.clone();
    damaged[4] ^= 1;
    let mut magic = good.clone();
    magic[0] = 0;
    let mut garbled = good.clone();
    let last = garbled.len() - 1;
    garbled[64 + 4] = 0xff;
    garbled[last] ^= 0x55;
    let bomb = |raw: u64, exponent: u8| {
        let head =
            Head { raw, exponent, blocks: 1, table: vec![16], total: 84, ..stored_head(RAW) };
        [Head { method: 4, ..head }.to_bytes(), vec![0; 16]].concat()
    };
    let (oodle, body) = bytes::blocks(RAW, 3, 18, |_| b"no Oodle, only a few bytes".to_vec());
    vec![
        ("an empty body", Vec::new(), "64 bytes short"),
        ("half a header", good[..30].to_vec(), "ends at byte 30, 34 bytes short"),
        ("no magic", magic, "not b7756362"),
        ("a damaged checksum", damaged, "checksum"),
        ("an unknown method", with(|head| head.method = 7), "method 7 at byte 8"),
        ("an exponent of 40", with(|head| head.exponent = 40), "exponent 40 at byte 11"),
        ("two blocks of one", with(|head| head.blocks = 2), "counts 2 blocks"),
        ("2^32 - 1 blocks", with(|head| head.blocks = u32::MAX), "counts 4294967295 blocks"),
        ("no blocks", with(|head| head.blocks = 0), "counts 0 blocks"),
        ("a larger size", with(|head| head.raw += 1), "block 0 at byte 68 does not unpack"),
        ("a size of 2^63", with(|head| head.raw = 1 << 63), "claims 9223372036854775808 raw bytes"),
        ("a size of none", with(|head| head.raw = 0), "raw size 0"),
        ("a larger total", with(|head| head.total += 1), "in all at byte 24"),
        ("a block above its size", with(|head| head.table[0] = 1_000), "above its raw size"),
        ("no hash", with(|head| head.hash = [0; 32]), "carries no raw hash"),
        ("another hash", with(|head| head.hash[0] ^= 1), "raw bytes hash to"),
        ("blocks missing", good[..good.len() - 1].to_vec(), "are there"),
        ("bytes after the end", [good.clone(), vec![0]].concat(), "are there"),
        ("garbled LZ4", garbled, "block 0 at byte 68 does not unpack"),
        ("garbled Oodle", [oodle.to_bytes(), body].concat(), "block 0 at byte 68 does not unpack"),
        ("a bomb of 8 MiB", bomb(8 << 20, 23), "16 bytes cannot become 8388608"),
        ("a bomb of one block of 64 MiB", bomb(64 << 20, 26), "above the limit"),
        ("a bomb of one block of 2 GiB", bomb(2 << 30, 31), "above the limit"),
        (
            "a stored size that lies",
            [Head { raw: 1, ..stored_head(RAW) }.to_bytes(), RAW.to_vec()].concat(),
            "in all at byte 24",
        ),
        (
            "a stored buffer of 8 EiB",
            [
                Head { raw: 1 << 63, total: (1 << 63) + 64, ..stored_head(RAW) }.to_bytes(),
                RAW.to_vec(),
            ]
            .concat(),
            "claims 9223372036854775808 raw bytes",
        ),
        (
            "another content",
            [&stored(RAW)[..64], &RAW.to_ascii_uppercase()].concat(),
            "raw bytes hash to",
        ),
    ]
}

#[test]
fn compressed_buffers_that_lie() {
    let bench = Bench::start(&[]);
    let hash = ContentHash::of(RAW);
    let lies = lies().into_iter();
    let mut table: Vec<_> =
        lies.map(|(what, body, says)| Wrong::new(what, put(hash, body)).says(says)).collect();
    let other = ContentHash::of(b"something else");
    let named = |what: &str, request: Request| {
        Wrong::new(what, request)
            .is(400, "wrong_hash")
            .says(hash.to_string())
            .says(other.to_string())
    };
    table.push(named("a buffer under another name", put(other, lz4(RAW))));
    let raw = Request::put(format!("/compute/chunks/{other}"), OCTETS, RAW);
    table.push(named("raw bytes under another name", raw));
    bench.check(table);
    for hash in [hash, other] {
        let held = Request::new("HEAD", format!("/compute/chunks/{hash}"));
        assert_eq!(held_status(&bench, &held), 404, "nothing of it is kept");
    }
    // And the truth is still welcome.
    bench.send(&put(hash, lz4(RAW))).expect(201);
}

fn held_status(bench: &Bench, request: &Request) -> u16 {
    let mut connection = crate::wire::Connection::open(bench.service.address());
    connection.write(&request.to_bytes(bench.service.address())).unwrap();
    connection.read_head().status
}

#[test]
fn lists_of_chunks_that_are_none() {
    let bench = Bench::start(&[]);
    let ask = |body: &str| Request::post("/compute/chunks", JSON, body);
    bench.check(vec![
        Wrong::new("no list", ask("{}")).is(400, "bad_field").says("chunks"),
        Wrong::new("a text", ask(r#"{"chunks":"all"}"#)).is(400, "bad_field").says("chunks"),
        Wrong::new(
            "no hash",
            ask(r#"{"chunks":["af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9", "x"]}"#),
        )
        .is(400, "bad_field")
        .says("chunks[1]"),
        Wrong::new("no object", Request::post("/compute/chunks", CB, vec![8, 1])),
    ]);
}
