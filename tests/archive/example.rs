//! The example of docs/format.md.
