#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::testing::{any_packet, header, packet_with};
use super::*;
use crate::id::{Identity, StreamId};

#[test]
fn channels_have_the_labels_of_section_3_5() {
    for channel in [Channel::Reliable, Channel::Lossy] {
        assert_eq!(Channel::from_label(channel.label()), Some(channel));
    }
    assert_eq!(Channel::Reliable.label(), "_reliable");
    assert_eq!(Channel::Lossy.label(), "_lossy");
    assert_eq!(Channel::from_label("_data_track"), None);
}

/// Bytes written by hand from the field numbers of sections 4.1 and 5.1, both ways.
fn snapshot(packet: &DataPacket, bytes: &'static [u8]) {
    assert_eq!(packet.to_bytes(), bytes);
    assert_eq!(
        &DataPacket::from_bytes(Bytes::from_static(bytes)).unwrap(),
        packet
    );
}

#[test]
fn a_header_is_these_bytes() {
    let packet = DataPacket {
        participant_identity: "al".into(),
        sequence: 1,
        participant_sid: "PA_a".into(),
        ..packet_with(
            Value::StreamHeader(Header {
                stream_id: "id".into(),
                timestamp: 1_700_000_000_000,
                topic: "t".into(),
                mime_type: "text/plain".into(),
                total_length: Some(0),
                attributes: [("k".to_owned(), "v".to_owned())].into(),
                compression: Compression::DeflateRaw.into(),
                inline_content: Some(Bytes::from_static(b"xy")),
                content: Some(Content::Text(TextHeader {
                    generated: true,
                    attached_stream_ids: vec!["f".into()],
                    ..TextHeader::default()
                })),
                ..Header::default()
            }),
            &["bob"],
        )
    };
    snapshot(
        &packet,
        b"\x6a\x31\
          \x0a\x02id\
          \x10\x80\xd0\x95\xff\xbc\x31\
          \x1a\x01t\
          \x22\x0atext/plain\
          \x28\x00\
          \x42\x06\x0a\x01k\x12\x01v\
          \x4a\x05\x22\x01f\x28\x01\
          \x5a\x02xy\
          \x60\x01\
          \x22\x02al\x2a\x03bob\x80\x01\x01\x8a\x01\x04PA_a",
    );
}

#[test]
fn a_byte_header_without_a_name_still_says_what_it_is() {
    snapshot(
        &packet_with(
            Value::StreamHeader(Header {
                content: Some(Content::Bytes(ByteHeader::default())),
                ..Header::default()
            }),
            &[],
        ),
        b"\x6a\x02\x52\x00",
    );
}

#[test]
fn a_trailer_is_these_bytes() {
    snapshot(
        &packet_with(
            Value::StreamTrailer(Trailer {
                stream_id: "id".into(),
                reason: "boom".into(),
                attributes: [("a".to_owned(), String::new())].into(),
            }),
            &[],
        ),
        b"\x7a\x0f\x0a\x02id\x12\x04boom\x1a\x03\x0a\x01a",
    );
}

#[test]
fn a_user_packet_is_these_bytes() {
    let packet = DataPacket {
        kind: Kind::Lossy.into(),
        ..packet_with(
            Value::User(UserPacket {
                payload: Bytes::from_static(b"hi"),
                topic: Some("t1".into()),
                nonce: Bytes::from_static(&[9; 16]),
                ..UserPacket::default()
            }),
            &[],
        )
    };
    snapshot(
        &packet,
        b"\x08\x01\x12\x1a\x12\x02hi\x22\x02t1\x5a\x10\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t",
    );
}

#[test]
fn an_rpc_error_is_these_bytes() {
    snapshot(
        &packet_with(
            Value::RpcResponse(RpcResponse {
                request_id: "r".into(),
                result: Some(RpcResult::Error(RpcError {
                    code: 1400,
                    message: "no".into(),
                    data: String::new(),
                })),
            }),
            &["a"],
        ),
        b"\x62\x0c\x0a\x01r\x1a\x07\x08\xf8\x0a\x12\x02no\x2a\x01a",
    );
}

#[test]
fn an_encrypted_chunk_is_these_bytes() {
    let packet = packet_with(
        Value::Encrypted(EncryptedPacket {
            encryption_type: EncryptionType::Gcm.into(),
            iv: Bytes::from_static(b"iviviviviviv"),
            key_index: 3,
            encrypted_value: Bytes::from_static(b"zz"),
        }),
        &[],
    );
    snapshot(
        &packet,
        b"\x92\x01\x16\x08\x01\x12\x0civiviviviviv\x18\x03\x22\x02zz",
    );
    let payload = EncryptedPayload {
        value: Some(EncryptedValue::StreamChunk(Chunk {
            chunk_index: 2,
            ..Chunk::default()
        })),
    };
    assert_eq!(payload.encode_to_vec(), b"\x42\x02\x10\x02");
}

#[test]
fn a_value_from_the_future_decodes_as_none() {
    let packet = DataPacket::from_bytes(Bytes::from_static(b"\x9a\x01\x02xy\x80\x01\x05")).unwrap();
    assert_eq!(packet.value, None);
    assert_eq!(packet.sequence, 5);
}

