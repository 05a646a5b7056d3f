//! Remote calls: each rule of protocol.md §6, between two engines on virtual time and against a
//! scripted peer.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lkstream_engine::{
    CallId, CallOptions, Capabilities, Config, Content, Engine, Event, Invocation, Lost,
    OpenOptions, RpcCode, RpcError, Rule,
};
use lkstream_proto::packet::{
    self, Channel, DataPacket, Header, RpcAck, RpcRequest, RpcResponse, RpcResult, TextHeader,
    Value,
};

use crate::script::{attributes, chunk, noise, trailer, trailer_with};

const NOW: SystemTime = UNIX_EPOCH;

/// alice, who calls, and bob, who serves `echo`; a server in between that delivers by destination.
struct Pair {
    alice: Engine,
    bob: Engine,
    now: Instant,
    invoked: Vec<Invocation>,
    ended: Vec<(CallId, Result<String, RpcError>)>,
    /// Every packet delivered, oldest first.
    wire: Vec<DataPacket>,
}

impl Pair {
    /// Of clients of this generation.
    fn new(client_protocol: i32) -> Pair {
        Pair::with(client_protocol, Config::default())
    }

    fn with(client_protocol: i32, config: Config) -> Pair {
        let now = Instant::now();
        let mut alice = Engine::new(config.clone(), 1);
        let mut bob = Engine::new(config, 2);
        alice.set_local(now, "alice".into(), "PA_alice".into());
        bob.set_local(now, "bob".into(), "PA_bob".into());
        let capabilities = Capabilities {
            client_protocol,
            inflates: true,
        };
        alice.participant("bob".into(), capabilities);
        bob.participant("alice".into(), capabilities);
        bob.serve("echo");
        Pair {
            alice,
            bob,
            now,
            invoked: Vec::new(),
            ended: Vec::new(),
            wire: Vec::new(),
        }
    }

    fn options(payload: &str) -> CallOptions {
        CallOptions::new("bob", "echo", payload, NOW)
    }

    fn call(&mut self, payload: &str) -> CallId {
        self.alice.call(self.now, Pair::options(payload)).unwrap()
    }

    /// Delivers everything there is, both ways.
    fn pump(&mut self) {
        loop {
            self.drain();
            let sent = self.alice.poll_packet();
            let replied = self.bob.poll_packet();
            if sent.is_none() && replied.is_none() {
                return;
            }
            if let Some(packet) = sent {
                self.note(&packet.bytes, "bob");
                let _ = self
                    .bob
                    .handle_packet(self.now, packet.channel, packet.bytes);
            }
            if let Some(packet) = replied {
                self.note(&packet.bytes, "alice");
                let _ = self
                    .alice
                    .handle_packet(self.now, packet.channel, packet.bytes);
            }
        }
    }

    fn note(&mut self, bytes: &bytes::Bytes, to: &str) {
        let packet = DataPacket::from_bytes(bytes.clone()).unwrap();
        assert_eq!(packet.destination_identities, [to], "calls are targeted");
        self.wire.push(packet);
    }

    fn drain(&mut self) {
        while let Some(event) = self.bob.poll_event() {
            match event {
                Event::Invoked(invocation) => self.invoked.push(invocation),
                Event::Departed(_) => {}
                other => panic!("bob: {other:?}"),
            }
        }
        while let Some(event) = self.alice.poll_event() {
            match event {
                Event::CallEnded { id, result } => self.ended.push((id, result)),
                Event::Departed(_) => {}
                other => panic!("alice: {other:?}"),
            }
        }
    }

    fn invocation(&mut self) -> Invocation {
        assert_eq!(self.invoked.len(), 1);
        self.invoked.remove(0)
    }

    fn answer(&mut self, result: Result<String, RpcError>) {
        let id = self.invocation().id;
        self.bob.respond(id, result, NOW).unwrap();
    }

    fn end(&mut self) -> Result<String, RpcError> {
        assert_eq!(self.ended.len(), 1, "{:?}", self.ended);
        self.ended.remove(0).1
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.alice.handle_timeout(self.now);
        self.bob.handle_timeout(self.now);
        self.drain();
    }

    /// Kinds of the packets delivered so far.
    fn kinds(&self) -> Vec<&'static str> {
        let kind = |packet: &DataPacket| match &packet.value {
            Some(Value::RpcRequest(_)) => "request",
            Some(Value::RpcAck(_)) => "ack",
            Some(Value::RpcResponse(_)) => "response",
            Some(Value::StreamHeader(header)) if header.inline_content.is_some() => "inline",
            Some(Value::StreamHeader(_)) => "header",
            Some(Value::StreamChunk(_)) => "chunk",
            Some(Value::StreamTrailer(_)) => "trailer",
            other => panic!("{other:?}"),
        };
        self.wire.iter().map(kind).collect()
    }
}

