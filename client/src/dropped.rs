//! Packets of others that broke a rule: told at once, and then once a second with their number.

use std::time::{Duration, Instant};

use lkstream_engine::{PeerFault, Rule};

use crate::Event;

/// At most one event in this time.
const INTERVAL: Duration = Duration::from_secs(1);

/// What was dropped and not told yet.
#[derive(Debug, Default)]
pub(crate) struct DroppedPackets {
    last_told: Option<Instant>,
    latest: Option<PeerFault>,
    count: u64,
}

impl DroppedPackets {
    /// Notes a packet, unless its stream tells of it: a reader, or an event of its own.
    pub(crate) fn note(&mut self, fault: PeerFault) {
        let is_alone = matches!(
            fault.rule,
            Rule::Malformed { .. }
                | Rule::WrongChannel
                | Rule::NoContentHeader
                | Rule::NoKeyring
                | Rule::Undecryptable(_)
                | Rule::Plaintext
                | Rule::MalformedCall
        );
        if is_alone {
            self.latest = Some(fault);
            self.count += 1;
        }
    }

    /// When the next event is due.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.latest.as_ref()?;
        Some(self.last_told.map_or(now, |last| last + INTERVAL))
    }

    /// The event that is due.
    pub(crate) fn event(&mut self, now: Instant) -> Option<Event> {
        if self.deadline(now)? > now {
            return None;
        }
        self.last_told = Some(now);
        Some(Event::PacketsDropped {
            fault: self.latest.take()?,
            count: std::mem::take(&mut self.count),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(rule: Rule) -> PeerFault {
        PeerFault::from(rule)
    }

    #[test]
    fn packets_that_break_a_rule_are_an_event() {
        let mut dropped = DroppedPackets::default();
        let now = Instant::now();
        assert_eq!(dropped.deadline(now), None);
        // Its own event says so.
        dropped.note(fault(Rule::TooManyStreams { limit: 1 }));
        assert_eq!(dropped.event(now), None);
        dropped.note(fault(Rule::NoKeyring));
        let told = |fault, count| Some(Event::PacketsDropped { fault, count });
        assert_eq!(dropped.event(now), told(fault(Rule::NoKeyring), 1));
        for _ in 0..1000 {
            dropped.note(fault(Rule::NoKeyring));
        }
        dropped.note(fault(Rule::MalformedCall));
        assert_eq!(dropped.event(now), None);
        let later = now + INTERVAL;
        assert_eq!(dropped.deadline(now), Some(later));
        assert_eq!(dropped.event(later), told(fault(Rule::MalformedCall), 1001));
        assert_eq!(dropped.deadline(later), None);
    }
}
