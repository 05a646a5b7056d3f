//! Bytes of a packet: decoding, splicing and the view agree, and nothing panics.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use lkstream_proto::packet::{DataPacket, Value};
use lkstream_proto::splice::{Attribution, PacketView, Sender};

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
