#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Cause, Config, End, Event, Lane, Random, SendError, Wire};

/// Runs until nothing is left to happen or `until` has come, pulling all of `lane` at the server.
fn pull(wire: &mut Wire, mut now: Instant, until: Instant, lane: Lane) -> (Instant, Vec<Bytes>) {
    let mut pulled = Vec::new();
    loop {
        while let Some(message) = wire.receive(now, End::Server, lane) {
            pulled.push(message);
        }
        match wire.poll_timeout() {
            Some(at) if at <= until => {
                now = now.max(at);
                wire.handle_timeout(now);
            }
            _ => return (until, pulled),
        }
    }
}

fn open(config: Config, seed: u64) -> (Wire, Instant) {
    let start = Instant::now();
    let mut wire = Wire::new(config, seed);
    wire.connect(start);
    let now = start + Duration::from_secs(1);
    wire.handle_timeout(now);
    assert_eq!(wire.poll_event(End::Client), Some(Event::Open));
    assert_eq!(wire.poll_event(End::Server), Some(Event::Open));
    (wire, now)
}

fn message(index: usize, size: usize) -> Bytes {
    Bytes::from(vec![index as u8; size])
}

#[test]
fn reliable_messages_arrive_whole_and_in_order() {
    let (mut wire, now) = open(Config::default(), 1);
    let sent: Vec<Bytes> = (0..10)
        .map(|index| message(index, 1 + index * 4_000))
        .collect();
    for message in &sent {
        wire.send(now, End::Client, Lane::Reliable, message.clone())
            .unwrap();
    }
    let (_, pulled) = pull(&mut wire, now, now + Duration::from_secs(1), Lane::Reliable);
    assert_eq!(pulled, sent);
    let total: usize = sent.iter().map(Bytes::len).sum();
    assert_eq!(wire.acknowledged(End::Client, Lane::Reliable), total as u64);
    assert_eq!(wire.buffered(End::Client, Lane::Reliable), 0);
    assert_eq!(wire.poll_timeout(), None);
}

#[test]
fn a_receiver_that_does_not_pull_holds_the_sender() {
    let config = Config {
        receive_window: 100_000,
        send_buffer: 50_000,
        ..Config::default()
    };
    let (mut wire, mut now) = open(config, 2);
    let mut taken = 0_usize;
    for _ in 0..10_000 {
        match wire.send(now, End::Client, Lane::Reliable, message(0, 10_000)) {
            Ok(()) => taken += 10_000,
            Err(error) => {
                assert_eq!(error, SendError::Full);
                let Some(at) = wire.poll_timeout() else { break };
                if at > now + Duration::from_secs(20) {
                    break;
                }
                now = now.max(at);
                wire.handle_timeout(now);
            }
        }
        assert!(wire.unread(End::Server) <= 100_000);
    }
    assert!((100_000..=160_000).contains(&taken), "{taken}");
    assert_eq!(wire.room(End::Client, Lane::Reliable), 0);

    let until = now + Duration::from_secs(60);
    let (_, pulled) = pull(&mut wire, now, until, Lane::Reliable);
    assert_eq!(pulled.iter().map(Bytes::len).sum::<usize>(), taken);
    let events: Vec<Event> = std::iter::from_fn(|| wire.poll_event(End::Client)).collect();
    assert!(events.contains(&Event::Writable(Lane::Reliable)));
}

#[test]
fn a_short_blackout_loses_nothing_on_the_reliable_channel() {
    let (mut wire, now) = open(Config::default(), 3);
    let sent: Vec<Bytes> = (0..12).map(|index| message(index, 15_000)).collect();
    for message in &sent {
        wire.send(now, End::Client, Lane::Reliable, message.clone())
            .unwrap();
    }
    wire.handle_timeout(now + Duration::from_millis(11));
    wire.cut(now + Duration::from_millis(11));
    let back = now + Duration::from_secs(9);
    let (_, before) = pull(&mut wire, now, back, Lane::Reliable);
    assert!(before.len() < sent.len());
    wire.mend(back);
    let (_, after) = pull(
        &mut wire,
        back,
        back + Duration::from_secs(3),
        Lane::Reliable,
    );
    assert_eq!([before, after].concat(), sent);
    assert!(wire.totals().cut_off > 0 && wire.totals().timeouts > 0);
}

