//! The least round trip time, which has no queue in it, and the latest one (draft-ietf-ccwg-bbr §5.5.5).

use std::time::{Duration, Instant};

/// So long the least round trip is believed.
const WINDOW: Duration = Duration::from_secs(10);
/// So long without a round trip as low, and it is looked for.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// The least round trip of so long is that of the free path.
const FREE_WINDOW: Duration = Duration::from_secs(600);
/// So long without a free path, though we made room and looked for it: somebody else keeps the queue filled. A path that has become
/// longer looks the same; until that is known it costs the sharing with flows of our own.
const CONTESTED_AFTER: Duration = Duration::from_secs(6);
/// So long with round trips of so many times the least, and it is the same: our flows have two products of rate and round trip in flight, and
/// leave no such queue for long. What takes less than the floor is no long queue, but the work of hosts and radios.
const CROWDED_AFTER: Duration = Duration::from_secs(1);
const CROWDED: u32 = 3;
const CROWDED_FLOOR: Duration = Duration::from_millis(10);
/// This part of the least round trip more is a queue.
const QUEUE_PART: u32 = 4;
/// This part more is enough to leave room to others, unless it is the work of hosts.
const SMALL_QUEUE_PART: u32 = 8;
const SMALL_QUEUE_FLOOR: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct RoundTrip {
    least: Option<Duration>,
    least_at: Instant,
    probed: Option<Duration>,
    probed_at: Instant,
    /// The least of this round.
    in_round: Option<Duration>,
    /// It is time to look for the least one.
    pub(super) is_probe_due: bool,
    /// The least of some minutes, in two halves since the second began, and when it was last about that.
    free: [Option<Duration>; 2],
    free_since: Instant,
    free_at: Instant,
    /// When the queue was last none that only others leave.
    calm_at: Instant,
    /// A flow that only losses slow down holds the queue: making room would starve us, and its queue is part of the path.
    pub(super) is_contested: bool,
}

impl RoundTrip {
    pub(super) fn new(now: Instant, least: Option<Duration>) -> Self {
        Self {
            least,
            least_at: now,
            probed: least,
            probed_at: now,
            in_round: None,
            is_probe_due: false,
            free: [None, least],
            free_since: now,
            free_at: now,
            calm_at: now,
            is_contested: false,
        }
    }

    pub(super) fn least(&self) -> Option<Duration> {
        self.least
    }

    pub(super) fn update(&mut self, now: Instant, rtt: Option<Duration>) {
        if let Some(rtt) = rtt {
            let free = self.note_free(now, rtt);
            if rtt <= CROWDED * free.max(CROWDED_FLOOR) {
                self.calm_at = now;
            }
            if rtt <= free + free / QUEUE_PART {
                self.free_at = now;
                self.is_contested = false;
            }
            // A look takes a round trip to drain the queue and one to see that it is gone.
            let passed = |since| now.saturating_duration_since(since + 3 * rtt);
            if !self.is_contested
                && (passed(self.free_at) > CONTESTED_AFTER || passed(self.calm_at) > CROWDED_AFTER)
            {
                self.is_contested = true;
                self.probed = Some(rtt);
                self.probed_at = now;
            }
        }
        self.is_probe_due = now.saturating_duration_since(self.probed_at) > PROBE_INTERVAL;
        if let Some(rtt) = rtt
            && (self.is_probe_due || self.probed.is_none_or(|least| rtt <= least))
        {
            self.probed = Some(rtt);
            self.probed_at = now;
        }
        let is_old = now.saturating_duration_since(self.least_at) > WINDOW;
        if let Some(probed) = self.probed
            && (is_old || self.is_contested || self.least.is_none_or(|least| probed < least))
        {
            self.least = Some(probed);
            self.least_at = self.probed_at;
        }
    }

    /// The round trip of the free path, which may have become a longer one.
    fn note_free(&mut self, now: Instant, rtt: Duration) -> Duration {
        if now.saturating_duration_since(self.free_since) > FREE_WINDOW / 2 {
            self.free = [self.free[1], None];
            self.free_since = now;
        }
        let recent = self.free[1].map_or(rtt, |least| least.min(rtt));
        self.free[1] = Some(recent);
        self.free[0].map_or(recent, |least| least.min(recent))
    }

