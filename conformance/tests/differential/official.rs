//! The official stream engine in process, with packets as its room would hand them over.

use std::future::Future;

use livekit_common::{
    CLIENT_PROTOCOL_DATA_STREAM_V2, ClientCapability, EncryptionType, ParticipantIdentity,
    RemoteParticipantRegistry,
};
use livekit_data_stream::api::{
    AnyStreamReader, ByteStreamInfo, StreamReader, StreamResult, TextStreamInfo,
};
use livekit_data_stream::backend::Packet;
use livekit_data_stream::backend::incoming::{
    InputEvent, Manager as Incoming, OutputEvent, PacketReceived,
};
use livekit_data_stream::backend::outgoing::Manager as Outgoing;
use livekit_protocol::DataPacket;
use livekit_protocol::data_packet::Value;

/// What everybody else in the room can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Others {
    /// They know chunked streams only.
    Legacy,
    /// They take inline streams and can inflate.
    Modern,
    /// They take inline streams.
    Plain,
}

impl RemoteParticipantRegistry for Others {
    fn remote_client_protocol(&self, _: &ParticipantIdentity) -> i32 {
        match self {
            Others::Legacy => 0,
            Others::Modern | Others::Plain => CLIENT_PROTOCOL_DATA_STREAM_V2,
        }
    }

    fn remote_capabilities(&self, _: &ParticipantIdentity) -> Vec<ClientCapability> {
        match self {
            Others::Modern => vec![ClientCapability::CompressionDeflateRaw],
            Others::Legacy | Others::Plain => Vec::new(),
        }
    }

    fn remote_identities(&self) -> Vec<ParticipantIdentity> {
        vec!["bob".into()]
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// Runs a send of the official engine and gives the packets it makes.
pub(crate) fn sent<F>(send: impl FnOnce(Outgoing) -> F) -> Vec<DataPacket>
where
    F: Future<Output = ()>,
{
    run(async {
        let (manager, mut requests) = Outgoing::new();
        let mut packets = Vec::new();
        // The requests end when the sender and its manager are gone.
        let collect = async {
            while let Ok((batch, responder)) = requests.recv().await {
                packets.extend(batch);
                let _ = responder.respond(Ok(()));
            }
        };
        tokio::join!(send(manager), collect);
        packets
    })
}

/// A stream as the official receiver sees it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) info: SeenInfo,
    /// All of it, or why it failed.
    pub(crate) content: StreamResult<Vec<u8>>,
}

#[derive(Debug)]
pub(crate) enum SeenInfo {
    Text(TextStreamInfo),
    Bytes(ByteStreamInfo),
}

/// Feeds packets to the official receiver and gives the streams it opened, once the sender is gone.
pub(crate) fn received(packets: Vec<DataPacket>) -> Vec<Seen> {
    run(async {
        let (manager, input, mut output) = Incoming::new(None);
        for packet in packets {
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
                _ => continue,
            };
            let event = InputEvent::PacketReceived(PacketReceived::new(packet, identity));
            input.send(event).unwrap();
        }
        input.send(InputEvent::Shutdown).unwrap();
        manager.run().await;
        let mut seen = Vec::new();
        while let Ok(event) = output.try_recv() {
            let OutputEvent::StreamOpened(opened) = event else {
                continue;
            };
            seen.push(match opened.stream_reader {
                AnyStreamReader::Text(reader) => Seen {
                    info: SeenInfo::Text(reader.info().clone()),
                    content: reader.read_all().await.map(String::into_bytes),
                },
                AnyStreamReader::Byte(reader) => Seen {
                    info: SeenInfo::Bytes(reader.info().clone()),
                    content: reader.read_all().await.map(|bytes| bytes.to_vec()),
                },
            });
        }
        seen
    })
}
