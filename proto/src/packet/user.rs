//! Single packets: user bytes, chat, telephone keys, transcriptions, and the encrypted envelope.

use bytes::Bytes;

use super::{Chunk, Header, RpcAck, RpcRequest, RpcResponse, Trailer};

/// Bytes of an application, sent as one packet (protocol.md §4.1).
#[derive(Clone, PartialEq, prost::Message)]
pub struct UserPacket {
    /// Session of the sender, set by the server.
    #[prost(string, tag = "1")]
    pub participant_sid: String,
    /// The bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub payload: Bytes,
    /// Legacy: sessions that shall get it.
    #[prost(string, repeated, tag = "3")]
    pub destination_sids: Vec<String>,
    /// What it is about.
    #[prost(string, optional, tag = "4")]
    pub topic: Option<String>,
    /// Identity of the sender, set by the server.
    #[prost(string, tag = "5")]
    pub participant_identity: String,
    /// Who shall get it; mirrors the list of the packet (protocol.md §4.3).
    #[prost(string, repeated, tag = "6")]
    pub destination_identities: Vec<String>,
    /// An id of the application.
    #[prost(string, optional, tag = "8")]
    pub id: Option<String>,
    /// Start of what it describes, for transcriptions of old.
    #[prost(uint64, optional, tag = "9")]
    pub start_time: Option<u64>,
    /// End of what it describes.
    #[prost(uint64, optional, tag = "10")]
    pub end_time: Option<u64>,
    /// Empty or [`crate::limits::NONCE_BYTES`] bytes that a room takes once (protocol.md §4.3).
    #[prost(bytes = "bytes", tag = "11")]
    pub nonce: Bytes,
}

/// A telephone key (protocol.md §4.1).
#[derive(Clone, PartialEq, prost::Message)]
pub struct SipDtmf {
    /// Its code.
    #[prost(uint32, tag = "3")]
    pub code: u32,
    /// Its label.
    #[prost(string, tag = "4")]
    pub digit: String,
}

/// Transcribed speech, the legacy form (protocol.md §4.1).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Transcription {
    /// Who spoke.
    #[prost(string, tag = "2")]
    pub transcribed_participant_identity: String,
    /// On which track.
    #[prost(string, tag = "3")]
    pub track_id: String,
    /// The text in segments.
    #[prost(message, repeated, tag = "4")]
    pub segments: Vec<TranscriptionSegment>,
}

/// A part of a transcription.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TranscriptionSegment {
    /// Names the segment.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Its text.
    #[prost(string, tag = "2")]
    pub text: String,
    /// Its start, milliseconds.
    #[prost(uint64, tag = "3")]
    pub start_time: u64,
    /// Its end, milliseconds.
    #[prost(uint64, tag = "4")]
    pub end_time: u64,
    /// It will not change any more.
    #[prost(bool, tag = "5")]
    pub r#final: bool,
    /// Language tag.
    #[prost(string, tag = "6")]
    pub language: String,
}

/// A chat message of the older kind (protocol.md §4.1).
#[derive(Clone, PartialEq, prost::Message)]
pub struct ChatMessage {
    /// Names the message.
    #[prost(string, tag = "1")]
    pub id: String,
    /// When it was written, Unix milliseconds.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
    /// When it was last changed, Unix milliseconds.
    #[prost(int64, optional, tag = "3")]
    pub edit_timestamp: Option<i64>,
    /// Its text.
    #[prost(string, tag = "4")]
    pub message: String,
    /// It was taken back.
    #[prost(bool, tag = "5")]
    pub deleted: bool,
    /// Made by a machine.
    #[prost(bool, tag = "6")]
    pub generated: bool,
}

/// A value under end-to-end encryption (protocol.md §5.8).
#[derive(Clone, PartialEq, prost::Message)]
pub struct EncryptedPacket {
    /// Which cipher; some senders leave it 0.
    #[prost(enumeration = "EncryptionType", tag = "1")]
    pub encryption_type: i32,
    /// Initialisation vector, 12 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub iv: Bytes,
    /// Slot of the key ring.
    #[prost(uint32, tag = "3")]
    pub key_index: u32,
    /// An [`EncryptedPayload`], encrypted, with its tag at the end.
    #[prost(bytes = "bytes", tag = "4")]
    pub encrypted_value: Bytes,
}

/// How something is encrypted end to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
#[non_exhaustive]
pub enum EncryptionType {
    /// Not at all.
    None = 0,
    /// AES-GCM.
    Gcm = 1,
    /// A cipher of the application.
    Custom = 2,
}

/// The plaintext of an [`EncryptedPacket`] (protocol.md §5.8).
#[derive(Clone, PartialEq, prost::Message)]
pub struct EncryptedPayload {
    /// What it carries.
    #[prost(oneof = "EncryptedValue", tags = "1, 3, 4, 5, 6, 7, 8, 9")]
    pub value: Option<EncryptedValue>,
}

impl EncryptedPayload {
    /// Encodes it, with room for `extra` more bytes behind: a cipher's tag.
    pub fn to_vec(&self, extra: usize) -> Vec<u8> {
        let mut buf = Vec::with_capacity(prost::Message::encoded_len(self) + extra);
        prost::Message::encode_raw(self, &mut buf);
        buf
    }

    /// Decodes it; payload fields share `bytes`.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`](super::DecodeError::Malformed) for anything that is not this message.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, super::DecodeError> {
        Ok(<Self as prost::Message>::decode(bytes)?)
    }
}

/// What can travel encrypted (protocol.md §5.8).
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum EncryptedValue {
    /// As [`super::Value::User`].
    #[prost(message, tag = "1")]
    User(UserPacket),
    /// As [`super::Value::ChatMessage`].
    #[prost(message, tag = "3")]
    ChatMessage(ChatMessage),
    /// As [`super::Value::RpcRequest`].
    #[prost(message, tag = "4")]
    RpcRequest(RpcRequest),
    /// As [`super::Value::RpcAck`].
    #[prost(message, tag = "5")]
    RpcAck(RpcAck),
    /// As [`super::Value::RpcResponse`].
    #[prost(message, tag = "6")]
    RpcResponse(RpcResponse),
    /// As [`super::Value::StreamHeader`].
    #[prost(message, tag = "7")]
    StreamHeader(Header),
    /// As [`super::Value::StreamChunk`].
    #[prost(message, tag = "8")]
    StreamChunk(Chunk),
    /// As [`super::Value::StreamTrailer`].
    #[prost(message, tag = "9")]
    StreamTrailer(Trailer),
}
