#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::disconnect::DisconnectReason;
use crate::participant::{
    Capability, ClientInfo, KindDetail, ParticipantInfo, ParticipantKind, ParticipantPermission,
    ParticipantState, Sdk,
};
use crate::room::{Edition, Room, ServerInfo};

/// Bytes written by hand from the numbers of section 2.6, both ways.
fn request(request: Request, bytes: &'static [u8]) {
    let message = SignalRequest::from(request);
    assert_eq!(message.to_bytes(), bytes);
    assert_eq!(
        SignalRequest::from_bytes(Bytes::from_static(bytes)).unwrap(),
        message
    );
}

fn response(response: Response, bytes: &'static [u8]) {
    let message = SignalResponse::from(response);
    assert_eq!(message.to_bytes(), bytes);
    assert_eq!(
        SignalResponse::from_bytes(Bytes::from_static(bytes)).unwrap(),
        message
    );
}

#[test]
fn requests_are_these_bytes() {
    request(
        Request::Offer(SessionDescription {
            r#type: "offer".into(),
            sdp: "v".into(),
            id: 3,
            ..SessionDescription::default()
        }),
        b"\x0a\x0c\x0a\x05offer\x12\x01v\x18\x03",
    );
    request(Request::Answer(SessionDescription::default()), b"\x12\x00");
    request(
        Request::Trickle(TrickleRequest {
            candidate_init: "{}".into(),
            target: SignalTarget::Subscriber.into(),
            r#final: true,
        }),
        b"\x1a\x08\x0a\x02{}\x10\x01\x18\x01",
    );
    request(
        Request::AddTrack(Bytes::from_static(b"\x0a\x01c")),
        b"\x22\x03\x0a\x01c",
    );
    request(
        Request::Leave(LeaveRequest {
            reason: DisconnectReason::ClientInitiated.into(),
            ..LeaveRequest::default()
        }),
        b"\x42\x02\x10\x01",
    );
    request(
        Request::SubscriptionPermission(SubscriptionPermission {
            all_participants: true,
        }),
        b"\x5a\x02\x08\x01",
    );
    request(
        Request::SyncState(SyncState {
            data_channels: vec![DataChannelInfo {
                label: "_reliable".into(),
                id: 1,
                target: 0,
            }],
            datachannel_receive_states: vec![DataChannelReceiveState {
                publisher_sid: "PA_1".into(),
                last_seq: 9,
            }],
            ..SyncState::default()
        }),
        b"\x62\x19\x22\x0d\x0a\x09_reliable\x10\x01\x3a\x08\x0a\x04PA_1\x10\x09",
    );
    request(
        Request::Simulate(SimulateScenario {
            scenario: Some(Scenario::LeaveRequestFullReconnect(true)),
        }),
        b"\x6a\x02\x48\x01",
    );
    request(Request::Ping(1), b"\x70\x01");
    request(
        Request::UpdateMetadata(UpdateMetadata {
            metadata: "m".into(),
            name: "n".into(),
            attributes: [("k".to_owned(), String::new())].into(),
            request_id: 4,
        }),
        b"\x7a\x0d\x0a\x01m\x12\x01n\x1a\x03\x0a\x01k\x20\x04",
    );
    request(
        Request::PingReq(Ping {
            timestamp: 5,
            rtt: 6,
        }),
        b"\x82\x01\x04\x08\x05\x10\x06",
    );
    request(
        Request::PublishDataTrack(Bytes::from_static(b"\x08\x01")),
        b"\x9a\x01\x02\x08\x01",
    );
    request(Request::StoreDataBlob(Bytes::new()), b"\xb2\x01\x00");
    request(Request::GetDataBlob(Bytes::new()), b"\xba\x01\x00");
}

