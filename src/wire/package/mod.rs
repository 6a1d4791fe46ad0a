//! Packages: an object and its chunks in one message.
