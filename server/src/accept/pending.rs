//! The connections that have not become a signal link: who they are, what they hold, and which gives way at a limit.
//!
//! An honest client has finished its request a round trip after it connected, so at a limit the connection that has
//! waited longest is closed. One whose request is being served is never closed for another.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::HttpLimits;

/// Who counts as one client: an IPv4 address, or the /64 network of an IPv6 one (RFC 6177: a site gets at least that).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin(IpAddr);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Origin {
        Origin(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64 << 64;
                IpAddr::V6(Ipv6Addr::from(network))
            }
            address => address,
        })
    }
}

/// How far a connection is with its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No byte of a request has come.
    Idle,
    /// A part of a request has come.
    Head,
    /// The request is being served.
    Served,
}

#[derive(Debug)]
struct Entry {
    origin: Origin,
    stage: Stage,
    since: Instant,
    /// Bytes received since the last response.
    bytes: usize,
    evicted: Arc<Notify>,
}

/// Why a connection was closed without a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eviction {
    /// Its address has too many connections.
    Address,
    /// There are too many connections.
    Total,
    /// All unfinished requests together are too large.
    Memory,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Pending {
    limits: HttpLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By order of arrival.
    entries: BTreeMap<u64, Entry>,
    next: u64,
    bytes: usize,
}

impl State {
    /// Closes the oldest of those that may be closed. False when there is none.
    fn evict(&mut self, eligible: impl Fn(&Entry) -> bool) -> bool {
        let oldest = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.stage != Stage::Served && eligible(entry))
            .min_by_key(|(_, entry)| entry.since)
            .map(|(id, _)| *id);
        oldest.is_some_and(|id| self.close(id))
    }

    fn close(&mut self, id: u64) -> bool {
        let Some(entry) = self.entries.remove(&id) else {
            return false;
        };
        self.bytes -= entry.bytes;
        entry.evicted.notify_one();
        true
    }
}

impl Pending {
    pub(super) fn new(limits: HttpLimits) -> Arc<Pending> {
        Arc::new(Pending {
            limits,
            state: Mutex::default(),
        })
    }

    /// Nothing that runs under the lock can leave the table half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection up. Others may be closed for it, which is the second part of the answer; `None` when all
    /// others are being served, and this one is the one to close.
    pub(super) fn enter(
        self: &Arc<Self>,
        now: Instant,
        origin: Origin,
    ) -> (Option<Place>, Option<Eviction>) {
        let mut state = self.state();
        let mut eviction = None;
        let of_origin = state
            .entries
            .values()
            .filter(|entry| entry.origin == origin);
        if of_origin.count() >= self.limits.pending_per_address {
            eviction = Some(Eviction::Address);
            if !state.evict(|entry| entry.origin == origin) {
                return (None, eviction);
            }
        }
        if state.entries.len() >= self.limits.pending {
            eviction = Some(Eviction::Total);
            if !state.evict(|_| true) {
                return (None, eviction);
            }
        }
        let id = state.next;
        state.next += 1;
        let evicted = Arc::new(Notify::new());
        state.entries.insert(
            id,
            Entry {
                origin,
                stage: Stage::Idle,
                since: now,
                bytes: 0,
                evicted: Arc::clone(&evicted),
            },
        );
        drop(state);
        let place = Place {
            pending: Arc::clone(self),
            id,
            evicted,
        };
        (Some(place), eviction)
    }

    /// Closes the connection that has waited longest. False when there is none.
    pub(super) fn evict_oldest(&self) -> bool {
        self.state().evict(|_| true)
    }
}

/// A connection's place among those that have not become a signal link; given up by dropping it.
#[derive(Debug)]
pub(super) struct Place {
    pending: Arc<Pending>,
    id: u64,
    evicted: Arc<Notify>,
}

impl Place {
    /// Ends when the connection has to give way.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Bytes were received. Gives whether somebody was closed for them.
    pub(super) fn received(&self, now: Instant, bytes: usize) -> Option<Eviction> {
        let mut state = self.pending.state();
        let entry = state.entries.get_mut(&self.id)?;
        if entry.stage == Stage::Idle {
            entry.stage = Stage::Head;
            entry.since = now;
        }
        entry.bytes += bytes;
        state.bytes += bytes;
        let mut eviction = None;
        while state.bytes > self.pending.limits.heads {
            let largest = state
                .entries
                .iter()
                .filter(|(_, entry)| entry.stage != Stage::Served)
                .max_by_key(|(_, entry)| entry.bytes)
                .map(|(id, _)| *id);
            if !largest.is_some_and(|id| state.close(id)) {
                break;
            }
            eviction = Some(Eviction::Memory);
        }
        eviction
    }

