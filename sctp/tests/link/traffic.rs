//! Random messages both ways through a world, each side judged by a model.

use std::time::Duration;

use lkstream_sctp::{Delivery, Order, Reliability};

use super::model::{Model, NUMBER};
use super::{Endpoint, Random, World};

/// What is sent.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Messages from `a` and from `b`.
    pub messages: [usize; 2],
    pub streams: u16,
    /// Bytes of the largest message.
    pub largest: usize,
    /// Whether some streams give messages up (RFC 3758): of four the second by retransmissions, the third by time.
    pub is_partial: bool,
    /// Whether readers stop now and then.
    pub has_pauses: bool,
    /// Bytes that a side lets wait.
    pub buffer: usize,
}

impl Plan {
    /// How messages on a stream are delivered: of four streams the last is unordered.
    fn delivery(&self, stream: u16) -> Delivery {
        let order = if stream % 4 == 3 {
            Order::Unordered
        } else {
            Order::Ordered
        };
        let reliability = match stream % 4 {
            1 if self.is_partial => Reliability::Retransmits(u32::from(stream / 4)),
            2 if self.is_partial => Reliability::Lifetime(Duration::from_millis(60)),
            _ => Reliability::Reliable,
        };
        Delivery { order, reliability }
    }
}

#[derive(Debug)]
pub struct Traffic {
    name: String,
    plan: Plan,
    random: Random,
    /// What `a` sent, and what `b` sent.
    pub models: [Model; 2],
    is_reading: [bool; 2],
}

impl Traffic {
    pub fn new(name: &str, seed: u64, plan: Plan) -> Self {
        Self {
            name: name.into(),
            plan,
            random: Random(seed.wrapping_mul(7) | 1),
            models: [
                Model::new(format!("{name}, from a")),
                Model::new(format!("{name}, from b")),
            ],
            is_reading: [true; 2],
        }
    }

    fn is_all_sent(&self, side: usize) -> bool {
        self.models[side].count() >= self.plan.messages[side]
    }

    fn has_arrived(&self) -> bool {
        (0..2).all(|side| self.is_all_sent(side) && self.models[side].owed() == 0)
    }

    fn send<E: Endpoint>(&mut self, side: usize, now: std::time::Instant, end: &mut E) {
        if self.is_all_sent(side) || !self.random.chance(0.3) {
            return;
        }
        let stream = self.random.below(u64::from(self.plan.streams)) as u16;
        let most = if self.random.chance(0.2) {
            self.plan.largest
        } else {
            self.plan.largest.min(2_000)
        };
        let length = NUMBER + self.random.below((most - NUMBER) as u64 + 1) as usize;
        if end.buffered() > 0 && end.room(self.plan.buffer) < length {
            return;
        }
        let delivery = self.plan.delivery(stream);
        let message = self.models[side].next(length);
        if end.send(now, stream, delivery, message) {
            self.models[side].sent(stream, delivery, length);
        }
    }

    /// All that waits for a reader that reads.
    pub fn read<A: Endpoint, B: Endpoint>(&mut self, world: &mut World<A, B>) {
        for side in 0..2 {
            self.is_reading[side] ^= self.plan.has_pauses && self.random.chance(0.01);
            let is_over = self.is_all_sent(1 - side);
            if !self.is_reading[side] && !is_over {
                continue;
            }
            let model = &mut self.models[1 - side];
            while let Some((stream, bytes)) = if side == 0 {
                world.a.read()
            } else {
                world.b.read()
            } {
                model.arrived(stream, &bytes);
            }
        }
    }

    /// One thing that happens, after messages went in and out.
    pub fn step<A: Endpoint, B: Endpoint>(&mut self, world: &mut World<A, B>) {
        self.send(0, world.now, &mut world.a);
        self.send(1, world.now, &mut world.b);
        self.read(world);
        if !self.has_arrived() {
            let is_alive = world.step();
            let owes = !(self.is_all_sent(0) && self.is_all_sent(1));
            assert!(is_alive || owes, "{}: nothing will ever happen", self.name);
        }
    }

    /// Until all that is owed has arrived, within `limit`; then nothing more may come.
    pub fn run<A: Endpoint, B: Endpoint>(&mut self, world: &mut World<A, B>, limit: Duration) {
        let end = world.now + limit;
        while !self.has_arrived() {
            assert!(
                world.now < end,
                "{}: {:?} are owed after {limit:?}",
                self.name,
                [self.models[0].owed(), self.models[1].owed()]
            );
            self.step(world);
        }
        self.settle(world);
    }

    /// Nothing comes twice, and what was sent is acknowledged or given up in the end.
    fn settle<A: Endpoint, B: Endpoint>(&mut self, world: &mut World<A, B>) {
        for second in 1..40 {
            world.run(Duration::from_secs(1));
            self.read(world);
            if second > 2 && world.a.buffered() + world.b.buffered() == 0 {
                return;
            }
        }
        let waiting = [world.a.buffered(), world.b.buffered()];
        panic!("{}: {waiting:?} bytes wait for ever", self.name);
    }
}
