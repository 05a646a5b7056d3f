//! Payloads that are handed over whole: in one packet or compressed, where everybody who gets them can take that.

use lkstream_conformance::simulation::{Client, SentId, Simulation, Stream, Who};
use lkstream_engine::Capabilities;

use super::{assert_finished, noise, run_until_ended, seconds, words};

const LEGACY: Capabilities = Capabilities {
    client_protocol: 0,
    inflates: false,
};
const PLAIN: Capabilities = Capabilities {
    client_protocol: 2,
    inflates: false,
};

/// Alice, and one receiver of each kind.
fn room<const N: usize>(seed: u64, kinds: [Capabilities; N]) -> (Simulation, Who, [Who; N]) {
    let mut simulation = Simulation::new(seed);
    let alice = simulation.join("alice");
    let mut number = 0;
    let others = kinds.map(|capabilities| {
        number += 1;
        let mut client = Client::new(&format!("bob-{number}"));
        client.capabilities = capabilities;
        simulation.join_with(client)
    });
    simulation.run_for(seconds(2));
    (simulation, alice, others)
}

/// Sends a stream, sees it arrive whole and gives how many packets it took.
fn packets(simulation: &mut Simulation, from: Who, to: &[Who], stream: Stream) -> u64 {
    let before = simulation.packets(to[0]);
    let sent: SentId = simulation.send(from, stream).unwrap();
    for to in to {
        run_until_ended(simulation, *to, sent, seconds(20));
        assert_finished(simulation, *to, sent);
    }
    simulation.run_for(seconds(1));
    simulation.packets(to[0]) - before
}

fn log_lines(count: u64) -> String {
    (0..count)
        .map(|line| {
            format!(
                "2026-01-01T00:00:00Z info request {line} served in {} ms\n",
                line % 7
            )
        })
        .collect()
}

#[test]
fn modern_receivers_get_small_payloads_in_one_packet() {
    let (mut simulation, alice, [bob, carol]) = room(71, [Capabilities::ALL, PLAIN]);
    let all = [bob, carol];
    let text = Stream::text("lk.chat", words(71, 10_000)).whole();
    assert_eq!(packets(&mut simulation, alice, &all, text), 1);
    let bytes = Stream::bytes("files", noise(71, 10_000)).whole();
    assert_eq!(packets(&mut simulation, alice, &all, bytes), 1);
    let empty = Stream::text("lk.chat", "").whole();
    assert_eq!(packets(&mut simulation, alice, &all, empty), 1);
}

#[test]
fn one_old_receiver_makes_it_chunks_for_all_unless_it_is_not_addressed() {
    let (mut simulation, alice, [bob, old]) = room(72, [Capabilities::ALL, LEGACY]);
    let hello = || Stream::text("lk.chat", "hello").whole();
    assert_eq!(packets(&mut simulation, alice, &[bob, old], hello()), 3);
    let targeted = hello().to(&["bob-1"]);
    assert_eq!(packets(&mut simulation, alice, &[bob], targeted), 1);
    simulation.leave(old);
    simulation.run_for(seconds(3));
    assert_eq!(packets(&mut simulation, alice, &[bob], hello()), 1);
}

#[test]
fn logs_are_compressed_for_those_who_can_inflate() {
    let text = log_lines(20_000);
    let mut taken = Vec::new();
    for capabilities in [Capabilities::ALL, PLAIN] {
        let (mut simulation, alice, [bob]) = room(73, [capabilities]);
        let stream = Stream::text("logs", text.clone()).whole();
        taken.push(packets(&mut simulation, alice, &[bob], stream));
    }
    assert!(taken[0] * 3 < taken[1], "{taken:?}");
}

#[test]
fn a_large_payload_is_whole_also_when_its_receiver_is_slow() {
    let (mut simulation, alice, [bob]) = room(74, [Capabilities::ALL]);
    simulation.set_pace(
        bob,
        lkstream_conformance::simulation::Pace::Portions {
            bytes: 200_000,
            every: super::millis(50),
        },
    );
    let stream = Stream::bytes("files", noise(74, 8_000_000)).whole();
    packets(&mut simulation, alice, &[bob], stream);
    let stream = Stream::text("logs", log_lines(60_000)).whole();
    packets(&mut simulation, alice, &[bob], stream);
}
