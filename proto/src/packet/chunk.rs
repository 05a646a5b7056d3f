//! The fast path of a sender: a chunk packet from its fields and a borrowed payload, one copy.

use bytes::{BufMut, Bytes};

use crate::id::Identity;
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

/// Encodes a packet with one chunk: the same bytes as [`super::DataPacket::to_bytes`], but the
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
        text_len(1, self.stream_id.len())
            + number_len(2, self.chunk_index)
            + text_len(3, content.len())
    }

    /// Bytes of the encoded packet with this content.
    pub fn size(&self, content: &[u8]) -> usize {
        block_len(14, self.chunk_len(content)) + self.envelope_len()
    }

    /// Writes what [`encode_chunk`] makes, [`size`](ChunkFields::size) bytes, into `buf`.
    pub fn put(&self, content: &[u8], buf: &mut impl BufMut) {
        put_block_start(buf, 14, self.chunk_len(content));
        put_text(buf, 1, self.stream_id.as_bytes());
        put_number(buf, 2, self.chunk_index);
        put_text(buf, 3, content);
        self.put_envelope(buf);
    }

    /// Bytes of what a packet has beside its value.
    pub(super) fn envelope_len(&self) -> usize {
        text_len(4, self.participant_identity.len())
            + self
                .destinations
                .iter()
                .map(|identity| block_len(5, identity.as_str().len()))
                .sum::<usize>()
            + number_len(16, u64::from(self.sequence))
            + text_len(17, self.participant_sid.len())
    }

    pub(super) fn put_envelope(&self, buf: &mut impl BufMut) {
        put_text(buf, 4, self.participant_identity.as_bytes());
        for identity in self.destinations {
            put_block(buf, 5, identity.as_str().as_bytes());
        }
        put_number(buf, 16, u64::from(self.sequence));
        put_text(buf, 17, self.participant_sid.as_bytes());
    }
}
