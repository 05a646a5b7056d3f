//! The cycle of probes for bandwidth (draft-ietf-ccwg-bbr §5.3.3).

use std::time::{Duration, Instant};

use super::{AckPhase, BETA, Bbr, HEADROOM, State};
use crate::congestion::{Acknowledged, Lost};
use crate::rate::RateSample;

/// Beside a flow that itself keeps 0.7 of its window (RFC 9438 §4.6), but loses less often than we probe.
const CONTESTED_BETA: f64 = 0.85;
const RENO_ROUNDS: u64 = 63;
/// So many products of rate and round trip above what was held at its start, a probe that sees a queue is over.
const UP_PRODUCTS: f64 = 1.5;

impl Bbr {
    pub(super) fn start_down(&mut self, now: Instant, delivered: u64) {
        self.has_yielded = false;
        self.latest.restart();
        self.up_step = u64::MAX;
        self.rounds_since_probe = self.random.next_u64() & 1;
        let jitter = self.random.next_u64() % 1_000;
        self.probe_wait = Duration::from_millis(2_000 + jitter);
        self.cycle_at = now;
        self.phase = AckPhase::Stopping;
        self.start_round(delivered);
        self.enter(State::Down);
    }

    fn start_refill(&mut self, delivered: u64) {
        if self.bandwidth_short_term.is_finite() && !self.round_trip.is_contested {
            let most = self.bandwidth_short_term;
            self.max_bandwidth = self.max_bandwidth.map(|bandwidth| bandwidth.min(most));
        }
        self.reset_short_term();
        self.up_rounds = 0;
        self.up_acknowledged = 0;
        self.phase = AckPhase::Refilling;
        self.start_round(delivered);
        self.enter(State::Refill);
    }

    fn start_up(&mut self, now: Instant, delivered: u64, rate: f64) {
        self.phase = AckPhase::Starting;
        self.start_round(delivered);
        self.pipe.restart(rate);
        self.cycle_at = now;
        let held = self.round_trip.in_round().unwrap_or_default();
        let held = (self.max_bandwidth() * held.as_secs_f64()) as u64;
        self.up_most = held.saturating_add(self.product(self.max_bandwidth(), UP_PRODUCTS));
        self.enter(State::Up);
        self.raise_slope();
    }

    fn raise_slope(&mut self) {
        let growth = self.packet << self.up_rounds.min(30);
        self.up_rounds = (self.up_rounds + 1).min(30);
        // Bytes acknowledged for each packet by which the bound grows.
        self.up_step = (self.window * self.packet / growth).max(self.packet);
    }

    pub(super) fn update_cycle(&mut self, ack: &Acknowledged, sample: &RateSample) {
        if !self.pipe.was_full {
            return;
        }
        self.adapt_long_term(ack, sample);
        if !self.is_in_cycle() {
            return;
        }
        match self.state {
            State::Down => {
                let is_drained = ack.flight <= self.with_headroom()
                    && ack.flight <= self.inflight(self.max_bandwidth(), 1.0);
                if !self.probe_if_due(ack) && is_drained {
                    self.enter(State::Cruise);
                }
            }
            State::Cruise => {
                self.probe_if_due(ack);
            }
            State::Refill if self.is_round_start => {
                self.is_probe_sampled = true;
                self.start_up(ack.now, ack.delivered, sample.rate);
            }
            State::Up => {
                if self.has_filled_queue(ack) {
                    self.start_down(ack.now, ack.delivered);
                } else if ack.is_window_limited && self.window >= self.inflight_long_term {
                    self.pipe.restart(sample.rate);
                } else if self.pipe.is_full_now {
                    self.start_down(ack.now, ack.delivered);
                }
            }
            _ => {}
        }
    }

    /// The probe fills a queue with what it takes from others. The draft goes on until something is lost, and they lose with us: every 3 s,
    /// which is more often than a flow with CUBIC grows back from (RFC 9438 §4.2: 6 s for a window of 300 packets).
    fn has_filled_queue(&self, ack: &Acknowledged) -> bool {
        !self.round_trip.is_contested && self.round_trip.has_queue() && ack.flight > self.up_most
    }

    fn probe_if_due(&mut self, ack: &Acknowledged) -> bool {
        let waited = ack.now.saturating_duration_since(self.cycle_at) > self.probe_wait;
        // So often as a Reno flow of this size would (draft-ietf-ccwg-bbr §5.3.3.5.3).
        let target = self.product(self.bandwidth, 1.0).min(self.window) / self.packet;
        let is_due = waited || self.rounds_since_probe >= target.clamp(1, RENO_ROUNDS);
        if is_due {
            self.start_refill(ack.delivered);
        }
        is_due
    }

    fn adapt_long_term(&mut self, ack: &Acknowledged, sample: &RateSample) {
        if self.phase == AckPhase::Starting && self.is_round_start {
            self.phase = AckPhase::Feedback;
        }
        if self.phase == AckPhase::Stopping && self.is_round_start {
            self.is_probe_sampled = false;
            self.phase = AckPhase::Neither;
            if self.is_in_cycle() && !sample.is_app_limited {
                self.max_bandwidth = [self.max_bandwidth[1], 0.0];
            }
        }
        if self.is_too_high(sample.lost, sample.flight_at_send)
            || self.inflight_long_term == u64::MAX
        {
            return;
        }
        if self.state == State::Up {
            self.inflight_long_term = self.inflight_long_term.max(sample.flight_at_send);
            self.probe_upward(ack);
        }
    }

    fn probe_upward(&mut self, ack: &Acknowledged) {
        if !ack.is_window_limited || self.window < self.inflight_long_term {
            return;
        }
        self.up_acknowledged += ack.bytes;
        if self.up_acknowledged >= self.up_step {
            let steps = self.up_acknowledged / self.up_step;
            self.up_acknowledged -= steps * self.up_step;
            self.inflight_long_term += steps * self.packet;
        }
        if self.is_round_start {
            self.raise_slope();
        }
    }

    pub(super) fn handle_too_high(&mut self, lost: &Lost, flight: u64) {
        self.is_probe_sampled = false;
        if !lost.is_app_limited {
            let target = self.product(self.bandwidth, 1.0).min(self.window);
            let least = (target as f64 / (1.0 - HEADROOM)) as u64;
            let part = if self.round_trip.is_contested {
                CONTESTED_BETA
            } else {
                BETA
            };
            self.inflight_long_term = ((flight as f64 * part) as u64)
                .max(least)
                .min(flight)
                .max(self.floor());
        }
        if self.state == State::Up {
            self.start_down(lost.now, self.next_round_delivered);
        }
    }
}
