//! Chunks and parameters as they are on the wire (RFC 9260 §3.2, §3.3; RFC 3758 §3; RFC 6525 §3, §4).

use crate::packet::Writer;

pub(crate) const DATA: u8 = 0;
pub(crate) const INIT: u8 = 1;
pub(crate) const INIT_ACK: u8 = 2;
pub(crate) const SACK: u8 = 3;
pub(crate) const HEARTBEAT: u8 = 4;
pub(crate) const HEARTBEAT_ACK: u8 = 5;
pub(crate) const ABORT: u8 = 6;
pub(crate) const SHUTDOWN: u8 = 7;
pub(crate) const SHUTDOWN_ACK: u8 = 8;
pub(crate) const ERROR: u8 = 9;
pub(crate) const COOKIE_ECHO: u8 = 10;
pub(crate) const COOKIE_ACK: u8 = 11;
pub(crate) const SHUTDOWN_COMPLETE: u8 = 14;
pub(crate) const RE_CONFIG: u8 = 130;
pub(crate) const FORWARD_TSN: u8 = 192;

/// Flags of DATA (RFC 9260 §3.3.1).
pub(crate) const END: u8 = 1;
pub(crate) const BEGIN: u8 = 2;
pub(crate) const UNORDERED: u8 = 4;
pub(crate) const IMMEDIATE: u8 = 8;

/// The T flag: the tag is the receiver's own, reflected (RFC 9260 §3.3.7).
pub(crate) const REFLECTED: u8 = 1;

pub(crate) const PARAMETER_COOKIE: u16 = 7;
pub(crate) const PARAMETER_OUTGOING_RESET: u16 = 13;
pub(crate) const PARAMETER_INCOMING_RESET: u16 = 14;
pub(crate) const PARAMETER_TSN_RESET: u16 = 15;
pub(crate) const PARAMETER_RESPONSE: u16 = 16;
pub(crate) const PARAMETER_ADD_OUTGOING: u16 = 17;
pub(crate) const PARAMETER_ADD_INCOMING: u16 = 18;
pub(crate) const PARAMETER_ZERO_CHECKSUM: u16 = 0x8001;
pub(crate) const PARAMETER_EXTENSIONS: u16 = 0x8008;
pub(crate) const PARAMETER_FORWARD_TSN: u16 = 0xc000;

/// Error causes (RFC 9260 §3.3.10).
pub(crate) const CAUSE_STALE_COOKIE: u16 = 3;
pub(crate) const CAUSE_UNRECOGNIZED_CHUNK: u16 = 6;
pub(crate) const CAUSE_NO_DATA: u16 = 9;
pub(crate) const CAUSE_USER: u16 = 12;
pub(crate) const CAUSE_PROTOCOL: u16 = 13;

/// DTLS as what protects packets without checksum (RFC 9653 §5.1).
const ZERO_CHECKSUM_DTLS: u32 = 1;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk<'a> {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) value: &'a [u8],
}

/// The chunks of a packet without its common header; `None` when a length lies.
pub(crate) fn chunks(body: &[u8]) -> Option<impl Iterator<Item = Chunk<'_>>> {
    let mut rest = body;
    while !rest.is_empty() {
        rest = split(rest)?.1;
    }
    rest = body;
    Some(std::iter::from_fn(move || {
        let (chunk, next) = split(rest)?;
        rest = next;
        Some(chunk)
    }))
}

fn split(rest: &[u8]) -> Option<(Chunk<'_>, &[u8])> {
    let head: &[u8; 4] = rest.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let value = rest.get(4..length)?;
    let next = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    let chunk = Chunk {
        kind: head[0],
        flags: head[1],
        value,
    };
    Some((chunk, next))
}

/// The parameters of a chunk; ends at the first whose length lies.
pub(crate) fn parameters(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let head: &[u8; 4] = rest.first_chunk()?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_be_bytes([head[0], head[1]]), value))
    })
}

pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn pairs(bytes: &[u8]) -> impl Iterator<Item = (u16, u16)> {
    bytes.chunks_exact(4).map(|pair| {
        (
            u16::from_be_bytes([pair[0], pair[1]]),
            u16::from_be_bytes([pair[2], pair[3]]),
        )
    })
}

/// DATA (RFC 9260 §3.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Data<'a> {
    pub(crate) flags: u8,
    pub(crate) tsn: u32,
    pub(crate) stream: u16,
    pub(crate) ssn: u16,
    pub(crate) ppid: u32,
    pub(crate) payload: &'a [u8],
}

