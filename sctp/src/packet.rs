//! The common header and the checksum (RFC 9260 §3.1, §6.8; RFC 9653).

use crate::limits::COMMON_HEADER;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) source: u16,
    pub(crate) destination: u16,
    pub(crate) tag: u32,
    pub(crate) checksum: u32,
}

impl Header {
    pub(crate) fn read(packet: &[u8]) -> Option<Self> {
        let head: &[u8; COMMON_HEADER] = packet.first_chunk()?;
        Some(Self {
            source: u16::from_be_bytes([head[0], head[1]]),
            destination: u16::from_be_bytes([head[2], head[3]]),
            tag: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
            // The one field in little endian order (RFC 9260 appendix A).
            checksum: u32::from_le_bytes([head[8], head[9], head[10], head[11]]),
        })
    }
}

/// CRC32c over the packet with its checksum field as zero.
pub(crate) fn checksum(packet: &[u8]) -> u32 {
    let Some((head, rest)) = packet.split_at_checked(COMMON_HEADER) else {
        return 0;
    };
    let mut copy = [0; COMMON_HEADER];
    copy[..8].copy_from_slice(&head[..8]);
    crc32c::crc32c_append(crc32c::crc32c(&copy), rest)
}

/// One packet, written at the end of a buffer.
pub(crate) struct Writer<'a> {
    buffer: &'a mut Vec<u8>,
    start: usize,
    limit: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(buffer: &'a mut Vec<u8>, limit: usize, ports: (u16, u16), tag: u32) -> Self {
        let start = buffer.len();
        let mut head = [0; COMMON_HEADER];
        head[..2].copy_from_slice(&ports.0.to_be_bytes());
        head[2..4].copy_from_slice(&ports.1.to_be_bytes());
        head[4..8].copy_from_slice(&tag.to_be_bytes());
        buffer.extend_from_slice(&head);
        Self {
            buffer,
            start,
            limit,
        }
    }

    pub(crate) fn set_tag(&mut self, tag: u32) {
        self.buffer[self.start + 4..self.start + 8].copy_from_slice(&tag.to_be_bytes());
    }

    /// Bytes that still fit.
    pub(crate) fn room(&self) -> usize {
        self.limit.saturating_sub(self.buffer.len() - self.start)
    }

    /// Whether no chunk was written.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.len() - self.start <= COMMON_HEADER
    }

    /// A chunk that is written by `body`, padded to four bytes.
    pub(crate) fn chunk(&mut self, kind: u8, flags: u8, body: impl FnOnce(&mut Vec<u8>)) {
        let at = self.buffer.len();
        self.buffer.extend_from_slice(&[kind, flags, 0, 0]);
        body(self.buffer);
        let length = self.buffer.len() - at;
        let told = u16::try_from(length).unwrap_or(u16::MAX);
        self.buffer[at + 2..at + 4].copy_from_slice(&told.to_be_bytes());
        let padding = length.next_multiple_of(4) - length;
        self.buffer.extend_from_slice(&[0; 3][..padding]);
    }

    /// Ends the packet: how many bytes it has, 0 when nothing was written, which leaves the buffer as it was.
    pub(crate) fn finish(self, zero_checksum: bool) -> usize {
        if self.is_empty() {
            self.buffer.truncate(self.start);
            return 0;
        }
        if !zero_checksum {
            // The field still holds zero.
            let sum = crc32c::crc32c(&self.buffer[self.start..]);
            self.buffer[self.start + 8..self.start + COMMON_HEADER]
                .copy_from_slice(&sum.to_le_bytes());
        }
        self.buffer.len() - self.start
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn written_packets_read_back() {
        let mut buffer = vec![9; 5];
        let mut writer = Writer::new(&mut buffer, 100, (5_000, 5_001), 0x0102_0304);
        writer.chunk(10, 1, |body| body.extend_from_slice(b"abc"));
        assert_eq!(writer.room(), 80);
        assert_eq!(writer.finish(false), 20);
        let packet = &buffer[5..];
        let header = Header::read(packet).unwrap();
        assert_eq!((header.source, header.destination), (5_000, 5_001));
        assert_eq!(header.checksum, checksum(packet));
        assert_eq!(&packet[12..], b"\x0a\x01\x00\x07abc\0");
    }

    #[test]
    fn an_empty_packet_leaves_nothing() {
        let mut buffer = vec![1];
        assert_eq!(Writer::new(&mut buffer, 100, (1, 2), 3).finish(false), 0);
        assert_eq!(buffer, [1]);
        assert_eq!(Header::read(&[0; 11]), None);
    }
}
