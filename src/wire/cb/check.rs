//! The check that everything received passes: the format's own rules, and those that keep hostile
//! bytes from costing more than their length.

use super::kind::{Kind, NAMED};
use super::varuint;

/// Deepest nesting of objects and arrays, the outermost included.
pub const DEPTH_MAX: usize = 64;

/// Objects with more fields than this look for equal names by sorting, the others by comparing
/// each with each, which needs no memory.
const NAMES_FEW: usize = 16;

/// Bytes are not one well-formed field. The first thing that is wrong, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("compact binary at byte {offset}: {problem}")]
pub struct Invalid {
    /// Offset in bytes from the start of what was checked.
    pub offset: usize,
    pub problem: Problem,
}

/// What is wrong with them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Problem {
    #[error("the bytes end before the {0} does")]
    Truncated(&'static str),
    #[error("type byte 0x{0:02x} is not a legal one")]
    Type(u8),
    #[error("a {what} of {size} bytes does not fit the {left} bytes that are left")]
    Size { what: &'static str, size: u64, left: u64 },
    #[error("{count} items cannot fit {left} bytes")]
    Count { count: u64, left: u64 },
    #[error("{0} bytes are left over after the last item")]
    ItemsOver(u64),
    #[error("{0} bytes follow the end of the field")]
    Trailing(u64),
    #[error("children of a uniform container take no bytes at all")]
    ZeroSizeChild,
    #[error("a field of an object has no name")]
    MissingName,
    #[error("an item of an array has a name")]
    NamedItem,
    #[error("the object has two fields of the same name")]
    DuplicateName,
    #[error("the custom value's type name is empty")]
    CustomName,
    #[error("objects and arrays are nested more than {DEPTH_MAX} deep")]
    Depth,
}

/// Checks that `bytes` are exactly one field, at any depth.
pub fn check(bytes: &[u8]) -> Result<(), Invalid> {
    let mut walk = Walk { bytes, at: 0 };
    walk.field(bytes.len(), None, Place::Top, 0)?;
    match bytes.len() - walk.at {
        0 => Ok(()),
        over => Err(walk.wrong(Problem::Trailing(over as u64))),
    }
}

/// What a field is inside of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    Object,
    Array,
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    const fn wrong(&self, problem: Problem) -> Invalid {
        Invalid { offset: self.at, problem }
    }

    /// What is left of the container that ends at `end`.
    fn rest(&self, end: usize) -> &'a [u8] {
        self.bytes.get(self.at..end).unwrap_or_default()
    }

    fn number(&mut self, end: usize, what: &'static str) -> Result<u64, Invalid> {
        let (number, len) =
            varuint::read(self.rest(end)).ok_or(self.wrong(Problem::Truncated(what)))?;
        self.at += len;
        Ok(number)
    }

    fn byte(&mut self, end: usize) -> Result<u8, Invalid> {
        let byte = self.rest(end).first().ok_or(self.wrong(Problem::Truncated("type byte")))?;
        self.at += 1;
        Ok(*byte)
    }

    fn skip(&mut self, len: usize, end: usize, what: &'static str) -> Result<(), Invalid> {
        if self.rest(end).len() < len {
            return Err(self.wrong(Problem::Truncated(what)));
        }
        self.at += len;
        Ok(())
    }

    /// A size prefix; answers where what it measures ends.
    fn size(&mut self, end: usize, what: &'static str) -> Result<usize, Invalid> {
        let start = self.at;
        let size = self.number(end, what)?;
        let left = self.rest(end).len();
        match usize::try_from(size) {
            Ok(len) if len <= left => Ok(self.at + len),
            _ => {
                let problem = Problem::Size { what, size, left: left as u64 };
                Err(Invalid { offset: start, problem })
            }
        }
    }

    /// One field that may not reach past `end`. Answers where its name is.
    fn field(
        &mut self,
        end: usize,
        inherited: Option<u8>,
        place: Place,
        depth: usize,
    ) -> Result<(usize, usize), Invalid> {
        let start = self.at;
        let type_byte = match inherited {
            Some(byte) => byte,
            None => self.byte(end)?,
        };
        let Some(kind) = Kind::of(type_byte) else {
            return Err(Invalid { offset: start, problem: Problem::Type(type_byte) });
        };
        let named = type_byte & NAMED != 0;
        if inherited.is_some() && !named && kind.is_empty() {
            return Err(self.wrong(Problem::ZeroSizeChild));
        }
        if named && place == Place::Array {
            return Err(Invalid { offset: start, problem: Problem::NamedItem });
        }
        let mut name = (self.at, self.at);
        if named {
            let name_end = self.size(end, "name")?;
            name = (self.at, name_end);
            self.at = name_end;
        }
        // An empty name is no name; the canonical writer cannot make one.
        if place == Place::Object && name.0 == name.1 {
            return Err(Invalid { offset: start, problem: Problem::MissingName });
        }
        self.value(kind, end, depth)?;
        Ok(name)
    }

    fn value(&mut self, kind: Kind, end: usize, depth: usize) -> Result<(), Invalid> {
        if let Some(len) = kind.fixed_len() {
            return self.skip(len, end, kind.name());
        }
        match kind {
            Kind::IntegerPositive | Kind::IntegerNegative => {
                self.number(end, "integer").map(|_| ())
            }
            Kind::CustomById | Kind::CustomByName => self.custom(kind, end),
            Kind::Object | Kind::UniformObject | Kind::Array | Kind::UniformArray => {
                if depth >= DEPTH_MAX {
                    return Err(self.wrong(Problem::Depth));
                }
                self.container(kind, end, depth + 1)
            }
            _ => {
                let what = if kind == Kind::String { "string" } else { "binary" };
                self.at = self.size(end, what)?;
                Ok(())
            }
        }
    }

    fn custom(&mut self, kind: Kind, end: usize) -> Result<(), Invalid> {
        let inner = self.size(end, "custom value")?;
        if kind == Kind::CustomById {
            self.number(inner, "custom type id")?;
        } else {
            let start = self.at;
            let name_end = self.size(inner, "custom type name")?;
            if name_end == self.at {
                return Err(Invalid { offset: start, problem: Problem::CustomName });
            }
        }
        self.at = inner;
        Ok(())
    }

    fn container(&mut self, kind: Kind, end: usize, depth: usize) -> Result<(), Invalid> {
        if kind.is_object() {
            let inner = self.size(end, "object")?;
            return self.object(kind, inner, depth);
        }
        let inner = self.size(end, "array")?;
        let start = self.at;
        let count = self.number(inner, "item count")?;
        let inherited = if kind == Kind::UniformArray { Some(self.shared(inner)?) } else { None };
        let left = self.rest(inner).len() as u64;
        if count > left {
            return Err(Invalid { offset: start, problem: Problem::Count { count, left } });
        }
        for _ in 0..count {
            self.field(inner, inherited, Place::Array, depth)?;
        }
        match self.rest(inner).len() {
            0 => Ok(()),
            over => Err(self.wrong(Problem::ItemsOver(over as u64))),
        }
    }

    fn object(&mut self, kind: Kind, inner: usize, depth: usize) -> Result<(), Invalid> {
        if self.at == inner {
            return Ok(());
        }
        let inherited = if kind == Kind::UniformObject { Some(self.shared(inner)?) } else { None };
        let mut names = Names::new(self.bytes);
        // A uniform object that has a type byte has at least one field.
        loop {
            let name = self.field(inner, inherited, Place::Object, depth)?;
            names.add(name)?;
            if self.at >= inner {
                return names.finish();
            }
        }
    }

    /// The type byte that children of a uniform container share.
    fn shared(&mut self, inner: usize) -> Result<u8, Invalid> {
        let start = self.at;
        let byte = self.byte(inner)?;
        match Kind::of(byte) {
            Some(_) => Ok(byte),
            None => Err(Invalid { offset: start, problem: Problem::Type(byte) }),
        }
    }
}

