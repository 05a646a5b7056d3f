//! Remote calls: a method name and a text go to one participant, a text or an error comes back
//! (protocol.md §6).
//!
//! A call travels as a packet to clients of generation 0, and as a text stream on topic
//! [`REQUEST_TOPIC`] to newer ones; the answer as a packet or as a stream on [`RESPONSE_TOPIC`].
//! None of that is seen outside: those two topics never reach a listener.

mod caller;
mod error;
mod responder;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use lkstream_proto::id::Identity;

pub(crate) use caller::{Call, Calls};
pub use error::{RpcCode, RpcError};
pub(crate) use responder::{Form, Invocations, Source};

use crate::config::Config;
use crate::incoming::IncomingId;
use crate::limits;

/// Topic of requests as streams (protocol.md §6).
pub const REQUEST_TOPIC: &str = "lk.rpc_request";
/// Topic of responses as streams (protocol.md §6).
pub const RESPONSE_TOPIC: &str = "lk.rpc_response";
/// Attribute of both: the call's id.
pub(crate) const ID_ATTRIBUTE: &str = "lk.rpc_request_id";
/// Attribute of requests: the method.
pub(crate) const METHOD_ATTRIBUTE: &str = "lk.rpc_request_method";
/// Attribute of requests: how long the handler has, milliseconds in decimal.
pub(crate) const TIMEOUT_ATTRIBUTE: &str = "lk.rpc_request_response_timeout_ms";
/// Attribute of requests: [`STREAM_VERSION`].
pub(crate) const VERSION_ATTRIBUTE: &str = "lk.rpc_request_version";
/// Version of calls as packets.
pub(crate) const PACKET_VERSION: u32 = 1;
/// Version of calls as streams.
pub(crate) const STREAM_VERSION: u32 = 2;

/// Names a call of one engine; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub(crate) u64);

/// Names a call that somebody makes to us; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InvocationId(pub(crate) u64);

/// A call to be made. Start with [`CallOptions::new`] and change what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallOptions {
    /// Who is called.
    pub destination: Identity,
    /// What is called.
    pub method: String,
    /// The argument: at most 15 360 bytes to clients of generation 0 (protocol.md §6), else at
    /// most [`Config::max_rpc_payload`].
    pub payload: String,
    /// How long to wait for the response, from now on. Default 15 s (protocol.md §6).
    pub response_timeout: Duration,
    /// Now, for the header of a stream.
    pub timestamp: SystemTime,
}

impl CallOptions {
    /// A call that waits 15 s for its response.
    pub fn new(
        destination: impl Into<Identity>,
        method: impl Into<String>,
        payload: impl Into<String>,
        timestamp: SystemTime,
    ) -> CallOptions {
        CallOptions {
            destination: destination.into(),
            method: method.into(),
            payload: payload.into(),
            response_timeout: limits::RPC_RESPONSE_TIMEOUT,
            timestamp,
        }
    }

    /// What the other side is told: the time that its handler has (protocol.md §6).
    pub(crate) fn handler_timeout(&self) -> Duration {
        self.response_timeout
            .saturating_sub(limits::RPC_ROUND_TRIP)
            .max(limits::RPC_HANDLER_TIMEOUT)
    }
}

/// A call that somebody makes to us. It was acknowledged already; answer it with
/// [`Engine::respond`](crate::Engine::respond), also when nobody waits any more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Invocation {
    /// How to answer it.
    pub id: InvocationId,
    /// Who calls, as the server says.
    pub caller: Identity,
    /// The caller's id of the call.
    pub request_id: String,
    /// What is called; one of those given to [`Engine::serve`](crate::Engine::serve).
    pub method: String,
    /// The argument.
    pub payload: String,
    /// How long the caller says there is for an answer.
    pub response_timeout: Duration,
}

/// What a stream on one of the two topics is being read for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// A request to us that was acknowledged.
    Request(InvocationId),
    /// The response to a call of ours.
    Response(CallId),
}

/// A stream that is being read into a text.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) purpose: Purpose,
    pub(crate) text: String,
}

/// Everything about calls, both ways.
#[derive(Debug)]
pub(crate) struct Rpc {
    pub(crate) calls: Calls,
    pub(crate) invocations: Invocations,
    pub(crate) readings: BTreeMap<IncomingId, Reading>,
    /// Those of `readings` that have something to read.
    pub(crate) ready: Vec<IncomingId>,
    /// Bytes of the texts in `readings`.
    pub(crate) held: usize,
    /// Ends of calls that nobody polled yet.
    pub(crate) unpolled: usize,
}

impl Rpc {
    pub(crate) fn new(config: &Config) -> Rpc {
        Rpc {
            calls: Calls::default(),
            invocations: Invocations::new(config),
            readings: BTreeMap::new(),
            ready: Vec::new(),
            held: 0,
            unpolled: 0,
        }
    }

    /// Stops reading a stream; what it was read for, and its text so far.
    pub(crate) fn stop_reading(&mut self, id: IncomingId) -> Option<Reading> {
        let reading = self.readings.remove(&id)?;
        self.held -= reading.text.len();
        Some(reading)
    }
}

/// The start of `text` that has at most `limit` bytes, cut on a character boundary.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
