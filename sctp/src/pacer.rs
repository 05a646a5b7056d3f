//! Spreads packets over time, in bursts that a timer of a millisecond can serve.

use std::time::{Duration, Instant};

/// So much time's worth may be sent at once after a pause.
const BURST: Duration = Duration::from_millis(4);
/// How much to gather before sending goes on.
const QUANTUM: Duration = Duration::from_millis(1);
/// Packets that may always be sent at once.
const BURST_PACKETS: f64 = 10.0;

#[derive(Debug)]
pub(crate) struct Pacer {
    /// Bytes that may be sent, negative when more was sent.
    credit: f64,
    counted_at: Instant,
    packet: f64,
}

impl Pacer {
    pub(crate) fn new(now: Instant, packet: usize) -> Self {
        let packet = packet as f64;
        Self {
            credit: packet * BURST_PACKETS,
            counted_at: now,
            packet,
        }
    }

    pub(crate) fn set_packet(&mut self, packet: usize) {
        self.packet = packet as f64;
    }

    /// Bytes that may leave at once after a pause; `rate` in bytes a second.
    pub(crate) fn burst(&self, rate: f64) -> f64 {
        (rate * BURST.as_secs_f64()).max(self.packet * BURST_PACKETS)
    }

    /// Whether a packet may go now; `rate` in bytes a second.
    pub(crate) fn is_ready(&mut self, now: Instant, rate: f64) -> bool {
        let passed = now.saturating_duration_since(self.counted_at);
        if !passed.is_zero() {
            self.credit = (self.credit + rate * passed.as_secs_f64()).min(self.burst(rate));
            self.counted_at = now;
        }
        self.credit > 0.0
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.credit -= bytes as f64;
    }

    /// When sending can go on.
    pub(crate) fn ready_at(&self, rate: f64) -> Instant {
        let wanted = (rate * QUANTUM.as_secs_f64()).clamp(1.0, self.packet * 50.0);
        let missing = (wanted - self.credit).max(0.0);
        let wait = (missing / rate.max(1.0)).min(1.0);
        self.counted_at + Duration::from_secs_f64(wait) + Duration::from_nanos(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a slow path so many packets of the size of now.
    #[test]
    fn a_burst_is_of_packets_as_they_are() {
        let mut pacer = Pacer::new(Instant::now(), 1_000);
        assert_eq!(pacer.burst(1e3), 10_000.0);
        pacer.set_packet(400);
        assert_eq!(pacer.burst(1e3), 4_000.0);
        assert_eq!(pacer.burst(1e7), 40_000.0);
    }

    #[test]
    fn the_rate_is_kept() {
        let start = Instant::now();
        let mut now = start;
        let mut pacer = Pacer::new(now, 1_000);
        let mut sent = 0;
        while now < start + Duration::from_secs(10) {
            while pacer.is_ready(now, 1e6) {
                pacer.sent(1_000);
                sent += 1_000;
            }
            now = pacer.ready_at(1e6);
        }
        assert!((9_990_000..10_030_000).contains(&sent), "{sent}");
    }
}
