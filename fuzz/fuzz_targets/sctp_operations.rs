//! Any use of two SCTP associations over a link that loses, repeats, reorders and damages: what arrives is judged by a model, memory
//! stays within bounds, and once the link is good again everything that was promised arrives.
#![no_main]

#[path = "../../sctp/tests/link/mod.rs"]
mod link;

use std::alloc::System;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use link::model::Model;
use link::{Endpoint, Ours};
use lkstream_sctp::{
    Association, Checksum, Closed, Config, Congestion, Delivery, Event, Order, Reliability,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Packets on the way in one direction.
const MOST: usize = 2_000;

/// What both sides, the packets between them and the models may keep, in bytes.
const KEPT: usize = 8 * 1024 * 1024;

const STREAMS: u16 = 8;

#[derive(Arbitrary, Debug)]
struct Input {
    options: [Options; 2],
    /// Both ask for the association.
    is_symmetric: bool,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Options {
    packet: u8,
    window: u8,
    is_new_reno: bool,
    has_checksum: bool,
    /// The first TSN is just before the wrap.
    is_wrapping: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Side {
    A,
    B,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Send {
        from: Side,
        stream: u8,
        length: u16,
        is_unordered: bool,
        worth: Worth,
    },
    /// Packets to a side arrive.
    Carry {
        to: Side,
        count: u8,
    },
    Lose {
        to: Side,
        count: u8,
    },
    Repeat {
        to: Side,
    },
    /// The first packet falls behind others.
    Delay {
        to: Side,
        by: u8,
    },
    Damage {
        to: Side,
        at: u16,
        by: u8,
    },
    Pass {
        millis: u16,
    },
    Read {
        side: Side,
        count: u8,
    },
    Reset {
        side: Side,
        stream: u8,
    },
    PathChanged {
        side: Side,
    },
    SetPacket {
        side: Side,
        packet: u8,
    },
    Shutdown {
        side: Side,
    },
    Abort {
        side: Side,
    },
    /// The first side forgets everything.
    BeginAnew,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Worth {
    Always,
    Retransmits(u8),
    Lifetime(u8),
}

fn live() -> usize {
    let stats = COUNTED.stats();
    stats.bytes_allocated.wrapping_sub(stats.bytes_deallocated)
}

fn packet(size: u8) -> usize {
    256 + usize::from(size) * 5
}

fn config(options: Options, has_checksum: bool) -> Config {
    Config {
        packet: packet(options.packet),
        receive_window: 4_000 + usize::from(options.window) * 200,
        receive_window_limit: 128 * 1024,
        max_message_size: 66_000,
        send_buffer: 256 * 1024,
        inbound_streams: STREAMS,
        congestion: if options.is_new_reno {
            Congestion::NewReno
        } else {
            Congestion::Bbr
        },
        checksum: if has_checksum {
            Checksum::Always
        } else {
            Checksum::ZeroOverDtls
        },
        ..Config::default()
    }
}

struct Pair {
    now: Instant,
    options: [Options; 2],
    has_checksum: bool,
    ends: [Ours; 2],
    /// Packets to each side.
    wires: [VecDeque<Vec<u8>>; 2],
    /// What each side sent.
    models: [Model; 2],
    /// Messages sent before the first side began anew, until the other knows.
    anew: Option<usize>,
    is_leaving: bool,
    is_given_up: bool,
    closed: [Option<Closed>; 2],
    seeds: u64,
}

impl Pair {
    fn new(options: [Options; 2], is_symmetric: bool) -> Self {
        let now = Instant::now();
        // Damage is found by a checksum only, which both must ask for.
        let has_checksum = options[0].has_checksum;
        let seed = |side: usize| {
            if options[side].is_wrapping {
                [29_267_551, 47_308_038][side]
            } else {
                side as u64
            }
        };
        let config = |side: usize| config(options[side], has_checksum);
        let second = if is_symmetric {
            Association::connect(now, config(1), seed(1))
        } else {
            Association::accept(now, config(1), seed(1))
        };
        Self {
            now,
            options,
            has_checksum,
            ends: [
                Ours::new(Association::connect(now, config(0), seed(0))),
                Ours::new(second),
            ],
            wires: Default::default(),
            models: [Model::new("from a"), Model::new("from b")],
            anew: None,
            is_leaving: false,
            is_given_up: false,
            closed: [None; 2],
            seeds: 100,
        }
    }

    fn is_over(&self) -> bool {
        self.ends.iter().any(|end| end.association.is_closed())
    }

    /// Takes packets and events.
    fn settle(&mut self) {
        let mut buffer = Vec::new();
        for side in 0..2 {
            for count in 0.. {
                assert!(count < MOST * 10, "no end of packets");
                buffer.clear();
                if !self.ends[side].output(self.now, &mut buffer) {
                    break;
                }
                if self.wires[1 - side].len() < MOST {
                    self.wires[1 - side].push_back(buffer.clone());
                }
            }
            for event in std::mem::take(&mut self.ends[side].events) {
                match event {
                    Event::Restarted => {
                        let before = self.anew.take().expect("a side began anew");
                        self.models[0].bar(before);
                        self.models[1].bar(self.models[1].count());
                    }
                    Event::Closed(Closed::Protocol) => panic!("both keep to the protocol"),
                    Event::Closed(why) => assert!(self.closed[side].replace(why).is_none()),
                    _ => {}
                }
            }
        }
    }

    fn carry(&mut self, to: usize, count: usize) {
        for _ in 0..count {
            let Some(packet) = self.wires[to].pop_front() else {
                return;
            };
            self.ends[to].input(self.now, &packet);
            self.settle();
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for count in 0.. {
            assert!(count < MOST * 10, "timers without end");
            let due = self.ends.iter().filter_map(Endpoint::next_timeout).min();
            let Some(at) = due.filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            for end in &mut self.ends {
                if end.next_timeout().is_some_and(|at| at <= self.now) {
                    end.timeout(self.now);
                }
            }
            self.settle();
        }
        self.now = end;
    }

    fn read(&mut self, side: usize, count: usize) {
        for _ in 0..count {
            let Some((stream, message)) = self.ends[side].read() else {
                break;
            };
            self.models[1 - side].arrived(stream, &message);
        }
        self.settle();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send {
                from,
                stream,
                length,
                is_unordered,
                worth,
            } => {
                let from = from as usize;
                let stream = u16::from(stream) % STREAMS;
                let delivery = Delivery {
                    order: if is_unordered {
                        Order::Unordered
                    } else {
                        Order::Ordered
                    },
                    reliability: match worth {
                        Worth::Always => Reliability::Reliable,
                        Worth::Retransmits(count) => Reliability::Retransmits(u32::from(count)),
                        Worth::Lifetime(millis) => {
                            Reliability::Lifetime(Duration::from_millis(u64::from(millis)))
                        }
                    },
                };
                let message = self.models[from].next(usize::from(length));
                let length = message.len();
                let end = &mut self.ends[from].association;
                if end.send(self.now, stream, 53, delivery, message).is_ok() {
                    self.models[from].sent(stream, delivery, length);
                }
            }
            Step::Carry { to, count } => self.carry(to as usize, usize::from(count)),
            Step::Lose { to, count } => {
                let wire = &mut self.wires[to as usize];
                let count = usize::from(count).min(wire.len());
                wire.drain(..count);
            }
            Step::Repeat { to } => {
                let wire = &mut self.wires[to as usize];
                if let Some(first) = wire.front().cloned() {
                    wire.push_back(first);
                }
            }
            Step::Delay { to, by } => {
                let wire = &mut self.wires[to as usize];
                if let Some(first) = wire.pop_front() {
                    wire.insert(usize::from(by).min(wire.len()), first);
                }
            }
            Step::Damage { to, at, by } => {
                if self.has_checksum
                    && let Some(first) = self.wires[to as usize].front_mut()
                {
                    let at = usize::from(at) % first.len();
                    first[at] ^= by;
                }
            }
            Step::Pass { millis } => self.pass(Duration::from_millis(u64::from(millis))),
            Step::Read { side, count } => self.read(side as usize, usize::from(count)),
            Step::Reset { side, stream } => {
                let stream = u16::from(stream) % STREAMS;
                let end = &mut self.ends[side as usize].association;
                let _ = end.reset_stream(self.now, stream);
            }
            Step::PathChanged { side } => {
                self.ends[side as usize].association.path_changed(self.now);
            }
            Step::SetPacket { side, packet: size } => {
                self.ends[side as usize]
                    .association
                    .set_packet(packet(size));
            }
            Step::Shutdown { side } => {
                let end = &mut self.ends[side as usize].association;
                // Before it is there, a shutdown promises nothing.
                self.is_given_up |= !end.is_connected();
                self.is_leaving = true;
                end.shutdown(self.now);
            }
            Step::Abort { side } => {
                self.is_leaving = true;
                self.ends[side as usize].association.abort(self.now);
            }
            Step::BeginAnew => {
                let is_up = self.ends.iter().all(|end| end.association.is_connected());
                if is_up && !self.is_leaving && self.anew.is_none() {
                    self.seeds += 1;
                    let config = config(self.options[0], self.has_checksum);
                    let anew = Association::connect(self.now, config, self.seeds);
                    self.ends[0] = Ours::new(anew);
                    self.anew = Some(self.models[0].count());
                }
            }
        }
        self.settle();
    }

    /// The link is good from now on: everything that is owed arrives, in the time that timers take.
    fn finish(&mut self) {
        let end = self.now + Duration::from_secs(1_200);
        loop {
            for side in 0..2 {
                self.carry(side, usize::MAX);
                self.read(side, usize::MAX);
            }
            let is_quiet = self.wires.iter().all(VecDeque::is_empty);
            let is_done = self.anew.is_none()
                && self.models.iter().all(|model| model.owed() == 0)
                && self.ends.iter_mut().all(|end| end.buffered() == 0);
            if is_quiet && (is_done || self.is_over()) {
                break;
            }
            assert!(
                self.now < end,
                "{:?}",
                self.models.each_ref().map(Model::owed)
            );
            if is_quiet {
                let due = self.ends.iter().filter_map(Endpoint::next_timeout).min();
                let at = due.expect("something is to be done");
                self.pass(at.saturating_duration_since(self.now));
            }
        }
        if self.is_over() {
            // The other side may have to find out.
            self.pass(Duration::from_secs(120));
            for side in 0..2 {
                self.carry(side, usize::MAX);
                self.read(side, usize::MAX);
            }
        }
        // A side that ends before the other knows of it, or in another way, promises nothing.
        let clean = [Closed::Shutdown, Closed::RemoteShutdown];
        let is_clean = |closed: &Option<Closed>| closed.is_some_and(|why| clean.contains(&why));
        let is_good = !self.is_over() || self.closed.iter().all(is_clean);
        if is_good && !self.is_given_up && self.anew.is_none() {
            assert_eq!(self.models.each_ref().map(Model::owed), [0, 0]);
        }
    }
}

fuzz_target!(|input: Input| {
    let before = live();
    let mut pair = Pair::new(input.options, input.is_symmetric);
    pair.settle();
    for step in input.steps.into_iter().take(400) {
        pair.step(step);
        let kept = live().saturating_sub(before);
        assert!(kept < KEPT, "{kept} bytes are kept");
    }
    pair.finish();
});
