//! One incoming stream: what arrived, what was read, how it ended.
//!
//! ```text
//!   header ──> open ──chunks──> open ──trailer──> ended well ─────┐
//!                │                                                ├─> all read ─> Finished
//!                └─ gap, leave, loss, limit ... ─> ended badly ───┘              or Failed
//! ```
//!
//! What arrived before a bad end is still read, unless a limit of ours threw it away. Plain
//! content is measured when it arrives; deflated content when it is read, since only then it is
//! inflated.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lkstream_proto::id::Identity;

use super::inflate::Inflate;
use super::queue::{Queue, Queued};
use super::text::{NotText, Text};
use super::{Limit, Read, ReadError, Summary};
use crate::limits::{PIECE_BYTES, QUEUED_OVERHEAD_BYTES};
use crate::listener::ListenerId;
use crate::slots::Key;
use crate::stream::{Attributes, LENGTH_ATTRIBUTE, StreamInfo, StreamKind};

/// How the chunks of a stream are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Plain,
    DeflateRaw,
}

/// Where a stream stands with the receipt its sender may want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// None is wanted, or the final one was given.
    No,
    /// The final one is owed.
    Yes,
}

/// What a chunk did to a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// It was taken.
    Taken,
    /// Its index was received before.
    Duplicate,
    /// It ended the stream.
    Failed(ReadError),
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) info: Arc<StreamInfo>,
    /// Who published it, as the server last wrote; receipts go there.
    pub(crate) publisher: Identity,
    pub(crate) asked: Asked,
    /// Which listener got it; `None` for a part of a call, which the engine reads itself.
    pub(crate) listener: Option<ListenerId>,
    /// What its header takes.
    pub(crate) header_bytes: usize,
    /// It was read, if only to see that there is nothing yet.
    pub(crate) was_read: bool,
    /// It is its header alone: no chunk belongs to it.
    pub(crate) is_whole: bool,
    /// Where several listeners got the stream: the key of its first copy.
    pub(crate) first_copy: Option<Key>,
    /// Sequence number of the header's packet.
    pub(crate) header_sequence: u32,
    /// When the last part of the stream came.
    pub(crate) last_part: Instant,
    /// When its sender left, and under which name.
    pub(crate) left: Option<(Instant, Identity)>,
    pub(crate) idle: Option<Duration>,
    /// When `idle` began to count.
    pub(crate) idle_from: Instant,
    /// When the reader last took something, or had nothing to take.
    pub(crate) last_taken: Instant,
    /// The reader works on what it took: it does not count as stalled.
    pub(crate) busy: bool,
    /// Since when this reader alone is over its budget.
    pub(crate) over_since: Option<Instant>,
    /// A read was pending: the next change is an event.
    pub(crate) waiting: bool,
    /// Bytes queued, with their overhead.
    pub(crate) unread: usize,

    queue: Queue,
    next_index: u64,
    /// 1 where the sender counts from there.
    first_index: u64,
    /// Content bytes arrived, as on the wire.
    arrived: u64,
    /// Content bytes read, uncompressed.
    delivered: u64,
    /// Content bytes inflated, of a deflated stream.
    inflated: u64,
    /// More was inflated than is allowed.
    exceeded: Option<ReadError>,
    inflate: Option<Inflate>,
    text: Option<Text>,
    /// Bytes that there shall be, as header or trailer say.
    declared: Option<u64>,
    /// Bytes that may be delivered: the declared length or the payload limit.
    allowed: u64,
    end: Option<Result<Attributes, ReadError>>,
    outcome: Option<Result<Summary, ReadError>>,
}

impl Stream {
    pub(crate) fn new(
        now: Instant,
        info: Arc<StreamInfo>,
        encoding: Encoding,
        idle: Option<Duration>,
        max_payload: u64,
    ) -> Stream {
        let end = match info.total_length {
            Some(size) if size > max_payload => Some(Err(payload_too_large(size, max_payload))),
            _ => None,
        };
        Stream {
            publisher: info.sender.clone(),
            asked: Asked::No,
            listener: None,
            header_bytes: 0,
            was_read: false,
            is_whole: false,
            first_copy: None,
            header_sequence: 0,
            last_part: now,
            left: None,
            idle,
            idle_from: now,
            last_taken: now,
            busy: false,
            over_since: None,
            waiting: false,
            unread: 0,
            queue: Queue::default(),
            next_index: 0,
            first_index: 0,
            arrived: 0,
            delivered: 0,
            inflated: 0,
            exceeded: None,
            inflate: (encoding == Encoding::DeflateRaw).then(Inflate::default),
            text: (info.kind() == StreamKind::Text).then(Text::default),
            declared: info.total_length,
            allowed: info.total_length.unwrap_or(max_payload),
            end,
            outcome: None,
            info,
        }
    }

    /// How it failed, as far as that is known.
    pub(crate) fn error(&self) -> Option<&ReadError> {
        let end = self.end.as_ref().and_then(|end| end.as_ref().err());
        end.or_else(|| self.outcome.as_ref().and_then(|end| end.as_ref().err()))
    }

