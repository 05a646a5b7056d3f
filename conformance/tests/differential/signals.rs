//! `SignalRequest`, `SignalResponse` and everything in them.

#![allow(deprecated)]

use bytes::Bytes;
use livekit_protocol as official;
use lkstream_proto::{participant, room, signal as ours};
use prost::Message;

use crate::pair::{Draw, Pair, both, check};

fn description(draw: &mut Draw) -> Pair<official::SessionDescription, ours::SessionDescription> {
    both!(
        official::SessionDescription,
        ours::SessionDescription {
            r#type: draw.text(),
            sdp: draw.text(),
            id: draw.small(),
            mid_to_track_id: draw.map(),
        }
    )
}

fn trickle(draw: &mut Draw) -> Pair<official::TrickleRequest, ours::TrickleRequest> {
    both!(
        official::TrickleRequest,
        ours::TrickleRequest {
            candidate_init: draw.text(),
            target: draw.variant(2),
            r#final: draw.flag(),
        }
    )
}

fn permission(
    draw: &mut Draw,
) -> Pair<official::ParticipantPermission, participant::ParticipantPermission> {
    both!(
        official::ParticipantPermission,
        participant::ParticipantPermission {
            can_subscribe: draw.flag(),
            can_publish: draw.flag(),
            can_publish_data: draw.flag(),
            hidden: draw.flag(),
            recorder: draw.flag(),
            can_publish_sources: draw.some(|draw| draw.variant(5)),
            can_update_metadata: draw.flag(),
            agent: draw.flag(),
            can_subscribe_metrics: draw.flag(),
            can_manage_agent_session: draw.flag(),
        }
    )
}

fn info(draw: &mut Draw) -> Pair<official::ParticipantInfo, participant::ParticipantInfo> {
    both!(
        official::ParticipantInfo,
        participant::ParticipantInfo {
            sid: draw.text(),
            identity: draw.text(),
            state: draw.variant(4),
            metadata: draw.text(),
            joined_at: draw.signed(),
            name: draw.text(),
            version: draw.small(),
            permission: draw.maybe(permission),
            region: draw.text(),
            is_publisher: draw.flag(),
            kind: draw.variant(8),
            attributes: draw.map(),
            disconnect_reason: draw.variant(17),
            joined_at_ms: draw.signed(),
            kind_details: draw.some(|draw| draw.variant(6)),
            client_protocol: draw.int(),
            capabilities: draw.some(|draw| draw.variant(3)),
        }
    )
}

fn client(draw: &mut Draw) -> Pair<official::ClientInfo, participant::ClientInfo> {
    both!(
        official::ClientInfo,
        participant::ClientInfo {
            sdk: draw.variant(16),
            version: draw.text(),
            protocol: draw.int(),
            os: draw.text(),
            os_version: draw.text(),
            device_model: draw.text(),
            browser: draw.text(),
            browser_version: draw.text(),
            address: draw.text(),
            network: draw.text(),
            other_sdks: draw.text(),
            client_protocol: draw.int(),
            capabilities: draw.some(|draw| draw.variant(3)),
        }
    )
}

fn room(draw: &mut Draw) -> Pair<official::Room, room::Room> {
    both!(
        official::Room,
        room::Room {
            sid: draw.text(),
            name: draw.text(),
            empty_timeout: draw.small(),
            max_participants: draw.small(),
            creation_time: draw.signed(),
            metadata: draw.text(),
            num_participants: draw.small(),
            active_recording: draw.flag(),
            num_publishers: draw.small(),
            departure_timeout: draw.small(),
            creation_time_ms: draw.signed(),
        }
    )
}

fn server(draw: &mut Draw) -> Pair<official::ServerInfo, room::ServerInfo> {
    both!(
        official::ServerInfo,
        room::ServerInfo {
            edition: draw.variant(2),
            version: draw.text(),
            protocol: draw.int(),
            region: draw.text(),
            node_id: draw.text(),
            debug_info: draw.text(),
            agent_protocol: draw.int(),
        }
    )
}

