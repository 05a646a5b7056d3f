//! Model-based control after draft-ietf-ccwg-bbr (version 3 of BBR).
//!
//! The model is the bandwidth of the bottleneck and the round trip without queue. The states:
//!
//! ```text
//! Startup -> Drain -> Down -> Cruise -> Refill -> Up -> Down ...
//!      ^                 any -> ProbeRtt (every 5 s without a lower round trip) -> Down or Startup
//!      +----------------------------+
//! ```
//!
//! Names follow the draft where it has them; "short term" bounds hold until the next probe, "long term" ones until a
//! probe moves them.
//!
//! Where it departs from the draft, measured by `tests/fair.rs` and `examples/link.rs`:
//! - Losses count only if there is a queue as well, or if they are heavy: the draft's rules stop growth at 2 % of random loss.
//! - A loss during a probe lowers the long-term bound by a fraction. A queue during `Cruise` makes a flow give up a fraction of its rate until
//!   its next probe, which starts from the lower rate. Both take more from the larger flow; with the draft's rules the first of two flows
//!   kept up to nine tenths of the rate.
//! - Beside a flow that fills the queue even while we give way (such as CUBIC), we stop giving way: the queue counts as part of the path,
//!   and the rate is measured anew.

mod cycle;
mod extra;
mod latest;
mod pipe;
mod round_trip;

use std::time::{Duration, Instant};

use self::extra::Extra;
use self::latest::{LOSS_THRESHOLD, Latest, is_too_high};
use self::pipe::Pipe;
use self::round_trip::RoundTrip;
use super::{Acknowledged, Controller, Lost};
use crate::limits::{INITIAL_WINDOW_PACKETS, SEND_WINDOW};
use crate::random::Random;
use crate::rate::RateSample;

/// draft-ietf-ccwg-bbr §2.4 and following: the numbers of the algorithm.
const STARTUP_PACING: f64 = 2.77;
const DRAIN_PACING: f64 = 0.5;
const DOWN_PACING: f64 = 0.9;
const UP_PACING: f64 = 1.25;
const CRUISE_WINDOW: f64 = 2.0;
const UP_WINDOW: f64 = 2.25;
const PROBE_RTT_WINDOW: f64 = 0.5;
const PACING_MARGIN: f64 = 0.99;
const BETA: f64 = 0.7;
const HEADROOM: f64 = 0.15;
const STARTUP_LOSSES: u32 = 6;
const PROBE_RTT_DURATION: Duration = Duration::from_millis(200);
const MIN_WINDOW_PACKETS: u64 = 4;
/// What a flow keeps of its rate when there is a queue that is not its own, at least the square of it: a share, so that the larger gives more.
const KEPT: f64 = 0.88;
/// Before a round trip is known.
const INITIAL_RTT: Duration = Duration::from_millis(1);
/// A link without delay must not make the model zero.
const LEAST_RTT: Duration = Duration::from_micros(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Startup,
    Drain,
    Down,
    Cruise,
    Refill,
    Up,
    ProbeRtt,
}

/// What the acknowledgements of this time are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AckPhase {
    Neither,
    Starting,
    Feedback,
    Stopping,
    Refilling,
}

#[derive(Debug)]
pub(crate) struct Bbr {
    packet: u64,
    random: Random,
    state: State,
    pacing_gain: f64,
    window_gain: f64,
    pacing_rate: f64,
    window: u64,
    /// Before the look for the least round trip.
    prior_window: u64,
    before_timeout: Option<u64>,
    has_rtt: bool,

    // Rounds.
    round: u64,
    next_round_delivered: u64,
    is_round_start: bool,
    idle_restart: bool,

    latest: Latest,
    round_trip: RoundTrip,
    pipe: Pipe,
    extra: Extra,

    // The bandwidth.
    max_bandwidth: [f64; 2],
    bandwidth: f64,
    bandwidth_short_term: f64,

    // What may be in flight.
    inflight_long_term: u64,
    inflight_short_term: u64,

    // Looking for the least round trip.
    probe_rtt_done_at: Option<Instant>,
    probe_rtt_round_done: bool,

    // Probing for bandwidth.
    phase: AckPhase,
    cycle_at: Instant,
    rounds_since_probe: u64,
    probe_wait: Duration,
    is_probe_sampled: bool,
    has_yielded: bool,
    up_rounds: u32,
    up_acknowledged: u64,
    up_step: u64,
    /// With a queue and so much in flight the probe is over.
    up_most: u64,
}

