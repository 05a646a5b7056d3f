//! Bytes of a packet: decoding, splicing and the view agree, and nothing panics.
#![no_main]

use std::collections::BTreeMap;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use lkstream_proto::packet::{Content, DataPacket, Value};
use lkstream_proto::splice::{Attribution, ContentView, PacketView, Sender};

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let decoded = DataPacket::from_bytes(bytes.clone());
    let Ok(view) = PacketView::parse(bytes) else {
        return;
    };
    let decoded = decoded.expect("what is forwarded decodes");
    if let (Some(chunk), Some(Value::StreamChunk(whole))) = (view.chunk(), &decoded.value) {
        assert_eq!(chunk.content, whole.content);
        assert_eq!(chunk.stream_id, whole.stream_id);
    }
    if let (Some(header), Some(Value::StreamHeader(whole))) = (view.header(), &decoded.value) {
        assert_eq!(header.stream_id, whole.stream_id);
        assert_eq!(header.topic, whole.topic);
        assert_eq!(header.mime_type, whole.mime_type);
        assert_eq!(header.timestamp, whole.timestamp);
        assert_eq!(header.total_length, whole.total_length);
        assert_eq!(header.compression, whole.compression);
        assert_eq!(header.inline_content, whole.inline_content);
        let attributes = header.attributes();
        let attributes: BTreeMap<String, String> = attributes
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(attributes, whole.attributes);
        match (header.content, &whole.content) {
            (Some(ContentView::Text(text)), Some(Content::Text(whole))) => {
                assert_eq!(text.operation_type, whole.operation_type);
                assert_eq!(text.version, whole.version);
                assert_eq!(text.reply_to_stream_id, whole.reply_to_stream_id);
                assert_eq!(text.generated, whole.generated);
                assert!(text.attached_stream_ids().eq(&whole.attached_stream_ids));
            }
            (Some(ContentView::Bytes { name }), Some(Content::Bytes(whole))) => {
                assert_eq!(name, whole.name);
            }
            (content, whole) => assert!(content.is_none() && whole.is_none()),
        }
    }
    for attribution in [Attribution::Own, Attribution::MaySpeakForOthers] {
        let sender = Sender {
            sid: "PA_sender",
            identity: "sender",
            attribution,
        };
        let Ok(spliced) = view.splice(&sender) else {
            continue;
        };
        let spliced = DataPacket::from_bytes(spliced).expect("a spliced packet decodes");
        assert_eq!(spliced.participant_sid, "PA_sender");
        if attribution == Attribution::Own {
            assert_eq!(spliced.participant_identity, "sender");
        }
        if let (Some(Value::StreamChunk(before)), Some(Value::StreamChunk(after))) =
            (&decoded.value, &spliced.value)
        {
            assert_eq!(before, after);
        }
    }
});
