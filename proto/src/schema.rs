//! The fields of a `DataPacket` and of the messages in it: the one table from which encoders, views, splicing and
//! checks take their numbers, and the check that a packet is canonical.
//!
//! The messages of [`packet`](crate::packet) name the same numbers for prost, which wants literals; a test compares
//! them with this table.
//!
//! Protobuf merges a submessage that comes twice and lets the last member of a oneof win, so two
//! readers that take such a packet apart by different rules could see different senders. A packet is
//! canonical when no reader can disagree: every field in its shortest form and of the type it should
//! have, every singular field and every oneof there at most once, every text UTF-8.

use crate::wire::{Content, Fields, Irregular};

/// The type of a field.
#[derive(Debug)]
pub(crate) enum Type {
    Number,
    Text,
    Bytes,
    Message(&'static Schema),
}

/// How often a field may be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Once,
    Many,
    /// Once, and no other member of the oneof with it (no message here has two oneofs).
    Choice,
}

/// The known fields of a message. Others are skipped, as every reader does that does not know them.
#[derive(Debug)]
pub(crate) struct Schema(&'static [(u32, Type, Count)]);

use Type::{Bytes, Message, Number, Text};

/// A module for each message, with the numbers of its fields as constants and its [`Schema`].
macro_rules! messages {
    ($($(#[$doc:meta])* $message:ident { $($field:ident = $number:literal, $kind:expr, $count:ident;)* })*) => {$(
        $(#[$doc])*
        // Some fields are only checked.
        #[allow(dead_code)]
        pub(crate) mod $message {
            use super::*;

            $(pub(crate) const $field: u32 = $number;)*

            pub(crate) static SCHEMA: Schema = Schema(&[$(($field, $kind, Count::$count)),*]);
        }
    )*};
}

messages! {
    /// protocol.md §4.1.
    packet {
        KIND = 1, Number, Once;
        USER = 2, Message(&user::SCHEMA), Choice;
        SPEAKER = 3, Bytes, Choice;
        PARTICIPANT_IDENTITY = 4, Text, Once;
        DESTINATION_IDENTITIES = 5, Text, Many;
        SIP_DTMF = 6, Message(&sip_dtmf::SCHEMA), Choice;
        TRANSCRIPTION = 7, Message(&transcription::SCHEMA), Choice;
        METRICS = 8, Bytes, Choice;
        CHAT_MESSAGE = 9, Message(&chat_message::SCHEMA), Choice;
        RPC_REQUEST = 10, Message(&rpc_request::SCHEMA), Choice;
        RPC_ACK = 11, Message(&rpc_ack::SCHEMA), Choice;
        RPC_RESPONSE = 12, Message(&rpc_response::SCHEMA), Choice;
        STREAM_HEADER = 13, Message(&header::SCHEMA), Choice;
        STREAM_CHUNK = 14, Message(&chunk::SCHEMA), Choice;
        STREAM_TRAILER = 15, Message(&trailer::SCHEMA), Choice;
        SEQUENCE = 16, Number, Once;
        PARTICIPANT_SID = 17, Text, Once;
        ENCRYPTED_PACKET = 18, Message(&encrypted_packet::SCHEMA), Choice;
    }

    /// protocol.md §4.1.
    user {
        PARTICIPANT_SID = 1, Text, Once;
        PAYLOAD = 2, Bytes, Once;
        DESTINATION_SIDS = 3, Text, Many;
        TOPIC = 4, Text, Once;
        PARTICIPANT_IDENTITY = 5, Text, Once;
        DESTINATION_IDENTITIES = 6, Text, Many;
        ID = 8, Text, Once;
        START_TIME = 9, Number, Once;
        END_TIME = 10, Number, Once;
        NONCE = 11, Bytes, Once;
    }

    sip_dtmf {
        CODE = 3, Number, Once;
        DIGIT = 4, Text, Once;
    }

    transcription {
        TRANSCRIBED_PARTICIPANT_IDENTITY = 2, Text, Once;
        TRACK_ID = 3, Text, Once;
        SEGMENTS = 4, Message(&transcription_segment::SCHEMA), Many;
    }

    transcription_segment {
        ID = 1, Text, Once;
        TEXT = 2, Text, Once;
        START_TIME = 3, Number, Once;
        END_TIME = 4, Number, Once;
        FINAL = 5, Number, Once;
        LANGUAGE = 6, Text, Once;
    }

    chat_message {
        ID = 1, Text, Once;
        TIMESTAMP = 2, Number, Once;
        EDIT_TIMESTAMP = 3, Number, Once;
        MESSAGE = 4, Text, Once;
        DELETED = 5, Number, Once;
        GENERATED = 6, Number, Once;
    }

    /// protocol.md §6.
    rpc_request {
        ID = 1, Text, Once;
        METHOD = 2, Text, Once;
        PAYLOAD = 3, Text, Once;
        RESPONSE_TIMEOUT_MS = 4, Number, Once;
        VERSION = 5, Number, Once;
        COMPRESSED_PAYLOAD = 6, Bytes, Once;
    }

    rpc_ack {
        REQUEST_ID = 1, Text, Once;
    }

    rpc_response {
        REQUEST_ID = 1, Text, Once;
        PAYLOAD = 2, Text, Choice;
        ERROR = 3, Message(&rpc_error::SCHEMA), Choice;
        COMPRESSED_PAYLOAD = 4, Bytes, Choice;
    }

    rpc_error {
        CODE = 1, Number, Once;
        MESSAGE = 2, Text, Once;
        DATA = 3, Text, Once;
    }

    /// protocol.md §5.1.
    header {
        STREAM_ID = 1, Text, Once;
        TIMESTAMP = 2, Number, Once;
        TOPIC = 3, Text, Once;
        MIME_TYPE = 4, Text, Once;
        TOTAL_LENGTH = 5, Number, Once;
        ENCRYPTION_TYPE = 7, Number, Once;
        ATTRIBUTES = 8, Message(&attribute::SCHEMA), Many;
        TEXT_HEADER = 9, Message(&text_header::SCHEMA), Choice;
        BYTE_HEADER = 10, Message(&byte_header::SCHEMA), Choice;
        INLINE_CONTENT = 11, Bytes, Once;
        COMPRESSION = 12, Number, Once;
    }

    text_header {
        OPERATION_TYPE = 1, Number, Once;
        VERSION = 2, Number, Once;
        REPLY_TO_STREAM_ID = 3, Text, Once;
        ATTACHED_STREAM_IDS = 4, Text, Many;
        GENERATED = 5, Number, Once;
    }

    byte_header {
        NAME = 1, Text, Once;
    }

    chunk {
        STREAM_ID = 1, Text, Once;
        CHUNK_INDEX = 2, Number, Once;
        CONTENT = 3, Bytes, Once;
        VERSION = 4, Number, Once;
        IV = 5, Bytes, Once;
    }

    trailer {
        STREAM_ID = 1, Text, Once;
        REASON = 2, Text, Once;
        ATTRIBUTES = 3, Message(&attribute::SCHEMA), Many;
    }

    /// An entry of a map of texts.
    attribute {
        KEY = 1, Text, Once;
        VALUE = 2, Text, Once;
    }

    /// protocol.md §5.8.
    encrypted_packet {
        ENCRYPTION_TYPE = 1, Number, Once;
        IV = 2, Bytes, Once;
        KEY_INDEX = 3, Number, Once;
        ENCRYPTED_VALUE = 4, Bytes, Once;
    }
}

impl Schema {
    /// Whether field `tag` is a member of the oneof.
    pub(crate) fn is_choice(&self, tag: u32) -> bool {
        self.field(tag)
            .is_some_and(|(_, count)| *count == Count::Choice)
    }

    fn field(&self, tag: u32) -> Option<(&Type, &Count)> {
        self.0
            .iter()
            .find(|(known, ..)| *known == tag)
            .map(|(_, kind, count)| (kind, count))
    }

    /// Whether `message` is canonical, and every known message in it.
    pub(crate) fn check(&self, message: &[u8]) -> Result<(), Irregular> {
        // One bit for each known field; their numbers are below 32.
        let mut seen = 0u32;
        let mut chosen = false;
        for field in Fields::new(message) {
            let field = field?;
            let Some((kind, count)) = self.field(field.tag) else {
                continue;
            };
            match count {
                Count::Many => {}
                Count::Once if seen & (1 << field.tag) != 0 => return Err(Irregular),
                Count::Once => seen |= 1 << field.tag,
                Count::Choice if chosen => return Err(Irregular),
                Count::Choice => chosen = true,
            }
            match (kind, field.content) {
                (Type::Number, Content::Number(_)) | (Type::Bytes, Content::Block(_)) => {}
                (Type::Text, Content::Block(text)) => {
                    // ASCII is told several bytes at a time.
                    if !text.is_ascii() && std::str::from_utf8(text).is_err() {
                        return Err(Irregular);
                    }
                }
                (Type::Message(schema), Content::Block(inner)) => schema.check(inner)?,
                _ => return Err(Irregular),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::packet::testing::any_packet;

    /// The name of the first field, on the way to it, that the table does not have.
    fn unknown(schema: &Schema, message: &[u8], at: &str) -> Option<String> {
        Fields::new(message).find_map(|field| {
            let field = field.unwrap();
            let here = format!("{at}.{}", field.tag);
            match (schema.field(field.tag), field.content) {
                (None, _) => Some(here),
                (Some((Message(inner), _)), Content::Block(bytes)) => unknown(inner, bytes, &here),
                _ => None,
            }
        })
    }

    proptest! {
        #[test]
        fn every_field_of_the_messages_is_in_the_table(packet in any_packet()) {
            let bytes = packet.to_bytes();
            prop_assert_eq!(unknown(&packet::SCHEMA, &bytes, "packet"), None);
            prop_assert!(packet::SCHEMA.check(&bytes).is_ok());
        }
    }
}
