//! Which connection a datagram belongs to: by the user name in a STUN request, else by the address it came from.
//!
//! A source address is easily forged, and any participant can make checks that are genuine for its own connection. So an
//! address stays with the connection that has proven to receive there ([`Peer::is_validated`]) until that one is silent,
//! and with one that only claims it for a moment.
//!
//! [`Peer::is_validated`]: lkstream_transport::Peer::is_validated

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lkstream_transport::{Received, stun_username_local};

use super::connection::Key;

/// Addresses, and user name fragments, remembered for a connection; above it the oldest address without proof is forgotten, or
/// the oldest.
const REMEMBERED: usize = 8;

/// How long a claim without proof keeps others away: a DTLS handshake proves the address in less.
const CLAIM: Duration = Duration::from_secs(1);

/// So long without a datagram, a proven address may be another's. Clients send checks every 5 s or more often.
const SILENT: Duration = Duration::from_secs(10);

/// Why a datagram is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stray {
    /// Neither its user name nor its address is known.
    Unknown,
    /// It names one connection and comes from the address of another.
    Contested,
}

#[derive(Debug, Default)]
pub(super) struct Demux {
    by_address: HashMap<SocketAddr, Owner>,
    by_fragment: HashMap<Box<str>, Key>,
    known: HashMap<Key, Known>,
}

#[derive(Debug, Default)]
struct Known {
    fragments: VecDeque<Box<str>>,
    addresses: VecDeque<SocketAddr>,
}

#[derive(Debug)]
struct Owner {
    key: Key,
    /// When it was claimed; once proven, when something genuine came from there last.
    since: Instant,
    is_proven: bool,
}

impl Owner {
    fn keeps(&self, now: Instant) -> bool {
        let lapses_after = if self.is_proven { SILENT } else { CLAIM };
        now.saturating_duration_since(self.since) <= lapses_after
    }
}

impl Demux {
    /// A connection can be reached by this user name fragment.
    pub(super) fn register(&mut self, fragment: &str, key: Key) {
        if self.by_fragment.insert(fragment.into(), key) == Some(key) {
            return;
        }
        let known = self.known.entry(key).or_default();
        known.fragments.push_back(fragment.into());
        if known.fragments.len() > REMEMBERED
            && let Some(oldest) = known.fragments.pop_front()
        {
            self.by_fragment.remove(&oldest);
        }
    }

    /// Whom a datagram is for.
    ///
    /// # Errors
    /// When it is for nobody.
    pub(super) fn find(&self, now: Instant, received: &Received<'_>) -> Result<Key, Stray> {
        let owner = self.by_address.get(&received.remote);
        if !is_stun(received.data) {
            return owner.map(|owner| owner.key).ok_or(Stray::Unknown);
        }
        let Some(fragment) = stun_username_local(first(received)) else {
            return owner.map(|owner| owner.key).ok_or(Stray::Unknown);
        };
        let key = *self.by_fragment.get(fragment).ok_or(Stray::Unknown)?;
        match owner {
            Some(owner) if owner.key != key && owner.keeps(now) => Err(Stray::Contested),
            _ => Ok(key),
        }
    }

    /// Something genuine for the connection came from the address. `is_proven`: the connection has proven that it receives there.
    pub(super) fn learn(&mut self, now: Instant, address: SocketAddr, key: Key, is_proven: bool) {
        match self.by_address.get_mut(&address) {
            Some(owner) if owner.key == key => {
                if is_proven {
                    owner.since = now;
                    owner.is_proven = true;
                }
                return;
            }
            Some(owner) => {
                if let Some(known) = self.known.get_mut(&owner.key) {
                    known.addresses.retain(|known| *known != address);
                }
            }
            None => {}
        }
        let owner = Owner {
            key,
            since: now,
            is_proven,
        };
        self.by_address.insert(address, owner);
        self.known
            .entry(key)
            .or_default()
            .addresses
            .push_back(address);
        self.forget_oldest(key);
    }

