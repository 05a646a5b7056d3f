//! The limits of an engine.

use std::time::Duration;

use crate::limits;

/// The limits of one [`Engine`](crate::Engine). Every queue inside is bounded by one of them.
///
/// `Config::default()` holds the values of [`limits`](crate::limits).
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Unread bytes one reader may hold before the engine is over budget. Packets are charged
    /// whole, with their overhead. Default 4 MiB.
    pub reader_budget: usize,
    /// Unread bytes all readers and undelivered events may hold together. Default 32 MiB.
    pub connection_budget: usize,
    /// How long a reader may take no byte while it keeps the engine over budget. Then it alone
    /// fails with [`Limit::ReaderTooSlow`](crate::Limit::ReaderTooSlow). Default 5 s.
    pub stall_limit: Duration,
    /// How long an incoming stream may stay without a chunk; `None` waits for ever. A reader may
    /// set its own with [`Incoming::set_idle_timeout`](crate::Incoming::set_idle_timeout).
    pub idle_timeout: Option<Duration>,
    /// How long after its sender left, and after its last chunk, a stream still waits for data
    /// that the leave message overtook. Default 2 s.
    pub leave_grace: Duration,
    /// Incoming streams that may wait for their readers (not read yet, with unread bytes, or ended
    /// and not released) before the engine is over budget, at least 1. When nothing of the listener
    /// with most of them was read for [`stall_limit`](Config::stall_limit), its streams no longer
    /// keep the engine over budget, and those beyond four times this number fail with
    /// [`Limit::NotRead`](crate::Limit::NotRead): an event here, and a receipt for a sender that asked.
    /// Default 256.
    pub max_waiting: usize,
    /// Incoming streams that may exist at once, ended but unreleased ones included. Beyond it a
    /// stream fails with [`Limit::TooManyStreams`](crate::Limit::TooManyStreams). Should be well above
    /// [`max_waiting`](Config::max_waiting), which pushes back before it loses anything. Default 4096.
    pub max_incoming: usize,
    /// The same, of one publisher. Default 1024.
    pub max_incoming_per_publisher: usize,
    /// Attributes a header or trailer may carry. Default 256.
    pub max_attributes: usize,
    /// Bytes that the keys and values of a header's or trailer's attributes may have in sum.
    /// Default 32 KiB.
    pub max_attribute_bytes: usize,
    /// Bytes that one stream may carry, uncompressed, both ways. Default 5 000 000 000
    /// (protocol.md §5.6).
    pub max_payload: u64,
    /// Outgoing streams that may exist at once, closed but unflushed ones included. Default 1024.
    pub max_outgoing: usize,
    /// Bytes one outgoing stream may queue before a write blocks. The chunk that crosses the
    /// line still fits. Default 256 KiB.
    pub write_window: usize,
    /// Bytes handed to the transport and not acknowledged yet, with their overhead, above which
    /// [`poll_packet`](crate::Engine::poll_packet) yields nothing. They are also what a resume
    /// can replay. Default 16 MiB.
    pub max_unacknowledged: usize,
    /// Calls of ours that may be pending at once. Default 1024.
    pub max_calls: usize,
    /// Calls of others that may be read or handled at once; further ones are refused. Default 256.
    pub max_invocations: usize,
    /// The same, of one caller. Default 64.
    pub max_invocations_per_caller: usize,
    /// Bytes that the argument or result of a call may have, both ways, where it travels as a
    /// stream. Default 16 MiB.
    pub max_rpc_payload: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            reader_budget: limits::READER_BUDGET_BYTES,
            connection_budget: limits::CONNECTION_BUDGET_BYTES,
            stall_limit: limits::STALL_LIMIT,
            idle_timeout: None,
            leave_grace: limits::LEAVE_GRACE,
            max_waiting: limits::WAITING_STREAMS,
            max_incoming: limits::INCOMING_STREAMS,
            max_incoming_per_publisher: limits::INCOMING_STREAMS_PER_PUBLISHER,
            max_attributes: limits::ATTRIBUTES,
            max_attribute_bytes: limits::ATTRIBUTE_BYTES,
            max_payload: limits::PAYLOAD_BYTES,
            max_outgoing: limits::OUTGOING_STREAMS,
            write_window: limits::WRITE_WINDOW_BYTES,
            max_unacknowledged: limits::UNACKNOWLEDGED_BYTES,
            max_calls: limits::CALLS,
            max_invocations: limits::INVOCATIONS,
            max_invocations_per_caller: limits::INVOCATIONS_PER_CALLER,
            max_rpc_payload: limits::RPC_STREAM_BYTES,
        }
    }
}
