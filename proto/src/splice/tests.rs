#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;

use super::*;
use crate::packet::testing::{any_packet, packet_with};
use crate::packet::{
    ByteHeader, ChatMessage, Chunk, Content as HeaderContent, Header, TextHeader, UserPacket, Value,
};
use crate::wire;

const SENDER: Sender<'static> = Sender {
    sid: "PA_222222222222",
    identity: "alice",
    attribution: Attribution::Own,
};

const AGENT: Sender<'static> = Sender {
    attribution: Attribution::MaySpeakForOthers,
    ..SENDER
};

const HIDDEN: Sender<'static> = Sender {
    identity: "",
    ..SENDER
};

/// Section 4.3 once more, on the decoded packet: what the splice must amount to.
fn changed(mut packet: DataPacket, sender: &Sender<'_>) -> DataPacket {
    let speaks_for_another = sender.attribution == Attribution::MaySpeakForOthers
        && !packet.participant_identity.is_empty()
        && packet.participant_identity != sender.identity;
    let mut keeps = false;
    match &mut packet.value {
        Some(Value::User(user)) => {
            user.participant_sid = sender.sid.into();
            user.participant_identity = sender.identity.into();
            if packet.destination_identities.is_empty() {
                packet.destination_identities = user.destination_identities.clone();
            } else {
                user.destination_identities = packet.destination_identities.clone();
            }
        }
        Some(Value::ChatMessage(chat)) if speaks_for_another => {
            chat.generated = true;
            keeps = true;
        }
        Some(Value::StreamHeader(header)) if speaks_for_another => {
            if let Some(HeaderContent::Text(text)) = &mut header.content {
                text.generated = true;
                keeps = true;
            }
        }
        _ => {}
    }
    packet.participant_sid = sender.sid.into();
    if !keeps {
        packet.participant_identity = sender.identity.into();
    }
    packet
}

/// Whatever the bytes: a refusal, or the splice decodes to the changed packet, for every sender.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let bytes = Bytes::copy_from_slice(bytes);
    let decoded = DataPacket::from_bytes(bytes.clone());
    let view = match PacketView::parse(bytes) {
        Ok(view) => view,
        Err(error) => {
            let refusable = match &decoded {
                Err(_) => true,
                Ok(packet) => packet.value.is_none(),
            };
            prop_assert!(refusable, "{error}: {decoded:?}");
            return Ok(());
        }
    };
    // What the view accepts, every reader can decode.
    let decoded = decoded.unwrap();
    prop_assert_eq!(
        &DataPacket::from_bytes(view.bytes().clone()).unwrap(),
        &decoded
    );
    check_view(&view, &decoded)?;
    for sender in [SENDER, AGENT, HIDDEN] {
        match view.splice(&sender) {
            Ok(spliced) => {
                let expected = changed(decoded.clone(), &sender);
                prop_assert_eq!(&DataPacket::from_bytes(spliced.clone()).unwrap(), &expected);
                // The next hop needs no second form.
                prop_assert!(PacketView::scan(spliced).is_ok());
            }
            Err(SpliceError::TooLarge { size, .. }) => {
                prop_assert!(size > limits::SERVER_PACKET_BYTES);
                prop_assert!(view.bytes().len() > limits::SERVER_PACKET_BYTES - 2000);
            }
            Err(error) => panic!("{error}"),
        }
    }
    Ok(())
}

/// The message that a header's view shows.
fn message(view: HeaderView<'_>) -> Header {
    let attributes = view.attributes();
    Header {
        stream_id: view.stream_id.to_owned(),
        timestamp: view.timestamp,
        topic: view.topic.to_owned(),
        mime_type: view.mime_type.to_owned(),
        total_length: view.total_length,
        encryption_type: 0,
        attributes: attributes
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect(),
        inline_content: view.inline_content,
        compression: view.compression,
        content: view.content.map(|content| match content {
            ContentView::Text(text) => HeaderContent::Text(TextHeader {
                operation_type: text.operation_type,
                version: text.version,
                reply_to_stream_id: text.reply_to_stream_id.to_owned(),
                attached_stream_ids: text.attached_stream_ids().map(str::to_owned).collect(),
                generated: text.generated,
            }),
            ContentView::Bytes { name } => HeaderContent::Bytes(ByteHeader {
                name: name.to_owned(),
            }),
        }),
    }
}

