//! Files as sources and as destinations: blocks read for sending, names made safe, and storing that never
//! leaves something half-written under a final name.
//!
//! Everything here blocks; the async callers run it on tokio's blocking threads, one block at a time.

mod names;
mod partial;
mod source;

pub use names::{numbered_name, safe_name};
pub(crate) use partial::{Partial, Target};
pub(crate) use source::{Blocks, Source, Start};

#[cfg(test)]
mod tests;
