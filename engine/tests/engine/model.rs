//! Two engines under random use, on virtual time: budgets hold, every stream goes to the listeners
//! that it should, ends exactly once for each, and what reads as finished is what was written.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lkstream_engine::{
    CloseError, Compress, Config, Content, Engine, Event, IncomingId, ListenerId, Lost,
    OpenOptions, OutgoingId, OutgoingState, PeerFault, Read, ReadError, Receipts, Rule, StreamKind,
    TopicFilter, Written,
};
use lkstream_proto::id::StreamId;
use lkstream_proto::packet::Channel;

use crate::claims::{Claims, Opening};
use crate::script::noise;

const READER_BUDGET: usize = 120_000;
const CONNECTION_BUDGET: usize = 300_000;
const WRITE_WINDOW: usize = 60_000;
const MAX_INCOMING: usize = 24;
/// Listeners of one side at most, and so copies of one stream.
const LISTENERS: usize = 8;
const TOPICS: [&str; 3] = ["chat", "chat.news", "files"];

/// Random numbers that a seed repeats.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn one_in(&mut self, limit: u64) -> bool {
        self.below(limit) == 0
    }
}

/// What the sender did with a stream.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sent {
    Open,
    Closed,
    Aborted,
}

#[derive(Debug)]
struct Writing {
    id: OutgoingId,
    name: StreamId,
    content: Bytes,
    written: usize,
    /// Its encoder may hold payload beside the queue.
    compressed: bool,
    sent: Sent,
    flushed: bool,
    lost: bool,
}

#[derive(Debug)]
struct Reading {
    id: IncomingId,
    listener: ListenerId,
    name: StreamId,
    content: Vec<u8>,
    end: Option<Result<(), ReadError>>,
    /// Reads only once in this many turns; 0 never reads.
    pace: u64,
}

struct Side {
    name: &'static str,
    engine: Engine,
    claims: Claims,
    /// Streams that were opened since the last packet, and who got them.
    opened: Vec<(StreamId, ListenerId)>,
    unclaimed: Vec<StreamId>,
    all_unclaimed: u64,
    writing: Vec<Writing>,
    reading: Vec<Reading>,
    /// Packets on their way to this side.
    wire: VecDeque<Bytes>,
    handed: u64,
    taken: u64,
    delivered: VecDeque<u64>,
}

impl Side {
    fn new(name: &'static str, seed: u64) -> Side {
        let config = Config {
            reader_budget: READER_BUDGET,
            connection_budget: CONNECTION_BUDGET,
            write_window: WRITE_WINDOW,
            max_unacknowledged: 200_000,
            max_incoming: MAX_INCOMING,
            max_incoming_per_publisher: MAX_INCOMING,
            ..Config::default()
        };
        Side {
            name,
            engine: Engine::new(config, seed),
            claims: Claims::default(),
            opened: Vec::new(),
            unclaimed: Vec::new(),
            all_unclaimed: 0,
            writing: Vec::new(),
            reading: Vec::new(),
            wire: VecDeque::new(),
            handed: 0,
            taken: 0,
            delivered: VecDeque::new(),
        }
    }

    /// Registers or drops a listener; streams that are open stay with whom they went to.
    fn listen(&mut self, draw: &mut Draw) {
        if self.claims.len() == LISTENERS || draw.one_in(3) && self.claims.len() > 0 {
            let gone = draw.below(self.claims.len() as u64) as usize;
            self.claims.unlisten(&mut self.engine, gone);
            return;
        }
        let kind = [StreamKind::Text, StreamKind::Bytes][draw.below(2) as usize];
        let filter = match draw.below(6) {
            0 | 1 => TOPICS[draw.below(3) as usize].into(),
            2 => TopicFilter::Prefix("chat".into()),
            3 => TopicFilter::Prefix("chat.".into()),
            4 => TopicFilter::Prefix(String::new()),
            _ => TopicFilter::Any,
        };
        self.claims.listen(&mut self.engine, kind, filter);
    }

