//! The packets of one publisher that not every subscriber has taken yet: shared bytes, and a cursor for each subscriber.
//!
//! A cursor exists only while something waits for its subscriber, so an idle room of a thousand costs nothing here.
//! An entry is dropped when the last subscriber it is for has taken it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;

/// What an entry costs beyond its bytes, so that many tiny packets are bounded too.
const ENTRY_BYTES: usize = 64;

/// A participant's place in its room; reused after it left.
pub(super) type Slot = u32;

/// Whom an entry is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// Everybody who was in the room when it was sent, but the publisher.
    All,
    /// These, sorted.
    Only(Box<[Slot]>),
}

impl Audience {
    pub(super) fn includes(&self, slot: Slot) -> bool {
        match self {
            Audience::All => true,
            Audience::Only(slots) => slots.binary_search(&slot).is_ok(),
        }
    }
}

#[derive(Debug)]
struct Entry {
    packet: Bytes,
    audience: Audience,
    /// Subscribers that have not taken it.
    waiting: u32,
}

#[derive(Debug)]
struct Cursor {
    /// Number of the next entry to look at.
    next: u64,
    /// Cost of the entries that wait.
    behind: usize,
}

/// What a subscriber took from a log.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) packet: Bytes,
    /// Cost that is no longer waiting for the subscriber.
    pub(super) cost: usize,
    /// Cost that the log no longer holds.
    pub(super) freed: usize,
    /// Whether nothing more waits for the subscriber in this log.
    pub(super) drained: bool,
}

/// One publisher's log.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// Number of the first entry kept.
    first: u64,
    cost: usize,
    cursors: BTreeMap<Slot, Cursor>,
    last_broadcast: Option<Instant>,
    last_targeted: BTreeMap<Slot, Instant>,
}

/// What a packet of `size` bytes costs in a log.
pub(super) fn cost(size: usize) -> usize {
    size + ENTRY_BYTES
}

impl Log {
    /// Bytes it holds, [`ENTRY_BYTES`] for each entry included.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    /// Appends a packet for the given subscribers, who must agree with `audience`, and calls `waiting` for each of them
    /// with whether this is the first that waits for it here. Gives what the log grew by: 0 when it is for nobody.
    pub(super) fn append(
        &mut self,
        now: Instant,
        packet: Bytes,
        audience: Audience,
        subscribers: impl Iterator<Item = Slot>,
        mut waits: impl FnMut(Slot, First),
    ) -> usize {
        let cost = cost(packet.len());
        let number = self.first + self.entries.len() as u64;
        let mut waiting = 0;
        let targeted = matches!(audience, Audience::Only(_));
        for slot in subscribers {
            let mut first = First::No;
            let cursor = self.cursors.entry(slot).or_insert_with(|| {
                first = First::Yes;
                Cursor {
                    next: number,
                    behind: 0,
                }
            });
            cursor.behind += cost;
            waiting += 1;
            if targeted {
                self.last_targeted.insert(slot, now);
            }
            waits(slot, first);
        }
        if waiting == 0 {
            return 0;
        }
        if !targeted {
            self.last_broadcast = Some(now);
        }
        self.entries.push_back(Entry {
            packet,
            audience,
            waiting,
        });
        self.cost += cost;
        cost
    }

    /// The next packet for a subscriber.
    pub(super) fn take(&mut self, slot: Slot) -> Option<Taken> {
        let cursor = self.cursors.get_mut(&slot)?;
        loop {
            // What was dropped before the cursor was not for its subscriber.
            cursor.next = cursor.next.max(self.first);
            let index = (cursor.next - self.first) as usize;
            let entry = self.entries.get_mut(index)?;
            cursor.next += 1;
            if !entry.audience.includes(slot) {
                continue;
            }
            entry.waiting -= 1;
            let packet = entry.packet.clone();
            let cost = cost(packet.len());
            cursor.behind -= cost;
            let drained = cursor.behind == 0;
            if drained {
                self.cursors.remove(&slot);
            }
            return Some(Taken {
                packet,
                cost,
                freed: self.trim(),
                drained,
            });
        }
    }

    /// Forgets a subscriber and all that waits for it. Gives the cost that no longer waits for it and the cost that the
    /// log no longer holds.
    pub(super) fn remove(&mut self, slot: Slot) -> (usize, usize) {
        self.last_targeted.remove(&slot);
        let Some(cursor) = self.cursors.remove(&slot) else {
            return (0, 0);
        };
        let start = cursor.next.saturating_sub(self.first) as usize;
        for entry in self.entries.iter_mut().skip(start) {
            if entry.audience.includes(slot) {
                entry.waiting -= 1;
            }
        }
        (cursor.behind, self.trim())
    }

