//! Simulated network, official peers, differential and interop tests.

pub mod browser;
pub mod endpoint;
pub mod host;
#[cfg(target_os = "linux")]
pub mod lab;
pub mod link;
pub mod peers;
pub mod process;
pub mod simulation;
pub mod throughput;
pub mod wire;
