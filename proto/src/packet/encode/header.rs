//! A header packet from borrowed fields, in one allocation.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes};

use super::ChunkFields;
use crate::id::StreamId;
use crate::packet::Compression;
#[cfg(doc)]
use crate::packet::DataPacket;
use crate::schema::{attribute, byte_header, header, packet, text_header};
use crate::wire::{
    block_len, number_len, put_block, put_block_start, put_number, put_present_number, put_text,
    text_len,
};

/// Everything of a header packet.
#[derive(Debug, Clone, Copy)]
pub struct HeaderFields<'a> {
    /// Sender, recipients, number and stream; the chunk's index is not used.
    pub envelope: ChunkFields<'a>,
    /// When the stream was opened, Unix milliseconds.
    pub timestamp: i64,
    /// Chooses the handler.
    pub topic: &'a str,
    /// Media type of the content.
    pub mime_type: &'a str,
    /// Bytes of the whole content before compression.
    pub total_length: Option<u64>,
    /// Free for applications.
    pub attributes: &'a BTreeMap<String, String>,
    /// What only one kind of stream has.
    pub content: ContentFields<'a>,
    /// The whole content, compressed as said below.
    pub inline_content: Option<&'a [u8]>,
    /// How the content is compressed.
    pub compression: Compression,
}

/// What only text or only byte streams say in their header.
#[derive(Debug, Clone, Copy)]
pub enum ContentFields<'a> {
    /// Text.
    Text {
        /// Number of what the text does to an earlier one.
        operation_type: i32,
        /// Version of a text that is updated.
        version: i32,
        /// The stream this one answers; empty is left out.
        reply_to_stream_id: &'a str,
        /// Byte streams that belong to the text.
        attached_stream_ids: &'a [StreamId],
        /// Made by a machine.
        generated: bool,
    },
    /// Bytes.
    Bytes {
        /// File name.
        name: &'a str,
    },
}

impl ContentFields<'_> {
    fn len(&self) -> usize {
        match self {
            ContentFields::Text {
                operation_type,
                version,
                reply_to_stream_id,
                attached_stream_ids,
                generated,
            } => {
                number_len(text_header::OPERATION_TYPE, signed(*operation_type))
                    + number_len(text_header::VERSION, signed(*version))
                    + text_len(text_header::REPLY_TO_STREAM_ID, reply_to_stream_id.len())
                    + attached_stream_ids
                        .iter()
                        .map(|id| block_len(text_header::ATTACHED_STREAM_IDS, id.as_str().len()))
                        .sum::<usize>()
                    + number_len(text_header::GENERATED, u64::from(*generated))
            }
            ContentFields::Bytes { name } => text_len(byte_header::NAME, name.len()),
        }
    }

    fn tag(&self) -> u32 {
        match self {
            ContentFields::Text { .. } => header::TEXT_HEADER,
            ContentFields::Bytes { .. } => header::BYTE_HEADER,
        }
    }

    fn put(&self, buf: &mut impl BufMut) {
        put_block_start(buf, self.tag(), self.len());
        match self {
            ContentFields::Text {
                operation_type,
                version,
                reply_to_stream_id,
                attached_stream_ids,
                generated,
            } => {
                put_number(buf, text_header::OPERATION_TYPE, signed(*operation_type));
                put_number(buf, text_header::VERSION, signed(*version));
                put_text(
                    buf,
                    text_header::REPLY_TO_STREAM_ID,
                    reply_to_stream_id.as_bytes(),
                );
                for id in *attached_stream_ids {
                    put_block(
                        buf,
                        text_header::ATTACHED_STREAM_IDS,
                        id.as_str().as_bytes(),
                    );
                }
                put_number(buf, text_header::GENERATED, u64::from(*generated));
            }
            ContentFields::Bytes { name } => put_text(buf, byte_header::NAME, name.as_bytes()),
        }
    }
}

/// Protobuf writes a negative number as the 64-bit one of the same value.
fn signed(number: i32) -> u64 {
    i64::from(number) as u64
}

fn entry_len(key: &str, value: &str) -> usize {
    text_len(attribute::KEY, key.len()) + text_len(attribute::VALUE, value.len())
}

impl HeaderFields<'_> {
    fn header_size(&self) -> usize {
        text_len(header::STREAM_ID, self.envelope.stream_id.len())
            + number_len(header::TIMESTAMP, self.timestamp as u64)
            + text_len(header::TOPIC, self.topic.len())
            + text_len(header::MIME_TYPE, self.mime_type.len())
            + self
                .total_length
                .map_or(0, |length| number_len(header::TOTAL_LENGTH, length.max(1)))
            + self
                .attributes
                .iter()
                .map(|(key, value)| block_len(header::ATTRIBUTES, entry_len(key, value)))
                .sum::<usize>()
            + block_len(self.content.tag(), self.content.len())
            + self.inline_content.map_or(0, |content| {
                block_len(header::INLINE_CONTENT, content.len())
            })
            + number_len(header::COMPRESSION, signed(self.compression as i32))
    }

    /// Bytes of the encoded packet.
    pub fn size(&self) -> usize {
        block_len(packet::STREAM_HEADER, self.header_size()) + self.envelope.envelope_len()
    }

    /// Encodes the packet: the same bytes as [`DataPacket::to_bytes`] makes of it.
    pub fn to_bytes(&self) -> Bytes {
        let mut buf = Vec::with_capacity(self.size());
        self.put(&mut buf);
        Bytes::from(buf)
    }

    /// Writes what [`to_bytes`](HeaderFields::to_bytes) makes, [`size`](HeaderFields::size) bytes,
    /// into `buf`.
    pub fn put(&self, buf: &mut impl BufMut) {
        put_block_start(buf, packet::STREAM_HEADER, self.header_size());
        put_text(buf, header::STREAM_ID, self.envelope.stream_id.as_bytes());
        put_number(buf, header::TIMESTAMP, self.timestamp as u64);
        put_text(buf, header::TOPIC, self.topic.as_bytes());
        put_text(buf, header::MIME_TYPE, self.mime_type.as_bytes());
        if let Some(length) = self.total_length {
            // It has presence: a zero is written, too.
            put_present_number(buf, header::TOTAL_LENGTH, length);
        }
        for (key, value) in self.attributes {
            put_block_start(buf, header::ATTRIBUTES, entry_len(key, value));
            put_text(buf, attribute::KEY, key.as_bytes());
            put_text(buf, attribute::VALUE, value.as_bytes());
        }
        self.content.put(buf);
        if let Some(content) = self.inline_content {
            put_block(buf, header::INLINE_CONTENT, content);
        }
        put_number(buf, header::COMPRESSION, signed(self.compression as i32));
        self.envelope.put_envelope(buf);
    }
}
