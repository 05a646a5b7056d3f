//! The fast path of a sender: a chunk packet from its fields and a borrowed payload, one copy.

use bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::id::Identity;

/// Everything of a chunk packet but its content.
#[derive(Debug, Clone, Copy)]
pub struct ChunkFields<'a> {
    /// Identity of the sender; empty is left out.
    pub participant_identity: &'a str,
    /// Session of the sender; empty is left out.
    pub participant_sid: &'a str,
    /// Who shall get it; empty for everybody.
    pub destinations: &'a [Identity],
    /// Number of the packet in the sender's session, 0 for none.
    pub sequence: u32,
    /// The stream.
    pub stream_id: &'a str,
    /// The chunk's place in it, from 0.
    pub chunk_index: u64,
}

/// Bytes of a length-delimited field, 0 for an empty one (proto3 leaves it out).
fn text_len(tag: u32, len: usize) -> usize {
    if len == 0 { 0 } else { block_len(tag, len) }
}

/// Bytes of a length-delimited field that is written even when empty.
fn block_len(tag: u32, len: usize) -> usize {
    key_len(tag) + encoded_len_varint(len as u64) + len
}

/// Bytes of a varint field, 0 for a zero.
fn number_len(tag: u32, value: u64) -> usize {
    if value == 0 {
        0
    } else {
        key_len(tag) + encoded_len_varint(value)
    }
}

fn put_block(buf: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, buf);
    encode_varint(bytes.len() as u64, buf);
    buf.extend_from_slice(bytes);
}

fn put_text(buf: &mut Vec<u8>, tag: u32, text: &[u8]) {
    if !text.is_empty() {
        put_block(buf, tag, text);
    }
}

fn put_number(buf: &mut Vec<u8>, tag: u32, value: u64) {
    if value != 0 {
        encode_key(tag, WireType::Varint, buf);
        encode_varint(value, buf);
    }
}

/// Encodes a packet with one chunk: the same bytes as [`super::DataPacket::to_bytes`], but the
/// content is copied once, straight into the packet's only allocation.
///
/// The content is not checked against [`crate::limits::CHUNK_BYTES`]; cutting is the sender's part.
pub fn encode_chunk(fields: &ChunkFields<'_>, content: &[u8]) -> Bytes {
    let chunk = text_len(1, fields.stream_id.len())
        + number_len(2, fields.chunk_index)
        + text_len(3, content.len());
    let len = block_len(14, chunk)
        + text_len(4, fields.participant_identity.len())
        + fields
            .destinations
            .iter()
            .map(|identity| block_len(5, identity.as_str().len()))
            .sum::<usize>()
        + number_len(16, u64::from(fields.sequence))
        + text_len(17, fields.participant_sid.len());

    let mut buf = Vec::with_capacity(len);
    encode_key(14, WireType::LengthDelimited, &mut buf);
    encode_varint(chunk as u64, &mut buf);
    put_text(&mut buf, 1, fields.stream_id.as_bytes());
    put_number(&mut buf, 2, fields.chunk_index);
    put_text(&mut buf, 3, content);
    put_text(&mut buf, 4, fields.participant_identity.as_bytes());
    for identity in fields.destinations {
        put_block(&mut buf, 5, identity.as_str().as_bytes());
    }
    put_number(&mut buf, 16, u64::from(fields.sequence));
    put_text(&mut buf, 17, fields.participant_sid.as_bytes());
    debug_assert_eq!(buf.len(), len);
    Bytes::from(buf)
}
