//! A set of sequence numbers that lie close together and move on.

use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(crate) struct Bits {
    /// Number of the first word; a number `n` is bit `n % 64` of word `n / 64`.
    first: u64,
    words: VecDeque<u64>,
}

impl Bits {
    pub(crate) fn new(start: u64) -> Self {
        Self {
            first: start / 64,
            words: VecDeque::new(),
        }
    }

    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from((number / 64).checked_sub(self.first)?).ok()
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.index(number)
            .and_then(|index| self.words.get(index))
            .is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    /// The caller bounds how far ahead `number` is. Whether it is new.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        let Some(index) = self.index(number) else {
            return false;
        };
        if index >= self.words.len() {
            self.words.resize(index + 1, 0);
        }
        let word = &mut self.words[index];
        let bit = 1 << (number % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    pub(crate) fn remove(&mut self, number: u64) {
        if let Some(index) = self.index(number)
            && let Some(word) = self.words.get_mut(index)
        {
            *word &= !(1 << (number % 64));
        }
    }

    /// Numbers below need not be known any more.
    pub(crate) fn forget_below(&mut self, number: u64) {
        let word = number / 64;
        while self.first < word && self.words.pop_front().is_some() {
            self.first += 1;
        }
        if self.words.is_empty() {
            self.first = self.first.max(word);
        }
    }

    /// The first number in `from..end` that is in the set.
    pub(crate) fn next(&self, from: u64, end: u64) -> Option<u64> {
        let mut number = from.max(self.first * 64);
        while number < end {
            let word = self.words.get(self.index(number)?)?;
            let rest = word >> (number % 64);
            if rest != 0 {
                let found = number + u64::from(rest.trailing_zeros());
                return (found < end).then_some(found);
            }
            number = (number / 64 + 1) * 64;
        }
        None
    }

    /// The first number from `from` on that is not in the set.
    pub(crate) fn next_absent(&self, from: u64) -> u64 {
        let mut number = from;
        while let Some(word) = self.index(number).and_then(|index| self.words.get(index)) {
            let rest = !(word >> (number % 64));
            let run = u64::from(rest.trailing_zeros()).min(64 - number % 64);
            number += run;
            if !number.is_multiple_of(64) || run == 0 {
                return number;
            }
        }
        number
    }

    /// Gives memory back that a busy time needed.
    pub(crate) fn shrink(&mut self) {
        self.words.shrink_to(4);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn finds_runs_across_words() {
        let mut bits = Bits::new(100);
        for number in (110..300).chain(320..321).chain([383, 384]) {
            assert!(bits.insert(number));
            assert!(!bits.insert(number));
        }
        assert_eq!(bits.next(100, 400), Some(110));
        assert_eq!(bits.next_absent(110), 300);
        assert_eq!(bits.next(300, 320), None);
        assert_eq!(bits.next(300, 400), Some(320));
        assert_eq!(bits.next_absent(320), 321);
        assert_eq!(bits.next_absent(383), 385);
        assert_eq!(bits.next_absent(1_000), 1_000);
        bits.remove(111);
        assert_eq!(bits.next_absent(110), 111);
        bits.forget_below(321);
        assert!(!bits.contains(200));
        assert_eq!(bits.next(0, 10_000), Some(320));
        bits.forget_below(1_000);
        assert_eq!(bits.next(0, 10_000), None);
        assert!(bits.insert(1_001) && bits.contains(1_001));
        assert!(!bits.insert(5));
    }
}
