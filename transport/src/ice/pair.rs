//! A local and a remote address, and whether datagrams pass between them.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::Path;
use super::address::Budget;
use crate::sdp::{HOST, PEER_REFLEXIVE, local_priority};

/// Checks of an open pair are repeated after so long at first …
const FIRST_INTERVAL: Duration = Duration::from_millis(20);
/// … each time half as much later, and so far apart in the end …
const LAST_INTERVAL: Duration = Duration::from_secs(2);
/// … and so often: for some 20 s, as long as a new connection has.
const MAX_CHECKS: u32 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PairState {
    /// Not proven yet.
    Open,
    Succeeded,
}

pub(super) struct Pair {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// The local address to send from.
    pub(super) source: Option<IpAddr>,
    pub(super) state: PairState,
    /// The other side wants it, as soon as it is proven.
    pub(super) is_nominated: bool,
    /// When something came over it last.
    pub(super) last_received: Option<Instant>,
    /// What passed while the remote address was not validated.
    pub(super) budget: Budget,
    /// Checks sent while it is open.
    pub(super) checks: u32,
    /// When the next one is due.
    pub(super) check_at: Instant,
    place: usize,
    remote_priority: u32,
    is_controlling: bool,
}

impl Pair {
    /// `place`: that of the local candidate in our list.
    pub(super) fn new(
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        place: usize,
        remote_priority: u32,
        is_controlling: bool,
    ) -> Self {
        Self {
            local,
            remote,
            source: Some(local.ip()),
            state: PairState::Open,
            is_nominated: false,
            last_received: None,
            budget: Budget::default(),
            checks: 0,
            check_at: now,
            place,
            remote_priority,
            is_controlling,
        }
    }

    /// Whether it is to be checked: not proven, and not in vain so far.
    pub(super) fn is_untried(&self) -> bool {
        self.state == PairState::Open && self.checks < MAX_CHECKS
    }

    /// A check was sent.
    pub(super) fn note_check(&mut self, now: Instant) {
        let growth = 1.5f64.powi(self.checks.min(30) as i32);
        self.check_at = now + FIRST_INTERVAL.mul_f64(growth).min(LAST_INTERVAL);
        self.checks += 1;
    }

    pub(super) fn set_controlling(&mut self, is_controlling: bool) {
        self.is_controlling = is_controlling;
    }

    pub(super) fn path(&self) -> Path {
        Path {
            remote: self.remote,
            source: self.source,
        }
    }

    /// RFC 8445 §6.1.2.3.
    pub(super) fn priority(&self) -> u64 {
        let local = u64::from(local_priority(HOST, self.place));
        let remote = u64::from(self.remote_priority);
        let (controlling, controlled) = if self.is_controlling {
            (local, remote)
        } else {
            (remote, local)
        };
        (controlling.min(controlled) << 32)
            + 2 * controlling.max(controlled)
            + u64::from(controlling > controlled)
    }

    /// What the local candidate would have as a peer-reflexive one; checks carry it (RFC 8445 §7.1.1).
    pub(super) fn reflexive_priority(&self) -> u32 {
        local_priority(PEER_REFLEXIVE, self.place)
    }
}
