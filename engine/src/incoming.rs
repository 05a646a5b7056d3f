//! Streams that others send to us.

mod error;
mod inflate;
mod opening;
mod publishers;
mod queue;
mod stream;
mod table;
mod text;
mod waiting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lkstream_proto::receipt::Status;

pub use error::{Limit, ReadError};
pub(crate) use opening::Opening;
pub(crate) use publishers::Publisher;
pub(crate) use stream::{Arrived, Asked, Encoding, Stream};
pub(crate) use table::Table;

use crate::engine::Engine;
use crate::slots::Key;
use crate::stream::{Attributes, StreamInfo};

/// The reason that a sender gets for a stream that was let go of.
const RELEASED: &str = "the receiver let go of it before it had all of it";

/// Names an incoming stream of one engine; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IncomingId(pub(crate) Key);

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The stream arrived whole and was put where it belongs.
    Complete,
    /// It did not.
    Failed {
        /// Why, in words for the sender; at most 256 bytes of them are sent.
        reason: String,
    },
}

/// An incoming stream, borrowed from its engine.
///
/// Whoever got [`Event::Opened`](crate::Event::Opened) releases the stream in the end; until
/// then it keeps its place among the streams that may exist at once. It counts among those that
/// wait for their readers ([`Config::max_waiting`](crate::Config::max_waiting)) until it is read
/// for the first time, while it has unread bytes, and again from its end on.
#[derive(Debug)]
pub struct Incoming<'a> {
    engine: &'a mut Engine,
    id: IncomingId,
    info: Arc<StreamInfo>,
}

impl<'a> Incoming<'a> {
    /// The stream, if it exists.
    pub(crate) fn of(engine: &'a mut Engine, id: IncomingId) -> Option<Incoming<'a>> {
        let info = Arc::clone(&engine.incoming.get(id)?.info);
        Some(Incoming { engine, id, info })
    }

    /// The stream's header.
    pub fn info(&self) -> &StreamInfo {
        &self.info
    }

    /// Takes the next piece, if there is one. `now` tells a slow reader from one that stopped.
    ///
    /// Pieces are slices of the packets as received, or freshly inflated.
    pub fn read(&mut self, now: Instant) -> Read {
        self.engine
            .incoming
            .read(now, self.id)
            .unwrap_or(Read::Pending)
    }

    /// Bytes that wait unread, with their overhead.
    pub fn unread(&self) -> usize {
        self.engine
            .incoming
            .get(self.id)
            .map_or(0, |stream| stream.unread)
    }

    /// Fails the stream when no chunk comes for `timeout`, counted from now on; `None` waits for
    /// ever. Time during which the engine was over budget does not count.
    pub fn set_idle_timeout(&mut self, now: Instant, timeout: Option<Duration>) {
        self.engine.incoming.change(now, self.id, |stream| {
            stream.idle = timeout;
            stream.idle_from = now;
        });
    }

    /// The reader begins to work on what it took, as when it writes to a disk or a terminal. Until
    /// [`end_work`](Incoming::end_work) it never counts as stalled, however long that takes; what
    /// it leaves unread pushes back all the same.
    pub fn begin_work(&mut self) {
        self.engine.incoming.begin_work(self.id);
    }

    /// The work is done: from now on the stall limit counts again.
    pub fn end_work(&mut self, now: Instant) {
        self.engine.incoming.end_work(now, self.id);
    }

    /// Queues a receipt, if the sender asked for one and none was given yet.
    pub fn confirm(&mut self, outcome: Outcome) {
        let Some(stream) = self.engine.incoming.get_mut(self.id) else {
            return;
        };
        if std::mem::replace(&mut stream.asked, Asked::No) == Asked::No {
            return;
        }
        // One copy that is safe is enough; that one is lost says nothing about the others.
        for copy in self.engine.incoming.copies_of(self.id) {
            let Some(copy) = self.engine.incoming.get_mut(copy) else {
                continue;
            };
            match outcome {
                Outcome::Complete => copy.asked = Asked::No,
                Outcome::Failed { .. } if copy.asked == Asked::Yes => return,
                Outcome::Failed { .. } => {}
            }
        }
        let (status, reason) = match outcome {
            Outcome::Complete => (Status::Complete, String::new()),
            Outcome::Failed { reason } => (Status::Failed, reason),
        };
        self.engine.queue_receipt(self.id, status, &reason);
    }

    /// Lets go of the stream; what still comes of it is dropped. A sender that asked for a
    /// receipt and got none gets [`Outcome::Failed`], with the error of the stream as the reason
    /// if it failed.
    pub fn release(mut self, now: Instant) {
        let stream = self.engine.incoming.get(self.id);
        if stream.is_some_and(|stream| stream.asked == Asked::Yes) {
            let error = stream.and_then(Stream::error);
            let reason = error.map_or_else(|| RELEASED.to_owned(), ReadError::to_string);
            self.confirm(Outcome::Failed { reason });
        }
        self.engine.incoming.remove(now, self.id);
    }
}