/// The names of one object, by where they start and end.
struct Names<'a> {
    bytes: &'a [u8],
    few: [(usize, usize); NAMES_FEW],
    len: usize,
    many: Vec<(usize, usize)>,
}

impl<'a> Names<'a> {
    const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, few: [(0, 0); NAMES_FEW], len: 0, many: Vec::new() }
    }

    fn text(&self, name: (usize, usize)) -> &'a [u8] {
        self.bytes.get(name.0..name.1).unwrap_or_default()
    }

    fn add(&mut self, name: (usize, usize)) -> Result<(), Invalid> {
        if let Some(slot) = self.few.get_mut(self.len) {
            *slot = name;
            let known = self.few.get(..self.len).unwrap_or_default();
            if known.iter().any(|other| self.text(*other) == self.text(name)) {
                return Err(Invalid { offset: name.0, problem: Problem::DuplicateName });
            }
            self.len += 1;
        } else {
            if self.many.is_empty() {
                self.many.extend_from_slice(&self.few);
            }
            self.many.push(name);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), Invalid> {
        let mut names = std::mem::take(&mut self.many);
        names.sort_unstable_by(|a, b| self.text(*a).cmp(self.text(*b)).then(a.cmp(b)));
        let twice = names.iter().zip(names.iter().skip(1));
        let second = twice.filter(|(a, b)| self.text(**a) == self.text(**b)).map(|(_, b)| b.0);
        match second.min() {
            Some(offset) => Err(Invalid { offset, problem: Problem::DuplicateName }),
            None => Ok(()),
        }
    }
}
