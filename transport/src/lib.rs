//! One peer connection that carries data channels: SDP, ICE, DTLS, SCTP, DCEP, without I/O.
//!
//! [`Peer`] is a plain struct that is fed with time and received bytes, and asked for bytes to send and for
//! events. It owns no socket and reads no clock. [`udp`] is the one file with system calls: a non-blocking
//! socket that sends and receives batches (GSO, GRO).
//!
//! Drive it like this: feed any number of inputs ([`Peer::handle_received`], [`Peer::send`], …), then drain
//! [`Peer::poll_event`] and [`Peer::poll_transmit`] until both give `None`, then wait until
//! [`Peer::poll_timeout`] or the next input.

// cargo-fuzz sets `--cfg fuzzing`.
#![allow(unexpected_cfgs)]

mod certificate;
mod channel;
mod config;
mod dcep;
mod dtls;
mod error;
mod event;
mod flight;
#[cfg(fuzzing)]
mod fuzzing;
mod group;
mod ice;
pub mod limits;
mod peer;
mod record;
mod sctp;
mod sdp;
mod stats;
mod stun;
pub mod udp;

pub use certificate::{Certificate, CertificateError};
pub use channel::{ChannelConfig, ChannelId, Order, Reliability, RetransmitLimit};
pub use config::{Credentials, IceMode, PeerConfig, Role};
pub use error::{CandidateError, PeerError, SdpError, SendError};
pub use event::{Cause, Event};
#[cfg(fuzzing)]
pub use fuzzing::Observed;
pub use group::ChannelGroup;
pub use lkstream_sctp::Stats as SctpStats;
pub use peer::{Peer, Received, Transmit};
pub use stats::Stats;
pub use stun::stun_username_local;
