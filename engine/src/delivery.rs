//! Sequence numbers, duplicates and replay on the reliable channel (protocol.md §4.5); the same
//! for clients and servers.

mod duplicates;
mod outbox;

pub use duplicates::{Duplicates, Verdict};
pub use outbox::{Outbox, ReplayError};
