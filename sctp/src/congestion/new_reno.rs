//! Loss-based control (RFC 9260 §7.2, RFC 5681, RFC 6582): the reference.

use std::time::Instant;

use super::{Acknowledged, Controller, Lost};
use crate::limits::{INITIAL_WINDOW_PACKETS, SEND_WINDOW};

#[derive(Debug)]
pub(crate) struct NewReno {
    packet: u64,
    window: u64,
    threshold: u64,
    /// Bytes acknowledged since the window last grew in congestion avoidance.
    partial: u64,
    before_timeout: Option<(u64, u64)>,
}

impl NewReno {
    pub(crate) fn new(packet: u64) -> Self {
        Self {
            packet,
            window: packet * INITIAL_WINDOW_PACKETS,
            threshold: u64::MAX,
            partial: 0,
            before_timeout: None,
        }
    }
}

impl Controller for NewReno {
    fn sent(&mut self, _: Instant, _: u64, _: bool) {}

    fn acknowledged(&mut self, ack: &Acknowledged) {
        if !ack.is_window_limited || ack.is_recovering || ack.bytes == 0 {
            return;
        }
        if self.window < self.threshold {
            self.window += ack.bytes;
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
        }
    }

    fn timed_out(&mut self, _: Instant, _: u64) {
        if self.before_timeout.is_none() {
            self.before_timeout = Some((self.window, self.threshold));
        }
        self.threshold = (self.window / 2).max(4 * self.packet);
        self.window = self.packet;
        self.partial = 0;
    }

    fn timeout_was_spurious(&mut self) {
        if let Some((window, threshold)) = self.before_timeout.take() {
            self.window = self.window.max(window);
            self.threshold = threshold;
        }
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

    /// RFC 9260 §7.2.1 to §7.2.3.
    #[test]
    fn grows_fast_then_slowly_and_halves_once_an_event() {
        let mut reno = NewReno::new(1_000);
        reno.acknowledged(&ack(10_000));
        assert_eq!(reno.window(), 20_000);
        reno.lost(&lost(true));
        reno.lost(&lost(false));
        assert_eq!(reno.window(), 10_000);
        reno.acknowledged(&ack(9_000));
        assert_eq!(reno.window(), 10_000);
        reno.acknowledged(&ack(1_000));
        assert_eq!(reno.window(), 11_000);
        reno.timed_out(Instant::now(), 0);
        assert_eq!(reno.window(), 1_000);
        reno.timeout_was_spurious();
        assert_eq!(reno.window(), 11_000);
    }
}
