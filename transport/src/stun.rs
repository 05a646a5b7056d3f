//! STUN binding messages as ICE uses them (RFC 8489, RFC 8445 §7), read and written by hand.

use std::net::{IpAddr, SocketAddr};

use ring::hmac;

/// Bytes of the fixed header (RFC 8489 §5).
const HEADER_BYTES: usize = 20;
/// Bytes of `MESSAGE-INTEGRITY`, its attribute header included (RFC 8489 §14.5).
const INTEGRITY_BYTES: usize = 24;
/// Bytes of `FINGERPRINT`, its attribute header included (RFC 8489 §14.7).
const FINGERPRINT_BYTES: usize = 8;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// What the checksum of the fingerprint is combined with.
const FINGERPRINT_MASK: u32 = 0x5354_554e;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802a;

/// Names a request and its response.
pub(crate) type TransactionId = [u8; 12];

/// The kinds of message that ICE sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Indication,
    Success,
    Error,
}

impl Kind {
    fn parse(bits: u16) -> Option<Self> {
        match bits {
            0x0001 => Some(Self::Request),
            0x0011 => Some(Self::Indication),
            0x0101 => Some(Self::Success),
            0x0111 => Some(Self::Error),
            _ => None,
        }
    }

    fn bits(self) -> u16 {
        match self {
            Self::Request => 0x0001,
            Self::Indication => 0x0011,
            Self::Success => 0x0101,
            Self::Error => 0x0111,
        }
    }
}

/// Who of the two decides, and the number that settles a dispute about it (RFC 8445 §7.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Controlling(u64),
    Controlled(u64),
}

/// The local half of the `USERNAME` attribute of a STUN binding request: the fragment before the colon
/// (RFC 8445 §7.2.2), which names the peer that a datagram from an unknown address is meant for.
/// `None` for everything else. The message is not authenticated by this.
#[must_use]
pub fn stun_username_local(datagram: &[u8]) -> Option<&str> {
    let message = Message::parse(datagram)?;
    let username = std::str::from_utf8(message.username?).ok()?;
    (message.kind == Kind::Request)
        .then(|| username.split_once(':'))?
        .map(|(local, _)| local)
}

/// A received message, not yet proven genuine.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    bytes: &'a [u8],
    pub(crate) kind: Kind,
    pub(crate) transaction: TransactionId,
    pub(crate) username: Option<&'a [u8]>,
    pub(crate) priority: Option<u32>,
    pub(crate) part: Option<Part>,
    pub(crate) use_candidate: bool,
    pub(crate) error: Option<u16>,
    integrity_at: Option<usize>,
}

