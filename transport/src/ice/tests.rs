#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use super::*;
use crate::certificate::Certificate;
use crate::limits;

const DELAY: Duration = Duration::from_millis(10);

struct Net {
    now: Instant,
    start: Instant,
    agents: Vec<Ice>,
    homes: Vec<Vec<SocketAddr>>,
    wire: VecDeque<(Instant, SocketAddr, SocketAddr, Vec<u8>)>,
    /// Whether a message passes from one address to another.
    passes: fn(SocketAddr, SocketAddr) -> bool,
    events: Vec<Vec<(Duration, Event)>>,
    sent: [usize; 2],
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl Net {
    fn new(modes: [IceMode; 2], homes: [&[&str]; 2], is_controlling: [bool; 2]) -> Self {
        let now = Instant::now();
        let certificate = Arc::new(Certificate::generate().unwrap());
        let homes: Vec<Vec<SocketAddr>> = homes
            .iter()
            .map(|list| list.iter().map(|text| address(text)).collect())
            .collect();
        let mut agents: Vec<Ice> = (0..2)
            .map(|side| {
                let credentials = Credentials::from_random([side as u8 + 1; 48]);
                let mut config = PeerConfig::new(Arc::clone(&certificate), credentials);
                config.ice = modes[side];
                config.candidates.clone_from(&homes[side]);
                Ice::new(now, &config).unwrap()
            })
            .collect();
        for side in 0..2 {
            let other = agents[1 - side].credentials.clone();
            let is_lite = modes[1 - side] == IceMode::Lite;
            let remote = Remote {
                ufrag: &other.ufrag,
                password: &other.password,
                is_lite,
            };
            agents[side].start(now, remote, is_controlling[side]);
            for (index, home) in homes[1 - side].iter().enumerate() {
                let priority = (HOST_PRIORITY) - (index as u32) * 256;
                let candidate = Candidate {
                    address: *home,
                    priority,
                };
                assert_eq!(agents[side].add_remote(now, &candidate), Added::Taken);
            }
        }
        Self {
            now,
            start: now,
            agents,
            homes,
            wire: VecDeque::new(),
            passes: |_, _| true,
            events: vec![Vec::new(), Vec::new()],
            sent: [0; 2],
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            for side in 0..2 {
                while let Some(outgoing) = self.agents[side].poll_transmit() {
                    self.sent[side] += 1;
                    let source = outgoing.path.source.unwrap();
                    let from = *self.homes[side]
                        .iter()
                        .find(|home| home.ip() == source)
                        .unwrap();
                    if (self.passes)(from, outgoing.path.remote) {
                        self.wire.push_back((
                            self.now + DELAY,
                            from,
                            outgoing.path.remote,
                            outgoing.bytes,
                        ));
                    }
                }
                while let Some(event) = self.agents[side].poll_event() {
                    self.events[side].push((self.now - self.start, event));
                }
            }
            let arrival = self.wire.front().map(|(at, ..)| *at);
            let timers = self.agents.iter().filter_map(Ice::poll_timeout).min();
            let Some(next) = arrival
                .into_iter()
                .chain(timers)
                .min()
                .filter(|at| *at <= end)
            else {
                break;
            };
            self.now = self.now.max(next);
            while self.wire.front().is_some_and(|(at, ..)| *at <= self.now) {
                let (_, from, to, bytes) = self.wire.pop_front().unwrap();
                if let Some(side) = self.homes.iter().position(|homes| homes.contains(&to)) {
                    self.agents[side].handle_stun(self.now, from, Some(to.ip()), &bytes);
                }
            }
            for agent in &mut self.agents {
                agent.handle_timeout(self.now);
            }
        }
        self.now = end;
    }

    fn chosen(&self, side: usize) -> Option<(Duration, SocketAddr)> {
        self.events[side]
            .iter()
            .rev()
            .find_map(|(at, event)| match event {
                Event::Path(path) => Some((*at, path.remote)),
                _ => None,
            })
    }

    fn assert_same_pair(&self) {
        let pairs = [0, 1].map(|side| {
            let agent: &Ice = &self.agents[side];
            let pair = &agent.pairs[agent.selected.unwrap()];
            (pair.local, pair.remote)
        });
        assert_eq!(pairs[0], (pairs[1].1, pairs[1].0));
    }
}

const HOST_PRIORITY: u32 = 126 << 24 | 65_535 << 8 | 255;

#[test]
fn a_full_agent_reaches_a_lite_one_in_one_round_trip() {
    let mut net = Net::new(
        [IceMode::Full, IceMode::Lite],
        [&["10.0.0.1:1"], &["10.0.0.2:2"]],
        [true, false],
    );
    net.run(Duration::from_secs(1));
    assert_eq!(net.chosen(1).unwrap(), (DELAY, address("10.0.0.1:1")));
    assert_eq!(net.chosen(0).unwrap(), (2 * DELAY, address("10.0.0.2:2")));
}

#[test]
fn with_several_pairs_one_is_chosen() {
    let homes: [&[&str]; 2] = [&["10.0.0.1:1", "10.0.1.1:1"], &["10.0.0.2:2", "10.0.1.2:2"]];
    for modes in [
        [IceMode::Full, IceMode::Lite],
        [IceMode::Full, IceMode::Full],
    ] {
        let mut net = Net::new(modes, homes, [true, false]);
        net.run(Duration::from_secs(1));
        net.assert_same_pair();
        // Usable after a round trip, chosen after two.
        let usable = net.events[0]
            .iter()
            .find(|(_, event)| matches!(event, Event::Usable(_)))
            .unwrap();
        assert_eq!(usable.0, 2 * DELAY);
        assert_eq!(net.chosen(0).unwrap().0, 4 * DELAY);
        assert!(net.sent[0] < 20 && net.sent[1] < 20, "{:?}", net.sent);
    }
}

#[test]
fn only_the_pair_that_works_is_chosen() {
    let homes: [&[&str]; 2] = [&["10.0.0.1:1", "10.0.1.1:1"], &["10.0.0.2:2", "10.0.1.2:2"]];
    let mut net = Net::new([IceMode::Full, IceMode::Full], homes, [true, false]);
    net.passes = |from, to| {
        let ends = [from.ip().to_string(), to.ip().to_string()];
        ends.iter()
            .all(|ip| ["10.0.1.1", "10.0.0.2"].contains(&ip.as_str()))
    };
    net.run(Duration::from_secs(1));
    net.assert_same_pair();
    assert_eq!(net.chosen(0).unwrap().1, address("10.0.0.2:2"));
    assert_eq!(net.chosen(1).unwrap().1, address("10.0.1.1:1"));
}

#[test]
fn role_conflicts_are_settled() {
    for both in [true, false] {
        let mut net = Net::new(
            [IceMode::Full, IceMode::Full],
            [&["10.0.0.1:1"], &["10.0.0.2:2"]],
            [both, both],
        );
        net.run(Duration::from_secs(2));
        net.assert_same_pair();
        assert_ne!(net.agents[0].is_controlling, net.agents[1].is_controlling);
    }
}

#[test]
fn a_dead_pair_gives_way_to_another() {
    let homes: [&[&str]; 2] = [&["10.0.0.1:1", "10.0.1.1:1"], &["10.0.0.2:2"]];
    for modes in [
        [IceMode::Full, IceMode::Lite],
        [IceMode::Full, IceMode::Full],
    ] {
        let mut net = Net::new(modes, homes, [true, false]);
        net.run(Duration::from_secs(1));
        let first = net.chosen(1).unwrap().1;
        net.passes = match first.to_string().as_str() {
            "10.0.0.1:1" => |from, to| {
                ![from, to]
                    .iter()
                    .any(|end| end.ip().to_string() == "10.0.0.1")
            },
            _ => |from, to| {
                ![from, to]
                    .iter()
                    .any(|end| end.ip().to_string() == "10.0.1.1")
            },
        };
        net.run(Duration::from_secs(14));
        net.assert_same_pair();
        assert_ne!(net.chosen(1).unwrap().1, first);
    }
}

#[test]
fn silence_is_told_and_forgiven() {
    let mut net = Net::new(
        [IceMode::Full, IceMode::Lite],
        [&["10.0.0.1:1"], &["10.0.0.2:2"]],
        [true, false],
    );
    net.run(Duration::from_secs(60));
    assert_eq!(net.events[0].len() + net.events[1].len(), 2);
    net.passes = |_, _| false;
    net.run(Duration::from_secs(12));
    for events in &net.events {
        assert_eq!(events.last().unwrap().1, Event::Disconnected);
    }
    net.passes = |_, _| true;
    net.run(Duration::from_secs(3));
    for events in &net.events {
        assert_eq!(events.last().unwrap().1, Event::Recovered);
    }
    net.passes = |_, _| false;
    net.run(Duration::from_secs(60));
    for events in &net.events {
        assert_eq!(events.last().unwrap().1, Event::Failed);
    }
}

#[test]
fn checks_that_nobody_answers_end() {
    let mut net = Net::new(
        [IceMode::Full, IceMode::Full],
        [&["10.0.0.1:1"], &["10.0.0.2:2"]],
        [true, false],
    );
    net.passes = |_, _| false;
    net.run(Duration::from_secs(100));
    assert_eq!(net.events[0].last().unwrap().1, Event::Failed);
    assert!(net.sent[0] < 120, "{:?}", net.sent);
    assert_eq!(net.agents[0].poll_timeout(), None);
}

#[test]
fn forged_messages_are_refused() {
    let mut net = Net::new(
        [IceMode::Full, IceMode::Lite],
        [&["10.0.0.1:1"], &["10.0.0.2:2"]],
        [true, false],
    );
    let (now, stranger) = (net.now, address("6.6.6.6:6"));
    let lite = net.agents[1].credentials.clone();
    let full = net.agents[0].credentials.clone();
    let username = format!("{}:{}", lite.ufrag, full.ufrag);
    let local = Some(address("10.0.0.2:2").ip());
    for (username, password) in [
        (username.as_str(), "wrong"),
        ("other:name", &lite.password),
        ("", &lite.password),
    ] {
        let forged = Writer::new(Kind::Request, [1; 12])
            .username(username)
            .use_candidate()
            .finish(password);
        assert!(!net.agents[1].handle_stun(now, stranger, local, &forged));
    }
    let forged = Writer::new(Kind::Success, [1; 12])
        .mapped(stranger)
        .finish(&lite.password);
    assert!(!net.agents[0].handle_stun(now, stranger, None, &forged));
    assert!(!net.agents[1].note_datagram(now, stranger, 100));
    assert!(net.agents[1].poll_transmit().is_none() && net.agents[1].poll_event().is_none());
    // The genuine one is heard wherever it comes from.
    let genuine = Writer::new(Kind::Request, [1; 12])
        .username(&username)
        .use_candidate()
        .finish(&lite.password);
    assert!(net.agents[1].handle_stun(now, stranger, local, &genuine));
    assert_eq!(
        net.agents[1].poll_event(),
        Some(Event::Path(Path {
            remote: stranger,
            source: local
        }))
    );
}

#[test]
fn pairs_and_candidates_are_bounded() {
    let mut net = Net::new(
        [IceMode::Full, IceMode::Full],
        [&["10.0.0.1:1"], &["10.0.0.2:2"]],
        [true, false],
    );
    let now = net.now;
    let candidate = |number: usize| Candidate {
        address: SocketAddr::from(([9, 9, 9, 9], number as u16)),
        priority: 1,
    };
    let taken = (1..1_000)
        .filter(|number| net.agents[0].add_remote(now, &candidate(*number)) == Added::Taken)
        .count();
    assert_eq!(taken, limits::REMOTE_CANDIDATES - 1);
    let silent = net.agents[0].find_pair(address("10.0.0.1:1"), candidate(1).address);
    assert!(silent.is_some());
    for port in 1..2_000 {
        let index = net.agents[0].find_or_add_pair(
            now,
            address("10.0.0.1:1"),
            SocketAddr::from(([8, 8, 8, 8], port)),
            1,
        );
        net.agents[0].note_received(now, index);
    }
    assert_eq!(net.agents[0].pairs.len(), MAX_PAIRS);
    for _ in 0..3 {
        net.agents[0].next_tick = Some(now);
        net.agents[0].handle_timeout(now);
    }
    assert!(
        net.agents[0].outgoing.len() <= MAX_OUTGOING
            && net.agents[0].transactions.len() <= MAX_TRANSACTIONS
    );
}

/// Whoever may offer candidates may name the addresses of others: these get few checks, slowly.
#[test]
fn candidates_that_do_not_answer_get_few_checks() {
    let mut net = Net::new(
        [IceMode::Full, IceMode::Full],
        [&["10.0.0.1:1"], &["10.0.0.2:2"]],
        [true, false],
    );
    net.passes = |_, _| false;
    for port in 1..1_000 {
        for address in [
            [9, 9, 9, 9],
            [224, 0, 0, 1],
            [255; 4],
            [127, 0, 0, 1],
            [0; 4],
        ] {
            let candidate = Candidate {
                address: SocketAddr::from((address, port)),
                priority: 1,
            };
            net.agents[0].add_remote(net.now, &candidate);
        }
    }
    let remotes = net.agents[0].remotes.iter().map(|remote| remote.address);
    assert!(
        remotes
            .skip(1)
            .all(|remote| remote.ip().to_string() == "9.9.9.9")
    );
    let mut before = 0;
    for second in 1..=60 {
        net.run(Duration::from_secs(1));
        let sent = net.sent[0] - before;
        before = net.sent[0];
        // Twenty a second, and the burst at the beginning.
        assert!(
            sent <= if second == 1 { 28 } else { 20 },
            "{sent} in second {second}"
        );
    }
    assert!(
        net.sent[0] <= 20 * limits::REMOTE_CANDIDATES,
        "{:?}",
        net.sent
    );
}

/// A request from an address that never answers is answered and asked back, with less than three times its bytes.
#[test]
fn requests_get_less_than_three_times_their_bytes() {
    for mode in [IceMode::Lite, IceMode::Full] {
        let mut net = Net::new(
            [IceMode::Full, mode],
            [&["10.0.0.1:1"], &["10.0.0.2:2"]],
            [true, false],
        );
        let [asking, asked] = [0, 1].map(|side| net.agents[side].credentials.clone());
        let stranger = address("6.6.6.6:6");
        let local = Some(address("10.0.0.2:2").ip());
        let (mut came, mut went) = (0, 0);
        for round in 0..200u8 {
            let request = Writer::new(Kind::Request, [round; 12])
                .username(&format!("{}:{}", asked.ufrag, asking.ufrag))
                .finish(&asked.password);
            came += request.len();
            let agent = &mut net.agents[1];
            assert!(agent.handle_stun(net.now, stranger, local, &request));
            if round == 100 {
                agent.validate(net.now, stranger);
            }
            net.now += Duration::from_millis(100);
            agent.handle_timeout(net.now);
            while let Some(outgoing) = agent.poll_transmit() {
                if outgoing.path.remote == stranger {
                    went += outgoing.bytes.len();
                }
            }
            assert!(went <= 3 * came, "{mode:?}: {went} for {came}");
        }
        assert!(!net.agents[1].is_validated(stranger));
    }
}
