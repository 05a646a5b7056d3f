//! Attacks with signalling messages, by somebody with a plain token.

use std::collections::BTreeMap;

use bytes::Bytes;
use lkstream_conformance::process::Failure;
use lkstream_proto::signal::{
    DataChannelInfo, DataChannelReceiveState, LeaveRequest, Ping, Request, Scenario,
    SessionDescription, SignalRequest, SimulateScenario, SyncState, TrickleRequest, UpdateMetadata,
};

use crate::guest::offer;
use crate::join::field;
use crate::pair::{Joins, Pair};
use crate::server::{Server, every};
use crate::websocket::{Fate, Input, flood};
use crate::wire::{BINARY, Frame, signal};

/// An offer that the server answers, so that each change to it is the only thing wrong.
pub(crate) const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
     m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n\
     a=ice-ufrag:abcdefgh\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n\
     a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n\
     a=setup:actpass\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n";

fn candidate(json: impl Into<String>) -> Request {
    Request::Trickle(TrickleRequest {
        candidate_init: json.into(),
        target: 0,
        r#final: false,
    })
}

/// The JSON of a host candidate at this address.
pub(crate) fn host_candidate(address: &str, port: u16) -> String {
    format!(
        r#"{{"candidate":"candidate:1 1 udp 2130706431 {address} {port} typ host","sdpMid":"0","sdpMLineIndex":0}}"#
    )
}

/// Offers that are wrong in one place each.
pub(crate) fn bad_offers() -> Vec<(String, String)> {
    let change = |from: &str, to: &str| {
        assert!(OFFER.contains(from));
        OFFER.replace(from, to)
    };
    let section = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n";
    [
        ("empty offer", String::new()),
        ("offer that is no SDP", "nonsense".into()),
        ("offer of line breaks", "\r\n".repeat(10_000)),
        ("offer of versions", "v=0\r\n".repeat(10_000)),
        ("offer of another version", change("v=0", "v=1")),
        (
            "offer without sections",
            OFFER[..OFFER.find("m=").unwrap()].into(),
        ),
        (
            "offer of 10 000 sections",
            OFFER.to_owned() + &section.repeat(10_000),
        ),
        (
            "offer of audio alone",
            change(section, "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"),
        ),
        (
            "offer whose section is refused",
            change("m=application 9", "m=application 0"),
        ),
        (
            "offer whose port is no number",
            change("m=application 9", "m=application x"),
        ),
        (
            "offer without a user name",
            change("a=ice-ufrag:abcdefgh\r\n", ""),
        ),
        (
            "offer with a user name of 3 characters",
            change("abcdefgh\r\n", "abc\r\n"),
        ),
        (
            "offer with a user name of 10 kB",
            change("abcdefgh\r\n", &("a".repeat(10_000) + "\r\n")),
        ),
        (
            "offer with a colon in the user name",
            change("abcdefgh\r\n", "abc:defgh\r\n"),
        ),
        (
            "offer without a password",
            change("a=ice-pwd:abcdefghijklmnopqrstuvwx\r\n", ""),
        ),
        (
            "offer with a short password",
            change("abcdefghijklmnopqrstuvwx", "short"),
        ),
        (
            "offer without a fingerprint",
            change("a=fingerprint:sha-256", "a=x-fingerprint:sha-256"),
        ),
        (
            "offer with a fingerprint of MD5",
            change("sha-256 ", "md5 "),
        ),
        ("offer with a short fingerprint", change(":1C:1D:1E:1F", "")),
        (
            "offer with an unknown setup",
            change("setup:actpass", "setup:whatever"),
        ),
        (
            "offer with another SCTP port",
            change("sctp-port:5000", "sctp-port:1"),
        ),
        (
            "offer with a size that is no number",
            change("max-message-size:262144", "max-message-size:many"),
        ),
        (
            "offer of 1.5 MB",
            OFFER.to_owned() + &"a=x\r\n".repeat(300_000),
        ),
    ]
    .map(|(name, sdp)| (name.to_owned(), sdp))
    .into()
}

