//! Chunks that were sent and are not acknowledged up to the last: the scoreboard.
//!
//! ```text
//! Flying --found lost--> Lost --sent again--> Flying
//!    \                     |
//!     +---- acknowledged --+--> Acknowledged (kept until the cumulative point passes it, since a receiver may renege)
//!     +---- given up ------+--> Abandoned (kept until the cumulative point passes it)
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use crate::bits::Bits;
use crate::limits::DATA_HEADER;
use crate::queue::Fragment;
use crate::rate::Snapshot;
use crate::tsn;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Flying,
    Lost,
    Acknowledged,
    Abandoned,
}

#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) fragment: Fragment,
    pub(crate) state: State,
    pub(crate) transmissions: u32,
    /// Number of the packet that carried it last: the order of sending.
    pub(crate) number: u64,
    pub(crate) sent_at: Instant,
    pub(crate) snapshot: Snapshot,
}

impl Sent {
    /// Bytes it counts for congestion control.
    pub(crate) fn size(&self) -> u64 {
        (self.fragment.payload.len() + DATA_HEADER) as u64
    }
}

#[derive(Debug)]
pub(crate) struct Flight {
    /// TSN of the first in `chunks`.
    base: u64,
    chunks: VecDeque<Sent>,
    /// TSNs that fly or are lost.
    missing: Bits,
    lost: BTreeSet<u64>,
    /// Packet number and TSN in order of sending; an entry is void when its chunk no longer flies with that number.
    log: VecDeque<(u64, u64)>,
    /// Bytes that fly.
    bytes: u64,
    /// Payload bytes that fly or are lost: what takes room of the other side's window.
    outstanding: u64,
    /// Chunks acknowledged by gap blocks only.
    beyond: usize,
}

impl Flight {
    pub(crate) fn new(initial_tsn: u32) -> Self {
        let base = tsn::first(initial_tsn);
        Self {
            base,
            chunks: VecDeque::new(),
            missing: Bits::new(base),
            lost: BTreeSet::new(),
            log: VecDeque::new(),
            bytes: 0,
            outstanding: 0,
            beyond: 0,
        }
    }

