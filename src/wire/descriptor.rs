//! Worker descriptors.
