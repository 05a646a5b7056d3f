//! Clients and a room on virtual time: engines, sessions and a room of ours over [`wire`](mod@crate::wire)s, exact for a seed.
//!
//! There is no task, socket or clock in here: the one call of `Instant::now` marks where virtual time starts. A test
//! joins clients, has them send streams, cuts wires, and lets time run; after every moment at which something happened
//! the simulation checks what must always hold (budgets, recipients, one end a stream) and panics when it does not,
//! with the seed and the last events.

#![allow(clippy::panic)]

mod node;
mod trace;
mod work;

use std::fmt;
use std::time::{Duration, Instant};

use lkstream::session::{self, SessionConfig};
use lkstream_engine::{Capabilities, Counters, OpenError, TopicFilter, UserMessage};
use lkstream_proto::id::{Identity, ParticipantSid, RoomName, RoomSid};
use lkstream_proto::limits::CHUNK_BYTES;
use lkstream_proto::participant::{Capability, ParticipantKind};
use lkstream_server::room::{self, Joining, Limits, Output, Room};

pub use node::Presence;
pub use work::{Confirmation, Ending, Fate, Length, Pace, Received, Sent, Stream, Way};

use crate::wire::{self, Carrier, Random, Totals};
use node::{Node, World};
use trace::Trace;

/// Timers that may be due at one instant before the simulation calls it a standstill.
const STANDSTILL: u32 = 10_000;

/// A client of a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Who(usize);

impl fmt::Display for Who {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "client {}", self.0)
    }
}

/// Names a stream that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SentId(usize);

/// How a client is made.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its identity.
    pub identity: Identity,
    /// What its token says it is.
    pub kind: ParticipantKind,
    /// What streams it says it understands.
    pub capabilities: Capabilities,
    /// What carries its packets.
    pub carrier: Carrier,
    /// How its wire behaves.
    pub wire: wire::Config,
    /// Its engine.
    pub engine: lkstream_engine::Config,
    /// Its session.
    pub session: SessionConfig,
    /// What it listens to, for text and for bytes.
    pub topics: Vec<TopicFilter>,
    /// How fast its readers are.
    pub pace: Pace,
    /// Probability that the server drops a reliable packet for it, as livekit-server does to slow readers
    /// (protocol.md §4.4).
    pub drops: f64,
    /// Probability that the server sends a reliable packet to it twice, as after a resume.
    pub repeats: f64,
}

impl Client {
    /// An ordinary participant that listens to everything and reads at once.
    #[must_use]
    pub fn new(identity: &str) -> Client {
        Client {
            identity: Identity::from(identity),
            kind: ParticipantKind::Standard,
            capabilities: Capabilities::ALL,
            carrier: Carrier::default(),
            wire: wire::Config::default(),
            engine: lkstream_engine::Config::default(),
            session: SessionConfig::default(),
            topics: node::every_topic(),
            pace: Pace::Eager,
            drops: 0.0,
            repeats: 0.0,
        }
    }
}

/// A room, its clients and their wires.
pub struct Simulation {
    seed: u64,
    random: Random,
    start: Instant,
    now: Instant,
    limits: Limits,
    room: Room,
    nodes: Vec<Node>,
    sent: Vec<Sent>,
    trace: Trace,
}

impl Simulation {
    /// An empty room with default limits. The same seed and the same calls give the same events.
    #[must_use]
    pub fn new(seed: u64) -> Simulation {
        Simulation::with_limits(seed, Limits::default())
    }

    /// An empty room.
    #[must_use]
    pub fn with_limits(seed: u64, limits: Limits) -> Simulation {
        let start = Instant::now();
        let mut random = Random::new(seed);
        let mut options = room::Options::new(
            RoomName::from("simulated"),
            RoomSid::generate(bytes16(&mut random)),
            Duration::from_secs(1_700_000_000),
        );
        options.limits = limits.clone();
        Simulation {
            seed,
            random,
            start,
            now: start,
            limits,
            room: Room::new(start, options),
            nodes: Vec::new(),
            sent: Vec::new(),
            trace: Trace::new(),
        }
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now - self.start
    }

