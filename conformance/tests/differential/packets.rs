//! `DataPacket` and everything in it.

#![allow(deprecated)]

use bytes::Bytes;
use livekit_protocol as official;
use lkstream_proto::packet as ours;
use prost::Message;

use crate::pair::{Draw, Pair, both, check};

fn text_header(draw: &mut Draw) -> Pair<official::data_stream::TextHeader, ours::TextHeader> {
    both!(
        official::data_stream::TextHeader,
        ours::TextHeader {
            operation_type: draw.variant(4),
            version: draw.int(),
            reply_to_stream_id: draw.text(),
            attached_stream_ids: draw.some(Draw::text),
            generated: draw.flag(),
        }
    )
}

fn byte_header(draw: &mut Draw) -> Pair<official::data_stream::ByteHeader, ours::ByteHeader> {
    both!(
        official::data_stream::ByteHeader,
        ours::ByteHeader { name: draw.text() }
    )
}

fn content(draw: &mut Draw) -> Pair<official::data_stream::header::ContentHeader, ours::Content> {
    use official::data_stream::header::ContentHeader;
    if draw.flag() {
        text_header(draw).map(ContentHeader::TextHeader, ours::Content::Text)
    } else {
        byte_header(draw).map(ContentHeader::ByteHeader, ours::Content::Bytes)
    }
}

fn header(draw: &mut Draw) -> Pair<official::data_stream::Header, ours::Header> {
    both!(official::data_stream::Header, ours::Header {
        stream_id: draw.text(),
        timestamp: draw.signed(),
        topic: draw.text(),
        mime_type: draw.text(),
        total_length: draw.maybe(Draw::unsigned),
        encryption_type: draw.variant(3),
        attributes: draw.map(),
        inline_content: draw.maybe(Draw::blob),
        compression: draw.variant(2),
        content_header = content: draw.maybe(content),
    })
}

fn chunk(draw: &mut Draw) -> Pair<official::data_stream::Chunk, ours::Chunk> {
    both!(
        official::data_stream::Chunk,
        ours::Chunk {
            stream_id: draw.text(),
            chunk_index: draw.unsigned(),
            content: draw.blob(),
            version: draw.int(),
            iv: draw.maybe(Draw::blob),
        }
    )
}

fn trailer(draw: &mut Draw) -> Pair<official::data_stream::Trailer, ours::Trailer> {
    both!(
        official::data_stream::Trailer,
        ours::Trailer {
            stream_id: draw.text(),
            reason: draw.text(),
            attributes: draw.map(),
        }
    )
}

fn user(draw: &mut Draw) -> Pair<official::UserPacket, ours::UserPacket> {
    both!(
        official::UserPacket,
        ours::UserPacket {
            participant_sid: draw.text(),
            payload: draw.blob(),
            destination_sids: draw.some(Draw::text),
            topic: draw.maybe(Draw::text),
            participant_identity: draw.text(),
            destination_identities: draw.some(Draw::text),
            id: draw.maybe(Draw::text),
            start_time: draw.maybe(Draw::unsigned),
            end_time: draw.maybe(Draw::unsigned),
            nonce: draw.blob(),
        }
    )
}

fn sip_dtmf(draw: &mut Draw) -> Pair<official::SipDtmf, ours::SipDtmf> {
    both!(
        official::SipDtmf,
        ours::SipDtmf {
            code: draw.small(),
            digit: draw.text()
        }
    )
}

fn segment(draw: &mut Draw) -> Pair<official::TranscriptionSegment, ours::TranscriptionSegment> {
    both!(
        official::TranscriptionSegment,
        ours::TranscriptionSegment {
            id: draw.text(),
            text: draw.text(),
            start_time: draw.unsigned(),
            end_time: draw.unsigned(),
            r#final: draw.flag(),
            language: draw.text(),
        }
    )
}

fn transcription(draw: &mut Draw) -> Pair<official::Transcription, ours::Transcription> {
    both!(
        official::Transcription,
        ours::Transcription {
            transcribed_participant_identity: draw.text(),
            track_id: draw.text(),
            segments: draw.some(segment),
        }
    )
}

