//! Handles a SACK: marks what has arrived, and updates the measurements of round trip and rate (RFC 9260 §6.2.1, RFC 8985 §6.2).

use std::time::{Duration, Instant};

use super::{Sender, Suspicion};
use crate::chunk::{SACK, Sack};
use crate::congestion::Acknowledged;
use crate::error::PeerFault;
use crate::flight::State;
use crate::stats::Stats;
use crate::tsn;

/// What one SACK acknowledged.
#[derive(Default)]
struct Arrivals {
    /// Number of the newest packet of which a chunk arrived, and its round trip if that chunk was sent once.
    number: u64,
    rtt: Option<Duration>,
    /// A chunk that was sent once is among them.
    has_original: bool,
    /// The newest packet, and its round trip, of those that a timeout had given up though nothing was wrong with them.
    spurious: Option<(u64, Duration)>,
}

impl Sender {
    pub(crate) fn handle_sack(
        &mut self,
        now: Instant,
        sack: &Sack<'_>,
        stats: &mut Stats,
    ) -> Result<(), PeerFault> {
        let cumulative = tsn::extend(self.flight.base() - 1, sack.cumulative);
        if cumulative >= self.flight.end() {
            return Err(PeerFault::Range(SACK));
        }
        if cumulative + 1 < self.flight.base() {
            // Overtaken by a newer one (RFC 9260 §6.2.1 i).
            return Ok(());
        }
        let prior_flight = self.flight.bytes();
        let has_advanced = cumulative >= self.flight.base();
        let mut bytes = 0;
        let mut arrivals = Arrivals::default();
        let mut from = self.flight.base();
        while let Some(tsn) = self.flight.next_missing(from, cumulative + 1) {
            bytes += self.acknowledge(now, tsn, &mut arrivals);
            from = tsn + 1;
        }
        while let Some(sent) = self.flight.pop(cumulative) {
            self.queue
                .release(sent.fragment.stream, sent.fragment.payload.len());
        }
        let mut covered = cumulative;
        let mut first_reported = None;
        for (start, end) in sack.gaps() {
            let (start, end) = (cumulative + u64::from(start), cumulative + u64::from(end));
            if start <= covered || end < start || end >= self.flight.end() {
                stats.gap_blocks_refused += 1;
                continue;
            }
            first_reported.get_or_insert(start);
            let mut from = start;
            while let Some(tsn) = self.flight.next_missing(from, end + 1) {
                bytes += self.acknowledge(now, tsn, &mut arrivals);
                from = tsn + 1;
            }
            covered = end;
        }
        if self.flight.has_reneged() && self.renege_at.is_none_or(|at| at <= now) {
            // Not with each report, for it costs what is under way. The timeout finds what is left.
            self.renege_at = Some(now + self.rtt.timeout());
            let end = first_reported.unwrap_or(self.flight.end());
            stats.chunks_reneged += self.flight.renege(end);
        }
        stats.duplicates_reported += sack.duplicates() as u64;
        if sack.duplicates() > 0 {
            self.rack.note_duplicate(self.next_number);
        }
        if let Some((number, rtt)) = arrivals.spurious
            && let Some((mark, _)) = self.timeout_mark.take()
        {
            stats.spurious_timeouts += 1;
            self.flight.unlose(mark);
            self.rack.undo(number, rtt);
            self.control.timeout_was_spurious();
        }
        let base = self.flight.base();
        if self.timeout_mark.take_if(|(_, end)| *end <= base).is_some() {
            self.control.timeout_was_real();
        }
        self.suspicion = match self.suspicion {
            Suspicion::Retransmitted if has_advanced && self.timeout_mark.is_some() => {
                Suspicion::Testing(2)
            }
            // Chunks that left with the oldest one say no more than it does.
            before @ Suspicion::Testing(_)
                if !arrivals.has_original && self.timeout_mark.is_some() =>
            {
                before
            }
            before if bytes == 0 && !has_advanced => before,
            _ => Suspicion::None,
        };
        self.take_window(sack.window);
        self.timeouts_in_row = 0;
        if bytes > 0 {
            self.probes_in_row = 0;
            self.rtt.restore();
        }
        if let Some(rtt) = arrivals.rtt {
            self.rtt.sample(now, rtt);
        }
        let reorder_at = self.find_lost(now, stats);
        let sample = self.rate.sample(now, self.rtt.least());
        let window = self.control.window();
        let is_window_limited = std::mem::take(&mut self.was_window_limited)
            || prior_flight + 2 * self.packet as u64 >= window;
        self.control.acknowledged(&Acknowledged {
            now,
            bytes,
            flight: self.flight.bytes(),
            delivered: self.rate.delivered,
            rtt: arrivals.rtt,
            rate: sample,
            is_window_limited,
            is_recovering: self.is_recovering(),
        });
        self.advance(now, false);
        if bytes > 0 || has_advanced || reorder_at.is_some() {
            self.arm(now, reorder_at);
        }
        Ok(())
    }

    /// The cumulative point of a SHUTDOWN.
    pub(crate) fn handle_cumulative(
        &mut self,
        now: Instant,
        cumulative: u32,
        stats: &mut Stats,
    ) -> Result<(), PeerFault> {
        let window = u32::try_from(self.peer_window).unwrap_or(u32::MAX);
        self.handle_sack(now, &Sack::cumulative_only(cumulative, window), stats)
    }

    /// One chunk has arrived. Its size.
    fn acknowledge(&mut self, now: Instant, tsn: u64, arrivals: &mut Arrivals) -> u64 {
        let Some(before) = self.flight.acknowledge(tsn) else {
            return 0;
        };
        let Some(sent) = self.flight.get(tsn) else {
            return 0;
        };
        let size = sent.size();
        let passed = now.saturating_duration_since(sent.sent_at);
        if sent.number < self.path_mark {
            self.rate.delivered += size;
            return size;
        }
        let is_first = sent.transmissions == 1;
        if arrivals.number <= sent.number {
            arrivals.number = sent.number;
            // Older ones in the same report may have arrived long ago.
            arrivals.rtt = is_first.then_some(passed);
        }
        if is_first {
            self.rack.note_order(tsn);
            let was_given_up = before == State::Lost
                && self
                    .timeout_mark
                    .is_some_and(|(mark, _)| sent.number < mark);
            if was_given_up {
                arrivals.spurious = arrivals.spurious.max(Some((sent.number, passed)));
            }
            arrivals.has_original = true;
        }
        // A repeated chunk that is acknowledged this fast: the first one did it (RFC 8985 §6.2 step 2).
        let is_ambiguous = !is_first && self.rtt.least().is_some_and(|least| passed < least);
        if !is_ambiguous {
            self.rack.note_delivered(sent.number, passed);
            let snapshot = sent.snapshot;
            let (number, sent_at) = (sent.number, sent.sent_at);
            self.rate
                .acknowledged(now, number, sent_at, &snapshot, size);
        } else {
            self.rate.delivered += size;
        }
        size
    }

    fn take_window(&mut self, window: u32) {
        let window = u64::from(window);
        let has_opened = self.peer_window < self.packet as u64 && window >= self.packet as u64;
        self.peer_window = window;
        if has_opened
            && let Some(tsn) = self.window_probe.take()
            && self.flight.newest_flying() == Some(tsn)
        {
            // It fell on a closed window: not the path's fault, and no reason to wait for the timer.
            self.flight.lose(tsn);
        }
    }
}