impl<'a> Message<'a> {
    /// `None` when it is no well-formed binding message or its fingerprint is wrong.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..HEADER_BYTES)?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[4..8] != MAGIC_COOKIE || bytes.len() != HEADER_BYTES + length {
            return None;
        }
        let mut message = Self {
            bytes,
            kind: Kind::parse(u16::from_be_bytes([header[0], header[1]]))?,
            transaction: header[8..].try_into().ok()?,
            username: None,
            priority: None,
            part: None,
            use_candidate: false,
            error: None,
            integrity_at: None,
        };
        let mut at = HEADER_BYTES;
        while at < bytes.len() {
            let head = bytes.get(at..at + 4)?;
            let size = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let value = bytes.get(at + 4..at + 4 + size)?;
            match u16::from_be_bytes([head[0], head[1]]) {
                FINGERPRINT => {
                    let told = u32::from_be_bytes(value.try_into().ok()?);
                    // It is the last attribute.
                    return (told == fingerprint(&bytes[..at])
                        && at + FINGERPRINT_BYTES == bytes.len())
                    .then_some(message);
                }
                // What follows the integrity is not covered by it (RFC 8489 §14.5).
                _ if message.integrity_at.is_some() => {}
                MESSAGE_INTEGRITY if size + 4 == INTEGRITY_BYTES => message.integrity_at = Some(at),
                USERNAME => message.username = Some(value),
                PRIORITY => message.priority = Some(u32::from_be_bytes(value.try_into().ok()?)),
                USE_CANDIDATE => message.use_candidate = true,
                ICE_CONTROLLING => {
                    message.part = Some(Part::Controlling(u64::from_be_bytes(
                        value.try_into().ok()?,
                    )))
                }
                ICE_CONTROLLED => {
                    message.part =
                        Some(Part::Controlled(u64::from_be_bytes(value.try_into().ok()?)))
                }
                ERROR_CODE => {
                    message.error =
                        Some(u16::from(*value.get(2)? & 7) * 100 + u16::from(*value.get(3)?))
                }
                _ => {}
            }
            at += 4 + size.next_multiple_of(4);
        }
        Some(message)
    }

    /// Whether it was made by someone who knows the password.
    pub(crate) fn is_genuine(&self, password: &str) -> bool {
        let Some(at) = self.integrity_at else {
            return false;
        };
        // The length field counts up to the end of the integrity attribute (RFC 8489 §14.5).
        let Ok(length) = u16::try_from(at + INTEGRITY_BYTES - HEADER_BYTES) else {
            return false;
        };
        let mut signed = self.bytes[..at].to_vec();
        signed[2..4].copy_from_slice(&length.to_be_bytes());
        hmac::verify(
            &integrity_key(password),
            &signed,
            &self.bytes[at + 4..at + INTEGRITY_BYTES],
        )
        .is_ok()
    }
}

fn integrity_key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

/// Writes one message.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new(kind: Kind, transaction: TransactionId) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&kind.bits().to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&MAGIC_COOKIE);
        bytes.extend_from_slice(&transaction);
        Self(bytes)
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let Ok(size) = u16::try_from(value.len()) else {
            return self;
        };
        self.0.extend_from_slice(&kind.to_be_bytes());
        self.0.extend_from_slice(&size.to_be_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(crate) fn username(self, username: &str) -> Self {
        self.attribute(USERNAME, username.as_bytes())
    }

    pub(crate) fn priority(self, priority: u32) -> Self {
        self.attribute(PRIORITY, &priority.to_be_bytes())
    }

    pub(crate) fn part(self, part: Part) -> Self {
        match part {
            Part::Controlling(number) => self.attribute(ICE_CONTROLLING, &number.to_be_bytes()),
            Part::Controlled(number) => self.attribute(ICE_CONTROLLED, &number.to_be_bytes()),
        }
    }

    pub(crate) fn use_candidate(self) -> Self {
        self.attribute(USE_CANDIDATE, &[])
    }

    pub(crate) fn role_conflict(self) -> Self {
        self.attribute(ERROR_CODE, b"\0\0\x04\x57Role Conflict")
    }

    /// `XOR-MAPPED-ADDRESS` (RFC 8489 §14.2).
    pub(crate) fn mapped(self, address: SocketAddr) -> Self {
        let mut mask = [0; 16];
        mask[..4].copy_from_slice(&MAGIC_COOKIE);
        mask[4..].copy_from_slice(&self.0[8..HEADER_BYTES]);
        let port = (address.port() ^ 0x2112).to_be_bytes();
        let (family, octets) = match address.ip() {
            IpAddr::V4(ip) => (1, ip.octets().to_vec()),
            IpAddr::V6(ip) => (2, ip.octets().to_vec()),
        };
        let mut value = vec![0, family, port[0], port[1]];
        value.extend(octets.iter().zip(mask).map(|(octet, mask)| octet ^ mask));
        self.attribute(XOR_MAPPED_ADDRESS, &value)
    }

    /// Signs with the password and adds the fingerprint.
    pub(crate) fn finish(self, password: &str) -> Vec<u8> {
        let mut bytes = self.0;
        set_length(&mut bytes, INTEGRITY_BYTES);
        let tag = hmac::sign(&integrity_key(password), &bytes);
        let mut bytes = Self(bytes).attribute(MESSAGE_INTEGRITY, tag.as_ref()).0;
        set_length(&mut bytes, FINGERPRINT_BYTES);
        let checksum = fingerprint(&bytes);
        Self(bytes)
            .attribute(FINGERPRINT, &checksum.to_be_bytes())
            .0
    }
}

