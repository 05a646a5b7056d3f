//! Files as sources and as destinations: blocks read for sending, names made safe, and storing that never
//! leaves something half-written under a final name.
//!
//! Everything here blocks. What is sent is read on tokio's blocking threads, one block at a time; what arrives is stored by a
//! few threads of the process' own.

mod hazard;
mod names;
mod partial;
mod source;
mod writers;

pub use hazard::{Hazard, printable};
pub use names::{numbered_name, safe_name};
pub use partial::remove_leftovers;
pub(crate) use partial::{Partial, Removal, Target};
pub(crate) use source::{Blocks, Source, Start};
pub(crate) use writers::{finish, run};

#[cfg(test)]
mod tests;
