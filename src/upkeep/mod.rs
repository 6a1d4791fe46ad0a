//! What an operator does to a data directory beside serving it: looking for damage, copying it away
//! while the service goes on, and bringing a copy back.

pub mod backup;
pub mod check;
