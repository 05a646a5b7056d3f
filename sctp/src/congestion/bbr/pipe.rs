//! Detects when a higher sending rate no longer raises the delivery rate (draft-ietf-ccwg-bbr §5.3.1.2).

use crate::rate::RateSample;

/// Less growth than this in [`ROUNDS`] rounds is none.
const GROWTH: f64 = 1.25;
const ROUNDS: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct Pipe {
    bandwidth: f64,
    rounds: u32,
    /// In this probe it does not.
    pub(super) is_full_now: bool,
    /// It was found full at least once: the model holds.
    pub(super) was_full: bool,
}

impl Pipe {
    /// Looks anew, from this bandwidth on.
    pub(super) fn restart(&mut self, bandwidth: f64) {
        self.bandwidth = bandwidth;
        self.rounds = 0;
        self.is_full_now = false;
    }

    pub(super) fn update(&mut self, sample: &RateSample, is_round_start: bool) {
        if self.is_full_now || sample.is_app_limited {
            return;
        }
        if sample.rate >= self.bandwidth * GROWTH && sample.rate > 0.0 {
            self.restart(sample.rate);
            return;
        }
        if !is_round_start {
            return;
        }
        self.rounds += 1;
        self.is_full_now = self.rounds >= ROUNDS;
        self.was_full |= self.is_full_now;
    }
}