    /// Whether it waits for its reader rather than for its sender.
    pub(super) fn is_waiting(&self) -> bool {
        self.ended() || self.unread > 0 || !self.was_read
    }

    /// Whether nothing more is expected to arrive.
    pub(crate) fn ended(&self) -> bool {
        self.end.is_some()
    }

    /// Bytes read so far, uncompressed.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Notes who the server says published the stream: on chunks and trailers that is never
    /// somebody else's name (protocol.md §4.3).
    pub(crate) fn note_publisher(&mut self, identity: &str) {
        if !identity.is_empty() && self.publisher.as_str() != identity {
            self.publisher = Identity::from(identity);
        }
    }

    /// Takes the whole content from a header and ends the stream.
    pub(crate) fn inline(
        &mut self,
        now: Instant,
        content: Bytes,
        packet: usize,
    ) -> Option<ReadError> {
        if self.ended() {
            return None;
        }
        if let Err(error) = self.push(now, content, packet) {
            self.fail(error.clone());
            return Some(error);
        }
        self.finish(Attributes::new())
    }

    /// Lets the index 1 be the first, if nothing came yet. Byte writers of PyPI livekit 0.21.0 to
    /// 1.0.6 count so (protocol.md §5.6). A lost first chunk looks the same, so the doubt must be
    /// ruled out: by the declared length, which is checked at the end, or by packet numbers that
    /// are `unbroken` since the header. Text never counted from 1.
    pub(crate) fn count_from_one(&mut self, unbroken: bool) {
        let plain_bytes = self.info.kind() == StreamKind::Bytes && self.inflate.is_none();
        let certain = unbroken || self.info.total_length.is_some();
        if self.next_index == 0 && plain_bytes && certain {
            self.next_index = 1;
            self.first_index = 1;
        }
    }

    /// Takes a chunk whose packet had `packet` bytes.
    pub(crate) fn chunk(
        &mut self,
        now: Instant,
        index: u64,
        content: Bytes,
        packet: usize,
    ) -> Arrived {
        if (self.first_index..self.next_index).contains(&index) {
            return Arrived::Duplicate;
        }
        // Below the first, it is content that was taken for not existing.
        if index != self.next_index {
            let error = ReadError::Gap {
                expected: self.next_index,
                arrived: index,
            };
            self.fail(error.clone());
            return Arrived::Failed(error);
        }
        self.next_index = index.saturating_add(1);
        self.last_part = now;
        match self.push(now, content, packet) {
            Ok(()) => Arrived::Taken,
            Err(error) => {
                self.fail(error.clone());
                Arrived::Failed(error)
            }
        }
    }

    /// Takes the trailer of a stream that its sender ended well.
    pub(crate) fn finish(&mut self, mut attributes: Attributes) -> Option<ReadError> {
        if let Some(length) = attributes.remove(LENGTH_ATTRIBUTE) {
            self.declared = self.declared.or(length.parse().ok());
        }
        if self.inflate.is_none()
            && let Err(error) = self.measure()
        {
            self.fail(error.clone());
            return Some(error);
        }
        self.end.get_or_insert(Ok(attributes));
        None
    }

    /// Takes the trailer of a stream that its sender gave up.
    pub(crate) fn abort(&mut self, reason: Arc<str>) {
        self.fail(ReadError::AbortedBySender { reason });
    }

    /// Ends the stream badly, after what has arrived. The first end counts.
    pub(crate) fn fail(&mut self, error: ReadError) {
        self.end.get_or_insert(Err(error));
    }

    /// Ends the stream badly and throws away what is unread.
    pub(crate) fn discard(&mut self, limit: Limit) {
        self.queue.clear();
        self.unread = 0;
        let error = ReadError::Limit(limit);
        self.end = Some(Err(error.clone()));
        self.outcome.get_or_insert(Err(error));
    }

    /// The next piece, if there is one.
    pub(crate) fn read(&mut self, now: Instant) -> Read {
        self.was_read = true;
        let read = self.next();
        match read {
            Read::Piece(_) => self.last_taken = now,
            Read::Pending => self.waiting = true,
            Read::Finished(_) | Read::Failed(_) => {}
        }
        read
    }

    fn next(&mut self) -> Read {
        if self.outcome.is_none() {
            let piece = if self.inflate.is_some() {
                self.next_inflated()
            } else {
                self.next_plain()
            };
            match piece {
                Ok(Some(piece)) => return Read::Piece(piece),
                Ok(None) if self.end.is_none() => return Read::Pending,
                Ok(None) => self.outcome = Some(self.judge()),
                Err(error) => {
                    // What is left cannot be read any more.
                    self.queue.clear();
                    self.unread = 0;
                    self.end = Some(Err(error.clone()));
                    self.outcome = Some(Err(error));
                }
            }
        }
        match &self.outcome {
            Some(Ok(summary)) => Read::Finished(summary.clone()),
            Some(Err(error)) => Read::Failed(error.clone()),
            None => Read::Pending,
        }
    }