/// The view says of the packet what decoding says of it.
fn check_view(view: &PacketView, packet: &DataPacket) -> Result<(), TestCaseError> {
    prop_assert_eq!(view.sequence(), packet.sequence);
    prop_assert_eq!(view.participant_identity(), &packet.participant_identity);
    prop_assert_eq!(view.participant_sid(), &packet.participant_sid);
    let mut destinations = packet.destination_identities.clone();
    let mut sids = Vec::new();
    let mut nonce = None;
    let mut stream = None;
    let mut chunk = None;
    let mut header = None;
    let kind = match &packet.value {
        None => None,
        Some(Value::User(user)) => {
            if destinations.is_empty() {
                destinations = user.destination_identities.clone();
            }
            sids = user.destination_sids.clone();
            nonce = (!user.nonce.is_empty()).then_some(&user.nonce[..]);
            Some(ValueKind::User)
        }
        Some(Value::Speaker(_)) => Some(ValueKind::Speaker),
        Some(Value::SipDtmf(_)) => Some(ValueKind::SipDtmf),
        Some(Value::Transcription(_)) => Some(ValueKind::Transcription),
        Some(Value::Metrics(_)) => Some(ValueKind::Metrics),
        Some(Value::ChatMessage(_)) => Some(ValueKind::ChatMessage),
        Some(Value::RpcRequest(_)) => Some(ValueKind::RpcRequest),
        Some(Value::RpcAck(_)) => Some(ValueKind::RpcAck),
        Some(Value::RpcResponse(_)) => Some(ValueKind::RpcResponse),
        Some(Value::StreamHeader(inner)) => {
            stream = Some(inner.stream_id.as_str());
            header = Some(Header {
                // Deprecated, and said by nobody (protocol.md §5.1): the view leaves it out.
                encryption_type: 0,
                ..inner.clone()
            });
            Some(ValueKind::StreamHeader)
        }
        Some(Value::StreamChunk(inner)) => {
            stream = Some(inner.stream_id.as_str());
            chunk = Some(ChunkView {
                stream_id: &inner.stream_id,
                chunk_index: inner.chunk_index,
                version: inner.version,
                content: inner.content.clone(),
            });
            Some(ValueKind::StreamChunk)
        }
        Some(Value::StreamTrailer(trailer)) => {
            stream = Some(trailer.stream_id.as_str());
            Some(ValueKind::StreamTrailer)
        }
        Some(Value::Encrypted(_)) => Some(ValueKind::Encrypted),
    };
    match kind {
        Some(kind) => prop_assert_eq!(view.value(), kind),
        None => prop_assert!(matches!(
            view.value(),
            ValueKind::None | ValueKind::Unknown(_)
        )),
    }
    prop_assert_eq!(
        view.destination_identities().collect::<Vec<_>>(),
        destinations.clone()
    );
    prop_assert_eq!(view.destination_sids().collect::<Vec<_>>(), sids.clone());
    prop_assert_eq!(
        view.is_broadcast(),
        destinations.is_empty() && sids.is_empty()
    );
    for name in &destinations {
        prop_assert!(view.is_addressed_to(name, "nobody"));
    }
    prop_assert_eq!(view.nonce(), nonce);
    prop_assert_eq!(view.stream_id(), stream);
    prop_assert_eq!(view.chunk(), chunk);
    prop_assert_eq!(view.header().map(message), header);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn splicing_is_changing(packet in any_packet()) {
        let bytes = packet.to_bytes();
        // What prost writes is canonical.
        prop_assert!(PacketView::scan(bytes.clone()).is_ok());
        check(&bytes)?;
    }

    #[test]
    fn any_bytes_are_refused_or_right(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes)?;
    }

    #[test]
    fn perturbed_packets_are_refused_or_right(
        packet in any_packet(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = packet.to_bytes().to_vec();
        if !bytes.is_empty() {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
        }
        check(&bytes)?;
    }

    /// Two packets in a row are one packet in protobuf: merged, the last member of the oneof wins.
    #[test]
    fn merged_packets_are_refused_or_right(a in any_packet(), b in any_packet()) {
        let mut bytes = a.to_bytes().to_vec();
        bytes.extend_from_slice(&b.to_bytes());
        check(&bytes)?;
    }

    /// The same, one level down: a value that comes in two parts.
    #[test]
    fn merged_values_are_refused_or_right(
        tag in prop::sample::select(vec![2u32, 9, 13, 14, 15, 19]),
        a in any_packet(),
        b in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut bytes = a.to_bytes().to_vec();
        wire::put_block(&mut bytes, tag, &b);
        wire::put_text(&mut bytes, 4, b"mallory");
        check(&bytes)?;
    }

    /// Fields from the future, outside and inside.
    #[test]
    fn unknown_fields_survive(packet in any_packet(), number in 19u32..3000, payload in "[a-z]{1,20}") {
        let mut bytes = packet.to_bytes().to_vec();
        let mut unknown = Vec::new();
        wire::put_block(&mut unknown, number, payload.as_bytes());
        bytes.extend_from_slice(&unknown);
        check(&bytes)?;
        let view = PacketView::parse(bytes.into()).unwrap();
        let spliced = view.splice(&SENDER).unwrap();
        prop_assert!(contains(&spliced, &unknown));
        if packet.value.is_none() {
            prop_assert_eq!(view.value(), ValueKind::Unknown(number));
        }
    }
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}