fn chat(draw: &mut Draw) -> Pair<official::ChatMessage, ours::ChatMessage> {
    both!(
        official::ChatMessage,
        ours::ChatMessage {
            id: draw.text(),
            timestamp: draw.signed(),
            edit_timestamp: draw.maybe(Draw::signed),
            message: draw.text(),
            deleted: draw.flag(),
            generated: draw.flag(),
        }
    )
}

fn rpc_request(draw: &mut Draw) -> Pair<official::RpcRequest, ours::RpcRequest> {
    both!(
        official::RpcRequest,
        ours::RpcRequest {
            id: draw.text(),
            method: draw.text(),
            payload: draw.text(),
            response_timeout_ms: draw.small(),
            version: draw.small(),
            compressed_payload: draw.blob(),
        }
    )
}

fn rpc_ack(draw: &mut Draw) -> Pair<official::RpcAck, ours::RpcAck> {
    both!(
        official::RpcAck,
        ours::RpcAck {
            request_id: draw.text()
        }
    )
}

fn rpc_result(draw: &mut Draw) -> Pair<official::rpc_response::Value, ours::RpcResult> {
    use official::rpc_response::Value;
    match draw.below(3) {
        0 => {
            let text = draw.text();
            Pair::new(Value::Payload(text.clone()), ours::RpcResult::Payload(text))
        }
        1 => both!(
            official::RpcError,
            ours::RpcError {
                code: draw.small(),
                message: draw.text(),
                data: draw.text(),
            }
        )
        .map(Value::Error, ours::RpcResult::Error),
        _ => {
            let blob = draw.blob();
            Pair::new(
                Value::CompressedPayload(blob.clone()),
                ours::RpcResult::CompressedPayload(Bytes::from(blob)),
            )
        }
    }
}

fn rpc_response(draw: &mut Draw) -> Pair<official::RpcResponse, ours::RpcResponse> {
    both!(official::RpcResponse, ours::RpcResponse {
        request_id: draw.text(),
        value = result: draw.maybe(rpc_result),
    })
}

fn encrypted(draw: &mut Draw) -> Pair<official::EncryptedPacket, ours::EncryptedPacket> {
    both!(
        official::EncryptedPacket,
        ours::EncryptedPacket {
            encryption_type: draw.variant(3),
            iv: draw.blob(),
            key_index: draw.small(),
            encrypted_value: draw.blob(),
        }
    )
}

fn encrypted_payload(
    draw: &mut Draw,
) -> Pair<official::EncryptedPacketPayload, ours::EncryptedPayload> {
    use official::encrypted_packet_payload::Value;
    use ours::EncryptedValue;
    let value = draw.maybe(|draw| match draw.below(8) {
        0 => user(draw).map(Value::User, EncryptedValue::User),
        1 => chat(draw).map(Value::ChatMessage, EncryptedValue::ChatMessage),
        2 => rpc_request(draw).map(Value::RpcRequest, EncryptedValue::RpcRequest),
        3 => rpc_ack(draw).map(Value::RpcAck, EncryptedValue::RpcAck),
        4 => rpc_response(draw).map(Value::RpcResponse, EncryptedValue::RpcResponse),
        5 => header(draw).map(Value::StreamHeader, EncryptedValue::StreamHeader),
        6 => chunk(draw).map(Value::StreamChunk, EncryptedValue::StreamChunk),
        _ => trailer(draw).map(Value::StreamTrailer, EncryptedValue::StreamTrailer),
    });
    both!(
        official::EncryptedPacketPayload,
        ours::EncryptedPayload { value: value }
    )
}

/// Speakers and metrics are kept encoded by us.
fn speaker(draw: &mut Draw) -> Pair<official::ActiveSpeakerUpdate, Bytes> {
    let speakers = official::ActiveSpeakerUpdate {
        speakers: draw.some(|draw| official::SpeakerInfo {
            sid: draw.text(),
            level: 0.5,
            active: draw.flag(),
        }),
    };
    let encoded = Bytes::from(speakers.encode_to_vec());
    Pair::new(speakers, encoded)
}

