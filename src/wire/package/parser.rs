//! The streaming parser, and the whole-message one on top of it.

use std::collections::BTreeSet;

use super::payload::Payload;
use super::table::{self, HEADER_BYTES};
use super::{Entry, Error, Limits};
use crate::domain::hash::ContentHash;
use crate::wire::compressed::{self, split_off};

/// What the parser found next.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The root object, unpacked; its hash is that of the table. It comes first, and only once.
    Root(Vec<u8>),
    /// The content of entry `index` begins.
    Begin {
        /// Index in [`Parser::entries`], from 1.
        index: u32,
        /// Its line of the table.
        entry: Entry,
    },
    /// More content of the entry that began last, unpacked. Not verified before [`Event::End`].
    Content(&'a [u8]),
    /// The entry's content is complete and hashes to what the table says.
    End {
        /// Index in [`Parser::entries`].
        index: u32,
        /// Its line of the table.
        entry: Entry,
    },
}

/// Reads a package message whose bytes arrive in pieces of any size.
///
/// Memory: the table (bounded by [`Limits::attachments_max`]), the root object, and one block of the
/// attachment that is being unpacked.
pub struct Parser {
    limits: Limits,
    available: Option<u64>,
    state: State,
    gathered: Vec<u8>,
    entries: Vec<Entry>,
    root: Vec<u8>,
    /// Unpacked bytes of all entries that have begun.
    raw_bytes: u64,
    offset: u64,
}

enum State {
    Header,
    Table {
        bytes: usize,
    },
    /// Between payloads: entry `index` is next, if there is one.
    Next {
        index: u32,
    },
    Payload(Box<Payload>),
    Failed(Error),
}

/// One step, without borrowing from parser or input.
enum Step {
    Starved,
    Root,
    Begin(u32, Entry),
    /// So many bytes at the front of the input are content.
    Passed(usize),
    /// Content is in the payload's decoder.
    Unpacked,
    End(u32, Entry),
}

impl Parser {
    /// A parser at the start of a message. `available` is its length where known (Content-Length);
    /// a table that says otherwise is then an error before any payload is read.
    pub fn new(limits: Limits, available: Option<u64>) -> Self {
        Self {
            limits,
            available,
            state: State::Header,
            gathered: Vec::new(),
            entries: Vec::new(),
            root: Vec::new(),
            raw_bytes: 0,
            offset: 0,
        }
    }

    /// The table, once it has arrived: root first. Complete from [`Event::Root`] on.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Refuses the first attachment whose hash is not among `references`. Call it at
    /// [`Event::Root`], before any content is taken in.
    pub fn check_references(&self, references: &BTreeSet<ContentHash>) -> Result<(), Error> {
        let stray = (0u32..)
            .zip(&self.entries)
            .skip(1)
            .find(|(_, entry)| !references.contains(&entry.hash));
        stray.map_or(Ok(()), |(index, entry)| {
            let offset = table::entry_offset(index) + table::HASH_AT;
            Err(Error::Unreferenced { entry: index, offset, hash: entry.hash })
        })
    }

