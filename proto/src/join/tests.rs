#![allow(clippy::unwrap_used)]

use std::io::Write as _;

use base64::Engine as _;
use proptest::prelude::*;
use prost::Message as _;

use super::request::{BASE64, WrappedJoinRequest};
use super::*;
use crate::participant::{Capability, Sdk};

fn join() -> Join {
    Join {
        offer: Some(SessionDescription {
            r#type: "offer".into(),
            sdp: "v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n".repeat(20),
            id: 7,
            ..SessionDescription::default()
        }),
        metadata: "mé".into(),
        attributes: BTreeMap::from([("k".into(), "v".into())]),
        resume: Some(Resume {
            sid: "PA_x".into(),
            reason: ReconnectReason::SignalDisconnected,
        }),
        room: "a room/1".into(),
        ..Join::new(ClientInfo {
            sdk: Sdk::Rust.into(),
            version: "0.1.0".into(),
            protocol: 17,
            client_protocol: 2,
            capabilities: vec![Capability::CompressionDeflateRaw.into()],
            os: "Linux & more".into(),
            ..ClientInfo::default()
        })
    }
}

fn wrapped(compression: i32, bytes: Vec<u8>) -> String {
    let wrapped = WrappedJoinRequest {
        compression,
        join_request: bytes.into(),
    };
    format!("join_request={}", BASE64.encode(wrapped.encode_to_vec()))
}

#[test]
fn a_join_request_comes_back_as_it_went() {
    let join = join();
    assert_eq!(Join::from_query(&join.to_query()).unwrap(), join);
}

#[test]
fn the_query_of_the_old_path_comes_back_as_it_went() {
    // Section 2.2: there is no place for an offer.
    let join = Join {
        mode: Mode::Dual,
        offer: None,
        ..join()
    };
    assert_eq!(Join::from_query(&join.to_query()).unwrap(), join);
}

#[test]
fn padding_is_optional() {
    // Section 2.3.
    let query = join().to_query();
    let (request, room) = query.split_once('&').unwrap();
    let bare = request.trim_end_matches("%3D");
    assert_eq!(Join::from_query(&format!("{bare}&{room}")).unwrap(), join());
    // Unescaped padding, as browsers may leave it.
    let padded = request.replace("%3D", "=");
    assert_eq!(
        Join::from_query(&format!("{padded}&{room}")).unwrap(),
        join()
    );
}

#[test]
fn a_plain_request_is_read_too() {
    let request = b"\x0a\x04\x08\x09\x18\x12\x40\x01".to_vec();
    let join = Join::from_query(&wrapped(0, request)).unwrap();
    assert_eq!(join.mode, Mode::Single);
    assert_eq!(join.client.sdk(), Sdk::Python);
    assert_eq!(join.client.protocol, 18);
    assert_eq!(join.resume, None);
}

#[test]
fn a_gzip_bomb_stops_at_the_limit() {
    // Section 2.3: 1 MiB.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..64 {
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 100_000);
    assert_eq!(
        Join::from_query(&wrapped(1, bomb)),
        Err(JoinError::TooLarge { limit: 1 << 20 })
    );
}

#[test]
fn what_is_wrong_is_named() {
    assert_eq!(
        Join::from_query("join_request=!!"),
        Err(JoinError::NotBase64)
    );
    assert_eq!(
        Join::from_query("join_request=%zz"),
        Err(JoinError::BadQuery)
    );
    assert_eq!(
        Join::from_query("join_request=CgX_"),
        Err(JoinError::Malformed)
    );
    assert_eq!(
        Join::from_query(&wrapped(1, b"no gzip".to_vec())),
        Err(JoinError::BrokenGzip)
    );
    assert_eq!(
        Join::from_query(&wrapped(9, Vec::new())),
        Err(JoinError::UnknownCompression { compression: 9 })
    );
    assert_eq!(
        Join::from_query(&wrapped(0, b"\x0a\xff".to_vec())),
        Err(JoinError::Malformed)
    );
    assert_eq!(
        Join::from_query("attributes=eyJhIjoxfQ"),
        Err(JoinError::BadAttributes)
    );
    assert_eq!(
        Join::from_query(&format!("join_request={}", "A".repeat(3 << 20))),
        Err(JoinError::TooLarge { limit: 1 << 20 })
    );
}

#[test]
fn the_fallback_query_of_python_is_read() {
    // Section 2.4, last rows.
    let join = Join::from_query(
        "sdk=python&os=Debian&os_version=12.0.0&device_model=Unknown&protocol=18\
         &client_protocol=2&auto_subscribe=1&adaptive_stream=0&version=1.2.1\
         &capabilities=CAP_PACKET_TRAILER%2CCAP_COMPRESSION_DEFLATE_RAW&unknown=%zz",
    )
    .unwrap();
    assert_eq!(join.mode, Mode::Dual);
    assert_eq!(join.client.sdk(), Sdk::Python);
    assert_eq!(join.client.capabilities, [1, 2]);
    assert_eq!(join.client.client_protocol, 2);
    assert_eq!(join.resume, None);

    let again =
        Join::from_query("sdk=js&reconnect=1&sid=PA_abc&reconnect_reason=2&room=r%20+1").unwrap();
    assert_eq!(
        again.resume,
        Some(Resume {
            sid: "PA_abc".into(),
            reason: ReconnectReason::PublisherFailed
        })
    );
    assert_eq!(again.room, "r  1");
}

#[test]
fn the_token_is_found_in_a_query() {
    // Section 1.2.
    assert_eq!(
        access_token("a=1&access_token=x.y%2Dz&b"),
        Some("x.y-z".into())
    );
    assert_eq!(access_token("access_token="), None);
    assert_eq!(access_token("my_access_token=x"), None);
}

proptest! {
    #[test]
    fn no_query_panics(query in "\\PC*") {
        let _ = Join::from_query(&query);
        let _ = access_token(&query);
    }

    #[test]
    fn no_request_panics(compression in 0..2i32, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Join::from_query(&wrapped(compression, bytes));
    }

    #[test]
    fn perturbed_requests_do_not_panic(at in 0usize..400, byte in any::<u8>()) {
        let mut query = join().to_query().into_bytes();
        let len = query.len();
        query[at % len] = byte;
        let _ = Join::from_query(&String::from_utf8_lossy(&query));
    }

    #[test]
    fn any_text_survives_a_query(metadata in "\\PC*", room in "\\PC*") {
        let join = Join { mode: Mode::Dual, metadata, room: room.into(), ..Join::new(ClientInfo::default()) };
        prop_assert_eq!(Join::from_query(&join.to_query()).unwrap(), join);
    }
}

#[test]
fn what_a_client_says_about_itself_is_bounded() {
    // Tag 13 of the client, packed: one byte a capability.
    let mut client = vec![13 << 3 | 2, 0x88, 0x27];
    client.extend([2; 5000]);
    let mut plain = vec![1 << 3 | 2, 0x8b, 0x27];
    plain.extend(client);
    assert_eq!(
        Join::from_query(&wrapped(0, plain)),
        Err(JoinError::ClientInfo {
            size: 5003,
            limit: 4096
        })
    );
    // Tracks and the parts of a synchronisation: two bytes each.
    let tracks = [5 << 3 | 2, 0].repeat(40_000);
    let mut sync = vec![10 << 3 | 2, 0x80, 0xf1, 0x04];
    sync.extend([3 << 3 | 2, 0].repeat(40_000));
    for plain in [tracks, sync] {
        assert_eq!(
            Join::from_query(&wrapped(0, plain)),
            Err(JoinError::TooManyFields { limit: 32_768 })
        );
    }
}
