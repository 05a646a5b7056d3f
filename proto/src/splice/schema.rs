//! What the fields of a `DataPacket` are, as far down as its messages are known, and the check that
//! a packet is canonical.
//!
//! Protobuf merges a submessage that comes twice and lets the last member of a oneof win, so two
//! readers that take such a packet apart by different rules could see different senders. A packet is
//! canonical when no reader can disagree: every field in its shortest form and of the type it should
//! have, every singular field and every oneof there at most once, every text UTF-8.

use crate::wire::{Content, Fields, Irregular};

/// The type of a field.
pub(super) enum Type {
    Number,
    Text,
    Bytes,
    Message(&'static Schema),
}

/// How often a field may be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    Once,
    Many,
    /// Once, and no other member of the oneof with it (no message here has two oneofs).
    Choice,
}

/// The known fields of a message. Others are skipped, as every reader does that does not know them.
pub(super) struct Schema(&'static [(u32, Type, Count)]);

use Count::{Choice, Many, Once};
use Type::{Bytes, Message, Number, Text};

/// protocol.md §4.1.
pub(super) static PACKET: Schema = Schema(&[
    (1, Number, Once),
    (2, Message(&USER), Choice),
    (3, Bytes, Choice),
    (4, Text, Once),
    (5, Text, Many),
    (6, Message(&SIP_DTMF), Choice),
    (7, Message(&TRANSCRIPTION), Choice),
    (8, Bytes, Choice),
    (9, Message(&CHAT), Choice),
    (10, Message(&RPC_REQUEST), Choice),
    (11, Message(&RPC_ACK), Choice),
    (12, Message(&RPC_RESPONSE), Choice),
    (13, Message(&HEADER), Choice),
    (14, Message(&CHUNK), Choice),
    (15, Message(&TRAILER), Choice),
    (16, Number, Once),
    (17, Text, Once),
    (18, Message(&ENCRYPTED), Choice),
]);

static USER: Schema = Schema(&[
    (1, Text, Once),
    (2, Bytes, Once),
    (3, Text, Many),
    (4, Text, Once),
    (5, Text, Once),
    (6, Text, Many),
    (8, Text, Once),
    (9, Number, Once),
    (10, Number, Once),
    (11, Bytes, Once),
]);

static SIP_DTMF: Schema = Schema(&[(3, Number, Once), (4, Text, Once)]);

static TRANSCRIPTION: Schema = Schema(&[
    (2, Text, Once),
    (3, Text, Once),
    (4, Message(&SEGMENT), Many),
]);

static SEGMENT: Schema = Schema(&[
    (1, Text, Once),
    (2, Text, Once),
    (3, Number, Once),
    (4, Number, Once),
    (5, Number, Once),
    (6, Text, Once),
]);

static CHAT: Schema = Schema(&[
    (1, Text, Once),
    (2, Number, Once),
    (3, Number, Once),
    (4, Text, Once),
    (5, Number, Once),
    (6, Number, Once),
]);

/// protocol.md §6.
static RPC_REQUEST: Schema = Schema(&[
    (1, Text, Once),
    (2, Text, Once),
    (3, Text, Once),
    (4, Number, Once),
    (5, Number, Once),
    (6, Bytes, Once),
]);

static RPC_ACK: Schema = Schema(&[(1, Text, Once)]);

static RPC_RESPONSE: Schema = Schema(&[
    (1, Text, Once),
    (2, Text, Choice),
    (3, Message(&RPC_ERROR), Choice),
    (4, Bytes, Choice),
]);

static RPC_ERROR: Schema = Schema(&[(1, Number, Once), (2, Text, Once), (3, Text, Once)]);

/// protocol.md §5.1.
static HEADER: Schema = Schema(&[
    (1, Text, Once),
    (2, Number, Once),
    (3, Text, Once),
    (4, Text, Once),
    (5, Number, Once),
    (7, Number, Once),
    (8, Message(&ATTRIBUTE), Many),
    (9, Message(&TEXT_HEADER), Choice),
    (10, Message(&BYTE_HEADER), Choice),
    (11, Bytes, Once),
    (12, Number, Once),
]);

static TEXT_HEADER: Schema = Schema(&[
    (1, Number, Once),
    (2, Number, Once),
    (3, Text, Once),
    (4, Text, Many),
    (5, Number, Once),
]);

static BYTE_HEADER: Schema = Schema(&[(1, Text, Once)]);

static CHUNK: Schema = Schema(&[
    (1, Text, Once),
    (2, Number, Once),
    (3, Bytes, Once),
    (4, Number, Once),
    (5, Bytes, Once),
]);

static TRAILER: Schema = Schema(&[
    (1, Text, Once),
    (2, Text, Once),
    (3, Message(&ATTRIBUTE), Many),
]);

/// An entry of a map of texts.
static ATTRIBUTE: Schema = Schema(&[(1, Text, Once), (2, Text, Once)]);

/// protocol.md §5.8.
static ENCRYPTED: Schema = Schema(&[
    (1, Number, Once),
    (2, Bytes, Once),
    (3, Number, Once),
    (4, Bytes, Once),
]);

impl Schema {
    /// Whether field `tag` is a member of the oneof.
    pub(super) fn is_choice(&self, tag: u32) -> bool {
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
    pub(super) fn check(&self, message: &[u8]) -> Result<(), Irregular> {
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
