//! When each chunk is sent again (RFC 8985 §6, RFC 5682): a receiver by script, over a path that drops what a test names.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lkstream_sctp::{Association, Config, Congestion, Stats};

use crate::link::script::{
    COOKIE_ECHO, Chunk, DATA, INIT, INIT_ACK, Script, answers, cookie, packet, word,
};
use crate::link::{Endpoint, Ours, Random, config};
use crate::ms;

const DELAY: Duration = ms(25);
const RTT: Duration = ms(50);

/// Bytes of a message that fills a packet.
const FULL: usize = 1_160;

/// What is under way, by when it arrives.
enum Item {
    Data(u32),
    Sack(Chunk),
}

struct Scene {
    ours: Ours,
    script: Script,
    start: Instant,
    now: Instant,
    items: BTreeMap<(Instant, u64), Item>,
    count: u64,
    /// Nothing arrives in this span: it all does at the end of it.
    held: Option<(Instant, Instant)>,
    /// By the number of the chunk: when it left, each time.
    sent: Vec<Vec<Duration>>,
    /// The chunks that have arrived.
    arrived: Vec<bool>,
    /// Bytes of a message.
    length: usize,
}

impl Scene {
    /// Ours, set up over the path, so that it knows the round trip.
    fn new(congestion: Congestion) -> Self {
        let start = Instant::now();
        let config = Config {
            congestion,
            ..config()
        };
        let mut ours = Ours::new(Association::accept(start, config, 1));
        let mut script = Script::new(77, 1_000);
        ours.input(start, &packet(0, &[script.init(INIT, &[])]));
        let said = answers(&mut ours, start);
        let ack = said.iter().find(|chunk| chunk.kind == INIT_ACK).unwrap();
        script.learn(ack);
        let now = start + RTT;
        script.say(&mut ours, now, &[Chunk::new(COOKIE_ECHO, 0, cookie(ack))]);
        Self {
            ours,
            script,
            start,
            now,
            items: BTreeMap::new(),
            count: 0,
            held: None,
            sent: Vec::new(),
            arrived: Vec::new(),
            length: FULL,
        }
    }

    fn stats(&self) -> Stats {
        self.ours.association.stats()
    }

    fn put(&mut self, item: Item) {
        let mut at = self.now + DELAY;
        if let Some((from, until)) = self.held
            && at >= from
        {
            at = at.max(until);
        }
        self.count += 1;
        self.items.insert((at, self.count), item);
    }

    /// All that ours has to say now; `drops` is told the chunk and how often it left before.
    fn flush(&mut self, drops: &mut impl FnMut(u32, usize) -> bool) {
        for chunk in answers(&mut self.ours, self.now) {
            if chunk.kind != DATA {
                continue;
            }
            let number = word(&chunk.value, 0).wrapping_sub(self.script.peer_tsn);
            let index = number as usize;
            if index == self.sent.len() {
                self.sent.push(Vec::new());
                self.arrived.push(false);
            }
            self.sent[index].push(self.now - self.start);
            if !drops(number, self.sent[index].len() - 1) {
                self.put(Item::Data(number));
            }
        }
    }

    /// What a receiver that reports each chunk at once says now.
    fn sack(&self) -> Chunk {
        let is_missing = |arrived: &bool| !arrived;
        let cumulative = self.arrived.iter().position(is_missing);
        let cumulative = cumulative.unwrap_or(self.arrived.len());
        let mut blocks: Vec<(u16, u16)> = Vec::new();
        for (at, _) in (1..)
            .zip(&self.arrived[cumulative..])
            .filter(|(_, is)| **is)
        {
            match blocks.last_mut() {
                Some((_, end)) if *end + 1 == at => *end = at,
                _ => blocks.push((at, at)),
            }
        }
        self.script.sack(cumulative as u32, 1_000_000, &blocks, 0)
    }

    /// On to the next thing that happens, no later than `end`.
    fn step(&mut self, end: Instant, drops: &mut impl FnMut(u32, usize) -> bool) {
        self.flush(drops);
        let arrival = self.items.first_key_value().map(|((at, _), _)| *at);
        let timer = self.ours.next_timeout();
        let next = [arrival, timer, Some(end)].into_iter().flatten().min();
        self.now = self.now.max(next.unwrap());
        if let Some(entry) = self.items.first_entry()
            && entry.key().0 <= self.now
        {
            match entry.remove() {
                Item::Data(number) => {
                    self.arrived[number as usize] = true;
                    let sack = self.sack();
                    self.put(Item::Sack(sack));
                }
                Item::Sack(sack) => self.script.say(&mut self.ours, self.now, &[sack]),
            }
        }
        if timer.is_some_and(|at| at <= self.now) {
            self.ours.timeout(self.now);
        }
        self.flush(drops);
    }

    /// A message of one chunk each millisecond.
    fn feed(&mut self, messages: u32, mut drops: impl FnMut(u32, usize) -> bool) {
        for _ in 0..messages {
            self.ours
                .write(self.now, 1, Bytes::from(vec![1; self.length]));
            let end = self.now + ms(1);
            while self.now < end {
                self.step(end, &mut drops);
            }
        }
    }
}

