//! Views of fields inside validated bytes.

use crate::domain::{ContentHash, Guid, ObjectId, Timestamp};

use super::kind::{Kind, NAMED};
use super::varuint;

/// Ticks of 100 ns from 0001-01-01 to 1970-01-01.
const UNIX_EPOCH_TICKS: i64 = 621_355_968_000_000_000;
const TICKS_PER_MICRO: i64 = 10;
/// Integers below this are exact as doubles.
const EXACT_F64: u64 = 1 << 53;

/// The time a date-time stands for, cut to microseconds.
pub const fn timestamp_of(ticks: i64) -> Timestamp {
    Timestamp(ticks.saturating_sub(UNIX_EPOCH_TICKS).div_euclid(TICKS_PER_MICRO))
}

/// The date-time of a time; stops at the ends of what a date-time can hold.
pub const fn ticks_of(time: Timestamp) -> i64 {
    time.0.saturating_mul(TICKS_PER_MICRO).saturating_add(UNIX_EPOCH_TICKS)
}

/// One field: a kind, perhaps a name, and a value. A view, cheap to copy.
///
/// Comes only out of bytes that were checked, so reading it cannot fail; the `as_…` methods answer
/// `None` when the value is of another kind.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    kind: Kind,
    name: Option<&'a [u8]>,
    value: &'a [u8],
}

/// A reference to something held elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Attachment {
    /// A compact binary object.
    Object(ContentHash),
    /// Bytes.
    Binary(ContentHash),
}

impl Attachment {
    /// The hash it refers by.
    pub const fn hash(self) -> ContentHash {
        match self {
            Self::Object(hash) | Self::Binary(hash) => hash,
        }
    }
}

/// A value of a type that only sender and receiver know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Custom<'a> {
    Id(u64, &'a [u8]),
    Name(&'a [u8], &'a [u8]),
}

impl<'a> Field<'a> {
    /// An object without fields.
    pub(super) const fn empty_object() -> Self {
        Self { kind: Kind::Object, name: None, value: &[0] }
    }

    /// A null without a name.
    pub const fn null() -> Self {
        Self { kind: Kind::Null, name: None, value: &[] }
    }

    /// What the value is.
    pub const fn kind(self) -> Kind {
        self.kind
    }