    /// What happened so far, as a number that differs when anything differs.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.trace.hash()
    }

    /// How much happened so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.trace.events()
    }

    /// The last events, one a line, and where every client stands.
    #[must_use]
    pub fn tail(&self) -> String {
        let mut tail = self.trace.tail();
        for node in &self.nodes {
            tail.push_str(&node.status());
            tail.push('\n');
        }
        tail
    }

    /// Lets an ordinary client in.
    pub fn join(&mut self, identity: &str) -> Who {
        self.join_with(Client::new(identity))
    }

    /// Lets a client in: its token is good and its join request has arrived; everything after that takes time.
    pub fn join_with(&mut self, client: Client) -> Who {
        let mut joining = Joining::new(client.identity.clone(), bytes16(&mut self.random));
        joining.kind = client.kind as i32;
        joining.client.client_protocol = client.capabilities.client_protocol;
        if client.capabilities.inflates {
            joining.client.capabilities = vec![Capability::CompressionDeflateRaw as i32];
        }
        let seed = self.random.draw();
        let who = Who(self.nodes.len());
        let member = match self.room.join(self.now, joining) {
            Ok(member) => member,
            Err(error) => self.fail(&format!("{who} may not join: {error}")),
        };
        self.nodes
            .push(Node::new(who, client, self.now, seed, member));
        self.settle();
        who
    }

    /// Lets clients in and waits until all of them are active.
    pub fn join_all<const N: usize>(&mut self, identities: [&str; N]) -> [Who; N] {
        let all = identities.map(|identity| self.join(identity));
        let limit = Duration::from_secs(10);
        if !self.run_until(limit, |simulation| {
            all.iter()
                .all(|who| *simulation.presence(*who) == Presence::Active)
        }) {
            self.fail("not everybody became active");
        }
        all
    }

    /// Opens a stream and has its application write it as fast as it may.
    ///
    /// # Errors
    /// The engine's.
    pub fn send(&mut self, who: Who, stream: Stream) -> Result<SentId, OpenError> {
        let mut world = World {
            now: self.now,
            since: self.now - self.start,
            trace: &mut self.trace,
            sent: &mut self.sent,
        };
        let id = self.nodes[who.0].open(&mut world, stream)?;
        self.settle();
        Ok(SentId(id))
    }

    /// Aborts a stream in the middle.
    pub fn abort(&mut self, sent: SentId, reason: &str) {
        let sent = &mut self.sent[sent.0];
        if let Some(mut outgoing) = self.nodes[sent.by.0].engine.outgoing(sent.handle) {
            outgoing.abort(reason);
            sent.ended = true;
        }
        self.settle();
    }

    /// A client leaves at once: a goodbye on its signal link, then it closes everything.
    pub fn leave(&mut self, who: Who) {
        self.nodes[who.0].leave(self.now);
        self.settle();
    }

    /// A client loses connectivity.
    pub fn cut(&mut self, who: Who) {
        self.note(format_args!("{who} is cut off"));
        self.nodes[who.0].wire.cut(self.now);
    }

    /// A client gets connectivity back.
    pub fn mend(&mut self, who: Who) {
        self.note(format_args!("{who} is back"));
        self.nodes[who.0].wire.mend(self.now);
    }

    /// Changes how fast a client's readers are.
    pub fn set_pace(&mut self, who: Who, pace: Pace) {
        let node = &mut self.nodes[who.0];
        node.pace = pace;
        for received in &mut node.received {
            received.readable = true;
        }
        self.settle();
    }

    /// Everybody is sent away.
    pub fn close_room(&mut self, reason: lkstream_proto::disconnect::DisconnectReason) {
        let _ = self.room.handle_input(self.now, room::Input::Close(reason));
        self.settle();
    }

    /// How a client's membership goes.
    #[must_use]
    pub fn presence(&self, who: Who) -> &Presence {
        &self.nodes[who.0].presence
    }

    /// A client's session id, once it knows it.
    #[must_use]
    pub fn sid(&self, who: Who) -> Option<&ParticipantSid> {
        self.nodes[who.0].sid.as_ref()
    }

    /// Every stream that came to a client.
    #[must_use]
    pub fn received(&self, who: Who) -> &[Received] {
        &self.nodes[who.0].received
    }

    /// What receivers said to a client.
    #[must_use]
    pub fn receipts(&self, who: Who) -> &[Confirmation] {
        &self.nodes[who.0].receipts
    }

    /// User packets that came to a client.
    #[must_use]
    pub fn messages(&self, who: Who) -> &[UserMessage] {
        &self.nodes[who.0].messages
    }

    /// Reliable and lossy packets that came to a client.
    #[must_use]
    pub fn packets(&self, who: Who) -> u64 {
        self.nodes[who.0].packets
    }

    /// Streams that came to a client and that nobody there wanted.
    #[must_use]
    pub fn unclaimed(&self, who: Who) -> u64 {
        self.nodes[who.0].unclaimed
    }

    /// Packets and frames that broke a rule at a client.
    #[must_use]
    pub fn faults(&self, who: Who) -> u64 {
        self.nodes[who.0].faults
    }

    /// What a client's engine counted.
    #[must_use]
    pub fn counters(&self, who: Who) -> Counters {
        self.nodes[who.0].engine.counters()
    }

    /// What a client's wire carried.
    #[must_use]
    pub fn wire_totals(&self, who: Who) -> Totals {
        self.nodes[who.0].wire.totals()
    }

    /// A stream that was sent.
    #[must_use]
    pub fn sent(&self, id: SentId) -> &Sent {
        &self.sent[id.0]
    }

    /// All streams that were sent.
    #[must_use]
    pub fn all_sent(&self) -> &[Sent] {
        &self.sent
    }

    /// All clients that ever joined.
    pub fn clients(&self) -> impl Iterator<Item = Who> + use<> {
        (0..self.nodes.len()).map(Who)
    }

    /// A client's identity.
    #[must_use]
    pub fn identity(&self, who: Who) -> &Identity {
        self.nodes[who.0].identity()
    }

    /// The room's counters.
    #[must_use]
    pub fn room_stats(&self) -> room::RoomStats {
        self.room.stats()
    }

    /// Bytes in the room's logs.
    #[must_use]
    pub fn logged(&self) -> usize {
        self.room.logged()
    }

    /// The stream that `received` is a copy of.
    #[must_use]
    pub fn origin(&self, received: &Received) -> Option<&Sent> {
        let publisher = received.info.publisher.as_ref();
        let number: usize = received.info.attributes.get(work::NUMBER)?.parse().ok()?;
        self.sent.get(number).filter(|sent| {
            sent.id == received.info.id && self.nodes[sent.by.0].sid.as_ref() == publisher
        })
    }

    /// The copy of a stream that came to `who`.
    #[must_use]
    pub fn copy(&self, who: Who, sent: SentId) -> Option<&Received> {
        self.nodes[who.0].received.iter().find(|received| {
            self.origin(received)
                .is_some_and(|origin| std::ptr::eq(origin, &self.sent[sent.0]))
        })
    }

    /// Lets this much time pass.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        self.run(until, |_| false);
        self.now = until;
        self.settle();
    }

    /// Lets time pass until `done` says so, but not longer than `limit`; gives whether it did.
    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&Simulation) -> bool) -> bool {
        let until = self.now + limit;
        self.run(until, done)
    }

    fn run(&mut self, until: Instant, done: impl Fn(&Simulation) -> bool) -> bool {
        let mut same = 0;
        loop {
            if done(self) {
                return true;
            }
            let Some((at, whose)) = self.next() else {
                return false;
            };
            if at > until {
                return false;
            }
            if at <= self.now {
                same += 1;
                if same > STANDSTILL {
                    self.fail(&format!(
                        "time stands still: {whose} is due again and again"
                    ));
                }
            } else {
                same = 0;
                self.now = at;
            }
            self.step();
        }
    }

    /// The next timer, and whose it is.
    fn next(&self) -> Option<(Instant, &'static str)> {
        self.nodes
            .iter()
            .filter_map(Node::poll_timeout)
            .chain(self.room.poll_timeout().map(|at| (at, "the room")))
            .min_by_key(|(at, _)| *at)
    }

    fn step(&mut self) {
        for node in &mut self.nodes {
            node.handle_timeout(self.now);
        }
        if self.room.poll_timeout().is_some_and(|at| at <= self.now) {
            self.room.handle_timeout(self.now);
        }
        self.settle();
    }

    /// Everybody does what can be done now, until nobody can do more.
    fn settle(&mut self) {
        for round in 0.. {
            let mut busy = self.drain_room();
            let mut world = World {
                now: self.now,
                since: self.now - self.start,
                trace: &mut self.trace,
                sent: &mut self.sent,
            };
            for node in &mut self.nodes {
                busy |= node.drive_client(&mut world);
                busy |= node.drive_server(&mut world, &mut self.room);
            }
            self.check();
            if !busy {
                return;
            }
            if round > STANDSTILL {
                self.fail("the parts keep each other busy without end");
            }
        }
    }

    fn drain_room(&mut self) -> bool {
        let mut busy = false;
        while let Some(output) = self.room.poll_output() {
            busy = true;
            let member = match &output {
                Output::Farewell { to, .. } => *to,
                Output::Packets(member)
                | Output::Signals(member)
                | Output::Accepting(member)
                | Output::Finish(member)
                | Output::Removed { member, .. } => *member,
                _ => continue,
            };
            let Some(node) = self
                .nodes
                .iter_mut()
                .find(|node| node.member == Some(member))
            else {
                continue;
            };
            let mut world = World {
                now: self.now,
                since: self.now - self.start,
                trace: &mut self.trace,
                sent: &mut self.sent,
            };
            match output {
                Output::Signals(_) => node.take_signals(&mut self.room, member),
                Output::Farewell { message, .. } => node.signal(message),
                Output::Packets(_) => node.packets_wait = true,
                Output::Finish(_) => node.finish(&mut world, &mut self.room, member),
                Output::Removed { reason, .. } => {
                    world.trace.record(
                        world.since,
                        format_args!("room removes {} {reason:?}", node.who),
                    );
                    node.removed();
                }
                _ => {}
            }
        }
        busy
    }

    fn check(&mut self) {
        let logged = self.room.logged();
        let most = self.limits.room_log + lkstream_proto::limits::SERVER_PACKET_BYTES + 64;
        if logged > most {
            self.fail(&format!("the room logs {logged} bytes"));
        }
        for node in &mut self.nodes {
            node.check();
            node.check_sent(&self.sent);
        }
    }

    fn note(&mut self, event: fmt::Arguments<'_>) {
        let since = self.now - self.start;
        self.trace.record(since, event);
    }

    /// Stops with the seed and the last events.
    fn fail(&self, problem: &str) -> ! {
        panic!(
            "seed {}, after {:?}: {problem}\n{}",
            self.seed,
            self.now(),
            self.tail()
        )
    }

    /// Checks every stream that came to anybody: a finished one is byte for byte what was sent and closed, any other
    /// is a beginning of it.
    pub fn check_copies(&self) {
        for node in &self.nodes {
            for received in &node.received {
                let Some(sent) = self.origin(received) else {
                    self.fail(&format!("{} got a stream that nobody sent", node.who));
                };
                let payload = &sent.stream.payload;
                // A lost first chunk looks like a sender that counts from 1, until the length tells (engine's
                // `count_from_one`): such a stream fails in the end, but what was read before starts later.
                let shifted = node.client.drops > 0.0
                    && !received.is_finished()
                    && (payload.get(CHUNK_BYTES..))
                        .is_some_and(|rest| rest.starts_with(&received.bytes));
                if !payload.starts_with(&received.bytes) && !shifted {
                    self.fail(&format!("{} read other bytes of {}", node.who, sent.id));
                }
                if received.is_finished()
                    && (received.bytes.len() != payload.len()
                        || sent.stream.ending != Ending::Close)
                {
                    self.fail(&format!(
                        "{} reads {} as finished after {} of {} bytes, {:?}",
                        node.who,
                        sent.id,
                        received.bytes.len(),
                        payload.len(),
                        sent.stream.ending
                    ));
                }
                let to = &sent.stream.destinations;
                if !to.is_empty() && !to.contains(node.identity()) {
                    self.fail(&format!("{} got a stream for {to:?}", node.who));
                }
            }
        }
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Simulation")
            .field("seed", &self.seed)
            .field("now", &self.now())
            .field("clients", &self.nodes.len())
            .finish_non_exhaustive()
    }
}

/// Whether a membership ended as the client itself wanted.
#[must_use]
pub fn left(presence: &Presence) -> bool {
    *presence == Presence::Ended(session::End::Left)
}

fn bytes16(random: &mut Random) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random.draw().to_le_bytes());
    bytes[8..].copy_from_slice(&random.draw().to_le_bytes());
    bytes
}
