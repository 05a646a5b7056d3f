//! One outgoing stream: what was written, what was sent, what was acknowledged.
//!
//! ```text
//!   open ──write──> open ──close, abort, release──> closing ──last packet acknowledged──> flushed
//!     └──────────────────────connection lost───────────┴──> lost
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use lkstream_proto::id::Identity;
use lkstream_proto::limits::CHUNK_BYTES;
use lkstream_proto::packet::{
    Chunk, ChunkFields, DataPacket, Header, Trailer, Value, encode_chunk,
};
use lkstream_proto::receipt;

use super::schedule::Place;
use super::{OutgoingState, Progress, WriteError, Written};
use crate::encryption::{Seal, encode};
use crate::engine::Lost;
use crate::limits::QUEUED_OVERHEAD_BYTES;
use crate::stream::{StreamInfo, StreamKind};

/// A packet encoded, with what it carries.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) bytes: Bytes,
    /// Bytes of the stream's payload in it.
    pub(crate) payload: usize,
    /// No packet of the stream follows.
    pub(crate) last: bool,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) info: Arc<StreamInfo>,
    pub(crate) state: OutgoingState,
    pub(crate) place: Place,
    pub(crate) wants_receipts: bool,
    /// Its handle is gone.
    pub(crate) released: bool,
    /// A write met the full window: tell when there is room.
    pub(crate) blocked: bool,
    pub(crate) written: u64,
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    destinations: Vec<Identity>,
    sid: Arc<str>,
    header: Option<Box<Header>>,
    queue: VecDeque<Bytes>,
    queued: usize,
    next_index: u64,
    trailer: Option<Box<Trailer>>,
}

impl Stream {
    pub(crate) fn new(
        info: StreamInfo,
        header: Header,
        destinations: Vec<Identity>,
        sid: Arc<str>,
    ) -> Stream {
        Stream {
            info: Arc::new(info),
            state: OutgoingState::Open,
            place: Place::default(),
            wants_receipts: header.attributes.contains_key(receipt::ATTRIBUTE),
            released: false,
            blocked: false,
            written: 0,
            sent: 0,
            acknowledged: 0,
            destinations,
            sid,
            header: Some(Box::new(header)),
            queue: VecDeque::new(),
            queued: 0,
            next_index: 0,
            trailer: None,
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            written: self.written,
            queued: self.queued as u64,
            sent: self.sent,
            acknowledged: self.acknowledged,
        }
    }

    /// What of the write window is in use.
    pub(crate) fn backlog(&self) -> usize {
        self.queued + self.queue.len() * QUEUED_OVERHEAD_BYTES
    }

    /// Whether there is anything to send.
    pub(crate) fn has_packet(&self) -> bool {
        self.header.is_some() || !self.queue.is_empty() || self.trailer.is_some()
    }

    /// Queues as much of `bytes` as the window allows, in whole chunks.
    pub(crate) fn write(&mut self, bytes: Bytes, window: usize) -> Result<Written, WriteError> {
        if bytes.is_empty() {
            return Ok(Written::All);
        }
        // An empty queue takes something even if the window is smaller than the overhead.
        let least = usize::from(self.queue.is_empty());
        let room = window.saturating_sub(self.backlog()).max(least);
        let valid = match self.info.kind() {
            StreamKind::Bytes => bytes.len(),
            StreamKind::Text => valid_text(&bytes, room)?,
        };
        let mut taken = 0;
        while taken < bytes.len() && taken < room {
            taken += chunk_len(self.info.kind(), &bytes[taken..valid]);
        }
        if taken > 0 {
            self.queue.push_back(bytes.slice(..taken));
            self.queued += taken;
            self.written += taken as u64;
        }
        if taken == bytes.len() {
            Ok(Written::All)
        } else {
            self.blocked = true;
            Ok(Written::Blocked { taken })
        }
    }

    /// Ends the stream with this trailer.
    pub(crate) fn end(&mut self, trailer: Trailer) {
        self.trailer = Some(Box::new(trailer));
        self.state = OutgoingState::Closing;
        self.blocked = false;
    }

    /// Gives an open stream up: drops what waits and says why.
    pub(crate) fn abort(&mut self, reason: &str) {
        if self.state != OutgoingState::Open {
            return;
        }
        self.drop_queue();
        let reason = if reason.is_empty() { "aborted" } else { reason };
        self.end(Trailer {
            stream_id: self.info.id.as_str().to_owned(),
            reason: crate::stream::reason(reason).to_owned(),
            ..Trailer::default()
        });
    }

