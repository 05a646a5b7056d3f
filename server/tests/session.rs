//! Whole sessions over real WebSockets, ICE, DTLS and SCTP on loopback (protocol.md appendix B).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use lkstream_proto::disconnect::DisconnectReason;
use lkstream_proto::join::Join;
use lkstream_proto::packet::{Channel, DataPacket, UserPacket, Value};
use lkstream_proto::participant::ParticipantState;
use lkstream_proto::signal::SessionDescription;
use lkstream_proto::signal::{LeaveAction, LeaveRequest, Ping, Request, Response, SignalRequest};
use lkstream_proto::token::ApiKeys;
use lkstream_server::{Config, DEV_API_KEY, DEV_API_SECRET, Server};
use lkstream_transport::{Certificate, ChannelConfig, Credentials, Peer, PeerConfig};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use support::participant::{Participant, dial, until_both};
use support::{claims, join_query, server, sign, token, within};
use tokio_tungstenite::tungstenite::Message;

fn user(sequence: u32, payload: Bytes) -> DataPacket {
    DataPacket {
        sequence,
        value: Some(Value::User(UserPacket {
            payload,
            ..UserPacket::default()
        })),
        ..DataPacket::default()
    }
}

fn states(it: &Participant, identity: &str) -> Vec<ParticipantState> {
    it.heard
        .iter()
        .filter_map(|heard| match heard {
            Response::Update(update) => Some(&update.participants),
            _ => None,
        })
        .flatten()
        .filter(|info| info.identity == identity)
        .map(|info| info.state())
        .collect()
}

fn left(it: &Participant) -> Option<&LeaveRequest> {
    it.heard.iter().find_map(|heard| match heard {
        Response::Leave(leave) => Some(leave),
        _ => None,
    })
}

#[tokio::test]
async fn two_participants_exchange_packets_on_both_channels() {
    let server = server().await;
    let mut alice = Participant::join(&server, &token("alice", "room")).await;
    let mut bob = Participant::join(&server, &token("bob", "room")).await;
    assert_eq!(bob.joined.other_participants.len(), 1);
    alice
        .until("bob ACTIVE", |it| {
            states(it, "bob").contains(&ParticipantState::Active)
        })
        .await;
    alice
        .until("alice ACTIVE", |it| {
            states(it, "alice").contains(&ParticipantState::Active)
        })
        .await;
    for channel in [Channel::Reliable, Channel::Lossy] {
        alice
            .send(channel, &user(0, Bytes::from_static(b"hello")))
            .await;
        bob.until("packet", |it| !it.packets.is_empty()).await;
        let (came_on, packet) = bob.packets.remove(0);
        assert_eq!(came_on, channel);
        assert_eq!(packet.participant_identity, "alice");
        assert_eq!(packet.participant_sid, alice.sid());
    }
    let stats = server.stats().await;
    assert_eq!((stats.rooms, stats.participants), (1, 2));
    assert_eq!(stats.packets.packets_delivered, 2);
}

