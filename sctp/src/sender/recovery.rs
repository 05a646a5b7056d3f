//! The state of RACK (RFC 8985 §5, §6).

use std::time::{Duration, Instant};

use crate::rtt::Rtt;

/// Chunks reported beyond a gap after which it is taken for a loss (RFC 8985 §6.2 step 4).
const DUPLICATE_THRESHOLD: usize = 3;

/// Loss events after which a widened window is narrow again (RFC 8985 §6.2 step 4).
const PERSIST: u32 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// A chunk counts as lost if it does not arrive until then.
    Reorder,
    /// A tail loss probe (RFC 8985 §7).
    Probe,
    /// T3-rtx (RFC 9260 §6.3).
    Timeout,
}

#[derive(Debug, Default)]
pub(crate) struct Rack {
    /// Number of the newest packet of which a chunk arrived, and its round trip.
    number: u64,
    rtt: Duration,
    /// The highest TSN that arrived.
    highest: u64,
    is_reordering_seen: bool,
    multiple: u32,
    persist: u32,
    /// Duplicates reported before this packet number belong to one round.
    duplicate_round: u64,
}

impl Rack {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// A chunk sent once arrived (step 3).
    pub(crate) fn note_order(&mut self, tsn: u64) {
        if tsn < self.highest {
            self.is_reordering_seen = true;
        }
        self.highest = self.highest.max(tsn);
    }

    /// Steps 1 and 2.
    pub(crate) fn note_delivered(&mut self, number: u64, rtt: Duration) {
        if number >= self.number {
            self.number = number;
            self.rtt = rtt;
        }
    }

    /// The last timeout was none: what seemed to answer a chunk sent after it answered the one before, and says nothing of how long a
    /// packet takes. What arrived of packets from before the timeout does.
    pub(crate) fn undo(&mut self, number: u64, rtt: Duration) {
        self.number = number;
        self.rtt = rtt;
    }

    /// The other side had something twice: we were too fast to call it lost (step 4). Once a round.
    pub(crate) fn note_duplicate(&mut self, next_number: u64) {
        if self.number >= self.duplicate_round {
            self.duplicate_round = next_number;
            self.multiple += 1;
            self.persist = PERSIST;
        }
    }

    pub(crate) fn note_event(&mut self) {
        self.persist = self.persist.saturating_sub(1);
        if self.persist == 0 {
            self.multiple = 0;
        }
    }

    /// How much later than its successors a chunk may arrive.
    pub(crate) fn reorder_window(&self, rtt: &Rtt, is_recovering: bool, beyond: usize) -> Duration {
        if !self.is_reordering_seen && (is_recovering || beyond >= DUPLICATE_THRESHOLD) {
            return Duration::ZERO;
        }
        let quarter = rtt.least().unwrap_or_default() / 4;
        (quarter * (self.multiple + 1)).min(rtt.smoothed().unwrap_or_default())
    }

    /// When a chunk sent in packet `number` counts as lost; `None` when nothing newer arrived.
    pub(crate) fn deadline(
        &self,
        number: u64,
        sent_at: Instant,
        window: Duration,
    ) -> Option<Instant> {
        (number < self.number).then(|| sent_at + self.rtt + window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8985 §6.2 steps 4 and 5.
    #[test]
    fn only_older_packets_are_lost_and_reordering_is_waited_for() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let mut rtt = Rtt::default();
        rtt.sample(now, ms(40));
        let mut rack = Rack::default();
        rack.note_order(10);
        rack.note_delivered(5, ms(40));
        assert_eq!(rack.deadline(5, now, ms(0)), None);
        assert_eq!(rack.deadline(4, now, ms(1)), Some(now + ms(41)));
        assert_eq!(rack.reorder_window(&rtt, false, 1), ms(10));
        assert_eq!(rack.reorder_window(&rtt, false, 3), ms(0));
        rack.note_order(9);
        assert_eq!(rack.reorder_window(&rtt, true, 3), ms(10));
        rack.note_duplicate(6);
        rack.note_duplicate(7);
        assert_eq!(rack.reorder_window(&rtt, true, 3), ms(20));
        rack.note_delivered(6, ms(40));
        rack.note_duplicate(8);
        assert_eq!(rack.reorder_window(&rtt, true, 3), ms(30));
        for _ in 0..9 {
            rack.note_delivered(100, ms(40));
            rack.note_duplicate(100);
        }
        assert!(rack.reorder_window(&rtt, true, 3) <= ms(40));
        (0..PERSIST).for_each(|_| rack.note_event());
        assert_eq!(rack.reorder_window(&rtt, true, 3), ms(10));
    }
}