/// Writes the length that the message has once so much is added.
fn set_length(bytes: &mut [u8], added: usize) {
    let length = u16::try_from(bytes.len() + added - HEADER_BYTES).unwrap_or(u16::MAX);
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
}

/// CRC-32 (ITU V.42) of everything before, combined with a mask (RFC 8489 §14.7).
fn fingerprint(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 0 {
                crc >> 1
            } else {
                crc >> 1 ^ 0xedb8_8320
            };
        }
    }
    !crc ^ FINGERPRINT_MASK
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn request() -> Vec<u8> {
        Writer::new(Kind::Request, [7; 12])
            .username("local:remote")
            .priority(0x6e00_01ff)
            .part(Part::Controlling(99))
            .use_candidate()
            .finish("secret")
    }

    #[test]
    fn a_request_survives_the_round_trip() {
        let bytes = request();
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(
            (message.kind, message.transaction),
            (Kind::Request, [7; 12])
        );
        assert_eq!(message.username, Some(&b"local:remote"[..]));
        assert_eq!(
            (message.priority, message.part),
            (Some(0x6e00_01ff), Some(Part::Controlling(99)))
        );
        assert!(
            message.use_candidate && message.is_genuine("secret") && !message.is_genuine("other")
        );
        assert_eq!(stun_username_local(&bytes), Some("local"));
    }

    #[test]
    fn the_published_sample_is_genuine() {
        // RFC 5769 §2.1, password VOkJxbRl1RmTxUk/WvJxBt.
        let mut bytes = vec![0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42];
        bytes.extend_from_slice(&[
            0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
        ]);
        bytes.extend_from_slice(&[0x80, 0x22, 0x00, 0x10]);
        bytes.extend_from_slice(b"STUN test client");
        bytes.extend_from_slice(&[0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff]);
        bytes.extend_from_slice(&[
            0x80, 0x29, 0x00, 0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36,
        ]);
        bytes.extend_from_slice(&[0x00, 0x06, 0x00, 0x09]);
        bytes.extend_from_slice(b"evtj:h6vY   ");
        bytes.extend_from_slice(&[
            0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf, 0xd8, 0xcb, 0x56,
        ]);
        bytes.extend_from_slice(&[
            0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5, 0x71, 0xa2,
        ]);
        bytes.extend_from_slice(&[0x80, 0x28, 0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf]);
        let message = Message::parse(&bytes).unwrap();
        assert!(message.is_genuine("VOkJxbRl1RmTxUk/WvJxBt"));
        assert_eq!(stun_username_local(&bytes), Some("evtj"));
    }

    #[test]
    fn mapped_addresses_are_masked() {
        // RFC 5769 §2.2: 192.0.2.1 port 32853 with this transaction.
        let transaction = [
            0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
        ];
        let bytes = Writer::new(Kind::Success, transaction)
            .mapped("192.0.2.1:32853".parse().unwrap())
            .finish("x");
        assert_eq!(
            bytes[20..32],
            [
                0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43
            ]
        );
        let bytes = Writer::new(Kind::Error, transaction)
            .role_conflict()
            .finish("x");
        assert_eq!(Message::parse(&bytes).unwrap().error, Some(487));
    }

    #[test]
    fn cut_and_changed_messages_never_panic() {
        let bytes = request();
        for end in 0..bytes.len() {
            assert!(Message::parse(&bytes[..end]).is_none());
        }
        // What comes after the integrity is not covered by it.
        for at in 0..bytes.len() - FINGERPRINT_BYTES {
            let mut changed = bytes.clone();
            changed[at] ^= 0xff;
            assert!(
                Message::parse(&changed).is_none_or(|message| !message.is_genuine("secret")),
                "{at}"
            );
        }
    }
}