/// A packet of bob as the server hands it on.
fn from_bob(value: Value) -> DataPacket {
    from("bob", value)
}

fn from(identity: &str, value: Value) -> DataPacket {
    DataPacket {
        participant_identity: identity.to_owned(),
        participant_sid: format!("PA_{identity}"),
        value: Some(value),
        ..DataPacket::default()
    }
}

impl Pair {
    fn alice_gets(&mut self, packet: DataPacket) {
        self.alice
            .handle_packet(self.now, Channel::Reliable, packet.to_bytes())
            .unwrap();
        self.drain();
    }

    fn bob_gets(&mut self, value: Value) -> Result<(), Rule> {
        let packet = from("alice", value).to_bytes();
        let taken = self.bob.handle_packet(self.now, Channel::Reliable, packet);
        self.drain();
        taken.map_err(|fault| fault.rule)
    }

    /// What bob sends by itself.
    fn sent_by_bob(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.bob.poll_packet())
            .map(|packet| DataPacket::from_bytes(packet.bytes).unwrap().value.unwrap())
            .collect()
    }

    /// The id of the request that alice sent.
    fn request_id(&mut self) -> String {
        let packet = self.alice.poll_packet().unwrap();
        match DataPacket::from_bytes(packet.bytes).unwrap().value {
            Some(Value::RpcRequest(request)) => request.id,
            Some(Value::StreamHeader(header)) => header.attributes["lk.rpc_request_id"].clone(),
            other => panic!("{other:?}"),
        }
    }
}

fn ack(id: &str) -> Value {
    Value::RpcAck(RpcAck {
        request_id: id.to_owned(),
    })
}

fn response(id: &str, payload: &str) -> Value {
    Value::RpcResponse(RpcResponse {
        request_id: id.to_owned(),
        result: Some(RpcResult::Payload(payload.to_owned())),
    })
}

fn stream(topic: &str, pairs: &[(&str, &str)], inline: Option<&str>) -> Header {
    Header {
        stream_id: "ST_1".to_owned(),
        topic: topic.to_owned(),
        attributes: attributes(pairs),
        content: Some(packet::Content::Text(TextHeader::default())),
        inline_content: inline.map(|text| text.to_owned().into()),
        ..Header::default()
    }
}

fn request_stream(version: &str, inline: Option<&str>) -> Header {
    let pairs = [
        ("lk.rpc_request_id", "R"),
        ("lk.rpc_request_method", "echo"),
        ("lk.rpc_request_response_timeout_ms", "8000"),
        ("lk.rpc_request_version", version),
    ];
    stream("lk.rpc_request", &pairs, inline)
}

fn v1_request(id: &str, method: &str, version: u32) -> Value {
    Value::RpcRequest(RpcRequest {
        id: id.to_owned(),
        method: method.to_owned(),
        payload: "x".to_owned(),
        response_timeout_ms: 8000,
        version,
        ..RpcRequest::default()
    })
}

fn error_of(value: &Value) -> RpcError {
    match value {
        Value::RpcResponse(RpcResponse {
            result: Some(RpcResult::Error(error)),
            ..
        }) => error.clone().into(),
        other => panic!("{other:?}"),
    }
}

fn code(result: Result<String, RpcError>) -> RpcCode {
    result.unwrap_err().builtin().unwrap()
}

// ---- what travels

#[test]
fn v1_travels_as_packets() {
    let mut pair = Pair::new(0);
    pair.call("hello");
    pair.pump();
    let invocation = pair.invoked[0].clone();
    assert_eq!(invocation.caller, "alice");
    assert_eq!(
        (&*invocation.method, &*invocation.payload),
        ("echo", "hello")
    );
    assert_eq!(invocation.response_timeout, Duration::from_secs(8));
    let Some(Value::RpcRequest(request)) = &pair.wire[0].value else {
        panic!("{:?}", pair.wire);
    };
    assert_eq!((request.version, request.response_timeout_ms), (1, 8000));
    assert_eq!(request.id, invocation.request_id);
    pair.answer(Ok("olleh".into()));
    pair.pump();
    assert_eq!(pair.end(), Ok("olleh".into()));
    assert_eq!(pair.kinds(), ["request", "ack", "response"]);
    assert_eq!(pair.alice.poll_timeout(), None, "nothing is pending");
}