/// RFC 8985 §6.2, where §4 says what counting reports cannot: a repair that is lost, too, is found lost a round trip later, by what
/// left after it, and no timeout is needed.
#[test]
fn a_lost_repair_is_repaired_after_one_round_trip() {
    let mut scene = Scene::new(Congestion::Bbr);
    scene.feed(1_000, |number, before| number == 500 && before < 3);
    let left = &scene.sent[500];
    assert_eq!(left.len(), 4, "{left:?}");
    for pair in left.windows(2) {
        let wait = pair[1] - pair[0];
        assert!(wait >= RTT && wait < RTT + ms(5), "{left:?}");
    }
    let stats = scene.stats();
    assert_eq!(stats.chunks_retransmitted, 3, "{stats:?}");
    assert_eq!((stats.timeouts, stats.probes), (0, 0), "{stats:?}");
}

/// RFC 8985 §6.2: of many that are lost, and lost again, each is sent again within one round trip and the time for reordering, a
/// quarter of it.
#[test]
fn every_missing_chunk_is_repaired_after_one_round_trip() {
    let mut again = 0;
    for seed in 1..10 {
        let mut scene = Scene::new(Congestion::Bbr);
        scene.feed(500, |_, _| false);
        let mut random = Random(seed);
        let mut dropped = Vec::new();
        scene.feed(1_000, |number, before| {
            let is_dropped = random.chance(0.05);
            dropped.extend(is_dropped.then_some((number as usize, before)));
            is_dropped
        });
        scene.feed(200, |_, _| false);
        for (number, before) in &dropped {
            let left = &scene.sent[*number];
            let wait = left[before + 1] - left[*before];
            assert!(wait < RTT * 5 / 4 + ms(5), "seed {seed}: {left:?}");
            again += usize::from(*before > 0);
        }
        let stats = scene.stats();
        assert!(dropped.len() > 30, "{}", dropped.len());
        assert_eq!(stats.chunks_retransmitted, dropped.len() as u64);
        assert_eq!(stats.timeouts, 0, "{stats:?}");
    }
    assert!(again > 10, "{again}");
}

/// RFC 5682 §3.1, §4: a timeout for which nothing was lost is found to be one by what is acknowledged after it. Nothing is sent again but
/// what probes and timeouts did before, and the window is what it was.
#[test]
fn a_timeout_for_nothing_costs_nothing() {
    // The timeout sends one packet again: with one chunk, or with several that had a packet each.
    for (congestion, length) in [
        (Congestion::Bbr, FULL),
        (Congestion::Bbr, 100),
        (Congestion::NewReno, FULL),
        (Congestion::NewReno, 100),
    ] {
        let mut scene = Scene::new(congestion);
        scene.length = length;
        scene.feed(500, |_, _| false);
        let before = scene.stats();
        scene.held = Some((scene.now, scene.now + ms(900)));
        scene.feed(900, |_, _| false);
        let during = scene.stats();
        assert!(during.timeouts > 0 && during.window < before.window / 4);
        assert!(during.chunks_retransmitted > 0, "{during:?}");
        assert_eq!(during.spurious_timeouts, 0, "{during:?}");
        // RFC 9260 §6.3.3 E3: one packet. Probes had new data.
        let most = during.timeouts * (FULL / length) as u64;
        assert!(during.chunks_retransmitted <= most, "{during:?}");
        let end = scene.now + ms(100);
        while scene.stats().spurious_timeouts == 0 {
            assert!(scene.now < end, "{:?}", scene.stats());
            scene.step(end, &mut |_, _| false);
        }
        assert!(scene.stats().window >= before.window, "{:?}", scene.stats());
        scene.feed(500, |_, _| false);
        let after = scene.stats();
        assert_eq!(after.chunks_retransmitted, during.chunks_retransmitted);
        assert_eq!(after.spurious_timeouts, 1, "{after:?}");
        assert!(after.chunks_sent > during.chunks_sent + 300, "{after:?}");
    }
}

/// RFC 5682 §4: what was before a timeout for a reason does not come back with a later one for nothing.
#[test]
fn a_timeout_for_a_reason_is_not_undone_by_a_later_one() {
    let mut scene = Scene::new(Congestion::NewReno);
    scene.feed(500, |_, _| false);
    let before = scene.stats();
    scene.feed(600, |_, _| true);
    scene.feed(1_000, |_, _| false);
    let between = scene.stats();
    assert!(between.timeouts > 0 && between.spurious_timeouts == 0);
    assert!(between.window < before.window * 3 / 4, "{between:?}");
    scene.held = Some((scene.now, scene.now + ms(900)));
    scene.feed(900, |_, _| false);
    let end = scene.now + ms(100);
    while scene.stats().spurious_timeouts == 0 {
        assert!(scene.now < end, "{:?}", scene.stats());
        scene.step(end, &mut |_, _| false);
    }
    let after = scene.stats();
    assert!(after.window < before.window * 3 / 4, "{before:?} {after:?}");
}
