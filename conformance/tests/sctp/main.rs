//! Our SCTP beside `rtc-sctp` and `sctp-proto`: in the same process, over links on virtual time, each of them in both roles.
//!
//! Both draw randomness of their own, so a seed fixes our side, the link and the messages, not theirs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../sctp/tests/link/mod.rs"]
mod link;

mod answers;
mod ends;
mod messages;
mod peer;
mod proto;
mod resets;
mod rtc;
mod setup;
mod windows;
