//! Single packets of the application, such as published data (protocol.md §4.1).

use bytes::Bytes;
use lkstream_proto::id::Topic;
use lkstream_proto::packet::{ChatMessage, SipDtmf, Transcription, UserPacket, Value};
use thiserror::Error;

use crate::engine::Lost;

/// What one packet of an application says.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Message {
    /// Any bytes.
    User {
        /// The bytes.
        payload: Bytes,
        /// What they are about.
        topic: Option<Topic>,
    },
    /// A telephone key. Never encrypted (protocol.md §5.8).
    SipDtmf(SipDtmf),
    /// A chat message of the older kind; newer clients use text streams.
    Chat(ChatMessage),
    /// Transcribed speech of the older kind; servers take it from agents only (protocol.md §4.3).
    /// Never encrypted.
    Transcription(Transcription),
}

impl Message {
    pub(crate) fn into_value(self) -> Value {
        match self {
            Message::User { payload, topic } => Value::User(UserPacket {
                payload,
                topic: topic.map(String::from),
                ..UserPacket::default()
            }),
            Message::SipDtmf(dtmf) => Value::SipDtmf(dtmf),
            Message::Chat(message) => Value::ChatMessage(message),
            Message::Transcription(transcription) => Value::Transcription(transcription),
        }
    }
}

/// Why a packet was not taken. The channel and everything else goes on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// [`set_local`](crate::Engine::set_local) was not called yet.
    #[error("the room is not joined yet")]
    NotJoined,
    /// The connection is gone.
    #[error(transparent)]
    ConnectionLost(Lost),
    /// The keyring holds no key to seal with.
    #[error("there is no key in slot {index} to encrypt with")]
    NoKey {
        /// The slot in use.
        index: u32,
    },
    /// One packet cannot carry it.
    #[error("the packet takes {size} bytes, at most {limit} allowed: send it as a stream")]
    TooLarge {
        /// Bytes of the encoded packet, at most.
        size: usize,
        /// Bytes allowed: 64 000, or less where the server takes less (protocol.md §3.8).
        limit: usize,
    },
    /// Too much waits to be sent. [`Event::Publishable`](crate::Event::Publishable) follows.
    #[error("{queued} bytes of packets wait, at most {limit} allowed")]
    Full {
        /// Bytes that wait.
        queued: usize,
        /// Bytes allowed.
        limit: usize,
    },
}
