//! Simulated network, official peers, differential and interop tests.

pub mod wire;