    fn open(&mut self, draw: &mut Draw) {
        if self
            .writing
            .iter()
            .filter(|writing| writing.sent == Sent::Open)
            .count()
            >= 8
        {
            return;
        }
        let len = match draw.below(3) {
            0 => draw.below(200),
            1 => draw.below(20_000),
            _ => draw.below(400_000),
        } as usize;
        let topic = TOPICS[draw.below(3) as usize];
        let (kind, content) = if draw.one_in(3) {
            let text = "\u{1f600}a\u{20ac}".repeat(len / 8 + 1);
            (Content::text(), Bytes::from(text))
        } else {
            let mut content = noise(draw.below(u64::MAX), len);
            if draw.one_in(2) {
                // Letters: deflate makes them a third smaller.
                content
                    .iter_mut()
                    .for_each(|byte| *byte = b'a' + *byte % 26);
            }
            (Content::bytes("b"), Bytes::from(content))
        };
        let mut options = OpenOptions::new(kind, topic, std::time::UNIX_EPOCH);
        options.total_length = draw.one_in(2).then_some(content.len() as u64);
        if draw.one_in(2) {
            options.receipts = Receipts::Request;
        }
        options.compress =
            [Compress::Auto, Compress::Always, Compress::Never][draw.below(3) as usize];
        let compressed = options.compress != Compress::Never;
        // Written in pieces, written like a file, or sent whole.
        let (id, written) = match draw.below(3) {
            0 => (self.engine.open(options), 0),
            1 => (self.engine.open_file(options, &content), 0),
            _ => (self.engine.send(options, content.clone()), content.len()),
        };
        let id = id.unwrap();
        let outgoing = self.engine.outgoing(id).unwrap();
        let name = outgoing.info().id.clone();
        let sent = match outgoing.state() {
            OutgoingState::Open => Sent::Open,
            _ => Sent::Closed,
        };
        self.writing.push(Writing {
            id,
            name,
            content,
            written,
            compressed,
            sent,
            flushed: false,
            lost: false,
        });
    }

    fn write(&mut self, draw: &mut Draw) {
        for writing in &mut self.writing {
            if writing.sent != Sent::Open || draw.one_in(3) {
                continue;
            }
            let mut outgoing = self.engine.outgoing(writing.id).unwrap();
            if draw.one_in(60) {
                if draw.one_in(2) {
                    outgoing.abort("the model said so");
                } else {
                    outgoing.release();
                }
                writing.sent = Sent::Aborted;
                continue;
            }
            let rest = writing.content.slice(writing.written..);
            match outgoing.write(rest).unwrap() {
                Written::All => {
                    writing.written = writing.content.len();
                    match outgoing.close(BTreeMap::new()) {
                        Ok(()) => writing.sent = Sent::Closed,
                        Err(CloseError::Incomplete { .. }) => unreachable!(),
                        Err(error) => panic!("{error}"),
                    }
                }
                Written::Blocked { taken } => writing.written += taken,
            }
            if let Some(outgoing) = self.engine.outgoing(writing.id) {
                let queued = outgoing.progress().queued as usize;
                let most = WRITE_WINDOW + 15_000;
                assert!(
                    writing.compressed || queued <= most,
                    "{queued} bytes queued"
                );
            }
        }
    }

    fn read(&mut self, now: Instant, draw: &mut Draw) {
        for reading in &mut self.reading {
            if reading.pace == 0 || !draw.one_in(reading.pace) || reading.end.is_some() {
                continue;
            }
            let mut incoming = self.engine.incoming(reading.id).unwrap();
            for _ in 0..1 + draw.below(6) {
                let read = incoming.read(now);
                if matches!(read, Read::Finished(_) | Read::Failed(_)) {
                    assert_eq!(incoming.read(now), read, "nothing comes after the end");
                }
                match read {
                    Read::Piece(piece) => reading.content.extend_from_slice(&piece),
                    Read::Pending => break,
                    Read::Finished(summary) => {
                        assert_eq!(summary.bytes, reading.content.len() as u64);
                        reading.end = Some(Ok(()));
                        break;
                    }
                    Read::Failed(error) => {
                        reading.end = Some(Err(error));
                        break;
                    }
                }
            }
            if reading.end.is_some() {
                incoming.release(now);
            }
        }
    }

