//! What the fuzz target needs to reach SCTP behind DTLS. Only there with `--cfg fuzzing`, which cargo-fuzz sets.

use std::time::Instant;

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::peer::Peer;

const COMMON_HEADER_BYTES: usize = 12;
const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;

/// What a chunk of the other side would need to be taken for genuine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observed {
    /// Ports and verification tag of packets to us.
    pub header: [u8; 8],
    /// The other side's last TSN.
    pub their_tsn: u32,
    /// Our last TSN.
    pub our_tsn: u32,
}

impl Observed {
    pub(crate) fn note_received(&mut self, packet: &[u8]) {
        if let Some(header) = packet.get(..8)
            && header[4..] != [0; 4]
        {
            self.header.copy_from_slice(header);
        }
        if let Some(tsn) = tsn(packet) {
            self.their_tsn = tsn;
        }
    }

    pub(crate) fn note_sent(&mut self, packet: &[u8]) {
        if let Some(tsn) = tsn(packet) {
            self.our_tsn = tsn;
        }
    }
}

impl Peer {
    /// What its SCTP packets have told so far.
    #[must_use]
    pub fn observed(&self) -> Observed {
        self.observed
    }

    /// Takes SCTP chunks as if the other side had sent them.
    pub fn handle_chunks(&mut self, now: Instant, chunks: &[u8]) {
        let mut packet = BytesMut::with_capacity(COMMON_HEADER_BYTES + chunks.len());
        packet.put_slice(&self.observed.header);
        packet.put_u32(0);
        packet.put_slice(chunks);
        let checksum = crc32c::crc32c(&packet);
        packet[8..12].copy_from_slice(&checksum.to_le_bytes());
        self.handle_sctp_packet(now, packet.freeze());
    }

    /// Takes a whole SCTP packet as if the other side had sent it.
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        self.handle_sctp_packet(now, Bytes::copy_from_slice(packet));
    }
}

/// The TSN that a packet begins with.
fn tsn(packet: &[u8]) -> Option<u32> {
    let chunk = packet.get(COMMON_HEADER_BYTES..)?;
    let at = match *chunk.first()? {
        DATA => 4,
        INIT | INIT_ACK => 16,
        _ => return None,
    };
    let bytes = chunk.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}
