//! The engine through its public face: every case of docs/streams.md, perturbed input, and a
//! model of two engines under random use.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod budgets;
mod claims;
mod copies;
mod encryption;
mod model;
mod packets;
mod perturbed;
mod receiver;
mod recipients;
mod rpc;
mod rpc_model;
mod script;
mod sender;
mod waiting;
mod whole;
