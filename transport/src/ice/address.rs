//! How much may be sent to an address that has not yet proven that it wants it (RFC 8445 §14, RFC 9000 §8).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// An address that has not answered gets at most so many times the bytes that came from it (RFC 9000 §8.1).
const AMPLIFICATION: u64 = 3;

/// Answered addresses that are remembered; the one that answered least lately is forgotten. A peer uses one at a time.
const VALIDATED: usize = 32;

/// Checks to addresses that have not answered leave so far apart (RFC 8445 §14.2, Ta) …
const PACE: Duration = Duration::from_millis(50);
/// … but so many after a pause, for a quick join.
const BURST: u32 = 8;

/// Bytes from and to an address before it is validated.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Budget {
    received: u64,
    sent: u64,
}

impl Budget {
    pub(super) fn add_received(&mut self, bytes: usize) {
        self.received += bytes as u64;
    }

    pub(super) fn add_sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// Bytes that may be sent now.
    pub(super) fn allowance(&self) -> u64 {
        (self.received * AMPLIFICATION).saturating_sub(self.sent)
    }
}

/// Addresses that have answered something that nobody else has seen. They stay valid over restarts of ICE.
#[derive(Debug, Default)]
pub(super) struct Validated(Vec<SocketAddr>);

impl Validated {
    pub(super) fn contains(&self, address: SocketAddr) -> bool {
        self.0.iter().rev().any(|known| *known == address)
    }

    pub(super) fn insert(&mut self, address: SocketAddr) {
        self.0.retain(|known| *known != address);
        if self.0.len() >= VALIDATED {
            self.0.remove(0);
        }
        self.0.push(address);
    }
}

/// Spreads checks to addresses that have not answered.
#[derive(Debug)]
pub(super) struct Pacer {
    /// When all of the burst may be sent again.
    full_at: Instant,
}

impl Pacer {
    pub(super) fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// When the next check may leave.
    pub(super) fn ready_at(&self, now: Instant) -> Instant {
        // A burst that is used up takes this long to fill to all but one.
        let most = PACE * (BURST - 1);
        self.full_at.checked_sub(most).unwrap_or(now).max(now)
    }

    /// Whether a check may leave now; it is counted then.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.ready_at(now) > now {
            return false;
        }
        self.full_at = self.full_at.max(now) + PACE;
        true
    }
}

/// Whether an address of a candidate can be somebody's: nothing that many would get, nothing without an owner, and what
/// is local to a machine or link only where we are there, too.
pub(super) fn is_usable(remote: SocketAddr, locals: &[SocketAddr]) -> bool {
    let is_here = |kind: fn(IpAddr) -> bool| locals.iter().any(|local| kind(canonical(local)));
    let ip = canonical(&remote);
    if remote.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
        return false;
    }
    if ip.is_loopback() {
        return is_here(|ip| ip.is_loopback());
    }
    match ip {
        // "This network", reserved and broadcast (RFC 1122 §3.2.1.3, RFC 1112 §4).
        IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.octets()[0] >= 240 => false,
        IpAddr::V4(v4) if v4.is_link_local() => {
            is_here(|ip| matches!(ip, IpAddr::V4(v4) if v4.is_link_local()))
        }
        // It needs a zone, which candidates have no place for.
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        IpAddr::V4(_) => true,
    }
}

fn canonical(address: &SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn usable(remote: &str, locals: &[&str]) -> bool {
        let locals: Vec<SocketAddr> = locals.iter().map(|text| text.parse().unwrap()).collect();
        is_usable(remote.parse().unwrap(), &locals)
    }

    #[test]
    fn candidates_are_judged_by_kind() {
        for good in [
            "192.0.2.1:1",
            "10.0.0.1:65535",
            "[2001:db8::1]:9",
            "[fd00::1]:9",
        ] {
            assert!(usable(good, &["198.51.100.1:1"]), "{good}");
        }
        for bad in [
            "0.0.0.0:1",
            "0.1.2.3:1",
            "224.0.0.251:5353",
            "239.1.1.1:1",
            "255.255.255.255:1",
            "240.0.0.1:1",
            "192.0.2.1:0",
            "[::]:1",
            "[ff02::fb]:5353",
            "[fe80::1]:1",
            "[::ffff:224.0.0.1]:1",
            "[::ffff:0.0.0.0]:1",
        ] {
            assert!(!usable(bad, &["127.0.0.1:1", "169.254.1.1:1"]), "{bad}");
        }
        for loopback in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(!usable(loopback, &["198.51.100.1:1"]), "{loopback}");
            assert!(
                usable(loopback, &["198.51.100.1:1", "127.0.0.1:1"]),
                "{loopback}"
            );
        }
        assert!(!usable("169.254.169.254:80", &["10.0.0.1:1"]));
        assert!(usable("169.254.7.7:80", &["169.254.1.1:1"]));
    }

    #[test]
    fn checks_leave_in_a_burst_and_then_at_their_pace() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start);
        let mut now = start;
        let mut left = 0;
        while now < start + Duration::from_secs(10) {
            while pacer.take(now) {
                left += 1;
            }
            let ready = pacer.ready_at(now);
            assert!(ready > now);
            now = ready;
        }
        assert_eq!(left, BURST + 10 * 20 - 1);
    }

    #[test]
    fn three_times_what_came_may_go() {
        let mut budget = Budget::default();
        assert_eq!(budget.allowance(), 0);
        budget.add_received(100);
        budget.add_sent(120);
        assert_eq!(budget.allowance(), 180);
        budget.add_sent(200);
        assert_eq!(budget.allowance(), 0);
    }
}
