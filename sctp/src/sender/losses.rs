//! Which chunks are lost (RFC 8985 §6.2), and which of those are not worth sending again (RFC 3758 §3.5).

use std::time::{Duration, Instant};

use super::Sender;
use crate::congestion::Lost;
use crate::flight::State;
use crate::limits::PEER_SACK_DELAY;
use crate::queue::Worth;
use crate::stats::Stats;

/// What is given up is not said more often, since each time costs a look at all of it; RFC 3758 §3.5 F2 allows to wait for 200 ms.
const FORWARD_INTERVAL: Duration = Duration::from_millis(10);

impl Sender {
    pub(super) fn is_recovering(&self) -> bool {
        self.flight.has_lost() || self.rack.number() < self.event_end
    }

    /// Chunks sent long enough before one that arrived are lost (RFC 8985 §6.2 step 5). When to look again.
    pub(super) fn find_lost(&mut self, now: Instant, stats: &mut Stats) -> Option<Instant> {
        let is_recovering = self.is_recovering();
        let window = self
            .rack
            .reorder_window(&self.rtt, is_recovering, self.flight.beyond());
        while let Some((number, tsn)) = self.flight.oldest() {
            let sent_at = self.flight.get(tsn)?.sent_at;
            let deadline = self.rack.deadline(number, sent_at, window)?;
            if deadline > now {
                return Some(deadline);
            }
            self.lose(now, tsn, stats);
        }
        None
    }

    fn lose(&mut self, now: Instant, tsn: u64, stats: &mut Stats) {
        self.flight.lose(tsn);
        let Some(sent) = self.flight.get(tsn) else {
            return;
        };
        stats.chunks_lost += 1;
        self.rate.lost += sent.size();
        let is_new_event = sent.number >= self.event_end;
        if is_new_event {
            self.event_end = self.next_number;
            self.rack.note_event();
        }
        self.control.lost(&Lost {
            now,
            bytes: sent.size(),
            flight_at_send: sent.snapshot.flight,
            lost_since: self.rate.lost - sent.snapshot.lost,
            is_app_limited: sent.snapshot.is_app_limited,
            is_new_range: std::mem::replace(&mut self.lost_before, tsn) + 1 != tsn,
            is_new_event,
        });
        self.judge(now, tsn, stats);
    }

    /// A lost chunk may not be worth sending again (RFC 3758 §3.5 A3).
    pub(super) fn judge(&mut self, now: Instant, tsn: u64, stats: &mut Stats) {
        let Some(sent) = self.flight.get(tsn) else {
            return;
        };
        let is_over = match sent.fragment.worth {
            Worth::Always => false,
            Worth::Retransmits(most) => sent.transmissions > most,
            Worth::Until(end) => end < now,
        };
        if is_over && self.can_abandon && sent.state != State::Abandoned {
            let (stream, message) = (sent.fragment.stream, sent.fragment.message);
            stats.chunks_abandoned += self.flight.abandon(tsn);
            self.queue.abandon_rest(stream, message);
        }
    }

    /// Moves the point up to which nothing is expected any more, and says so (RFC 3758 §3.5 C2, C3): what is new soon, and the same again
    /// once a round trip.
    pub(super) fn advance(&mut self, now: Instant, is_forced: bool) {
        self.advanced = self.advanced.max(self.flight.base() - 1);
        while self
            .flight
            .get(self.advanced + 1)
            .is_some_and(|sent| sent.state == State::Abandoned)
        {
            self.advanced += 1;
        }
        if self.advanced < self.flight.base() {
            self.is_forward_due = false;
            return;
        }
        let passed = |wait| {
            self.forward_sent_at
                .is_none_or(|at| now.saturating_duration_since(at) >= wait)
        };
        let is_new = self.advanced > self.forward_until;
        let round_trip = self.rtt.smoothed().unwrap_or(PEER_SACK_DELAY);
        let is_due = passed(FORWARD_INTERVAL) && (is_new || passed(round_trip));
        self.is_forward_due |= is_forced || is_due;
    }

    pub(super) fn lose_all(&mut self, now: Instant, stats: &mut Stats) {
        if self.flight.has_reneged() {
            stats.chunks_reneged += self.flight.renege(self.flight.end());
        }
        while let Some((_, tsn)) = self.flight.oldest() {
            stats.chunks_lost += 1;
            self.flight.lose(tsn);
            self.judge(now, tsn, stats);
        }
    }
}
