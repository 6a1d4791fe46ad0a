//! The engine's own validation, mode by mode, as a mask of everything that is wrong.
//!
//! [`super::check`] decides what the service takes. This says what the engine would say about the
//! same bytes, leniencies included, and whether bytes are in canonical form.

use super::check::DEPTH_MAX;
use super::kind::{Kind, NAMED};
use super::varuint;
use super::writer::narrowed;

/// Which rules to check, one bit each. Bounds and types are checked when any is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Modes(pub u32);

impl Modes {
    /// Checks nothing at all.
    pub const NONE: Self = Self(0);
    /// Bounds and types.
    pub const DEFAULT: Self = Self(1);
    /// Fields of objects have names that differ, items of arrays have none.
    pub const NAMES: Self = Self(2);
    /// The canonical form.
    pub const FORMAT: Self = Self(4);
    /// No byte after the field.
    pub const PADDING: Self = Self(8);
    /// All of these, and the rules of packages, which don't concern single fields.
    pub const ALL: Self = Self(63);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This one without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What is wrong, one bit each, with the engine's numbers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Errors(pub u32);

impl Errors {
    pub const NONE: Self = Self(0);
    /// A value, name or size needs more bytes than there are; or nesting deeper than
    /// [`DEPTH_MAX`], where the engine would go on.
    pub const OUT_OF_BOUNDS: Self = Self(1);
    /// An illegal type byte, a uniform child of no size, a custom type without name.
    pub const INVALID_TYPE: Self = Self(1 << 1);
    pub const DUPLICATE_NAME: Self = Self(1 << 2);
    pub const MISSING_NAME: Self = Self(1 << 3);
    pub const ARRAY_NAME: Self = Self(1 << 4);
    /// An integer, size, count or id with more bytes than it needs.
    pub const INVALID_INTEGER: Self = Self(1 << 6);
    /// A double that a single could hold.
    pub const INVALID_FLOAT: Self = Self(1 << 7);
    pub const NON_UNIFORM_OBJECT: Self = Self(1 << 8);
    pub const NON_UNIFORM_ARRAY: Self = Self(1 << 9);
    /// Bytes after the field.
    pub const PADDING: Self = Self(1 << 10);

    /// Nothing is wrong.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    const fn fatal(self) -> bool {
        self.0 & (Self::OUT_OF_BOUNDS.0 | Self::INVALID_TYPE.0) != 0
    }
}

/// Validates one field.
pub fn validate(bytes: &[u8], modes: Modes) -> Errors {
    let mut walk = Walk { modes, errors: Errors::NONE };
    if modes != Modes::NONE {
        let mut rest = bytes;
        let whole = walk.field(&mut rest, None, 0);
        if whole.is_some() && !rest.is_empty() && modes.has(Modes::PADDING) {
            walk.add(Errors::PADDING);
        }
    }
    walk.errors
}

/// Validates fields one after the other until the bytes end; none at all is fine.
pub fn validate_range(bytes: &[u8], modes: Modes) -> Errors {
    let mut walk = Walk { modes, errors: Errors::NONE };
    let mut rest = bytes;
    while modes != Modes::NONE && !rest.is_empty() && walk.field(&mut rest, None, 0).is_some() {}
    walk.errors
}

struct Walk {
    modes: Modes,
    errors: Errors,
}

/// What a container learns of a child.
struct Child<'a> {
    type_byte: u8,
    name: &'a [u8],
}

impl Walk {
    const fn add(&mut self, error: Errors) {
        self.errors.0 |= error.0;
    }

    /// Notes a fatal error; the walk ends.
    const fn stop<T>(&mut self, error: Errors) -> Option<T> {
        self.add(error);
        None
    }

    fn number(&mut self, rest: &mut &[u8]) -> Option<u64> {
        let Some((number, len)) = varuint::read(rest) else {
            return self.stop(Errors::OUT_OF_BOUNDS);
        };
        if self.modes.has(Modes::FORMAT) && len > varuint::len_of(number) {
            self.add(Errors::INVALID_INTEGER);
        }
        *rest = rest.get(len..)?;
        Some(number)
    }

    fn byte(&mut self, rest: &mut &[u8]) -> Option<u8> {
        let Some((byte, after)) = rest.split_first() else {
            return self.stop(Errors::OUT_OF_BOUNDS);
        };
        *rest = after;
        Some(*byte)
    }

