//! What a server changes in a packet that it forwards, without decoding it (protocol.md §4.3).

use bytes::Bytes;

use crate::packet::DecodeError;

/// A packet, checked for forwarding: what a router needs is known, nothing else was decoded.
#[derive(Debug, Clone)]
pub struct PacketView {
    bytes: Bytes,
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
    /// `transcription`: the stock server takes it from agents only.
    Transcription,
    /// `metrics`: goes to participants with `can_subscribe_metrics` only.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribution {
    /// Everything goes out under the sender's own identity.
    Own,
    /// The sender is an agent: text stream headers and chat messages that name another identity
    /// keep it, and are marked as generated.
    MaySpeakForOthers,
}

/// Why a packet is not forwarded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpliceError {
    /// It does not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// With the sender's name in it, it would be larger than a packet may be.
    #[error("packet would have {size} bytes, over the limit of {limit}")]
    TooLarge {
        /// Bytes it would have.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

impl PacketView {
    /// Checks a packet.
    ///
    /// # Errors
    /// [`SpliceError`].
    pub fn parse(bytes: Bytes) -> Result<Self, SpliceError> {
        Ok(Self { bytes })
    }

    /// What it carries.
    pub fn value(&self) -> ValueKind {
        ValueKind::None
    }

    /// Its number in the sender's session, 0 for none.
    pub fn sequence(&self) -> u32 {
        0
    }

    /// The identity it came with; empty where there is none.
    pub fn participant_identity(&self) -> &str {
        ""
    }

    /// The sid it came with; empty where there is none.
    pub fn participant_sid(&self) -> &str {
        ""
    }

    /// Whom it is for.
    pub fn destination_identities(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }

    /// Legacy: sessions it is for.
    pub fn destination_sids(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }

    /// Whether it is for everybody but the sender.
    pub fn is_broadcast(&self) -> bool {
        true
    }

    /// Whether it is for the participant of this identity and sid.
    pub fn is_addressed_to(&self, _identity: &str, _sid: &str) -> bool {
        true
    }

    /// The stream of a header, chunk or trailer.
    pub fn stream_id(&self) -> Option<&str> {
        None
    }

    /// The nonce of a user packet, where it has one.
    pub fn nonce(&self) -> Option<&[u8]> {
        None
    }

    /// The packet as it goes out.
    ///
    /// # Errors
    /// [`SpliceError::TooLarge`].
    pub fn splice(&self, _sender: &Sender<'_>) -> Result<Bytes, SpliceError> {
        Ok(self.bytes.clone())
    }

    /// The packet as it came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}