    /// The name's bytes. The format does not promise that they are UTF-8.
    pub const fn name_bytes(self) -> Option<&'a [u8]> {
        self.name
    }

    /// The name, when there is one and it is UTF-8.
    pub fn name(self) -> Option<&'a str> {
        std::str::from_utf8(self.name?).ok()
    }

    /// The value's bytes: everything after type byte and name.
    pub const fn value(self) -> &'a [u8] {
        self.value
    }

    pub const fn is_null(self) -> bool {
        matches!(self.kind, Kind::Null)
    }

    pub const fn is_object(self) -> bool {
        self.kind.is_object()
    }

    pub const fn is_array(self) -> bool {
        self.kind.is_array()
    }

    pub const fn as_bool(self) -> Option<bool> {
        match self.kind {
            Kind::BoolFalse => Some(false),
            Kind::BoolTrue => Some(true),
            _ => None,
        }
    }

    pub fn as_u64(self) -> Option<u64> {
        match self.kind {
            Kind::IntegerPositive => varuint::read(self.value).map(|(value, _)| value),
            _ => None,
        }
    }

    pub fn as_i64(self) -> Option<i64> {
        let (value, _) = varuint::read(self.value)?;
        match self.kind {
            Kind::IntegerPositive => i64::try_from(value).ok(),
            Kind::IntegerNegative => i64::try_from(value).ok().map(|value| !value),
            _ => None,
        }
    }

    /// An integer below zero of any size, as the nearest float.
    #[expect(clippy::cast_precision_loss, reason = "the nearest float is what is asked")]
    pub fn negative_as_f64(self) -> Option<f64> {
        if self.kind != Kind::IntegerNegative {
            return None;
        }
        varuint::read(self.value).map(|(value, _)| -1.0 - value as f64)
    }

    /// Floats of either width, and integers that are exact as a double.
    #[expect(clippy::cast_precision_loss, reason = "only integers below 2^53 get there")]
    pub fn as_f64(self) -> Option<f64> {
        match self.kind {
            Kind::Float32 => self.fixed().map(|raw| f64::from(f32::from_be_bytes(raw))),
            Kind::Float64 => self.fixed().map(f64::from_be_bytes),
            Kind::IntegerPositive => self.as_u64().filter(|v| *v < EXACT_F64).map(|v| v as f64),
            Kind::IntegerNegative => {
                self.as_i64().filter(|v| v.unsigned_abs() < EXACT_F64).map(|v| v as f64)
            }
            _ => None,
        }
    }

    pub fn as_str(self) -> Option<&'a str> {
        std::str::from_utf8(self.string_bytes()?).ok()
    }

    /// A string's bytes, UTF-8 or not.
    pub fn string_bytes(self) -> Option<&'a [u8]> {
        if self.kind == Kind::String { self.payload() } else { None }
    }

    pub fn as_binary(self) -> Option<&'a [u8]> {
        if self.kind == Kind::Binary { self.payload() } else { None }
    }

    /// A hash, or the hash of an attachment.
    pub fn as_hash(self) -> Option<ContentHash> {
        match self.kind {
            Kind::Hash | Kind::ObjectAttachment | Kind::BinaryAttachment => {
                self.fixed().map(ContentHash)
            }
            _ => None,
        }
    }

    /// An attachment; a plain hash is none.
    pub fn as_attachment(self) -> Option<Attachment> {
        match self.kind {
            Kind::ObjectAttachment => self.fixed().map(ContentHash).map(Attachment::Object),
            Kind::BinaryAttachment => self.fixed().map(ContentHash).map(Attachment::Binary),
            _ => None,
        }
    }

    pub fn as_guid(self) -> Option<Guid> {
        if self.kind == Kind::Uuid { self.fixed().map(Guid) } else { None }
    }

    pub fn as_object_id(self) -> Option<ObjectId> {
        if self.kind == Kind::ObjectId { self.fixed().map(ObjectId) } else { None }
    }

    /// Ticks of 100 ns since the year 1; [`timestamp_of`] makes a time of them.
    pub fn as_date_time(self) -> Option<i64> {
        if self.kind == Kind::DateTime { self.fixed().map(i64::from_be_bytes) } else { None }
    }

    /// Ticks of 100 ns.
    pub fn as_time_span(self) -> Option<i64> {
        if self.kind == Kind::TimeSpan { self.fixed().map(i64::from_be_bytes) } else { None }
    }

    pub fn as_custom(self) -> Option<Custom<'a>> {
        let payload = match self.kind {
            Kind::CustomById | Kind::CustomByName => self.payload()?,
            _ => return None,
        };
        let (number, len) = varuint::read(payload)?;
        let rest = payload.get(len..)?;
        if self.kind == Kind::CustomById {
            return Some(Custom::Id(number, rest));
        }
        let (name, data) = rest.split_at_checked(usize::try_from(number).ok()?)?;
        Some(Custom::Name(name, data))
    }

    /// The fields of an object or the items of an array; nothing for any other kind.
    pub fn children(self) -> Fields<'a> {
        self.open().unwrap_or(Fields { rest: &[], inherited: None, left: 0 })
    }

    /// The items, when this is an array.
    pub fn as_array(self) -> Option<Fields<'a>> {
        if self.is_array() { Some(self.children()) } else { None }
    }

    /// The object's field of that name; case matters.
    pub fn get(self, name: &str) -> Option<Self> {
        if !self.is_object() {
            return None;
        }
        self.children().find(|field| field.name == Some(name.as_bytes()))
    }

    /// How many children it has. Constant for arrays, linear for objects.
    pub fn count(self) -> usize {
        let children = self.children();
        if self.is_array() {
            usize::try_from(children.left).unwrap_or(usize::MAX)
        } else {
            children.count()
        }
    }

    /// Identity of an object or array: the hash of its bytes without its name.
    pub fn content_hash(self) -> ContentHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[self.kind.byte()]).update(self.value);
        ContentHash::from_blake3(&hasher.finalize())
    }

    /// Hash of the field, in which its name counts.
    pub fn field_hash(self) -> ContentHash {
        let mut hasher = blake3::Hasher::new();
        if let Some(name) = self.name {
            let (len, used) = varuint::encode(name.len() as u64);
            hasher.update(&[self.kind.byte() | NAMED]);
            hasher.update(len.split_at(varuint::BYTES_MAX - used).1).update(name);
        } else {
            hasher.update(&[self.kind.byte()]);
        }
        ContentHash::from_blake3(&hasher.update(self.value).finalize())
    }

    /// Calls `found` for each attachment in this field and below, in order, repeats included.
    pub fn visit_attachments(self, found: &mut impl FnMut(Attachment)) {
        if let Some(attachment) = self.as_attachment() {
            found(attachment);
        }
        for child in self.children() {
            child.visit_attachments(found);
        }
    }

    /// Takes one field off the front of `rest`, which was checked before. `inherited` is the type
    /// byte that the children of a uniform container share.
    pub(super) fn take(rest: &mut &'a [u8], inherited: Option<u8>) -> Option<Self> {
        let mut at = *rest;
        let type_byte = match inherited {
            Some(byte) => byte,
            None => take_byte(&mut at)?,
        };
        let kind = Kind::of(type_byte)?;
        let mut name = None;
        if type_byte & NAMED != 0 {
            let len = take_number(&mut at)?;
            name = Some(take_bytes(&mut at, len)?);
        }
        let value = at.get(..value_len(kind, at)?)?;
        *rest = at.get(value.len()..)?;
        Some(Self { kind, name, value })
    }

    /// What follows the size prefix.
    fn payload(self) -> Option<&'a [u8]> {
        let (_, len) = varuint::read(self.value)?;
        self.value.get(len..)
    }

    fn fixed<const N: usize>(self) -> Option<[u8; N]> {
        self.value.try_into().ok()
    }

    fn open(self) -> Option<Fields<'a>> {
        let uniform = match self.kind {
            Kind::Object | Kind::Array => false,
            Kind::UniformObject | Kind::UniformArray => true,
            _ => return None,
        };
        let mut rest = self.payload()?;
        let mut left = u64::MAX;
        if self.is_array() {
            let (count, len) = varuint::read(rest)?;
            rest = rest.get(len..)?;
            left = count;
        }
        // A uniform object of size zero has no type byte either.
        let inherited = if uniform && !rest.is_empty() { take_byte(&mut rest) } else { None };
        Some(Fields { rest, inherited, left })
    }
}

