#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod addresses;
mod pair;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::pair::{A, B, Pair, Setting, credentials};
use super::{Received, sctp};
use crate::channel::{ChannelConfig, ChannelId, Order, Reliability, RetransmitLimit};
use crate::config::IceMode;
use crate::error::SendError;
use crate::event::{Cause, Event};
use crate::group::ChannelGroup;

const MESSAGE: usize = 15_000;

fn second(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_client_and_a_lite_server_connect() {
    let mut pair = Pair::new(Setting::default());
    pair.connect();
    assert!(
        pair.elapsed() < Duration::from_millis(100),
        "{:?}",
        pair.elapsed()
    );
    let (reliable, lossy) = (pair.channel(A, "_reliable"), pair.channel(A, "_lossy"));
    // The server answers `active`, so it is the DTLS client and the offerer's streams are odd.
    assert_eq!((reliable.stream(), lossy.stream()), (1, 3));
    assert_eq!(pair.channel(B, "_reliable"), reliable);
    assert_eq!(pair.reliability(B, "_reliable"), Reliability::Reliable);
    assert_eq!(pair.reliability(B, "_lossy"), Reliability::Lossy);
    for side in [A, B] {
        for channel in [reliable, lossy] {
            pair.send(side, channel, b"hello");
            pair.send(side, channel, b"");
        }
    }
    pair.run_for(second(1));
    for side in [A, B] {
        for channel in [reliable, lossy] {
            assert_eq!(
                pair.received(side, channel),
                [&b"hello"[..], b""],
                "{side} {channel}"
            );
        }
        assert_eq!(pair.peer(side).acknowledged(reliable), 5);
        assert_eq!(pair.peer(side).buffered(reliable), 0);
    }
}

#[test]
fn two_full_agents_connect() {
    let mut pair = Pair::new(Setting {
        ice: [IceMode::Full, IceMode::Full],
        ..Setting::default()
    });
    pair.connect();
    let channel = pair.channel(A, "_reliable");
    pair.send(A, channel, b"x");
    pair.run_for(second(1));
    assert_eq!(pair.received(B, channel), [b"x"]);
}

#[test]
fn a_lite_server_may_offer() {
    let mut pair = Pair::new(Setting {
        ice: [IceMode::Lite, IceMode::Full],
        ..Setting::default()
    });
    pair.connect();
    let channel = pair.channel(B, "_reliable");
    pair.send(A, channel, b"x");
    pair.run_for(second(1));
    assert_eq!(pair.received(B, channel), [b"x"]);
}

#[test]
fn a_connection_takes_round_trips_not_ticks() {
    let mut pair = Pair::new(Setting {
        delay: Duration::from_micros(50),
        ..Setting::default()
    });
    pair.connect();
    assert!(
        pair.elapsed() < Duration::from_millis(5),
        "{:?}",
        pair.elapsed()
    );
}

#[test]
fn agreed_channels_need_no_open() {
    let channels = vec![
        ChannelConfig::reliable("_reliable").negotiated(100),
        ChannelConfig::lossy("_lossy").negotiated(101),
    ];
    let setting = Setting {
        channels: [channels.clone(), channels],
        ..Setting::default()
    };
    let mut pair = Pair::new(setting);
    pair.connect();
    let (reliable, lossy) = (pair.channel(A, "_reliable"), pair.channel(B, "_lossy"));
    assert_eq!((reliable.stream(), lossy.stream()), (100, 101));
    pair.send(A, reliable, b"one");
    pair.send(B, lossy, b"two");
    pair.run_for(second(1));
    assert_eq!(pair.received(B, reliable), [b"one"]);
    assert_eq!(pair.received(A, lossy), [b"two"]);
}

#[test]
fn both_sides_may_open_channels_of_any_kind() {
    let kinds = [
        Reliability::Partial {
            order: Order::Unordered,
            limit: RetransmitLimit::None,
        },
        Reliability::Partial {
            order: Order::Ordered,
            limit: RetransmitLimit::Count(3),
        },
        Reliability::Partial {
            order: Order::Unordered,
            limit: RetransmitLimit::Lifetime(500),
        },
    ];
    let channels = |prefix: &str| -> Vec<_> {
        let channel = |(index, reliability): (usize, &Reliability)| ChannelConfig {
            label: format!("{prefix}{index}").into(),
            reliability: *reliability,
            negotiated: None,
        };
        kinds.iter().enumerate().map(channel).collect()
    };
    let mut pair = Pair::new(Setting {
        channels: [channels("a"), channels("b")],
        ..Setting::default()
    });
    pair.connect();
    for (index, kind) in kinds.iter().enumerate() {
        for (side, other, prefix) in [(A, B, "a"), (B, A, "b")] {
            let label = format!("{prefix}{index}");
            let channel = pair.channel(side, &label);
            assert_eq!(pair.reliability(other, &label), *kind);
            pair.send(side, channel, label.as_bytes());
            pair.run_for(Duration::from_millis(200));
            assert_eq!(pair.received(other, channel), [label.as_bytes()]);
        }
    }
}

#[test]
fn ten_megabytes_go_both_ways() {
    let mut pair = Pair::new(Setting::default());
    pair.connect();
    let channel = pair.channel(A, "_reliable");
    pair.transfer([10_000_000, 10_000_000], channel, second(60));
    for side in [A, B] {
        assert_eq!(pair.peer(side).acknowledged(channel), pair.sent_bytes(side));
        assert_eq!(pair.peer(side).buffered(channel), 0);
        assert!(pair.peer(side).room(channel) > 0);
    }
}

#[test]
fn lost_and_reordered_datagrams_are_made_good() {
    let mut pair = Pair::new(Setting {
        loss: 0.02,
        jitter: Duration::from_millis(3),
        ..Setting::default()
    });
    pair.connect();
    let channel = pair.channel(A, "_reliable");
    pair.transfer([400_000, 400_000], channel, second(300));
}

/// The receive window follows a reader that keeps up (RFC 9260 §6.2), and the send buffer does not hold the sender back: more gets
/// through a long path than the window at the start would allow.
#[test]
fn windows_grow_on_a_long_path() {
    let mut pair = Pair::new(Setting {
        delay: Duration::from_millis(100),
        ..Setting::default()
    });
    pair.connect();
    let channel = pair.channel(A, "_reliable");
    let before = pair.now;
    pair.transfer([40_000_000, 0], channel, second(30));
    let round_trips = (pair.now - before).as_secs_f64() / 0.2;
    let windows = 40_000_000.0 / crate::limits::RECEIVE_WINDOW as f64;
    assert!(round_trips < windows, "{round_trips} round trips");
}

/// What may wait shrinks with the path's rate; whoever is told that there is no room is told of it again.
#[test]
fn no_room_is_only_said_where_an_event_follows() {
    let mut pair = Pair::new(Setting::default());
    pair.connect();
    let channel = pair.channel(A, "_reliable");
    pair.transfer([20_000_000, 0], channel, second(30));
    // The other side reads no more, so that what is given waits.
    pair.pulls = [true, false];
    pair.run_until(second(30), |pair| {
        while pair.peer(A).room(channel) > 2 * MESSAGE {
            pair.send(A, channel, &[1; MESSAGE]);
        }
        pair.peer(A).sctp.as_ref().unwrap().unsent(channel.stream()) > 100_000
    });
    assert!(pair.peer(A).room(channel) > 0);
    let now = pair.now;
    pair.peer(A).sctp.as_mut().unwrap().fire_retransmission(now);
    assert!(pair.peer(A).room(channel) > 0);
    pair.send(A, channel, &[1; MESSAGE]);
    assert_eq!(pair.peer(A).room(channel), 0);
    pair.pulls = [true, true];
    let told = |pair: &Pair| {
        let events = pair.events(A).iter();
        events
            .filter(|event| **event == Event::Writable(channel))
            .count()
    };
    let before = told(&pair);
    pair.wake(B);
    pair.run_until(second(30), |pair| told(pair) > before);
    assert!(pair.peer(A).room(channel) > 0);
}

/// On a path of less than a megabyte a second little waits here, so that the next message is not late.
#[test]
fn a_slow_path_has_a_short_queue() {
    let mut pair = Pair::new(Setting {
        delay: Duration::from_millis(50),
        ..Setting::default()
    });
    pair.connect();
    let channel = pair.channel(A, "_reliable");
    let message = Bytes::from(vec![1; MESSAGE]);
    let mut given = 0;
    while pair.peer(A).room(channel) > 0 {
        let now = pair.now;
        pair.peer(A).send(now, channel, message.clone()).unwrap();
        given += MESSAGE;
    }
    assert!((64 * 1024..112 * 1024).contains(&given), "{given}");
}

/// What a reliable channel carries over lossy paths, in virtual time, after a second: run it with `--release`, `--ignored` and
/// `--nocapture`.
#[test]
#[ignore = "long: measures"]
fn long_table_of_rates() {
    for delay in [10, 25, 50, 100] {
        for loss in [0.0, 0.001, 0.01, 0.03] {
            let mut pair = Pair::new(Setting {
                delay: Duration::from_millis(delay),
                ..Setting::default()
            });
            pair.connect();
            pair.loss = loss;
            let channel = pair.channel(A, "_reliable");
            let mut rate = |time: Duration| {
                let end = pair.now + time;
                pair.run_until(time + second(9), |pair| {
                    while pair.peer(A).room(channel) > 0 {
                        pair.send(A, channel, &[1; MESSAGE]);
                    }
                    pair.now >= end
                });
                let bytes: usize = pair.received[B].drain(..).map(|(_, it)| it.len()).sum();
                bytes as f64 / time.as_secs_f64() / 1e6
            };
            rate(second(1));
            let rate = rate(second(2));
            let loss = loss * 100.0;
            println!("rtt {} ms, loss {loss} %: {rate:.2} MB/s", 2 * delay);
        }
    }
}

#[test]
fn lossy_messages_are_lost_and_do_not_hold_others_up() {
    let mut pair = Pair::new(Setting::default());
    pair.connect();
    let lossy = pair.channel(A, "_lossy");
    pair.loss = 0.3;
    for index in 0..300u32 {
        pair.send(A, lossy, &index.to_be_bytes());
        pair.run_for(Duration::from_millis(5));
    }
    pair.loss = 0.0;
    pair.run_for(second(20));
    let received = pair.received(B, lossy).len();
    assert!((120..300).contains(&received), "{received} of 300");
    assert_eq!(pair.peer(A).buffered(lossy), 0);
}

#[test]
fn too_large_messages_leave_the_channel_good() {
    let mut pair = Pair::new(Setting {
        max_message_size: [262_144, 65_535],
        ..Setting::default()
    });
    pair.connect();
    let channel = pair.channel(A, "_reliable");
    let now = pair.now;
    assert_eq!(pair.peer(A).remote_max_message_size(), 65_535);
    assert_eq!(
        pair.peer(A)
            .send(now, channel, Bytes::from(vec![0; 65_536])),
        Err(SendError::TooLarge {
            size: 65_536,
            limit: 65_535
        })
    );
    pair.send(A, channel, &[7; 65_535]);
    pair.send(B, channel, &[8; 262_144]);
    pair.run_for(second(5));
    assert_eq!(pair.received(B, channel), [vec![7; 65_535]]);
    assert_eq!(pair.received(A, channel), [vec![8; 262_144]]);
}

#[test]
fn push_back_bounds_the_sender_and_ends() {
    let mut pair = Pair::new(Setting::default());
    pair.connect();
    let channel = pair.channel(A, "_reliable");
    pair.pulls = [true, false];
    let message = Bytes::from(vec![1; MESSAGE]);
    let mut given = 0;
    for _ in 0..2_000 {
        let now = pair.now;
        match pair.peer(A).send(now, channel, message.clone()) {
            Ok(()) => given += 1,
            Err(error) => assert_eq!(error, SendError::Full),
        }
        pair.run_for(Duration::from_millis(5));
    }
    // Little waits here: what nobody reads does not fill the send buffer, too.
    let bound = crate::limits::RECEIVE_WINDOW + 512 * 1024;
    assert!(given * MESSAGE <= bound, "{given} messages");
    assert!(
        given * MESSAGE >= crate::limits::RECEIVE_WINDOW,
        "{given} messages"
    );
    assert_eq!(pair.peer(A).room(channel), 0);
    assert!(pair.received(B, channel).is_empty());

    pair.pulls = [true, true];
    pair.wake(B);
    let before = pair.now;
    pair.run_until(second(60), |pair| pair.received[B].len() == given);
    // The sender is told at once, it does not find out by its timer.
    assert!(
        pair.now - before < Duration::from_millis(1_500),
        "{:?}",
        pair.now - before
    );
    assert!(pair.events(A).contains(&Event::Writable(channel)));
    assert!(pair.peer(A).room(channel) > 0);
    // And it is fast again.
    let before = pair.now;
    pair.transfer([5_000_000, 0], channel, second(30));
    assert!(pair.now - before < second(10), "{:?}", pair.now - before);
}

#[test]
fn a_restart_keeps_channels_and_finds_a_new_path() {
    let mut pair = Pair::new(Setting::default());
    pair.connect();
    let channel = pair.channel(A, "_reliable");
    let ufrags = [
        pair.peer(A).local_ufrag().to_owned(),
        pair.peer(B).local_ufrag().to_owned(),
    ];
    pair.blackout = true;
    pair.send(A, channel, &[1; 100_000]);
    pair.run_for(second(9));
    // The client has another address now.
    pair.move_to(A, "192.168.7.7:7777");
    pair.blackout = false;
    assert!(pair.events(A).contains(&Event::Disconnected));
    assert!(pair.events(B).contains(&Event::Disconnected));
    pair.restart(A);
    let before = pair.now;
    pair.run_until(second(5), |pair| !pair.received[B].is_empty());
    assert!(
        pair.now - before < Duration::from_millis(600),
        "{:?}",
        pair.now - before
    );
    assert_eq!(pair.received(B, channel), [vec![1; 100_000]]);
    for (side, old) in [(A, &ufrags[0]), (B, &ufrags[1])] {
        assert!(pair.events(side).contains(&Event::Reconnected));
        assert_ne!(pair.peer(side).local_ufrag(), old);
    }
    assert_eq!(
        pair.peer(B).remote_address(),
        Some("192.168.7.7:7777".parse().unwrap())
    );
    pair.transfer([1_000_000, 1_000_000], channel, second(30));
}

#[test]
fn a_new_address_behind_a_nat_is_followed() {
    let mut pair = Pair::new(Setting::default());
    pair.connect();
    let channel = pair.channel(A, "_reliable");
    pair.move_to(A, "192.168.7.7:7777");
    pair.send(A, channel, &[1; 100_000]);
    pair.send(B, channel, &[2; 100_000]);
    pair.run_for(second(8));
    assert_eq!(pair.received(B, channel), [vec![1; 100_000]]);
    assert_eq!(pair.received(A, channel), [vec![2; 100_000]]);
    let moved = "192.168.7.7:7777".parse().unwrap();
    assert_eq!(pair.peer(B).remote_address(), Some(moved));
}

#[test]
fn a_restart_on_a_good_path_loses_nothing() {
    let mut pair = Pair::new(Setting::default());
    pair.connect();
    let channel = pair.channel(A, "_reliable");
    for _ in 0..3 {
        pair.send(A, channel, &[1; 200_000]);
        pair.send(B, channel, &[2; 200_000]);
        pair.restart(A);
        pair.run_for(second(3));
    }
    assert_eq!(pair.received(B, channel).len(), 3);
    assert_eq!(pair.received(A, channel).len(), 3);
    assert!(!pair.events(A).contains(&Event::Disconnected));
    assert!(pair.events(A).contains(&Event::Reconnected));
}

#[test]
fn a_failed_path_comes_back_by_a_restart() {
    let mut pair = Pair::new(Setting::default());
    pair.connect();
    let channel = pair.channel(A, "_reliable");
    pair.send(A, channel, b"before");
    pair.blackout = true;
    pair.send(B, channel, b"during");
    pair.run_for(second(60));
    for side in [A, B] {
        assert!(pair.events(side).contains(&Event::Failed), "{side}");
        assert!(!pair.peer(side).is_closed());
    }
    pair.blackout = false;
    pair.restart(A);
    pair.run_for(second(3));
    assert_eq!(pair.received(B, channel), [b"before"]);
    assert_eq!(pair.received(A, channel), [b"during"]);
}

#[test]
fn a_short_blackout_heals_without_a_restart() {
    let mut pair = Pair::new(Setting::default());
    pair.connect();
    let channel = pair.channel(A, "_reliable");
    pair.blackout = true;
    pair.send(A, channel, b"late");
    pair.run_for(second(9));
    pair.blackout = false;
    pair.run_for(second(4));
    assert!(pair.events(A).contains(&Event::Disconnected));
    assert!(pair.events(A).contains(&Event::Reconnected));
    assert_eq!(pair.received(B, channel), [b"late"]);
}

#[test]
fn a_second_offer_is_answered_in_the_same_shape() {
    let mut pair = Pair::new(Setting::default());
    pair.connect();
    let (offer, answer) = (pair.offer.clone(), pair.answer.clone());
    let now = pair.now;
    let again = pair.peer(B).handle_reoffer(now, &offer).unwrap();
    let lines = |sdp: &str| {
        sdp.lines()
            .filter(|line| !line.starts_with("o="))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(&again), lines(&answer));
    let channel = pair.channel(A, "_reliable");
    pair.send(A, channel, b"still here");
    pair.run_for(second(1));
    assert_eq!(pair.received(B, channel), [b"still here"]);
}

#[test]
fn descriptions_that_do_not_fit_are_refused_and_do_no_harm() {
    let mut pair = Pair::new(Setting::default());
    pair.connect();
    let now = pair.now;
    let (offer, answer) = (pair.offer.clone(), pair.answer.clone());
    assert!(pair.peer(A).handle_answer(now, &answer).is_err());
    assert!(pair.peer(B).handle_reoffer(now, "v=0\r\n").is_err());
    let at = offer.find("sha-256 ").unwrap() + 8;
    let mut other = offer.clone();
    other.replace_range(
        at..at + 2,
        if &offer[at..at + 2] == "00" {
            "11"
        } else {
            "00"
        },
    );
    assert_eq!(
        pair.peer(B).handle_reoffer(now, &other),
        Err(crate::SdpError::FingerprintChanged)
    );
    let channel = pair.channel(A, "_reliable");
    pair.send(A, channel, b"still here");
    pair.run_for(second(1));
    assert_eq!(pair.received(B, channel), [b"still here"]);
}

#[test]
fn a_wrong_certificate_ends_the_connection() {
    let mut pair = Pair::new(Setting {
        forge: true,
        ..Setting::default()
    });
    pair.run_for(second(30));
    assert!(
        pair.events(B).contains(&Event::Closed(Cause::Dtls)),
        "{:?}",
        pair.events(B)
    );
    assert!(
        !pair
            .events(B)
            .iter()
            .any(|event| matches!(event, Event::Connected | Event::ChannelOpen { .. }))
    );
}

#[test]
fn garbage_is_counted_and_nothing_else() {
    let mut pair = Pair::new(Setting::default());
    pair.connect();
    let channel = pair.channel(A, "_reliable");
    let mut random = fastrand(99);
    let remotes = [pair.address(A), "10.9.9.9:9".parse().unwrap()];
    for round in 0..3_000usize {
        let length = (random() % 1_400) as usize;
        let mut data: Vec<u8> = (0..length).map(|_| random() as u8).collect();
        if let Some(first) = data.first_mut() {
            *first = [0, 1, 20, 21, 22, 23, 63, 64, 128, 255][round % 10];
        }
        if data.len() > 20 && round % 10 == 0 {
            data[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
            let claimed = u16::try_from(length - 20).unwrap();
            data[2..4].copy_from_slice(&claimed.to_be_bytes());
        }
        if data.len() > 13 && (2..7).contains(&(round % 10)) {
            data[1..5].copy_from_slice(&[0xfe, 0xfd, 0, (round % 3) as u8]);
            let claimed = u16::try_from(length - 13).unwrap();
            data[11..13].copy_from_slice(&claimed.to_be_bytes());
        }
        let received = Received {
            remote: remotes[round % 2],
            local: None,
            data: &data,
            segment_size: 1 + (random() % 1_500) as usize,
        };
        let now = pair.now;
        pair.peer(B).handle_received(now, received);
    }
    pair.send(A, channel, b"still here");
    pair.run_for(second(2));
    assert_eq!(pair.received(B, channel), [b"still here"]);
    let stats = pair.peer(B).stats();
    assert!(
        stats.datagrams_dropped > 1_000 && stats.stun_refused > 100 && stats.dtls_refused > 100,
        "{stats:?}"
    );
    assert_eq!(pair.peer(B).remote_address(), Some(remotes[0]));
}

#[test]
fn changed_datagrams_do_no_harm() {
    let mut pair = Pair::new(Setting::default());
    pair.connect();
    pair.corruption = 0.05;
    let channel = pair.channel(A, "_reliable");
    pair.transfer([300_000, 300_000], channel, second(300));
    // What SCTP counts can be seen.
    let stats = [A, B].map(|side| pair.peer(side).stats().sctp);
    for (here, there) in [(stats[0], stats[1]), (stats[1], stats[0])] {
        assert!(here.chunks_sent > 250, "{here:?}");
        assert!(here.chunks_lost > 0 && here.chunks_retransmitted > 0);
        assert!(here.chunks_received <= there.chunks_sent);
        assert!(here.rtt.is_some());
    }
}

#[test]
fn hostile_control_messages_are_counted() {
    let mut pair = Pair::new(Setting::default());
    pair.connect();
    let channel = pair.channel(A, "_reliable");
    for (stream, bytes) in [
        (channel.stream(), &b"\x03\xff"[..]),
        (500, b"\x03nonsense"),
        (502, b"\xff"),
    ] {
        pair.control(A, stream, bytes);
    }
    // More channels than allowed.
    let open = crate::dcep::Message::Open {
        label: "x".into(),
        reliability: Reliability::Reliable,
    }
    .encode()
    .unwrap();
    for stream in 0..40 {
        pair.control(A, 601 + 2 * stream, &open);
    }
    pair.run_for(second(5));
    let opened = pair
        .events(B)
        .iter()
        .filter(|event| matches!(event, Event::ChannelOpen { .. }))
        .count();
    assert_eq!(opened, 16);
    assert!(
        pair.peer(B).stats().dcep_refused >= 20,
        "{:?}",
        pair.peer(B).stats()
    );
    pair.send(A, channel, b"still here");
    pair.run_for(second(2));
    assert_eq!(pair.received(B, channel), [b"still here"]);
}

/// What is sent on a channel that was refused does not stay in the window, whether it comes with the open, after it, or after the
/// other side has closed the channel, too.
#[test]
fn what_is_sent_on_refused_channels_leaves_the_window() {
    let mut pair = Pair::new(Setting {
        max_message_size: [65_536; 2],
        receive_window: Some(131_072),
        ..Setting::default()
    });
    pair.connect();
    let channel = pair.channel(A, "_reliable");
    let open = crate::dcep::Message::Open {
        label: "x".into(),
        reliability: Reliability::Reliable,
    }
    .encode()
    .unwrap();
    let message = Bytes::from_static(&[7; MESSAGE]);
    // The two that are configured count, too.
    let streams: Vec<u16> = (0..20).map(|index| 601 + 2 * index).collect();
    let (accepted, refused) = streams.split_at(14);
    for &stream in accepted {
        pair.control(A, stream, &open);
    }
    pair.run_for(second(1));
    for &stream in refused {
        pair.control(A, stream, &open);
        // In the same packet as the open.
        let now = pair.now;
        let sctp = pair.peer(A).sctp.as_mut().unwrap();
        let sent = sctp.write(now, stream, sctp::MessageKind::Data, &open);
        sent.unwrap();
    }
    for round in 0..3 {
        for &stream in refused {
            let now = pair.now;
            let sctp = pair.peer(A).sctp.as_mut().unwrap();
            for _ in 0..4 {
                let sent = sctp.write(now, stream, sctp::MessageKind::Data, &message);
                sent.unwrap();
            }
        }
        pair.run_for(second(3));
        for &stream in refused {
            let now = pair.now;
            let sctp = pair.peer(B).sctp.as_mut().unwrap();
            assert!(sctp.read(now, stream).is_none(), "{round} {stream}");
        }
    }
    assert!(pair.peer(B).stats().dcep_refused >= 6 * 14);
    pair.transfer([500_000, 0], channel, second(30));
}

#[test]
fn a_channel_closes_on_both_sides() {
    let mut pair = Pair::new(Setting::default());
    pair.connect();
    let (reliable, lossy) = (pair.channel(A, "_reliable"), pair.channel(A, "_lossy"));
    let now = pair.now;
    pair.peer(A).close_channel(now, lossy);
    assert_eq!(
        pair.peer(A).send(now, lossy, Bytes::from_static(b"x")),
        Err(SendError::Closed)
    );
    pair.run_for(second(3));
    for side in [A, B] {
        assert!(
            pair.events(side).contains(&Event::ChannelClosed(lossy)),
            "{side}"
        );
        let now = pair.now;
        assert_eq!(
            pair.peer(side).send(now, lossy, Bytes::from_static(b"x")),
            Err(SendError::Closed)
        );
    }
    let before = [A, B].map(|side| pair.peer(side).stats().datagrams_sent);
    pair.run_for(second(10));
    for side in [A, B] {
        // Keepalives, and nothing about the channel any more.
        let sent = pair.peer(side).stats().datagrams_sent - before[side];
        assert!(sent < 40, "{side}: {sent}");
    }
    pair.send(A, reliable, b"still here");
    pair.run_for(second(1));
    assert_eq!(pair.received(B, reliable), [b"still here"]);
}

/// Eight reliable channels of A, whose window and messages are small, and whose B reads nothing by itself.
fn unread_channels() -> (Pair, [&'static str; 8]) {
    let labels = ["1", "2", "3", "4", "5", "6", "7", "8"];
    let mut pair = Pair::new(Setting {
        channels: [labels.map(ChannelConfig::reliable).to_vec(), Vec::new()],
        max_message_size: [65_536; 2],
        receive_window: Some(131_072),
        ..Setting::default()
    });
    pair.connect();
    pair.pulls = [true, false];
    (pair, labels)
}

/// A slow reader loses nothing of channels that the other side has closed meanwhile: what is unread keeps the window small, and a
/// channel is closed when it is read empty.
#[test]
fn what_is_unread_of_closed_channels_waits_for_its_reader() {
    let (mut pair, labels) = unread_channels();
    for label in labels {
        let channel = pair.channel(A, label);
        for index in 0..4u8 {
            pair.send(A, channel, &[index; MESSAGE]);
        }
        let now = pair.now;
        pair.peer(A).close_channel(now, channel);
        pair.run_for(second(3));
    }
    let last = pair.channel(A, "8");
    assert!(pair.peer(A).buffered(last) > 0, "the window is no bound");
    for label in labels {
        let channel = pair.channel(A, label);
        for index in 0..4u8 {
            pair.run_until(second(30), |pair| {
                let message = pair.peer(B).receive(channel);
                message.is_some_and(|message| {
                    assert_eq!(message, [index; MESSAGE][..], "{label}");
                    true
                })
            });
        }
        assert!(!pair.events(B).contains(&Event::ChannelClosed(channel)));
        pair.run_for(second(1));
        assert_eq!(pair.peer(B).receive(channel), None);
        for side in [A, B] {
            let closed = pair.events(side).iter();
            let closed = closed.filter(|event| **event == Event::ChannelClosed(channel));
            assert_eq!(closed.count(), 1, "{label} {side}");
        }
    }
}

/// RFC 8831 §6.7: when both sides have reset their direction the stream may be used anew. What the new channel brings is not mixed up
/// with what was unread of the old one.
#[test]
fn a_stream_may_be_used_anew_though_its_old_channel_was_not_read_empty() {
    let mut pair = Pair::new(Setting::default());
    pair.connect();
    let channel = pair.channel(A, "_reliable");
    pair.pulls = [true, false];
    pair.send(A, channel, b"old");
    pair.run_for(second(1));
    let now = pair.now;
    pair.peer(B).close_channel(now, channel);
    pair.run_for(second(1));
    assert!(pair.events(A).contains(&Event::ChannelClosed(channel)));
    open_anew(&mut pair, channel);
    pair.run_for(second(1));

    assert_eq!(closings(&pair, B, channel), 1);
    assert_eq!(pair.channel(B, "anew"), channel);
    assert_eq!(pair.peer(B).receive(channel).as_deref(), Some(&b"new"[..]));
    assert_eq!(pair.peer(B).receive(channel), None);
}

/// Who uses a stream anew before we have closed our direction, and closes it once more, neither gets its messages into the old channel
/// nor keeps them in the window.
#[test]
fn a_stream_that_is_used_anew_too_early_is_not_mixed_up() {
    let mut pair = Pair::new(Setting::default());
    pair.connect();
    let channel = pair.channel(A, "_reliable");
    pair.pulls = [true, false];
    pair.send(A, channel, b"old");
    let now = pair.now;
    pair.peer(A).close_channel(now, channel);
    pair.run_for(second(1));
    for _ in 0..2 {
        open_anew(&mut pair, channel);
        let now = pair.now;
        let sctp = pair.peer(A).sctp.as_mut().unwrap();
        sctp.reset(now, channel.stream());
        pair.run_for(second(1));
    }
    assert_eq!(pair.peer(B).receive(channel).as_deref(), Some(&b"old"[..]));
    assert_eq!(pair.peer(B).receive(channel), None);
    pair.run_for(second(1));
    for side in [A, B] {
        assert_eq!(closings(&pair, side, channel), 1, "{side}");
    }
    assert!(pair.peer(B).stats().dcep_refused >= 4);
    open_anew(&mut pair, channel);
    pair.run_for(second(1));
    assert_eq!(pair.channel(B, "anew"), channel);
    assert_eq!(pair.peer(B).receive(channel).as_deref(), Some(&b"new"[..]));
    assert_eq!(pair.peer(B).receive(channel), None);
}

/// Whoever closes a channel may forget it: what is unread or still comes neither keeps it open nor stays in the window.
#[test]
fn what_is_unread_of_an_own_closed_channel_is_dropped() {
    for is_theirs_first in [false, true] {
        let (mut pair, labels) = unread_channels();
        let last = pair.channel(A, "8");
        for label in &labels[..7] {
            let channel = pair.channel(A, label);
            for _ in 0..3 {
                pair.send(A, channel, &[1; MESSAGE]);
            }
            if is_theirs_first {
                let now = pair.now;
                pair.peer(A).close_channel(now, channel);
            }
            pair.run_for(second(1));
            if !is_theirs_first {
                // This one is under way at the close.
                pair.send(A, channel, &[2; MESSAGE]);
            }
            let now = pair.now;
            pair.peer(B).close_channel(now, channel);
            assert!(pair.peer(B).receive(channel).is_none());
            pair.run_for(second(1));
            assert!(pair.peer(B).receive(channel).is_none());
            for side in [A, B] {
                assert_eq!(closings(&pair, side, channel), 1, "{label} {side}");
            }
        }
        pair.pulls = [true; 2];
        pair.transfer([500_000, 0], last, second(30));
        let under_way = if is_theirs_first { 0 } else { 7 };
        assert_eq!(pair.peer(B).stats().messages_unread, 7 * 3 + under_way);
    }
}

/// A opens a channel on the stream of a closed one and sends a message on it.
fn open_anew(pair: &mut Pair, channel: ChannelId) {
    let open = crate::dcep::Message::Open {
        label: "anew".into(),
        reliability: Reliability::Reliable,
    };
    let (now, stream) = (pair.now, channel.stream());
    pair.control(A, stream, &open.encode().unwrap());
    let sctp = pair.peer(A).sctp.as_mut().unwrap();
    let message = Bytes::from_static(b"new");
    sctp.write(now, stream, sctp::MessageKind::Data, &message)
        .unwrap();
}

fn closings(pair: &Pair, side: usize, channel: ChannelId) -> usize {
    let closed = pair.events(side).iter();
    closed
        .filter(|event| **event == Event::ChannelClosed(channel))
        .count()
}

#[test]
fn closing_is_told_to_the_other_side() {
    for side in [A, B] {
        let mut pair = Pair::new(Setting::default());
        pair.connect();
        let channel = pair.channel(A, "_reliable");
        let now = pair.now;
        pair.peer(side).close(now);
        assert_eq!(
            pair.peer(side).send(now, channel, Bytes::from_static(b"x")),
            Err(SendError::Closed)
        );
        pair.run_for(second(1));
        assert!(pair.events(side).contains(&Event::Closed(Cause::Local)));
        assert!(
            pair.events(1 - side)
                .contains(&Event::Closed(Cause::Remote)),
            "{:?}",
            pair.events(1 - side)
        );
        assert_eq!(pair.peer(side).poll_timeout(), None);
        assert_eq!(pair.peer(1 - side).poll_timeout(), None);
    }
}

#[test]
fn what_was_unread_can_be_read_after_a_goodbye() {
    // By its ABORT, and by the DTLS goodbye alone.
    for aborts in [true, false] {
        let mut pair = Pair::new(Setting::default());
        pair.connect();
        let (reliable, lossy) = (pair.channel(A, "_reliable"), pair.channel(A, "_lossy"));
        pair.pulls = [true, false];
        for index in 0..60u8 {
            pair.run_until(second(3), |pair| pair.peer(A).room(reliable) > 0);
            pair.send(A, reliable, &[index; MESSAGE]);
        }
        pair.run_until(second(3), |pair| pair.peer(A).room(reliable) > 0);
        pair.send(A, lossy, b"lossy");
        pair.send(A, reliable, b"");
        pair.run_for(second(3));
        assert_eq!(pair.peer(A).buffered(reliable), 0);
        let taken = pair.peer(B).receive(reliable).unwrap();
        assert_eq!(taken, [0; MESSAGE][..]);

        let now = pair.now;
        if aborts {
            pair.peer(A).close(now);
        } else {
            let peer = pair.peer(A);
            let goodbye = peer.dtls.as_mut().unwrap().close();
            peer.farewell.extend(goodbye);
        }
        pair.run_for(second(1));
        assert_eq!(pair.events(B).last(), Some(&Event::Closed(Cause::Remote)));
        let peer = pair.peer(B);
        assert_eq!(
            (peer.room(reliable), peer.buffered(reliable)),
            (0, 0),
            "{aborts}"
        );
        pair.wake(B);
        let expected: Vec<Vec<u8>> = (1..60u8)
            .map(|index| vec![index; MESSAGE])
            .chain([Vec::new()])
            .collect();
        assert!(pair.received(B, reliable) == expected, "{aborts}");
        assert_eq!(pair.received(B, lossy), [b"lossy"]);
        let now = pair.now;
        pair.peer(B).handle_timeout(now);
        assert_eq!(pair.peer(B).receive(reliable), None);
        assert_eq!(pair.peer(B).poll_timeout(), None);
        assert!(pair.peer(A).receive(reliable).is_none());
    }
}

#[test]
fn a_first_message_is_read_though_a_goodbye_came_with_it() {
    let mut pair = Pair::new(Setting::default());
    pair.run_until(second(1), |pair| {
        pair.events(A)
            .iter()
            .any(|event| matches!(event, Event::ChannelOpen { .. }))
    });
    let channel = pair.channel(A, "_reliable");
    pair.send(A, channel, b"only");
    pair.run_for(Duration::ZERO);
    let now = pair.now;
    pair.peer(A).close(now);
    pair.run_for(second(1));
    assert_eq!(pair.channel(B, "_reliable"), channel);
    assert_eq!(pair.received(B, channel), [b"only"]);
    assert_eq!(pair.events(B).last(), Some(&Event::Closed(Cause::Remote)));
}

#[test]
fn the_first_sign_of_life_ends_a_blackout() {
    for tenths in (15..150).step_by(5) {
        for side in [A, B] {
            let mut pair = Pair::new(Setting {
                seed: tenths,
                ..Setting::default()
            });
            pair.connect();
            let channel = pair.channel(A, "_reliable");
            pair.blackout = true;
            pair.send(side, channel, &[3; 100_000]);
            pair.run_for(Duration::from_millis(100 * tenths));
            pair.blackout = false;
            let before = pair.now;
            pair.run_until(second(10), |pair| !pair.received[1 - side].is_empty());
            let took = pair.now - before;
            // The next probe, and a few round trips of slow start; a keepalive until the silence is noticed.
            let expected = Duration::from_millis(if tenths > 40 { 700 } else { 2_200 });
            assert!(took < expected, "{side}, {tenths}00 ms: {took:?}");
            assert!(!pair.events(side).contains(&Event::Failed));
        }
    }
}

#[test]
fn unknown_channels_are_closed_and_empty() {
    let mut pair = Pair::new(Setting::default());
    pair.connect();
    let channel = ChannelId(77);
    let now = pair.now;
    let peer = pair.peer(A);
    assert_eq!(
        peer.send(now, channel, Bytes::from_static(b"x")),
        Err(SendError::Closed)
    );
    assert_eq!(peer.receive(channel), None);
    assert_eq!(
        (
            peer.buffered(channel),
            peer.room(channel),
            peer.acknowledged(channel)
        ),
        (0, 0, 0)
    );
}

#[test]
fn configurations_that_cannot_work_are_refused() {
    let pair = Pair::new(Setting::default());
    let base = |change: fn(&mut crate::PeerConfig)| {
        let mut config = crate::PeerConfig::new(Arc::clone(&pair.certificate), credentials(9));
        change(&mut config);
        crate::Peer::offer(pair.now, config).map(|_| ())
    };
    assert!(base(|_| {}).is_ok());
    assert!(base(|config| config.ice = IceMode::Lite).is_err());
    assert!(base(|config| config.sctp_packet = 10).is_err());
    assert!(base(|config| config.receive_window = 10).is_err());
    assert!(base(|config| config.send_buffer = 0).is_err());
    // A channel that could not be opened would be missing without a word.
    let channels = |labels: &[(&str, Option<u16>)]| {
        let mut config = crate::PeerConfig::new(Arc::clone(&pair.certificate), credentials(9));
        config.channels = labels
            .iter()
            .map(|(label, negotiated)| ChannelConfig {
                negotiated: *negotiated,
                ..ChannelConfig::reliable(label)
            })
            .collect();
        crate::Peer::offer(pair.now, config).map(|_| ())
    };
    assert!(channels(&[("a", Some(0)), ("b", Some(1_023)), ("b", None)]).is_ok());
    assert!(channels(&[("a", Some(1_024))]).is_err());
    assert!(channels(&[("a", Some(5)), ("b", Some(5))]).is_err());
    assert!(channels(&[(&"l".repeat(65_536), None)]).is_err());
    assert!(channels(&[("a", None); 513]).is_err());
}

/// A small generator (Knuth's constants), since tests must repeat.
fn fastrand(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    }
}

#[test]
fn channels_of_one_label_are_used_as_one() {
    let twice = vec![ChannelConfig::reliable("x"), ChannelConfig::reliable("x")];
    let mut pair = Pair::new(Setting {
        channels: [twice, Vec::new()],
        ..Setting::default()
    });
    pair.pulls = [false; 2];
    pair.connect();
    let mut groups = [A, B].map(|side| {
        let mut group = ChannelGroup::new();
        for event in pair.events(side) {
            if let Event::ChannelOpen { id, .. } = event {
                group.insert(*id);
            }
        }
        group
    });
    let ids: Vec<ChannelId> = opened(&pair, A);
    assert_eq!(ids.len(), 2);
    for id in &ids {
        for number in 0..3 {
            pair.send(A, *id, &[number]);
        }
    }
    pair.run_for(second(1));
    let mut came = Vec::new();
    while let Some(message) = groups[B].receive(pair.peer(B)) {
        came.push(message[0]);
    }
    // In turn, in order within each.
    assert_eq!(came, [0, 0, 1, 1, 2, 2]);

    let hello = Bytes::from_static(b"hello");
    let now = pair.now;
    assert!(groups[A].room(pair.peer(A)) > 0);
    groups[A].send(now, pair.peer(A), hello.clone()).unwrap();
    pair.run_for(second(1));
    assert_eq!(groups[A].acknowledged(pair.peer(A)), 3 + 5);
    assert_eq!(groups[B].receive(pair.peer(B)), Some(hello.clone()));
    // What was acknowledged before stays so when the first channel goes.
    let now = pair.now;
    pair.peer(A).close_channel(now, ids[0]);
    pair.run_for(second(1));
    for (side, group) in groups.iter_mut().enumerate() {
        assert!(pair.events(side).contains(&Event::ChannelClosed(ids[0])));
        assert!(!group.remove(ids[0]), "not the last");
        assert!(group.is_open());
    }
    let before = groups[A].acknowledged(pair.peer(A));
    let now = pair.now;
    groups[A].send(now, pair.peer(A), hello.clone()).unwrap();
    pair.run_for(second(1));
    assert_eq!(groups[A].acknowledged(pair.peer(A)), before + 5);
    assert_eq!(groups[B].receive(pair.peer(B)), Some(hello.clone()));
    assert!(groups[A].remove(ids[1]));
    assert_eq!(
        groups[A].send(now, pair.peer(A), hello),
        Err(SendError::Closed)
    );
}

fn opened(pair: &Pair, side: usize) -> Vec<ChannelId> {
    let events = pair.events(side).iter();
    let opened = events.filter_map(|event| match event {
        Event::ChannelOpen { id, .. } => Some(*id),
        _ => None,
    });
    opened.collect()
}
