//! Scripts of a server's messages; the sections are protocol.md's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lkstream_proto::participant::{Capability, ParticipantPermission};
use lkstream_proto::signal::{Pong, RoomUpdate, SessionDescription, TrickleRequest};

use super::*;

/// A session with a clock that only moves when told.
struct Script {
    session: Session,
    now: Instant,
    timeout: Option<Instant>,
}

impl Script {
    fn new() -> Self {
        let now = Instant::now();
        Script {
            session: Session::new(now, SessionConfig::default()),
            now,
            timeout: None,
        }
    }

    /// A session that has joined as alice into a room with bob, ping 5 s / 15 s.
    fn joined() -> Self {
        let mut script = Script::new();
        script.server(join());
        script
    }

    fn active() -> Self {
        let mut script = Script::joined();
        script.input(Input::TransportUp);
        script
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        self.session.handle_input(self.now, input).unwrap();
        self.drain()
    }

    fn server(&mut self, response: impl Into<SignalResponse>) -> Vec<Output> {
        self.input(Input::Frame(response.into().to_bytes()))
    }

    fn drain(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        loop {
            match self.session.poll_output() {
                Output::Timeout { at, .. } => {
                    self.timeout = at;
                    return outputs;
                }
                output => outputs.push(output),
            }
        }
    }

    /// Moves the clock, stopping at each timeout as a driver would.
    fn pass(&mut self, time: Duration) -> Vec<Output> {
        let end = self.now + time;
        let mut outputs = self.drain();
        while let Some(at) = self.timeout.filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            outputs.extend(self.drain());
        }
        self.now = end;
        outputs
    }
}

fn info(identity: &str, sid: &str, state: ParticipantState, version: u32) -> ParticipantInfo {
    ParticipantInfo {
        sid: sid.into(),
        identity: identity.into(),
        state: state.into(),
        version,
        ..ParticipantInfo::default()
    }
}

fn join() -> Response {
    Response::Join(JoinResponse {
        room: Some(RoomInfo {
            sid: "RM_1".into(),
            name: "den".into(),
            ..RoomInfo::default()
        }),
        participant: Some(info("alice", "PA_alice", ParticipantState::Joined, 1)),
        other_participants: vec![info("bob", "PA_bob", ParticipantState::Active, 3)],
        ping_interval: 5,
        ping_timeout: 15,
        server_info: Some(ServerInfo {
            version: "1.13.5".into(),
            ..ServerInfo::default()
        }),
        ..JoinResponse::default()
    })
}

fn update(participants: Vec<ParticipantInfo>) -> Response {
    Response::Update(ParticipantUpdate { participants })
}

fn leave(reason: DisconnectReason, action: LeaveAction) -> LeaveRequest {
    LeaveRequest {
        reason: reason.into(),
        action: action.into(),
        ..LeaveRequest::default()
    }
}

/// Events in short: `joined bob`, `left bob`, …
fn words(outputs: &[Output]) -> Vec<String> {
    outputs
        .iter()
        .map(|output| match output {
            Output::Send(SignalRequest {
                message: Some(Request::PingReq(_)),
            }) => "ping".into(),
            Output::Send(SignalRequest {
                message: Some(Request::Leave(_)),
            }) => "leave".into(),
            Output::Send(other) => panic!("{other:?}"),
            Output::Event(Event::Joined(p)) => format!("we are {}", p.identity()),
            Output::Event(Event::ParticipantJoined(p)) => format!("joined {}", p.identity()),
            Output::Event(Event::ParticipantActive(p)) => format!("active {}", p.identity()),
            Output::Event(Event::ParticipantUpdated(p)) => format!("updated {}", p.identity()),
            Output::Event(Event::ParticipantLeft(p)) => format!("left {}", p.identity()),
            Output::Event(Event::Answer { .. }) => "answer".into(),
            Output::Event(Event::Candidate(candidate)) => format!("candidate {candidate}"),
            Output::Event(Event::Ended(end)) => format!("ended {end:?}"),
            Output::Timeout { .. } => unreachable!(),
        })
        .collect()
}

fn end_of(outputs: &[Output]) -> End {
    match outputs.last() {
        Some(Output::Event(Event::Ended(end))) => end.clone(),
        other => panic!("not ended but {other:?}"),
    }
}

