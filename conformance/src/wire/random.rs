//! A small generator of numbers that is exact for a seed on every machine.

/// SplitMix64: eight bytes of state, any seed is a good seed.
///
/// It is for simulations and test data; nothing secret comes from it.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator that always yields the same numbers for the same `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// The next number, uniform over all of `u64`.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product: no division, and the bias of 2^-64 × bound hurts no test.
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// Whether an event of this probability (0.0 never, 1.0 always) happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        // 53 bits are what an f64 holds exactly.
        ((self.draw() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }

    /// `count` bytes of noise.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut noise = Vec::with_capacity(count + 8);
        while noise.len() < count {
            noise.extend_from_slice(&self.draw().to_le_bytes());
        }
        noise.truncate(count);
        noise
    }

    /// A generator of its own for a part of the simulation, so that one part's draws do not shift another's.
    pub fn fork(&mut self) -> Random {
        Random::new(self.draw())
    }
}
