//! Writes the canonical form: a container whose children share one type byte becomes uniform,
//! doubles shrink to singles where nothing is lost, integers take the fewest bytes.

use crate::domain::{ContentHash, Guid, ObjectId, Timestamp};

use super::field::{Attachment, Custom, Field, ticks_of};
use super::kind::{Kind, NAMED};
use super::object::Object;
use super::varuint;

/// The bytes of an object whose fields `write` adds.
pub(super) fn build(write: impl FnOnce(&mut ObjectWriter<'_>)) -> Vec<u8> {
    let mut out = Out { bytes: Vec::with_capacity(128), ..Out::default() };
    Slot { out: &mut out, name: None }.object(write);
    out.bytes
}

/// What is written so far.
#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    /// Reused to move the content of a container that turns out to be uniform.
    spare: Vec<u8>,
    /// Children of the innermost open container.
    children: Children,
}

/// What must be known of a container's children to close it.
#[derive(Default, Clone, Copy)]
struct Children {
    count: u64,
    /// Type byte of the first.
    type_byte: u8,
    /// One of the others has another type byte.
    mixed: bool,
}

impl Children {
    const fn add(&mut self, type_byte: u8) {
        if self.count == 0 {
            self.type_byte = type_byte;
        } else if self.type_byte != type_byte {
            self.mixed = true;
        }
        self.count += 1;
    }

    /// The type byte to write once for all, if the container may be uniform.
    fn shared(self) -> Option<u8> {
        let sized =
            self.type_byte & NAMED != 0 || Kind::of(self.type_byte).is_some_and(|k| !k.is_empty());
        (self.count > 0 && !self.mixed && sized).then_some(self.type_byte)
    }
}

/// Adds fields to an object. Names must differ and not be empty.
pub struct ObjectWriter<'a> {
    out: &'a mut Out,
}

impl ObjectWriter<'_> {
    /// Where the value of the next field goes.
    pub fn field<'s>(&'s mut self, name: &'s str) -> Slot<'s> {
        debug_assert!(!name.is_empty(), "fields of objects have names");
        Slot { out: self.out, name: Some(name.as_bytes()) }
    }

    /// As [`Self::field`], for a name that came in as bytes.
    pub fn field_bytes<'s>(&'s mut self, name: &'s [u8]) -> Slot<'s> {
        Slot { out: self.out, name: Some(name) }
    }
}

/// Adds items to an array.
pub struct ArrayWriter<'a> {
    out: &'a mut Out,
}

impl ArrayWriter<'_> {
    /// Where the next item goes.
    pub fn item(&mut self) -> Slot<'_> {
        Slot { out: self.out, name: None }
    }
}

/// A place for exactly one value.
#[must_use = "a slot without a value writes nothing"]
pub struct Slot<'a> {
    out: &'a mut Out,
    name: Option<&'a [u8]>,
}

