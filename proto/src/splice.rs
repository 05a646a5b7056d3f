//! What a server changes in a packet that it forwards, without decoding it (protocol.md §4.3).
//!
//! [`PacketView::parse`] checks that a packet is canonical and finds what a router wants to know;
//! [`PacketView::splice`] puts the sender's name in, with one allocation and one copy. The payload is
//! never looked at, and fields newer than this crate stay as they are. A packet that is not canonical
//! is decoded and encoded again first, or refused; for every accepted packet, decoding the spliced
//! bytes gives what changing the decoded packet would have given.

mod change;
mod schema;
#[cfg(test)]
mod tests;
mod view;

use std::ops::Range;

use bytes::Bytes;

use crate::limits;
use crate::packet::{DataPacket, DecodeError};
use crate::wire::{Content, Field, Fields, Irregular, put_text, text_len};
use change::Change;
use schema::PACKET;
pub use view::{ChunkView, ContentView, HeaderView, TextView};

/// Field numbers that the splice reads or writes (protocol.md §4.1, §5.1).
mod tag {
    pub(super) const USER: u32 = 2;
    pub(super) const IDENTITY: u32 = 4;
    pub(super) const DESTINATIONS: u32 = 5;
    pub(super) const CHAT: u32 = 9;
    pub(super) const HEADER: u32 = 13;
    pub(super) const CHUNK: u32 = 14;
    pub(super) const TRAILER: u32 = 15;
    pub(super) const SEQUENCE: u32 = 16;
    pub(super) const SID: u32 = 17;

    pub(super) const USER_SID: u32 = 1;
    pub(super) const USER_DESTINATION_SIDS: u32 = 3;
    pub(super) const USER_IDENTITY: u32 = 5;
    pub(super) const USER_DESTINATIONS: u32 = 6;
    pub(super) const USER_NONCE: u32 = 11;

    pub(super) const CHAT_GENERATED: u32 = 6;

    pub(super) const STREAM_ID: u32 = 1;
    pub(super) const HEADER_TIMESTAMP: u32 = 2;
    pub(super) const HEADER_TOPIC: u32 = 3;
    pub(super) const HEADER_MIME_TYPE: u32 = 4;
    pub(super) const HEADER_LENGTH: u32 = 5;
    pub(super) const HEADER_ATTRIBUTES: u32 = 8;
    pub(super) const TEXT_HEADER: u32 = 9;
    pub(super) const BYTE_HEADER: u32 = 10;
    pub(super) const HEADER_INLINE: u32 = 11;
    pub(super) const HEADER_COMPRESSION: u32 = 12;
    pub(super) const TEXT_OPERATION: u32 = 1;
    pub(super) const TEXT_VERSION: u32 = 2;
    pub(super) const TEXT_REPLY_TO: u32 = 3;
    pub(super) const TEXT_ATTACHED: u32 = 4;
    pub(super) const TEXT_GENERATED: u32 = 5;
    pub(super) const BYTE_NAME: u32 = 1;
    pub(super) const ENTRY_KEY: u32 = 1;
    pub(super) const ENTRY_VALUE: u32 = 2;
    pub(super) const CHUNK_INDEX: u32 = 2;
    pub(super) const CHUNK_CONTENT: u32 = 3;
    pub(super) const CHUNK_VERSION: u32 = 4;
}

/// What kind of value a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ValueKind {
    /// None at all.
    None,
    /// `user`.
    User,
    /// `speaker`.
    Speaker,
    /// `sip_dtmf`.
    SipDtmf,
    /// `transcription`: a server takes it from agents only (protocol.md §4.3).
    Transcription,
    /// `metrics`: goes to participants with `can_subscribe_metrics` only (protocol.md §4.3).
    Metrics,
    /// `chat_message`.
    ChatMessage,
    /// `rpc_request`.
    RpcRequest,
    /// `rpc_ack`.
    RpcAck,
    /// `rpc_response`.
    RpcResponse,
    /// `stream_header`.
    StreamHeader,
    /// `stream_chunk`.
    StreamChunk,
    /// `stream_trailer`.
    StreamTrailer,
    /// `encrypted_packet`.
    Encrypted,
    /// A field newer than this list, by its number; forwarded as it is.
    Unknown(u32),
}

