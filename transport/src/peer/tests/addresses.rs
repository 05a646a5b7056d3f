//! What an address gets that somebody else has named.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::Received;
use super::pair::{A, B, Pair, Setting};
use super::second;

fn stranger() -> SocketAddr {
    "203.0.113.5:5555".parse().unwrap()
}

/// A participant moves the path to an address that is not its own, to have the server flood it.
#[test]
fn an_address_that_does_not_answer_gets_three_times_what_came_from_it() {
    let mut pair = Pair::new(Setting::default());
    pair.connect();
    let channel = pair.channel(B, "_reliable");
    let before = pair.address(A);
    assert!(pair.peer(B).is_validated(before));
    let mut came = pair.check_from(stranger());
    assert_eq!(pair.peer(B).remote_address(), Some(stranger()));
    let mut messages = 0;
    while pair.peer(B).room(channel) > 0 {
        pair.send(B, channel, &[1; 15_000]);
        messages += 1;
    }
    assert!(messages > 3);
    for _ in 0..20 {
        pair.run_for(Duration::from_millis(100));
        assert!(pair.sent_to(stranger()) <= 3 * came, "{came}");
        came += pair.check_from(stranger());
    }
    // Anything that comes from there counts, also what is no good.
    let garbage = [23; 600];
    let received = Received {
        remote: stranger(),
        local: None,
        data: &garbage,
        segment_size: garbage.len(),
    };
    let now = pair.now;
    assert!(!pair.peer(B).handle_received(now, received));
    came += garbage.len();
    pair.run_for(second(2));
    assert!(pair.sent_to(stranger()) <= 3 * came);
    assert!(!pair.peer(B).is_validated(stranger()));
    // Once the stranger is silent, the other side's own address is taken again, and nothing is lost.
    pair.run_for(second(20));
    assert_eq!(pair.received(A, channel).len(), messages);
    assert_eq!(pair.peer(B).remote_address(), Some(before));
}

/// Nor is the handshake repeated to an address that never answers.
#[test]
fn the_handshake_is_bounded_too() {
    let mut pair = Pair::new(Setting::default());
    pair.blackout = true;
    let mut came = 0;
    for _ in 0..3 {
        came += pair.check_from(stranger());
    }
    pair.blackout = false;
    // The other side has no answer for what it did not get.
    pair.move_to(A, "198.51.100.9:9");
    let own = pair.address(A);
    let mut buffer = Vec::new();
    let mut went = 0;
    for _ in 0..300 {
        pair.now += Duration::from_millis(100);
        let now = pair.now;
        let peer = pair.peer(B);
        peer.handle_timeout(now);
        while let Some(transmit) = peer.poll_transmit(now, 10, &mut buffer) {
            assert_eq!(transmit.destination, stranger());
            went += transmit.len;
        }
        assert!(went <= 3 * came, "{went} for {came}");
    }
    assert!(went > came, "the hello went out");
    assert!(!pair.peer(B).is_validated(own));
}

/// An honest side that moves is asked, answers, and goes on at full speed.
#[test]
fn an_address_that_answers_is_validated() {
    let mut pair = Pair::new(Setting::default());
    pair.connect();
    let channel = pair.channel(B, "_reliable");
    pair.move_to(A, "192.168.7.7:7777");
    let moved = pair.address(A);
    pair.run_for(second(8));
    assert_eq!(pair.peer(B).remote_address(), Some(moved));
    assert!(pair.peer(B).is_validated(moved));
    pair.transfer([0, 3_000_000], channel, second(5));
}