impl<'a> Data<'a> {
    pub(crate) fn read(chunk: Chunk<'a>) -> Option<Self> {
        let (head, payload) = chunk.value.split_first_chunk::<12>()?;
        Some(Self {
            flags: chunk.flags,
            tsn: word(head, 0)?,
            stream: half(head, 4)?,
            ssn: half(head, 6)?,
            ppid: word(head, 8)?,
            payload,
        })
    }

    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        writer.chunk(DATA, self.flags, |body| {
            let mut head = [0; 12];
            head[..4].copy_from_slice(&self.tsn.to_be_bytes());
            head[4..6].copy_from_slice(&self.stream.to_be_bytes());
            head[6..8].copy_from_slice(&self.ssn.to_be_bytes());
            head[8..].copy_from_slice(&self.ppid.to_be_bytes());
            body.extend_from_slice(&head);
            body.extend_from_slice(self.payload);
        });
    }
}

/// SACK (RFC 9260 §3.3.4).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sack<'a> {
    pub(crate) cumulative: u32,
    pub(crate) window: u32,
    gaps: &'a [u8],
    duplicates: &'a [u8],
}

impl<'a> Sack<'a> {
    pub(crate) fn read(value: &'a [u8]) -> Option<Self> {
        let gaps = usize::from(half(value, 8)?) * 4;
        let duplicates = usize::from(half(value, 10)?) * 4;
        let lists = value.get(12..12 + gaps + duplicates)?;
        let (gaps, duplicates) = lists.split_at(gaps);
        Some(Self {
            cumulative: word(value, 0)?,
            window: word(value, 4)?,
            gaps,
            duplicates,
        })
    }

    /// What a SHUTDOWN says (RFC 9260 §3.3.8).
    pub(crate) fn cumulative_only(cumulative: u32, window: u32) -> Self {
        Self {
            cumulative,
            window,
            gaps: &[],
            duplicates: &[],
        }
    }

    /// Blocks of received chunks as distances from `cumulative`, both ends included.
    pub(crate) fn gaps(&self) -> impl Iterator<Item = (u16, u16)> + 'a {
        pairs(self.gaps)
    }

    pub(crate) fn duplicates(&self) -> usize {
        self.duplicates.len() / 4
    }
}

/// What INIT and INIT ACK say (RFC 9260 §3.3.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Init {
    pub(crate) tag: u32,
    pub(crate) window: u32,
    pub(crate) outbound: u16,
    pub(crate) inbound: u16,
    pub(crate) tsn: u32,
    pub(crate) extensions: Extensions,
}

/// Which extensions a side understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extensions {
    pub(crate) forward_tsn: bool,
    pub(crate) reconfig: bool,
    pub(crate) zero_checksum: bool,
}

impl Init {
    /// Also the cookie, if there is one.
    pub(crate) fn read(value: &[u8]) -> Option<(Self, Option<&[u8]>)> {
        let mut init = Self {
            tag: word(value, 0)?,
            window: word(value, 4)?,
            outbound: half(value, 8)?,
            inbound: half(value, 10)?,
            tsn: word(value, 12)?,
            extensions: Extensions::default(),
        };
        let mut cookie = None;
        for (kind, value) in parameters(value.get(16..)?) {
            match kind {
                PARAMETER_COOKIE => cookie = Some(value),
                PARAMETER_FORWARD_TSN => init.extensions.forward_tsn = true,
                PARAMETER_EXTENSIONS => {
                    init.extensions.forward_tsn |= value.contains(&FORWARD_TSN);
                    init.extensions.reconfig |= value.contains(&RE_CONFIG);
                }
                PARAMETER_ZERO_CHECKSUM => {
                    init.extensions.zero_checksum = word(value, 0) == Some(ZERO_CHECKSUM_DTLS);
                }
                // The two high bits say what to do with what is unknown: without the first, stop (RFC 9260 §3.2.1).
                // Addresses (5, 6), preservative (9), host name (11), address types (12) are known and of no use here.
                5 | 6 | 9 | 11 | 12 => {}
                _ if kind & 0x8000 == 0 => break,
                _ => {}
            }
        }
        Some((init, cookie))
    }