impl ValueKind {
    fn of(tag: u32) -> Self {
        match tag {
            tag::USER => Self::User,
            3 => Self::Speaker,
            6 => Self::SipDtmf,
            7 => Self::Transcription,
            8 => Self::Metrics,
            tag::CHAT => Self::ChatMessage,
            10 => Self::RpcRequest,
            11 => Self::RpcAck,
            12 => Self::RpcResponse,
            tag::HEADER => Self::StreamHeader,
            tag::CHUNK => Self::StreamChunk,
            tag::TRAILER => Self::StreamTrailer,
            18 => Self::Encrypted,
            unknown => Self::Unknown(unknown),
        }
    }
}

/// In whose name a packet goes out (protocol.md §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender<'a> {
    /// The sender's session.
    pub sid: &'a str,
    /// The sender's identity; empty for a hidden one.
    pub identity: &'a str,
    /// Whether another identity may stay.
    pub attribution: Attribution,
}

/// Whether a sender may speak in another's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Attribution {
    /// Everything goes out under the sender's own identity.
    Own,
    /// The sender is an agent ([`crate::token::Claims::is_agent`]): text stream headers and chat
    /// messages that name another identity keep it, and are marked as generated.
    MaySpeakForOthers,
}

/// Why a packet is not forwarded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpliceError {
    /// It does not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It is not canonical, and nothing known would be left of it.
    #[error("packet is not canonical and carries no known value")]
    NotCanonical,
    /// With the sender's name in it, it would be larger than a packet may be.
    #[error("packet would have {size} bytes, over the limit of {limit}")]
    TooLarge {
        /// Bytes it would have.
        size: usize,
        /// Bytes allowed ([`limits::SERVER_PACKET_BYTES`]).
        limit: usize,
    },
}

/// Where a field is in a packet.
#[derive(Debug, Clone)]
struct Place {
    /// Key, length and content.
    whole: Range<usize>,
    /// The content.
    inner: Range<usize>,
}

/// A canonical packet: what a router or receiver asks of it is answered from its bytes, without
/// decoding or copying. Clones share the bytes.
#[derive(Debug, Clone)]
pub struct PacketView {
    bytes: Bytes,
    kind: ValueKind,
    sequence: u32,
    identity: Option<Place>,
    sid: Option<Place>,
    /// The member of the oneof.
    value: Option<Place>,
    /// There are destinations in the packet itself, not only in a user packet inside.
    has_destinations: bool,
}

impl PacketView {
    /// Takes a packet. One that is not canonical is decoded and encoded again, which loses fields
    /// that this crate does not know; then [`PacketView::bytes`] differs from what came.
    ///
    /// # Errors
    /// [`SpliceError::Decode`] where it is no `DataPacket` or larger than
    /// [`limits::SERVER_PACKET_BYTES`], [`SpliceError::NotCanonical`] where nothing known is left.
    pub fn parse(bytes: Bytes) -> Result<Self, SpliceError> {
        if bytes.len() > limits::SERVER_PACKET_BYTES {
            return Err(SpliceError::Decode(DecodeError::TooLarge {
                size: bytes.len(),
                limit: limits::SERVER_PACKET_BYTES,
            }));
        }
        if let Ok(view) = Self::scan(bytes.clone()) {
            return Ok(view);
        }
        let packet = DataPacket::from_bytes(bytes)?;
        if packet.value.is_none() {
            return Err(SpliceError::NotCanonical);
        }
        Self::scan(packet.to_bytes()).map_err(|Irregular| SpliceError::NotCanonical)
    }

