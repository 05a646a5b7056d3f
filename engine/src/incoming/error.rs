//! Errors of incoming streams.

use std::sync::Arc;
use std::time::Duration;

use lkstream_proto::id::Identity;
use thiserror::Error;

use crate::engine::Lost;

/// Why a stream is incomplete. Nothing that was cut short ever reads as finished.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The sender gave up and said why (a trailer with a reason, protocol.md §5.1).
    #[error("aborted by the sender: {reason}")]
    AbortedBySender {
        /// The sender's words, at most 1024 bytes of them.
        reason: Arc<str>,
    },
    /// The sender left the room in mid-stream.
    #[error("{identity} left before the end of the stream")]
    SenderLeft {
        /// Who left: the publisher. An agent may have shown a user as the sender instead.
        identity: Identity,
    },
    /// Our own connection ended in mid-stream.
    #[error(transparent)]
    ConnectionLost(Lost),
    /// The stream ended before its declared length.
    #[error("the stream ended after {received} of {declared} bytes")]
    Incomplete {
        /// Bytes declared.
        declared: u64,
        /// Bytes received, uncompressed.
        received: u64,
    },
    /// More came than was declared.
    #[error("{received} bytes arrived, {declared} declared")]
    LengthExceeded {
        /// Bytes declared.
        declared: u64,
        /// Bytes received when this was noticed, uncompressed.
        received: u64,
    },
    /// A chunk is missing.
    #[error("chunk {arrived} arrived, {expected} expected")]
    Gap {
        /// The index expected.
        expected: u64,
        /// The index that arrived.
        arrived: u64,
    },
    /// The text is not UTF-8.
    #[error("invalid UTF-8 at byte {offset}")]
    InvalidText {
        /// Bytes of valid text before it, uncompressed.
        offset: u64,
    },
    /// The compressed content cannot be inflated.
    #[error("the deflate stream is corrupt after {received} bytes")]
    CorruptDeflate {
        /// Bytes inflated before it.
        received: u64,
    },
    /// The compressed content ends in the middle of its deflate stream.
    #[error("the deflate stream is cut off after {received} bytes")]
    CutDeflate {
        /// Bytes inflated before the cut.
        received: u64,
    },
    /// A part of the stream was encrypted otherwise than its header (protocol.md §5.6).
    #[error("a part of the stream is encrypted otherwise than its header")]
    EncryptionMismatch,
    /// The trailer breaks a limit on attributes.
    #[error("the trailer has {count} attributes with {size} bytes")]
    TooManyAttributes {
        /// Attributes it carries.
        count: usize,
        /// Bytes of their keys and values.
        size: usize,
    },
    /// The header names a compression this library does not know.
    #[error("compression {number} is unknown")]
    UnknownCompression {
        /// The number on the wire.
        number: i32,
    },
    /// The header breaks a limit on attributes or attachments; the attributes are left out.
    #[error(
        "the header has {attributes} attributes and {attachments} attachments, or too large ones"
    )]
    HeaderTooLarge {
        /// Attributes it carries.
        attributes: usize,
        /// Attachments it names.
        attachments: usize,
    },
    /// A limit of ours was met.
    #[error(transparent)]
    Limit(#[from] Limit),
}

/// A limit of ours that ended a stream.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Limit {
    /// The reader took no byte for `stall_limit` while it kept the connection over budget.
    #[error("the reader took nothing for {} s while {unread} bytes waited", stalled.as_secs_f32())]
    ReaderTooSlow {
        /// The time it took nothing.
        stalled: Duration,
        /// Bytes that waited, and are gone now.
        unread: usize,
    },
    /// Data kept coming though the budget was spent: the driver did not stop reading.
    #[error("{unread} bytes are unread, the budget is {budget}")]
    OverBudget {
        /// Bytes unread.
        unread: usize,
        /// Bytes allowed.
        budget: usize,
    },
    /// Too many streams were open, so this one was refused.
    #[error("{limit} incoming streams were open already")]
    TooManyStreams {
        /// Streams that may be open.
        limit: usize,
    },
    /// The headers of all open streams took too much, so this stream was refused.
    #[error("the headers of the open streams take {bytes} bytes, at most {limit} allowed")]
    TooManyHeaderBytes {
        /// What they would take.
        bytes: usize,
        /// What they may take.
        limit: usize,
    },
    /// Four times as many streams waited for their reader as may, after none was read for
    /// `stall_limit`: this one was refused.
    #[error("{waiting} streams waited already for a reader that took none for {} s", stalled.as_secs_f32())]
    NotRead {
        /// Streams that waited.
        waiting: usize,
        /// The time none was read.
        stalled: Duration,
    },
    /// No chunk came for the idle timeout.
    #[error("no chunk for {} s", idle.as_secs_f32())]
    Idle {
        /// The timeout.
        idle: Duration,
    },
    /// The payload is, or is declared to be, larger than allowed.
    #[error("the payload has {size} bytes or more, at most {limit} allowed")]
    PayloadTooLarge {
        /// Bytes declared, or received when this was noticed.
        size: u64,
        /// Bytes allowed, uncompressed.
        limit: u64,
    },
}
