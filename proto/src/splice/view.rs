//! The parts of a stream, read in place: nothing of a packet is copied.

use bytes::Bytes;

use super::{PacketView, ValueKind, blocks, regular, text};
use crate::schema::{attribute, byte_header, chunk, header, text_header};
use crate::wire::Content;

/// A chunk in a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkView<'a> {
    /// The stream.
    pub stream_id: &'a str,
    /// The chunk's place in it.
    pub chunk_index: u64,
    /// Above 0: replaces what was sent under the same index.
    pub version: i32,
    /// Shares the packet's buffer.
    pub content: Bytes,
}

/// A header in a packet (protocol.md §5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderView<'a> {
    /// The stream.
    pub stream_id: &'a str,
    /// When it was opened, Unix milliseconds of the sender's clock.
    pub timestamp: i64,
    /// Chooses the handler.
    pub topic: &'a str,
    /// Media type of the content.
    pub mime_type: &'a str,
    /// Bytes of the whole content before compression, where the sender knows them.
    pub total_length: Option<u64>,
    /// The number of the compression.
    pub compression: i32,
    /// Text or bytes; `None` where the header says neither.
    pub content: Option<ContentView<'a>>,
    /// The whole content, compressed as said; shares the packet's buffer.
    pub inline_content: Option<Bytes>,
    /// The header, where it has attributes.
    attributes: &'a [u8],
}

/// What only one kind of stream has in its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentView<'a> {
    /// Text.
    Text(TextView<'a>),
    /// Bytes.
    Bytes {
        /// File name; comes from the peer, so never a path to open as it is.
        name: &'a str,
    },
}

/// What is special to a text stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextView<'a> {
    /// Number of what the text does to an earlier one.
    pub operation_type: i32,
    /// Version of a text that is updated.
    pub version: i32,
    /// The stream this one answers; empty for none.
    pub reply_to_stream_id: &'a str,
    /// Made by a machine.
    pub generated: bool,
    message: &'a [u8],
}

impl<'a> HeaderView<'a> {
    /// Keys and values of the attributes as they come; of a key that comes twice the last counts.
    pub fn attributes(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        blocks(self.attributes, header::ATTRIBUTES).map(|entry| {
            let mut pair = ("", "");
            for field in regular(entry) {
                match field.tag {
                    attribute::KEY => pair.0 = text(field.block()),
                    attribute::VALUE => pair.1 = text(field.block()),
                    _ => {}
                }
            }
            pair
        })
    }
}

impl<'a> TextView<'a> {
    /// Byte streams that belong to the text.
    pub fn attached_stream_ids(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        blocks(self.message, text_header::ATTACHED_STREAM_IDS).map(text)
    }

    fn of(message: &'a [u8]) -> TextView<'a> {
        let mut view = TextView {
            operation_type: 0,
            version: 0,
            reply_to_stream_id: "",
            generated: false,
            message,
        };
        for field in regular(message) {
            match (field.tag, field.content) {
                // Protobuf cuts a number to the width of its field.
                (text_header::OPERATION_TYPE, Content::Number(operation)) => {
                    view.operation_type = operation as i32
                }
                (text_header::VERSION, Content::Number(version)) => view.version = version as i32,
                (text_header::REPLY_TO_STREAM_ID, Content::Block(id)) => {
                    view.reply_to_stream_id = text(id)
                }
                (text_header::GENERATED, Content::Number(generated)) => {
                    view.generated = generated != 0
                }
                _ => {}
            }
        }
        view
    }
}

impl PacketView {
    /// The chunk in it: what decoding would give, but without an allocation.
    pub fn chunk(&self) -> Option<ChunkView<'_>> {
        if self.kind != ValueKind::StreamChunk {
            return None;
        }
        let mut chunk = ChunkView {
            stream_id: "",
            chunk_index: 0,
            version: 0,
            content: Bytes::new(),
        };
        for field in regular(self.message(ValueKind::StreamChunk)) {
            match (field.tag, field.content) {
                (chunk::STREAM_ID, Content::Block(id)) => chunk.stream_id = text(id),
                (chunk::CHUNK_INDEX, Content::Number(index)) => chunk.chunk_index = index,
                (chunk::CONTENT, Content::Block(content)) => {
                    chunk.content = self.bytes.slice_ref(content);
                }
                (chunk::VERSION, Content::Number(version)) => chunk.version = version as i32,
                _ => {}
            }
        }
        Some(chunk)
    }

    /// The header in it: what decoding would give, but without an allocation.
    pub fn header(&self) -> Option<HeaderView<'_>> {
        if self.kind != ValueKind::StreamHeader {
            return None;
        }
        let message = self.message(ValueKind::StreamHeader);
        let mut header = HeaderView {
            stream_id: "",
            timestamp: 0,
            topic: "",
            mime_type: "",
            total_length: None,
            compression: 0,
            content: None,
            inline_content: None,
            attributes: &[],
        };
        for field in regular(message) {
            match (field.tag, field.content) {
                (header::STREAM_ID, Content::Block(id)) => header.stream_id = text(id),
                (header::TIMESTAMP, Content::Number(timestamp)) => {
                    header.timestamp = timestamp as i64
                }
                (header::TOPIC, Content::Block(topic)) => header.topic = text(topic),
                (header::MIME_TYPE, Content::Block(mime_type)) => {
                    header.mime_type = text(mime_type)
                }
                (header::TOTAL_LENGTH, Content::Number(length)) => {
                    header.total_length = Some(length)
                }
                (header::ATTRIBUTES, _) => header.attributes = message,
                (header::TEXT_HEADER, Content::Block(message)) => {
                    header.content = Some(ContentView::Text(TextView::of(message)));
                }
                (header::BYTE_HEADER, Content::Block(message)) => {
                    let name = blocks(message, byte_header::NAME)
                        .next()
                        .unwrap_or_default();
                    header.content = Some(ContentView::Bytes { name: text(name) });
                }
                (header::INLINE_CONTENT, Content::Block(content)) => {
                    header.inline_content = Some(self.bytes.slice_ref(content));
                }
                (header::COMPRESSION, Content::Number(compression)) => {
                    header.compression = compression as i32
                }
                _ => {}
            }
        }
        Some(header)
    }
}
