//! The engine's figures: the same loads for our engine and for the official one, in programs of one thread each.

pub mod load;
pub mod meter;
#[cfg(feature = "official")]
pub mod official;
#[cfg(feature = "ours")]
pub mod ours;
pub mod run;
