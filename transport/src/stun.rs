//! The little of STUN that is needed beside the ICE agent: whose datagram is it, and is it genuine?
//!
//! A server finds the peer of a datagram from an unknown address by [`stun_username_local`]. [`is_authentic`] checks
//! user name and integrity before the agent sees a request, because the agent repairs role conflicts first.

use ring::hmac;

/// Bytes of the fixed header (RFC 8489 §5).
const HEADER_BYTES: usize = 20;
/// Bytes of `MESSAGE-INTEGRITY`, its attribute header included (RFC 8489 §14.5).
const INTEGRITY_BYTES: usize = 24;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;

/// The local half of the `USERNAME` attribute of a STUN binding request: the fragment before the colon
/// (RFC 8445 §7.2.2), which names the peer that a datagram from an unknown address is meant for.
/// `None` for everything else. The message is not authenticated by this.
#[must_use]
pub fn stun_username_local(datagram: &[u8]) -> Option<&str> {
    let message = Message::parse(datagram)?;
    let username = std::str::from_utf8(message.username?).ok()?;
    (message.kind == BINDING_REQUEST)
        .then(|| username.split_once(':'))?
        .map(|(local, _)| local)
}

/// Whether a STUN message may go to the ICE agent: a request must carry our user name and an integrity made with our
/// password; responses and indications are left to the agent, which keeps track of its own transactions.
pub(crate) fn is_authentic(datagram: &[u8], username: &str, password: &str) -> bool {
    let Some(message) = Message::parse(datagram) else {
        return false;
    };
    if message.kind != BINDING_REQUEST {
        return true;
    }
    let Some(at) = message.integrity_at else {
        return false;
    };
    if message.username != Some(username.as_bytes()) {
        return false;
    }
    // The length field counts up to the end of the integrity attribute (RFC 8489 §14.5).
    let Ok(length) = u16::try_from(at + INTEGRITY_BYTES - HEADER_BYTES) else {
        return false;
    };
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let mut signed = Vec::with_capacity(at);
    signed.extend_from_slice(&datagram[..at]);
    signed[2..4].copy_from_slice(&length.to_be_bytes());
    hmac::verify(&key, &signed, &datagram[at + 4..at + INTEGRITY_BYTES]).is_ok()
}

/// Whether it is a success response to a binding request.
pub(crate) fn is_success(datagram: &[u8]) -> bool {
    datagram.get(..2) == Some(&BINDING_SUCCESS.to_be_bytes())
}

struct Message<'a> {
    kind: u16,
    username: Option<&'a [u8]>,
    integrity_at: Option<usize>,
}

impl<'a> Message<'a> {
    fn parse(datagram: &'a [u8]) -> Option<Self> {
        let header = datagram.get(..HEADER_BYTES)?;
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if kind & 0xc000 != 0
            || header[4..8] != MAGIC_COOKIE
            || datagram.len() != HEADER_BYTES + length
        {
            return None;
        }
        let mut message = Self {
            kind,
            username: None,
            integrity_at: None,
        };
        let mut at = HEADER_BYTES;
        while at < datagram.len() {
            let head = datagram.get(at..at + 4)?;
            let attribute = u16::from_be_bytes([head[0], head[1]]);
            let size = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let value = datagram.get(at + 4..at + 4 + size)?;
            match attribute {
                USERNAME if message.username.is_none() => message.username = Some(value),
                MESSAGE_INTEGRITY
                    if message.integrity_at.is_none() && size + 4 == INTEGRITY_BYTES =>
                {
                    message.integrity_at = Some(at);
                }
                _ => {}
            }
            at += 4 + size.next_multiple_of(4);
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// A binding request with user name and integrity, as RFC 8489 §14.5 describes.
    fn request(username: &str, password: &str) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, 0];
        bytes.extend_from_slice(&MAGIC_COOKIE);
        bytes.extend_from_slice(&[7; 12]);
        bytes.extend_from_slice(&USERNAME.to_be_bytes());
        bytes.extend_from_slice(&u16::try_from(username.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(username.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let length = u16::try_from(bytes.len() + INTEGRITY_BYTES - HEADER_BYTES).unwrap();
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
        let tag = hmac::sign(&key, &bytes);
        bytes.extend_from_slice(&MESSAGE_INTEGRITY.to_be_bytes());
        bytes.extend_from_slice(&20u16.to_be_bytes());
        bytes.extend_from_slice(tag.as_ref());
        bytes
    }

    #[test]
    fn the_user_name_of_a_request_names_the_peer() {
        let datagram = request("local:remote", "secret");
        assert_eq!(stun_username_local(&datagram), Some("local"));
        assert!(is_authentic(&datagram, "local:remote", "secret"));
        assert!(!is_authentic(&datagram, "local:remote", "other"));
        assert!(!is_authentic(&datagram, "other:remote", "secret"));
    }

    #[test]
    fn cut_and_changed_requests_never_panic() {
        let datagram = request("local:remote", "secret");
        for end in 0..datagram.len() {
            assert_eq!(stun_username_local(&datagram[..end]), None);
            assert!(!is_authentic(&datagram[..end], "local:remote", "secret"));
        }
        for at in 0..datagram.len() {
            let mut changed = datagram.clone();
            changed[at] ^= 0xff;
            let _ = stun_username_local(&changed);
            let _ = is_authentic(&changed, "local:remote", "secret");
        }
    }
}
