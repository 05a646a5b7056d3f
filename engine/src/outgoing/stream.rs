//! One outgoing stream: what was written, what was sent, what was acknowledged.
//!
//! ```text
//!   open ──write──> open ──close, abort, release──> closing ──last packet acknowledged──> flushed
//!     └──────────────────────connection lost───────────┴──> lost
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use lkstream_proto::id::{Identity, ParticipantSid};
use lkstream_proto::limits::CHUNK_BYTES;
use lkstream_proto::packet::{Chunk, ChunkFields, DataPacket, Trailer, Value};

use super::deflate::{Broken, Deflater};
use super::opening::Opening;
use super::schedule::Place;
use super::slab::Slab;
use super::{Missed, MissedCause, NoRecipients, OutgoingState, Progress, WriteError, Written};
use crate::encryption::{Seal, encode};
use crate::engine::Lost;
use crate::limits::QUEUED_OVERHEAD_BYTES;
use crate::stream::{Attributes, StreamInfo, StreamKind};

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
    /// Its handle is gone.
    pub(crate) released: bool,
    /// A write met the full window: tell when there is room.
    pub(crate) blocked: bool,
    /// Somebody waits for an acknowledgement: tell when there is one.
    pub(crate) awaits_acknowledgement: bool,
    pub(crate) written: u64,
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) destinations: Vec<Identity>,
    /// Whom it was addressed to: the destinations, or all who were there.
    pub(crate) recipients: Arc<[Identity]>,
    /// Those of them that left or failed before all was acknowledged.
    pub(crate) missed: Vec<Missed>,
    /// Why it was given up, if it was because none of them is left.
    pub(crate) given_up: Option<Box<NoRecipients>>,
    pub(super) sid: ParticipantSid,
    pub(super) opening: Option<Opening>,
    pub(super) queue: VecDeque<Bytes>,
    pub(super) queued: usize,
    /// Compresses what is queued; `None` for a plain stream, and once all of it is done.
    pub(super) deflater: Option<Box<Deflater>>,
    /// A deflater that has done its work, for the next stream.
    pub(super) spent: Option<Box<Deflater>>,
    /// Bytes of packets handed out.
    pub(super) wire: u64,
    next_index: u64,
    trailer: Option<Box<Trailer>>,
}

impl Stream {
    pub(crate) fn new(
        info: StreamInfo,
        opening: Opening,
        destinations: Vec<Identity>,
        recipients: Arc<[Identity]>,
        sid: ParticipantSid,
    ) -> Stream {
        Stream {
            info: Arc::new(info),
            state: OutgoingState::Open,
            place: Place::default(),
            released: false,
            blocked: false,
            awaits_acknowledgement: false,
            written: 0,
            sent: 0,
            acknowledged: 0,
            destinations,
            recipients,
            missed: Vec::new(),
            given_up: None,
            sid,
            opening: Some(opening),
            queue: VecDeque::new(),
            queued: 0,
            deflater: None,
            spent: None,
            wire: 0,
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
            wire: self.wire,
        }
    }

    /// What of the write window is in use.
    pub(crate) fn window_used(&self) -> usize {
        let taken_in = self
            .deflater
            .as_ref()
            .map_or(0, |deflater| deflater.taken_in());
        self.queued - taken_in + self.queue.len() * QUEUED_OVERHEAD_BYTES
    }

    /// Whether there is anything to send.
    pub(crate) fn has_packet(&self) -> bool {
        self.opening.is_some() || !self.queue.is_empty() || self.trailer.is_some()
    }