    fn events(&mut self, draw: &mut Draw) {
        while let Some(event) = self.engine.poll_event() {
            match event {
                Event::Opened { listener, id, info } => {
                    self.opened.push((info.id.clone(), listener));
                    let mut readings = self.reading.iter();
                    let again =
                        readings.any(|each| each.name == info.id && each.listener == listener);
                    assert!(!again, "{} was opened twice for {listener:?}", info.id);
                    self.reading.push(Reading {
                        listener,
                        id,
                        name: info.id.clone(),
                        content: Vec::new(),
                        end: None,
                        pace: if draw.one_in(12) {
                            0
                        } else {
                            1 + draw.below(6)
                        },
                    });
                }
                Event::Unclaimed(info) => self.unclaimed.push(info.id.clone()),
                Event::Flushed(id) => {
                    let writing = self
                        .writing
                        .iter_mut()
                        .find(|writing| writing.id == id)
                        .unwrap();
                    assert!(!writing.flushed && writing.sent != Sent::Open);
                    writing.flushed = true;
                    self.engine.outgoing(id).unwrap().release();
                }
                Event::OutgoingLost(id) => {
                    let writing = self
                        .writing
                        .iter_mut()
                        .find(|writing| writing.id == id)
                        .unwrap();
                    assert!(!writing.flushed && !writing.lost);
                    writing.lost = true;
                }
                Event::Readable(_) | Event::Writable(_) | Event::Receipt { .. } => {}
                Event::IncomingFailed { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn unread(&mut self) -> usize {
        let ids: Vec<IncomingId> = self.reading.iter().map(|reading| reading.id).collect();
        ids.iter()
            .filter_map(|id| self.engine.incoming(*id).map(|incoming| incoming.unread()))
            .sum()
    }

    /// Compares what a packet opened with what it should have.
    fn check_claims(&mut self, header: Option<Opening>, taken: &Result<(), PeerFault>) {
        let opened = std::mem::take(&mut self.opened);
        let unclaimed = std::mem::take(&mut self.unclaimed);
        self.all_unclaimed += unclaimed.len() as u64;
        assert_eq!(self.engine.counters().unclaimed, self.all_unclaimed);
        let Some(header) = header else {
            assert!(opened.is_empty() && unclaimed.is_empty());
            return;
        };
        let claimants = self.claims.of(&header);
        if claimants.is_empty() {
            assert_eq!((opened, unclaimed), (vec![], vec![header.id]));
            return;
        }
        assert!(unclaimed.is_empty());
        // All of them, or none where there is no room for all.
        let rule = taken.as_ref().err().map(|fault| &fault.rule);
        if matches!(rule, Some(Rule::TooManyStreams { .. })) {
            assert!(opened.is_empty());
            let existing = self.reading.iter().filter(|each| each.end.is_none());
            assert!(existing.count() + claimants.len() > MAX_INCOMING);
        } else {
            let expected = claimants.into_iter().map(|each| (header.id.clone(), each));
            assert_eq!(opened, expected.collect::<Vec<_>>());
        }
    }

    /// Moves packets of `self` to `other`, as far as a window of the wire allows.
    fn transmit(&mut self, other: &mut Side) {
        while other.wire.len() < 6 {
            let Some(packet) = self.engine.poll_packet() else {
                break;
            };
            self.handed += packet.bytes.len() as u64;
            other.wire.push_back(packet.bytes);
        }
    }

    /// Takes packets off the wire while the budget allows; what was taken is acknowledged.
    fn receive(&mut self, now: Instant, other: &mut Side, draw: &mut Draw) {
        for _ in 0..1 + draw.below(6) {
            if self.engine.is_over_budget() {
                break;
            }
            let Some(packet) = self.wire.pop_front() else {
                break;
            };
            other.taken += packet.len() as u64;
            other.delivered.push_back(other.taken);
            self.events(draw);
            let header = Opening::of(&packet);
            let taken = self.engine.handle_packet(now, Channel::Reliable, packet);
            self.events(draw);
            self.check_claims(header, &taken);
            let unread = self.unread();
            assert!(
                unread <= CONNECTION_BUDGET + LISTENERS * 16_000,
                "{unread} bytes unread"
            );
        }
        if draw.one_in(2)
            && let Some(acknowledged) = other.delivered.drain(..).next_back()
        {
            other.engine.acknowledged(acknowledged);
        }
    }
}

fn run(seed: u64) {
    println!("model seed {seed}");
    let mut draw = Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut now = Instant::now();
    let mut alice = Side::new("alice", seed);
    let mut bob = Side::new("bob", seed + 1);
    for side in [&mut alice, &mut bob] {
        side.listen(&mut draw);
        side.engine
            .set_local(now, side.name.into(), format!("PA_{}", side.name).into());
        side.listen(&mut draw);
    }
    let turns = 1_500;
    for turn in 0..turns {
        now += Duration::from_millis(draw.below(20));
        for first in [true, false] {
            let (me, peer) = if first {
                (&mut alice, &mut bob)
            } else {
                (&mut bob, &mut alice)
            };
            if turn < turns / 2 && draw.one_in(12) {
                me.open(&mut draw);
            }
            if draw.one_in(20) {
                me.listen(&mut draw);
            }
            me.write(&mut draw);
            me.transmit(peer);
            me.receive(now, peer, &mut draw);
            me.events(&mut draw);
            me.read(now, &mut draw);
            if me.engine.poll_timeout().is_some_and(|at| at <= now) {
                me.engine.handle_timeout(now);
            }
        }
    }
    let cut = draw.one_in(3);
    if !cut {
        // Everything that was begun comes to its end.
        for _ in 0..20_000 {
            now += Duration::from_millis(10);
            for first in [true, false] {
                let (me, peer) = if first {
                    (&mut alice, &mut bob)
                } else {
                    (&mut bob, &mut alice)
                };
                me.write(&mut draw);
                me.transmit(peer);
                me.receive(now, peer, &mut draw);
                me.events(&mut draw);
                me.read(now, &mut draw);
                me.engine.handle_timeout(now);
            }
            if alice.wire.is_empty() && bob.wire.is_empty() && idle(&alice) && idle(&bob) {
                break;
            }
        }
    }
    for side in [&mut alice, &mut bob] {
        side.engine.connection_lost(Lost::Left);
        side.events(&mut draw);
        for reading in &mut side.reading {
            reading.pace = 1;
        }
        for _ in 0..200 {
            side.read(now, &mut draw);
        }
    }
    check(&alice, &bob, cut);
    check(&bob, &alice, cut);
    let ends = |side: &Side| {
        let finished = side
            .reading
            .iter()
            .filter(|r| r.end == Some(Ok(())))
            .count();
        (finished, side.reading.len() - finished)
    };
    println!(
        "  finished and failed: {:?} and {:?}, unclaimed: {} and {}",
        ends(&alice),
        ends(&bob),
        alice.all_unclaimed,
        bob.all_unclaimed
    );
}

/// Whether all writers are through and all readers that read are at the end.
fn idle(side: &Side) -> bool {
    let written = |writing: &Writing| match writing.sent {
        Sent::Open => false,
        Sent::Closed => writing.flushed,
        Sent::Aborted => true,
    };
    side.writing.iter().all(written) && side.reading.iter().all(|r| r.end.is_some() || r.pace == 0)
}

/// Compares what `reader` read with what `writer` wrote.
fn check(writer: &Side, reader: &Side, cut: bool) {
    for writing in &writer.writing {
        let ends = u32::from(writing.flushed) + u32::from(writing.lost);
        let released_open = writing.sent == Sent::Aborted && ends == 0;
        assert!(
            ends == 1 || released_open,
            "{} ended {ends} times",
            writing.name
        );
        assert!(
            cut || ends == 0 || writing.flushed,
            "{} never flushed",
            writing.name
        );
    }
    for reading in &reader.reading {
        let writing = writer
            .writing
            .iter()
            .find(|writing| writing.name == reading.name)
            .unwrap();
        match reading.end.as_ref().expect("a stream without an end") {
            Ok(()) => {
                assert_eq!(writing.sent, Sent::Closed);
                assert!(
                    writing.content == reading.content,
                    "{} differs",
                    reading.name
                );
            }
            Err(error) => {
                assert!(writing.content.starts_with(&reading.content));
                let matches_cause = match error {
                    ReadError::AbortedBySender { .. } => writing.sent == Sent::Aborted,
                    ReadError::ConnectionLost(Lost::Left) => true,
                    ReadError::Limit(_) => true,
                    _ => false,
                };
                assert!(matches_cause, "{error} of {:?}", writing.sent);
            }
        }
    }
}

#[test]
fn random_use_keeps_budgets_and_ends_every_stream_once() {
    // More for a long run: LKSTREAM_MODEL_SEEDS=1000.
    let seeds = std::env::var("LKSTREAM_MODEL_SEEDS").ok();
    let seeds = seeds.map_or(40, |seeds| seeds.parse().expect("a number of seeds"));
    for seed in 1..=seeds {
        run(seed);
    }
}