    /// The connection went: nothing is sent any more.
    pub(crate) fn lose(&mut self, cause: Lost) {
        self.drop_queue();
        self.header = None;
        self.trailer = None;
        self.blocked = false;
        self.state = OutgoingState::Lost(cause);
    }

    /// Drops what was not sent.
    pub(crate) fn drop_queue(&mut self) {
        self.queue.clear();
        self.queued = 0;
    }

    /// Bytes of the trailer's packet, at most.
    pub(crate) fn trailer_size(&self, trailer: &Trailer) -> usize {
        self.envelope(u32::MAX, Value::StreamTrailer(trailer.clone()))
            .to_bytes()
            .len()
    }

    /// Bytes of the header's packet, at most.
    pub(crate) fn header_size(&self) -> usize {
        self.header.as_ref().map_or(0, |header| {
            let value = Value::StreamHeader((**header).clone());
            self.envelope(u32::MAX, value).to_bytes().len()
        })
    }

    /// Encodes the next packet under this sequence number.
    pub(crate) fn next_packet(
        &mut self,
        sequence: u32,
        seal: Option<&mut Seal<'_>>,
    ) -> Option<Encoded> {
        if let Some(header) = self.header.take() {
            let packet = self.envelope(sequence, Value::StreamHeader(*header));
            return Some(Encoded {
                bytes: encode(packet, seal),
                payload: 0,
                last: false,
            });
        }
        if let Some(front) = self.queue.front_mut() {
            let content = front.split_to(chunk_len(self.info.kind(), front));
            if front.is_empty() {
                self.queue.pop_front();
            }
            let bytes = match seal {
                None => self.plain_chunk(sequence, &content),
                Some(seal) => {
                    let chunk = Chunk {
                        stream_id: self.info.id.as_str().to_owned(),
                        chunk_index: self.next_index,
                        content: content.clone(),
                        ..Chunk::default()
                    };
                    encode(
                        self.envelope(sequence, Value::StreamChunk(chunk)),
                        Some(seal),
                    )
                }
            };
            self.next_index += 1;
            self.queued -= content.len();
            self.sent += content.len() as u64;
            return Some(Encoded {
                bytes,
                payload: content.len(),
                last: false,
            });
        }
        let trailer = self.trailer.take()?;
        let packet = self.envelope(sequence, Value::StreamTrailer(*trailer));
        Some(Encoded {
            bytes: encode(packet, seal),
            payload: 0,
            last: true,
        })
    }

    /// The next chunk's packet, written in one pass.
    fn plain_chunk(&self, sequence: u32, content: &[u8]) -> Bytes {
        let fields = ChunkFields {
            participant_identity: self.info.sender.as_str(),
            participant_sid: &self.sid,
            destinations: &self.destinations,
            sequence,
            stream_id: self.info.id.as_str(),
            chunk_index: self.next_index,
        };
        encode_chunk(&fields, content)
    }

    /// Puts `value` into a packet of this stream: sender and destinations are on each.
    fn envelope(&self, sequence: u32, value: Value) -> DataPacket {
        DataPacket {
            participant_identity: self.info.sender.as_str().to_owned(),
            destination_identities: self
                .destinations
                .iter()
                .map(|identity| identity.as_str().to_owned())
                .collect(),
            sequence,
            participant_sid: self.sid.as_ref().to_owned(),
            value: Some(value),
            ..DataPacket::default()
        }
    }
}

/// Bytes of `content`'s first chunk: at most 15 000, and text is cut on a character boundary
/// (protocol.md §5.2).
fn chunk_len(kind: StreamKind, content: &[u8]) -> usize {
    if content.len() <= CHUNK_BYTES {
        return content.len();
    }
    let mut len = CHUNK_BYTES;
    if kind == StreamKind::Text {
        // Continuation bytes are 10xxxxxx; a character has three of them at most.
        while len > CHUNK_BYTES - 3 && content[len] & 0xc0 == 0x80 {
            len -= 1;
        }
    }
    len
}

/// Bytes of `bytes` that are valid text, looking no further than a write with this much room.
fn valid_text(bytes: &[u8], room: usize) -> Result<usize, WriteError> {
    // The chunk that crosses the line, and a character that crosses its end.
    let looked_at = room.saturating_add(CHUNK_BYTES + 4).min(bytes.len());
    match std::str::from_utf8(&bytes[..looked_at]) {
        Ok(_) => Ok(looked_at),
        Err(error) if error.error_len().is_none() && looked_at < bytes.len() => {
            Ok(error.valid_up_to())
        }
        Err(error) => Err(WriteError::InvalidText {
            offset: error.valid_up_to(),
        }),
    }
}
