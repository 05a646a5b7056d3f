//! One direction of a link: what it does to packets, exact for a seed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Enough randomness for a test, the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        ((self.next() >> 11) as f64) < probability * (1u64 << 53) as f64
    }
}

/// One direction.
#[derive(Clone, Debug, Default)]
pub struct Path {
    pub delay: Duration,
    pub loss: f64,
    /// Once a packet is lost, those soon after it are with this probability.
    pub burst: f64,
    pub duplication: f64,
    pub corruption: f64,
    /// Packets that take longer, and how much at most.
    pub reordering: f64,
    pub jitter: Duration,
    /// Bytes a second, and the bytes that may wait.
    pub rate: Option<u64>,
    pub queue: usize,
    /// Everything sent in these spans after the start is lost.
    pub blackouts: Vec<(Duration, Duration)>,
}

pub const OVERHEAD: usize = 28 + 37;

#[derive(Debug)]
pub struct Link {
    pub path: Path,
    start: Instant,
    free_at: Instant,
    in_burst: bool,
    burst_at: Instant,
    packets: BTreeMap<(Instant, u64), Vec<u8>>,
    count: u64,
    pub dropped: u64,
    pub carried: u64,
    /// Sum and count of what packets waited in the queue.
    pub waits: Vec<Duration>,
}

impl Link {
    pub fn new(path: Path, start: Instant) -> Self {
        Self {
            path,
            start,
            free_at: start,
            in_burst: false,
            burst_at: start,
            packets: BTreeMap::new(),
            count: 0,
            dropped: 0,
            carried: 0,
            waits: Vec::new(),
        }
    }

    pub fn send(&mut self, now: Instant, random: &mut Random, packet: &[u8]) {
        let passed = now - self.start;
        if self
            .path
            .blackouts
            .iter()
            .any(|(from, to)| (*from..*to).contains(&passed))
        {
            self.dropped += 1;
            return;
        }
        let mut at = now;
        if let Some(rate) = self.path.rate {
            let time = |bytes: usize| Duration::from_secs_f64(bytes as f64 / rate as f64);
            let wait = self.free_at.saturating_duration_since(now);
            if wait > time(self.path.queue) {
                self.dropped += 1;
                return;
            }
            self.waits.push(wait);
            self.free_at = self.free_at.max(now) + time(packet.len() + OVERHEAD);
            at = self.free_at;
        }
        self.in_burst &= now - self.burst_at < Duration::from_millis(20);
        let chance = if self.in_burst {
            self.path.burst
        } else {
            self.path.loss
        };
        self.in_burst = random.chance(chance);
        if self.in_burst {
            self.dropped += 1;
            self.in_burst = self.path.burst > 0.0;
            self.burst_at = now;
            return;
        }
        let mut packet = packet.to_vec();
        if random.chance(self.path.corruption) {
            let bit = random.below(packet.len() as u64 * 8);
            packet[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        let copies = 1 + usize::from(random.chance(self.path.duplication));
        for _ in 0..copies {
            let mut arrival = at + self.path.delay;
            if random.chance(self.path.reordering) {
                let jitter = self.path.jitter.as_nanos() as u64;
                arrival += Duration::from_nanos(random.below(jitter));
            }
            self.count += 1;
            self.carried += packet.len() as u64;
            self.packets.insert((arrival, self.count), packet.clone());
        }
    }

    pub fn next(&self) -> Option<Instant> {
        self.packets.first_key_value().map(|((at, _), _)| *at)
    }

    pub fn take(&mut self, now: Instant) -> Option<Vec<u8>> {
        let entry = self.packets.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}