fn ice_server(draw: &mut Draw) -> Pair<official::IceServer, ours::IceServer> {
    both!(
        official::IceServer,
        ours::IceServer {
            urls: draw.some(Draw::text),
            username: draw.text(),
            credential: draw.text(),
        }
    )
}

fn join(draw: &mut Draw) -> Pair<official::JoinResponse, ours::JoinResponse> {
    both!(
        official::JoinResponse,
        ours::JoinResponse {
            room: draw.maybe(room),
            participant: draw.maybe(info),
            other_participants: draw.some(info),
            server_version: draw.text(),
            ice_servers: draw.some(ice_server),
            subscriber_primary: draw.flag(),
            alternative_url: draw.text(),
            server_region: draw.text(),
            ping_timeout: draw.int(),
            ping_interval: draw.int(),
            server_info: draw.maybe(server),
            sif_trailer: draw.blob(),
            fast_publish: draw.flag(),
        }
    )
}

fn region(draw: &mut Draw) -> Pair<official::RegionInfo, ours::RegionInfo> {
    both!(
        official::RegionInfo,
        ours::RegionInfo {
            region: draw.text(),
            url: draw.text(),
            distance: draw.signed(),
        }
    )
}

fn regions(draw: &mut Draw) -> Pair<official::RegionSettings, ours::RegionSettings> {
    both!(
        official::RegionSettings,
        ours::RegionSettings {
            regions: draw.some(region)
        }
    )
}

fn leave(draw: &mut Draw) -> Pair<official::LeaveRequest, ours::LeaveRequest> {
    both!(
        official::LeaveRequest,
        ours::LeaveRequest {
            can_reconnect: draw.flag(),
            reason: draw.variant(17),
            action: draw.variant(3),
            regions: draw.maybe(regions),
        }
    )
}

fn reconnect(draw: &mut Draw) -> Pair<official::ReconnectResponse, ours::ReconnectResponse> {
    both!(
        official::ReconnectResponse,
        ours::ReconnectResponse {
            ice_servers: draw.some(ice_server),
            server_info: draw.maybe(server),
            last_message_seq: draw.small(),
        }
    )
}

fn channel(draw: &mut Draw) -> Pair<official::DataChannelInfo, ours::DataChannelInfo> {
    both!(
        official::DataChannelInfo,
        ours::DataChannelInfo {
            label: draw.text(),
            id: draw.small(),
            target: draw.variant(2),
        }
    )
}

fn receive_state(
    draw: &mut Draw,
) -> Pair<official::DataChannelReceiveState, ours::DataChannelReceiveState> {
    both!(
        official::DataChannelReceiveState,
        ours::DataChannelReceiveState {
            publisher_sid: draw.text(),
            last_seq: draw.small(),
        }
    )
}

fn sync_state(draw: &mut Draw) -> Pair<official::SyncState, ours::SyncState> {
    both!(
        official::SyncState,
        ours::SyncState {
            answer: draw.maybe(description),
            data_channels: draw.some(channel),
            offer: draw.maybe(description),
            datachannel_receive_states: draw.some(receive_state),
        }
    )
}

fn metadata(draw: &mut Draw) -> Pair<official::UpdateParticipantMetadata, ours::UpdateMetadata> {
    both!(
        official::UpdateParticipantMetadata,
        ours::UpdateMetadata {
            metadata: draw.text(),
            name: draw.text(),
            attributes: draw.map(),
            request_id: draw.small(),
        }
    )
}

/// A request that we keep encoded.
fn add_track(draw: &mut Draw) -> Pair<official::AddTrackRequest, Bytes> {
    let request = official::AddTrackRequest {
        cid: draw.text(),
        name: draw.text(),
        width: draw.small(),
        ..Default::default()
    };
    let encoded = Bytes::from(request.encode_to_vec());
    Pair::new(request, encoded)
}