fn view(packet: &DataPacket) -> PacketView {
    PacketView::scan(packet.to_bytes()).unwrap_or_else(|_| panic!("{packet:?} is not canonical"))
}

#[test]
fn a_chunk_goes_out_as_these_bytes() {
    // stream_chunk{stream_id "s", chunk_index 1, content "abc"}, participant_identity "mallory",
    // destination "bob", sequence 7, participant_sid "PA_x", and field 99 from the future.
    let arrived = b"\x72\x0a\x0a\x01s\x10\x01\x1a\x03abc\x22\x07mallory\x2a\x03bob\x80\x01\x07\x8a\x01\x04PA_x\x98\x06\x05";
    let view = PacketView::parse(Bytes::from_static(arrived)).unwrap();
    assert_eq!(view.bytes(), &arrived[..]);
    let spliced = view
        .splice(&Sender {
            sid: "PA_y",
            ..SENDER
        })
        .unwrap();
    assert_eq!(
        &spliced[..],
        b"\x72\x0a\x0a\x01s\x10\x01\x1a\x03abc\x2a\x03bob\x80\x01\x07\x98\x06\x05\x22\x05alice\x8a\x01\x04PA_y"
    );
    let chunk = view.chunk().unwrap();
    assert_eq!(chunk.content, "abc");
    // It shares the packet's buffer.
    assert_eq!(chunk.content.as_ptr(), view.bytes()[9..].as_ptr());
}

#[test]
fn a_user_packet_is_named_and_addressed_twice() {
    // Section 4.3, point 3.
    let user = |outer: &[&str], inner: &[&str]| {
        packet_with(
            Value::User(UserPacket {
                payload: "p".into(),
                participant_sid: "PA_forged".into(),
                participant_identity: "forged".into(),
                destination_identities: inner.iter().map(ToString::to_string).collect(),
                destination_sids: vec!["PA_legacy".into()],
                ..UserPacket::default()
            }),
            outer,
        )
    };
    for (outer, inner, both) in [
        (&["a", "b"][..], &[][..], &["a", "b"][..]),
        (&[], &["c"], &["c"]),
        (&["a"], &["b", "c"], &["a"]),
        (&[], &[], &[]),
    ] {
        let view = view(&user(outer, inner));
        assert_eq!(view.destination_identities().collect::<Vec<_>>(), both);
        assert!(!view.is_broadcast());
        assert!(view.is_addressed_to("nobody", "PA_legacy"));
        assert!(!view.is_addressed_to("nobody", "PA_other"));
        let out = DataPacket::from_bytes(view.splice(&SENDER).unwrap()).unwrap();
        assert_eq!(out.destination_identities, both);
        let Some(Value::User(user)) = out.value else {
            panic!("no user packet");
        };
        assert_eq!(user.destination_identities, both);
        assert_eq!(user.participant_identity, "alice");
        assert_eq!(user.participant_sid, SENDER.sid);
        assert_eq!(out.participant_identity, "alice");
    }
}

#[test]
fn only_an_agent_speaks_for_others_and_is_marked() {
    // Section 4.3, point 2.
    let text_header = packet_with(
        Value::StreamHeader(Header {
            stream_id: "s".into(),
            content: Some(HeaderContent::Text(TextHeader {
                reply_to_stream_id: "r".into(),
                ..TextHeader::default()
            })),
            ..Header::default()
        }),
        &[],
    );
    let generated = |packet: DataPacket| match packet.value {
        Some(Value::StreamHeader(Header {
            content: Some(HeaderContent::Text(text)),
            ..
        })) => text.generated,
        Some(Value::ChatMessage(chat)) => chat.generated,
        _ => panic!("no text"),
    };
    let chat = packet_with(Value::ChatMessage(ChatMessage::default()), &[]);
    for packet in [text_header, chat] {
        let for_user = DataPacket {
            participant_identity: "user".into(),
            ..packet.clone()
        };
        let send = |packet: &DataPacket, sender: &Sender<'_>| {
            DataPacket::from_bytes(view(packet).splice(sender).unwrap()).unwrap()
        };
        let out = send(&for_user, &AGENT);
        assert_eq!(out.participant_identity, "user");
        assert_eq!(out.participant_sid, AGENT.sid);
        assert!(generated(out));
        for (packet, sender) in [(&for_user, SENDER), (&packet, AGENT)] {
            let out = send(packet, &sender);
            assert_eq!(out.participant_identity, "alice");
            assert!(!generated(out));
        }
        let own = DataPacket {
            participant_identity: "alice".into(),
            ..packet.clone()
        };
        assert!(!generated(send(&own, &AGENT)));
    }

    // Chunks always go out under the agent's own name.
    let chunk = DataPacket {
        participant_identity: "user".into(),
        ..packet_with(Value::StreamChunk(Chunk::default()), &[])
    };
    let out = DataPacket::from_bytes(view(&chunk).splice(&AGENT).unwrap()).unwrap();
    assert_eq!(out.participant_identity, "alice");
}

