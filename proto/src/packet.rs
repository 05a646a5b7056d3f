//! `DataPacket`, the one message on the data channels, and everything it carries (protocol.md §4, §5.1, §6).
//!
//! [`DataPacket::from_bytes`] shares the payload with the buffer it was given;
//! [`DataPacket::to_bytes`] writes into one buffer of exactly the right size. The hot path of a
//! sender, a chunk, has [`encode_chunk`], which copies its content once and allocates once.

mod encode;
mod rpc;
mod stream;
mod user;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use prost::Message;

pub use encode::{ChunkFields, ContentFields, HeaderFields, encode_chunk};
pub use rpc::{RpcAck, RpcError, RpcRequest, RpcResponse, RpcResult};
pub use stream::{
    ByteHeader, Chunk, Compression, Content, Header, OperationType, TextHeader, Trailer,
};
pub use user::{
    ChatMessage, EncryptedPacket, EncryptedPayload, EncryptedValue, EncryptionType, SipDtmf,
    Transcription, TranscriptionSegment, UserPacket,
};

use crate::limits;
use crate::wire::Irregular;

/// The two kinds of data channel that carry packets (protocol.md §3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Ordered, retransmitted until delivered.
    Reliable,
    /// Unordered, never retransmitted.
    Lossy,
}

impl Channel {
    /// The label of the data channel.
    pub fn label(self) -> &'static str {
        match self {
            Self::Reliable => "_reliable",
            Self::Lossy => "_lossy",
        }
    }

    /// The channel of that label, if it is one of the two.
    pub fn from_label(label: &str) -> Option<Self> {
        match label {
            "_reliable" => Some(Self::Reliable),
            "_lossy" => Some(Self::Lossy),
            _ => None,
        }
    }
}

/// An encoded `DataPacket` and the channel it goes out on or came in on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The channel, which alone decides about reliability; the field `kind` is not to be trusted
    /// (protocol.md §4.1).
    pub channel: Channel,
    /// The encoded packet.
    pub bytes: Bytes,
}

/// The envelope of everything on the data channels (protocol.md §4.1).
#[derive(Clone, PartialEq, prost::Message)]
pub struct DataPacket {
    /// Deprecated and often wrong (protocol.md §4.1); kept as it came.
    #[prost(enumeration = "Kind", tag = "1")]
    pub kind: i32,
    /// Identity of the sender as shown; the server sets it (protocol.md §4.3).
    #[prost(string, tag = "4")]
    pub participant_identity: String,
    /// Who shall get it; empty means everybody else in the room.
    #[prost(string, repeated, tag = "5")]
    pub destination_identities: Vec<String>,
    /// Number of a reliable packet within its sender's session, from 1; 0 means unnumbered
    /// (protocol.md §4.5).
    #[prost(uint32, tag = "16")]
    pub sequence: u32,
    /// Session of the sender; the server sets it.
    #[prost(string, tag = "17")]
    pub participant_sid: String,
    /// What it carries; `None` also for values newer than this list.
    #[prost(oneof = "Value", tags = "2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 18")]
    pub value: Option<Value>,
}

/// The deprecated kind of a packet (protocol.md §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Kind {
    /// Meant for the reliable channel.
    Reliable = 0,
    /// Meant for the lossy channel.
    Lossy = 1,
}

/// What a packet carries (protocol.md §4.1).
#[derive(Clone, PartialEq, prost::Oneof)]
#[non_exhaustive]
pub enum Value {
    /// Bytes of an application.
    #[prost(message, tag = "2")]
    User(UserPacket),
    /// Legacy list of active speakers, kept encoded.
    #[prost(bytes = "bytes", tag = "3")]
    Speaker(Bytes),
    /// A telephone key.
    #[prost(message, tag = "6")]
    SipDtmf(SipDtmf),
    /// Legacy transcription; new senders use text streams.
    #[prost(message, tag = "7")]
    Transcription(Transcription),
    /// A batch of metrics, kept encoded.
    #[prost(bytes = "bytes", tag = "8")]
    Metrics(Bytes),
    /// A chat message of the older kind.
    #[prost(message, tag = "9")]
    ChatMessage(ChatMessage),
    /// A remote call, version 1.
    #[prost(message, tag = "10")]
    RpcRequest(RpcRequest),
    /// A remote call arrived.
    #[prost(message, tag = "11")]
    RpcAck(RpcAck),
    /// Result of a remote call.
    #[prost(message, tag = "12")]
    RpcResponse(RpcResponse),
    /// A stream opens.
    #[prost(message, tag = "13")]
    StreamHeader(Header),
    /// A piece of a stream.
    #[prost(message, tag = "14")]
    StreamChunk(Chunk),
    /// A stream ends.
    #[prost(message, tag = "15")]
    StreamTrailer(Trailer),
    /// Any of the others under end-to-end encryption.
    #[prost(message, tag = "18")]
    Encrypted(EncryptedPacket),
}

/// The bytes are not the message that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Larger than any packet may be ([`limits::SERVER_PACKET_BYTES`]).
    #[error("packet of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// Bytes there were.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// More fields than any signalling message has ([`limits::SIGNAL_FIELDS`]).
    #[error("message has more than {limit} fields")]
    TooManyFields {
        /// Fields allowed.
        limit: usize,
    },
    /// Not well-formed protobuf of this schema; the text names field and cause, never content.
    #[error("malformed protobuf: {cause}")]
    Malformed {
        /// What the decoder says.
        cause: String,
    },
}

impl From<prost::DecodeError> for DecodeError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Malformed {
            cause: error.to_string(),
        }
    }
}

impl From<Irregular> for DecodeError {
    fn from(_: Irregular) -> Self {
        Self::Malformed {
            cause: "a field is cut off or not in its shortest form".to_owned(),
        }
    }
}

impl DataPacket {
    /// Decodes a packet; payload fields share `bytes`. Values newer than [`Value`] decode as `None`.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] above [`limits::SERVER_PACKET_BYTES`], [`DecodeError::Malformed`]
    /// for anything that is not this message.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
        if bytes.len() > limits::SERVER_PACKET_BYTES {
            return Err(DecodeError::TooLarge {
                size: bytes.len(),
                limit: limits::SERVER_PACKET_BYTES,
            });
        }
        Ok(Self::decode(bytes)?)
    }

    /// Bytes that [`to_bytes`](Self::to_bytes) gives.
    pub fn size(&self) -> usize {
        self.encoded_len()
    }

    /// Encodes the packet into one buffer of exactly its size.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from(self.encode_to_vec())
    }
}