    /// Takes bytes off the front of `input` and gives the next event, or `None` when `input` is used
    /// up. Call it until `None`. After an error it gives the same error again.
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Event<'a>>, Error> {
        let step =
            self.advance(input).inspect_err(|error| self.state = State::Failed(error.clone()))?;
        Ok(Some(match step {
            Step::Starved => return Ok(None),
            Step::Root => Event::Root(std::mem::take(&mut self.root)),
            Step::Begin(index, entry) => Event::Begin { index, entry },
            Step::Passed(length) => Event::Content(split_off(input, length)),
            Step::Unpacked => Event::Content(match &self.state {
                State::Payload(payload) => payload.unpacked(),
                _ => &[],
            }),
            Step::End(index, entry) => Event::End { index, entry },
        }))
    }

    /// Ends the message: everything the table names must have come. Gives the table.
    pub fn finish(self) -> Result<Vec<Entry>, Error> {
        let missing = match &self.state {
            State::Failed(error) => return Err(error.clone()),
            State::Header => (HEADER_BYTES - self.gathered.len()) as u64,
            State::Table { bytes } => bytes.saturating_sub(self.gathered.len()) as u64,
            State::Next { index } if self.entry(*index).is_none() => return Ok(self.entries),
            State::Next { index } => self.bytes_from(*index),
            State::Payload(payload) => {
                payload.left().saturating_add(self.bytes_from(payload.index() + 1))
            }
        };
        Err(Error::Truncated { offset: self.offset, missing })
    }

    /// Memory taken for bytes and table.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.gathered.capacity()
            + self.root.capacity()
            + self.entries.capacity() * size_of::<Entry>()
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Step, Error> {
        loop {
            match &mut self.state {
                State::Header => {
                    let full = self.gather(HEADER_BYTES, input);
                    // At once, since other formats may be shorter than our header.
                    table::check_start(&self.gathered)?;
                    if !full {
                        return Ok(Step::Starved);
                    }
                    self.read_header()?;
                }
                State::Table { bytes } => {
                    let bytes = *bytes;
                    if !self.gather(bytes, input) {
                        return Ok(Step::Starved);
                    }
                    self.entries =
                        table::parse_table(&self.gathered, &self.limits, self.available)?;
                    self.gathered = Vec::new();
                    self.state = State::Next { index: 0 };
                }
                State::Next { index } => {
                    let index = *index;
                    let Some(entry) = self.entry(index) else {
                        let end = Error::Trailing { offset: self.offset };
                        return if input.is_empty() { Ok(Step::Starved) } else { Err(end) };
                    };
                    let payload =
                        Payload::start(index, entry, self.offset, self.raw_bytes, self.limits)?;
                    self.state = State::Payload(Box::new(payload));
                    if index != 0 {
                        return Ok(Step::Begin(index, entry));
                    }
                }
                State::Payload(_) => {
                    if let Some(step) = self.read_payload(input)? {
                        return Ok(step);
                    }
                }
                State::Failed(error) => return Err(error.clone()),
            }
        }
    }

    /// Goes on with the payload; `None` when the caller should look again.
    fn read_payload(&mut self, input: &mut &[u8]) -> Result<Option<Step>, Error> {
        let State::Payload(payload) = &mut self.state else { return Ok(None) };
        let before = payload.left();
        let step = payload.step(input)?;
        self.offset += before - payload.left();
        match step {
            compressed::Step::Starved if payload.left() > 0 => Ok(Some(Step::Starved)),
            compressed::Step::Starved => self.end_payload().map(Some),
            compressed::Step::Passed(length) if payload.index() == 0 => {
                self.root.extend_from_slice(split_off(input, length));
                Ok(None)
            }
            compressed::Step::Unpacked if payload.index() == 0 => {
                self.root.extend_from_slice(payload.unpacked());
                Ok(None)
            }
            compressed::Step::Passed(length) => Ok(Some(Step::Passed(length))),
            compressed::Step::Unpacked => Ok(Some(Step::Unpacked)),
        }
    }

    fn end_payload(&mut self) -> Result<Step, Error> {
        let State::Payload(payload) = std::mem::replace(&mut self.state, State::Header) else {
            return Ok(Step::Starved);
        };
        let (index, entry) = (payload.index(), payload.entry());
        self.raw_bytes = self.raw_bytes.saturating_add(payload.finish()?);
        self.state = State::Next { index: index + 1 };
        Ok(if index == 0 { Step::Root } else { Step::End(index, entry) })
    }

    fn read_header(&mut self) -> Result<(), Error> {
        let header = self.gathered.first_chunk().copied().unwrap_or_default();
        let attachments = table::parse_header(&header, &self.limits, self.available)?;
        let bytes = usize::try_from(table::table_end(attachments)).unwrap_or(usize::MAX);
        self.state = State::Table { bytes: bytes.saturating_sub(HEADER_BYTES) };
        self.gathered.clear();
        Ok(())
    }

    /// Adds to `gathered` until it holds `wanted` bytes; says whether it does. Memory grows with
    /// what arrives, not with what was promised.
    fn gather(&mut self, wanted: usize, input: &mut &[u8]) -> bool {
        let taken = split_off(input, wanted.saturating_sub(self.gathered.len()));
        self.gathered.extend_from_slice(taken);
        self.offset += taken.len() as u64;
        self.gathered.len() >= wanted
    }

    fn entry(&self, index: u32) -> Option<Entry> {
        usize::try_from(index).ok().and_then(|at| self.entries.get(at)).copied()
    }

    /// Payload bytes of entry `index` and those after it.
    fn bytes_from(&self, index: u32) -> u64 {
        let skipped = usize::try_from(index).unwrap_or(usize::MAX);
        self.entries
            .iter()
            .skip(skipped)
            .fold(0, |sum, entry| sum.saturating_add(entry.payload_bytes))
    }
}

/// A whole message, unpacked and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Bytes of the root object.
    pub root: Vec<u8>,
    /// Hash of the root object.
    pub root_hash: ContentHash,
    /// What came with it, in the order of the table.
    pub attachments: Vec<Attachment>,
}

/// One attachment of a [`Package`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Hash of `content`.
    pub hash: ContentHash,
    /// `content` is a compact binary object.
    pub object: bool,
    /// The unpacked bytes.
    pub content: Vec<u8>,
}

/// Reads a whole message: exactly `bytes`, nothing after.
pub fn parse(bytes: &[u8], limits: Limits) -> Result<Package, Error> {
    let mut parser = Parser::new(limits, Some(bytes.len() as u64));
    let mut input = bytes;
    let mut package =
        Package { root: Vec::new(), root_hash: ContentHash::default(), attachments: Vec::new() };
    while let Some(event) = parser.next(&mut input)? {
        match event {
            Event::Root(root) => package.root = root,
            Event::Begin { entry, .. } => {
                package.attachments.push(Attachment {
                    hash: entry.hash,
                    object: entry.object,
                    content: Vec::new(),
                });
            }
            Event::Content(piece) => {
                if let Some(attachment) = package.attachments.last_mut() {
                    attachment.content.extend_from_slice(piece);
                }
            }
            Event::End { .. } => {}
        }
    }
    let entries = parser.finish()?;
    package.root_hash = entries.first().map_or_else(ContentHash::default, |root| root.hash);
    Ok(package)
}
