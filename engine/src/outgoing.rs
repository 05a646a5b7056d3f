//! Streams that we send.

mod compressibility;
mod deflate;
mod error;
mod opening;
mod recipients;
mod schedule;
mod slab;
mod stream;
mod table;
mod whole;

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use lkstream_proto::id::{Identity, StreamId, Topic};
use lkstream_proto::limits::PACKET_BYTES;
use lkstream_proto::packet::Trailer;

pub use error::{CloseError, OpenError, WriteError};
pub(crate) use opening::Opening;
pub use recipients::{Missed, MissedCause, NoRecipients};
pub(crate) use stream::Stream;
pub(crate) use table::Table;

use crate::engine::{Engine, Lost};
use crate::slots::Key;
use crate::stream::{Attributes, Content, LENGTH_ATTRIBUTE, StreamInfo};

/// Names an outgoing stream of one engine; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OutgoingId(pub(crate) Key);

/// How a stream is opened. Start with [`OpenOptions::new`] and change what differs.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenOptions {
    /// Text or bytes.
    pub content: Content,
    /// What receivers choose their handler by.
    pub topic: Topic,
    /// The stream's id; `None` draws a UUID from the engine's seed.
    pub id: Option<StreamId>,
    /// `None` is the kind's own: `text/plain` or `application/octet-stream`.
    pub mime_type: Option<String>,
    /// Bytes of the whole payload, where known. Writing more fails, and closing with less.
    pub total_length: Option<u64>,
    /// Attributes of the header. The prefix `lk.` is reserved.
    pub attributes: Attributes,
    /// Who gets the stream; empty is everybody. Written on every packet of it.
    pub destinations: Vec<Identity>,
    /// Who the stream is shown as coming from, where that is not ourselves: for agents.
    pub sender_identity: Option<Identity>,
    /// When the stream was opened, for its header.
    pub timestamp: SystemTime,
    /// Whether receivers that can shall confirm.
    pub receipts: Receipts,
    /// Whether the payload is compressed, where all recipients can inflate it. Heeded by
    /// [`Engine::send`](crate::Engine::send) and [`Engine::open_file`](crate::Engine::open_file);
    /// streams written piece by piece never are (protocol.md §5.4).
    pub compress: Compress,
}

impl OpenOptions {
    /// A broadcast without attributes, of unknown length, with a drawn id and no receipts.
    pub fn new(content: Content, topic: impl Into<Topic>, timestamp: SystemTime) -> OpenOptions {
        OpenOptions {
            content,
            topic: topic.into(),
            id: None,
            mime_type: None,
            total_length: None,
            attributes: Attributes::new(),
            destinations: Vec::new(),
            sender_identity: None,
            timestamp,
            receipts: Receipts::None,
            compress: Compress::Auto,
        }
    }
}

/// Whether a payload is compressed (raw deflate) where all recipients can inflate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Compress {
    /// Where it is worth it: not below 512 bytes, and not where MIME type or first bytes say that
    /// the payload does not shrink.
    #[default]
    Auto,
    /// Unless a payload that was deflated whole did not shrink.
    Always,
    /// No.
    Never,
}

/// Whether a sender asks for receipts (attribute `lkstream.receipt` of the header).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Receipts {
    /// No.
    #[default]
    None,
    /// Yes; those that can answer do, as [`Event::Receipt`](crate::Event::Receipt).
    Request,
}

/// How much of a write was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// All of it.
    All,
    /// The first `taken` bytes, perhaps none: the window is full.
    /// [`Event::Writable`](crate::Event::Writable) follows; then write the rest.
    Blocked {
        /// Bytes taken; of text streams a character boundary.
        taken: usize,
    },
}

/// How far a stream has come, in bytes of its payload before compression where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes taken by writes.
    pub written: u64,
    /// Bytes of those that still wait in the engine.
    pub queued: u64,
    /// Bytes handed to the transport.
    pub sent: u64,
    /// Bytes that the transport had acknowledged.
    pub acknowledged: u64,
    /// Bytes of the packets handed to the transport: the compressed payload, and headers.
    pub wire: u64,
}

