//! One direction of a network link: delay, loss, a rate and the queue before it, on virtual time and exact for a seed.
//!
//! It has the shape of the rest of the workspace: [`Link::push`] what is sent, [`Link::pop`] what has arrived, wait
//! until [`Link::poll_timeout`]. [`Stack`](crate::wire::Stack) puts the datagrams of two peers through it on virtual
//! time, the lab the frames of two network namespaces in real time.

#[cfg(test)]
mod tests;
mod waits;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::wire::Random;

pub use waits::Waits;

/// Bytes that are under way at most; what comes on top is dropped. A second at 250 MB/s.
const HELD_BYTES: usize = 256 << 20;

/// How one direction behaves.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// From one end to the other.
    pub delay: Duration,
    /// At most this much more, drawn for each packet, which takes packets out of order.
    pub jitter: Duration,
    /// What the line loses behind the queue.
    pub loss: Loss,
    /// Without one a packet takes no time to send, and none waits.
    pub bottleneck: Option<Bottleneck>,
}

/// Which packets are lost on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Loss {
    /// None.
    #[default]
    None,
    /// Each with this probability from 0.0 to 1.0.
    Each(f64),
    /// A share of all packets from 0.0 to below 1.0, several in a row (the model of Gilbert: a line that is good or bad).
    Bursts {
        /// Of all packets.
        share: f64,
        /// Packets in a row on average, from 1.0 up.
        length: f64,
    },
}

/// The slowest part of the way, with a queue before it that refuses what does not fit (drop tail).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bottleneck {
    /// Of whole packets as they are handed in. 0 lets nothing through.
    pub bytes_per_second: u64,
    /// Bytes that may wait, the packet under way included. A packet that finds nothing there always fits.
    pub queue: usize,
}

impl Bottleneck {
    /// How long the line is busy with so many bytes.
    fn time(&self, bytes: usize) -> Duration {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_second.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many bytes keep the line busy for so long.
    fn bytes(&self, time: Duration) -> usize {
        let bytes = time.as_nanos() * u128::from(self.bytes_per_second) / 1_000_000_000;
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

/// Packets so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Those that arrived.
    pub carried: u64,
    /// Their bytes.
    pub carried_bytes: u64,
    /// Those that fell to [`Config::loss`].
    pub lost: u64,
    /// Those that found the queue full.
    pub overflowed: u64,
    /// Those that fell to a cut.
    pub cut_off: u64,
}

#[derive(Debug)]
struct Flying<P> {
    arrives: Instant,
    bytes: usize,
    packet: P,
}

/// One direction, for packets of any type.
#[derive(Debug)]
pub struct Link<P> {
    config: Config,
    random: Random,
    // In the order of arrival.
    flying: VecDeque<Flying<P>>,
    held: usize,
    busy_until: Option<Instant>,
    last_was_lost: bool,
    is_cut: bool,
    totals: Totals,
    waits: Waits,
}

impl<P> Link<P> {
    /// An idle link; what it loses is exact for `seed` and the order of calls.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Link<P> {
        Link {
            config,
            random: Random::new(seed),
            flying: VecDeque::new(),
            held: 0,
            busy_until: None,
            last_was_lost: false,
            is_cut: false,
            totals: Totals::default(),
            waits: Waits::default(),
        }
    }

    /// Sends a packet that takes so many bytes. One that is dropped is given back, so that its buffer can be used again.
    pub fn push(&mut self, now: Instant, bytes: usize, packet: P) -> Option<P> {
        if self.is_cut {
            self.totals.cut_off += 1;
            return Some(packet);
        }
        let Some(leaves) = self.enqueue(now, bytes) else {
            self.totals.overflowed += 1;
            return Some(packet);
        };
        if self.loses() {
            self.totals.lost += 1;
            return Some(packet);
        }
        let jitter = u64::try_from(self.config.jitter.as_nanos()).unwrap_or(u64::MAX);
        let jitter = Duration::from_nanos(self.random.below(jitter.saturating_add(1)));
        let arrives = leaves + self.config.delay + jitter;
        // Nearly always the end; what overtakes does not overtake many.
        let behind = self.flying.iter().rev();
        let place = self.flying.len() - behind.take_while(|other| other.arrives > arrives).count();
        self.held += bytes;
        self.flying.insert(
            place,
            Flying {
                arrives,
                bytes,
                packet,
            },
        );
        None
    }

    /// When a packet has left the bottleneck, or nothing when it does not fit.
    fn enqueue(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        if self.held + bytes > HELD_BYTES {
            return None;
        }
        let Some(bottleneck) = self.config.bottleneck else {
            return Some(now);
        };
        let starts = self.busy_until.map_or(now, |busy| busy.max(now));
        let wait = starts - now;
        let fits =
            wait.is_zero() || bottleneck.bytes(wait).saturating_add(bytes) <= bottleneck.queue;
        if !fits || bottleneck.bytes_per_second == 0 {
            return None;
        }
        self.waits.record(wait);
        let leaves = starts + bottleneck.time(bytes);
        self.busy_until = Some(leaves);
        Some(leaves)
    }

    fn loses(&mut self) -> bool {
        let probability = match self.config.loss {
            Loss::None => return false,
            Loss::Each(share) => share,
            // In the long run it is bad for `share` of the packets and stays so for `length` of them.
            Loss::Bursts { length, .. } if self.last_was_lost => 1.0 - 1.0 / length,
            Loss::Bursts { share, length } => share / (1.0 - share) / length,
        };
        self.last_was_lost = self.random.happens(probability);
        self.last_was_lost
    }

    /// The next packet that has arrived, in the order of arrival.
    pub fn pop(&mut self, now: Instant) -> Option<P> {
        if self.flying.front()?.arrives > now {
            return None;
        }
        let arrived = self.flying.pop_front()?;
        self.held -= arrived.bytes;
        self.totals.carried += 1;
        self.totals.carried_bytes += arrived.bytes as u64;
        Some(arrived.packet)
    }

    /// When the next packet arrives.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.flying.front().map(|next| next.arrives)
    }

    /// Drops what is under way and all that is sent until [`Link::mend`].
    pub fn cut(&mut self) {
        self.is_cut = true;
        self.totals.cut_off += self.flying.len() as u64;
        self.flying.clear();
        self.held = 0;
        self.busy_until = None;
    }

    /// Carries packets again.
    pub fn mend(&mut self) {
        self.is_cut = false;
    }

    /// Counters so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// How long packets waited before the bottleneck; empty without one.
    #[must_use]
    pub fn waits(&self) -> &Waits {
        &self.waits
    }
}
