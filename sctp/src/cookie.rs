//! The state cookie: all that is needed to set an association up, bound to our key (RFC 9260 §5.1.3).

use std::time::Duration;

use crate::chunk::{Extensions, Init, half, word};
use crate::random::siphash;

const BYTES: usize = 52;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cookie {
    /// When it was made, on the clock of this association.
    pub(crate) made: Duration,
    pub(crate) local_tag: u32,
    pub(crate) local_tsn: u32,
    /// Tags of the association that was there already, else zero (RFC 9260 §5.2.2).
    pub(crate) tie: (u32, u32),
    pub(crate) peer: Init,
}

impl Cookie {
    pub(crate) fn write(&self, key: [u64; 2]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BYTES);
        let made = u64::try_from(self.made.as_micros()).unwrap_or(u64::MAX);
        bytes.extend_from_slice(&made.to_be_bytes());
        for value in [
            self.local_tag,
            self.local_tsn,
            self.tie.0,
            self.tie.1,
            self.peer.tag,
            self.peer.window,
            self.peer.tsn,
        ] {
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        bytes.extend_from_slice(&self.peer.outbound.to_be_bytes());
        bytes.extend_from_slice(&self.peer.inbound.to_be_bytes());
        let extensions = self.peer.extensions;
        bytes.extend_from_slice(&[
            u8::from(extensions.forward_tsn),
            u8::from(extensions.reconfig),
            u8::from(extensions.zero_checksum),
            0,
        ]);
        let mac = siphash(key, &bytes);
        bytes.extend_from_slice(&mac.to_be_bytes());
        bytes
    }

    pub(crate) fn read(bytes: &[u8], key: [u64; 2]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let (content, mac) = bytes.split_at(BYTES - 8);
        if siphash(key, content).to_be_bytes() != mac {
            return None;
        }
        let made = u64::from(word(content, 0)?) << 32 | u64::from(word(content, 4)?);
        Some(Self {
            made: Duration::from_micros(made),
            local_tag: word(content, 8)?,
            local_tsn: word(content, 12)?,
            tie: (word(content, 16)?, word(content, 20)?),
            peer: Init {
                tag: word(content, 24)?,
                window: word(content, 28)?,
                tsn: word(content, 32)?,
                outbound: half(content, 36)?,
                inbound: half(content, 38)?,
                extensions: Extensions {
                    forward_tsn: content[40] == 1,
                    reconfig: content[41] == 1,
                    zero_checksum: content[42] == 1,
                },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// RFC 9260 §5.1.5: a cookie that is not ours, or was changed, is not taken.
    #[test]
    fn only_our_own_cookie_is_taken() {
        let cookie = Cookie {
            made: Duration::from_micros(1 << 40),
            local_tag: 1,
            local_tsn: 2,
            tie: (3, 4),
            peer: Init {
                tag: 5,
                window: 6,
                outbound: 7,
                inbound: 8,
                tsn: 9,
                extensions: Extensions {
                    forward_tsn: true,
                    reconfig: false,
                    zero_checksum: true,
                },
            },
        };
        let bytes = cookie.write([1, 2]);
        assert_eq!(Cookie::read(&bytes, [1, 2]), Some(cookie));
        assert_eq!(Cookie::read(&bytes, [1, 3]), None);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(Cookie::read(&changed, [1, 2]), None);
            assert_eq!(Cookie::read(&bytes[..at], [1, 2]), None);
        }
    }
}