    fn bytes<'a>(&mut self, rest: &mut &'a [u8], len: u64) -> Option<&'a [u8]> {
        let split = usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len));
        let Some((taken, after)) = split else { return self.stop(Errors::OUT_OF_BOUNDS) };
        *rest = after;
        Some(taken)
    }

    /// As the engine does it: a container's size that runs past the end is cut to what there is.
    fn clamped<'a>(&mut self, rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let size = self.number(rest)?.min(rest.len() as u64);
        self.bytes(rest, size)
    }

    /// `None` after a fatal error, when nothing further can be said.
    fn field<'a>(
        &mut self,
        rest: &mut &'a [u8],
        inherited: Option<u8>,
        depth: usize,
    ) -> Option<Child<'a>> {
        let type_byte = match inherited {
            Some(byte) => byte,
            None => self.byte(rest)?,
        };
        let Some(kind) = Kind::of(type_byte) else { return self.stop(Errors::INVALID_TYPE) };
        let named = type_byte & NAMED != 0;
        if inherited.is_some() && !named && kind.is_empty() {
            return self.stop(Errors::INVALID_TYPE);
        }
        let mut name: &[u8] = &[];
        if named {
            let len = self.number(rest)?;
            name = self.bytes(rest, len)?;
        }
        self.value(kind, rest, depth)?;
        if self.errors.fatal() { None } else { Some(Child { type_byte, name }) }
    }

    fn value(&mut self, kind: Kind, rest: &mut &[u8], depth: usize) -> Option<()> {
        if let Some(len) = kind.fixed_len() {
            let value = self.bytes(rest, len as u64)?;
            if kind == Kind::Float64 && self.modes.has(Modes::FORMAT) {
                let double = f64::from_be_bytes(value.try_into().ok()?);
                if narrowed(double).is_some() {
                    self.add(Errors::INVALID_FLOAT);
                }
            }
            return Some(());
        }
        match kind {
            Kind::IntegerPositive | Kind::IntegerNegative => self.number(rest).map(|_| ()),
            Kind::CustomById | Kind::CustomByName => {
                let size = self.number(rest)?;
                let mut inner = self.bytes(rest, size)?;
                let number = self.number(&mut inner)?;
                if kind == Kind::CustomByName {
                    if number == 0 {
                        return self.stop(Errors::INVALID_TYPE);
                    }
                    self.bytes(&mut inner, number)?;
                }
                Some(())
            }
            Kind::Object | Kind::UniformObject | Kind::Array | Kind::UniformArray => {
                if depth >= DEPTH_MAX {
                    return self.stop(Errors::OUT_OF_BOUNDS);
                }
                let inner = self.clamped(rest)?;
                if kind.is_object() {
                    self.object(kind, inner, depth + 1)
                } else {
                    self.array(kind, inner, depth + 1)
                }
            }
            _ => {
                let size = self.number(rest)?;
                self.bytes(rest, size).map(|_| ())
            }
        }
    }

    fn object(&mut self, kind: Kind, mut inner: &[u8], depth: usize) -> Option<()> {
        if inner.is_empty() {
            return Some(());
        }
        let uniform = kind == Kind::UniformObject;
        let inherited = if uniform { Some(self.byte(&mut inner)?) } else { None };
        let mut names = Vec::new();
        let mut types = Same::default();
        loop {
            let child = self.field(&mut inner, inherited, depth)?;
            types.add(child.type_byte);
            if child.type_byte & NAMED != 0 {
                names.push(child.name);
            } else if self.modes.has(Modes::NAMES) {
                self.add(Errors::MISSING_NAME);
            }
            if inner.is_empty() {
                break;
            }
        }
        if self.modes.has(Modes::NAMES) {
            names.sort_unstable();
            if names.iter().zip(names.iter().skip(1)).any(|(a, b)| a == b) {
                self.add(Errors::DUPLICATE_NAME);
            }
        }
        if !uniform && types.all && self.modes.has(Modes::FORMAT) {
            self.add(Errors::NON_UNIFORM_OBJECT);
        }
        Some(())
    }

    fn array(&mut self, kind: Kind, mut inner: &[u8], depth: usize) -> Option<()> {
        let count = self.number(&mut inner)?;
        let uniform = kind == Kind::UniformArray;
        let inherited = if uniform { Some(self.byte(&mut inner)?) } else { None };
        let items_len = inner.len() as u64;
        let mut types = Same::default();
        for _ in 0..count {
            let child = self.field(&mut inner, inherited, depth)?;
            types.add(child.type_byte);
            if child.type_byte & NAMED != 0 && self.modes.has(Modes::NAMES) {
                self.add(Errors::ARRAY_NAME);
            }
        }
        if !uniform && types.all && items_len > count && self.modes.has(Modes::FORMAT) {
            self.add(Errors::NON_UNIFORM_ARRAY);
        }
        Some(())
    }
}

/// Whether all type bytes seen are the same one.
#[derive(Default)]
struct Same {
    first: Option<u8>,
    all: bool,
}

impl Same {
    fn add(&mut self, type_byte: u8) {
        self.all = match self.first {
            None => true,
            Some(first) => self.all && first == type_byte,
        };
        self.first.get_or_insert(type_byte);
    }
}