#[test]
fn responses_are_these_bytes() {
    response(Response::Answer(SessionDescription::default()), b"\x12\x00");
    response(Response::Offer(SessionDescription::default()), b"\x1a\x00");
    response(Response::Trickle(TrickleRequest::default()), b"\x22\x00");
    response(
        Response::Leave(LeaveRequest {
            can_reconnect: true,
            reason: DisconnectReason::StateMismatch.into(),
            action: LeaveAction::Reconnect.into(),
            regions: Some(RegionSettings {
                regions: vec![RegionInfo {
                    region: "r".into(),
                    url: "u".into(),
                    distance: 2,
                }],
            }),
        }),
        b"\x42\x12\x08\x01\x10\x06\x18\x02\x22\x0a\x0a\x08\x0a\x01r\x12\x01u\x18\x02",
    );
    response(Response::RoomUpdate(RoomUpdate::default()), b"\x5a\x00");
    response(Response::RefreshToken("t".into()), b"\x82\x01\x01t");
    response(Response::Pong(3), b"\x90\x01\x03");
    response(
        Response::Reconnect(ReconnectResponse {
            last_message_seq: 7,
            ..ReconnectResponse::default()
        }),
        b"\x9a\x01\x02\x20\x07",
    );
    response(
        Response::PongResp(Pong {
            last_ping_timestamp: 1,
            timestamp: 2,
        }),
        b"\xa2\x01\x04\x08\x01\x10\x02",
    );
    response(
        Response::RequestResponse(RequestResponse {
            request_id: 1,
            reason: RequestReason::NotAllowed.into(),
            message: "no".into(),
            request: Some(Echo::AddTrack(Bytes::from_static(b"\x0a\x01c"))),
        }),
        b"\xb2\x01\x0d\x08\x01\x10\x02\x1a\x02no\x2a\x03\x0a\x01c",
    );
    response(
        Response::RoomMoved(RoomMovedResponse::default()),
        b"\xc2\x01\x00",
    );
    response(
        Response::MediaSectionsRequirement(MediaSectionsRequirement {
            num_audios: 1,
            num_videos: 2,
        }),
        b"\xca\x01\x04\x08\x01\x10\x02",
    );
}

#[test]
fn a_join_response_is_these_bytes() {
    let room = Room {
        sid: "RM_1".into(),
        name: "r".into(),
        empty_timeout: 1,
        max_participants: 2,
        creation_time: 3,
        metadata: "m".into(),
        num_participants: 4,
        active_recording: true,
        num_publishers: 5,
        departure_timeout: 6,
        creation_time_ms: 7,
    };
    let participant = ParticipantInfo {
        sid: "PA_1".into(),
        identity: "i".into(),
        state: ParticipantState::Active.into(),
        metadata: "m".into(),
        joined_at: 1,
        name: "n".into(),
        version: 2,
        permission: Some(ParticipantPermission {
            can_publish_data: true,
            can_manage_agent_session: true,
            ..ParticipantPermission::default()
        }),
        region: "r".into(),
        is_publisher: true,
        kind: ParticipantKind::Agent.into(),
        attributes: [("k".to_owned(), "v".to_owned())].into(),
        disconnect_reason: DisconnectReason::AgentError.into(),
        joined_at_ms: 3,
        kind_details: vec![KindDetail::Forwarded.into()],
        client_protocol: 2,
        capabilities: vec![Capability::CompressionDeflateRaw.into()],
    };
    assert!(participant.inflates());
    response(
        Response::Join(JoinResponse {
            room: Some(room),
            participant: Some(participant),
            other_participants: vec![ParticipantInfo::default()],
            server_version: "1.13.5".into(),
            ping_timeout: 15,
            ping_interval: 5,
            server_info: Some(ServerInfo {
                edition: Edition::Cloud.into(),
                version: "1.13.5".into(),
                protocol: 17,
                region: "r".into(),
                node_id: "ND_1".into(),
                debug_info: "d".into(),
                agent_protocol: 1,
            }),
            subscriber_primary: true,
            fast_publish: true,
            ..JoinResponse::default()
        }),
        b"\x0a\x89\x01\
          \x0a\x1c\x0a\x04RM_1\x12\x01r\x18\x01\x20\x02\x28\x03\x42\x01m\x48\x04\x50\x01\x58\x05\x70\x06\x78\x07\
          \x12\x3b\x0a\x04PA_1\x12\x01i\x18\x02\x2a\x01m\x30\x01\x4a\x01n\x50\x02\x5a\x04\x18\x01\x68\x01\x62\x01r\x68\x01\x70\x04\
          \x7a\x06\x0a\x01k\x12\x01v\x80\x01\x10\x88\x01\x03\x92\x01\x01\x01\xa0\x01\x02\xaa\x01\x01\x02\
          \x1a\x00\
          \x22\x061.13.5\
          \x30\x01\x50\x0f\x58\x05\
          \x62\x1a\x08\x01\x12\x061.13.5\x18\x11\x22\x01r\x2a\x04ND_1\x32\x01d\x38\x01\
          \x78\x01",
    );
}

