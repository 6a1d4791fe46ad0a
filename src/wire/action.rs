//! Action objects.
