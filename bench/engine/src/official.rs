//! The official engine, with its wire encoding, in tasks of one thread as in its room.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::StreamExt;
use livekit_common::{
    CLIENT_PROTOCOL_DATA_STREAM_V2, ClientCapability, EncryptionType, ParticipantIdentity,
    RemoteParticipantRegistry,
};
use livekit_data_stream::api::{
    AnyStreamReader, SendByteOptions, SendTextOptions, StreamByteOptions, StreamWriter,
};
use livekit_data_stream::backend::Packet;
use livekit_data_stream::backend::incoming::{
    InputEvent, Manager as Incoming, ManagerInput, OutputEvent, PacketReceived,
};
use livekit_data_stream::backend::outgoing::Manager as Outgoing;
use livekit_protocol::DataPacket;
use livekit_protocol::data_packet::Value;
use prost::Message;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{LocalSet, spawn_local, yield_now};

use crate::load::{BLOCK_BYTES, CHUNK_BYTES, TEXT_BYTES};
use crate::meter::{Cost, Count, Meter};
use crate::run;

/// `livekit-data-stream` with `livekit-protocol`.
#[derive(Debug)]
pub struct Official;

/// Chunks before counting starts, so that every queue has its size.
const WARM_UP: usize = 1_000;

impl run::Engine for Official {
    fn both_ways(blocks: usize, count: Option<Count>) -> Cost {
        run_local(async move {
            let mut wire = Wire::new(To::Receiver);
            let block = vec![7; BLOCK_BYTES];
            let writer = wire.open().await;
            let reader = wire.reader().await;
            let reading = spawn_local(read_to_end(reader));
            let drain = spawn_local(async move { while wire.output.recv().await.is_some() {} });
            let meter = Meter::start(count);
            for _ in 0..blocks {
                writer.write(&block).await.unwrap();
            }
            writer.close().await.unwrap();
            let (read, _) = reading.await.unwrap();
            let cost = meter.stop();
            assert_eq!(read, blocks * BLOCK_BYTES);
            drain.abort();
            cost
        })
    }

    fn sending(blocks: usize, count: Option<Count>) -> Cost {
        run_local(async move {
            let wire = Wire::new(To::Nobody);
            let block = vec![7; BLOCK_BYTES];
            let writer = wire.open().await;
            for _ in 0..WARM_UP.div_ceil(BLOCK_BYTES / CHUNK_BYTES) {
                writer.write(&block).await.unwrap();
            }
            let meter = Meter::start(count);
            for _ in 0..blocks {
                writer.write(&block).await.unwrap();
            }
            meter.stop()
        })
    }

    fn receiving(chunks: usize, count: Option<Count>) -> Cost {
        run_local(async move {
            let (outgoing, mut requests) = Outgoing::new();
            let packets = spawn_local(async move {
                let mut packets = Vec::new();
                while packets.len() <= WARM_UP + chunks
                    && let Ok((batch, responder)) = requests.recv().await
                {
                    packets.extend(batch.iter().map(Message::encode_to_vec));
                    let _ = responder.respond(Ok(()));
                }
                packets
            });
            let block = vec![7; BLOCK_BYTES];
            let writer = outgoing
                .stream_bytes(StreamByteOptions::new_with_topic("files"))
                .await
                .unwrap();
            while writer.write(&block).await.is_ok() {}
            let mut wire = Wire::new(To::Nobody);
            let mut packets = packets.await.unwrap().into_iter();
            wire.input.send(event(&packets.next().unwrap())).unwrap();
            let mut reader = wire.reader().await;
            let drain = spawn_local(async move { while wire.output.recv().await.is_some() {} });
            let receive = async |reader: &mut AnyStreamReader, packet: Vec<u8>| {
                wire.input.send(event(&packet)).unwrap();
                drop(packet);
                let AnyStreamReader::Byte(reader) = reader else {
                    panic!("a byte stream");
                };
                reader.next().await.unwrap().unwrap();
            };
            for packet in packets.by_ref().take(WARM_UP) {
                receive(&mut reader, packet).await;
            }
            let meter = Meter::start(count);
            for packet in packets.take(chunks) {
                receive(&mut reader, packet).await;
            }
            let cost = meter.stop();
            drain.abort();
            cost
        })
    }

    fn texts(texts: usize, count: Option<Count>) -> Cost {
        run_local(async move {
            let mut wire = Wire::new(To::Receiver);
            let text = "x".repeat(TEXT_BYTES);
            for _ in 0..WARM_UP {
                wire.text(&text).await;
            }
            let meter = Meter::start(count);
            for _ in 0..texts {
                wire.text(&text).await;
            }
            meter.stop()
        })
    }

    fn one_shot(payload: Vec<u8>, count: Option<Count>) -> (Cost, u64) {
        run_local(async move {
            let wire = Wire::new(To::Nobody);
            let options = SendByteOptions::new_with_topic("files");
            let meter = Meter::start(count);
            wire.outgoing
                .send_bytes(&payload, options, &Modern)
                .await
                .unwrap();
            (meter.stop(), wire.sent.get())
        })
    }