    fn scan(bytes: Bytes) -> Result<Self, Irregular> {
        PACKET.check(&bytes)?;
        let mut view = Self {
            kind: ValueKind::None,
            sequence: 0,
            identity: None,
            sid: None,
            value: None,
            has_destinations: false,
            bytes: Bytes::new(),
        };
        let mut end = 0;
        for field in Fields::new(&bytes) {
            let field = field?;
            let start = end;
            end += field.whole.len();
            let place = Place {
                whole: start..end,
                inner: end - field.block().len()..end,
            };
            match (field.tag, field.content) {
                (tag::IDENTITY, _) => view.identity = Some(place),
                (tag::SID, _) => view.sid = Some(place),
                (tag::DESTINATIONS, _) => view.has_destinations = true,
                (tag::SEQUENCE, Content::Number(number)) => {
                    view.sequence = u32::try_from(number).map_err(|_| Irregular)?;
                }
                (tag, _) if PACKET.is_choice(tag) => {
                    view.kind = ValueKind::of(tag);
                    view.value = Some(place);
                }
                (1, _) => {}
                (unknown, _) => {
                    if view.kind == ValueKind::None {
                        view.kind = ValueKind::Unknown(unknown);
                    }
                }
            }
        }
        view.bytes = bytes;
        Ok(view)
    }

    /// What it carries.
    pub fn value(&self) -> ValueKind {
        self.kind
    }

    /// Its number in the sender's session, 0 for none (protocol.md §4.5).
    pub fn sequence(&self) -> u32 {
        self.sequence
    }

    /// The identity in it; empty where there is none.
    pub fn participant_identity(&self) -> &str {
        text(self.inner(self.identity.as_ref()))
    }

    /// The sid in it; empty where there is none.
    pub fn participant_sid(&self) -> &str {
        text(self.inner(self.sid.as_ref()))
    }

    /// Whom it is for: the packet's list, or that of a user packet inside where the first is empty.
    pub fn destination_identities(&self) -> impl Iterator<Item = &str> {
        let (message, tag) = if self.has_destinations {
            (self.bytes.as_ref(), tag::DESTINATIONS)
        } else {
            (self.message(ValueKind::User), tag::USER_DESTINATIONS)
        };
        blocks(message, tag).map(text)
    }

    /// Legacy: sessions that a user packet is for (protocol.md §4.3).
    pub fn destination_sids(&self) -> impl Iterator<Item = &str> {
        blocks(self.message(ValueKind::User), tag::USER_DESTINATION_SIDS).map(text)
    }

    /// Whether it is for everybody but the sender.
    pub fn is_broadcast(&self) -> bool {
        self.destination_identities().next().is_none() && self.destination_sids().next().is_none()
    }

    /// Whether it is for the participant of this identity and sid, as [`PacketView::is_broadcast`]
    /// or by name. That nobody gets their own packets is for the caller to see to.
    pub fn is_addressed_to(&self, identity: &str, sid: &str) -> bool {
        self.is_broadcast()
            || self.destination_identities().any(|name| name == identity)
            || self.destination_sids().any(|name| name == sid)
    }

    /// The stream of a header, chunk or trailer.
    pub fn stream_id(&self) -> Option<&str> {
        match self.kind {
            ValueKind::StreamHeader | ValueKind::StreamChunk | ValueKind::StreamTrailer => {
                let message = self.inner(self.value.as_ref());
                Some(text(
                    blocks(message, tag::STREAM_ID).next().unwrap_or_default(),
                ))
            }
            _ => None,
        }
    }

    /// The nonce of a user packet, where it has one (protocol.md §4.3).
    pub fn nonce(&self) -> Option<&[u8]> {
        blocks(self.message(ValueKind::User), tag::USER_NONCE)
            .next()
            .filter(|nonce| !nonce.is_empty())
    }

