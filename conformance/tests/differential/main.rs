//! The official crates as reference: the same message in their types and in ours is the same bytes, and streams of
//! either engine are read by the other.
//!
//! Seeds count up from 0 and are printed on failure; each message is a function of its seed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod official;
mod packets;
mod pair;
mod signals;
mod streams;
mod whole;
