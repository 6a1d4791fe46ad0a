//! Build output objects.
