//! Compact binary: the object format of the wire.