impl Slot<'_> {
    /// Writes type byte and name, and counts the child.
    fn start(&mut self, kind: Kind) -> &mut Vec<u8> {
        let type_byte = self.open(kind);
        self.out.children.add(type_byte);
        &mut self.out.bytes
    }

    fn open(&mut self, kind: Kind) -> u8 {
        let bytes = &mut self.out.bytes;
        let mut type_byte = kind.byte();
        if let Some(name) = self.name {
            type_byte |= NAMED;
            bytes.push(type_byte);
            varuint::write(bytes, name.len() as u64);
            bytes.extend_from_slice(name);
        } else {
            bytes.push(type_byte);
        }
        type_byte
    }

    fn sized(mut self, kind: Kind, payload: &[u8]) {
        let bytes = self.start(kind);
        varuint::write(bytes, payload.len() as u64);
        bytes.extend_from_slice(payload);
    }

    fn fixed(mut self, kind: Kind, value: &[u8]) {
        self.start(kind).extend_from_slice(value);
    }

    pub fn null(self) {
        self.fixed(Kind::Null, &[]);
    }

    pub fn bool(self, value: bool) {
        self.fixed(if value { Kind::BoolTrue } else { Kind::BoolFalse }, &[]);
    }

    pub fn u64(mut self, value: u64) {
        varuint::write(self.start(Kind::IntegerPositive), value);
    }

    pub fn i64(mut self, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.u64(value),
            Err(_) => varuint::write(self.start(Kind::IntegerNegative), (!value).unsigned_abs()),
        }
    }

    /// A float, as a single when that is exact.
    pub fn f64(self, value: f64) {
        match narrowed(value) {
            Some(single) => self.fixed(Kind::Float32, &single.to_be_bytes()),
            None => self.fixed(Kind::Float64, &value.to_be_bytes()),
        }
    }

    pub fn f32(self, value: f32) {
        self.fixed(Kind::Float32, &value.to_be_bytes());
    }

    pub fn str(self, value: &str) {
        self.sized(Kind::String, value.as_bytes());
    }

    pub fn binary(self, value: &[u8]) {
        self.sized(Kind::Binary, value);
    }

    pub fn hash(self, value: ContentHash) {
        self.fixed(Kind::Hash, value.as_bytes());
    }

    pub fn attachment(self, value: Attachment) {
        match value {
            Attachment::Object(hash) => self.fixed(Kind::ObjectAttachment, hash.as_bytes()),
            Attachment::Binary(hash) => self.fixed(Kind::BinaryAttachment, hash.as_bytes()),
        }
    }

    /// A reference to bytes held elsewhere.
    pub fn binary_attachment(self, value: ContentHash) {
        self.attachment(Attachment::Binary(value));
    }

    pub fn guid(self, value: Guid) {
        self.fixed(Kind::Uuid, &value.0);
    }

    pub fn object_id(self, value: ObjectId) {
        self.fixed(Kind::ObjectId, &value.0);
    }

    /// Ticks of 100 ns since the year 1.
    pub fn date_time(self, ticks: i64) {
        self.fixed(Kind::DateTime, &ticks.to_be_bytes());
    }

    pub fn timestamp(self, value: Timestamp) {
        self.date_time(ticks_of(value));
    }

    /// Ticks of 100 ns.
    pub fn time_span(self, ticks: i64) {
        self.fixed(Kind::TimeSpan, &ticks.to_be_bytes());
    }

    /// A value of a type known to the receiver. A type name must not be empty.
    pub fn custom(mut self, value: Custom<'_>) {
        let (kind, number, name, data) = match value {
            Custom::Id(id, data) => (Kind::CustomById, id, &[][..], data),
            Custom::Name(name, data) => (Kind::CustomByName, name.len() as u64, name, data),
        };
        let bytes = self.start(kind);
        varuint::write(bytes, (varuint::len_of(number) + name.len() + data.len()) as u64);
        varuint::write(bytes, number);
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(data);
    }

    /// Another object, byte for byte as it is.
    pub fn embed(self, object: &Object) {
        self.copy(object.root());
    }

    /// Another field's value, byte for byte; its name is dropped.
    pub fn copy(self, field: Field<'_>) {
        self.fixed(field.kind(), field.value());
    }

    pub fn object(self, write: impl FnOnce(&mut ObjectWriter<'_>)) {
        self.container(Kind::Object, |out| write(&mut ObjectWriter { out }));
    }

    pub fn array(self, write: impl FnOnce(&mut ArrayWriter<'_>)) {
        self.container(Kind::Array, |out| write(&mut ArrayWriter { out }));
    }

    fn container(mut self, plain: Kind, write: impl FnOnce(&mut Out)) {
        let type_at = self.out.bytes.len();
        let type_byte = self.open(plain);
        let start = self.out.bytes.len();
        let siblings = std::mem::take(&mut self.out.children);
        write(self.out);
        let children = std::mem::replace(&mut self.out.children, siblings);
        let uniform = self.out.close(plain, start, children);
        // The uniform kind of a container is the number after the plain one.
        let type_byte = type_byte + u8::from(uniform);
        if let Some(byte) = self.out.bytes.get_mut(type_at) {
            *byte = type_byte;
        }
        self.out.children.add(type_byte);
    }
}

impl Out {
    /// Puts the size, the count and a shared type byte before the content that begins at `start`.
    /// Answers whether the container became uniform.
    fn close(&mut self, plain: Kind, start: usize, children: Children) -> bool {
        let shared = children.shared();
        self.spare.clear();
        let mut content = self.bytes.get(start..).unwrap_or_default();
        if shared.is_some() {
            while let Some((_, after_type)) = content.split_first() {
                let mut rest = content;
                let Some(_) = Field::take(&mut rest, None) else { break };
                let kept = after_type.len() - rest.len();
                self.spare.extend_from_slice(after_type.get(..kept).unwrap_or_default());
                content = rest;
            }
        } else {
            self.spare.extend_from_slice(content);
        }
        let count_len = if plain.is_array() { varuint::len_of(children.count) } else { 0 };
        let size = count_len + usize::from(shared.is_some()) + self.spare.len();
        self.bytes.truncate(start);
        varuint::write(&mut self.bytes, size as u64);
        if plain.is_array() {
            varuint::write(&mut self.bytes, children.count);
        }
        self.bytes.extend(shared);
        self.bytes.extend_from_slice(&self.spare);
        shared.is_some()
    }
}

/// The single that is exactly this double, if there is one. Not for NaN, which equals nothing.
#[expect(clippy::cast_possible_truncation, reason = "whether it fits is what is asked")]
#[expect(clippy::float_cmp, reason = "exact equality is the rule of the format")]
pub(super) fn narrowed(value: f64) -> Option<f32> {
    let single = value as f32;
    (f64::from(single) == value).then_some(single)
}