    /// Bytes that wait for a subscriber.
    pub(super) fn behind(&self, slot: Slot) -> usize {
        self.cursors.get(&slot).map_or(0, |cursor| cursor.behind)
    }

    /// Packets that wait for a subscriber.
    pub(super) fn waiting_packets(&self, slot: Slot) -> u64 {
        let Some(cursor) = self.cursors.get(&slot) else {
            return 0;
        };
        let start = cursor.next.saturating_sub(self.first) as usize;
        let entries = self.entries.iter().skip(start);
        entries
            .filter(|entry| entry.audience.includes(slot))
            .count() as u64
    }

    /// Everybody something waits for, with how many bytes, by slot.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (Slot, usize)> + '_ {
        self.cursors
            .iter()
            .map(|(slot, cursor)| (*slot, cursor.behind))
    }

    /// When something was last sent to everybody.
    pub(super) fn last_broadcast(&self) -> Option<Instant> {
        self.last_broadcast
    }

    /// Who was addressed by name, and when last.
    pub(super) fn last_targeted(&self) -> impl Iterator<Item = (Slot, Instant)> + '_ {
        self.last_targeted.iter().map(|(slot, at)| (*slot, *at))
    }

    /// Drops what everybody has taken; gives the cost freed.
    fn trim(&mut self) -> usize {
        let mut freed = 0;
        while let Some(entry) = self.entries.front() {
            if entry.waiting > 0 {
                break;
            }
            freed += cost(entry.packet.len());
            self.entries.pop_front();
            self.first += 1;
        }
        self.cost -= freed;
        freed
    }
}

/// Whether a packet is the first that waits for a subscriber in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// Nothing else waits for it here.
    Yes,
    /// It is behind already.
    No,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn append(log: &mut Log, text: &'static str, audience: Audience, to: &[Slot]) {
        log.append(
            Instant::now(),
            Bytes::from_static(text.as_bytes()),
            audience,
            to.iter().copied(),
            |_, _| {},
        );
    }

    fn take(log: &mut Log, slot: Slot) -> Option<String> {
        let taken = log.take(slot)?;
        Some(String::from_utf8(taken.packet.to_vec()).expect("test packets are text"))
    }

    #[test]
    fn subscribers_share_entries_and_the_last_one_frees_them() {
        let mut log = Log::default();
        append(&mut log, "a", Audience::All, &[1, 2]);
        append(&mut log, "b", Audience::All, &[1, 2]);
        assert_eq!(take(&mut log, 1).as_deref(), Some("a"));
        assert_eq!(take(&mut log, 1).as_deref(), Some("b"));
        assert_eq!(take(&mut log, 1), None);
        assert_eq!(log.cost(), 2 * cost(1));
        assert_eq!(take(&mut log, 2).as_deref(), Some("a"));
        assert_eq!(log.cost(), cost(1));
        assert_eq!(take(&mut log, 2).as_deref(), Some("b"));
        assert_eq!(log.cost(), 0);
        assert_eq!(log.waiting().count(), 0);
    }

    #[test]
    fn targeted_entries_are_skipped_by_the_others() {
        let mut log = Log::default();
        append(&mut log, "all", Audience::All, &[1, 2, 3]);
        append(&mut log, "two", Audience::Only([2].into()), &[2]);
        append(&mut log, "odd", Audience::Only([1, 3].into()), &[1, 3]);
        assert_eq!(take(&mut log, 1).as_deref(), Some("all"));
        assert_eq!(take(&mut log, 1).as_deref(), Some("odd"));
        assert_eq!(take(&mut log, 1), None);
        assert_eq!(log.behind(2), 2 * cost(3));
        assert_eq!(log.remove(2), (2 * cost(3), 0));
        assert_eq!(take(&mut log, 3).as_deref(), Some("all"));
        assert_eq!(log.cost(), cost(3), "two was for 2 alone and is gone");
        assert_eq!(take(&mut log, 3).as_deref(), Some("odd"));
        assert_eq!(log.cost(), 0);
    }

    #[test]
    fn a_packet_for_nobody_is_not_kept() {
        let mut log = Log::default();
        append(&mut log, "void", Audience::Only([].into()), &[]);
        assert_eq!(log.cost(), 0);
        append(&mut log, "a", Audience::All, &[7]);
        assert_eq!(take(&mut log, 7).as_deref(), Some("a"));
    }
}