impl Bbr {
    pub(crate) fn new(now: Instant, packet: u64, seed: u64) -> Self {
        let window = packet * INITIAL_WINDOW_PACKETS;
        let nominal = window as f64 / INITIAL_RTT.as_secs_f64();
        Self {
            packet,
            random: Random::new(seed),
            state: State::Startup,
            pacing_gain: STARTUP_PACING,
            window_gain: CRUISE_WINDOW,
            pacing_rate: STARTUP_PACING * nominal,
            window,
            prior_window: 0,
            before_timeout: None,
            has_rtt: false,
            round: 0,
            next_round_delivered: 0,
            is_round_start: false,
            idle_restart: false,
            latest: Latest::default(),
            round_trip: RoundTrip::new(now, None),
            pipe: Pipe::default(),
            extra: Extra::new(now),
            max_bandwidth: [0.0; 2],
            bandwidth: 0.0,
            bandwidth_short_term: f64::INFINITY,
            inflight_long_term: u64::MAX,
            inflight_short_term: u64::MAX,
            probe_rtt_done_at: None,
            probe_rtt_round_done: false,
            phase: AckPhase::Neither,
            cycle_at: now,
            rounds_since_probe: 0,
            probe_wait: Duration::ZERO,
            is_probe_sampled: false,
            has_yielded: false,
            up_rounds: 0,
            up_acknowledged: 0,
            up_step: u64::MAX,
            up_most: u64::MAX,
        }
    }

    // ---- The model

    fn max_bandwidth(&self) -> f64 {
        self.max_bandwidth[0].max(self.max_bandwidth[1])
    }

    fn product(&self, bandwidth: f64, gain: f64) -> u64 {
        match self.round_trip.least() {
            None => self.packet * INITIAL_WINDOW_PACKETS,
            Some(rtt) => (gain * bandwidth * rtt.max(LEAST_RTT).as_secs_f64()) as u64,
        }
    }

    /// What may be in flight at this gain, with some room for what waits in buffers of the sending host.
    fn inflight(&self, bandwidth: f64, gain: f64) -> u64 {
        self.quantized(self.product(bandwidth, gain))
    }

    fn quantized(&self, inflight: u64) -> u64 {
        let quantum = ((self.pacing_rate / 1_000.0) as u64).clamp(2 * self.packet, 64 * 1024);
        let inflight = inflight.max(3 * quantum).max(self.least_window());
        if self.state == State::Up {
            inflight + 2 * self.packet
        } else {
            inflight
        }
    }

    fn least_window(&self) -> u64 {
        MIN_WINDOW_PACKETS * self.packet
    }

    /// Bounds do not go below what leaves in a burst anyway: on a path with a product this small, one loss is beyond any threshold.
    fn floor(&self) -> u64 {
        self.quantized(0)
    }

    fn with_headroom(&self) -> u64 {
        if self.inflight_long_term == u64::MAX {
            return u64::MAX;
        }
        let headroom = ((self.inflight_long_term as f64 * HEADROOM) as u64).max(self.packet);
        self.inflight_long_term
            .saturating_sub(headroom)
            .max(self.least_window())
    }

    fn is_probing_bandwidth(&self) -> bool {
        matches!(self.state, State::Startup | State::Refill | State::Up)
    }

    fn is_in_cycle(&self) -> bool {
        matches!(
            self.state,
            State::Down | State::Cruise | State::Refill | State::Up
        )
    }

    fn start_round(&mut self, delivered: u64) {
        self.next_round_delivered = delivered;
    }

    fn update_model(&mut self, ack: &Acknowledged, sample: &RateSample) {
        self.latest.acknowledged(ack, sample);
        self.update_round(ack, sample);
        if sample.rate > 0.0 && (sample.rate >= self.max_bandwidth() || !sample.is_app_limited) {
            self.max_bandwidth[1] = self.max_bandwidth[1].max(sample.rate);
        }
        if self.latest.is_start {
            self.adapt_short_term();
        }
        self.extra.update(
            ack.now,
            ack.bytes,
            self.bandwidth,
            self.window,
            self.round,
            self.pipe.was_full,
        );
        self.pipe.update(sample, self.is_round_start);
        if self.latest.is_start {
            self.check_startup_loss(ack);
            self.latest.forget_losses();
            self.round_trip.start_round();
        }
        self.round_trip.note_in_round(ack.rtt);
        if self.state == State::Startup && self.pipe.was_full {
            self.enter(State::Drain);
        }
        if self.state == State::Drain && ack.flight <= self.inflight(self.bandwidth, 1.0) {
            self.start_down(ack.now, ack.delivered);
        }
        self.update_cycle(ack, sample);
        self.update_round_trip(ack, sample);
        self.check_probe_rtt(ack);
        if self.latest.is_start {
            self.latest.bandwidth = sample.rate;
            self.latest.inflight = sample.delivered;
        }
        self.bandwidth = self.max_bandwidth().min(self.bandwidth_short_term);
    }

