//! Chunks of any bytes, in packets with the right tag and checksum, for an SCTP association in each of its states: no panic, no
//! endless answer, memory within bounds.
#![no_main]

#[path = "../../sctp/tests/link/mod.rs"]
mod link;

use std::alloc::System;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use link::script::{
    COOKIE_ACK, COOKIE_ECHO, Chunk, DATA, HEARTBEAT_ACK, INIT, INIT_ACK, RE_CONFIG, SACK, SHUTDOWN,
    Script, WHOLE, chunks, cookie, packet, parameter, raw_packet, word,
};
use link::{Endpoint, Ours};
use lkstream_sctp::{Association, Config, Delivery, Event, Order, Reliability};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// An association that has more to say at once than this never ends.
const MOST: usize = 2_000;

/// What an association with the options below may keep, in bytes.
const KEPT: usize = 1024 * 1024;

fn config() -> Config {
    Config {
        receive_window: 16 * 1024,
        receive_window_limit: 32 * 1024,
        max_message_size: 4 * 1024,
        send_buffer: 32 * 1024,
        inbound_streams: 64,
        ..Config::default()
    }
}

/// Where the association is when the packets begin to come.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Begin {
    Listening,
    CookieWait,
    CookieEchoed,
    Established,
    ShutdownPending,
    ShutdownSent,
    ShutdownReceived,
    ShutdownAckSent,
    Closed,
}

#[derive(Arbitrary, Debug)]
struct Input {
    begin: Begin,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Packet {
        chunks: Vec<Said>,
        /// Now and then the tag is wrong.
        tag: u8,
    },
    /// Any bytes in place of chunks.
    Raw(Vec<u8>),
    Send {
        stream: u8,
        length: u16,
        is_unordered: bool,
        is_limited: bool,
    },
    Read,
    Reset {
        stream: u8,
    },
    /// The scripted side begins anew.
    BeginAnew {
        tag: u8,
        tsn: u32,
    },
    PathChanged,
    SetPacket(u16),
    Shutdown,
    Pass {
        millis: u16,
    },
}

/// One chunk; its numbers are those in use, more or less.
#[derive(Arbitrary, Debug)]
enum Said {
    Data {
        lead: i16,
        flags: u8,
        stream: u8,
        ssn: u8,
        payload: Vec<u8>,
    },
    /// Many small ones in a row.
    Crumbs {
        lead: i16,
        flags: u8,
        count: u8,
    },
    Sack {
        lead: i16,
        window: u32,
        gaps: Vec<(u16, u16)>,
        duplicates: u8,
    },
    Forward {
        lead: i16,
        skipped: Vec<(u8, u16)>,
    },
    Reset {
        lead: i8,
        ahead: i16,
        streams: Vec<u16>,
    },
    Response {
        lead: i8,
        result: u8,
    },
    Init {
        tag: u8,
        tsn: u32,
        parameters: Vec<u8>,
    },
    InitAck {
        parameters: Vec<u8>,
    },
    /// The cookie of the last INIT ACK.
    Cookie,
    CookieAck,
    HeartbeatAck {
        micros: u32,
    },
    Shutdown {
        lead: i16,
    },
    Any {
        kind: u8,
        flags: u8,
        value: Vec<u8>,
    },
}

fn live() -> usize {
    let stats = COUNTED.stats();
    stats.bytes_allocated.wrapping_sub(stats.bytes_deallocated)
}

/// A scripted side that keeps up with what ours says.
struct Side {
    now: Instant,
    ours: Ours,
    /// The numbers in use: the next TSN that ours waits for, and the next it will use.
    script: Script,
    /// Number of the next reset request of this side, and of ours.
    request: u32,
    peer_request: u32,
    /// The side that sent the last INIT, and what it got for it.
    asking: Option<Script>,
    cookie: Vec<u8>,
    cookie_tag: u32,
}

impl Side {
    fn new(now: Instant, ours: Association) -> Self {
        Self {
            now,
            ours: Ours::new(ours),
            script: Script::new(77, u32::MAX - 5),
            request: u32::MAX - 5,
            peer_request: 0,
            asking: None,
            cookie: Vec::new(),
            cookie_tag: 0,
        }
    }