    /// Its request is complete.
    pub(super) fn served(&self) {
        if let Some(entry) = self.pending.state().entries.get_mut(&self.id) {
            entry.stage = Stage::Served;
        }
    }

    /// Its request was answered.
    pub(super) fn answered(&self, now: Instant) {
        let mut state = self.pending.state();
        if let Some(entry) = state.entries.get_mut(&self.id) {
            entry.stage = Stage::Idle;
            entry.since = now;
            let bytes = std::mem::take(&mut entry.bytes);
            state.bytes -= bytes;
        }
    }

    /// Until when the next step of its request must come; `None` while it is being served.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let limits = &self.pending.limits;
        let state = self.pending.state();
        let entry = state.entries.get(&self.id)?;
        let patience = match entry.stage {
            Stage::Idle => limits.idle_timeout,
            Stage::Head => limits.head_timeout,
            Stage::Served => return None,
        };
        entry.since.checked_add(patience)
    }

    /// Whether a request of it is being served.
    pub(super) fn is_served(&self) -> bool {
        let state = self.pending.state();
        let entry = state.entries.get(&self.id);
        entry.is_some_and(|entry| entry.stage == Stage::Served)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.pending.state();
        if let Some(entry) = state.entries.remove(&self.id) {
            state.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HERE: [u8; 4] = [127, 0, 0, 1];

    fn pending(change: impl FnOnce(&mut HttpLimits)) -> Arc<Pending> {
        let mut limits = HttpLimits::default();
        change(&mut limits);
        Pending::new(limits)
    }

    fn here() -> Origin {
        Origin::from(IpAddr::from(HERE))
    }

    fn is_evicted(place: &Place) -> bool {
        !place.pending.state().entries.contains_key(&place.id)
    }

    #[test]
    fn the_oldest_of_an_address_gives_way_and_one_that_is_served_does_not() {
        let pending = pending(|limits| limits.pending_per_address = 2);
        let now = Instant::now();
        let elsewhere = pending.enter(now, IpAddr::from([10, 0, 0, 1]).into());
        let first = pending.enter(now, here()).0.unwrap();
        let second = pending.enter(now, here()).0.unwrap();
        first.received(now, 10);
        first.served();
        let (third, eviction) = pending.enter(now, here());
        assert_eq!(eviction, Some(Eviction::Address));
        assert!(is_evicted(&second) && !is_evicted(&first));
        assert!(!is_evicted(&elsewhere.0.unwrap()));
        third.as_ref().unwrap().served();
        assert!(pending.enter(now, here()).0.is_none(), "both are served");
        first.answered(now);
        assert!(pending.enter(now, here()).0.is_some());
        assert!(is_evicted(&first));
    }

    #[test]
    fn the_largest_gives_way_when_all_requests_are_too_large_together() {
        let pending = pending(|limits| limits.heads = 1000);
        let now = Instant::now();
        let small = pending.enter(now, here()).0.unwrap();
        let large = pending.enter(now, here()).0.unwrap();
        assert_eq!(small.received(now, 300), None);
        assert_eq!(large.received(now, 700), None);
        assert_eq!(small.received(now, 1), Some(Eviction::Memory));
        assert!(is_evicted(&large) && !is_evicted(&small));
        assert_eq!(pending.state().bytes, 301);
        drop((small, large));
        assert_eq!(pending.state().bytes, 0);
        assert!(pending.state().entries.is_empty());
    }

    #[test]
    fn deadlines_follow_the_stage() {
        let pending = pending(|_| {});
        let limits = HttpLimits::default();
        let now = Instant::now();
        let place = pending.enter(now, here()).0.unwrap();
        assert_eq!(place.deadline(), Some(now + limits.idle_timeout));
        place.received(now, 1);
        assert_eq!(place.deadline(), Some(now + limits.head_timeout));
        place.served();
        assert_eq!(place.deadline(), None);
    }

    #[test]
    fn neighbours_in_an_ipv6_network_are_one_client() {
        let origin = |text: &str| Origin::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:1"));
        assert_ne!(origin("2001:db8::1"), origin("2001:db8:0:1::1"));
        assert_eq!(origin("::ffff:127.0.0.1"), here());
    }
}
