//! Values that are written once and rendered as compact binary or as JSON.