#[test]
fn what_is_only_about_media_decodes_as_none() {
    // Section 2.17: subscription, track settings, and numbers from the future.
    for bytes in [
        b"\x32\x02\x10\x01".as_slice(),
        b"\x3a\x02\x0a\x00",
        b"\xfa\x01\x00",
        b"",
    ] {
        let message = SignalRequest::from_bytes(Bytes::from_static(bytes)).unwrap();
        assert_eq!(message.message, None);
    }
    let message = SignalResponse::from_bytes(Bytes::from_static(b"\x52\x00")).unwrap();
    assert_eq!(message.message, None);
}

#[test]
fn messages_are_limited_to_2_mib() {
    // Section 2.5.
    let size = (2 << 20) + 1;
    let limit = 2 << 20;
    assert_eq!(
        SignalRequest::from_bytes(vec![0; size].into()),
        Err(DecodeError::TooLarge { size, limit })
    );
    assert_eq!(
        SignalResponse::from_bytes(vec![0; size].into()),
        Err(DecodeError::TooLarge { size, limit })
    );
}

#[test]
fn a_small_message_does_not_become_a_large_one() {
    let update = |participants: usize| {
        let mut bytes = Vec::new();
        crate::wire::put_block(&mut bytes, 5, &b"\x0a\x00".repeat(participants));
        SignalResponse::from_bytes(bytes.into())
    };
    assert!(update(limits::SIGNAL_FIELDS).is_ok());
    assert_eq!(
        update(limits::SIGNAL_FIELDS + 1),
        Err(DecodeError::TooManyFields {
            limit: limits::SIGNAL_FIELDS
        })
    );
    // A large token is text, not fields.
    let token = SignalResponse::from(Response::RefreshToken("\n\0".repeat(100)));
    assert_eq!(SignalResponse::from_bytes(token.to_bytes()).unwrap(), token);
}

#[test]
fn a_trickle_request_holds_a_candidate_as_json() {
    // Section 3.3.
    let candidate = |json: &str| {
        let trickle = TrickleRequest {
            candidate_init: json.into(),
            ..TrickleRequest::default()
        };
        trickle.candidate()
    };
    let line = "candidate:1 1 udp 1 127.0.0.1 7 typ host";
    for json in [
        format!(r#"{{"candidate":"{line}","sdpMid":"0","sdpMLineIndex":0}}"#),
        format!(
            r#"{{"candidate":"{line}","sdpMid":null,"sdpMLineIndex":null,"usernameFragment":"u","more":1}}"#
        ),
    ] {
        assert_eq!(candidate(&json).unwrap(), line);
    }
    for end in ["{}", r#"{"candidate":""}"#, r#"{"candidate":null}"#] {
        assert_eq!(candidate(end).unwrap(), "");
    }
    for bad in ["", "[", "[]", "5", r#"{"candidate":5}"#, &" ".repeat(5000)] {
        assert_eq!(
            candidate(bad),
            Err(CandidateError::Malformed { size: bad.len() })
        );
    }
}

#[test]
fn names_of_the_old_query_come_back() {
    for number in 0..=15 {
        let sdk = Sdk::try_from(number).unwrap();
        assert_eq!(Sdk::from_name(sdk.name()), sdk);
    }
    assert_eq!(Sdk::from_name("ios"), Sdk::Swift);
    assert_eq!(
        Capability::from_name(Capability::CompressionDeflateRaw.name()),
        Some(Capability::CompressionDeflateRaw)
    );
    assert_eq!(ClientInfo::default().sdk(), Sdk::Unknown);
}

proptest! {
    #[test]
    fn any_bytes_decode_or_do_not(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let _ = SignalRequest::from_bytes(bytes.clone());
        let _ = SignalResponse::from_bytes(bytes);
    }

    #[test]
    fn perturbed_messages_decode_or_do_not(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let message = SignalResponse::from(Response::Join(JoinResponse {
            room: Some(Room { name: "r".into(), ..Room::default() }),
            other_participants: vec![ParticipantInfo {
                identity: "i".into(),
                attributes: [("k".to_owned(), "v".to_owned())].into(),
                capabilities: vec![1, 2],
                ..ParticipantInfo::default()
            }; 2],
            ..JoinResponse::default()
        }));
        let mut bytes = message.to_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = SignalResponse::from_bytes(bytes.clone().into());
        bytes.truncate(cut.index(bytes.len()));
        let _ = SignalResponse::from_bytes(bytes.into());
    }

    #[test]
    fn no_candidate_panics(json in "\\PC{0,60}") {
        let _ = TrickleRequest { candidate_init: json, ..TrickleRequest::default() }.candidate();
    }
}