#[test]
fn a_join_is_answered_with_a_ping_at_once() {
    // §2.4: the Rust family pings before anything else; §2.8: join, then the answer.
    let mut script = Script::new();
    assert_eq!(words(&script.server(join())), ["we are alice", "ping"]);
    assert_eq!(script.session.room_name(), "den");
    assert_eq!(script.session.room_sid(), "RM_1");
    assert_eq!(script.session.server().version, "1.13.5");
    assert_eq!(script.session.others().count(), 1);
    assert!(script.session.other("bob").unwrap().is_active());
    let answer = SessionDescription {
        r#type: "answer".into(),
        sdp: "v=0".into(),
        id: 1,
        ..Default::default()
    };
    let outputs = script.server(Response::Answer(answer));
    assert_eq!(
        outputs,
        [Output::Event(Event::Answer { sdp: "v=0".into() })]
    );
}

#[test]
fn candidates_are_taken_out_of_their_json() {
    // §3.3
    let mut script = Script::joined();
    let trickle = |init: &str| {
        Response::Trickle(TrickleRequest {
            candidate_init: init.into(),
            ..TrickleRequest::default()
        })
    };
    let outputs = script.server(trickle(r#"{"candidate":"candidate:1 1 udp 1 127.0.0.1 7882 typ host","sdpMid":"0","sdpMLineIndex":0}"#));
    assert_eq!(
        words(&outputs),
        ["candidate candidate:1 1 udp 1 127.0.0.1 7882 typ host"]
    );
    for bad in ["", "[]", r#"{"candidate":7}"#, "{\"candidate\":"] {
        let frame = SignalResponse::from(trickle(bad)).to_bytes();
        assert_eq!(
            script.session.handle_input(script.now, Input::Frame(frame)),
            Err(Fault::Candidate),
            "{bad}"
        );
    }
    assert_eq!(script.session.faults(), 4);
}

#[test]
fn no_join_response_within_5_s_ends_it() {
    // §2.12
    let mut script = Script::new();
    assert_eq!(
        words(&script.pass(Duration::from_millis(4_999))),
        Vec::<String>::new()
    );
    let limit = Duration::from_secs(5);
    assert_eq!(
        end_of(&script.pass(Duration::from_millis(1))),
        End::JoinTimedOut { limit }
    );
    assert_eq!(script.timeout, None);
    // Nothing comes after the end.
    assert_eq!(script.server(join()), []);
}

#[test]
fn no_data_connection_within_15_s_ends_it() {
    // §3.7
    let mut script = Script::joined();
    script.pass(Duration::from_secs(14));
    script.input(Input::Alive);
    let limit = Duration::from_secs(15);
    assert_eq!(
        end_of(&script.pass(Duration::from_secs(1))),
        End::TransportTimedOut { limit }
    );

    let mut script = Script::joined();
    script.input(Input::TransportUp);
    script.pass(Duration::from_secs(14));
    script.input(Input::Alive);
    assert!(
        !words(&script.pass(Duration::from_secs(2)))
            .iter()
            .any(|word| word.starts_with("ended"))
    );
}

#[test]
fn messages_before_the_join_are_skipped_and_a_leave_ends_it() {
    // §2.12
    let mut script = Script::new();
    let early = SignalResponse::from(update(Vec::new())).to_bytes();
    assert_eq!(
        script.session.handle_input(script.now, Input::Frame(early)),
        Err(Fault::BeforeJoin)
    );
    let outputs = script.server(Response::Leave(leave(
        DisconnectReason::JoinFailure,
        LeaveAction::Disconnect,
    )));
    assert_eq!(
        end_of(&outputs),
        End::ByServer {
            reason: DisconnectReason::JoinFailure,
            advice: Advice::Stop
        }
    );
}

#[test]
fn a_join_that_does_not_say_who_we_are_is_no_join() {
    for participant in [None, Some(ParticipantInfo::default())] {
        let mut script = Script::new();
        let outputs = script.server(Response::Join(JoinResponse {
            participant,
            ..JoinResponse::default()
        }));
        assert!(matches!(end_of(&outputs), End::BadJoin { .. }));
    }
}

#[test]
fn pings_go_out_at_the_interval_and_silence_ends_it() {
    // §2.11
    let mut script = Script::active();
    assert_eq!(
        words(&script.pass(Duration::from_secs(14))),
        ["ping", "ping"]
    );
    let limit = Duration::from_secs(15);
    assert_eq!(
        end_of(&script.pass(Duration::from_secs(1))),
        End::Silent { limit }
    );
}

#[test]
fn time_in_which_it_was_not_run_is_no_silence() {
    // §2.11; a suspended process, or a machine too busy to run it.
    let mut script = Script::active();
    script.now += Duration::from_secs(3600);
    script.session.handle_timeout(script.now);
    let outputs = script.drain();
    assert_eq!(words(&outputs), ["ping"]);
    // From here on, silence counts.
    let outputs = script.pass(Duration::from_secs(9));
    assert_eq!(words(&outputs), ["ping"]);
    let limit = Duration::from_secs(15);
    assert_eq!(
        end_of(&script.pass(Duration::from_secs(1))),
        End::Silent { limit }
    );
}

#[test]
fn anything_heard_puts_the_silence_off() {
    // §2.11
    let mut script = Script::active();
    for i in 0..20 {
        let outputs = script.pass(Duration::from_secs(10));
        assert_eq!(words(&outputs), ["ping", "ping"], "round {i}");
        match i % 3 {
            0 => drop(script.server(Response::RefreshToken("next".into()))),
            1 => drop(script.input(Input::Alive)),
            // What does not decode shows life as well.
            _ => drop(
                script
                    .session
                    .handle_input(script.now, Input::Frame(Bytes::from_static(&[0xff; 3]))),
            ),
        }
    }
    assert_eq!(script.session.token(), Some("next"));
}

#[test]
fn nonsense_intervals_get_defaults() {
    // §2.7: ping_interval > 0, ping_timeout > ping_interval.
    let mut script = Script::new();
    let Response::Join(mut welcome) = join() else {
        unreachable!()
    };
    welcome.ping_interval = 0;
    welcome.ping_timeout = -3;
    script.server(Response::Join(welcome));
    script.input(Input::TransportUp);
    assert_eq!(
        words(&script.pass(Duration::from_millis(14_999))),
        ["ping", "ping"]
    );
}

#[test]
fn the_round_trip_goes_into_the_next_ping() {
    // §2.11
    let mut script = Script::active();
    let outputs = script.pass(Duration::from_secs(5));
    let [
        Output::Send(SignalRequest {
            message: Some(Request::PingReq(ping)),
        }),
    ] = &outputs[..]
    else {
        panic!("{outputs:?}");
    };
    script.pass(Duration::from_millis(40));
    script.server(Response::PongResp(Pong {
        last_ping_timestamp: ping.timestamp,
        timestamp: 1,
    }));
    let outputs = script.pass(Duration::from_secs(5));
    let [
        Output::Send(SignalRequest {
            message: Some(Request::PingReq(ping)),
        }),
    ] = &outputs[..]
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(ping.rtt, 40);
}

#[test]
fn participants_come_change_and_go() {
    // §2.9
    let mut script = Script::active();
    let outputs = script.server(update(vec![info(
        "carl",
        "PA_c",
        ParticipantState::Joined,
        1,
    )]));
    assert_eq!(words(&outputs), ["joined carl"]);
    let outputs = script.server(update(vec![info(
        "carl",
        "PA_c",
        ParticipantState::Active,
        2,
    )]));
    assert_eq!(words(&outputs), ["active carl"]);
    let mut renamed = info("carl", "PA_c", ParticipantState::Active, 3);
    renamed.name = "Carl".into();
    renamed.capabilities = vec![Capability::CompressionDeflateRaw.into()];
    assert_eq!(
        words(&script.server(update(vec![renamed.clone()]))),
        ["updated carl"]
    );
    assert!(script.session.other("carl").unwrap().inflates());
    assert_eq!(
        words(&script.server(update(vec![renamed]))),
        Vec::<String>::new()
    );
    let outputs = script.server(update(vec![info(
        "carl",
        "PA_c",
        ParticipantState::Disconnected,
        4,
    )]));
    assert_eq!(words(&outputs), ["left carl"]);
    assert_eq!(script.session.others().count(), 1);
    // Somebody who is active at once is both.
    let outputs = script.server(update(vec![info(
        "dora",
        "PA_d",
        ParticipantState::Active,
        1,
    )]));
    assert_eq!(words(&outputs), ["joined dora", "active dora"]);
}

#[test]
fn older_versions_of_the_same_session_are_ignored() {
    // §2.9
    let mut script = Script::active();
    let mut old = info("bob", "PA_bob", ParticipantState::Joined, 2);
    old.name = "old".into();
    assert_eq!(
        words(&script.server(update(vec![old]))),
        Vec::<String>::new()
    );
    assert_eq!(script.session.other("bob").unwrap().name(), "");
}

#[test]
fn a_new_sid_is_a_leave_and_a_join() {
    // §2.9: the old session's end may come late, or never.
    let mut script = Script::active();
    let outputs = script.server(update(vec![info(
        "bob",
        "PA_new",
        ParticipantState::Joined,
        1,
    )]));
    assert_eq!(words(&outputs), ["left bob", "joined bob"]);
    let outputs = script.server(update(vec![info(
        "bob",
        "PA_bob",
        ParticipantState::Disconnected,
        9,
    )]));
    assert_eq!(words(&outputs), Vec::<String>::new());
    assert_eq!(script.session.other("bob").unwrap().sid(), &"PA_new");
}

#[test]
fn the_end_of_somebody_unknown_is_no_news() {
    let mut script = Script::active();
    let outputs = script.server(update(vec![
        info("eve", "PA_e", ParticipantState::Disconnected, 9),
        info("", "PA_x", ParticipantState::Active, 9),
    ]));
    assert_eq!(words(&outputs), Vec::<String>::new());
}

#[test]
fn our_own_update_brings_permissions() {
    // §2.9: it may be sent to us too; §1.5: permissions change while we are in.
    let mut script = Script::active();
    assert!(script.session.can_publish_data());
    let mut own = info("alice", "PA_alice", ParticipantState::Active, 2);
    own.permission = Some(ParticipantPermission {
        can_publish_data: false,
        ..ParticipantPermission::default()
    });
    assert_eq!(words(&script.server(update(vec![own]))), ["active alice"]);
    assert!(!script.session.can_publish_data());
    // An older session of ours is none of our business.
    let outputs = script.server(update(vec![info(
        "alice",
        "PA_before",
        ParticipantState::Disconnected,
        9,
    )]));
    assert_eq!(words(&outputs), Vec::<String>::new());
    assert!(script.session.local().unwrap().is_active());
}

#[test]
fn a_leave_of_the_server_carries_reason_and_advice() {
    // §2.13
    let cases = [
        (
            leave(DisconnectReason::ServerShutdown, LeaveAction::Disconnect),
            Advice::Stop,
        ),
        (
            leave(DisconnectReason::Migration, LeaveAction::Resume),
            Advice::Resume,
        ),
        (
            leave(DisconnectReason::StateMismatch, LeaveAction::Reconnect),
            Advice::Rejoin,
        ),
        (
            LeaveRequest {
                can_reconnect: true,
                ..leave(DisconnectReason::StateMismatch, LeaveAction::Disconnect)
            },
            Advice::Rejoin,
        ),
        (
            LeaveRequest {
                reason: 99,
                action: 99,
                ..LeaveRequest::default()
            },
            Advice::Stop,
        ),
    ];
    for (message, advice) in cases {
        let mut script = Script::active();
        let reason =
            DisconnectReason::try_from(message.reason).unwrap_or(DisconnectReason::Unknown);
        let outputs = script.server(Response::Leave(message));
        assert_eq!(end_of(&outputs), End::ByServer { reason, advice });
    }
}

#[test]
fn leaving_says_so_first() {
    // §2.13
    let mut script = Script::active();
    let outputs = script.input(Input::Leave);
    assert_eq!(words(&outputs), ["leave", "ended Left"]);
    let Output::Send(SignalRequest {
        message: Some(Request::Leave(request)),
    }) = &outputs[0]
    else {
        panic!()
    };
    assert_eq!(request.reason, DisconnectReason::ClientInitiated as i32);
    assert_eq!(script.input(Input::Leave), []);
}

#[test]
fn a_lost_connection_ends_it_with_the_cause() {
    let cause = || "reset".to_owned();
    let mut script = Script::active();
    assert_eq!(
        end_of(&script.input(Input::SignallingLost { cause: cause() })),
        End::SignallingLost { cause: cause() }
    );
    let mut script = Script::active();
    assert_eq!(script.input(Input::TransportLost { cause: cause() }), []);
    assert_eq!(
        script.input(Input::TransportLost {
            cause: "later".into()
        }),
        []
    );
    assert_eq!(
        end_of(&script.pass(LEAVE_GRACE)),
        End::TransportLost { cause: cause() }
    );
}

#[test]
fn a_leave_explains_the_lost_data_connection() {
    // §2.13: a server that sends us away closes both connections in any order.
    let mut script = Script::active();
    script.input(Input::TransportLost {
        cause: "closed".into(),
    });
    script.pass(LEAVE_GRACE / 2);
    let reason = DisconnectReason::ServerShutdown;
    let outputs = script.server(Response::Leave(leave(reason, LeaveAction::Disconnect)));
    let advice = Advice::Stop;
    assert_eq!(end_of(&outputs), End::ByServer { reason, advice });
}

#[test]
fn a_move_to_another_room_replaces_everybody() {
    // §2.17, §10.2
    let mut script = Script::active();
    let outputs = script.server(Response::RoomMoved(RoomMovedResponse {
        room: Some(RoomInfo {
            name: "attic".into(),
            ..RoomInfo::default()
        }),
        token: "moved".into(),
        participant: Some(info("alice", "PA_alice2", ParticipantState::Active, 1)),
        other_participants: vec![info("zoe", "PA_z", ParticipantState::Active, 1)],
    }));
    assert_eq!(words(&outputs), ["left bob", "joined zoe", "active zoe"]);
    assert_eq!(script.session.room_name(), "attic");
    assert_eq!(script.session.token(), Some("moved"));
    assert_eq!(script.session.local().unwrap().sid(), &"PA_alice2");
}

#[test]
fn garbage_and_unknown_messages_are_counted_or_ignored() {
    let mut script = Script::active();
    for frame in [&b"\xff\xff\xff"[..], b"\x0a\x05abc"] {
        let result = script
            .session
            .handle_input(script.now, Input::Frame(Bytes::from_static(frame)));
        assert_eq!(result, Err(Fault::Malformed { size: frame.len() }));
    }
    assert_eq!(script.session.faults(), 2);
    // §2.6: numbers that this client does not know, a second join, an offer in single mode.
    assert_eq!(
        script.input(Input::Frame(Bytes::from_static(b"\xfa\x3e\x00"))),
        []
    );
    assert_eq!(script.input(Input::Frame(Bytes::new())), []);
    assert_eq!(script.server(join()), []);
    assert_eq!(
        script.server(Response::Offer(SessionDescription::default())),
        []
    );
    assert_eq!(
        script.server(Response::RoomUpdate(RoomUpdate { room: None })),
        []
    );
    assert_eq!(script.session.room_name(), "den");
}

/// Participants with large metadata are kept without it above a limit, and the room is left above a second one.
#[test]
fn participants_are_bounded_in_memory() {
    let mut script = Script::active();
    let info = |number: usize, metadata: &str| ParticipantInfo {
        sid: format!("PA_{number}"),
        identity: format!("guest{number}"),
        metadata: metadata.to_owned(),
        state: ParticipantState::Joined.into(),
        ..ParticipantInfo::default()
    };
    let update = |participants| Response::Update(ParticipantUpdate { participants });
    let metadata = "x".repeat(1 << 20);
    for number in 0..70 {
        script.server(update(vec![info(number, &metadata)]));
    }
    let held: usize = script.session.others().map(Participant::footprint).sum();
    assert!(held <= others::PARTICIPANTS_BYTES, "{held}");
    let known = |script: &Script, number: usize| {
        let identity = format!("guest{number}");
        script.session.other(&identity).cloned().unwrap()
    };
    assert!(!known(&script, 0).is_shortened());
    assert!(known(&script, 69).is_shortened());
    assert_eq!(known(&script, 69).metadata(), "");

    // Room that is given back is used again.
    let mut gone = info(0, "");
    gone.state = ParticipantState::Disconnected.into();
    script.server(update(vec![gone]));
    let mut again = info(69, &metadata);
    again.version = 1;
    script.server(update(vec![again]));
    assert!(!known(&script, 69).is_shortened());

    // Identities can't be left out.
    let mut end = None;
    for number in 100..1000 {
        let mut long = info(number, "");
        long.identity = format!("{number}{}", "y".repeat(1 << 20));
        let outputs = script.server(update(vec![long]));
        end = outputs.into_iter().find_map(|output| match output {
            Output::Event(Event::Ended(end)) => Some(end),
            _ => None,
        });
        if end.is_some() {
            break;
        }
    }
    assert!(matches!(end, Some(End::RoomTooLarge { .. })), "{end:?}");
    let held: usize = script.session.others().map(Participant::footprint).sum();
    assert!(held <= others::PARTICIPANTS_BYTES_AT_MOST, "{held}");
}

#[test]
fn the_token_is_not_in_the_debug_output() {
    let mut script = Script::active();
    script.server(Response::RefreshToken("sesame".into()));
    assert!(!format!("{:?}", script.session).contains("sesame"));
}