/// Where an outgoing stream is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutgoingState {
    /// It takes writes.
    Open,
    /// It was closed or aborted, and something is not sent or not acknowledged yet.
    Closing,
    /// All of it was acknowledged.
    Flushed,
    /// The connection went first.
    Lost(Lost),
    /// All recipients left or refused it before all of it was sent. Those who got a part read an
    /// error.
    GivenUp(NoRecipients),
}

/// An outgoing stream, borrowed from its engine.
///
/// Whoever opened it releases it in the end. Only [`close`](Outgoing::close) tells the receivers
/// that the stream is whole; a stream released before is aborted.
#[derive(Debug)]
pub struct Outgoing<'a> {
    engine: &'a mut Engine,
    id: OutgoingId,
    info: Arc<StreamInfo>,
}

impl<'a> Outgoing<'a> {
    /// The stream, if it exists.
    pub(crate) fn of(engine: &'a mut Engine, id: OutgoingId) -> Option<Outgoing<'a>> {
        let info = Arc::clone(&engine.outgoing.get(id)?.info);
        Some(Outgoing { engine, id, info })
    }

    /// The header as sent.
    pub fn info(&self) -> &StreamInfo {
        &self.info
    }

    /// Queues `bytes` without copying them, as far as the window allows.
    ///
    /// Every write is cut into chunks on its own; an empty one does nothing.
    ///
    /// # Errors
    /// See [`WriteError`]; nothing of `bytes` was taken then.
    pub fn write(&mut self, bytes: Bytes) -> Result<Written, WriteError> {
        let limit = self.engine.config.max_payload;
        let window = self.engine.outgoing.write_window();
        let written = self.engine.outgoing.change(self.id, |stream| {
            if let Some(error) = &stream.given_up {
                return Err(WriteError::NoRecipients(NoRecipients::clone(error)));
            }
            match &stream.state {
                OutgoingState::Open => {}
                OutgoingState::Closing | OutgoingState::Flushed | OutgoingState::GivenUp(_) => {
                    return Err(WriteError::Closed);
                }
                OutgoingState::Lost(cause) => {
                    return Err(WriteError::ConnectionLost(cause.clone()));
                }
            }
            let size = stream.written.saturating_add(bytes.len() as u64);
            match stream.info.total_length {
                Some(declared) if size > declared => {
                    return Err(WriteError::TooLong {
                        declared,
                        written: size,
                    });
                }
                None if size > limit => return Err(WriteError::PayloadTooLarge { size, limit }),
                _ => {}
            }
            stream.write(bytes, window)
        });
        written.unwrap_or(Err(WriteError::Closed))
    }

    /// Ends the stream well; `attributes` are merged over the header's. A stream opened without
    /// `total_length` says its length here, in the attribute `lkstream.length`; our receivers
    /// check it and take it off, official ones show it.
    ///
    /// # Errors
    /// See [`CloseError`].
    pub fn close(&mut self, mut attributes: Attributes) -> Result<(), CloseError> {
        let closed = self.engine.outgoing.change(self.id, |stream| {
            if let Some(error) = &stream.given_up {
                return Err(CloseError::NoRecipients(NoRecipients::clone(error)));
            }
            match &stream.state {
                OutgoingState::Open => {}
                OutgoingState::Closing | OutgoingState::Flushed | OutgoingState::GivenUp(_) => {
                    return Err(CloseError::Closed);
                }
                OutgoingState::Lost(cause) => {
                    return Err(CloseError::ConnectionLost(cause.clone()));
                }
            }
            let written = stream.written;
            if let Some(declared) = stream
                .info
                .total_length
                .filter(|declared| written < *declared)
            {
                stream.abort("fewer bytes were written than declared");
                return Err(CloseError::Incomplete { declared, written });
            }
            // A server may drop the last chunks of a stream for a slow receiver; it must not look whole then.
            if stream.info.total_length.is_none() {
                attributes.insert(LENGTH_ATTRIBUTE.to_owned(), written.to_string());
            }
            let trailer = Trailer {
                stream_id: stream.info.id.as_str().to_owned(),
                reason: String::new(),
                attributes,
            };
            let size = stream.trailer_size(&trailer);
            if size > PACKET_BYTES {
                return Err(CloseError::TrailerTooLarge {
                    size,
                    limit: PACKET_BYTES,
                });
            }
            stream.end(trailer);
            Ok(())
        });
        closed.unwrap_or(Err(CloseError::Closed))
    }

    /// Ends the stream otherwise: what waits is dropped and the receivers get `reason`, at most
    /// 1024 bytes of it. Does nothing when it was closed or aborted before.
    pub fn abort(&mut self, reason: &str) {
        self.engine
            .outgoing
            .change(self.id, |stream| stream.abort(reason));
    }

    /// Gives up what was not handed out yet, even of a closed stream: the receivers get `reason`,
    /// and `attributes` as far as they fit, instead of the rest. Does nothing once the last packet was handed out, or when the stream
    /// is a single packet.
    pub fn cancel(&mut self, reason: &str, attributes: Attributes) {
        self.engine.outgoing.change(self.id, |stream| {
            let trailer = Trailer {
                stream_id: stream.info.id.as_str().to_owned(),
                reason: crate::stream::reason(reason).to_owned(),
                attributes,
            };
            // The end must come through; what is only added to it may not.
            let fits = stream.trailer_size(&trailer) <= PACKET_BYTES;
            let attributes = if fits {
                trailer.attributes
            } else {
                Attributes::new()
            };
            stream.cancel(reason, attributes);
        });
    }

    /// Has the next acknowledgement of a part of this stream give
    /// [`Event::Acknowledged`](crate::Event::Acknowledged), once; that of its last part gives
    /// [`Event::Flushed`](crate::Event::Flushed) in any case.
    pub fn notify_acknowledged(&mut self) {
        self.engine.outgoing.change(self.id, |stream| {
            stream.awaits_acknowledgement = true;
        });
    }

    /// How far the stream has come.
    pub fn progress(&self) -> Progress {
        let stream = self.engine.outgoing.get(self.id);
        stream.map(Stream::progress).unwrap_or_default()
    }

    /// Where the stream is in its life.
    pub fn state(&self) -> OutgoingState {
        let stream = self.engine.outgoing.get(self.id);
        stream.map_or(OutgoingState::Flushed, |stream| match &stream.given_up {
            Some(error) => OutgoingState::GivenUp(NoRecipients::clone(error)),
            None => stream.state.clone(),
        })
    }

    /// Whom the stream was addressed to: those that its options named, or else all who were in the
    /// room when it was opened.
    pub fn recipients(&self) -> Arc<[Identity]> {
        let stream = self.engine.outgoing.get(self.id);
        stream.map_or_else(|| Arc::from([]), |stream| Arc::clone(&stream.recipients))
    }

    /// Recipients that left or said that they failed before all was acknowledged, in that order. When all of them
    /// did, before all was sent, the stream is [given up](OutgoingState::GivenUp). A recipient by
    /// name that was never seen in the room is not among them.
    pub fn missed(&self) -> Vec<Missed> {
        let stream = self.engine.outgoing.get(self.id);
        stream.map_or_else(Vec::new, |stream| stream.missed.clone())
    }

    /// Whether everything of the stream, its trailer included, was acknowledged.
    pub fn is_flushed(&self) -> bool {
        self.state() == OutgoingState::Flushed
    }

    /// Lets go of the stream. An open one is aborted; a closed one is still sent to its end.
    pub fn release(self) {
        self.engine.outgoing.change(self.id, |stream| {
            stream.abort("the writer was dropped before the end of the stream");
            stream.released = true;
        });
    }
}