    pub(crate) fn write(&self, writer: &mut Writer<'_>, kind: u8, cookie: Option<&[u8]>) {
        writer.chunk(kind, 0, |body| {
            body.extend_from_slice(&self.tag.to_be_bytes());
            body.extend_from_slice(&self.window.to_be_bytes());
            body.extend_from_slice(&self.outbound.to_be_bytes());
            body.extend_from_slice(&self.inbound.to_be_bytes());
            body.extend_from_slice(&self.tsn.to_be_bytes());
            if let Some(cookie) = cookie {
                write_parameter(body, PARAMETER_COOKIE, cookie);
            }
            // Not the last: some do not look at a last parameter without value.
            write_parameter(body, PARAMETER_FORWARD_TSN, &[]);
            if self.extensions.zero_checksum {
                write_parameter(
                    body,
                    PARAMETER_ZERO_CHECKSUM,
                    &ZERO_CHECKSUM_DTLS.to_be_bytes(),
                );
            }
            write_last_parameter(body, PARAMETER_EXTENSIONS, &[RE_CONFIG, FORWARD_TSN]);
        });
    }
}

/// Padded to four bytes, as all but the last have to be.
pub(crate) fn write_parameter(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    write_last_parameter(body, kind, value);
    let length = value.len();
    body.extend_from_slice(&[0; 3][..length.next_multiple_of(4) - length]);
}

/// Without padding: the length of a chunk does not count that of its last parameter (RFC 9260 §3.2).
pub(crate) fn write_last_parameter(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    body.extend_from_slice(&kind.to_be_bytes());
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(value);
}

/// FORWARD TSN (RFC 3758 §3.2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForwardTsn<'a> {
    pub(crate) cumulative: u32,
    skipped: &'a [u8],
}

impl<'a> ForwardTsn<'a> {
    pub(crate) fn read(value: &'a [u8]) -> Option<Self> {
        let (_, skipped) = value.split_at_checked(4)?;
        Some(Self {
            cumulative: word(value, 0)?,
            skipped,
        })
    }

    /// Streams with the last SSN that is given up.
    pub(crate) fn skipped(&self) -> impl Iterator<Item = (u16, u16)> + 'a {
        pairs(self.skipped)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn body(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut buffer = Vec::new();
        let mut writer = Writer::new(&mut buffer, 10_000, (1, 2), 3);
        write(&mut writer);
        writer.finish(false);
        buffer.split_off(12)
    }

    #[test]
    fn data_reads_back() {
        let data = Data {
            flags: BEGIN | END,
            tsn: u32::MAX,
            stream: 7,
            ssn: 65_535,
            ppid: 53,
            payload: b"hello",
        };
        let bytes = body(|writer| data.write(writer));
        assert_eq!(bytes.len(), 24);
        let mut all = chunks(&bytes).unwrap();
        assert_eq!(Data::read(all.next().unwrap()), Some(data));
        assert!(all.next().is_none());
    }

    #[test]
    fn init_reads_back() {
        let init = Init {
            tag: 1,
            window: 2,
            outbound: 3,
            inbound: 4,
            tsn: 5,
            extensions: Extensions {
                forward_tsn: true,
                reconfig: true,
                zero_checksum: true,
            },
        };
        let bytes = body(|writer| init.write(writer, INIT_ACK, Some(b"cookie")));
        let chunk = chunks(&bytes).unwrap().next().unwrap();
        assert_eq!(chunk.kind, INIT_ACK);
        assert_eq!(Init::read(chunk.value), Some((init, Some(&b"cookie"[..]))));
    }

    /// RFC 9260 §3.2: the length counts the head, and no more than there is.
    #[test]
    fn lying_lengths_are_refused() {
        for bytes in [
            &[3, 0, 0, 3][..],
            &[3, 0, 0, 0, 0],
            &[3, 0, 0, 9, 0, 0, 0, 0],
            &[3, 0, 0, 4, 0],
        ] {
            assert!(chunks(bytes).is_none(), "{bytes:?}");
        }
        let mut sack = vec![0; 12];
        sack[9] = 1;
        assert!(Sack::read(&sack).is_none());
        assert!(ForwardTsn::read(&[1, 2, 3]).is_none());
    }

    /// RFC 9260 §3.2.1: an unknown parameter without the high bit ends the list.
    #[test]
    fn unknown_parameters_are_treated_by_their_high_bits() {
        let mut value = vec![0; 16];
        write_parameter(&mut value, 0x8abc, b"xyz");
        write_parameter(&mut value, PARAMETER_FORWARD_TSN, b"");
        assert!(Init::read(&value).unwrap().0.extensions.forward_tsn);
        let mut value = vec![0; 16];
        write_parameter(&mut value, 0x0abc, b"xyz");
        write_parameter(&mut value, PARAMETER_FORWARD_TSN, b"");
        assert!(!Init::read(&value).unwrap().0.extensions.forward_tsn);
    }
}
