//! Loss-based control (RFC 9260 §7.2, RFC 5681, RFC 6582): the reference.

use std::time::Instant;

use super::{Acknowledged, Controller, Lost};
use crate::limits::{COMMON_HEADER, INITIAL_WINDOW_PACKETS, SEND_WINDOW};

/// Chunks of the largest size by which one SACK widens the window at most: L of RFC 9260 §7.2.1, for one that acknowledges two packets.
const MOST_GROWTH: u64 = 2;

#[derive(Debug)]
pub(crate) struct NewReno {
    packet: u64,
    window: u64,
    threshold: u64,
    /// Bytes acknowledged since the window last grew in congestion avoidance.
    partial: u64,
    /// Window and threshold before a timeout that may have been none.
    before_timeout: Option<(u64, u64)>,
    /// What a timeout gave up is sent again, by slow start: that is no Fast Recovery.
    is_after_timeout: bool,
}

impl NewReno {
    pub(crate) fn new(packet: u64) -> Self {
        Self {
            packet,
            window: packet * INITIAL_WINDOW_PACKETS,
            threshold: u64::MAX,
            partial: 0,
            before_timeout: None,
            is_after_timeout: false,
        }
    }
}

impl Controller for NewReno {
    fn sent(&mut self, _: Instant, _: u64, _: bool) {}

    fn acknowledged(&mut self, ack: &Acknowledged) {
        let is_in_fast_recovery = ack.is_recovering && !self.is_after_timeout;
        if !ack.is_window_limited || is_in_fast_recovery || ack.bytes == 0 {
            return;
        }
        if self.window < self.threshold {
            let chunk = self.packet.saturating_sub(COMMON_HEADER as u64);
            self.window += ack.bytes.min(MOST_GROWTH * chunk);
        } else {
            self.partial += ack.bytes;
            if self.partial >= self.window {
                self.partial -= self.window;
                self.window += self.packet;
            }
        }
        self.window = self.window.min(SEND_WINDOW as u64);
    }

    fn lost(&mut self, lost: &Lost) {
        if lost.is_new_event {
            self.threshold = (self.window / 2).max(4 * self.packet);
            self.window = self.threshold;
            self.partial = 0;
            self.is_after_timeout = false;
        }
    }

    fn timed_out(&mut self, _: Instant, _: u64) {
        if self.before_timeout.is_none() {
            self.before_timeout = Some((self.window, self.threshold));
        }
        self.threshold = (self.window / 2).max(4 * self.packet);
        self.window = self.packet;
        self.partial = 0;
        self.is_after_timeout = true;
    }

    fn timeout_was_spurious(&mut self) {
        self.is_after_timeout = false;
        if let Some((window, threshold)) = self.before_timeout.take() {
            self.window = self.window.max(window);
            self.threshold = threshold;
        }
    }

    fn timeout_was_real(&mut self) {
        self.before_timeout = None;
        self.is_after_timeout = false;
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn pacing_rate(&self) -> Option<f64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(bytes: u64) -> Acknowledged {
        Acknowledged {
            now: Instant::now(),
            bytes,
            flight: 0,
            delivered: 0,
            rtt: None,
            rate: None,
            is_window_limited: true,
            is_recovering: false,
        }
    }

    fn lost(is_new_event: bool) -> Lost {
        Lost {
            now: Instant::now(),
            bytes: 1_000,
            flight_at_send: 0,
            lost_since: 0,
            is_app_limited: false,
            is_new_range: true,
            is_new_event,
        }
    }

    /// RFC 9260 §7.2.1: a SACK widens the window by what it acknowledges, and by two chunks of the largest size at most (L * PMDCS).
    #[test]
    fn one_sack_widens_the_window_by_two_chunks() {
        let mut reno = NewReno::new(1_000);
        assert_eq!(reno.window(), 10_000);
        reno.acknowledged(&ack(500));
        assert_eq!(reno.window(), 10_500);
        reno.acknowledged(&ack(10_000));
        assert_eq!(reno.window(), 10_500 + 2 * 988);
        for unused in [
            Acknowledged {
                is_window_limited: false,
                ..ack(1_000)
            },
            Acknowledged {
                is_recovering: true,
                ..ack(1_000)
            },
        ] {
            reno.acknowledged(&unused);
            assert_eq!(reno.window(), 10_500 + 2 * 988);
        }
    }

    /// RFC 9260 §7.2.2, §7.2.3.
    #[test]
    fn grows_slowly_after_a_loss_and_halves_once_an_event() {
        let mut reno = NewReno::new(1_000);
        reno.window = 20_000;
        reno.lost(&lost(true));
        reno.lost(&lost(false));
        assert_eq!(reno.window(), 10_000);
        reno.acknowledged(&ack(9_000));
        assert_eq!(reno.window(), 10_000);
        reno.acknowledged(&ack(1_000));
        assert_eq!(reno.window(), 11_000);
    }

    /// RFC 9260 §7.2.1, §7.2.3: what a timeout gave up is sent again by slow start, until something is lost anew.
    #[test]
    fn slow_start_follows_a_timeout() {
        let recovering = |bytes| Acknowledged {
            is_recovering: true,
            ..ack(bytes)
        };
        let mut reno = NewReno::new(1_000);
        reno.window = 40_000;
        reno.timed_out(Instant::now(), 0);
        (0..8).for_each(|_| reno.acknowledged(&recovering(1_000)));
        assert_eq!(reno.window(), 9_000);
        reno.lost(&lost(true));
        reno.acknowledged(&recovering(9_000));
        assert_eq!(reno.window(), 4_500);
    }

    /// RFC 9260 §7.2.3, RFC 5682 §4: a timeout leaves one packet; one that was none gives back what was before the first in a row, and
    /// nothing of what was before one that was real.
    #[test]
    fn only_the_last_timeouts_are_undone() {
        let now = Instant::now();
        let mut reno = NewReno::new(1_000);
        reno.window = 40_000;
        reno.timed_out(now, 0);
        assert_eq!((reno.window(), reno.threshold), (1_000, 20_000));
        reno.timed_out(now, 0);
        reno.timeout_was_spurious();
        assert_eq!((reno.window(), reno.threshold), (40_000, u64::MAX));
        reno.timed_out(now, 0);
        reno.timeout_was_real();
        reno.acknowledged(&ack(1_000));
        reno.timed_out(now, 0);
        reno.timeout_was_spurious();
        assert_eq!((reno.window(), reno.threshold), (2_000, 20_000));
    }
}
