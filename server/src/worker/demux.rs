//! Which connection a datagram belongs to: by the user name in a STUN request, else by the address it came from.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use lkstream_transport::{Received, stun_username_local};

use super::connection::Key;

/// Addresses remembered for a connection; the oldest is forgotten.
const ADDRESSES: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Demux {
    by_address: HashMap<SocketAddr, Key>,
    by_fragment: HashMap<Box<str>, Key>,
    known: HashMap<Key, Known>,
}

#[derive(Debug, Default)]
struct Known {
    fragments: VecDeque<Box<str>>,
    addresses: VecDeque<SocketAddr>,
}

impl Demux {
    /// A connection can be reached by this user name fragment.
    pub(super) fn register(&mut self, fragment: &str, key: Key) {
        if self.by_fragment.insert(fragment.into(), key) == Some(key) {
            return;
        }
        let known = self.known.entry(key).or_default();
        known.fragments.push_back(fragment.into());
        if known.fragments.len() > ADDRESSES
            && let Some(oldest) = known.fragments.pop_front()
        {
            self.by_fragment.remove(&oldest);
        }
    }

    /// Whom a datagram is for.
    pub(super) fn find(&self, received: &Received<'_>) -> Option<Key> {
        if is_stun(received.data)
            && let Some(fragment) = stun_username_local(first(received))
        {
            return self.by_fragment.get(fragment).copied();
        }
        self.by_address.get(&received.remote).copied()
    }

    /// The connection accepted a datagram; when it was a STUN request, its address is known from now on.
    pub(super) fn learn(&mut self, received: &Received<'_>, key: Key) {
        if !is_stun(received.data) || self.by_address.get(&received.remote) == Some(&key) {
            return;
        }
        if stun_username_local(first(received)).is_none() {
            return;
        }
        if let Some(former) = self.by_address.insert(received.remote, key)
            && let Some(known) = self.known.get_mut(&former)
        {
            known
                .addresses
                .retain(|address| *address != received.remote);
        }
        let known = self.known.entry(key).or_default();
        known.addresses.push_back(received.remote);
        if known.addresses.len() > ADDRESSES
            && let Some(oldest) = known.addresses.pop_front()
        {
            self.by_address.remove(&oldest);
        }
    }

    pub(super) fn forget(&mut self, key: Key) {
        let Some(known) = self.known.remove(&key) else {
            return;
        };
        for fragment in known.fragments {
            self.by_fragment.remove(&fragment);
        }
        for address in known.addresses {
            self.by_address.remove(&address);
        }
    }
}

/// The first datagram of a batch.
fn first<'a>(received: &Received<'a>) -> &'a [u8] {
    &received.data[..received.segment_size.min(received.data.len())]
}

/// Whether a datagram is STUN by its first byte (RFC 7983 §7).
fn is_stun(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(0..=3))
}
