//! Any use of two engines with any packets in between: no panic, and a stream ends once.
#![no_main]

use std::time::{Duration, Instant, SystemTime};

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use lkstream_engine::{
    Config, Content, Engine, Event, IncomingId, Lost, OpenOptions, Outcome, OutgoingId, Read,
    Receipts, StreamKind, TopicFilter,
};
use lkstream_proto::packet::Channel;

#[derive(Arbitrary, Debug)]
enum Step {
    Open {
        text: bool,
        receipts: bool,
        to: bool,
    },
    Write {
        which: u8,
        len: u16,
    },
    Close {
        which: u8,
    },
    Abort {
        which: u8,
    },
    ReleaseOutgoing {
        which: u8,
    },
    Carry {
        packets: u8,
    },
    Lose,
    Repeat,
    Change {
        at: u16,
        to: u8,
    },
    Raw {
        lossy: bool,
        bytes: Vec<u8>,
    },
    Read {
        which: u8,
    },
    Confirm {
        which: u8,
    },
    ReleaseIncoming {
        which: u8,
    },
    Pass {
        millis: u16,
    },
    Acknowledge,
    Leave,
    LoseConnection,
    Rejoin,
}

/// Two engines and what their users hold.
struct Pair {
    now: Instant,
    alice: Engine,
    bob: Engine,
    outgoing: Vec<OutgoingId>,
    /// With the end that the reader was told, if it was.
    incoming: Vec<(IncomingId, Option<Read>)>,
    polled: u64,
}

impl Pair {
    fn new() -> Pair {
        let config = || Config {
            reader_budget: 64 * 1024,
            connection_budget: 128 * 1024,
            write_window: 32 * 1024,
            max_unacknowledged: 256 * 1024,
            ..Config::default()
        };
        let now = Instant::now();
        let (mut alice, mut bob) = (Engine::new(config(), 1), Engine::new(config(), 2));
        alice.set_local(now, "alice".into(), "PA_alice".into());
        bob.set_local(now, "bob".into(), "PA_bob".into());
        bob.listen(StreamKind::Text, TopicFilter::Any);
        bob.listen(StreamKind::Bytes, TopicFilter::Any);
        Pair {
            now,
            alice,
            bob,
            outgoing: Vec::new(),
            incoming: Vec::new(),
            polled: 0,
        }
    }

    fn packet(&mut self) -> Option<(Channel, Bytes)> {
        let packet = self.alice.poll_packet()?;
        self.polled += packet.bytes.len() as u64;
        Some((packet.channel, packet.bytes))
    }

    /// What is refused is counted; it must not panic.
    fn deliver(&mut self, channel: Channel, bytes: Bytes) {
        let _ = self.bob.handle_packet(self.now, channel, bytes);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Open { text, receipts, to } => {
                let content = if text {
                    Content::text()
                } else {
                    Content::bytes("b")
                };
                let mut options = OpenOptions::new(content, "t", SystemTime::UNIX_EPOCH);
                if receipts {
                    options.receipts = Receipts::Request;
                }
                if to {
                    options.destinations = vec!["bob".into()];
                }
                self.outgoing.extend(self.alice.open(options));
            }
            Step::Write { which, len } => {
                if let Some(at) = pick(which, self.outgoing.len())
                    && let Some(mut stream) = self.alice.outgoing(self.outgoing[at])
                {
                    let _ = stream.write(Bytes::from(vec![b'x'; usize::from(len)]));
                }
            }
            Step::Close { which } => {
                if let Some(at) = pick(which, self.outgoing.len())
                    && let Some(mut stream) = self.alice.outgoing(self.outgoing[at])
                {
                    let _ = stream.close(Default::default());
                }
            }
            Step::Abort { which } => {
                if let Some(at) = pick(which, self.outgoing.len())
                    && let Some(mut stream) = self.alice.outgoing(self.outgoing[at])
                {
                    stream.abort("given up");
                }
            }
            Step::ReleaseOutgoing { which } => {
                if let Some(at) = pick(which, self.outgoing.len()) {
                    let id = self.outgoing.swap_remove(at);
                    if let Some(stream) = self.alice.outgoing(id) {
                        stream.release();
                    }
                }
            }
            Step::Carry { packets } => {
                for _ in 0..packets {
                    if self.bob.is_over_budget() {
                        break;
                    }
                    let Some((channel, bytes)) = self.packet() else {
                        break;
                    };
                    self.deliver(channel, bytes);
                }
            }
            Step::Lose => {
                self.packet();
            }
            Step::Repeat => {
                if let Some((channel, bytes)) = self.packet() {
                    self.deliver(channel, bytes.clone());
                    self.deliver(channel, bytes);
                }
            }
            Step::Change { at, to } => {
                if let Some((channel, bytes)) = self.packet() {
                    let mut bytes = bytes.to_vec();
                    let at = usize::from(at) % bytes.len().max(1);
                    bytes[at] = to;
                    self.deliver(channel, bytes.into());
                }
            }
            Step::Raw { lossy, bytes } => {
                let channel = if lossy {
                    Channel::Lossy
                } else {
                    Channel::Reliable
                };
                self.deliver(channel, bytes.into());
            }
            Step::Read { which } => {
                if let Some(at) = pick(which, self.incoming.len()) {
                    let (id, end) = &mut self.incoming[at];
                    let read = self.bob.incoming(*id).expect("held").read(self.now);
                    match (&end, &read) {
                        (Some(end), read) => assert_eq!(end, read, "a stream ends once"),
                        (None, Read::Finished(_) | Read::Failed(_)) => *end = Some(read),
                        (None, Read::Piece(piece)) => {
                            assert!(!piece.is_empty() && piece.len() <= 64_000);
                        }
                        (None, Read::Pending) => {}
                    }
                }
            }
            Step::Confirm { which } => {
                if let Some(at) = pick(which, self.incoming.len()) {
                    let mut stream = self.bob.incoming(self.incoming[at].0).expect("held");
                    stream.confirm(Outcome::Complete);
                }
            }
            Step::ReleaseIncoming { which } => {
                if let Some(at) = pick(which, self.incoming.len()) {
                    let (id, _) = self.incoming.swap_remove(at);
                    self.bob.incoming(id).expect("held").release(self.now);
                }
            }
            Step::Pass { millis } => {
                self.now += Duration::from_millis(u64::from(millis));
                self.alice.handle_timeout(self.now);
                self.bob.handle_timeout(self.now);
            }
            Step::Acknowledge => self.alice.acknowledged(self.polled),
            Step::Leave => {
                let (sid, identity) = ("PA_alice".into(), "alice".into());
                self.bob.participant_left(self.now, &sid, &identity);
            }
            Step::LoseConnection => self.bob.connection_lost(Lost::Left),
            Step::Rejoin => self
                .bob
                .set_local(self.now, "bob".into(), "PA_again".into()),
        }
        while let Some(packet) = self.bob.poll_packet() {
            let _ = self
                .alice
                .handle_packet(self.now, packet.channel, packet.bytes);
        }
        while let Some(event) = self.bob.poll_event() {
            if let Event::Opened { id, .. } = event {
                self.incoming.push((id, None));
            }
        }
        while self.alice.poll_event().is_some() {}
    }
}

fn pick(which: u8, len: usize) -> Option<usize> {
    usize::from(which).checked_rem(len)
}

fuzz_target!(|steps: Vec<Step>| {
    let mut pair = Pair::new();
    for step in steps.into_iter().take(400) {
        pair.step(step);
    }
});
