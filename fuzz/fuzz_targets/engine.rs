//! Any use of two engines with any packets in between: no panic, a stream goes to the listeners that
//! it should, and ends once for each.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use lkstream_engine::{
    Config, Content, Engine, Event, IncomingId, ListenerId, Lost, OpenOptions, Outcome, OutgoingId,
    Read, Receipts, StreamInfo, StreamKind, TopicFilter,
};
use lkstream_proto::packet::Channel;

#[derive(Arbitrary, Debug)]
enum Step {
    Open {
        text: bool,
        topic: u8,
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
    Listen {
        text: bool,
        filter: u8,
    },
    Unlisten {
        which: u8,
    },
}

const TOPICS: [&str; 3] = ["t", "t.more", "other"];
/// Listeners at once.
const LISTENERS: usize = 6;

/// Two engines and what their users hold.
struct Pair {
    now: Instant,
    alice: Engine,
    bob: Engine,
    /// Bob's listeners, in the order of their registration.
    listening: Vec<(ListenerId, StreamKind, TopicFilter)>,
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
        let listening = [StreamKind::Text, StreamKind::Bytes]
            .map(|kind| (bob.listen(kind, TopicFilter::Any), kind, TopicFilter::Any));
        Pair {
            now,
            alice,
            bob,
            listening: listening.into(),
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

    /// Who shall get a stream: all that fit best, in the order of their registration.
    fn claimants(&self, info: &StreamInfo) -> Vec<ListenerId> {
        let fits = self.listening.iter().filter_map(|(id, kind, filter)| {
            let rank = rank(filter, info.topic.as_str())?;
            (*kind == info.kind()).then_some((rank, *id))
        });
        let fits: Vec<_> = fits.collect();
        let best = fits.iter().map(|(rank, _)| *rank).max();
        let best = fits.iter().filter(|(rank, _)| Some(*rank) == best);
        best.map(|(_, id)| *id).collect()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Open {
                text,
                topic,
                receipts,
                to,
            } => {
                let content = if text {
                    Content::text()
                } else {
                    Content::bytes("b")
                };
                let mut options =
                    OpenOptions::new(content, topic_of(topic), SystemTime::UNIX_EPOCH);
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
            Step::Listen { text, filter } => {
                if self.listening.len() < LISTENERS {
                    let kind = if text {
                        StreamKind::Text
                    } else {
                        StreamKind::Bytes
                    };
                    let filter = match filter % 6 {
                        0 => TopicFilter::Any,
                        1 => TopicFilter::Prefix(String::new()),
                        2 => TopicFilter::Prefix("t".into()),
                        _ => topic_of(filter).into(),
                    };
                    let id = self.bob.listen(kind, filter.clone());
                    self.listening.push((id, kind, filter));
                }
            }
            Step::Unlisten { which } => {
                if let Some(at) = pick(which, self.listening.len()) {
                    let (id, ..) = self.listening.remove(at);
                    self.bob.unlisten(id);
                }
            }
        }
        while let Some(packet) = self.bob.poll_packet() {
            let _ = self
                .alice
                .handle_packet(self.now, packet.channel, packet.bytes);
        }
        let mut opened: Vec<(Arc<StreamInfo>, Vec<ListenerId>)> = Vec::new();
        while let Some(event) = self.bob.poll_event() {
            match event {
                Event::Opened { listener, id, info } => {
                    self.incoming.push((id, None));
                    match opened
                        .last_mut()
                        .filter(|(last, _)| Arc::ptr_eq(last, &info))
                    {
                        Some((_, listeners)) => listeners.push(listener),
                        None => opened.push((info, vec![listener])),
                    }
                }
                Event::Unclaimed(info) => assert!(self.claimants(&info).is_empty()),
                _ => {}
            }
        }
        for (info, listeners) in opened {
            assert_eq!(listeners, self.claimants(&info));
        }
        while self.alice.poll_event().is_some() {}
    }
}

fn topic_of(number: u8) -> &'static str {
    TOPICS[usize::from(number) % TOPICS.len()]
}

/// How well a topic fits: a whole name before a longer prefix before a shorter one.
fn rank(filter: &TopicFilter, topic: &str) -> Option<usize> {
    match filter {
        TopicFilter::Exact(exact) => (*exact == *topic).then_some(1_000),
        TopicFilter::Prefix(prefix) => topic.strip_prefix(&**prefix).map(|_| prefix.len()),
        TopicFilter::Any => Some(0),
        filter => unreachable!("{filter:?} is not used here"),
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