#[test]
fn a_payload_shares_the_packet() {
    let bytes = packet_with(
        Value::StreamChunk(Chunk {
            content: Bytes::from(vec![1; 15_000]),
            ..Chunk::default()
        }),
        &[],
    )
    .to_bytes();
    let packet = DataPacket::from_bytes(bytes.clone()).unwrap();
    let Some(Value::StreamChunk(chunk)) = packet.value else {
        unreachable!()
    };
    let range = bytes.as_ptr_range();
    assert!(range.contains(&chunk.content.as_ptr()));
}

#[test]
fn too_large_is_told_from_malformed() {
    assert_eq!(
        DataPacket::from_bytes(Bytes::from(vec![0; 65_536])),
        Err(DecodeError::TooLarge {
            size: 65_536,
            limit: 65_535
        })
    );
    let error = DataPacket::from_bytes(Bytes::from_static(b"\x22\x03\xffab")).unwrap_err();
    assert!(matches!(error, DecodeError::Malformed { .. }));
    // The message names the field, not what was in it.
    assert!(
        error.to_string().contains("participant_identity"),
        "{error}"
    );
    assert!(!error.to_string().contains("ab\""), "{error}");
}

proptest! {
    #[test]
    fn packets_come_back_as_they_went(packet in any_packet()) {
        let bytes = packet.to_bytes();
        prop_assert_eq!(bytes.len(), packet.encoded_len());
        prop_assert_eq!(DataPacket::from_bytes(bytes).unwrap(), packet);
    }

    #[test]
    fn any_bytes_decode_or_do_not(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = DataPacket::from_bytes(Bytes::from(bytes));
    }

    #[test]
    fn perturbed_packets_decode_or_do_not(
        packet in any_packet(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = packet.to_bytes().to_vec();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = DataPacket::from_bytes(Bytes::from(bytes.clone()));
            bytes.truncate(cut.index(bytes.len()));
            let _ = DataPacket::from_bytes(Bytes::from(bytes));
        }
    }

    #[test]
    fn the_fast_path_writes_what_prost_writes(
        stream_id in "\\PC{0,40}", identity in "\\PC{0,20}", sid in "[A-Z_]{0,15}",
        destinations in proptest::collection::vec("[a-z]{0,200}", 0..3),
        sequence in prop_oneof![0u32..300, any::<u32>()],
        chunk_index in prop_oneof![0u64..300, any::<u64>()],
        content in proptest::collection::vec(any::<u8>(), 0..15_000),
    ) {
        let names: Vec<Identity> = destinations.iter().map(Identity::from).collect();
        let fast = encode_chunk(
            &ChunkFields {
                participant_identity: &identity,
                participant_sid: &sid,
                destinations: &names,
                sequence,
                stream_id: &stream_id,
                chunk_index,
            },
            &content,
        );
        let packet = DataPacket {
            participant_identity: identity,
            participant_sid: sid,
            destination_identities: destinations,
            sequence,
            value: Some(Value::StreamChunk(Chunk {
                stream_id,
                chunk_index,
                content: content.into(),
                ..Chunk::default()
            })),
            ..DataPacket::default()
        };
        prop_assert_eq!(fast, packet.to_bytes());
    }

    #[test]
    fn the_fast_path_of_headers_writes_what_prost_writes(
        header in header(), identity in "\\PC{0,20}", sid in "[A-Z_]{0,15}",
        destinations in proptest::collection::vec("[a-z]{0,200}", 0..3),
        sequence in prop_oneof![0u32..300, any::<u32>()],
        deflated in any::<bool>(),
    ) {
        let compression = if deflated { Compression::DeflateRaw } else { Compression::None };
        let content = header.content.clone().unwrap_or(Content::Bytes(ByteHeader::default()));
        let names: Vec<Identity> = destinations.iter().map(Identity::from).collect();
        let attached: Vec<StreamId> = match &content {
            Content::Text(text) => text.attached_stream_ids.iter().map(StreamId::from).collect(),
            Content::Bytes(_) => Vec::new(),
        };
        let fields = HeaderFields {
            envelope: ChunkFields {
                participant_identity: &identity,
                participant_sid: &sid,
                destinations: &names,
                sequence,
                stream_id: &header.stream_id,
                chunk_index: 0,
            },
            timestamp: header.timestamp,
            topic: &header.topic,
            mime_type: &header.mime_type,
            total_length: header.total_length,
            attributes: &header.attributes,
            content: match &content {
                Content::Text(text) => ContentFields::Text {
                    operation_type: text.operation_type,
                    version: text.version,
                    reply_to_stream_id: &text.reply_to_stream_id,
                    attached_stream_ids: &attached,
                    generated: text.generated,
                },
                Content::Bytes(bytes) => ContentFields::Bytes { name: &bytes.name },
            },
            inline_content: header.inline_content.as_deref(),
            compression,
        };
        let fast = fields.to_bytes();
        prop_assert_eq!(fields.size(), fast.len());
        let packet = DataPacket {
            participant_identity: identity.clone(),
            participant_sid: sid.clone(),
            destination_identities: destinations.clone(),
            sequence,
            value: Some(Value::StreamHeader(Header {
                encryption_type: 0,
                compression: compression.into(),
                content: Some(content.clone()),
                ..header.clone()
            })),
            ..DataPacket::default()
        };
        prop_assert_eq!(fast, packet.to_bytes());
    }
}