#[test]
fn v2_travels_as_one_packet_each_way() {
    let mut pair = Pair::new(2);
    pair.call("hello");
    pair.pump();
    let Some(Value::StreamHeader(header)) = &pair.wire[0].value else {
        panic!("{:?}", pair.wire);
    };
    assert_eq!(header.topic, "lk.rpc_request");
    let id = pair.invoked[0].request_id.clone();
    let expected = attributes(&[
        ("lk.rpc_request_id", &id),
        ("lk.rpc_request_method", "echo"),
        ("lk.rpc_request_response_timeout_ms", "8000"),
        ("lk.rpc_request_version", "2"),
    ]);
    assert_eq!(header.attributes, expected);
    pair.answer(Ok("olleh".into()));
    pair.pump();
    let Some(Value::StreamHeader(header)) = &pair.wire[2].value else {
        panic!("{:?}", pair.wire);
    };
    assert_eq!(header.topic, "lk.rpc_response");
    assert_eq!(header.attributes, attributes(&[("lk.rpc_request_id", &id)]));
    assert_eq!(pair.end(), Ok("olleh".into()));
    assert_eq!(pair.kinds(), ["inline", "ack", "inline"]);
}

#[test]
fn generation_1_gets_chunked_streams_also_of_nothing() {
    let mut pair = Pair::new(1);
    for payload in ["hello", ""] {
        pair.call(payload);
        pair.pump();
        pair.answer(Ok(payload.into()));
        pair.pump();
        assert_eq!(pair.end(), Ok(payload.into()));
        let chunk: &[&str] = if payload.is_empty() { &[] } else { &["chunk"] };
        let mut kinds = pair.kinds();
        kinds.retain(|kind| *kind != "ack");
        assert_eq!(
            kinds,
            [
                &["header"],
                chunk,
                &["trailer", "header"],
                chunk,
                &["trailer"]
            ]
            .concat()
        );
        pair.wire.clear();
    }
}

#[test]
fn large_payloads_travel_as_streams_both_ways() {
    for generation in [1, 2] {
        let mut pair = Pair::new(generation);
        let long: String = noise(5, 100_000)
            .iter()
            .map(|byte| char::from(*byte))
            .collect();
        pair.call(&long);
        pair.pump();
        assert_eq!(pair.invoked[0].payload, long);
        pair.answer(Ok(long.clone()));
        pair.pump();
        assert_eq!(pair.end(), Ok(long));
    }
}

#[test]
fn the_ack_goes_before_the_payload_is_read() {
    let mut pair = Pair::new(2);
    pair.bob_gets(Value::StreamHeader(request_stream("2", None)))
        .unwrap();
    assert_eq!(pair.sent_by_bob(), [ack("R")]);
    pair.bob_gets(chunk("ST_1", 0, "he")).unwrap();
    assert!(pair.invoked.is_empty());
    pair.bob_gets(chunk("ST_1", 1, "llo")).unwrap();
    pair.bob_gets(trailer("ST_1")).unwrap();
    assert_eq!(pair.invocation().payload, "hello");
}

#[test]
fn handlers_are_told_at_least_a_second() {
    for (timeout, told) in [(15, 8), (8, 1), (2, 1), (60, 53)] {
        let mut pair = Pair::new(2);
        let mut options = Pair::options("");
        options.response_timeout = Duration::from_secs(timeout);
        pair.alice.call(pair.now, options).unwrap();
        pair.pump();
        assert_eq!(
            pair.invocation().response_timeout,
            Duration::from_secs(told)
        );
    }
}

#[test]
fn calls_go_before_streams() {
    let mut pair = Pair::new(2);
    let mut options = OpenOptions::new(Content::bytes("x"), "files", NOW);
    options.destinations = vec!["bob".into()];
    let file = pair.alice.open(options).unwrap();
    let mut outgoing = pair.alice.outgoing(file).unwrap();
    outgoing.write(noise(1, 200_000).into()).unwrap();
    for _ in 0..4 {
        pair.alice.poll_packet().unwrap();
    }
    pair.call("hello");
    let next = pair.alice.poll_packet().unwrap();
    let next = DataPacket::from_bytes(next.bytes).unwrap();
    assert!(
        matches!(next.value, Some(Value::StreamHeader(header)) if header.topic == "lk.rpc_request")
    );
}

#[test]
fn no_listener_sees_the_streams_of_calls() {
    use lkstream_engine::{StreamKind, TopicFilter};
    let mut pair = Pair::new(2);
    pair.alice.listen(StreamKind::Text, TopicFilter::Any);
    pair.bob
        .listen(StreamKind::Text, TopicFilter::Prefix("lk.".into()));
    pair.call("hello");
    pair.pump();
    pair.answer(Ok("olleh".into()));
    pair.pump();
    assert_eq!(pair.end(), Ok("olleh".into()));
}

// ---- timers

#[test]
fn without_an_ack_a_call_ends_after_7_seconds() {
    let mut pair = Pair::new(2);
    pair.call("hello");
    assert_eq!(
        pair.alice.poll_timeout(),
        Some(pair.now + Duration::from_secs(7))
    );
    pair.pass(Duration::from_millis(6999));
    assert!(pair.ended.is_empty());
    pair.pass(Duration::from_millis(1));
    assert_eq!(
        pair.end().unwrap_err(),
        RpcError::new(1501, "Connection timeout")
    );
}