    fn enter(begin: Begin) -> Self {
        let now = Instant::now();
        if matches!(begin, Begin::CookieWait | Begin::CookieEchoed) {
            let mut side = Self::new(now, Association::connect(now, config(), 3));
            side.settle();
            if matches!(begin, Begin::CookieEchoed) {
                let ack = side.script.init(INIT_ACK, &parameter(7, b"cookie"));
                side.say(&[ack]);
            }
            return side;
        }
        let mut side = Self::new(now, Association::accept(now, config(), 3));
        if matches!(begin, Begin::Listening) {
            return side;
        }
        let (tag, tsn) = (side.script.tag, side.script.tsn);
        side.step(Step::BeginAnew {
            tag: tag as u8,
            tsn,
        });
        assert!(side.ours.is_connected());
        let shutdown = |side: &Self| {
            let cumulative = side.script.peer_tsn.wrapping_sub(1);
            Chunk::new(SHUTDOWN, 0, cumulative.to_be_bytes())
        };
        match begin {
            Begin::ShutdownPending => {
                side.ours.write(now, 1, Bytes::from_static(b"waits"));
                side.ours.association.shutdown(now);
            }
            Begin::ShutdownSent => side.ours.association.shutdown(now),
            Begin::ShutdownReceived => {
                side.ours.write(now, 1, Bytes::from(vec![1; 30_000]));
                side.say(&[shutdown(&side)]);
            }
            Begin::ShutdownAckSent => side.say(&[shutdown(&side)]),
            Begin::Closed => side.ours.association.abort(now),
            _ => side.say(&[side.script.data(0, WHOLE, 1, 0, b"first")]),
        }
        side.settle();
        side
    }

    fn say(&mut self, chunks: &[Chunk]) {
        self.say_with(self.script.peer_tag, chunks);
    }

    fn say_with(&mut self, tag: u32, chunks: &[Chunk]) {
        self.ours.input(self.now, &packet(tag, chunks));
        self.settle();
    }

    /// Takes what ours has to say, and learns the numbers from it.
    fn settle(&mut self) {
        let mut buffer = Vec::new();
        for count in 0.. {
            assert!(count < MOST, "no end of packets");
            buffer.clear();
            if !self.ours.output(self.now, &mut buffer) {
                break;
            }
            assert!(buffer.len() <= config().packet.max(1_500));
            for chunk in chunks(&buffer) {
                self.learn(&chunk);
            }
        }
        self.ours
            .events
            .retain(|event| matches!(event, Event::Closed(_)));
        assert!(self.ours.events.len() <= 1, "it ends once");
        if self.ours.association.is_closed() {
            assert!(self.ours.next_timeout().is_none());
        }
    }

    fn learn(&mut self, chunk: &Chunk) {
        let value = &chunk.value;
        match chunk.kind {
            INIT => {
                self.script.learn(chunk);
                self.peer_request = self.script.peer_tsn;
            }
            INIT_ACK => {
                self.cookie = cookie(chunk);
                if let Some(asking) = &mut self.asking {
                    asking.learn(chunk);
                    self.cookie_tag = asking.peer_tag;
                }
            }
            COOKIE_ACK => {
                // From now on it is that side.
                if let Some(script) = self.asking.take() {
                    self.script = script;
                    self.request = script.tsn;
                    self.peer_request = script.peer_tsn;
                }
            }
            DATA => {
                let next = word(value, 0).wrapping_add(1);
                if (next.wrapping_sub(self.script.peer_tsn) as i32) > 0 {
                    self.script.peer_tsn = next;
                }
            }
            SACK => self.script.tsn = word(value, 0).wrapping_add(1),
            RE_CONFIG if value[..2] == [0, 16] => {
                if word(value, 4) == self.request {
                    self.request = self.request.wrapping_add(1);
                }
            }
            RE_CONFIG => self.peer_request = word(value, 4),
            _ => {}
        }
    }

