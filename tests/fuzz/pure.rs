//! The readers of strangers' bytes, under the service's name and from the service's own source
//! files, without the rest of it: no server or shader compiler has to be built for them.
//!
//! It holds because these folders import nothing but each other (`tests/architecture.rs`).

#[path = "../../src/domain/mod.rs"]
pub mod domain;
pub mod eventlog;
pub mod replay;
#[path = "../../src/wire/mod.rs"]
pub mod wire;
