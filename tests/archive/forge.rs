//! Takes archives apart and puts them together again as no encoder would.

/// A block: its kind and its payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Block {
    pub(crate) kind: u8,
    pub(crate) payload: Vec<u8>,
}

pub(crate) const LOG: u8 = 2;
pub(crate) const CONTEXT: u8 = 3;
pub(crate) const TABLE: u8 = 4;
pub(crate) const DATA: u8 = 5;

pub(crate) fn parse(bytes: &[u8]) -> Vec<Block> {
    let mut rest = &bytes[8..];
    let mut blocks = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[4..8].try_into().unwrap()) as usize;
        blocks.push(Block { kind: rest[0], payload: rest[12..12 + length].to_vec() });
        rest = &rest[12 + length..];
    }
    blocks
}

/// With checksums that fit, and a hash at the end that fits.
pub(crate) fn join(blocks: &[Block]) -> Vec<u8> {
    let mut bytes = b"LRUNREC1".to_vec();
    for block in blocks {
        let payload = if block.kind == 6 {
            blake3::hash(&bytes).as_bytes().to_vec()
        } else {
            block.payload.clone()
        };
        let mut header = vec![block.kind, 0, 0, 0];
        header.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        let mut sum = crc32fast::Hasher::new();
        sum.update(&header);
        sum.update(&payload);
        header.extend(sum.finalize().to_be_bytes());
        bytes.extend(header);
        bytes.extend(payload);
    }
    bytes
}

/// The records of the log's only block.
pub(crate) fn log_values(blocks: &[Block]) -> Vec<Vec<u8>> {
    let block = blocks.iter().find(|block| block.kind == LOG).unwrap();
    let mut rest = &block.payload[8..];
    let mut values = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        values.push(rest[4..4 + length].to_vec());
        rest = &rest[4 + length..];
    }
    values
}