fn data_track(draw: &mut Draw) -> Pair<official::PublishDataTrackRequest, Bytes> {
    let request = official::PublishDataTrackRequest {
        pub_handle: draw.small(),
        name: draw.text(),
        ..Default::default()
    };
    let encoded = Bytes::from(request.encode_to_vec());
    Pair::new(request, encoded)
}

fn request_response(draw: &mut Draw) -> Pair<official::RequestResponse, ours::RequestResponse> {
    use official::request_response::Request;
    let request = draw.maybe(|draw| match draw.below(4) {
        0 => trickle(draw).map(Request::Trickle, ours::Echo::Trickle),
        1 => add_track(draw).map(Request::AddTrack, ours::Echo::AddTrack),
        2 => metadata(draw).map(Request::UpdateMetadata, ours::Echo::UpdateMetadata),
        _ => data_track(draw).map(Request::PublishDataTrack, ours::Echo::PublishDataTrack),
    });
    both!(
        official::RequestResponse,
        ours::RequestResponse {
            request_id: draw.small(),
            reason: draw.variant(12),
            message: draw.text(),
            request: request,
        }
    )
}

fn scenario(draw: &mut Draw) -> Pair<official::simulate_scenario::Scenario, ours::Scenario> {
    use official::simulate_scenario::Scenario;
    let flag = draw.flag();
    match draw.below(6) {
        0 => Pair::new(
            Scenario::NodeFailure(flag),
            ours::Scenario::NodeFailure(flag),
        ),
        1 => Pair::new(Scenario::Migration(flag), ours::Scenario::Migration(flag)),
        2 => Pair::new(
            Scenario::ServerLeave(flag),
            ours::Scenario::ServerLeave(flag),
        ),
        3 => Pair::new(
            Scenario::DisconnectSignalOnResume(flag),
            ours::Scenario::DisconnectSignalOnResume(flag),
        ),
        4 => Pair::new(
            Scenario::DisconnectSignalOnResumeNoMessages(flag),
            ours::Scenario::DisconnectSignalOnResumeNoMessages(flag),
        ),
        _ => Pair::new(
            Scenario::LeaveRequestFullReconnect(flag),
            ours::Scenario::LeaveRequestFullReconnect(flag),
        ),
    }
}

fn request(draw: &mut Draw) -> Pair<official::SignalRequest, ours::SignalRequest> {
    use official::signal_request::Message as Theirs;
    use ours::Request;
    let message = match draw.below(12) {
        0 => description(draw).map(Theirs::Offer, Request::Offer),
        1 => description(draw).map(Theirs::Answer, Request::Answer),
        2 => trickle(draw).map(Theirs::Trickle, Request::Trickle),
        3 => add_track(draw).map(Theirs::AddTrack, Request::AddTrack),
        4 => leave(draw).map(Theirs::Leave, Request::Leave),
        5 => both!(
            official::SubscriptionPermission,
            ours::SubscriptionPermission {
                all_participants: draw.flag(),
            }
        )
        .map(
            Theirs::SubscriptionPermission,
            Request::SubscriptionPermission,
        ),
        6 => sync_state(draw).map(Theirs::SyncState, Request::SyncState),
        7 => both!(
            official::SimulateScenario,
            ours::SimulateScenario {
                scenario: draw.maybe(scenario),
            }
        )
        .map(Theirs::Simulate, Request::Simulate),
        8 => {
            let time = draw.signed();
            Pair::new(Theirs::Ping(time), Request::Ping(time))
        }
        9 => metadata(draw).map(Theirs::UpdateMetadata, Request::UpdateMetadata),
        10 => both!(
            official::Ping,
            ours::Ping {
                timestamp: draw.signed(),
                rtt: draw.signed()
            }
        )
        .map(Theirs::PingReq, Request::PingReq),
        _ => data_track(draw).map(Theirs::PublishDataTrackRequest, Request::PublishDataTrack),
    };
    both!(
        official::SignalRequest,
        ours::SignalRequest {
            message: Some(message)
        }
    )
}

