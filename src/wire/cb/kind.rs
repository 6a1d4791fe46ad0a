//! The type byte: what a value is, and whether a name comes with it.

/// Set in a type byte when the field's name follows.
pub(super) const NAMED: u8 = 0x80;
/// The part of a type byte that says what the value is.
const KIND_MASK: u8 = 0x1f;
/// Bits that never travel: one is reserved, the other is set in memory only.
const ILLEGAL: u8 = 0x60;

/// What a value is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    Null = 0x01,
    /// Named fields.
    Object = 0x02,
    /// Named fields that share one type byte.
    UniformObject = 0x03,
    /// Fields without names.
    Array = 0x04,
    /// Fields without names that share one type byte.
    UniformArray = 0x05,
    Binary = 0x06,
    String = 0x07,
    /// Zero and above, all 64 bits.
    IntegerPositive = 0x08,
    /// Below zero, stored as its ones' complement.
    IntegerNegative = 0x09,
    Float32 = 0x0a,
    Float64 = 0x0b,
    BoolFalse = 0x0c,
    BoolTrue = 0x0d,
    /// Refers to a compact binary object held elsewhere.
    ObjectAttachment = 0x0e,
    /// Refers to bytes held elsewhere.
    BinaryAttachment = 0x0f,
    /// A hash that refers to nothing.
    Hash = 0x10,
    Uuid = 0x11,
    /// 100 ns ticks since 0001-01-01T00:00:00 UTC.
    DateTime = 0x12,
    /// 100 ns ticks.
    TimeSpan = 0x13,
    ObjectId = 0x14,
    /// A value whose type is a number that sender and receiver agreed on.
    CustomById = 0x1e,
    /// A value whose type is a name that sender and receiver agreed on.
    CustomByName = 0x1f,
}

impl Kind {
    /// The kind in a type byte as it travels; `None` when the byte is not a legal one.
    pub const fn of(type_byte: u8) -> Option<Self> {
        if type_byte & ILLEGAL != 0 {
            return None;
        }
        Some(match type_byte & KIND_MASK {
            0x01 => Self::Null,
            0x02 => Self::Object,
            0x03 => Self::UniformObject,
            0x04 => Self::Array,
            0x05 => Self::UniformArray,
            0x06 => Self::Binary,
            0x07 => Self::String,
            0x08 => Self::IntegerPositive,
            0x09 => Self::IntegerNegative,
            0x0a => Self::Float32,
            0x0b => Self::Float64,
            0x0c => Self::BoolFalse,
            0x0d => Self::BoolTrue,
            0x0e => Self::ObjectAttachment,
            0x0f => Self::BinaryAttachment,
            0x10 => Self::Hash,
            0x11 => Self::Uuid,
            0x12 => Self::DateTime,
            0x13 => Self::TimeSpan,
            0x14 => Self::ObjectId,
            0x1e => Self::CustomById,
            0x1f => Self::CustomByName,
            _ => return None,
        })
    }

    /// The type byte of a field of this kind without a name.
    pub const fn byte(self) -> u8 {
        self as u8
    }

    pub const fn is_object(self) -> bool {
        matches!(self, Self::Object | Self::UniformObject)
    }

    pub const fn is_array(self) -> bool {
        matches!(self, Self::Array | Self::UniformArray)
    }

    /// Whether the type byte says it all and no byte of value follows.
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::Null | Self::BoolFalse | Self::BoolTrue)
    }

    /// Length of values that always have the same, in bytes.
    pub(super) const fn fixed_len(self) -> Option<usize> {
        Some(match self {
            Self::Null | Self::BoolFalse | Self::BoolTrue => 0,
            Self::Float32 => 4,
            Self::Float64 | Self::DateTime | Self::TimeSpan => 8,
            Self::ObjectAttachment | Self::BinaryAttachment | Self::Hash => 20,
            Self::Uuid => 16,
            Self::ObjectId => 12,
            _ => return None,
        })
    }

    /// The word for it in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Object | Self::UniformObject => "an object",
            Self::Array | Self::UniformArray => "an array",
            Self::Binary => "binary",
            Self::String => "a string",
            Self::IntegerPositive | Self::IntegerNegative => "an integer",
            Self::Float32 | Self::Float64 => "a float",
            Self::BoolFalse | Self::BoolTrue => "a boolean",
            Self::ObjectAttachment => "an object attachment",
            Self::BinaryAttachment => "a binary attachment",
            Self::Hash => "a hash",
            Self::Uuid => "a uuid",
            Self::DateTime => "a date-time",
            Self::TimeSpan => "a time span",
            Self::ObjectId => "an object id",
            Self::CustomById | Self::CustomByName => "a custom value",
        }
    }
}
