//! Arbitrary packets for property tests.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;

/// A packet with a value and destinations, nothing else.
pub(crate) fn packet_with(value: Value, destinations: &[&str]) -> DataPacket {
    DataPacket {
        destination_identities: destinations.iter().map(ToString::to_string).collect(),
        value: Some(value),
        ..DataPacket::default()
    }
}

/// Empty more often than chance has it, and sometimes one of the names that matter.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("alice".to_owned()),
        "[a-c]{1,3}",
        "\\PC{0,12}",
    ]
}

fn payload() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn attributes() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(name(), name(), 0..3)
}

fn user() -> impl Strategy<Value = UserPacket> {
    (
        (name(), payload(), vec(name(), 0..3), option::of(name())),
        (name(), vec(name(), 0..3), option::of(name())),
        (
            option::of(any::<u64>()),
            option::of(any::<u64>()),
            payload(),
        ),
    )
        .prop_map(
            |(
                (participant_sid, payload, destination_sids, topic),
                (participant_identity, destination_identities, id),
                (start_time, end_time, nonce),
            )| UserPacket {
                participant_sid,
                payload,
                destination_sids,
                topic,
                participant_identity,
                destination_identities,
                id,
                start_time,
                end_time,
                nonce,
            },
        )
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        (
            0..5i32,
            any::<i32>(),
            name(),
            vec(name(), 0..3),
            any::<bool>()
        )
            .prop_map(
                |(operation_type, version, reply_to_stream_id, attached_stream_ids, generated)| {
                    Content::Text(TextHeader {
                        operation_type,
                        version,
                        reply_to_stream_id,
                        attached_stream_ids,
                        generated,
                    })
                }
            ),
        name().prop_map(|name| Content::Bytes(ByteHeader { name })),
    ]
}

pub(crate) fn header() -> impl Strategy<Value = Header> {
    (
        (
            name(),
            any::<i64>(),
            name(),
            name(),
            option::of(any::<u64>()),
        ),
        (
            0..3i32,
            attributes(),
            option::of(payload()),
            -1..3i32,
            option::of(content()),
        ),
    )
        .prop_map(
            |(
                (stream_id, timestamp, topic, mime_type, total_length),
                (encryption_type, attributes, inline_content, compression, content),
            )| Header {
                stream_id,
                timestamp,
                topic,
                mime_type,
                total_length,
                encryption_type,
                attributes,
                inline_content,
                compression,
                content,
            },
        )
}

fn chunk() -> impl Strategy<Value = Chunk> {
    (
        name(),
        any::<u64>(),
        payload(),
        any::<i32>(),
        option::of(payload()),
    )
        .prop_map(|(stream_id, chunk_index, content, version, iv)| Chunk {
            stream_id,
            chunk_index,
            content,
            version,
            iv,
        })
}

fn chat() -> impl Strategy<Value = ChatMessage> {
    (
        name(),
        any::<i64>(),
        option::of(any::<i64>()),
        name(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(id, timestamp, edit_timestamp, message, deleted, generated)| ChatMessage {
                id,
                timestamp,
                edit_timestamp,
                message,
                deleted,
                generated,
            },
        )
}

fn rpc_result() -> impl Strategy<Value = RpcResult> {
    prop_oneof![
        name().prop_map(RpcResult::Payload),
        (any::<u32>(), name(), name()).prop_map(|(code, message, data)| RpcResult::Error(
            RpcError {
                code,
                message,
                data
            }
        )),
        payload().prop_map(RpcResult::CompressedPayload),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => user().prop_map(Value::User),
        1 => payload().prop_map(Value::Speaker),
        1 => (any::<u32>(), name()).prop_map(|(code, digit)| Value::SipDtmf(SipDtmf { code, digit })),
        1 => (name(), name(), vec((name(), any::<u64>(), any::<bool>()), 0..3)).prop_map(
            |(transcribed_participant_identity, track_id, segments)| {
                Value::Transcription(Transcription {
                    transcribed_participant_identity,
                    track_id,
                    segments: segments
                        .into_iter()
                        .map(|(text, start_time, r#final)| TranscriptionSegment {
                            text,
                            start_time,
                            r#final,
                            ..TranscriptionSegment::default()
                        })
                        .collect(),
                })
            }
        ),
        1 => payload().prop_map(Value::Metrics),
        2 => chat().prop_map(Value::ChatMessage),
        1 => (name(), name(), name(), any::<u32>(), payload()).prop_map(
            |(id, method, payload, response_timeout_ms, compressed_payload)| {
                Value::RpcRequest(RpcRequest {
                    id,
                    method,
                    payload,
                    response_timeout_ms,
                    version: 1,
                    compressed_payload,
                })
            }
        ),
        1 => name().prop_map(|request_id| Value::RpcAck(RpcAck { request_id })),
        1 => (name(), option::of(rpc_result())).prop_map(|(request_id, result)| {
            Value::RpcResponse(RpcResponse { request_id, result })
        }),
        4 => header().prop_map(Value::StreamHeader),
        3 => chunk().prop_map(Value::StreamChunk),
        2 => (name(), name(), attributes()).prop_map(|(stream_id, reason, attributes)| {
            Value::StreamTrailer(Trailer {
                stream_id,
                reason,
                attributes,
            })
        }),
        1 => (0..3i32, payload(), any::<u32>(), payload()).prop_map(
            |(encryption_type, iv, key_index, encrypted_value)| {
                Value::Encrypted(EncryptedPacket {
                    encryption_type,
                    iv,
                    key_index,
                    encrypted_value,
                })
            }
        ),
    ]
}

/// Any packet that prost can write.
pub(crate) fn any_packet() -> impl Strategy<Value = DataPacket> {
    (
        0..3i32,
        name(),
        vec(name(), 0..3),
        any::<u32>(),
        name(),
        option::weighted(0.95, value()),
    )
        .prop_map(
            |(
                kind,
                participant_identity,
                destination_identities,
                sequence,
                participant_sid,
                value,
            )| {
                DataPacket {
                    kind,
                    participant_identity,
                    destination_identities,
                    sequence,
                    participant_sid,
                    value,
                }
            },
        )
}