    fn forget_oldest(&mut self, key: Key) {
        let Some(known) = self.known.get_mut(&key) else {
            return;
        };
        if known.addresses.len() <= REMEMBERED {
            return;
        }
        let is_proven = |address| {
            self.by_address
                .get(address)
                .is_some_and(|owner| owner.is_proven)
        };
        // The one that has just come has had no time for a proof.
        let mut older = known.addresses.iter().take(REMEMBERED);
        let at = older
            .position(|address| !is_proven(address))
            .unwrap_or_default();
        if let Some(oldest) = known.addresses.remove(at) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const VICTIM: Key = Key(1);
    const ATTACKER: Key = Key(2);

    /// A STUN binding request with nothing but the user name `<fragment>:x` (RFC 8489 §5, §14.3).
    fn check(fragment: &str) -> Vec<u8> {
        let username = format!("{fragment}:x");
        let padded = username.len().next_multiple_of(4);
        let mut bytes = vec![0, 1, 0, (4 + padded) as u8, 0x21, 0x12, 0xa4, 0x42];
        bytes.extend_from_slice(&[7; 12]);
        bytes.extend_from_slice(&[0, 6, 0, username.len() as u8]);
        bytes.extend_from_slice(username.as_bytes());
        bytes.resize(24 + padded, 0);
        bytes
    }

    fn from<'a>(address: &str, data: &'a [u8]) -> Received<'a> {
        Received {
            remote: address.parse().unwrap(),
            local: None,
            data,
            segment_size: data.len(),
        }
    }

    fn demux() -> Demux {
        let mut demux = Demux::default();
        demux.register("victim", VICTIM);
        demux.register("attacker", ATTACKER);
        demux
    }

    const HOME: &str = "192.0.2.1:1";
    const RECORD: &[u8] = &[23, 254, 253];

    #[test]
    fn a_proven_address_stays_with_its_owner_until_that_one_is_silent() {
        let mut demux = demux();
        let start = Instant::now();
        let (theirs, own) = (check("attacker"), check("victim"));
        let (forged, record) = (from(HOME, &theirs), from(HOME, RECORD));
        demux.learn(start, forged.remote, VICTIM, true);
        let mut now = start;
        for _ in 0..100 {
            now += SILENT / 2;
            assert_eq!(demux.find(now, &forged), Err(Stray::Contested));
            assert_eq!(demux.find(now, &record), Ok(VICTIM));
            assert_eq!(demux.find(now, &from(HOME, &own)), Ok(VICTIM));
            demux.learn(now, record.remote, VICTIM, true);
        }
        // Nothing came for long: whoever has the address now may have it.
        now += SILENT + Duration::from_millis(1);
        assert_eq!(demux.find(now, &forged), Ok(ATTACKER));
        demux.learn(now, forged.remote, ATTACKER, false);
        assert_eq!(demux.find(now, &record), Ok(ATTACKER));
        assert_eq!(demux.find(now, &from(HOME, &own)), Err(Stray::Contested));
    }

    #[test]
    fn a_claim_without_proof_lapses() {
        let mut demux = demux();
        let start = Instant::now();
        let (theirs, own) = (check("attacker"), check("victim"));
        demux.learn(start, from(HOME, &theirs).remote, ATTACKER, false);
        let own = from(HOME, &own);
        // However often it is repeated.
        for tenth in 0..10 {
            let now = start + CLAIM / 10 * tenth;
            assert_eq!(demux.find(now, &own), Err(Stray::Contested));
            demux.learn(now, own.remote, ATTACKER, false);
        }
        let now = start + CLAIM + Duration::from_millis(1);
        assert_eq!(demux.find(now, &own), Ok(VICTIM));
        demux.learn(now, own.remote, VICTIM, true);
        assert_eq!(demux.find(now, &from(HOME, &theirs)), Err(Stray::Contested));
        demux.forget(ATTACKER);
        assert_eq!(demux.find(now, &from(HOME, RECORD)), Ok(VICTIM));
        demux.forget(VICTIM);
        assert_eq!(demux.find(now, &from(HOME, RECORD)), Err(Stray::Unknown));
        assert_eq!(demux.find(now, &own), Err(Stray::Unknown));
    }

    #[test]
    fn claims_do_not_push_out_a_proven_address() {
        let mut demux = demux();
        let now = Instant::now();
        demux.learn(now, HOME.parse().unwrap(), VICTIM, true);
        for port in 1..100 {
            demux.learn(
                now,
                SocketAddr::from(([198, 51, 100, 1], port)),
                VICTIM,
                false,
            );
        }
        assert_eq!(demux.find(now, &from(HOME, RECORD)), Ok(VICTIM));
        assert_eq!(demux.by_address.len(), REMEMBERED);
        // An honest one that moves again and again is found at its last address.
        for port in 1..100 {
            let address = SocketAddr::from(([198, 51, 100, 2], port));
            demux.learn(now, address, VICTIM, false);
            demux.learn(now, address, VICTIM, true);
            assert_eq!(
                demux.find(now, &from(&address.to_string(), RECORD)),
                Ok(VICTIM)
            );
        }
        assert_eq!(demux.by_address.len(), REMEMBERED);
        demux.forget(VICTIM);
        assert!(demux.by_address.is_empty());
    }
}