    fn update_round(&mut self, ack: &Acknowledged, sample: &RateSample) {
        self.is_round_start = false;
        if sample.prior_delivered >= self.next_round_delivered {
            self.start_round(ack.delivered);
            self.round += 1;
            self.rounds_since_probe += 1;
            self.is_round_start = true;
        }
    }

    fn update_round_trip(&mut self, ack: &Acknowledged, sample: &RateSample) {
        let was_contested = self.round_trip.is_contested;
        self.round_trip.update(ack.now, ack.rtt);
        let now = self.latest.bandwidth.max(sample.rate);
        let is_measured = now > 0.0 && !sample.is_app_limited;
        if self.round_trip.is_contested && !was_contested && is_measured {
            // The rate of a path without rivals, or what losses left of it, is none to go on from with this round trip.
            self.max_bandwidth = [0.0, now];
            self.reset_short_term();
        }
    }

    /// Losses outside of probing lower the short-term bounds once a round. The draft does it for any loss, which costs a fifth of
    /// the link at 1 % of random loss; here they have to be heavy, or to come with a queue. A queue alone makes room once a cycle: the
    /// next probes share it by who comes first, not by who had more, so that flows come to equal shares.
    fn adapt_short_term(&mut self) {
        if self.is_probing_bandwidth() || self.state == State::ProbeRtt {
            return;
        }
        // The queue of our own probe is drained in `Down`.
        let is_cruising = self.state == State::Cruise;
        let has_small_queue = is_cruising && self.round_trip.has_small_queue();
        let has_queue = is_cruising && self.round_trip.has_queue();
        let has_loss = self.latest.lost > 0 && (has_queue || self.latest.is_loss_heavy());
        if !has_small_queue && !has_loss {
            return;
        }
        let before = self.bandwidth_short_term.min(self.max_bandwidth());
        if !has_loss {
            if !self.round_trip.is_contested && !std::mem::replace(&mut self.has_yielded, true) {
                self.bandwidth_short_term = KEPT * self.latest.bandwidth.max(KEPT * before);
            }
            return;
        }
        self.bandwidth_short_term = self.latest.bandwidth.max(BETA * before);
        let before = self.inflight_short_term.min(self.window);
        self.inflight_short_term = self.latest.inflight.max((BETA * before as f64) as u64);
    }

    /// So much of a flight was lost that it was more than the path holds.
    fn is_too_high(&self, lost: u64, flight: u64) -> bool {
        is_too_high(lost, flight, self.round_trip.has_queue(), self.packet)
    }

    fn reset_short_term(&mut self) {
        self.bandwidth_short_term = f64::INFINITY;
        self.inflight_short_term = u64::MAX;
    }

    // ---- Startup and drain

    fn check_startup_loss(&mut self, ack: &Acknowledged) {
        let flight = self.latest.inflight + self.latest.lost;
        if self.state == State::Startup
            && !self.pipe.was_full
            && ack.is_recovering
            && self.latest.lost_ranges >= STARTUP_LOSSES
            && self.is_too_high(self.latest.lost, flight)
        {
            self.pipe.was_full = true;
            self.inflight_long_term = self
                .product(self.max_bandwidth(), 1.0)
                .max(self.latest.inflight)
                .max(INITIAL_WINDOW_PACKETS * self.packet);
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        (self.pacing_gain, self.window_gain) = match state {
            State::Startup => (STARTUP_PACING, CRUISE_WINDOW),
            State::Drain => (DRAIN_PACING, CRUISE_WINDOW),
            State::Down => (DOWN_PACING, CRUISE_WINDOW),
            State::Cruise | State::Refill => (1.0, CRUISE_WINDOW),
            State::Up => (UP_PACING, UP_WINDOW),
            State::ProbeRtt => (1.0, PROBE_RTT_WINDOW),
        };
    }

    // ---- The round trip

    fn probe_rtt_window(&self) -> u64 {
        self.product(self.bandwidth, PROBE_RTT_WINDOW)
            .max(self.least_window())
    }

    fn check_probe_rtt(&mut self, ack: &Acknowledged) {
        if self.state != State::ProbeRtt && self.round_trip.is_probe_due && !self.idle_restart {
            self.prior_window = self.window;
            self.enter(State::ProbeRtt);
            self.probe_rtt_done_at = None;
            self.phase = AckPhase::Stopping;
            self.start_round(ack.delivered);
        }
        if self.state == State::ProbeRtt {
            match self.probe_rtt_done_at {
                None if ack.flight <= self.probe_rtt_window() => {
                    self.probe_rtt_done_at = Some(ack.now + PROBE_RTT_DURATION);
                    self.probe_rtt_round_done = false;
                    self.start_round(ack.delivered);
                }
                None => {}
                Some(done_at) => {
                    self.probe_rtt_round_done |= self.is_round_start;
                    if self.probe_rtt_round_done && ack.now > done_at {
                        self.leave_probe_rtt(ack.now, ack.delivered);
                    }
                }
            }
        }
        if ack.bytes > 0 {
            self.idle_restart = false;
        }
    }

    fn leave_probe_rtt(&mut self, now: Instant, delivered: u64) {
        self.round_trip.probe_done(now);
        self.window = self.window.max(self.prior_window);
        self.reset_short_term();
        if self.pipe.was_full {
            self.start_down(now, delivered);
            self.enter(State::Cruise);
        } else {
            self.enter(State::Startup);
        }
    }

    // ---- What follows for the sender

    fn set_pacing(&mut self) {
        let rate = self.pacing_gain * self.bandwidth * PACING_MARGIN;
        if rate > 0.0 && (self.pipe.was_full || rate > self.pacing_rate) {
            self.pacing_rate = rate;
        }
    }

    fn set_window(&mut self, ack: &Acknowledged) {
        let most =
            self.quantized(self.product(self.bandwidth, self.window_gain) + self.extra.bytes());
        if self.pipe.was_full {
            self.window = (self.window + ack.bytes).min(most);
        } else if self.window < most || ack.delivered < INITIAL_WINDOW_PACKETS * self.packet {
            self.window += ack.bytes;
        }
        if self.state == State::ProbeRtt {
            self.window = self.window.min(self.probe_rtt_window());
        }
        let cap = match self.state {
            State::Down | State::Refill | State::Up => self.inflight_long_term,
            State::Cruise | State::ProbeRtt => self.with_headroom(),
            State::Startup | State::Drain => u64::MAX,
        };
        let cap = cap.min(self.inflight_short_term).max(self.floor());
        self.window = self
            .window
            .max(self.least_window())
            .min(cap)
            .min(SEND_WINDOW as u64);
    }
}

impl Controller for Bbr {
    fn sent(&mut self, now: Instant, flight: u64, is_app_limited: bool) {
        if flight == 0 && is_app_limited {
            self.idle_restart = true;
            self.extra.restart(now);
            self.round_trip.resume(now);
            if self.is_in_cycle() && self.bandwidth > 0.0 {
                self.pacing_rate = self.bandwidth * PACING_MARGIN;
            }
        }
    }