    /// Queues as much of `bytes` as the window allows, in whole chunks.
    pub(crate) fn write(&mut self, bytes: Bytes, window: usize) -> Result<Written, WriteError> {
        if bytes.is_empty() {
            return Ok(Written::All);
        }
        // An empty queue takes something even if the window is smaller than the overhead.
        let least = usize::from(self.queue.is_empty());
        let room = window.saturating_sub(self.window_used()).max(least);
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

    /// Ends a stream that is its header alone.
    pub(super) fn end_inline(&mut self) {
        self.state = OutgoingState::Closing;
    }

    /// Gives an open stream up: drops what waits and says why.
    pub(crate) fn abort(&mut self, reason: &str) {
        if self.state == OutgoingState::Open {
            self.end_early(reason, Attributes::new());
        }
    }

    /// Gives up what was not handed out, even of a closed stream.
    pub(crate) fn cancel(&mut self, reason: &str, attributes: Attributes) {
        let is_cut = !self.queue.is_empty() || self.deflater.is_some();
        match self.state {
            OutgoingState::Open => self.end_early(reason, attributes),
            OutgoingState::Closing if is_cut && self.trailer.is_some() => {
                self.end_early(reason, attributes);
            }
            _ => {}
        }
    }

    fn end_early(&mut self, reason: &str, attributes: Attributes) {
        self.drop_queue();
        let reason = if reason.is_empty() { "aborted" } else { reason };
        self.end(Trailer {
            stream_id: self.info.id.as_str().to_owned(),
            reason: crate::stream::reason(reason).to_owned(),
            attributes,
        });
    }

    /// A recipient left or failed. Gives the stream up, and says so, when none is left and not all
    /// of it was handed out.
    pub(crate) fn miss(&mut self, identity: &Identity, cause: &MissedCause) -> bool {
        let is_over = matches!(self.state, OutgoingState::Flushed | OutgoingState::Lost(_));
        let is_missed = |identity: &Identity, missed: &[Missed]| {
            missed.iter().any(|missed| missed.identity == *identity)
        };
        if is_over || !self.recipients.contains(identity) || is_missed(identity, &self.missed) {
            return false;
        }
        self.missed.push(Missed {
            identity: identity.clone(),
            cause: cause.clone(),
        });
        let is_sent = self.state == OutgoingState::Closing && !self.has_packet();
        // The length first: names need not differ, and there may be many.
        let none_is_left = self.missed.len() >= self.recipients.len()
            || self.recipients.len() < 64
                && self
                    .recipients
                    .iter()
                    .all(|each| is_missed(each, &self.missed));
        if is_sent || !none_is_left || self.given_up.is_some() {
            return false;
        }
        self.given_up = Some(Box::new(NoRecipients {
            missed: self.missed.clone(),
            acknowledged: self.acknowledged,
            total: self.info.total_length,
        }));
        self.blocked = false;
        if self.opening.take().is_some() {
            // Nothing of it was handed out.
            self.drop_queue();
            self.trailer = None;
            self.state = OutgoingState::Flushed;
        } else {
            // Somebody may have come whom we do not know of yet.
            self.end_early("all known recipients are gone", Attributes::new());
        }
        true
    }

    /// The connection went: nothing is sent any more.
    pub(crate) fn lose(&mut self, cause: Lost) {
        self.drop_queue();
        self.opening = None;
        self.trailer = None;
        self.blocked = false;
        self.state = OutgoingState::Lost(cause);
    }

    /// Drops what was not sent.
    pub(crate) fn drop_queue(&mut self) {
        self.queue.clear();
        self.queued = 0;
        self.deflater = None;
    }

    /// Bytes of the trailer's packet, at most.
    pub(crate) fn trailer_size(&self, trailer: &Trailer) -> usize {
        self.envelope(u32::MAX, Value::StreamTrailer(trailer.clone()))
            .to_bytes()
            .len()
    }

    /// Encodes the next packet under this sequence number.
    pub(crate) fn next_packet(
        &mut self,
        sequence: u32,
        slab: &mut Slab,
        seal: Option<&mut Seal<'_>>,
    ) -> Option<Encoded> {
        let packet = self.make_packet(sequence, slab, seal)?;
        self.queued = self.queued.saturating_sub(packet.payload);
        self.sent += packet.payload as u64;
        self.wire += packet.bytes.len() as u64;
        Some(packet)
    }

    fn make_packet(
        &mut self,
        sequence: u32,
        slab: &mut Slab,
        mut seal: Option<&mut Seal<'_>>,
    ) -> Option<Encoded> {
        if let Some(opening) = self.opening.take() {
            let last = opening.inline.is_some();
            return Some(Encoded {
                bytes: self.encode_header(&opening, sequence, slab, seal),
                payload: if last { self.queued } else { 0 },
                last,
            });
        }
        if let Some(deflater) = self.deflater.take() {
            match self.deflated_chunk(deflater, sequence, slab, seal.as_deref_mut()) {
                Ok(Some(packet)) => return Some(packet),
                Ok(None) => {}
                Err(Broken) => {
                    self.end_early("the payload could not be compressed", Attributes::new());
                }
            }
        }
        if let Some(front) = self.queue.front_mut() {
            let content = front.split_to(chunk_len(self.info.kind(), front));
            if front.is_empty() {
                self.queue.pop_front();
            }
            return Some(Encoded {
                bytes: self.encode_chunk(sequence, &content, slab, seal),
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

    /// The next chunk of a compressed stream; `None` when there is none now. The deflater stays
    /// with the stream until it has nothing left.
    fn deflated_chunk(
        &mut self,
        mut deflater: Box<Deflater>,
        sequence: u32,
        slab: &mut Slab,
        seal: Option<&mut Seal<'_>>,
    ) -> Result<Option<Encoded>, Broken> {
        let whole = self.trailer.is_some();
        let chunk = deflater.next_chunk(&mut self.queue, whole)?;
        let packet = chunk.map(|chunk| Encoded {
            bytes: self.encode_chunk(sequence, chunk.content, slab, seal),
            payload: chunk.payload,
            last: false,
        });
        if deflater.is_spent() {
            self.spent = Some(deflater);
        } else {
            self.deflater = Some(deflater);
        }
        Ok(packet)
    }

    /// The next chunk's packet, in the clear written in one pass.
    fn encode_chunk(
        &mut self,
        sequence: u32,
        content: &[u8],
        slab: &mut Slab,
        seal: Option<&mut Seal<'_>>,
    ) -> Bytes {
        let chunk_index = self.next_index;
        self.next_index += 1;
        if seal.is_some() {
            let chunk = Chunk {
                stream_id: self.info.id.as_str().to_owned(),
                chunk_index,
                content: Bytes::copy_from_slice(content),
                ..Chunk::default()
            };
            return encode(self.envelope(sequence, Value::StreamChunk(chunk)), seal);
        }
        let fields = ChunkFields {
            chunk_index,
            ..self.fields(sequence)
        };
        slab.packet(fields.size(content), |block| fields.put(content, block))
    }

    /// What every packet of the stream says.
    pub(super) fn fields(&self, sequence: u32) -> ChunkFields<'_> {
        ChunkFields {
            participant_identity: self.info.sender.as_str(),
            participant_sid: self.sid.as_str(),
            destinations: &self.destinations,
            sequence,
            stream_id: self.info.id.as_str(),
            chunk_index: 0,
        }
    }

    /// Puts `value` into a packet of this stream: sender and destinations are on each.
    pub(super) fn envelope(&self, sequence: u32, value: Value) -> DataPacket {
        DataPacket {
            participant_identity: self.info.sender.as_str().to_owned(),
            destination_identities: self
                .destinations
                .iter()
                .map(|identity| identity.as_str().to_owned())
                .collect(),
            sequence,
            participant_sid: self.sid.as_str().to_owned(),
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