/// Candidates that lead nowhere, or where no check may go.
pub(crate) fn bad_candidates() -> Vec<(String, String)> {
    let line = |line: &str| format!(r#"{{"candidate":"{line}","sdpMid":"0","sdpMLineIndex":0}}"#);
    let mut candidates = vec![
        ("empty".to_owned(), String::new()),
        ("no JSON".into(), "nonsense".into()),
        ("JSON of null".into(), "null".into()),
        ("JSON array".into(), "[]".into()),
        ("nested JSON".into(), "[".repeat(4000)),
        (
            "nested JSON of 1 MB".into(),
            r#"{"candidate":"#.repeat(80_000),
        ),
        ("candidate of null".into(), r#"{"candidate":null}"#.into()),
        (
            "candidate that is a number".into(),
            r#"{"candidate":7}"#.into(),
        ),
        (
            "place beyond 16 bits".into(),
            r#"{"candidate":"","sdpMLineIndex":99999}"#.into(),
        ),
        ("empty line".into(), line("")),
        ("half a line".into(), line("candidate:1 1 udp")),
        (
            "component 70000".into(),
            line("candidate:1 70000 udp 1 127.0.0.1 9 typ host"),
        ),
        (
            "priority beyond 32 bits".into(),
            line("candidate:1 1 udp 99999999999 127.0.0.1 9 typ host"),
        ),
        (
            "port beyond 16 bits".into(),
            line("candidate:1 1 udp 1 127.0.0.1 99999 typ host"),
        ),
        (
            "TCP".into(),
            line("candidate:1 1 tcp 1 127.0.0.1 9 typ host tcptype active"),
        ),
        (
            "unknown type".into(),
            line("candidate:1 1 udp 1 127.0.0.1 9 typ wormhole"),
        ),
        (
            "name of this network".into(),
            line("candidate:1 1 udp 1 0a1b2c3d.local 9 typ host"),
        ),
        (
            "name of the DNS".into(),
            line("candidate:1 1 udp 1 example.com 9 typ host"),
        ),
        (
            "line of 3 kB".into(),
            line(&format!(
                "candidate:1 1 udp 1 127.0.0.1 9 typ host {}",
                "x ".repeat(1500)
            )),
        ),
    ];
    for (name, address, port) in [
        ("unspecified address", "0.0.0.0", 9),
        ("broadcast address", "255.255.255.255", 9),
        ("multicast address", "224.0.0.251", 5353),
        ("IPv6 multicast address", "ff02::1", 9),
        ("IPv6 unspecified address", "::", 9),
        ("mapped address", "::ffff:127.0.0.1", 9),
        ("link-local address", "169.254.1.1", 9),
        ("documentation address", "192.0.2.1", 9),
        ("port 0", "127.0.0.1", 0),
    ] {
        candidates.push((name.to_owned(), host_candidate(address, port)));
    }
    candidates
}

/// Messages that a server has to survive.
pub(crate) fn inputs() -> Vec<Input> {
    use Fate::{Any, Ends, GoesOn};
    let mut inputs = Vec::new();
    for (name, sdp) in bad_offers() {
        // A bad offer may end the session, or be refused alone.
        inputs.push(Input::new(name, signal(Request::Offer(offer(sdp))), Any));
    }
    for (name, json) in bad_candidates() {
        let name = format!("candidate: {name}");
        // What is too long for any message of a client's ends its link.
        let fate = if json.len() > 100_000 { Any } else { GoesOn };
        inputs.push(Input::new(name, signal(candidate(json)), fate));
    }
    let raw =
        |name: &str, bytes: &[u8], fate| Input::new(name, Frame::new(BINARY, bytes).bytes(), fate);
    let one = |name: &str, request: Request, fate| Input::new(name, signal(request), fate);

    inputs.extend([
        // Protobuf.
        raw("field 0", b"\x00\x01", GoesOn),
        raw("group", b"\x0b\x0c", GoesOn),
        raw("endless group", &b"\x0b".repeat(50_000), GoesOn),
        raw("varint of 11 bytes", &[0xff; 11], GoesOn),
        raw("length beyond the end", b"\x0a\xff\xff\xff\xff\x0f", GoesOn),
        raw("wrong type for a ping", b"\x72\x01\x00", GoesOn),
        raw("wire type 7", b"\x77", GoesOn),
        raw(
            "unknown field of 1 MB",
            &[&b"\xf2\x7f\xc0\x84\x3d"[..], &[0; 1_000_000]].concat(),
            Any,
        ),
        raw(
            "20 000 empty fields",
            &[&b"\x62\xc0\xb8\x02"[..], &b"\x12\x00".repeat(20_000)].concat(),
            GoesOn,
        ),
        raw(
            "1 000 000 empty fields",
            &b"\x12\x00".repeat(1_000_000),
            Any,
        ),
        raw(
            "the same request 1000 times in a message",
            &SignalRequest::from(Request::Ping(1))
                .to_bytes()
                .repeat(1000),
            GoesOn,
        ),
        raw("text that is no UTF-8", b"\x7a\x03\x0a\x01\xff", GoesOn),
        // Requests that make no sense here.
        one("answer to nothing", Request::Answer(offer(OFFER)), Any),
        one(
            "offer for offer",
            Request::Offer(SessionDescription {
                r#type: "rollback".into(),
                ..offer(OFFER)
            }),
            Any,
        ),
        one(
            "offer of number 2^32-1",
            Request::Offer(SessionDescription {
                id: u32::MAX,
                ..offer(OFFER)
            }),
            Any,
        ),
        Input::new(
            "20 offers",
            signal(Request::Offer(offer(OFFER))).repeat(20),
            Any,
        ),
        Input::new(
            "300 offers",
            signal(Request::Offer(offer(OFFER))).repeat(300),
            Any,
        ),
        Input::new(
            "400 candidates",
            signal(candidate(host_candidate("127.0.0.1", 9))).repeat(400),
            Any,
        ),
        Input::new(
            "200 candidates, each another",
            (0..200)
                .flat_map(|port| signal(candidate(host_candidate("127.0.0.1", 2000 + port))))
                .collect::<Vec<_>>(),
            Any,
        ),
        one(
            "candidate for the other connection",
            Request::Trickle(TrickleRequest {
                target: 1,
                candidate_init: host_candidate("127.0.0.1", 9),
                r#final: true,
            }),
            GoesOn,
        ),
        one(
            "candidate for connection 77",
            Request::Trickle(TrickleRequest {
                target: 77,
                candidate_init: host_candidate("127.0.0.1", 9),
                r#final: true,
            }),
            GoesOn,
        ),
        one(
            "candidate before an offer",
            candidate(host_candidate("127.0.0.1", 9)),
            GoesOn,
        ),
        one("track of nothing", Request::AddTrack(Bytes::new()), GoesOn),
        one(
            "track of 1.9 MB",
            Request::AddTrack(vec![0; 1_900_000].into()),
            Any,
        ),
        one(
            "track whose bytes are no track",
            Request::AddTrack(Bytes::from_static(&[0xff; 100])),
            Any,
        ),
        one(
            "data track of 1.9 MB",
            Request::PublishDataTrack(vec![0; 1_900_000].into()),
            Any,
        ),
        one(
            "data blob of 1.9 MB",
            Request::StoreDataBlob(vec![0; 1_900_000].into()),
            Any,
        ),
        one(
            "data blob of nothing",
            Request::GetDataBlob(Bytes::new()),
            GoesOn,
        ),
        one(
            "leave with an unknown action",
            Request::Leave(LeaveRequest {
                action: 99,
                reason: -1,
                ..LeaveRequest::default()
            }),
            Any,
        ),
        one("ping from the far past", Request::Ping(i64::MIN), GoesOn),
        one(
            "ping with a round trip of 2^63-1",
            Request::PingReq(Ping {
                timestamp: i64::MAX,
                rtt: i64::MAX,
            }),
            GoesOn,
        ),
        Input::new(
            "1000 leaves",
            signal(Request::Leave(LeaveRequest::default())).repeat(1000),
            Ends,
        ),
    ]);

    let metadata = |name: &str, change: &dyn Fn(&mut UpdateMetadata)| {
        let mut update = UpdateMetadata {
            request_id: 1,
            ..UpdateMetadata::default()
        };
        change(&mut update);
        // The token does not allow it, whatever it says. What is too long for any message of a client's ends its link.
        let bytes = signal(Request::UpdateMetadata(update));
        let fate = if bytes.len() > 700_000 { Any } else { GoesOn };
        Input::new(name, bytes, fate)
    };
    inputs.extend([
        metadata("metadata without the right", &|update| {
            update.metadata = "m".into()
        }),
        metadata("metadata of 1.9 MB", &|update| {
            update.metadata = "m".repeat(1_900_000)
        }),
        metadata("name of 1 MB", &|update| update.name = "n".repeat(1 << 20)),
        metadata("name of control characters", &|update| {
            update.name = "\u{1b}[2J\0\u{202e}".into()
        }),
        metadata("10 000 attributes", &|update| {
            update.attributes = (0..10_000)
                .map(|number| (number.to_string(), "v".into()))
                .collect();
        }),
        metadata("attribute of 1 MB", &|update| {
            update.attributes = BTreeMap::from([("k".into(), "v".repeat(1 << 20))])
        }),
        metadata("attribute without a key", &|update| {
            update.attributes = BTreeMap::from([(String::new(), "v".into())])
        }),
    ]);

    let state = |name: &str, state: SyncState| one(name, Request::SyncState(state), Any);
    inputs.extend([
        state("state of nothing", SyncState::default()),
        state(
            "state of 10 000 publishers",
            SyncState {
                datachannel_receive_states: (0..10_000)
                    .map(|number| DataChannelReceiveState {
                        publisher_sid: format!("PA_{number}"),
                        last_seq: u32::MAX,
                    })
                    .collect(),
                ..SyncState::default()
            },
        ),
        state(
            "state of 10 000 channels",
            SyncState {
                data_channels: (0..10_000)
                    .map(|id| DataChannelInfo {
                        label: "_reliable".into(),
                        id,
                        target: 0,
                    })
                    .collect(),
                ..SyncState::default()
            },
        ),
        state(
            "state with a bad offer",
            SyncState {
                offer: Some(offer("nonsense")),
                answer: Some(offer("nonsense")),
                ..SyncState::default()
            },
        ),
    ]);
    for scenario in [
        Scenario::NodeFailure(true),
        Scenario::Migration(true),
        Scenario::ServerLeave(true),
    ] {
        inputs.push(one(
            &format!("{scenario:?}"),
            Request::Simulate(SimulateScenario {
                scenario: Some(scenario),
            }),
            Any,
        ));
    }
    inputs
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_messages_harm_only_their_sender() -> Result<(), Failure> {
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::EachTime).await?;
    let attack = async {
        let mut outcomes = Vec::new();
        for input in inputs() {
            outcomes.push(input.check(&target, "yard").await);
        }
        every(outcomes)
    };
    server.endure(&mut pair, "hostile signalling", attack).await
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_requests_to_links_that_do_not_read_hold_little() -> Result<(), Failure> {
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::EachTime).await?;
    let floods = [
        ("pings", signal(Request::Ping(1)).repeat(200)),
        (
            "tracks of 1.9 MB, to be echoed",
            signal(Request::AddTrack(field(1, &[b'x'; 1_900_000]).into())),
        ),
        (
            "candidates",
            signal(candidate(host_candidate("127.0.0.1", 9))).repeat(200),
        ),
        ("offers", signal(Request::Offer(offer(OFFER))).repeat(20)),
        (
            "bad offers",
            signal(Request::Offer(offer("v=0\r\n".repeat(1000)))).repeat(20),
        ),
    ];
    for (name, bytes) in floods {
        let attack = flood(&target, 2, "attack", bytes);
        server
            .endure(&mut pair, &format!("2 links of {name}, unread"), attack)
            .await?;
    }
    Ok(())
}
