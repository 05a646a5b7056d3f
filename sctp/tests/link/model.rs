//! What one side sent, and whether what arrives is that: each message at most once and unchanged, in order where that was asked for
//! (RFC 9260 §6.5, §6.6), and in the end all that was promised.

use std::collections::BTreeMap;

use bytes::Bytes;
use lkstream_sctp::{Delivery, Order, Reliability};

#[derive(Clone, Copy, Debug)]
struct Sent {
    stream: u16,
    order: Order,
    length: usize,
    is_owed: bool,
    /// It may not arrive: it has already, or it went with a side that began anew.
    is_barred: bool,
}

#[derive(Debug)]
pub struct Model {
    /// For what a failed check says.
    name: String,
    sent: Vec<Sent>,
    /// The last ordered message that arrived on a stream.
    last: BTreeMap<u16, usize>,
    owed: usize,
    arrived: usize,
}

/// The least length of a message, in bytes: its number.
pub const NUMBER: usize = 4;

/// The bytes of a message follow from its number.
fn message(number: usize, length: usize) -> Bytes {
    let number = number as u32;
    let mut bytes = vec![0; length.max(NUMBER)];
    bytes[..NUMBER].copy_from_slice(&number.to_be_bytes());
    let mut value = number.wrapping_mul(0x9e37_79b9) | 1;
    for byte in &mut bytes[NUMBER..] {
        value ^= value << 13;
        value ^= value >> 17;
        value ^= value << 5;
        *byte = value as u8;
    }
    Bytes::from(bytes)
}

impl Model {
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            sent: Vec::new(),
            last: BTreeMap::new(),
            owed: 0,
            arrived: 0,
        }
    }

    /// The next message to be sent.
    pub fn next(&self, length: usize) -> Bytes {
        message(self.sent.len(), length)
    }

    /// That message was taken for sending.
    pub fn sent(&mut self, stream: u16, delivery: Delivery, length: usize) {
        let is_owed = delivery.reliability == Reliability::Reliable;
        self.owed += usize::from(is_owed);
        self.sent.push(Sent {
            stream,
            order: delivery.order,
            length: length.max(NUMBER),
            is_owed,
            is_barred: false,
        });
    }

    pub fn arrived(&mut self, stream: u16, bytes: &[u8]) {
        let name = &self.name;
        let number = bytes.first_chunk().copied().map(u32::from_be_bytes);
        let number = number.expect("a message has a number") as usize;
        let sent = self.sent.get_mut(number);
        let sent = sent.unwrap_or_else(|| panic!("{name}: {number} was never sent"));
        assert!(!sent.is_barred, "{name}: {number} again, or too late");
        assert_eq!(sent.stream, stream, "{name}: {number}");
        assert!(bytes == message(number, sent.length), "{name}: {number}");
        sent.is_barred = true;
        self.owed -= usize::from(std::mem::take(&mut sent.is_owed));
        self.arrived += 1;
        if sent.order == Order::Ordered
            && let Some(before) = self.last.insert(stream, number)
        {
            assert!(before < number, "{name}: {number} after {before}");
        }
    }

    /// How many were sent.
    pub fn count(&self) -> usize {
        self.sent.len()
    }

    /// How many have arrived.
    pub fn arrivals(&self) -> usize {
        self.arrived
    }

    /// How many reliable ones have not arrived.
    pub fn owed(&self) -> usize {
        self.owed
    }

    /// The messages before `number` need not arrive any more, for one side began anew or the association is over.
    pub fn forgive(&mut self, number: usize) {
        for sent in &mut self.sent[..number] {
            self.owed -= usize::from(std::mem::take(&mut sent.is_owed));
        }
    }

    /// The messages before `number` must not arrive any more.
    pub fn bar(&mut self, number: usize) {
        self.forgive(number);
        for sent in &mut self.sent[..number] {
            sent.is_barred = true;
        }
    }
}