#[test]
fn with_an_ack_it_ends_at_the_response_timeout() {
    let mut pair = Pair::new(2);
    pair.call("hello");
    pair.pump();
    assert_eq!(
        pair.alice.poll_timeout(),
        Some(pair.now + Duration::from_secs(15))
    );
    pair.pass(Duration::from_millis(14_999));
    assert!(pair.ended.is_empty());
    pair.pass(Duration::from_millis(1));
    assert_eq!(
        pair.end().unwrap_err(),
        RpcError::new(1502, "Response timeout")
    );
    // The reply comes late: it is ignored and counted.
    pair.answer(Ok("late".into()));
    pair.pump();
    assert!(pair.ended.is_empty());
    assert_eq!(pair.alice.counters().late_replies, 1);
}

#[test]
fn a_timeout_shorter_than_the_round_trip_ends_the_call() {
    let mut pair = Pair::new(0);
    let mut options = Pair::options("");
    options.response_timeout = Duration::from_secs(2);
    pair.alice.call(pair.now, options).unwrap();
    pair.pass(Duration::from_secs(2));
    assert_eq!(code(pair.end()), RpcCode::ResponseTimeout);
}

#[test]
fn a_response_counts_as_its_ack() {
    for generation in [0, 2] {
        let mut pair = Pair::new(generation);
        pair.call("hello");
        let id = pair.request_id();
        pair.alice_gets(from_bob(response(&id, "olleh")));
        assert_eq!(pair.end(), Ok("olleh".into()));
        pair.alice_gets(from_bob(ack(&id)));
        assert_eq!(pair.alice.counters().late_replies, 1);
        pair.pass(Duration::from_secs(60));
        assert!(pair.ended.is_empty());
    }
}

#[test]
fn the_start_of_a_response_counts_as_the_ack_and_its_end_is_awaited() {
    let mut pair = Pair::new(2);
    pair.call("hello");
    let id = pair.request_id();
    let header = stream("lk.rpc_response", &[("lk.rpc_request_id", &id)], None);
    pair.alice_gets(from_bob(Value::StreamHeader(header)));
    pair.pass(Duration::from_secs(8));
    pair.alice_gets(from_bob(chunk("ST_1", 0, "ol")));
    pair.alice_gets(from_bob(chunk("ST_1", 1, "leh")));
    assert!(pair.ended.is_empty());
    pair.alice_gets(from_bob(trailer("ST_1")));
    assert_eq!(pair.end(), Ok("olleh".into()));
}

#[test]
fn a_response_that_is_not_whole_in_time_is_none() {
    let mut pair = Pair::new(2);
    pair.call("hello");
    let id = pair.request_id();
    let header = stream("lk.rpc_response", &[("lk.rpc_request_id", &id)], None);
    pair.alice_gets(from_bob(Value::StreamHeader(header)));
    for index in 0..15 {
        pair.pass(Duration::from_secs(1));
        if index < 14 {
            pair.alice_gets(from_bob(chunk("ST_1", index, "x")));
        }
    }
    assert_eq!(code(pair.end()), RpcCode::ResponseTimeout);
    pair.alice_gets(from_bob(trailer("ST_1")));
    assert_eq!(
        pair.alice.counters().unknown_stream,
        1,
        "the stream was let go"
    );
}

#[test]
fn a_cut_response_ends_the_call() {
    let mut pair = Pair::new(2);
    pair.call("hello");
    let id = pair.request_id();
    let header = stream("lk.rpc_response", &[("lk.rpc_request_id", &id)], None);
    pair.alice_gets(from_bob(Value::StreamHeader(header)));
    pair.alice_gets(from_bob(trailer_with("ST_1", "gave up", &[])));
    let error = pair.end().unwrap_err();
    assert_eq!(error.builtin(), Some(RpcCode::ApplicationError));
    assert!(error.data.contains("gave up"), "{error:?}");
}

// ---- who answers

#[test]
fn replies_of_others_than_were_called_are_ignored() {
    for generation in [0, 2] {
        let mut pair = Pair::new(generation);
        pair.call("hello");
        let id = pair.request_id();
        pair.alice_gets(from("mallory", ack(&id)));
        pair.alice_gets(from("mallory", response(&id, "forged")));
        let header = stream(
            "lk.rpc_response",
            &[("lk.rpc_request_id", &id)],
            Some("forged"),
        );
        pair.alice_gets(from("mallory", Value::StreamHeader(header)));
        assert!(pair.ended.is_empty());
        assert_eq!(pair.alice.counters().late_replies, 3);
        pair.pass(Duration::from_secs(7));
        assert_eq!(
            code(pair.end()),
            RpcCode::ConnectionTimeout,
            "the ack did not count either"
        );
    }
}

