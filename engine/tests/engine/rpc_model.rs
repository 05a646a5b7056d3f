//! Calls between two engines over a bad wire: whatever is lost, damaged or repeated and whoever
//! leaves, every call ends exactly once and nothing is kept.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use lkstream_engine::{
    CallId, CallOptions, Capabilities, Config, Engine, Event, InvocationId, Lost, RpcError,
};
use lkstream_proto::packet::Channel;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Call { size: usize, seconds: u64 },
    Cancel(usize),
    Answer { which: usize, size: usize },
    Refuse(usize),
    Deliver { to_bob: bool, packets: usize },
    Lose { to_bob: bool },
    Repeat { to_bob: bool },
    Damage { to_bob: bool, at: usize, with: u8 },
    Pass { millis: u64 },
    Leave { caller: bool },
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..40_000_usize, 1..20_u64).prop_map(|(size, seconds)| Step::Call { size, seconds }),
        1 => any::<usize>().prop_map(Step::Cancel),
        3 => (any::<usize>(), 0..40_000_usize).prop_map(|(which, size)| Step::Answer { which, size }),
        1 => any::<usize>().prop_map(Step::Refuse),
        8 => (any::<bool>(), 1..12_usize).prop_map(|(to_bob, packets)| Step::Deliver { to_bob, packets }),
        1 => any::<bool>().prop_map(|to_bob| Step::Lose { to_bob }),
        1 => any::<bool>().prop_map(|to_bob| Step::Repeat { to_bob }),
        1 => (any::<bool>(), any::<usize>(), 1..=255_u8)
            .prop_map(|(to_bob, at, with)| Step::Damage { to_bob, at, with }),
        2 => (0..6_000_u64).prop_map(|millis| Step::Pass { millis }),
        1 => any::<bool>().prop_map(|caller| Step::Leave { caller }),
    ]
}

/// Text that does not shrink.
fn text(size: usize) -> String {
    let noise = crate::script::noise(size as u64, size);
    noise.iter().map(|byte| char::from(byte & 0x7f)).collect()
}

struct World {
    alice: Engine,
    bob: Engine,
    now: Instant,
    to_bob: VecDeque<Bytes>,
    to_alice: VecDeque<Bytes>,
    pending: Vec<CallId>,
    ends: BTreeMap<CallId, usize>,
    invoked: Vec<InvocationId>,
    payloads: Vec<String>,
}

impl World {
    fn new(client_protocol: i32) -> World {
        let now = Instant::now();
        let config = Config {
            max_invocations: 6,
            max_invocations_per_caller: 5,
            max_calls: 8,
            ..Config::default()
        };
        let mut alice = Engine::new(config.clone(), 1);
        let mut bob = Engine::new(config, 2);
        alice.set_local(now, "alice".into(), "PA_alice".into());
        bob.set_local(now, "bob".into(), "PA_bob".into());
        bob.serve("m");
        let capabilities = Capabilities {
            client_protocol,
            inflates: true,
        };
        alice.participant("bob".into(), capabilities);
        bob.participant("alice".into(), capabilities);
        World {
            alice,
            bob,
            now,
            to_bob: VecDeque::new(),
            to_alice: VecDeque::new(),
            pending: Vec::new(),
            ends: BTreeMap::new(),
            invoked: Vec::new(),
            payloads: Vec::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Call { size, seconds } => {
                let payload = text(size);
                let mut options = CallOptions::new("bob", "m", payload.clone(), UNIX_EPOCH);
                options.response_timeout = Duration::from_secs(seconds);
                if let Ok(id) = self.alice.call(self.now, options) {
                    self.pending.push(id);
                    self.payloads.push(payload);
                }
            }
            Step::Cancel(which) => {
                if let Some(at) = which.checked_rem(self.pending.len()) {
                    self.alice.cancel_call(self.pending.swap_remove(at));
                }
            }
            Step::Answer { which, size } => self.respond(which, Ok(text(size))),
            Step::Refuse(which) => self.respond(which, Err(RpcError::new(1, "no"))),
            Step::Deliver { to_bob, packets } => {
                for _ in 0..packets {
                    if let Some(packet) = self.wire(to_bob).pop_front() {
                        self.deliver(to_bob, packet);
                    }
                }
            }
            Step::Lose { to_bob } => drop(self.wire(to_bob).pop_front()),
            Step::Repeat { to_bob } => {
                if let Some(packet) = self.wire(to_bob).front().cloned() {
                    self.deliver(to_bob, packet);
                }
            }
            Step::Damage { to_bob, at, with } => {
                if let Some(packet) = self.wire(to_bob).front_mut() {
                    let mut bytes = packet.to_vec();
                    let at = at % bytes.len();
                    bytes[at] ^= with;
                    *packet = bytes.into();
                }
            }
            Step::Pass { millis } => self.pass(Duration::from_millis(millis)),
            Step::Leave { caller: true } => {
                self.bob
                    .participant_left(self.now, &"PA_alice".into(), &"alice".into());
            }
            Step::Leave { caller: false } => {
                self.alice
                    .participant_left(self.now, &"PA_bob".into(), &"bob".into());
            }
        }
        self.settle();
    }

