//! A chunk packet from borrowed fields and payload, with one copy.

use bytes::{BufMut, Bytes};

use crate::id::Identity;
#[cfg(doc)]
use crate::packet::DataPacket;
use crate::schema::{chunk, packet};
use crate::wire::{
    block_len, number_len, put_block, put_block_start, put_number, put_text, text_len,
};

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

/// Encodes a packet with one chunk: the same bytes as [`DataPacket::to_bytes`], but the
/// content is copied once, straight into the packet's only allocation.
///
/// The content is not checked against [`crate::limits::CHUNK_BYTES`]; cutting is the sender's part.
pub fn encode_chunk(fields: &ChunkFields<'_>, content: &[u8]) -> Bytes {
    let mut buf = Vec::with_capacity(fields.size(content));
    fields.put(content, &mut buf);
    Bytes::from(buf)
}

impl ChunkFields<'_> {
    fn chunk_len(&self, content: &[u8]) -> usize {
        text_len(chunk::STREAM_ID, self.stream_id.len())
            + number_len(chunk::CHUNK_INDEX, self.chunk_index)
            + text_len(chunk::CONTENT, content.len())
    }

    /// Bytes of the encoded packet with this content.
    pub fn size(&self, content: &[u8]) -> usize {
        block_len(packet::STREAM_CHUNK, self.chunk_len(content)) + self.envelope_len()
    }

    /// Writes what [`encode_chunk`] makes, [`size`](ChunkFields::size) bytes, into `buf`.
    pub fn put(&self, content: &[u8], buf: &mut impl BufMut) {
        put_block_start(buf, packet::STREAM_CHUNK, self.chunk_len(content));
        put_text(buf, chunk::STREAM_ID, self.stream_id.as_bytes());
        put_number(buf, chunk::CHUNK_INDEX, self.chunk_index);
        put_text(buf, chunk::CONTENT, content);
        self.put_envelope(buf);
    }

    /// Bytes of what a packet has beside its value.
    pub(super) fn envelope_len(&self) -> usize {
        text_len(
            packet::PARTICIPANT_IDENTITY,
            self.participant_identity.len(),
        ) + self
            .destinations
            .iter()
            .map(|identity| block_len(packet::DESTINATION_IDENTITIES, identity.as_str().len()))
            .sum::<usize>()
            + number_len(packet::SEQUENCE, u64::from(self.sequence))
            + text_len(packet::PARTICIPANT_SID, self.participant_sid.len())
    }

    pub(super) fn put_envelope(&self, buf: &mut impl BufMut) {
        put_text(
            buf,
            packet::PARTICIPANT_IDENTITY,
            self.participant_identity.as_bytes(),
        );
        for identity in self.destinations {
            put_block(
                buf,
                packet::DESTINATION_IDENTITIES,
                identity.as_str().as_bytes(),
            );
        }
        put_number(buf, packet::SEQUENCE, u64::from(self.sequence));
        put_text(
            buf,
            packet::PARTICIPANT_SID,
            self.participant_sid.as_bytes(),
        );
    }
}