#[test]
fn a_caller_takes_either_form_of_response() {
    // JS answers a packet with a stream when the caller understands it.
    let mut pair = Pair::new(0);
    pair.call("hello");
    let id = pair.request_id();
    let header = stream(
        "lk.rpc_response",
        &[("lk.rpc_request_id", &id)],
        Some("olleh"),
    );
    pair.alice_gets(from_bob(Value::StreamHeader(header)));
    assert_eq!(pair.end(), Ok("olleh".into()));

    let mut pair = Pair::new(2);
    pair.call("hello");
    let id = pair.request_id();
    pair.alice_gets(from_bob(Value::RpcResponse(RpcResponse {
        request_id: id,
        result: None,
    })));
    assert_eq!(pair.end(), Ok(String::new()));
}

#[test]
fn a_recipient_that_leaves_ends_the_call_soon_but_not_at_once() {
    let mut pair = Pair::new(2);
    pair.call("hello");
    pair.pump();
    pair.alice
        .participant_left(pair.now, &"PA_bob".into(), &"bob".into());
    pair.drain();
    assert!(pair.ended.is_empty());
    pair.pass(Duration::from_millis(999));
    assert!(pair.ended.is_empty());
    pair.pass(Duration::from_millis(1));
    assert_eq!(
        pair.end().unwrap_err(),
        RpcError::new(1503, "Recipient disconnected")
    );
}

#[test]
fn a_reply_that_the_leave_overtook_still_counts() {
    for generation in [0, 2] {
        let mut pair = Pair::new(generation);
        pair.call("hello");
        pair.pump();
        pair.alice
            .participant_left(pair.now, &"PA_bob".into(), &"bob".into());
        pair.pass(Duration::from_millis(500));
        pair.answer(Ok("olleh".into()));
        pair.pump();
        assert_eq!(pair.end(), Ok("olleh".into()));
    }
}

#[test]
fn a_response_under_way_when_its_sender_leaves_ends_like_a_stream() {
    let mut pair = Pair::new(2);
    pair.call("hello");
    let id = pair.request_id();
    let header = stream("lk.rpc_response", &[("lk.rpc_request_id", &id)], None);
    pair.alice_gets(from_bob(Value::StreamHeader(header)));
    pair.alice
        .participant_left(pair.now, &"PA_bob".into(), &"bob".into());
    pair.pass(Duration::from_millis(1500));
    pair.alice_gets(from_bob(chunk("ST_1", 0, "x")));
    assert!(pair.ended.is_empty());
    pair.pass(Duration::from_secs(2));
    assert_eq!(code(pair.end()), RpcCode::RecipientDisconnected);
}

#[test]
fn others_that_leave_end_nothing() {
    let mut pair = Pair::new(2);
    pair.call("hello");
    pair.pump();
    pair.alice
        .participant_left(pair.now, &"PA_carol".into(), &"carol".into());
    pair.pass(Duration::from_secs(5));
    assert!(pair.ended.is_empty());
}

#[test]
fn a_lost_connection_ends_all_calls() {
    let mut pair = Pair::new(2);
    pair.call("one");
    pair.call("two");
    let id = pair.request_id();
    let header = stream("lk.rpc_response", &[("lk.rpc_request_id", &id)], None);
    pair.alice_gets(from_bob(Value::StreamHeader(header)));
    pair.alice.connection_lost(Lost::Left);
    pair.drain();
    assert_eq!(pair.ended.len(), 2);
    for (_, result) in pair.ended.drain(..) {
        let error = result.unwrap_err();
        assert_eq!(error.builtin(), Some(RpcCode::RecipientDisconnected));
        assert_eq!(error.data, "we left the room");
    }
    assert_eq!(pair.alice.poll_timeout(), None);
    let error = pair.alice.call(pair.now, Pair::options("")).unwrap_err();
    assert_eq!(error.builtin(), Some(RpcCode::SendFailed));
}

// ---- limits

#[test]
fn v1_requests_have_at_most_15_360_bytes() {
    let mut pair = Pair::new(0);
    let error = pair
        .alice
        .call(pair.now, Pair::options(&"x".repeat(15_361)))
        .unwrap_err();
    assert_eq!(
        (error.code, &*error.message),
        (1402, "Request payload too large")
    );
    pair.call(&"x".repeat(15_360));
    pair.pump();
    assert_eq!(pair.invocation().payload.len(), 15_360);
}

