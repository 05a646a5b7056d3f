//! Handles incoming packets.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use lkstream_proto::id::{Identity, ParticipantSid, StreamId, Topic};
use lkstream_proto::packet::{Channel, Compression, DataPacket, Trailer, UserPacket, Value};
use lkstream_proto::receipt::{self, Receipt, Status};
use lkstream_proto::splice::{ChunkView, PacketView, ValueKind};

use super::calling::is_call;
use super::{Engine, fault};
use crate::delivery::Verdict;
use crate::encryption::{Cipher, Encryption};
use crate::event::{Event, UserMessage};
use crate::fault::{PeerFault, Rule};
use crate::incoming::{
    Arrived, Asked, Encoding, IncomingId, Limit, Opening, Publisher, ReadError, Stream,
};
use crate::limits;
use crate::outgoing::MissedCause;
use crate::stream::{self, Attributes, Content, StreamInfo, from_millis};

/// What the envelope says about who sent a packet, and what the packet weighs.
pub(super) struct Envelope<'a> {
    pub(super) identity: &'a str,
    sid: &'a str,
    pub(super) sequence: u32,
    size: usize,
    encryption: Encryption,
}

impl<'a> Envelope<'a> {
    fn publisher(&self) -> Publisher<'a> {
        Publisher::of(self.sid, self.identity)
    }
}