#[test]
fn a_long_blackout_closes_both_ends() {
    let (mut wire, now) = open(Config::default(), 4);
    wire.cut(now);
    wire.handle_timeout(now + Duration::from_secs(23));
    assert_eq!(
        wire.poll_event(End::Client),
        Some(Event::Closed(Cause::Silence))
    );
    assert_eq!(
        wire.poll_event(End::Server),
        Some(Event::Closed(Cause::Silence))
    );
    assert_eq!(
        wire.send(now, End::Client, Lane::Reliable, message(0, 1)),
        Err(SendError::Closed)
    );
}

#[test]
fn lossy_messages_get_lost_and_overtake_each_other() {
    let config = Config {
        loss: 0.2,
        jitter: Duration::from_millis(20),
        ..Config::default()
    };
    let (mut wire, mut now) = open(config, 5);
    for index in 0..200 {
        wire.send(now, End::Client, Lane::Lossy, message(index, 1_000))
            .unwrap();
        now += Duration::from_millis(1);
        wire.handle_timeout(now);
    }
    let (_, pulled) = pull(&mut wire, now, now + Duration::from_secs(1), Lane::Lossy);
    let indices: Vec<u8> = pulled.iter().map(|message| message[0]).collect();
    assert!((120..190).contains(&indices.len()), "{}", indices.len());
    assert!(!indices.is_sorted());
    assert_eq!(wire.totals().lost as usize, 200 - indices.len());
}

#[test]
fn lossy_messages_flow_again_after_a_blackout_that_ate_the_window() {
    let config = Config {
        receive_window: 20_000,
        ..Config::default()
    };
    let (mut wire, now) = open(config, 6);
    for index in 0..40 {
        wire.send(now, End::Client, Lane::Lossy, message(index, 1_000))
            .unwrap();
    }
    // What is under way is lost without any acknowledgement that would free the window.
    wire.cut(now);
    let back = now + Duration::from_secs(3);
    let (_, before) = pull(&mut wire, now, back, Lane::Lossy);
    assert_eq!(before.len(), 0);
    wire.mend(back);
    let (_, after) = pull(&mut wire, back, back + Duration::from_secs(10), Lane::Lossy);
    assert_eq!(after.len(), 20);
}

#[test]
fn signalling_delivers_what_it_has_before_it_closes() {
    let (mut wire, now) = open(Config::default(), 7);
    wire.send(now, End::Client, Lane::Signal, message(1, 100))
        .unwrap();
    wire.close_signal(now, End::Client);
    wire.cut(now);
    wire.handle_timeout(now + Duration::from_secs(5));
    assert_eq!(wire.poll_event(End::Server), None);
    let mut at = now + Duration::from_secs(5);
    wire.mend(at);
    while let Some(next) = wire.poll_timeout() {
        at = at.max(next);
        wire.handle_timeout(at);
    }
    let events: Vec<Event> = std::iter::from_fn(|| wire.poll_event(End::Server)).collect();
    assert_eq!(events, [Event::Readable(Lane::Signal), Event::SignalClosed]);
}

#[test]
fn a_message_over_the_limit_is_refused() {
    let (mut wire, now) = open(Config::default(), 8);
    assert_eq!(
        wire.send(now, End::Client, Lane::Reliable, message(0, 65_536)),
        Err(SendError::TooLarge {
            size: 65_536,
            limit: 65_535
        })
    );
}

#[test]
fn random_draws_repeat_for_a_seed() {
    let draw = |seed| {
        let mut random = Random::new(seed);
        (random.below(1_000), random.bytes(13), random.happens(0.5))
    };
    assert_eq!(draw(9), draw(9));
    assert_ne!(draw(9), draw(10));
    let mut random = Random::new(11);
    assert!((0..10_000).all(|_| random.below(7) < 7));
    let hits = (0..10_000).filter(|_| random.happens(0.25)).count();
    assert!((2_200..2_800).contains(&hits), "{hits}");
}
