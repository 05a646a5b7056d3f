//! SCTP for WebRTC data channels (RFC 8831, 8261) as a state machine without I/O.
//!
//! RFC 9260 with partial reliability (RFC 3758), stream reset (RFC 6525), SACK-IMMEDIATELY (RFC 7053) and zero checksum (RFC 9653), fed
//! with packets and time through an [`Association`]. Losses are found by RACK-TLP (RFC 8985) instead of counting reports, and the rate
//! is set by BBR version 3 (draft-ietf-ccwg-bbr) or NewReno.
//!
//! ```text
//! send -> Queue -> Sender: Flight (scoreboard), Rack, Controller, Pacer -> poll_transmit
//! handle_packet -> Receiver: TSNs, SACKs -> Reassembly -> receive
//! ```
//!
//! A message is copied once on its way into the packet and once out of it. Everything that a peer can make us keep is bounded: data by
//! the receive window, chunks about the association by one place each.

mod association;
mod bits;
mod chunk;
mod config;
mod congestion;
mod cookie;
mod error;
mod event;
mod flight;
pub mod limits;
mod pacer;
mod packet;
mod queue;
mod random;
mod rate;
mod reassembly;
mod receiver;
mod reset;
mod rtt;
mod sender;
mod stats;
mod tsn;

pub use self::association::Association;
pub use self::config::{Checksum, Config, Congestion};
pub use self::error::{PeerFault, ResetError, SendError};
pub use self::event::{Closed, Delivery, Event, Message, Order, Reliability};
pub use self::stats::Stats;