    /// How a stream ended of which everything was read.
    fn judge(&mut self) -> Result<Summary, ReadError> {
        let mut attributes = self.end.clone().transpose()?.unwrap_or_default();
        self.measure()?;
        // A stream that stops at a flush instead of a final block is whole only if its length
        // says so (protocol.md §5.4).
        if self.declared.is_none()
            && self
                .inflate
                .as_ref()
                .is_some_and(|inflate| !inflate.ended())
        {
            return Err(ReadError::CutDeflate {
                received: self.inflated,
            });
        }
        if let Some(text) = &self.text {
            text.end().map_err(not_text)?;
        }
        let mut all = self.info.attributes.clone();
        all.append(&mut attributes);
        Ok(Summary {
            bytes: self.delivered,
            attributes: all,
        })
    }

    /// Compares what arrived with what was declared.
    fn measure(&self) -> Result<(), ReadError> {
        let received = self.received();
        match self.declared {
            Some(declared) if received < declared => {
                Err(ReadError::Incomplete { declared, received })
            }
            Some(declared) if received > declared => {
                Err(ReadError::LengthExceeded { declared, received })
            }
            _ => Ok(()),
        }
    }

    /// Content bytes received, as far as that can be known without inflating.
    fn received(&self) -> u64 {
        if self.inflate.is_some() {
            self.inflated
        } else {
            self.arrived
        }
    }

    fn next_plain(&mut self) -> Result<Option<Bytes>, ReadError> {
        while let Some(front) = self.queue.front_mut() {
            let piece = match &mut self.text {
                Some(text) => text
                    .cut(&mut front.content, PIECE_BYTES)
                    .map_err(not_text)?,
                None => Some(front.content.split_to(front.content.len().min(PIECE_BYTES))),
            };
            self.unread -= self.queue.drop_spent();
            if let Some(piece) = piece {
                self.delivered += piece.len() as u64;
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    fn next_inflated(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            if let Some(error) = self.exceeded.clone() {
                return Err(error);
            }
            let Some(inflate) = &mut self.inflate else {
                return Ok(None);
            };
            let mut nothing = Bytes::new();
            let input = match self.queue.front_mut() {
                Some(front) => &mut front.content,
                None if inflate.has_output() => &mut nothing,
                None => return Ok(None),
            };
            let (carry, carried) = self.text.as_ref().map_or(([0; 4], 0), Text::carry);
            // One byte more than allowed is enough to see that there is more.
            let left = self.allowed.saturating_sub(self.inflated);
            let output = inflate.inflate(input, &carry[..carried], left.saturating_add(1));
            let mut output = output.map_err(|_| ReadError::CorruptDeflate {
                received: self.inflated,
            })?;
            self.unread -= self.queue.drop_spent();
            let fresh = output.len().saturating_sub(carried) as u64;
            if fresh > left {
                self.exceeded = Some(self.too_long(self.inflated + fresh));
                output.truncate(output.len() - usize::try_from(fresh - left).unwrap_or(0));
            }
            self.inflated += fresh.min(left);
            if let Some(piece) = self.inflated_piece(output)? {
                return Ok(Some(piece));
            }
        }
    }

    /// Makes a piece of inflated content that starts with the text's carry, where there is one.
    fn inflated_piece(&mut self, mut output: Vec<u8>) -> Result<Option<Bytes>, ReadError> {
        if output.is_empty() {
            return Ok(None);
        }
        if output.len() < output.capacity() / 2 {
            output.shrink_to_fit();
        }
        let mut content = Bytes::from(output);
        let piece = match &mut self.text {
            None => Some(content),
            Some(text) => {
                text.drop_carry();
                let piece = text.cut(&mut content, PIECE_BYTES).map_err(not_text)?;
                if !content.is_empty() {
                    text.fail();
                }
                piece
            }
        };
        self.delivered += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Ok(piece)
    }

    /// Takes content in, whose packet had `packet` bytes.
    fn push(&mut self, now: Instant, content: Bytes, packet: usize) -> Result<(), ReadError> {
        if content.is_empty() {
            return Ok(());
        }
        self.arrived += content.len() as u64;
        if self.inflate.is_none() && self.arrived > self.allowed {
            return Err(self.too_long(self.arrived));
        }
        if self.queue.is_empty() {
            self.last_taken = now;
        }
        let charge = packet.max(content.len()) + QUEUED_OVERHEAD_BYTES;
        self.unread += charge;
        self.queue.push(Queued { content, charge });
        Ok(())
    }

    /// The error for `received` bytes where fewer are allowed.
    fn too_long(&self, received: u64) -> ReadError {
        match self.info.total_length {
            Some(declared) => ReadError::LengthExceeded { declared, received },
            None => payload_too_large(received, self.allowed),
        }
    }
}

fn payload_too_large(size: u64, limit: u64) -> ReadError {
    ReadError::Limit(Limit::PayloadTooLarge { size, limit })
}

fn not_text(error: NotText) -> ReadError {
    ReadError::InvalidText {
        offset: error.offset,
    }
}