impl Engine {
    /// Takes in a packet of the room we are in.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        channel: Channel,
        bytes: Bytes,
    ) -> Result<(), PeerFault> {
        let size = bytes.len();
        // Chunks and headers are most of the traffic: they are read in place.
        if let Ok(view) = PacketView::parse(bytes.clone())
            && matches!(
                view.value(),
                ValueKind::StreamChunk | ValueKind::StreamHeader
            )
        {
            return self.receive_in_place(now, channel, size, &view);
        }
        let packet =
            DataPacket::from_bytes(bytes).map_err(|_| fault(Rule::Malformed { size }, None))?;
        let envelope = Envelope {
            identity: &packet.participant_identity,
            sid: &packet.participant_sid,
            sequence: packet.sequence,
            size,
            encryption: Encryption::None,
        };
        if self.is_duplicate(now, channel, &envelope) {
            return Ok(());
        }
        let (value, envelope) = match packet.value {
            Some(Value::Encrypted(sealed)) => {
                let Some(cipher) = &mut self.cipher else {
                    return Err(fault(Rule::NoKeyring, None));
                };
                let value = cipher
                    .open(envelope.identity, &sealed)
                    .map_err(|error| fault(Rule::Undecryptable(error), None))?;
                let encryption = Encryption::Gcm;
                (
                    value,
                    Envelope {
                        encryption,
                        ..envelope
                    },
                )
            }
            value => (value, envelope),
        };
        self.value(now, channel, &envelope, value)
    }

    /// Takes in a chunk or a header that came in the clear.
    fn receive_in_place(
        &mut self,
        now: Instant,
        channel: Channel,
        size: usize,
        view: &PacketView,
    ) -> Result<(), PeerFault> {
        let envelope = Envelope {
            identity: view.participant_identity(),
            sid: view.participant_sid(),
            sequence: view.sequence(),
            size,
            encryption: Encryption::None,
        };
        if self.is_duplicate(now, channel, &envelope) {
            return Ok(());
        }
        if let Some(chunk) = view.chunk() {
            on_reliable(channel, chunk.stream_id)?;
            return self.chunk(now, &envelope, &chunk);
        }
        let Some(header) = view.header() else {
            return Ok(());
        };
        if self.cipher.as_ref().is_some_and(Cipher::refuses_plaintext) {
            return Err(fault(Rule::Plaintext, None));
        }
        on_reliable(channel, header.stream_id)?;
        self.header(now, &envelope, Opening::from(header))
    }

    /// Takes in a value, opened if it was sealed.
    fn value(
        &mut self,
        now: Instant,
        channel: Channel,
        envelope: &Envelope<'_>,
        value: Option<Value>,
    ) -> Result<(), PeerFault> {
        // Parts of a stream are held against its header instead.
        if let (Some(cipher), Encryption::None) = (&self.cipher, envelope.encryption)
            && let Some(value) = &value
            && !matches!(value, Value::StreamChunk(_) | Value::StreamTrailer(_))
            && cipher.refuses(value)
        {
            return Err(fault(Rule::Plaintext, None));
        }
        match value {
            Some(Value::StreamChunk(chunk)) => {
                on_reliable(channel, &chunk.stream_id)?;
                let view = ChunkView {
                    stream_id: &chunk.stream_id,
                    chunk_index: chunk.chunk_index,
                    version: chunk.version,
                    content: chunk.content.clone(),
                };
                self.chunk(now, envelope, &view)
            }
            Some(Value::StreamHeader(header)) => {
                on_reliable(channel, &header.stream_id)?;
                self.header(now, envelope, Opening::from(header))
            }
            Some(Value::StreamTrailer(trailer)) => {
                on_reliable(channel, &trailer.stream_id)?;
                self.trailer(now, envelope, trailer)
            }
            Some(Value::User(user)) => {
                self.user(channel, envelope, user);
                Ok(())
            }
            Some(Value::RpcRequest(request)) => match channel {
                Channel::Reliable => self.request_packet(envelope, request),
                Channel::Lossy => Err(fault(Rule::WrongChannel, None)),
            },
            Some(Value::RpcAck(ack)) => {
                self.call_acknowledged(envelope, &ack);
                Ok(())
            }
            Some(Value::RpcResponse(response)) => {
                self.response_packet(envelope, response);
                Ok(())
            }
            Some(Value::SipDtmf(dtmf)) => {
                let from = Identity::from(envelope.identity);
                self.push_loose(Event::SipDtmf { from, dtmf }, envelope.size);
                Ok(())
            }
            Some(Value::ChatMessage(message)) => {
                let from = Identity::from(envelope.identity);
                self.push_loose(Event::Chat { from, message }, envelope.size);
                Ok(())
            }
            Some(Value::Transcription(transcription)) => {
                let from = Identity::from(envelope.identity);
                let event = Event::Transcription {
                    from,
                    transcription,
                };
                self.push_loose(event, envelope.size);
                Ok(())
            }
            _ => {
                self.counters.other_packets += 1;
                Ok(())
            }
        }
    }

    /// Whether the packet's number was seen before; counts it then.
    fn is_duplicate(&mut self, now: Instant, channel: Channel, envelope: &Envelope<'_>) -> bool {
        if channel == Channel::Lossy {
            return false;
        }
        let verdict = self.duplicates.judge(now, envelope.sid, envelope.sequence);
        let seen = verdict == Verdict::Duplicate;
        self.counters.duplicate_packets += u64::from(seen);
        seen
    }

    fn header(
        &mut self,
        now: Instant,
        envelope: &Envelope<'_>,
        header: Opening,
    ) -> Result<(), PeerFault> {
        let id = header.id;
        let broken = |rule| PeerFault {
            rule,
            stream: Some(id.clone()),
        };
        let content = header.content;
        let mut content = content.ok_or_else(|| broken(Rule::NoContentHeader))?;
        if self
            .incoming
            .find(envelope.publisher(), id.as_str())
            .is_some()
        {
            self.counters.duplicate_headers += 1;
            return Ok(());
        }
        let mut attributes = header.attributes;
        let mut problem = None;
        let encoding = match Compression::try_from(header.compression) {
            Ok(Compression::DeflateRaw) => Encoding::DeflateRaw,
            Ok(Compression::None) => Encoding::Plain,
            Err(_) => {
                let number = header.compression;
                let error = ReadError::UnknownCompression { number };
                problem = Some((error, Rule::UnknownCompression { number }));
                Encoding::Plain
            }
        };
        let excess = self.excess(&attributes);
        let wants_receipt = attributes
            .remove(receipt::ATTRIBUTE)
            .is_some_and(|value| value == receipt::REQUESTED);
        let named = match &mut content {
            Content::Text { attachments, .. } => std::mem::take(attachments),
            Content::Bytes { .. } => Vec::new(),
        };
        let parts = attributes.len() + named.len();
        let too_large = || ReadError::HeaderTooLarge {
            attributes: attributes.len(),
            attachments: named.len(),
        };
        if let Some((count, size)) = excess {
            let rule = Rule::TooManyAttributes {
                count,
                size,
                max_count: self.config.max_attributes,
                max_size: self.config.max_attribute_bytes,
            };
            problem = Some((too_large(), rule));
        } else if named.len() > limits::ATTACHMENTS {
            let rule = Rule::TooManyAttachments {
                count: named.len(),
                limit: limits::ATTACHMENTS,
            };
            problem = Some((too_large(), rule));
        }
        // What is too large is not kept for an event, either.
        if matches!(problem, Some((ReadError::HeaderTooLarge { .. }, _))) {
            attributes.clear();
        } else if let Content::Text { attachments, .. } = &mut content {
            *attachments = named;
        }
        let info = Arc::new(StreamInfo {
            id: id.clone(),
            content,
            topic: header.topic,
            mime_type: header.mime_type,
            timestamp: from_millis(header.timestamp),
            total_length: header.total_length,
            attributes,
            sender: Identity::from(envelope.identity),
            publisher: sid(envelope),
            encryption: envelope.encryption,
        });
        let listener = self.listeners.find(info.kind(), &info.topic);
        let is_call = is_call(&info);
        if let Some((error, rule)) = problem {
            self.refuse_stream(envelope, &info, wants_receipt, error);
            return Err(broken(rule));
        }
        if listener.is_none() && !is_call {
            self.counters.unclaimed += 1;
            if wants_receipt {
                let to = Identity::from(envelope.identity);
                self.send_receipt(&to, &id, Status::Failed, 0, UNCLAIMED);
            }
            self.push_loose(Event::Unclaimed(info), envelope.size);
            return Ok(());
        }
        let copies = match &listener {
            Some((_, others)) if !is_call => 1 + others.len(),
            _ => 1,
        };
        let inline = header.inline.as_ref().map_or(0, Bytes::len);
        let header_bytes = limits::INCOMING_STREAM_BYTES
            + envelope.size.saturating_sub(inline)
            + parts * limits::HEADER_PART_BYTES;
        if let Err((limit, rule)) = self.admit_stream(envelope, copies, header_bytes) {
            if !is_call {
                self.refuse_stream(envelope, &info, wants_receipt, ReadError::Limit(limit));
            }
            return Err(broken(rule));
        }
        if is_call {
            return self.call_stream(now, envelope, info, encoding, header.inline);
        }
        let Some((mut listener, mut others)) = listener else {
            return Ok(());
        };
        // Who has few streams here is not refused for what others have piled up.
        let existing = self.incoming.existing(envelope.publisher()).streams;
        let has_few = existing < self.config.max_waiting / FEW_OF_WAITING;
        let exhausted = |engine: &Engine, listener| {
            let exhausted = engine.incoming.exhausted(listener);
            exhausted.filter(|_| !has_few)
        };
        // Of several listeners those get it that have room; for the others it has failed.
        while let Some((limit, waiting)) = exhausted(self, listener) {
            let is_last = others.is_empty();
            let error = ReadError::Limit(limit);
            self.refuse_stream(envelope, &info, wants_receipt && is_last, error);
            if is_last {
                return Err(broken(Rule::NotRead { waiting }));
            }
            listener = others.remove(0);
        }
        others.retain(|other| match exhausted(self, *other) {
            Some((limit, _)) => {
                self.refuse_stream(envelope, &info, false, ReadError::Limit(limit));
                false
            }
            None => true,
        });
        let max_payload = self.config.max_payload;
        let idle = self.config.idle_timeout;
        let is_whole = header.inline.is_some();
        let make = |listener| {
            let info = Arc::clone(&info);
            let mut stream = Stream::new(now, info, encoding, idle, max_payload);
            stream.listener = Some(listener);
            stream.header_bytes = header_bytes;
            stream.header_sequence = envelope.sequence;
            stream.is_whole = is_whole;
            if wants_receipt {
                stream.asked = Asked::Yes;
            }
            stream
        };
        let first = self.incoming.add(now, make(listener));
        let opened = |listener, id| Event::Opened {
            listener,
            id,
            info: Arc::clone(&info),
        };
        self.events.push_back(opened(listener, first));
        for listener in others {
            let copy = self.incoming.add_copy(now, first, make(listener));
            self.events.push_back(opened(listener, copy));
        }
        if wants_receipt {
            self.queue_receipt(first, Status::Accepted, "");
        }
        match header.inline {
            Some(content) => {
                for copy in self.incoming.copies_of(first) {
                    // The first copy says what is wrong with the packet.
                    let _ = self.inline(now, copy, envelope, content.clone());
                }
                self.inline(now, first, envelope, content)
            }
            None => Ok(()),
        }
    }

    /// Whether there is room for so many more streams of this publisher.
    fn admit_stream(
        &self,
        envelope: &Envelope<'_>,
        copies: usize,
        header_bytes: usize,
    ) -> Result<(), (Limit, Rule)> {
        let publisher = envelope.publisher();
        let of_publisher = self.incoming.existing(publisher);
        for (existing, limit) in [
            (of_publisher.streams, self.config.max_incoming_per_publisher),
            (self.incoming.len(), self.config.max_incoming),
        ] {
            if existing + copies > limit {
                return Err((
                    Limit::TooManyStreams { limit },
                    Rule::TooManyStreams { limit },
                ));
            }
        }
        for (existing, limit) in [
            (
                of_publisher.header_bytes,
                limits::HEADER_BYTES_PER_PUBLISHER,
            ),
            (self.incoming.header_bytes(), limits::HEADER_BYTES),
        ] {
            let bytes = existing + copies * header_bytes;
            if bytes > limit {
                return Err((
                    Limit::TooManyHeaderBytes { bytes, limit },
                    Rule::TooManyHeaderBytes { bytes, limit },
                ));
            }
        }
        Ok(())
    }

    /// Tells both sides of a stream that is not taken in.
    fn refuse_stream(
        &mut self,
        envelope: &Envelope<'_>,
        info: &Arc<StreamInfo>,
        wants_receipt: bool,
        error: ReadError,
    ) {
        if wants_receipt {
            let to = Identity::from(envelope.identity);
            self.send_receipt(&to, &info.id, Status::Failed, 0, &error.to_string());
        }
        self.counters.failed_unread += 1;
        let event = Event::IncomingFailed {
            id: None,
            info: Arc::clone(info),
            error,
        };
        self.push_loose(event, envelope.size);
    }

    /// Says that a limit of ours ended a stream, if nobody has begun to read it.
    pub(super) fn tell_unread(&mut self, id: IncomingId) {
        let Some(stream) = self.incoming.get(id).filter(|stream| !stream.was_read) else {
            return;
        };
        let (info, size) = (Arc::clone(&stream.info), stream.header_bytes);
        let limit = stream.error().cloned();
        if let Some(
            error @ ReadError::Limit(Limit::ReaderTooSlow { .. } | Limit::OverBudget { .. }),
        ) = limit
        {
            self.counters.failed_unread += 1;
            let id = Some(id);
            self.push_loose(Event::IncomingFailed { id, info, error }, size);
        }
    }

    /// Takes in content that came with its header: all there will be.
    pub(super) fn inline(
        &mut self,
        now: Instant,
        id: IncomingId,
        envelope: &Envelope<'_>,
        content: Bytes,
    ) -> Result<(), PeerFault> {
        self.refuse_overrun(now, id, envelope)?;
        let error = self
            .incoming
            .change(now, id, |stream| stream.inline(now, content, envelope.size))
            .flatten();
        self.report(id, error)
    }

    fn chunk(
        &mut self,
        now: Instant,
        envelope: &Envelope<'_>,
        chunk: &ChunkView<'_>,
    ) -> Result<(), PeerFault> {
        let Some(id) = self.incoming.find(envelope.publisher(), chunk.stream_id) else {
            self.counters.unknown_stream += 1;
            return Ok(());
        };
        for copy in self.incoming.open_copies_of(id) {
            // The first copy says what is wrong with the packet.
            let _ = self.chunk_of(now, copy, envelope, chunk);
        }
        self.chunk_of(now, id, envelope, chunk)
    }

    /// Takes in a chunk for one copy of a stream.
    fn chunk_of(
        &mut self,
        now: Instant,
        id: IncomingId,
        envelope: &Envelope<'_>,
        chunk: &ChunkView<'_>,
    ) -> Result<(), PeerFault> {
        self.refuse_mismatch(now, id, envelope)?;
        self.refuse_overrun(now, id, envelope)?;
        let duplicates = &self.duplicates;
        let arrived = self.incoming.change(now, id, |stream| {
            stream.note_publisher(envelope.identity);
            if chunk.chunk_index == 1 {
                stream.count_from_one(duplicates.is_unbroken(envelope.sid, stream.header_sequence));
            }
            stream.chunk(now, chunk.chunk_index, chunk.content.clone(), envelope.size)
        });
        match arrived {
            Some(Arrived::Duplicate) => {
                self.counters.duplicate_chunks += 1;
                Ok(())
            }
            Some(Arrived::Taken) => {
                self.wake(id);
                Ok(())
            }
            Some(Arrived::Failed(error)) => {
                self.wake(id);
                self.report(id, Some(error))
            }
            None => Ok(()),
        }
    }

    fn trailer(
        &mut self,
        now: Instant,
        envelope: &Envelope<'_>,
        trailer: Trailer,
    ) -> Result<(), PeerFault> {
        let Some(id) = self.incoming.find(envelope.publisher(), &trailer.stream_id) else {
            self.counters.unknown_stream += 1;
            return Ok(());
        };
        for copy in self.incoming.open_copies_of(id) {
            // The first copy says what is wrong with the packet.
            let _ = self.trailer_of(now, copy, envelope, trailer.clone());
        }
        self.trailer_of(now, id, envelope, trailer)
    }

    /// Takes in a trailer for one copy of a stream.
    fn trailer_of(
        &mut self,
        now: Instant,
        id: IncomingId,
        envelope: &Envelope<'_>,
        trailer: Trailer,
    ) -> Result<(), PeerFault> {
        self.refuse_mismatch(now, id, envelope)?;
        let excess = self.excess(&trailer.attributes);
        let error = self.incoming.change(now, id, |stream| {
            stream.note_publisher(envelope.identity);
            if !trailer.reason.is_empty() {
                stream.abort(Arc::from(stream::reason(&trailer.reason)));
                return None;
            }
            if let Some((count, size)) = excess {
                let error = ReadError::TooManyAttributes { count, size };
                stream.fail(error.clone());
                return Some(error);
            }
            stream.finish(trailer.attributes)
        });
        self.wake(id);
        self.report(id, error.flatten())
    }

    fn user(&mut self, channel: Channel, envelope: &Envelope<'_>, user: UserPacket) {
        // JS writes its identity only here; servers write both (protocol.md §4.2, §4.3).
        let identity = if envelope.identity.is_empty() {
            user.participant_identity.as_str()
        } else {
            envelope.identity
        };
        let from = Identity::from(identity);
        if user.topic.as_deref() == Some(receipt::TOPIC) {
            let status = Receipt::from_bytes(user.payload)
                .ok()
                .and_then(|receipt| Some((Status::try_from(receipt.status).ok()?, receipt)));
            match status {
                Some((status, receipt)) => {
                    if status == Status::Failed {
                        let reason = receipt.reason.clone();
                        let cause = MissedCause::Failed { reason };
                        let stream = Some(receipt.stream_id.as_str());
                        self.outgoing.miss(stream, &from, &cause, &mut self.events);
                    }
                    let event = Event::Receipt {
                        stream: StreamId::from(receipt.stream_id),
                        from,
                        status,
                        bytes_received: receipt.bytes_received,
                        reason: receipt.reason,
                    };
                    self.push_loose(event, envelope.size);
                }
                None => self.counters.other_packets += 1,
            }
            return;
        }
        let message = UserMessage {
            channel,
            from,
            publisher: sid(envelope),
            topic: user.topic.map(Topic::from),
            payload: own_memory(user.payload, envelope.size),
        };
        self.push_loose(Event::UserPacket(message), envelope.size);
    }

    /// Fails a stream of which a part is encrypted otherwise than its header (streams.md receiver 6).
    fn refuse_mismatch(
        &mut self,
        now: Instant,
        id: IncomingId,
        envelope: &Envelope<'_>,
    ) -> Result<(), PeerFault> {
        let expected = self.incoming.get(id).map(|stream| stream.info.encryption);
        if expected == Some(envelope.encryption) {
            return Ok(());
        }
        let error = self.incoming.change(now, id, |stream| {
            stream.fail(ReadError::EncryptionMismatch);
            ReadError::EncryptionMismatch
        });
        self.wake(id);
        self.report(id, error)
    }

    /// Fails a stream whose next packet would go beyond what push-back allows for, and throws away
    /// what it has unread.
    fn refuse_overrun(
        &mut self,
        now: Instant,
        id: IncomingId,
        envelope: &Envelope<'_>,
    ) -> Result<(), PeerFault> {
        let charge = envelope.size + limits::QUEUED_OVERHEAD_BYTES;
        let own = self.incoming.get(id).map_or(0, |stream| stream.unread) + charge;
        let all = self.incoming.unread() + charge;
        let (unread, budget) = if own
            > self
                .config
                .reader_budget
                .saturating_add(limits::OVERRUN_BYTES)
        {
            (own, self.config.reader_budget)
        } else if all
            > self
                .config
                .connection_budget
                .saturating_add(limits::OVERRUN_BYTES)
        {
            (all, self.config.connection_budget)
        } else {
            return Ok(());
        };
        self.counters.slow_readers += 1;
        self.incoming.change(now, id, |stream| {
            stream.discard(Limit::OverBudget { unread, budget });
        });
        let stream = self.incoming.get(id).map(|stream| stream.info.id.clone());
        self.wake(id);
        self.tell_unread(id);
        Err(PeerFault {
            rule: Rule::OverBudget { unread, budget },
            stream,
        })
    }

    /// Turns the failure of a stream into the fault of the packet that caused it.
    fn report(&self, id: IncomingId, error: Option<ReadError>) -> Result<(), PeerFault> {
        let rule = match error {
            Some(ReadError::Gap { expected, arrived }) => Rule::Gap { expected, arrived },
            Some(ReadError::EncryptionMismatch) => Rule::EncryptionMismatch,
            Some(ReadError::LengthExceeded { declared, received }) => {
                Rule::LengthExceeded { declared, received }
            }
            Some(ReadError::Incomplete { declared, received }) => {
                Rule::Incomplete { declared, received }
            }
            Some(ReadError::Limit(Limit::PayloadTooLarge { size, limit })) => {
                Rule::PayloadTooLarge { size, limit }
            }
            Some(ReadError::TooManyAttributes { count, size }) => Rule::TooManyAttributes {
                count,
                size,
                max_count: self.config.max_attributes,
                max_size: self.config.max_attribute_bytes,
            },
            _ => return Ok(()),
        };
        let stream = self.incoming.get(id).map(|stream| stream.info.id.clone());
        Err(PeerFault { rule, stream })
    }

    /// The count and size of attributes that are too many or too large.
    fn excess(&self, attributes: &Attributes) -> Option<(usize, usize)> {
        let count = attributes.len();
        let size = attributes
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        let fits = count <= self.config.max_attributes && size <= self.config.max_attribute_bytes;
        (!fits).then_some((count, size))
    }
}

/// Who has less than this part of [`Config::max_waiting`](crate::Config::max_waiting) of streams has few.
const FEW_OF_WAITING: usize = 4;

/// The reason that a sender gets for a stream that no listener wants.
const UNCLAIMED: &str = "nobody there takes streams of this topic";

/// Streams travel on the reliable channel only (protocol.md §5.1).
fn on_reliable(channel: Channel, stream: &str) -> Result<(), PeerFault> {
    match channel {
        Channel::Reliable => Ok(()),
        Channel::Lossy => Err(fault(Rule::WrongChannel, Some(stream))),
    }
}

fn sid(envelope: &Envelope<'_>) -> Option<ParticipantSid> {
    (!envelope.sid.is_empty()).then(|| ParticipantSid::from(envelope.sid))
}

/// The payload in memory of its own, unless it is most of its packet: whoever keeps it is to pay
/// for what it is, not for destinations that nobody will read.
fn own_memory(payload: Bytes, packet: usize) -> Bytes {
    if payload.len() >= packet / 2 {
        payload
    } else {
        Bytes::copy_from_slice(&payload)
    }
}