#[test]
fn v1_responses_have_at_most_15_360_bytes() {
    let mut pair = Pair::new(0);
    pair.call("");
    pair.pump();
    let id = pair.invocation().id;
    let error = pair
        .bob
        .respond(id, Ok("x".repeat(15_361)), NOW)
        .unwrap_err();
    assert_eq!(error.builtin(), Some(RpcCode::ResponseTooLarge));
    pair.pump();
    let error = pair.end().unwrap_err();
    assert_eq!(
        (error.code, &*error.message),
        (1504, "Response payload too large")
    );

    pair.call("");
    pair.pump();
    pair.answer(Ok("x".repeat(15_360)));
    pair.pump();
    assert_eq!(pair.end().unwrap().len(), 15_360);
}

#[test]
fn streams_have_the_limit_of_the_configuration_on_both_sides() {
    let small = Config {
        max_rpc_payload: 100,
        ..Config::default()
    };
    let mut pair = Pair::with(2, small.clone());
    let error = pair
        .alice
        .call(pair.now, Pair::options(&"x".repeat(101)))
        .unwrap_err();
    assert_eq!(error.builtin(), Some(RpcCode::RequestTooLarge));
    pair.call("");
    pair.pump();
    let id = pair.invocation().id;
    pair.bob.respond(id, Ok("x".repeat(101)), NOW).unwrap_err();
    pair.pump();
    assert_eq!(code(pair.end()), RpcCode::ResponseTooLarge);

    // A peer that keeps to no limit, declared or not.
    for total_length in [Some(101), None] {
        let mut header = request_stream("2", None);
        header.total_length = total_length;
        pair.bob_gets(Value::StreamHeader(header)).unwrap();
        let _ = pair.bob_gets(chunk("ST_1", 0, "x".repeat(101)));
        let _ = pair.bob_gets(trailer("ST_1"));
        let sent = pair.sent_by_bob();
        assert_eq!(sent[0], ack("R"));
        assert_eq!(error_of(&sent[1]).builtin(), Some(RpcCode::RequestTooLarge));
        assert!(pair.invoked.is_empty());
    }
    pair.call("");
    let id = pair.request_id();
    let text = "x".repeat(101);
    let header = stream(
        "lk.rpc_response",
        &[("lk.rpc_request_id", &id)],
        Some(&text),
    );
    let packet = from_bob(Value::StreamHeader(header)).to_bytes();
    let _ = pair
        .alice
        .handle_packet(pair.now, Channel::Reliable, packet);
    pair.drain();
    assert_eq!(code(pair.end()), RpcCode::ResponseTooLarge);
}

#[test]
fn errors_are_cut_on_character_boundaries() {
    let mut pair = Pair::new(2);
    pair.call("");
    pair.pump();
    let error = RpcError::new(7, format!("x{}", "ü".repeat(200))).with_data("漢".repeat(6000));
    pair.answer(Err(error));
    pair.pump();
    let error = pair.end().unwrap_err();
    assert_eq!(
        (error.code, error.message),
        (7, format!("x{}", "ü".repeat(127)))
    );
    assert_eq!(error.data, "漢".repeat(5120));
    assert_eq!(
        pair.kinds(),
        ["inline", "ack", "response"],
        "errors are packets"
    );
}

#[test]
fn pending_calls_are_bounded_also_unpolled_ones() {
    let config = Config {
        max_calls: 2,
        ..Config::default()
    };
    let mut pair = Pair::with(2, config);
    pair.call("");
    let cancelled = pair.call("");
    let error = pair.alice.call(pair.now, Pair::options("")).unwrap_err();
    assert_eq!(error.builtin(), Some(RpcCode::SendFailed));
    assert_eq!(error.data, "2 calls are pending");
    pair.alice.cancel_call(cancelled);
    pair.call("");
    pair.now += Duration::from_secs(7);
    pair.alice.handle_timeout(pair.now);
    assert!(
        pair.alice.call(pair.now, Pair::options("")).is_err(),
        "two events wait"
    );
    pair.drain();
    assert_eq!(pair.ended.len(), 2);
    pair.call("");
}

#[test]
fn invocations_are_bounded_until_they_are_answered() {
    let config = Config {
        max_invocations: 3,
        max_invocations_per_caller: 2,
        ..Config::default()
    };
    let mut pair = Pair::with(0, config);
    for id in ["1", "2", "3"] {
        pair.bob_gets(v1_request(id, "echo", 1)).unwrap();
    }
    let sent = pair.sent_by_bob();
    assert_eq!(sent[..3], [ack("1"), ack("2"), ack("3")]);
    let error = error_of(&sent[3]);
    assert_eq!(
        (error.builtin(), &*error.data),
        (Some(RpcCode::ApplicationError), "2 calls are being handled")
    );
    assert_eq!(pair.invoked.len(), 2);
    assert_eq!(pair.bob.counters().refused_requests, 1);
    let request = from("carol", v1_request("1", "echo", 1)).to_bytes();
    pair.bob
        .handle_packet(pair.now, Channel::Reliable, request)
        .unwrap();
    let request = from("dave", v1_request("1", "echo", 1)).to_bytes();
    pair.bob
        .handle_packet(pair.now, Channel::Reliable, request)
        .unwrap();
    pair.drain();
    assert_eq!(pair.invoked.len(), 3, "dave found all places taken");
    let first = pair.invoked.remove(0);
    pair.bob.respond(first.id, Ok(String::new()), NOW).unwrap();
    pair.bob_gets(v1_request("4", "echo", 1)).unwrap();
    assert_eq!(pair.invoked.len(), 3);
}