    fn write(&mut self, said: Said, out: &mut Vec<Chunk>) {
        let script = &self.script;
        let near = |lead: i16| lead as i32 as u32;
        match said {
            Said::Data {
                lead,
                flags,
                stream,
                ssn,
                payload,
            } => {
                let chunk = script.data(
                    near(lead),
                    flags,
                    u16::from(stream),
                    u16::from(ssn),
                    &payload,
                );
                out.push(chunk);
            }
            Said::Crumbs { lead, flags, count } => {
                for at in 0..u32::from(count) {
                    let ahead = near(lead).wrapping_add(at);
                    out.push(script.data(ahead, flags, 1, ahead as u16, b"x"));
                }
            }
            Said::Sack {
                lead,
                window,
                gaps,
                duplicates,
            } => out.push(script.sack(near(lead), window, &gaps, u16::from(duplicates))),
            Said::Forward { lead, skipped } => {
                let skipped: Vec<_> = skipped
                    .into_iter()
                    .map(|(stream, ssn)| (u16::from(stream), ssn))
                    .collect();
                out.push(script.forward(near(lead), &skipped));
            }
            Said::Reset {
                lead,
                ahead,
                streams,
            } => {
                let mut at = *script;
                at.tsn = self.request;
                let beyond = script.tsn.wrapping_sub(self.request);
                let last = beyond.wrapping_add(near(ahead));
                out.push(at.reset(i32::from(lead) as u32, last, &streams));
            }
            Said::Response { lead, result } => {
                let number = self.peer_request.wrapping_add(i32::from(lead) as u32);
                let value = [number.to_be_bytes(), u32::from(result).to_be_bytes()].concat();
                out.push(Chunk::new(RE_CONFIG, 0, parameter(16, &value)));
            }
            Said::Init {
                tag,
                tsn,
                parameters,
            } => {
                let anew = Script::new(u32::from(tag), tsn);
                out.push(anew.init(INIT, &parameters));
                self.asking = Some(anew);
            }
            Said::InitAck { parameters } => {
                let mut all = parameter(7, b"cookie");
                all.extend(parameters);
                out.push(script.init(INIT_ACK, &all));
            }
            Said::Cookie => out.push(Chunk::new(COOKIE_ECHO, 0, self.cookie.clone())),
            Said::CookieAck => out.push(Chunk::new(COOKIE_ACK, 0, [])),
            Said::HeartbeatAck { micros } => {
                let value = parameter(1, &u64::from(micros).to_be_bytes());
                out.push(Chunk::new(HEARTBEAT_ACK, 0, value));
            }
            Said::Shutdown { lead } => {
                let cumulative = script.peer_tsn.wrapping_add(near(lead)).wrapping_sub(1);
                out.push(Chunk::new(SHUTDOWN, 0, cumulative.to_be_bytes()));
            }
            Said::Any { kind, flags, value } => out.push(Chunk::new(kind, flags, value)),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Packet { chunks, tag } => {
                let mut out = Vec::new();
                for said in chunks.into_iter().take(20) {
                    self.write(said, &mut out);
                }
                let right = match out.first().map(|chunk| chunk.kind) {
                    Some(INIT) => 0,
                    Some(COOKIE_ECHO) => self.cookie_tag,
                    _ => self.script.peer_tag,
                };
                self.say_with(right ^ u32::from(tag > 250), &out);
            }
            Step::Raw(bytes) => {
                let packet = raw_packet(self.script.peer_tag, &bytes);
                self.ours.input(self.now, &packet);
                self.settle();
            }
            Step::Send {
                stream,
                length,
                is_unordered,
                is_limited,
            } => {
                let delivery = Delivery {
                    order: if is_unordered {
                        Order::Unordered
                    } else {
                        Order::Ordered
                    },
                    reliability: if is_limited {
                        Reliability::Retransmits(0)
                    } else {
                        Reliability::Reliable
                    },
                };
                // Not so small that our own queue is what costs.
                let message = Bytes::from(vec![1; usize::from(length).max(100)]);
                let stream = u16::from(stream);
                let _ = self
                    .ours
                    .association
                    .send(self.now, stream, 53, delivery, message);
                self.settle();
            }
            Step::Read => {
                for count in 0.. {
                    assert!(count < MOST * 40, "no end of messages");
                    let Some((_, message)) = self.ours.read() else {
                        break;
                    };
                    assert!(message.len() <= config().max_message_size);
                }
                self.settle();
            }
            Step::Reset { stream } => {
                let stream = u16::from(stream);
                let _ = self.ours.association.reset_stream(self.now, stream);
                self.settle();
            }
            Step::BeginAnew { tag, tsn } => {
                let anew = Script::new(u32::from(tag), tsn);
                self.asking = Some(anew);
                self.say_with(0, &[anew.init(INIT, &[])]);
                let echo = Chunk::new(COOKIE_ECHO, 0, self.cookie.clone());
                self.say_with(self.cookie_tag, &[echo]);
            }
            Step::PathChanged => {
                self.ours.association.path_changed(self.now);
                self.settle();
            }
            Step::SetPacket(packet) => {
                let packet = usize::from(packet).min(1_500);
                self.ours.association.set_packet(packet);
            }
            Step::Shutdown => {
                self.ours.association.shutdown(self.now);
                self.settle();
            }
            Step::Pass { millis } => {
                let end = self.now + Duration::from_millis(u64::from(millis));
                for count in 0.. {
                    assert!(count < MOST * 40, "timers without end");
                    let Some(at) = self.ours.next_timeout().filter(|at| *at <= end) else {
                        break;
                    };
                    self.now = self.now.max(at);
                    self.ours.timeout(self.now);
                    self.settle();
                }
                self.now = end;
            }
        }
    }
}

fuzz_target!(|input: Input| {
    let before = live();
    let mut side = Side::enter(input.begin);
    for step in input.steps.into_iter().take(300) {
        side.step(step);
        let kept = live().saturating_sub(before);
        assert!(kept < KEPT, "{kept} bytes are kept");
    }
});