    /// The oldest TSN that is not acknowledged, sent or not.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// The next TSN to be used.
    pub(crate) fn end(&self) -> u64 {
        self.base + self.chunks.len() as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn outstanding(&self) -> u64 {
        self.outstanding
    }

    pub(crate) fn beyond(&self) -> usize {
        self.beyond
    }

    pub(crate) fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    pub(crate) fn first_lost(&self) -> Option<u64> {
        self.lost.first().copied()
    }

    pub(crate) fn get(&self, tsn: u64) -> Option<&Sent> {
        let index = usize::try_from(tsn.checked_sub(self.base)?).ok()?;
        self.chunks.get(index)
    }

    fn get_mut(&mut self, tsn: u64) -> Option<&mut Sent> {
        let index = usize::try_from(tsn.checked_sub(self.base)?).ok()?;
        self.chunks.get_mut(index)
    }

    /// A new chunk leaves. Its TSN.
    pub(crate) fn push(
        &mut self,
        fragment: Fragment,
        number: u64,
        now: Instant,
        snapshot: Snapshot,
    ) -> u64 {
        let tsn = self.end();
        let sent = Sent {
            fragment,
            state: State::Flying,
            transmissions: 1,
            number,
            sent_at: now,
            snapshot,
        };
        self.bytes += sent.size();
        self.outstanding += sent.fragment.payload.len() as u64;
        self.missing.insert(tsn);
        self.log.push_back((number, tsn));
        self.chunks.push_back(sent);
        tsn
    }

    /// A lost chunk leaves again.
    pub(crate) fn resend(
        &mut self,
        tsn: u64,
        number: u64,
        now: Instant,
        snapshot: Snapshot,
    ) -> Option<&Sent> {
        if !self.lost.remove(&tsn) {
            return None;
        }
        self.log.push_back((number, tsn));
        let index = usize::try_from(tsn.checked_sub(self.base)?).ok()?;
        let sent = self.chunks.get_mut(index)?;
        sent.state = State::Flying;
        sent.transmissions = sent.transmissions.saturating_add(1);
        sent.number = number;
        sent.sent_at = now;
        sent.snapshot = snapshot;
        self.bytes += sent.size();
        Some(sent)
    }

    /// The first chunk in `from..end` that flies or is lost.
    pub(crate) fn next_missing(&self, from: u64, end: u64) -> Option<u64> {
        self.missing.next(from, end)
    }

    /// A chunk that flies or is lost has arrived. The state it had.
    pub(crate) fn acknowledge(&mut self, tsn: u64) -> Option<State> {
        let sent = self.get_mut(tsn)?;
        let before = sent.state;
        if !matches!(before, State::Flying | State::Lost) {
            return None;
        }
        sent.state = State::Acknowledged;
        self.drop_missing(tsn, before);
        self.beyond += 1;
        Some(before)
    }

    fn drop_missing(&mut self, tsn: u64, before: State) {
        let Some((size, payload)) = self
            .get(tsn)
            .map(|sent| (sent.size(), sent.fragment.payload.len() as u64))
        else {
            return;
        };
        self.missing.remove(tsn);
        self.outstanding -= payload;
        match before {
            State::Flying => self.bytes -= size,
            _ => {
                self.lost.remove(&tsn);
            }
        }
    }

    /// Everything up to the cumulative point leaves, oldest first.
    pub(crate) fn pop(&mut self, cumulative: u64) -> Option<Sent> {
        if self.base > cumulative {
            return None;
        }
        let sent = self.chunks.pop_front()?;
        if sent.state == State::Acknowledged {
            self.beyond -= 1;
        }
        self.base += 1;
        if self.base.is_multiple_of(64) || self.chunks.is_empty() {
            self.missing.forget_below(self.base);
        }
        Some(sent)
    }

    /// The oldest transmission that may still be under way: packet number and TSN.
    pub(crate) fn oldest(&mut self) -> Option<(u64, u64)> {
        while let Some(&(number, tsn)) = self.log.front() {
            if self
                .get(tsn)
                .is_some_and(|sent| sent.state == State::Flying && sent.number == number)
            {
                return Some((number, tsn));
            }
            self.log.pop_front();
        }
        None
    }

    /// A chunk that flies is lost.
    pub(crate) fn lose(&mut self, tsn: u64) {
        if let Some(sent) = self.get_mut(tsn)
            && sent.state == State::Flying
        {
            sent.state = State::Lost;
            let size = sent.size();
            self.bytes -= size;
            self.lost.insert(tsn);
        }
    }

    /// The newest chunk that flies.
    pub(crate) fn newest_flying(&self) -> Option<u64> {
        let index = self
            .chunks
            .iter()
            .rposition(|sent| sent.state == State::Flying)?;
        Some(self.base + index as u64)
    }

    /// Chunks lost that were sent before packet `mark` fly after all.
    pub(crate) fn unlose(&mut self, mark: u64) {
        let mut restored: Vec<(u64, u64)> = Vec::new();
        for &tsn in &self.lost {
            if let Some(sent) = self.get(tsn)
                && sent.number < mark
            {
                restored.push((sent.number, tsn));
            }
        }
        restored.sort_unstable();
        for &(_, tsn) in restored.iter().rev() {
            self.lost.remove(&tsn);
            if let Some(sent) = self.get_mut(tsn) {
                sent.state = State::Flying;
                let size = sent.size();
                self.bytes += size;
            }
        }
        for entry in restored.into_iter().rev() {
            self.log.push_front(entry);
        }
    }

    /// The whole message that `tsn` is of is given up. How many chunks.
    pub(crate) fn abandon(&mut self, tsn: u64) -> u64 {
        let Some(message) = self.get(tsn).map(|sent| sent.fragment.message) else {
            return 0;
        };
        let is_same = |flight: &Self, tsn: u64| {
            flight
                .get(tsn)
                .is_some_and(|sent| sent.fragment.message == message)
        };
        let mut first = tsn;
        while first > self.base && is_same(self, first - 1) {
            first -= 1;
        }
        let mut count = 0;
        while is_same(self, first) {
            if let Some(sent) = self.get_mut(first) {
                let before = std::mem::replace(&mut sent.state, State::Abandoned);
                match before {
                    State::Flying | State::Lost => self.drop_missing(first, before),
                    State::Acknowledged => self.beyond -= 1,
                    State::Abandoned => {}
                }
                count += 1;
            }
            first += 1;
        }
        count
    }

    /// The receiver gave up chunks that it had reported in gap blocks (RFC 9260 §6.2.1): it would have moved its cumulative point
    /// otherwise.
    pub(crate) fn has_reneged(&self) -> bool {
        self.get(self.base)
            .is_some_and(|sent| sent.state == State::Acknowledged)
    }

    /// Chunks before `end` that were reported in gap blocks count as lost. How many; it costs what is under way.
    pub(crate) fn renege(&mut self, end: u64) -> u64 {
        let mut count = 0;
        for (tsn, sent) in (self.base..end).zip(&mut self.chunks) {
            if sent.state == State::Acknowledged {
                sent.state = State::Lost;
                self.outstanding += sent.fragment.payload.len() as u64;
                self.missing.insert(tsn);
                self.lost.insert(tsn);
                self.beyond -= 1;
                count += 1;
            }
        }
        count
    }

    pub(crate) fn shrink(&mut self) {
        self.chunks.shrink_to(8);
        self.log.shrink_to(8);
        self.missing.shrink();
    }
}