    /// Sending goes on after a pause, which says nothing about others.
    pub(super) fn resume(&mut self, now: Instant) {
        self.free_at = now;
        self.calm_at = now;
    }

    /// The next look is an interval away.
    pub(super) fn probe_done(&mut self, now: Instant) {
        self.probed_at = now;
    }

    pub(super) fn start_round(&mut self) {
        self.in_round = None;
    }

    pub(super) fn note_in_round(&mut self, rtt: Option<Duration>) {
        if let Some(rtt) = rtt {
            self.in_round = Some(self.in_round.map_or(rtt, |least| least.min(rtt)));
        }
    }

    /// The least of this round.
    pub(super) fn in_round(&self) -> Option<Duration> {
        self.in_round.or(self.least)
    }

    /// No round trip of this round was near the least.
    pub(super) fn has_queue(&self) -> bool {
        self.is_longer(|least| least / QUEUE_PART)
    }

    /// The same, for a queue that is still small, but more than what hosts take on a path without delay.
    pub(super) fn has_small_queue(&self) -> bool {
        self.is_longer(|least| (least / SMALL_QUEUE_PART).max(SMALL_QUEUE_FLOOR))
    }

    fn is_longer(&self, by: impl Fn(Duration) -> Duration) -> bool {
        match (self.in_round, self.least) {
            (Some(rtt), Some(least)) => rtt > least + by(least),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_is_believed_for_a_while_and_a_queue_is_seen() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let ms = Duration::from_millis;
        let mut trip = RoundTrip::new(start, None);
        trip.update(start, Some(ms(100)));
        trip.note_in_round(Some(ms(140)));
        assert!(trip.has_queue());
        trip.note_in_round(Some(ms(120)));
        assert!(!trip.has_queue());
        trip.start_round();
        assert!(!trip.has_queue());
        trip.note_in_round(Some(ms(115)));
        assert!(trip.has_small_queue() && !trip.has_queue());
        trip.start_round();
        trip.update(at(4), Some(ms(140)));
        assert!(!trip.is_probe_due);
        trip.update(at(6), Some(ms(140)));
        assert_eq!((trip.is_probe_due, trip.least()), (true, Some(ms(100))));
        trip.update(at(11), Some(ms(140)));
        assert_eq!(trip.least(), Some(ms(140)));
    }

    fn at_every_second(
        trip: &mut RoundTrip,
        start: Instant,
        ms: u64,
        seconds: std::ops::Range<u64>,
    ) {
        for second in seconds {
            trip.update(
                start + Duration::from_secs(second),
                Some(Duration::from_millis(ms)),
            );
        }
    }

    /// As beside a flow with CUBIC and a queue.
    #[test]
    fn a_queue_that_never_drains_becomes_part_of_the_path() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut trip = RoundTrip::new(start, Some(ms(50)));
        at_every_second(&mut trip, start, 100, 1..7);
        assert!(!trip.is_contested);
        at_every_second(&mut trip, start, 100, 7..8);
        assert_eq!((trip.is_contested, trip.least()), (true, Some(ms(100))));
        at_every_second(&mut trip, start, 60, 8..9);
        assert_eq!((trip.is_contested, trip.least()), (false, Some(ms(60))));
        trip.resume(start + Duration::from_secs(30));
        at_every_second(&mut trip, start, 100, 30..31);
        assert!(!trip.is_contested);
    }

    #[test]
    fn a_queue_beyond_what_flows_of_ours_leave_is_seen_sooner() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut trip = RoundTrip::new(start, Some(ms(50)));
        at_every_second(&mut trip, start, 200, 1..2);
        assert!(!trip.is_contested);
        at_every_second(&mut trip, start, 200, 2..3);
        assert_eq!((trip.is_contested, trip.least()), (true, Some(ms(200))));
        // Less, but not free.
        at_every_second(&mut trip, start, 80, 3..4);
        assert_eq!((trip.is_contested, trip.least()), (true, Some(ms(80))));

        // A host that is busy is no queue.
        let mut trip = RoundTrip::new(start, Some(ms(1)));
        at_every_second(&mut trip, start, 25, 1..5);
        assert!(!trip.is_contested);
    }
}
