//! The JSON spelling of compact binary.
