//! Compressed buffers: chunks as they travel.
