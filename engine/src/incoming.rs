//! Streams that others send to us.

mod error;

use std::time::{Duration, Instant};

use bytes::Bytes;

pub use error::{Limit, ReadError};

use crate::engine::Engine;
use crate::stream::{Attributes, StreamInfo};

/// Names an incoming stream of one engine; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IncomingId(pub(crate) u64);

/// What a read gave.
#[derive(Debug, Clone, PartialEq)]
pub enum Read {
    /// The next piece: never empty, at most 64 000 bytes; of text streams valid UTF-8 by itself.
    Piece(Bytes),
    /// Nothing now. [`Event::Readable`](crate::Event::Readable) follows.
    Pending,
    /// All was read and the sender ended the stream well. Every further read says the same.
    Finished(Summary),
    /// The stream ended otherwise; what arrived before was read. Every further read says the same.
    Failed(ReadError),
}

/// A stream that ended well.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Bytes of payload, uncompressed.
    pub bytes: u64,
    /// The attributes of header and trailer; the trailer's win.
    pub attributes: Attributes,
}

/// What a receiver tells the sender that asked for a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The stream arrived whole and was put where it belongs.
    Complete,
    /// It did not.
    Failed,
}

/// An incoming stream, borrowed from its engine.
///
/// Whoever got [`Event::Opened`](crate::Event::Opened) releases the stream in the end; until
/// then it keeps its place among the streams that may exist at once.
#[derive(Debug)]
pub struct Incoming<'a> {
    engine: &'a mut Engine,
    id: IncomingId,
}

impl<'a> Incoming<'a> {
    /// The stream's header.
    pub fn info(&self) -> &StreamInfo {
        unimplemented!()
    }

    /// Takes the next piece, if there is one. `now` tells a slow reader from one that stopped.
    ///
    /// Pieces are slices of the packets as received, or freshly inflated.
    pub fn read(&mut self, now: Instant) -> Read {
        let _ = (now, &self.engine, self.id);
        unimplemented!()
    }

    /// Bytes that wait unread, with their overhead.
    pub fn unread(&self) -> usize {
        unimplemented!()
    }

    /// Fails the stream when no chunk comes for `timeout`, counted from now on; `None` waits for
    /// ever. Time during which the engine was over budget does not count.
    pub fn set_idle_timeout(&mut self, now: Instant, timeout: Option<Duration>) {
        let _ = (now, timeout);
    }

    /// Queues a receipt, if the sender asked for one and none was given yet.
    pub fn confirm(&mut self, outcome: Outcome) {
        let _ = outcome;
    }

    /// Lets go of the stream; what still comes of it is dropped. A sender that asked for a
    /// receipt and got none gets [`Outcome::Failed`].
    pub fn release(self) {}
}