// ---- the responder's other answers

#[test]
fn methods_that_nobody_serves_are_acknowledged_and_refused() {
    let mut pair = Pair::new(2);
    pair.bob.unserve("echo");
    pair.call("");
    pair.pump();
    assert_eq!(
        pair.end().unwrap_err(),
        RpcError::new(1400, "Method not supported at destination")
    );
    pair.bob_gets(v1_request("1", "nothing", 1)).unwrap();
    let sent = pair.sent_by_bob();
    assert_eq!(sent[0], ack("1"));
    assert_eq!(error_of(&sent[1]), RpcCode::UnsupportedMethod.into());
    assert!(pair.invoked.is_empty());
}

#[test]
fn other_versions_are_acknowledged_and_refused() {
    let mut pair = Pair::new(2);
    let refused = RpcError::new(1404, "Unsupported RPC version");
    for version in ["1", "3"] {
        let header = request_stream(version, Some("x"));
        pair.bob_gets(Value::StreamHeader(header)).unwrap();
        let sent = pair.sent_by_bob();
        assert_eq!((&sent[0], error_of(&sent[1])), (&ack("R"), refused.clone()));
    }
    for version in [0, 2] {
        pair.bob_gets(v1_request("1", "echo", version)).unwrap();
        let sent = pair.sent_by_bob();
        assert_eq!((&sent[0], error_of(&sent[1])), (&ack("1"), refused.clone()));
    }
    assert!(pair.invoked.is_empty());
}

#[test]
fn malformed_requests_are_dropped() {
    let mut pair = Pair::new(2);
    for missing in [
        "lk.rpc_request_id",
        "lk.rpc_request_method",
        "lk.rpc_request_response_timeout_ms",
        "lk.rpc_request_version",
    ] {
        let mut header = request_stream("2", Some("x"));
        header.attributes.remove(missing);
        assert_eq!(
            pair.bob_gets(Value::StreamHeader(header)),
            Err(Rule::MalformedCall),
            "{missing}"
        );
    }
    for (name, value) in [
        ("lk.rpc_request_id", ""),
        ("lk.rpc_request_method", ""),
        ("lk.rpc_request_response_timeout_ms", "soon"),
        ("lk.rpc_request_version", "two"),
    ] {
        let mut header = request_stream("2", Some("x"));
        header.attributes.insert(name.to_owned(), value.to_owned());
        assert_eq!(
            pair.bob_gets(Value::StreamHeader(header)),
            Err(Rule::MalformedCall),
            "{name}"
        );
    }
    for (id, method) in [("", "echo"), ("1", "")] {
        assert_eq!(
            pair.bob_gets(v1_request(id, method, 1)),
            Err(Rule::MalformedCall)
        );
    }
    let lossy = from("alice", v1_request("1", "echo", 1)).to_bytes();
    let error = pair
        .bob
        .handle_packet(pair.now, Channel::Lossy, lossy)
        .unwrap_err();
    assert_eq!(error.rule, Rule::WrongChannel);
    assert_eq!(pair.sent_by_bob(), []);
    assert!(pair.invoked.is_empty());
}

#[test]
fn a_request_that_comes_twice_runs_once() {
    let mut pair = Pair::new(0);
    pair.bob_gets(v1_request("1", "echo", 1)).unwrap();
    pair.bob_gets(v1_request("1", "echo", 1)).unwrap();
    assert_eq!(pair.invoked.len(), 1);
    assert_eq!(pair.bob.counters().duplicate_requests, 1);
}

#[test]
fn a_caller_that_left_gets_no_answer_and_keeps_no_request_half_read() {
    let mut pair = Pair::new(2);
    pair.call("");
    pair.pump();
    pair.bob_gets(Value::StreamHeader(request_stream("2", None)))
        .unwrap();
    pair.sent_by_bob();
    pair.bob
        .participant_left(pair.now, &"PA_alice".into(), &"alice".into());
    let id = pair.invocation().id;
    let error = pair.bob.respond(id, Ok(String::new()), NOW).unwrap_err();
    assert_eq!(error.builtin(), Some(RpcCode::RecipientDisconnected));
    assert_eq!(pair.bob.counters().dropped_replies, 1);
    pair.pass(Duration::from_secs(2));
    assert_eq!(pair.sent_by_bob(), []);
    assert_eq!(
        pair.bob.poll_timeout(),
        None,
        "nothing is left of the stream"
    );
    let again = pair.bob.respond(id, Ok(String::new()), NOW);
    assert!(again.is_err(), "an answer is given once");
}