    /// The packet as it goes out: in the sender's name, also inside a user packet, and with the two
    /// lists of destinations of a user packet made the same.
    ///
    /// # Errors
    /// [`SpliceError::TooLarge`] above [`limits::SERVER_PACKET_BYTES`].
    pub fn splice(&self, sender: &Sender<'_>) -> Result<Bytes, SpliceError> {
        let value = self.inner(self.value.as_ref());
        let speaks_for_another = sender.attribution == Attribution::MaySpeakForOthers
            && !self.participant_identity().is_empty()
            && self.participant_identity() != sender.identity;
        let change = match self.kind {
            ValueKind::User => Change::User(value),
            ValueKind::ChatMessage if speaks_for_another => Change::Generated {
                tag: tag::CHAT,
                outside: &[],
                around: 0,
                message: value,
                generated: tag::CHAT_GENERATED,
            },
            ValueKind::StreamHeader if speaks_for_another => {
                match blocks(value, tag::TEXT_HEADER).next() {
                    Some(text_header) => Change::Generated {
                        tag: tag::HEADER,
                        outside: value,
                        around: tag::TEXT_HEADER,
                        message: text_header,
                        generated: tag::TEXT_GENERATED,
                    },
                    None => Change::None,
                }
            }
            _ => Change::None,
        };
        let keeps_identity = matches!(change, Change::Generated { .. });

        let mut cuts = [
            self.sid.as_ref(),
            self.identity.as_ref().filter(|_| !keeps_identity),
            self.value
                .as_ref()
                .filter(|_| !matches!(change, Change::None)),
        ]
        .map(|place| place.map_or(0..0, |place| place.whole.clone()));
        cuts.sort_unstable_by_key(|cut| cut.start);
        let identity = if keeps_identity { "" } else { sender.identity };

        let size = self.bytes.len() - cuts.iter().map(Range::len).sum::<usize>()
            + change.len(self, sender)
            + text_len(tag::IDENTITY, identity.len())
            + text_len(tag::SID, sender.sid.len());
        if size > limits::SERVER_PACKET_BYTES {
            return Err(SpliceError::TooLarge {
                size,
                limit: limits::SERVER_PACKET_BYTES,
            });
        }

        let mut buf = Vec::with_capacity(size);
        let mut copied = 0;
        for cut in cuts {
            buf.extend_from_slice(&self.bytes[copied..cut.start.max(copied)]);
            copied = cut.end.max(copied);
        }
        buf.extend_from_slice(&self.bytes[copied..]);
        change.write(self, sender, &mut buf);
        put_text(&mut buf, tag::IDENTITY, identity.as_bytes());
        put_text(&mut buf, tag::SID, sender.sid.as_bytes());
        debug_assert_eq!(buf.len(), size);
        Ok(Bytes::from(buf))
    }

    /// The packet itself, canonical.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The packet itself, canonical.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    fn inner(&self, place: Option<&Place>) -> &[u8] {
        place.map_or(&[], |place| &self.bytes[place.inner.clone()])
    }

    /// The value, if it is of this kind.
    fn message(&self, kind: ValueKind) -> &[u8] {
        if self.kind == kind {
            self.inner(self.value.as_ref())
        } else {
            &[]
        }
    }

    /// Destinations that stand in the packet itself.
    fn outer_destinations(&self) -> impl Iterator<Item = &[u8]> {
        let message: &[u8] = if self.has_destinations {
            &self.bytes
        } else {
            &[]
        };
        blocks(message, tag::DESTINATIONS)
    }

    /// Destinations that stand only in a user packet inside.
    fn inner_destinations(&self) -> impl Iterator<Item = &[u8]> {
        let message = if self.has_destinations {
            &[]
        } else {
            self.message(ValueKind::User)
        };
        blocks(message, tag::USER_DESTINATIONS)
    }
}

/// The fields of a message that was checked.
fn regular(message: &[u8]) -> impl Iterator<Item = Field<'_>> {
    Fields::new(message).map_while(Result::ok)
}

/// The contents of the blocks with this number in a message that was checked.
fn blocks(message: &[u8], tag: u32) -> impl Iterator<Item = &[u8]> {
    regular(message)
        .filter(move |field| field.tag == tag)
        .map(|field| field.block())
}

/// Text in a message that was checked.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}
