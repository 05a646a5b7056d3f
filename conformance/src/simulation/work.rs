//! The applications of a simulation: the streams that they send and read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lkstream_engine::{
    Attributes, Content, IncomingId, OutgoingId, OutgoingState, ReadError, Receipts, StreamInfo,
    Summary, WriteError,
};
use lkstream_proto::id::{Identity, StreamId, Topic};
use lkstream_proto::receipt::Status;

use super::Who;

/// How a sender ends its stream once everything is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It closes it.
    Close,
    /// It gives up for this reason.
    Abort(String),
    /// It never ends it.
    Hold,
}

/// A stream to send.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Text or bytes.
    pub content: Content,
    /// What receivers choose by.
    pub topic: Topic,
    /// `None` lets the engine draw one.
    pub id: Option<StreamId>,
    /// All of it; valid UTF-8 for a text.
    pub payload: Bytes,
    /// Whether the header tells the length.
    pub length: Length,
    /// Whether the application writes it or hands it over whole.
    pub way: Way,
    /// Bytes the application writes at once.
    pub write_size: usize,
    /// Who gets it; empty is everybody.
    pub destinations: Vec<Identity>,
    /// Who it is shown as coming from.
    pub sender_identity: Option<Identity>,
    /// How it ends.
    pub ending: Ending,
    /// Whether receivers shall confirm.
    pub receipts: Receipts,
}

/// How an application sends a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It opens the stream and writes piece by piece.
    Pieces,
    /// It hands over all of it at once: inline and compressed where all recipients can take that.
    Whole,
}

/// Whether a header tells the length of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// It does.
    Declared,
    /// It does not.
    Open,
}

impl Stream {
    /// A byte stream to everybody, of declared length, that is closed.
    #[must_use]
    pub fn bytes(topic: &str, payload: impl Into<Bytes>) -> Stream {
        Stream {
            content: Content::bytes("file.bin"),
            topic: Topic::from(topic),
            id: None,
            payload: payload.into(),
            length: Length::Declared,
            way: Way::Pieces,
            write_size: 64 << 10,
            destinations: Vec::new(),
            sender_identity: None,
            ending: Ending::Close,
            receipts: Receipts::None,
        }
    }

    /// A text to everybody, of open length, that is closed.
    #[must_use]
    pub fn text(topic: &str, payload: impl Into<String>) -> Stream {
        Stream {
            content: Content::text(),
            payload: payload.into().into(),
            length: Length::Open,
            ..Stream::bytes(topic, Bytes::new())
        }
    }

    /// The same, handed over whole.
    #[must_use]
    pub fn whole(mut self) -> Stream {
        self.way = Way::Whole;
        self
    }

    /// The same with an id of its own.
    #[must_use]
    pub fn id(mut self, id: &str) -> Stream {
        self.id = Some(StreamId::from(id));
        self
    }

    /// The same, only for these.
    #[must_use]
    pub fn to(mut self, destinations: &[&str]) -> Stream {
        self.destinations = destinations.iter().map(|to| Identity::from(*to)).collect();
        self
    }

    /// The same, with another ending.
    #[must_use]
    pub fn ending(mut self, ending: Ending) -> Stream {
        self.ending = ending;
        self
    }

    /// The same, shown as coming from somebody else.
    #[must_use]
    pub fn speaking_for(mut self, identity: &str) -> Stream {
        self.sender_identity = Some(Identity::from(identity));
        self
    }
}

/// How a stream that was sent went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Not over.
    Running,
    /// All of it was acknowledged, its trailer included.
    Flushed,
    /// The connection went first.
    Lost,
    /// All its recipients went first.
    GivenUp,
    /// A write failed.
    Refused(WriteError),
}

/// A stream that was sent.
#[derive(Debug)]
pub struct Sent {
    /// Who sent it.
    pub by: Who,
    /// What was asked for.
    pub stream: Stream,
    /// Its id.
    pub id: StreamId,
    /// Bytes written so far.
    pub written: usize,
    /// How it goes.
    pub fate: Fate,
    pub(super) handle: OutgoingId,
    pub(super) blocked: bool,
    pub(super) ended: bool,
    pub(super) last_state: Option<OutgoingState>,
    /// When it was opened.
    pub opened: Instant,
}

impl Sent {
    /// The next piece the application writes.
    pub(super) fn next_write(&self) -> Bytes {
        let rest = self.stream.payload.slice(self.written..);
        let mut size = rest.len().min(self.stream.write_size.max(4));
        if matches!(self.stream.content, Content::Text { .. }) {
            while size < rest.len() && rest[size] & 0xc0 == 0x80 {
                size -= 1;
            }
        }
        rest.slice(..size)
    }
}

/// A stream that arrived.
#[derive(Debug)]
pub struct Received {
    /// Its header.
    pub info: Arc<StreamInfo>,
    /// What was read so far.
    pub bytes: Vec<u8>,
    /// How it ended, once it did.
    pub end: Option<Result<Summary, ReadError>>,
    /// When it ended.
    pub ended: Option<Instant>,
    pub(super) handle: IncomingId,
    pub(super) readable: bool,
    pub(super) next_read: Option<Instant>,
    /// Bytes of the present portion that were read.
    pub(super) portion: usize,
}

impl Received {
    /// Whether it ended well.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(self.end, Some(Ok(_)))
    }

    /// How it failed.
    #[must_use]
    pub fn error(&self) -> Option<&ReadError> {
        match &self.end {
            Some(Err(error)) => Some(error),
            _ => None,
        }
    }
}

/// What a receiver said about a stream that asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    /// The stream.
    pub stream: StreamId,
    /// Who said it.
    pub from: Identity,
    /// How far it came there.
    pub status: Status,
    /// Bytes of it that arrived there.
    pub bytes: u64,
}

/// How fast the readers of a client take what arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// At once.
    Eager,
    /// A portion this often.
    Portions {
        /// Bytes of a portion; the piece that crosses the line still belongs to it.
        bytes: usize,
        /// From one to the next.
        every: Duration,
    },
    /// Not at all.
    Stopped,
}

/// The attribute that says which stream of the simulation this is, since ids may be used again.
pub(super) const NUMBER: &str = "number";

pub(super) fn attributes(number: usize) -> Attributes {
    Attributes::from([(NUMBER.to_owned(), number.to_string())])
}