    fn largest_piece(payload: Vec<u8>) -> usize {
        run_local(async move {
            let mut wire = Wire::new(To::Receiver);
            let options = SendByteOptions::new_with_topic("files");
            wire.outgoing
                .send_bytes(&payload, options, &Modern)
                .await
                .unwrap();
            let (read, largest) = read_to_end(wire.reader().await).await;
            assert_eq!(read, payload.len());
            largest
        })
    }

    fn unread(blocks: usize) -> (usize, f64) {
        run_local(async move {
            let mut wire = Wire::new(To::Receiver);
            let block = vec![7; BLOCK_BYTES];
            let text = "x".repeat(TEXT_BYTES);
            let writer = wire.open().await;
            // Nobody reads from it.
            let _reader = wire.reader().await;
            let mut texts = 0;
            for written in 1..=blocks {
                writer.write(&block).await.unwrap();
                yield_now().await;
                while wire.output.try_recv().is_ok() {}
                if written % 100 == 0 {
                    wire.text(&text).await;
                    texts += 1;
                }
            }
            // It never stops to read, nor does time play a part.
            (texts, 0.0)
        })
    }
}

fn run_local<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, work)
}

/// Everybody takes everything.
struct Modern;

impl RemoteParticipantRegistry for Modern {
    fn remote_client_protocol(&self, _: &ParticipantIdentity) -> i32 {
        CLIENT_PROTOCOL_DATA_STREAM_V2
    }

    fn remote_capabilities(&self, _: &ParticipantIdentity) -> Vec<ClientCapability> {
        vec![ClientCapability::CompressionDeflateRaw]
    }

    fn remote_identities(&self) -> Vec<ParticipantIdentity> {
        vec!["bob".into()]
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    /// Packets are encoded, decoded and received.
    Receiver,
    /// Packets are encoded and dropped.
    Nobody,
}

/// Both managers, and the wire between them. The sender's names are left empty, which a server would fill in: that is to
/// the advantage of this engine.
struct Wire {
    outgoing: Outgoing,
    input: ManagerInput,
    output: UnboundedReceiver<OutputEvent>,
    sent: Rc<Cell<u64>>,
}

impl Wire {
    fn new(to: To) -> Wire {
        let (outgoing, mut requests) = Outgoing::new();
        let (incoming, input, output) = Incoming::new(None);
        spawn_local(incoming.run());
        let sent = Rc::new(Cell::new(0));
        let (count, wire) = (Rc::clone(&sent), input.clone());
        spawn_local(async move {
            while let Ok((batch, responder)) = requests.recv().await {
                for packet in batch {
                    let bytes = packet.encode_to_vec();
                    drop(packet);
                    count.set(count.get() + bytes.len() as u64);
                    if to == To::Receiver {
                        wire.send(event(&bytes)).unwrap();
                    }
                }
                let _ = responder.respond(Ok(()));
            }
        });
        Wire {
            outgoing,
            input,
            output,
            sent,
        }
    }

    async fn open(&self) -> livekit_data_stream::api::ByteStreamWriter {
        let options = StreamByteOptions::new_with_topic("files");
        self.outgoing.stream_bytes(options).await.unwrap()
    }

    /// The reader of the next stream that opens.
    async fn reader(&mut self) -> AnyStreamReader {
        loop {
            if let OutputEvent::StreamOpened(opened) = self.output.recv().await.unwrap() {
                return opened.stream_reader;
            }
        }
    }

    /// Sends a text and reads it.
    async fn text(&mut self, text: &str) {
        let options = SendTextOptions::new_with_topic("lk.chat");
        self.outgoing
            .send_text(text, options, &Modern)
            .await
            .unwrap();
        let (read, _) = read_to_end(self.reader().await).await;
        assert_eq!(read, TEXT_BYTES);
    }
}

fn event(bytes: &[u8]) -> InputEvent {
    let packet = DataPacket::decode(bytes).unwrap();
    let identity = ParticipantIdentity(packet.participant_identity);
    let encryption_type = EncryptionType::None;
    let packet = match packet.value {
        Some(Value::StreamHeader(header)) => Packet::Header {
            header: header.into(),
            encryption_type,
        },
        Some(Value::StreamChunk(chunk)) => Packet::Chunk {
            chunk: chunk.into(),
            encryption_type,
        },
        Some(Value::StreamTrailer(trailer)) => Packet::Trailer {
            trailer: trailer.into(),
            encryption_type,
        },
        other => panic!("{other:?}"),
    };
    InputEvent::PacketReceived(PacketReceived::new(packet, identity))
}

/// Reads piece by piece: bytes in all, and of the largest piece.
async fn read_to_end(reader: AnyStreamReader) -> (usize, usize) {
    let (mut read, mut largest) = (0, 0);
    let mut note = |size: usize| {
        read += size;
        largest = largest.max(size);
    };
    match reader {
        AnyStreamReader::Byte(mut reader) => {
            while let Some(piece) = reader.next().await {
                let piece: Bytes = piece.unwrap();
                note(piece.len());
            }
        }
        AnyStreamReader::Text(mut reader) => {
            while let Some(piece) = reader.next().await {
                note(piece.unwrap().len());
            }
        }
    }
    (read, largest)
}
