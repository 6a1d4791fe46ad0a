//! Owned, checked objects.

use std::fmt;

use bytes::Bytes;

use crate::domain::{ContentHash, ObjectRef};

use super::check::{Invalid, check};
use super::field::{Attachment, Field, Fields};
use super::kind::{Kind, NAMED};
use super::writer::{self, ObjectWriter};

/// One compact binary object: bytes that were checked and that nothing changes any more.
///
/// It never carries a name, so its hash is the hash of [`Object::bytes`]. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Object {
    bytes: Bytes,
}

/// Bytes are not one well-formed object.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("it is empty, not a compact binary object")]
    Empty,
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("compact binary at byte 0: {0} where an object is expected")]
    NotAnObject(&'static str),
}

impl Object {
    /// Checks `bytes` and keeps them as they are. A name of the object itself is cut off: it is no
    /// part of the object.
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, ObjectError> {
        let bytes = bytes.into();
        let Some(first) = bytes.first() else { return Err(ObjectError::Empty) };
        check(&bytes)?;
        match Kind::of(*first) {
            Some(kind) if kind.is_object() && *first & NAMED == 0 => Ok(Self { bytes }),
            Some(kind) if kind.is_object() => Ok(Self::copy_of(root_of(&bytes))),
            Some(kind) => Err(ObjectError::NotAnObject(kind.name())),
            None => Err(ObjectError::Empty),
        }
    }

    /// Writes an object in canonical form.
    pub fn build(write: impl FnOnce(&mut ObjectWriter<'_>)) -> Self {
        Self { bytes: writer::build(write).into() }
    }

    /// The object without fields.
    pub fn empty() -> Self {
        Self { bytes: Bytes::from_static(&[0x02, 0x00]) }
    }

    /// A field that is an object, as an object of its own; its bytes are copied, its value is kept
    /// byte for byte. `None` when it is none.
    pub fn from_field(field: Field<'_>) -> Option<Self> {
        field.is_object().then(|| Self::copy_of(field))
    }

    fn copy_of(field: Field<'_>) -> Self {
        let mut bytes = Vec::with_capacity(field.value().len() + 1);
        bytes.push(field.kind().byte());
        bytes.extend_from_slice(field.value());
        Self { bytes: bytes.into() }
    }

    /// The bytes, as they were received.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes, without a copy.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Its identity: the hash of its bytes.
    pub fn hash(&self) -> ContentHash {
        ContentHash::of(&self.bytes)
    }

    /// The object as a field.
    pub fn root(&self) -> Field<'_> {
        root_of(&self.bytes)
    }

    /// The field of that name; case matters.
    pub fn get(&self, name: &str) -> Option<Field<'_>> {
        self.root().get(name)
    }

    /// Its fields in order.
    pub fn fields(&self) -> Fields<'_> {
        self.root().children()
    }

    pub fn is_empty(&self) -> bool {
        self.fields().next().is_none()
    }

    /// Every attachment it refers to at any depth, in order, each once.
    pub fn attachments(&self) -> Vec<Attachment> {
        let mut all = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        self.root().visit_attachments(&mut |attachment| {
            if seen.insert(attachment) {
                all.push(attachment);
            }
        });
        all
    }

    /// How many values it consists of at any depth, itself included. Linear in its bytes, which can
    /// be as many.
    pub fn value_count(&self) -> usize {
        fn count(field: Field<'_>) -> usize {
            1 + field.children().map(count).sum::<usize>()
        }
        count(self.root())
    }

    /// The inline reference when it is small enough for a record; `None` when it must be a chunk.
    pub fn inline(&self) -> Option<ObjectRef> {
        (self.bytes.len() <= crate::domain::object::INLINE_BYTES_MAX)
            .then(|| ObjectRef::Inline(crate::domain::Blob(self.bytes.clone())))
    }
}

/// The field that checked bytes consist of.
fn root_of(bytes: &[u8]) -> Field<'_> {
    let mut rest = bytes;
    Field::take(&mut rest, None).unwrap_or_else(Field::empty_object)
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.hash(), self.root())
    }
}
