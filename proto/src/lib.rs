//! The bytes of LiveKit's data streams: packets, signalling, tokens, ids and limits.
//!
//! Everything here is a function of its arguments: no clock, no socket, no task, no randomness of its
//! own. Messages are prost derives written by hand, with payloads as [`bytes::Bytes`], so that
//! decoding a packet copies no payload. Field numbers are those of LiveKit's public protocol.
//!
//! | module | what |
//! |---|---|
//! | [`id`] | identities, sids, topics, stream ids as types of their own |
//! | [`packet`] | `DataPacket` and all it carries |
//! | [`splice`] | what a server changes in a packet that it forwards, without decoding it |
//! | [`signal`], [`participant`], [`room`] | the signalling messages a data-only client and server need |
//! | [`disconnect`] | why sessions end |
//! | [`join`] | the parameters of a join, as `/rtc/v1` and `/rtc` carry them |
//! | [`token`] | access tokens |
//! | [`receipt`] | our own confirmation message |
//! | [`limits`] | every number that the wire imposes, with its source |

pub mod disconnect;
pub mod id;
pub mod join;
pub mod limits;
pub mod packet;
pub mod participant;
pub mod receipt;
pub mod room;
mod schema;
pub mod signal;
pub mod splice;
pub mod token;
mod wire;