fn metrics(draw: &mut Draw) -> Pair<official::MetricsBatch, Bytes> {
    let metrics = official::MetricsBatch {
        timestamp_ms: draw.signed(),
        str_data: draw.some(Draw::text),
        ..Default::default()
    };
    let encoded = Bytes::from(metrics.encode_to_vec());
    Pair::new(metrics, encoded)
}

fn value(draw: &mut Draw) -> Pair<official::data_packet::Value, ours::Value> {
    use official::data_packet::Value;
    match draw.below(13) {
        0 => user(draw).map(Value::User, ours::Value::User),
        1 => speaker(draw).map(Value::Speaker, ours::Value::Speaker),
        2 => sip_dtmf(draw).map(Value::SipDtmf, ours::Value::SipDtmf),
        3 => transcription(draw).map(Value::Transcription, ours::Value::Transcription),
        4 => metrics(draw).map(Value::Metrics, ours::Value::Metrics),
        5 => chat(draw).map(Value::ChatMessage, ours::Value::ChatMessage),
        6 => rpc_request(draw).map(Value::RpcRequest, ours::Value::RpcRequest),
        7 => rpc_ack(draw).map(Value::RpcAck, ours::Value::RpcAck),
        8 => rpc_response(draw).map(Value::RpcResponse, ours::Value::RpcResponse),
        9 => header(draw).map(Value::StreamHeader, ours::Value::StreamHeader),
        10 => chunk(draw).map(Value::StreamChunk, ours::Value::StreamChunk),
        11 => trailer(draw).map(Value::StreamTrailer, ours::Value::StreamTrailer),
        _ => encrypted(draw).map(Value::EncryptedPacket, ours::Value::Encrypted),
    }
}

fn packet(draw: &mut Draw) -> Pair<official::DataPacket, ours::DataPacket> {
    both!(
        official::DataPacket,
        ours::DataPacket {
            kind: draw.variant(2),
            participant_identity: draw.text(),
            destination_identities: draw.some(Draw::text),
            sequence: draw.small(),
            participant_sid: draw.text(),
            value: draw.maybe(value),
        }
    )
}

#[test]
fn data_packets_are_the_same_in_both_schemas() {
    for seed in 0..3_000 {
        check(seed, &packet(&mut Draw::new(seed)));
    }
}

#[test]
fn encrypted_payloads_are_the_same_in_both_schemas() {
    for seed in 0..500 {
        check(seed, &encrypted_payload(&mut Draw::new(seed)));
    }
}

#[test]
fn chunks_of_the_fast_path_are_read_by_the_official_schema() {
    for seed in 0..500 {
        let mut draw = Draw::new(seed);
        let identity = draw.text();
        let sid = draw.text();
        let destinations: Vec<_> = draw
            .some(Draw::text)
            .into_iter()
            .map(lkstream_proto::id::Identity::from)
            .collect();
        let stream_id = draw.text();
        let content = draw.blob();
        let fields = ours::ChunkFields {
            participant_identity: &identity,
            participant_sid: &sid,
            destinations: &destinations,
            sequence: draw.small(),
            stream_id: &stream_id,
            chunk_index: draw.unsigned(),
        };
        let read = official::DataPacket::decode(ours::encode_chunk(&fields, &content)).unwrap();
        let expected = official::DataPacket {
            participant_identity: identity.clone(),
            destination_identities: destinations
                .iter()
                .map(|identity| identity.as_str().to_owned())
                .collect(),
            sequence: fields.sequence,
            participant_sid: sid.clone(),
            value: Some(official::data_packet::Value::StreamChunk(
                official::data_stream::Chunk {
                    stream_id: stream_id.clone(),
                    chunk_index: fields.chunk_index,
                    content: content.clone(),
                    ..Default::default()
                },
            )),
            ..Default::default()
        };
        assert_eq!(read, expected, "seed {seed}");
    }
}