    fn acknowledged(&mut self, ack: &Acknowledged) {
        if !self.has_rtt
            && let Some(rtt) = ack.rtt
        {
            self.has_rtt = true;
            self.round_trip = RoundTrip::new(ack.now, Some(rtt));
            let nominal = self.window as f64 / rtt.max(LEAST_RTT).as_secs_f64();
            self.pacing_rate = STARTUP_PACING * nominal;
        }
        if let Some(sample) = ack.rate {
            self.update_model(ack, &sample);
        } else {
            self.round_trip.update(ack.now, ack.rtt);
        }
        self.set_pacing();
        self.set_window(ack);
    }

    fn lost(&mut self, lost: &Lost) {
        self.latest.lost(lost);
        if !self.is_probe_sampled || !self.is_too_high(lost.lost_since, lost.flight_at_send) {
            return;
        }
        // How much was in flight when the losses passed the threshold.
        let before = lost.flight_at_send.saturating_sub(lost.bytes) as f64;
        let lost_before = lost.lost_since.saturating_sub(lost.bytes) as f64;
        let prefix = (LOSS_THRESHOLD * before - lost_before) / (1.0 - LOSS_THRESHOLD);
        self.handle_too_high(lost, (before + prefix.max(0.0)) as u64);
    }

    fn timed_out(&mut self, _: Instant, flight: u64) {
        // Of several in a row the first tells what it was.
        self.before_timeout.get_or_insert(self.window);
        self.window = flight + self.packet;
    }

    fn timeout_was_spurious(&mut self) {
        if let Some(window) = self.before_timeout.take() {
            self.window = self.window.max(window);
            self.reset_short_term();
        }
    }

    fn timeout_was_real(&mut self) {
        self.before_timeout = None;
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn pacing_rate(&self) -> Option<f64> {
        Some(self.pacing_rate)
    }

    fn is_probing_rtt(&self) -> bool {
        self.state == State::ProbeRtt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5682 §3.2: also when there were several.
    #[test]
    fn timeouts_that_were_none_leave_the_window_as_it_was() {
        let now = Instant::now();
        let mut bbr = Bbr::new(now, 1_200, 1);
        let window = bbr.window();
        bbr.timed_out(now, 0);
        bbr.timed_out(now, 0);
        assert_eq!(bbr.window(), 1_200);
        bbr.timeout_was_spurious();
        assert_eq!(bbr.window(), window);
        // A real one is not undone by a later one.
        bbr.timed_out(now, 0);
        bbr.timeout_was_real();
        bbr.timed_out(now, 0);
        bbr.timeout_was_spurious();
        assert_eq!(bbr.window(), 1_200);
    }
}