/// Length of a value of `kind` at the start of `at`, size prefix included.
fn value_len(kind: Kind, at: &[u8]) -> Option<usize> {
    if let Some(len) = kind.fixed_len() {
        return Some(len);
    }
    let (number, len) = varuint::read(at)?;
    match kind {
        Kind::IntegerPositive | Kind::IntegerNegative => Some(len),
        _ => usize::try_from(number).ok()?.checked_add(len),
    }
}

fn take_byte(at: &mut &[u8]) -> Option<u8> {
    let (first, rest) = at.split_first()?;
    *at = rest;
    Some(*first)
}

fn take_number(at: &mut &[u8]) -> Option<u64> {
    let (number, len) = varuint::read(at)?;
    *at = at.get(len..)?;
    Some(number)
}

fn take_bytes<'a>(at: &mut &'a [u8], len: u64) -> Option<&'a [u8]> {
    let (taken, rest) = at.split_at_checked(usize::try_from(len).ok()?)?;
    *at = rest;
    Some(taken)
}

/// Iterates over the children of an object or an array.
#[derive(Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
    inherited: Option<u8>,
    /// Items still to come; objects don't count theirs.
    left: u64,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        if self.left == 0 || self.rest.is_empty() {
            return None;
        }
        self.left -= 1;
        Field::take(&mut self.rest, self.inherited)
    }
}

impl std::fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(name) = self.name {
            write!(f, "{}: ", String::from_utf8_lossy(name))?;
        }
        write!(f, "{} ({} B)", self.kind.name(), self.value.len())
    }
}
