//! Deliveries and losses of the current round trip (draft-ietf-ccwg-bbr §5.5.10.3).

use crate::congestion::{Acknowledged, Lost};
use crate::rate::RateSample;

/// More lost than this part, and it was too much for a path with a queue.
pub(super) const LOSS_THRESHOLD: f64 = 0.02;
/// The same for a path without one: what is lost at random is not congestion.
const HEAVY_LOSS: f64 = 0.1;
/// So few lost packets say nothing about a small flight.
const FEW_LOSSES: u64 = 4;

#[derive(Debug, Default)]
pub(super) struct Latest {
    /// The greatest rate sample, in bytes a second.
    pub(super) bandwidth: f64,
    /// The most that was delivered in a round trip, in bytes.
    pub(super) inflight: u64,
    /// Bytes found lost.
    pub(super) lost: u64,
    /// Runs of chunks found lost.
    pub(super) lost_ranges: u32,
    /// A new round begins.
    pub(super) is_start: bool,
    /// It ends when what was sent after so much was delivered is acknowledged.
    until: u64,
}

impl Latest {
    pub(super) fn acknowledged(&mut self, ack: &Acknowledged, sample: &RateSample) {
        self.is_start = false;
        self.bandwidth = self.bandwidth.max(sample.rate);
        self.inflight = self.inflight.max(sample.delivered);
        if sample.prior_delivered >= self.until {
            self.until = ack.delivered;
            self.is_start = true;
        }
    }

    pub(super) fn lost(&mut self, lost: &Lost) {
        self.lost += lost.bytes;
        self.lost_ranges += u32::from(lost.is_new_range);
    }

    /// The losses of the round that has ended were looked at.
    pub(super) fn forget_losses(&mut self) {
        self.lost = 0;
        self.lost_ranges = 0;
    }

    /// Another part of the cycle: what went before says nothing about it.
    pub(super) fn restart(&mut self) {
        self.bandwidth = 0.0;
        self.inflight = 0;
        self.forget_losses();
    }

    /// The losses of this round were more than what may be random.
    pub(super) fn is_loss_heavy(&self) -> bool {
        self.lost as f64 > HEAVY_LOSS * (self.inflight + self.lost) as f64
    }
}

/// So much of what was in flight was lost that it was more than the path holds.
pub(super) fn is_too_high(lost: u64, flight: u64, has_queue: bool, packet: u64) -> bool {
    let threshold = if has_queue {
        LOSS_THRESHOLD
    } else {
        HEAVY_LOSS
    };
    lost >= FEW_LOSSES * packet && lost as f64 > threshold * flight as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_losses_are_no_congestion() {
        assert!(is_too_high(30_000, 1_000_000, true, 1_000));
        assert!(!is_too_high(30_000, 1_000_000, false, 1_000));
        assert!(is_too_high(110_000, 1_000_000, false, 1_000));
        assert!(!is_too_high(3_000, 20_000, true, 1_000));
    }
}