#[tokio::test]
async fn a_server_on_every_interface_offers_addresses_that_work() {
    for bind in ["0.0.0.0", "::"] {
        let mut config = Config::dev().with_free_ports();
        config.bind = bind.parse().unwrap();
        let server = match Server::spawn(config).await {
            Ok(server) => server,
            Err(error) if bind == "::" => {
                eprintln!("no IPv6 here: {error}");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let mut alice = Participant::join(&server, &token("alice", "room")).await;
        let mut bob = Participant::join(&server, &token("bob", "room")).await;
        alice
            .send(Channel::Reliable, &user(1, Bytes::from_static(b"hello")))
            .await;
        bob.until("packet", |it| !it.packets.is_empty()).await;
    }
}

#[tokio::test]
async fn megabytes_arrive_in_order_and_a_leave_comes_after_them() {
    let server = server().await;
    let mut alice = Participant::join(&server, &token("alice", "room")).await;
    let mut bob = Participant::join(&server, &token("bob", "room")).await;
    const PACKETS: u32 = 1000;
    let sending = async {
        for sequence in 1..=PACKETS {
            let payload = Bytes::from(vec![sequence as u8; 15_000]);
            alice
                .send(Channel::Reliable, &user(sequence, payload))
                .await;
        }
        let channel = alice.reliable.unwrap();
        alice
            .until("acknowledgements", |it| it.peer.buffered(channel) == 0)
            .await;
        alice.request(Request::Leave(LeaveRequest::default())).await;
        alice
    };
    let receiving = async {
        bob.until("alice's leave", |it| {
            states(it, "alice").contains(&ParticipantState::Disconnected)
        })
        .await;
        bob
    };
    let (_alice, bob) = tokio::join!(sending, receiving);
    let sequences: Vec<u32> = bob
        .packets
        .iter()
        .map(|(_, packet)| packet.sequence)
        .collect();
    assert_eq!(sequences, (1..=PACKETS).collect::<Vec<u32>>());
}

#[tokio::test]
async fn pings_are_answered_before_the_connection_is_up() {
    // protocol.md §10.3 no. 18.
    let server = server().await;
    let mut ws = dial(&server, &join_query(), &token("a", "room")).await;
    let ping = lkstream_proto::signal::SignalRequest::from(Request::PingReq(Ping {
        timestamp: 7,
        rtt: 0,
    }));
    ws.send(Message::Binary(ping.to_bytes())).await.unwrap();
    within("pong", async {
        loop {
            let Some(Ok(Message::Binary(bytes))) = ws.next().await else {
                continue;
            };
            let response = lkstream_proto::signal::SignalResponse::from_bytes(bytes).unwrap();
            if let Some(Response::PongResp(pong)) = response.message {
                assert_eq!(pong.last_ping_timestamp, 7);
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_link_closed_by_the_client_ends_cleanly() {
    let server = server().await;
    let mut ws = dial(&server, &join_query(), &token("a", "room")).await;
    ws.close(None).await.unwrap();
    within("answer to the close", async {
        loop {
            match ws.next().await {
                Some(Ok(Message::Close(_))) => break,
                Some(Ok(_)) => {}
                other => panic!("no clean end: {other:?}"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn garbage_hurts_nobody() {
    let server = server().await;
    let mut alice = Participant::join(&server, &token("alice", "room")).await;
    let mut bob = Participant::join(&server, &token("bob", "room")).await;
    // On the WebSocket.
    for _ in 0..5 {
        alice
            .send_frame(Message::Binary(Bytes::from_static(b"\xff\xff\xff")))
            .await;
        alice
            .send_frame(Message::Text("{\"not\":\"ours\"}".into()))
            .await;
    }
    // In packets.
    for bytes in [
        &b"\xff"[..],
        b"",
        b"\x12\xff\xff\xff\xff\x0f",
        &[0xa5; 5000],
    ] {
        alice
            .send_bytes(Channel::Reliable, Bytes::copy_from_slice(bytes))
            .await;
        alice
            .send_bytes(Channel::Lossy, Bytes::copy_from_slice(bytes))
            .await;
    }
    // On the UDP port: noise of every first byte, and STUN for nobody.
    let stranger = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for first in 0..=255u8 {
        let noise: Vec<u8> = (0..=first).map(|n| n.wrapping_mul(37) ^ first).collect();
        stranger.send_to(&noise, server.rtc_addr()).await.unwrap();
    }
    alice
        .send(
            Channel::Reliable,
            &user(1, Bytes::from_static(b"still here")),
        )
        .await;
    until_both(&mut alice, &mut bob, "packet", |_, bob| {
        bob.packets.iter().any(|(_, packet)| packet.sequence == 1)
    })
    .await;
    within("counters", async {
        loop {
            let stats = server.stats().await;
            if stats.bad_frames == 10
                && stats.stray_datagrams == 256
                && stats.packets.malformed >= 4
            {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    // Too much of it in a row ends the link, not the session.
    for _ in 0..16 {
        alice
            .send_frame(Message::Binary(Bytes::from_static(b"\xff")))
            .await;
    }
    alice.until("end of the link", |it| it.ws.is_none()).await;
    alice
        .send(Channel::Reliable, &user(2, Bytes::from_static(b"and here")))
        .await;
    until_both(&mut alice, &mut bob, "packet", |_, bob| {
        bob.packets.iter().any(|(_, packet)| packet.sequence == 2)
    })
    .await;
}

#[tokio::test]
async fn the_newcomer_wins_and_the_old_session_is_told() {
    let server = server().await;
    let mut old = Participant::join(&server, &token("alice", "room")).await;
    let new = Participant::join(&server, &token("alice", "room")).await;
    old.until("end of the link", |it| it.ws.is_none()).await;
    let leave = left(&old).expect("a leave before the end");
    assert_eq!(leave.reason(), DisconnectReason::DuplicateIdentity);
    assert_ne!(old.sid(), new.sid());
    assert_eq!(server.stats().await.participants, 1);
}

#[tokio::test]
async fn shutdown_tells_everybody() {
    let server = server().await;
    let mut alice = Participant::join(&server, &token("alice", "one")).await;
    let mut bob = Participant::join(&server, &token("bob", "two")).await;
    let all = async {
        tokio::join!(
            alice.until("end of the link", |it| it.ws.is_none()),
            bob.until("end of the link", |it| it.ws.is_none())
        )
    };
    tokio::join!(within("shutdown", server.shutdown()), all);
    for participant in [&alice, &bob] {
        let leave = left(participant).expect("a leave before the end");
        assert_eq!(leave.reason(), DisconnectReason::ServerShutdown);
        assert_eq!(leave.action(), LeaveAction::Disconnect);
    }
}

#[tokio::test]
async fn a_resume_keeps_the_channels() {
    // protocol.md §2.14.
    let server = server().await;
    let mut alice = Participant::join(&server, &token("alice", "room")).await;
    let mut bob = Participant::join(&server, &token("bob", "room")).await;
    alice
        .send(Channel::Reliable, &user(1, Bytes::from_static(b"one")))
        .await;
    bob.until("packet", |it| it.packets.len() == 1).await;
    // The link is cut without a word; data goes on.
    alice.ws = None;
    alice.heard.clear();
    alice
        .send(Channel::Reliable, &user(2, Bytes::from_static(b"two")))
        .await;
    bob.until("packet", |it| it.packets.len() == 2).await;
    alice.resume(&server, &token("alice", "room")).await;
    alice
        .until("reconnect response", |it| !it.heard.is_empty())
        .await;
    let Response::Reconnect(reconnect) = &alice.heard[0] else {
        panic!("not the first message: {:?}", alice.heard);
    };
    assert_eq!(reconnect.last_message_seq, 2);
    alice
        .until("everybody", |it| {
            !states(it, "alice").is_empty() && !states(it, "bob").is_empty()
        })
        .await;
    alice.request(Request::SyncState(Default::default())).await;
    alice.restart().await;
    alice
        .send(Channel::Reliable, &user(3, Bytes::from_static(b"three")))
        .await;
    bob.until("packet", |it| it.packets.len() == 3).await;
    bob.send(Channel::Reliable, &user(1, Bytes::from_static(b"back")))
        .await;
    alice.until("packet", |it| !it.packets.is_empty()).await;
    assert_eq!(server.stats().await.resumes, 1);
}

#[tokio::test]
async fn a_fresh_token_resumes_when_the_first_one_is_over() {
    // protocol.md §1.5: without one, a resume after the token's end would be a terminal 401.
    let server = server().await;
    let mut claims = claims("alice", "room");
    // Over, but within the leeway of a minute.
    let over = claims.expires.unwrap() - 600 - 50;
    claims.expires = Some(over);
    claims.not_before = None;
    claims.issued_at = None;
    let mut alice = Participant::join(&server, &sign(&claims)).await;
    let fresh = alice
        .heard
        .iter()
        .find_map(|heard| match heard {
            Response::RefreshToken(token) => Some(token.clone()),
            _ => None,
        })
        .expect("a fresh token after the join");
    let claims = ApiKeys::one(DEV_API_KEY, DEV_API_SECRET)
        .verify(&fresh, SystemTime::now() + Duration::from_secs(500))
        .expect("valid for at least ten minutes");
    assert_eq!(claims.participant_identity(), "alice");
    alice.ws = None;
    alice.resume(&server, &fresh).await;
    alice
        .until("reconnect response", |it| {
            it.heard
                .iter()
                .any(|heard| matches!(heard, Response::Reconnect(_)))
        })
        .await;
}

#[tokio::test]
async fn a_resume_of_an_unknown_session_is_refused() {
    // protocol.md §2.14.
    let server = server().await;
    let mut alice = Participant::join(&server, &token("alice", "room")).await;
    alice.heard.clear();
    alice.joined.participant.as_mut().unwrap().sid = "PA_unknown".to_owned();
    alice.resume(&server, &token("alice", "room")).await;
    alice.until("end of the link", |it| it.ws.is_none()).await;
    let leave = left(&alice).expect("a leave before the end");
    assert_eq!(leave.reason(), DisconnectReason::StateMismatch);
    assert_eq!(leave.action(), LeaveAction::Reconnect);
    assert_eq!(server.stats().await.resumes_refused, 1);
}

#[tokio::test]
async fn a_slow_reader_slows_the_sender_and_loses_nothing() {
    let server = server().await;
    let mut alice = Participant::join(&server, &token("alice", "room")).await;
    let mut bob = Participant::join(&server, &token("bob", "room")).await;
    bob.reads = false;
    const MOST: u32 = 3000;
    let channel = alice.reliable.unwrap();
    let mut sent = 0;
    // Until nothing moves any more: everything on the way is full.
    loop {
        while alice.peer.room(channel) > 0 && sent < MOST {
            sent += 1;
            let payload = Bytes::from(vec![sent as u8; 15_000]);
            alice.send(Channel::Reliable, &user(sent, payload)).await;
        }
        let room = until_both(&mut alice, &mut bob, "room", |alice, _| {
            alice.peer.room(channel) > 0
        });
        if tokio::time::timeout(Duration::from_secs(1), room)
            .await
            .is_err()
        {
            break;
        }
    }
    assert!(
        sent < 1000,
        "{sent} packets of 15 kB went nowhere and nobody was slowed"
    );
    assert!(server.stats().await.packets.braked > 0);
    bob.reads = true;
    let wanted = sent as usize;
    until_both(&mut alice, &mut bob, "everything", |alice, bob| {
        bob.packets.len() == wanted && alice.peer.buffered(channel) == 0
    })
    .await;
    let sequences: Vec<u32> = bob
        .packets
        .iter()
        .map(|(_, packet)| packet.sequence)
        .collect();
    assert_eq!(sequences, (1..=sent).collect::<Vec<u32>>());
}

/// How somebody goes whose ABORT overtakes everything else.
#[derive(Clone, Copy, Debug)]
enum Going {
    LeaveLater,
    LinkClosed,
    Crash,
}

#[tokio::test]
async fn what_was_sent_before_an_abort_arrives() {
    for going in [Going::LeaveLater, Going::LinkClosed, Going::Crash] {
        for (packets, size) in [(1, 5), (3, 900), (330, 15_000)] {
            let server = server().await;
            let mut alice = Participant::join(&server, &token("alice", "room")).await;
            let mut bob = Participant::join(&server, &token("bob", "room")).await;
            bob.reads = false;
            let channel = alice.reliable.unwrap();
            for number in 1..=packets {
                let payload = Bytes::from(vec![number as u8; size]);
                let packet = user(number, payload).to_bytes();
                until_both(&mut alice, &mut bob, "room", |alice, _| {
                    alice.peer.room(channel) > 0
                })
                .await;
                alice.send_bytes(Channel::Reliable, packet).await;
            }
            if packets > 100 {
                // More than bob's side takes: the rest waits in alice's connection at the server, unread.
                until_both(&mut alice, &mut bob, "everything sent", |alice, _| {
                    alice.peer.buffered(channel) == 0
                })
                .await;
                assert!(server.stats().await.packets.braked > 0);
            }
            alice.hang_up();
            let mut ws = alice.ws.take();
            if matches!(going, Going::LinkClosed) {
                ws = None;
            }
            if let (Going::LeaveLater, Some(ws)) = (going, &mut ws) {
                let leave = SignalRequest::from(Request::Leave(LeaveRequest::default()));
                ws.send(Message::Binary(leave.to_bytes())).await.unwrap();
            }
            bob.reads = true;
            bob.until("the end of alice", |bob| {
                states(bob, "alice").last() == Some(&ParticipantState::Disconnected)
            })
            .await;
            let sequences: Vec<u32> = bob
                .packets
                .iter()
                .map(|(_, packet)| packet.sequence)
                .collect();
            let expected: Vec<u32> = (1..=packets).collect();
            assert_eq!(sequences, expected, "{going:?}");
        }
    }
}

/// Many may leave who sent more than a slow one has taken: of all of them together only so much is kept, and of one not more than half
/// of that. The rest is dropped and counted, so that what arrives of each is a beginning without a hole.
#[tokio::test]
async fn what_is_kept_of_leavers_is_bounded() {
    const LIMIT: usize = 1 << 20;
    const SIZE: usize = 15_000;
    let mut config = Config::dev().with_free_ports();
    config.room.leaver_backlog = LIMIT;
    // Bob is slow, not dead.
    config.room.stalled_after = Duration::from_secs(600);
    config.room.cut_after = Duration::from_secs(600);
    let server = Server::spawn(config).await.unwrap();
    let mut bob = Participant::join(&server, &token("bob", "room")).await;
    bob.reads = false;
    let mut sent = 0;
    let mut dropped = 0;
    // The first fills bob's connection, too.
    let leavers = [("alice", 330), ("carol", 130), ("dave", 130)];
    for (turn, (leaver, packets)) in leavers.into_iter().enumerate() {
        let mut leaver = Participant::join(&server, &token(leaver, "room")).await;
        let channel = leaver.reliable.unwrap();
        for number in 1..=packets {
            until_both(&mut leaver, &mut bob, "room", |leaver, _| {
                leaver.peer.room(channel) > 0
            })
            .await;
            let packet = user(number, Bytes::from(vec![number as u8; SIZE]));
            leaver.send(Channel::Reliable, &packet).await;
        }
        until_both(&mut leaver, &mut bob, "everything sent", |leaver, _| {
            leaver.peer.buffered(channel) == 0
        })
        .await;
        leaver
            .request(Request::Leave(LeaveRequest::default()))
            .await;
        sent += packets as usize;
        let kept = within("the rest to be dropped", async {
            loop {
                let stats = server.stats().await;
                if stats.leaver_messages > dropped {
                    dropped = stats.leaver_messages;
                    break stats.leaver_backlog;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
        // Each may have half of it, and all together the whole.
        let most = LIMIT.min((turn + 1) * LIMIT / 2) + 2 * SIZE;
        assert!(kept > LIMIT / 3 && kept < most, "{kept} of {most}");
    }
    bob.reads = true;
    let arriving = sent - dropped as usize;
    bob.until("what was kept", |bob| bob.packets.len() == arriving)
        .await;
    for leaver in ["alice", "carol", "dave"] {
        let of_leaver = |packet: &&DataPacket| packet.participant_identity == leaver;
        let packets = bob.packets.iter().map(|(_, packet)| packet);
        let sequences: Vec<u32> = packets.filter(of_leaver).map(|it| it.sequence).collect();
        assert!(!sequences.is_empty());
        assert!(sequences.iter().copied().eq(1..=sequences.len() as u32));
    }
    assert_eq!(server.stats().await.leaver_backlog, 0);
}

/// LiveKit knows a channel by its label alone: several of one label are one channel, and none of them stays unread.
#[tokio::test]
async fn channels_of_one_label_are_one() {
    const MESSAGES: u32 = 400;
    let server = server().await;
    let mut alice = Participant::join_with_doubles(&server, &token("alice", "room"), 2).await;
    let mut bob = Participant::join(&server, &token("bob", "room")).await;
    let channels = [alice.reliable.unwrap(), alice.doubles[0], alice.doubles[1]];
    // More than a window over each.
    for number in 0..MESSAGES {
        for (at, channel) in channels.into_iter().enumerate() {
            let sequence = number * 3 + at as u32 + 1;
            let packet = user(sequence, Bytes::from(vec![at as u8; 20_000]));
            within("sent", async {
                while alice.peer.room(channel) == 0 {
                    tokio::select! {
                        () = alice.step() => {}
                        () = bob.step() => {}
                    }
                }
            })
            .await;
            alice.send_over(channel, packet.to_bytes()).await;
        }
    }
    until_both(&mut alice, &mut bob, "all packets", |_, bob| {
        bob.packets.len() == MESSAGES as usize * 3
    })
    .await;
    // Without the first, the others go on, in both directions.
    alice
        .peer
        .close_channel(std::time::Instant::now(), channels[0]);
    alice
        .until("closed channel", |it| {
            it.events
                .contains(&lkstream_transport::Event::ChannelClosed(channels[0]))
        })
        .await;
    alice
        .send_over(channels[2], user(0, Bytes::from_static(b"on")).to_bytes())
        .await;
    bob.send(Channel::Reliable, &user(1, Bytes::from_static(b"back")))
        .await;
    until_both(&mut alice, &mut bob, "a packet each", |alice, bob| {
        bob.packets.len() == MESSAGES as usize * 3 + 1 && alice.packets.len() == 1
    })
    .await;
    assert_eq!(server.stats().await.participants, 2);
}

#[tokio::test]
async fn a_packet_that_a_subscriber_cannot_take_costs_nobody_else_anything() {
    let server = server().await;
    let mut alice = Participant::join(&server, &token("alice", "room")).await;
    let mut bob = Participant::join(&server, &token("bob", "room")).await;
    let mut small = Participant::join_with(&server, &token("small", "room"), |config| {
        config.max_message_size = 16_384;
    })
    .await;
    alice
        .until("all ACTIVE", |it| {
            ["bob", "small"]
                .iter()
                .all(|who| states(it, who).contains(&ParticipantState::Active))
        })
        .await;
    for (sequence, bytes) in [(1, 20_000), (2, 10)] {
        alice
            .send(Channel::Reliable, &user(sequence, vec![0; bytes].into()))
            .await;
    }
    until_both(&mut alice, &mut bob, "both packets", |_, bob| {
        bob.packets.len() == 2
    })
    .await;
    small
        .until("the small packet", |it| !it.packets.is_empty())
        .await;
    assert_eq!(small.packets[0].1.sequence, 2);
    assert_eq!(server.stats().await.packets.discarded, 1);
}

#[tokio::test]
async fn one_that_could_not_take_streams_is_refused() {
    let server = server().await;
    let mut config = PeerConfig::new(
        Arc::new(Certificate::generate().unwrap()),
        Credentials::from_random(std::array::from_fn(|_| rand::random())),
    );
    config.max_message_size = 16_383;
    config.channels = vec![ChannelConfig::reliable("_reliable")];
    let (_peer, sdp) = Peer::offer(std::time::Instant::now(), config).unwrap();
    let mut join = Join::new(support::client_info());
    join.offer = Some(SessionDescription {
        r#type: "offer".to_owned(),
        sdp,
        id: 1,
        ..SessionDescription::default()
    });
    let url = format!(
        "{}/rtc/v1?{}&access_token={}",
        server.url(),
        join.to_query(),
        token("small", "room")
    );
    let stream = tokio::net::TcpStream::connect(server.addr()).await.unwrap();
    let refused = tokio_tungstenite::client_async(url, stream).await;
    let Err(tokio_tungstenite::tungstenite::Error::Http(answer)) = refused else {
        panic!("it is let in");
    };
    assert_eq!(answer.status(), 400);
    let body = String::from_utf8(answer.into_body().unwrap_or_default()).unwrap();
    assert!(body.contains("a=max-message-size is 16383"), "{body}");
    assert_eq!(server.stats().await.rooms, 0);
}

/// What nobody reads would take the window from the channels that count.
#[tokio::test]
async fn messages_on_other_channels_are_dropped_and_counted() {
    const MESSAGES: u64 = 400;
    let server = server().await;
    let mut alice = Participant::join_with(&server, &token("alice", "room"), |config| {
        let other = lkstream_transport::ChannelConfig::reliable("other");
        config.channels.push(other);
    })
    .await;
    let mut bob = Participant::join(&server, &token("bob", "room")).await;
    let other = alice.others[0];
    for _ in 0..MESSAGES {
        alice.send_over(other, Bytes::from(vec![0; 20_000])).await;
    }
    let hello = user(1, Bytes::from_static(b"hello"));
    alice.send(Channel::Reliable, &hello).await;
    until_both(&mut alice, &mut bob, "a packet", |_, bob| {
        !bob.packets.is_empty()
    })
    .await;
    within("counted", async {
        while server.stats().await.other_messages < MESSAGES {
            alice.step().await;
        }
    })
    .await;
}
