//! A map of streams whose entries are reused.
//!
//! A table of them allocates only when it holds more than ever before, so a short stream costs no
//! allocation for its place. It never shrinks: the limits on streams bound it.

/// Names an entry of one [`Slots`]; never used twice. Later entries are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    serial: u64,
    slot: usize,
}

impl Key {
    /// Of no entry, and below all of them.
    pub(crate) const NONE: Key = Key { serial: 0, slot: 0 };
}

#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Vec<Option<(u64, T)>>,
    free: Vec<usize>,
    last: u64,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots {
            slots: Vec::new(),
            free: Vec::new(),
            last: 0,
        }
    }
}

impl<T> Slots<T> {
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn add(&mut self, value: T) -> Key {
        self.last += 1;
        let entry = Some((self.last, value));
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = entry;
                slot
            }
            None => {
                self.slots.push(entry);
                self.slots.len() - 1
            }
        };
        Key {
            serial: self.last,
            slot,
        }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        match self.slots.get(key.slot)? {
            Some((serial, value)) if *serial == key.serial => Some(value),
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(key.slot)? {
            Some((serial, value)) if *serial == key.serial => Some(value),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let (_, value) = self.slots.get_mut(key.slot)?.take()?;
        self.free.push(key.slot);
        Some(value)
    }

    /// All entries, in the order of their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        let entries = self.slots.iter().enumerate();
        entries.filter_map(|(slot, entry)| {
            let (serial, value) = entry.as_ref()?;
            let serial = *serial;
            Some((Key { serial, slot }, value))
        })
    }

    /// All entries, in the order of their places.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        let entries = self.slots.iter_mut().enumerate();
        entries.filter_map(|(slot, entry)| {
            let (serial, value) = entry.as_mut()?;
            let serial = *serial;
            Some((Key { serial, slot }, value))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// As a map does, and no key comes twice; no more places than entries there were at once.
        #[test]
        fn it_is_a_map_with_few_places(steps in prop::collection::vec((any::<bool>(), any::<usize>()), 0..200)) {
            let mut slots = Slots::default();
            let mut map = BTreeMap::new();
            let mut gone = Vec::new();
            let mut most = 0;
            for (adds, value) in steps {
                if adds || map.is_empty() {
                    let key = slots.add(value);
                    prop_assert!(key > Key::NONE && gone.iter().all(|old| *old < key));
                    prop_assert_eq!(map.insert(key, value), None);
                } else {
                    let key = *map.keys().nth(value % map.len()).unwrap();
                    prop_assert_eq!(slots.remove(key), map.remove(&key));
                    gone.push(key);
                }
                most = most.max(map.len());
                prop_assert_eq!(slots.len(), map.len());
                prop_assert_eq!(slots.slots.len(), most);
                prop_assert_eq!(slots.iter().map(|(key, value)| (key, *value)).collect::<BTreeMap<_, _>>(), map.clone());
                prop_assert_eq!(slots.iter_mut().count(), map.len());
                for key in &gone {
                    prop_assert_eq!(slots.get(*key), None);
                    prop_assert_eq!(slots.get_mut(*key), None);
                    prop_assert_eq!(slots.remove(*key), None);
                }
            }
            prop_assert_eq!(slots.get(Key::NONE), None);
        }
    }
}