fn response(draw: &mut Draw) -> Pair<official::SignalResponse, ours::SignalResponse> {
    use official::signal_response::Message as Theirs;
    use ours::Response;
    let message = match draw.below(14) {
        0 => join(draw).map(Theirs::Join, Response::Join),
        1 => description(draw).map(Theirs::Answer, Response::Answer),
        2 => description(draw).map(Theirs::Offer, Response::Offer),
        3 => trickle(draw).map(Theirs::Trickle, Response::Trickle),
        4 => both!(
            official::ParticipantUpdate,
            ours::ParticipantUpdate {
                participants: draw.some(info),
            }
        )
        .map(Theirs::Update, Response::Update),
        5 => leave(draw).map(Theirs::Leave, Response::Leave),
        6 => both!(
            official::RoomUpdate,
            ours::RoomUpdate {
                room: draw.maybe(room)
            }
        )
        .map(Theirs::RoomUpdate, Response::RoomUpdate),
        7 => {
            let token = draw.text();
            Pair::new(
                Theirs::RefreshToken(token.clone()),
                Response::RefreshToken(token),
            )
        }
        8 => {
            let time = draw.signed();
            Pair::new(Theirs::Pong(time), Response::Pong(time))
        }
        9 => reconnect(draw).map(Theirs::Reconnect, Response::Reconnect),
        10 => both!(
            official::Pong,
            ours::Pong {
                last_ping_timestamp: draw.signed(),
                timestamp: draw.signed(),
            }
        )
        .map(Theirs::PongResp, Response::PongResp),
        11 => request_response(draw).map(Theirs::RequestResponse, Response::RequestResponse),
        12 => both!(
            official::RoomMovedResponse,
            ours::RoomMovedResponse {
                room: draw.maybe(room),
                token: draw.text(),
                participant: draw.maybe(info),
                other_participants: draw.some(info),
            }
        )
        .map(Theirs::RoomMoved, Response::RoomMoved),
        _ => both!(
            official::MediaSectionsRequirement,
            ours::MediaSectionsRequirement {
                num_audios: draw.small(),
                num_videos: draw.small(),
            }
        )
        .map(
            Theirs::MediaSectionsRequirement,
            Response::MediaSectionsRequirement,
        ),
    };
    both!(
        official::SignalResponse,
        ours::SignalResponse {
            message: Some(message)
        }
    )
}

#[test]
fn signal_requests_are_the_same_in_both_schemas() {
    for seed in 0..2_000 {
        check(seed, &request(&mut Draw::new(seed)));
    }
}

#[test]
fn signal_responses_are_the_same_in_both_schemas() {
    for seed in 0..3_000 {
        check(seed, &response(&mut Draw::new(seed)));
    }
}

#[test]
fn client_infos_are_the_same_in_both_schemas() {
    for seed in 0..500 {
        check(seed, &client(&mut Draw::new(seed)));
    }
}

/// Messages that a data-only server or client ignores decode as nothing, never as an error.
#[test]
fn what_we_leave_out_is_ignored() {
    let mute = official::SignalRequest {
        message: Some(official::signal_request::Message::Mute(
            official::MuteTrackRequest {
                sid: "TR_x".into(),
                muted: true,
            },
        )),
    };
    let read = ours::SignalRequest::from_bytes(mute.encode_to_vec().into()).unwrap();
    assert_eq!(read.message, None);

    let quality = official::SignalResponse {
        message: Some(official::signal_response::Message::ConnectionQuality(
            official::ConnectionQualityUpdate {
                updates: vec![Default::default()],
            },
        )),
    };
    let read = ours::SignalResponse::from_bytes(quality.encode_to_vec().into()).unwrap();
    assert_eq!(read.message, None);
}