#[test]
fn what_readers_could_disagree_about_is_not_canonical() {
    let cases: [(&str, &[u8]); 13] = [
        ("two identities", b"\x22\x01a\x22\x01b\x7a\x00"),
        ("two sids", b"\x8a\x01\x01a\x8a\x01\x01b\x7a\x00"),
        ("two numbers", b"\x80\x01\x01\x80\x01\x02\x7a\x00"),
        ("two values", b"\x72\x00\x7a\x00"),
        (
            "one value in two parts",
            b"\x72\x03\x0a\x01s\x72\x02\x10\x01",
        ),
        ("two stream ids in a chunk", b"\x72\x06\x0a\x01s\x0a\x01t"),
        ("two stream ids in a header", b"\x6a\x06\x0a\x01s\x0a\x01t"),
        ("text and bytes in a header", b"\x6a\x04\x4a\x00\x52\x00"),
        ("two sids in a user packet", b"\x12\x06\x0a\x01a\x0a\x01b"),
        (
            "a value twice in an attribute",
            b"\x7a\x08\x1a\x06\x12\x01a\x12\x01b",
        ),
        ("a key longer than needed", b"\xa2\x00\x01a\x7a\x00"),
        ("a number longer than needed", b"\x80\x01\x81\x00\x7a\x00"),
        (
            "a number over 32 bits",
            b"\x80\x01\x81\x80\x80\x80\x10\x7a\x00",
        ),
    ];
    for (name, bytes) in cases {
        assert!(
            PacketView::scan(Bytes::from_static(bytes)).is_err(),
            "{name}"
        );
        check(bytes).unwrap();
        // All of these decode, so they are normalised, not refused.
        let view = PacketView::parse(Bytes::from_static(bytes));
        assert!(view.is_ok(), "{name}: {view:?}");
    }
}

#[test]
fn what_nobody_can_read_is_refused() {
    let cases: [(&str, &[u8]); 10] = [
        ("a cut number", b"\x80\x01\x80"),
        ("a cut block", b"\x72\x05\x0a"),
        ("a cut fixed field", b"\x99\x06\x00"),
        ("field number 0", b"\x02\x00"),
        ("an open group", b"\x9b\x06"),
        ("a chunk that is a number", b"\x70\x01"),
        ("an index that is text", b"\x72\x03\x12\x01a"),
        ("an identity that is not UTF-8", b"\x22\x01\xff"),
        ("a topic that is not UTF-8", b"\x6a\x03\x1a\x01\xff"),
        (
            "a number of eleven bytes",
            b"\x80\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ),
    ];
    for (name, bytes) in cases {
        assert!(
            matches!(
                PacketView::parse(Bytes::from_static(bytes)),
                Err(SpliceError::Decode(DecodeError::Malformed { .. }))
            ),
            "{name}"
        );
    }
    // A group is read by some, but there is no known value that would be left.
    assert_eq!(
        PacketView::parse(Bytes::from_static(b"\x9b\x06\x9c\x06")).unwrap_err(),
        SpliceError::NotCanonical
    );
}

#[test]
fn sizes_are_limited_on_both_sides() {
    // Section 3.8.
    let chunk = |content: usize| {
        packet_with(
            Value::StreamChunk(Chunk {
                content: vec![7; content].into(),
                ..Chunk::default()
            }),
            &[],
        )
        .to_bytes()
    };
    assert_eq!(
        PacketView::parse(chunk(65_600)).unwrap_err(),
        SpliceError::Decode(DecodeError::TooLarge {
            size: 65_608,
            limit: 65_535
        })
    );
    let view = PacketView::parse(chunk(65_510)).unwrap();
    assert_eq!(
        view.splice(&SENDER),
        Err(SpliceError::TooLarge {
            size: 65_510 + 8 + 7 + 18,
            limit: 65_535
        })
    );
    let view = PacketView::parse(chunk(limits::PACKET_BYTES)).unwrap();
    let long = Sender {
        identity: &"i".repeat(limits::IDENTITY_BYTES),
        ..SENDER
    };
    assert!(view.splice(&long).is_ok());
}

#[test]
fn an_empty_packet_is_one_too() {
    let view = PacketView::parse(Bytes::new()).unwrap();
    assert_eq!(view.value(), ValueKind::None);
    assert!(view.is_broadcast());
    check(&[]).unwrap();
}