    fn wire(&mut self, to_bob: bool) -> &mut VecDeque<Bytes> {
        if to_bob {
            &mut self.to_bob
        } else {
            &mut self.to_alice
        }
    }

    fn deliver(&mut self, to_bob: bool, packet: Bytes) {
        let engine = if to_bob {
            &mut self.bob
        } else {
            &mut self.alice
        };
        let _ = engine.handle_packet(self.now, Channel::Reliable, packet);
        self.settle();
    }

    fn respond(&mut self, which: usize, result: Result<String, RpcError>) {
        if let Some(at) = which.checked_rem(self.invoked.len()) {
            let id = self.invoked.swap_remove(at);
            let _ = self.bob.respond(id, result, UNIX_EPOCH);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.alice.handle_timeout(self.now);
        self.bob.handle_timeout(self.now);
    }

    fn settle(&mut self) {
        self.to_bob
            .extend(std::iter::from_fn(|| self.alice.poll_packet()).map(|packet| packet.bytes));
        self.to_alice
            .extend(std::iter::from_fn(|| self.bob.poll_packet()).map(|packet| packet.bytes));
        while let Some(event) = self.alice.poll_event() {
            if let Event::CallEnded { id, .. } = event {
                *self.ends.entry(id).or_default() += 1;
                assert!(self.pending.contains(&id), "{id:?} was cancelled");
            }
        }
        while let Some(event) = self.bob.poll_event() {
            if let Event::Invoked(invocation) = event {
                self.invoked.push(invocation.id);
                self.payloads.push(invocation.payload);
            }
        }
        assert!(self.invoked.len() <= 6);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_call_ends_exactly_once(
        client_protocol in 0..3,
        steps in prop::collection::vec(steps(), 1..80),
        is_lost in any::<bool>(),
    ) {
        let mut world = World::new(client_protocol);
        for step in steps {
            world.step(step);
        }
        if is_lost {
            world.alice.connection_lost(Lost::Left);
            world.settle();
        } else {
            world.pass(Duration::from_secs(20));
            world.settle();
        }
        for id in &world.pending {
            prop_assert_eq!(world.ends.get(id), Some(&1), "{:?}", id);
        }
        // The streams of calls that ended are gone on both sides, and so are their timers.
        world.pass(Duration::from_secs(60));
        world.settle();
        prop_assert_eq!(world.alice.poll_timeout(), None);
        prop_assert_eq!(world.bob.poll_timeout(), None);
    }

    /// On a good wire payloads and results arrive as they were, whatever the sizes and forms.
    #[test]
    fn payloads_arrive_as_they_were(
        client_protocol in 0..3,
        sizes in prop::collection::vec(0..60_000_usize, 1..8),
    ) {
        let mut world = World::new(client_protocol);
        for size in sizes {
            world.payloads.clear();
            world.step(Step::Call { size, seconds: 5 });
            if world.payloads.is_empty() {
                prop_assert!(client_protocol == 0 && size > 15_360);
                continue;
            }
            world.step(Step::Deliver { to_bob: true, packets: 20 });
            prop_assert_eq!(&world.payloads[0], &world.payloads[1]);
            world.step(Step::Refuse(0));
            world.step(Step::Deliver { to_bob: false, packets: 20 });
            let last = world.pending[world.pending.len() - 1];
            prop_assert_eq!(world.ends.get(&last), Some(&1));
        }
    }
}
