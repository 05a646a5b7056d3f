//! What a server changes in a packet that it forwards, without decoding it (protocol.md §4.3).
//!
//! [`PacketView::parse`] checks that a packet is canonical and finds what a router wants to know;
//! [`PacketView::splice`] puts the sender's name in, with one allocation and one copy. The payload is
//! never looked at, and fields newer than this crate stay as they are. A packet that is not canonical
//! is decoded and encoded again first, or refused; for every accepted packet, decoding the spliced
//! bytes gives what changing the decoded packet would have given.

mod change;
#[cfg(test)]
mod tests;
mod view;

use std::ops::Range;

use bytes::Bytes;

use crate::limits;
use crate::packet::{DataPacket, DecodeError};
use crate::schema::{chat_message, chunk, header, packet, text_header, trailer, user};
use crate::wire::{Content, Field, Fields, Irregular, put_text, text_len};
use change::Change;
pub use view::{ChunkView, ContentView, HeaderView, TextView};

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
            packet::USER => Self::User,
            packet::SPEAKER => Self::Speaker,
            packet::SIP_DTMF => Self::SipDtmf,
            packet::TRANSCRIPTION => Self::Transcription,
            packet::METRICS => Self::Metrics,
            packet::CHAT_MESSAGE => Self::ChatMessage,
            packet::RPC_REQUEST => Self::RpcRequest,
            packet::RPC_ACK => Self::RpcAck,
            packet::RPC_RESPONSE => Self::RpcResponse,
            packet::STREAM_HEADER => Self::StreamHeader,
            packet::STREAM_CHUNK => Self::StreamChunk,
            packet::STREAM_TRAILER => Self::StreamTrailer,
            packet::ENCRYPTED_PACKET => Self::Encrypted,
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
        packet::SCHEMA.check(&bytes)?;
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
                (packet::PARTICIPANT_IDENTITY, _) => view.identity = Some(place),
                (packet::PARTICIPANT_SID, _) => view.sid = Some(place),
                (packet::DESTINATION_IDENTITIES, _) => view.has_destinations = true,
                (packet::SEQUENCE, Content::Number(number)) => {
                    view.sequence = u32::try_from(number).map_err(|_| Irregular)?;
                }
                (tag, _) if packet::SCHEMA.is_choice(tag) => {
                    view.kind = ValueKind::of(tag);
                    view.value = Some(place);
                }
                (packet::KIND, _) => {}
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
            (self.bytes.as_ref(), packet::DESTINATION_IDENTITIES)
        } else {
            (self.message(ValueKind::User), user::DESTINATION_IDENTITIES)
        };
        blocks(message, tag).map(text)
    }

    /// Legacy: sessions that a user packet is for (protocol.md §4.3).
    pub fn destination_sids(&self) -> impl Iterator<Item = &str> {
        blocks(self.message(ValueKind::User), user::DESTINATION_SIDS).map(text)
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
        let stream_id = match self.kind {
            ValueKind::StreamHeader => header::STREAM_ID,
            ValueKind::StreamChunk => chunk::STREAM_ID,
            ValueKind::StreamTrailer => trailer::STREAM_ID,
            _ => return None,
        };
        let message = self.inner(self.value.as_ref());
        Some(text(blocks(message, stream_id).next().unwrap_or_default()))
    }

    /// The nonce of a user packet, where it has one (protocol.md §4.3).
    pub fn nonce(&self) -> Option<&[u8]> {
        blocks(self.message(ValueKind::User), user::NONCE)
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
                tag: packet::CHAT_MESSAGE,
                outside: &[],
                around: 0,
                message: value,
                generated: chat_message::GENERATED,
            },
            ValueKind::StreamHeader if speaks_for_another => {
                match blocks(value, header::TEXT_HEADER).next() {
                    Some(text_header) => Change::Generated {
                        tag: packet::STREAM_HEADER,
                        outside: value,
                        around: header::TEXT_HEADER,
                        message: text_header,
                        generated: text_header::GENERATED,
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
            + text_len(packet::PARTICIPANT_IDENTITY, identity.len())
            + text_len(packet::PARTICIPANT_SID, sender.sid.len());
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
        put_text(&mut buf, packet::PARTICIPANT_IDENTITY, identity.as_bytes());
        put_text(&mut buf, packet::PARTICIPANT_SID, sender.sid.as_bytes());
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
        blocks(message, packet::DESTINATION_IDENTITIES)
    }

    /// Destinations that stand only in a user packet inside.
    fn inner_destinations(&self) -> impl Iterator<Item = &[u8]> {
        let message = if self.has_destinations {
            &[]
        } else {
            self.message(ValueKind::User)
        };
        blocks(message, user::DESTINATION_IDENTITIES)
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