#[test]
fn a_request_that_stops_in_the_middle_is_given_up() {
    let mut pair = Pair::new(2);
    pair.bob_gets(Value::StreamHeader(request_stream("2", None)))
        .unwrap();
    pair.sent_by_bob();
    pair.pass(Duration::from_secs(15));
    let sent = pair.sent_by_bob();
    assert_eq!(
        error_of(&sent[0]).builtin(),
        Some(RpcCode::ApplicationError)
    );
    assert_eq!(pair.bob.poll_timeout(), None);
}

#[test]
fn what_cannot_be_a_call_is_refused_at_once() {
    let mut pair = Pair::new(2);
    for destination in ["", "alice"] {
        let options = CallOptions::new(destination, "echo", "", NOW);
        let error = pair.alice.call(pair.now, options).unwrap_err();
        assert_eq!((error.code, &*error.message), (1401, "Recipient not found"));
    }
    let long = "m".repeat(15_000);
    let options = CallOptions::new("bob", long, "", NOW);
    let error = pair.alice.call(pair.now, options).unwrap_err();
    assert_eq!(
        error.builtin(),
        Some(RpcCode::SendFailed),
        "the header is too large"
    );
    assert_eq!(pair.alice.poll_timeout(), None);
    let mut outside = Engine::new(Config::default(), 3);
    let error = outside.call(pair.now, Pair::options("")).unwrap_err();
    assert_eq!(error.builtin(), Some(RpcCode::SendFailed));
}

#[test]
fn cancelled_calls_end_silently() {
    let mut pair = Pair::new(2);
    let id = pair.call("hello");
    pair.pump();
    pair.alice.cancel_call(id);
    pair.answer(Ok("olleh".into()));
    pair.pump();
    pair.pass(Duration::from_secs(60));
    assert!(pair.ended.is_empty());
    assert_eq!(pair.alice.counters().late_replies, 1);
}

#[test]
fn codes_and_texts_are_those_of_the_protocol() {
    let all = [
        (1400, "Method not supported at destination"),
        (1401, "Recipient not found"),
        (1402, "Request payload too large"),
        (1403, "RPC not supported by server"),
        (1404, "Unsupported RPC version"),
        (1500, "Application error in method handler"),
        (1501, "Connection timeout"),
        (1502, "Response timeout"),
        (1503, "Recipient disconnected"),
        (1504, "Response payload too large"),
        (1505, "Failed to send"),
    ];
    for (number, text) in all {
        let code = RpcError::new(number, "").builtin().unwrap();
        assert_eq!((code as u32, code.text()), (number, text));
    }
    assert_eq!(RpcError::new(1, "").builtin(), None);
}

#[test]
fn encrypted_engines_call_each_other() {
    use lkstream_engine::encryption::Keyring;
    for generation in [0, 2] {
        let mut pair = Pair::new(generation);
        // It refuses what comes in the clear.
        let keyring = || Keyring::shared("secret").unwrap();
        pair.alice = std::mem::replace(&mut pair.alice, Engine::new(Config::default(), 9))
            .encrypted(keyring());
        pair.bob = std::mem::replace(&mut pair.bob, Engine::new(Config::default(), 9))
            .encrypted(keyring());
        let id = pair.call("hello");
        let mut sealed = 0;
        for _ in 0..4 {
            pair.drain();
            if !pair.invoked.is_empty() {
                pair.answer(Ok("olleh".into()));
            }
            while let Some(packet) = pair.alice.poll_packet() {
                let value = DataPacket::from_bytes(packet.bytes.clone()).unwrap().value;
                sealed += usize::from(matches!(value, Some(Value::Encrypted(_))));
                pair.bob
                    .handle_packet(pair.now, packet.channel, packet.bytes)
                    .unwrap();
            }
            while let Some(packet) = pair.bob.poll_packet() {
                let value = DataPacket::from_bytes(packet.bytes.clone()).unwrap().value;
                sealed += usize::from(matches!(value, Some(Value::Encrypted(_))));
                pair.alice
                    .handle_packet(pair.now, packet.channel, packet.bytes)
                    .unwrap();
            }
        }
        pair.drain();
        assert_eq!(pair.ended, [(id, Ok("olleh".into()))]);
        assert_eq!(sealed, 3, "request, ack and response are sealed");
    }
}
