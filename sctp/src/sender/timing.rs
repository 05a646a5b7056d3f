//! The one timer: when a chunk counts as lost, when a probe is due, when nothing was heard for too long (RFC 8985 §7, RFC 9260 §6.3).

use std::time::{Duration, Instant};

use super::recovery::{Rack, Timer};
use super::{Sender, Suspicion, controller};
use crate::limits::PEER_SACK_DELAY;
use crate::pacer::Pacer;
use crate::rtt::Rtt;
use crate::stats::Stats;

/// A probe waits at least so long.
const MIN_PROBE_WAIT: Duration = Duration::from_millis(3);

impl Sender {
    pub(crate) fn timer(&self) -> Option<Instant> {
        self.timer.map(|(at, _)| at)
    }

    /// When pacing lets the next packet go.
    pub(crate) fn pacing(&self) -> Option<Instant> {
        let rate = self.control.pacing_rate()?;
        self.is_pacing.then(|| self.pacer.ready_at(rate))
    }

    pub(super) fn arm(&mut self, now: Instant, reorder_at: Option<Instant>) {
        let has_forward = self.advanced >= self.flight.base();
        if let Some(at) = reorder_at {
            self.timer = Some((at, Timer::Reorder));
            return;
        }
        if self.flight.bytes() == 0 && !has_forward && !self.flight.has_reneged() {
            self.timer = None;
            return;
        }
        let (probe, timeout) = self.waits();
        self.timer = Some(match probe {
            Some(wait) => (now + wait, Timer::Probe),
            None => (now + timeout, Timer::Timeout),
        });
    }

    /// How long until a probe, if one may be, and until the timeout.
    fn waits(&self) -> (Option<Duration>, Duration) {
        let mut timeout = self.rtt.timeout();
        let mut delay = Duration::ZERO;
        if self.flight.end() - self.flight.base() == 1 {
            // The other side may hold back the SACK for a single packet.
            delay = PEER_SACK_DELAY;
            timeout += delay;
        }
        // Also while something is known to be missing, and again after a probe without answer, as in QUIC (RFC 9002 §6.2), where
        // RFC 8985 §7.2 would wait for the timeout.
        let may_probe =
            self.flight.bytes() > 0 && self.peer_window > 0 && self.timeouts_in_row == 0;
        let probe = self
            .rtt
            .smoothed()
            .filter(|_| may_probe)
            .map(|smoothed| {
                let wait = (smoothed * 2).max(MIN_PROBE_WAIT) + delay;
                wait.saturating_mul(1 << self.probes_in_row.min(16))
            })
            .filter(|wait| *wait < timeout);
        (probe, timeout)
    }

    /// New data left: a probe waits from then on (RFC 8985 §7.2).
    pub(super) fn arm_for_sent(&mut self, now: Instant) {
        match self.timer {
            None | Some((_, Timer::Probe)) => self.arm(now, None),
            Some((_, Timer::Timeout)) => {
                if let (Some(wait), _) = self.waits() {
                    self.timer = Some((now + wait, Timer::Probe));
                }
            }
            Some((_, Timer::Reorder)) => {}
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, stats: &mut Stats) {
        let Some((at, timer)) = self.timer else {
            return;
        };
        if at > now {
            return;
        }
        self.timer = None;
        match timer {
            Timer::Reorder => {
                let reorder_at = self.find_lost(now, stats);
                self.advance(now, false);
                self.arm(now, reorder_at);
            }
            Timer::Probe => {
                stats.probes += 1;
                self.is_probe_due = true;
                self.is_forced = true;
                self.probes_in_row += 1;
                self.arm(now, None);
            }
            Timer::Timeout => self.time_out(now, stats),
        }
    }

    /// RFC 9260 §6.3.3.
    fn time_out(&mut self, now: Instant, stats: &mut Stats) {
        stats.timeouts += 1;
        self.timeouts_in_row = self.timeouts_in_row.saturating_add(1);
        let is_window_closed = self.peer_window < self.packet as u64;
        self.timeout_mark
            .get_or_insert((self.next_number, self.flight.end()));
        self.lose_all(now, stats);
        self.event_end = self.next_number;
        self.suspicion = Suspicion::None;
        if !is_window_closed {
            self.suspicion = Suspicion::Retransmitted;
            self.control.timed_out(now, self.flight.bytes());
        }
        self.rtt.back_off();
        self.is_forced = true;
        self.is_probe_due = false;
        self.advance(now, true);
        self.timer = Some((now + self.rtt.timeout(), Timer::Timeout));
    }

    /// The path is another one, or has come back: nothing measured holds, and waiting is over.
    pub(crate) fn path_changed(&mut self, now: Instant, stats: &mut Stats) {
        self.rtt = Rtt::default();
        self.rack = Rack::default();
        self.rate.restart(now);
        self.path_mark = self.next_number;
        self.pacer = Pacer::new(now, self.packet);
        self.control = controller(now, self.packet, self.kind, &mut self.random);
        self.timeouts_in_row = 0;
        self.timeout_mark = None;
        self.suspicion = Suspicion::None;
        self.lose_all(now, stats);
        self.event_end = self.next_number;
        self.is_forced = self.flight.has_lost();
        self.is_probe_due = false;
        self.advance(now, true);
        self.arm(now, None);
    }
}
