//! `sctp-proto` as a peer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use lkstream_sctp::{Delivery, Order, Reliability};
use sctp_proto::{
    AssociationHandle, ClientConfig, DatagramEvent, EndpointConfig, Event, Payload,
    PayloadProtocolIdentifier, ReliabilityType, ServerConfig, StreamEvent, TransportConfig,
};

use crate::link::Endpoint;
use crate::peer::{LARGEST_MESSAGE, PACKET, Peer, RECEIVE_BUFFER, Role};

/// Common header and head of a DATA chunk, in bytes (RFC 9260 §3.1, §3.3.1).
const OVERHEAD: u32 = 12 + 16;

pub(crate) struct Proto {
    endpoint: sctp_proto::Endpoint,
    association: Option<(AssociationHandle, sctp_proto::Association)>,
    is_connected: bool,
    resets: Vec<u16>,
    outgoing: VecDeque<Bytes>,
    readable: Vec<u16>,
}

fn address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 5_000))
}

impl Proto {
    fn poll(&mut self) {
        let Some((_, association)) = &mut self.association else {
            return;
        };
        while let Some(event) = association.poll() {
            match event {
                Event::Connected => self.is_connected = true,
                Event::Stream(StreamEvent::Finished { id }) => self.resets.push(id),
                Event::Stream(StreamEvent::Readable { id }) => self.readable.push(id),
                _ => {}
            }
        }
    }

    fn association(&mut self) -> &mut sctp_proto::Association {
        &mut self.association.as_mut().unwrap().1
    }
}

impl Peer for Proto {
    const NAME: &'static str = "sctp-proto";

    fn new(_now: Instant, role: Role) -> Self {
        let transport = Arc::new(
            TransportConfig::default()
                .with_max_receive_buffer_size(RECEIVE_BUFFER)
                .with_max_receive_message_size(LARGEST_MESSAGE)
                .with_max_send_message_size(LARGEST_MESSAGE),
        );
        let mut config = EndpointConfig::new();
        config.max_payload_size(PACKET - OVERHEAD);
        let server = (role == Role::Accept).then(|| {
            let mut server = ServerConfig::new();
            server.transport = Arc::clone(&transport);
            Arc::new(server)
        });
        let mut endpoint = sctp_proto::Endpoint::new(Arc::new(config), server);
        let association = (role == Role::Connect).then(|| {
            let mut client = ClientConfig::new();
            client.transport = transport;
            endpoint.connect(client, address()).unwrap()
        });
        Self {
            endpoint,
            association,
            is_connected: false,
            resets: Vec::new(),
            outgoing: VecDeque::new(),
            readable: Vec::new(),
        }
    }

    fn resets(&self) -> &[u16] {
        &self.resets
    }

    fn reset(&mut self, _now: Instant, stream: u16) {
        self.association().stream(stream).unwrap().close().unwrap();
    }

    fn shutdown(&mut self) {
        self.association().shutdown().unwrap();
    }

    fn abort(&mut self) -> bool {
        false
    }

    fn is_closed(&self) -> bool {
        self.association
            .as_ref()
            .is_some_and(|(_, association)| association.is_closed())
    }
}

impl Endpoint for Proto {
    fn input(&mut self, now: Instant, packet: &[u8]) {
        let packet = Bytes::copy_from_slice(packet);
        match self.endpoint.handle(now, address(), None, None, packet) {
            Some((_, DatagramEvent::AssociationEvent(event))) => {
                if let Some((_, association)) = &mut self.association {
                    association.handle_event(event);
                }
            }
            Some((handle, DatagramEvent::NewAssociation(association)))
                if self.association.is_none() =>
            {
                self.association = Some((handle, association));
            }
            _ => {}
        }
        self.poll();
    }

    fn timeout(&mut self, now: Instant) {
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(now);
        }
        self.poll();
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.association.as_ref()?.1.poll_timeout()
    }

    fn output(&mut self, now: Instant, buffer: &mut Vec<u8>) -> bool {
        if self.outgoing.is_empty()
            && let Some((_, association)) = &mut self.association
        {
            while let Some(transmit) = association.poll_transmit(now) {
                if let Payload::RawEncode(packets) = transmit.payload {
                    self.outgoing.extend(packets);
                }
            }
        }
        let Some(packet) = self.outgoing.pop_front() else {
            return false;
        };
        buffer.extend_from_slice(&packet);
        true
    }

    fn is_connected(&self) -> bool {
        self.is_connected
    }

    fn buffered(&mut self) -> usize {
        let Some((_, association)) = &mut self.association else {
            return 0;
        };
        let ids = association.stream_ids().into_iter();
        ids.filter_map(|id| association.stream(id).ok()?.buffered_amount().ok())
            .sum()
    }

    fn send(&mut self, _now: Instant, stream: u16, delivery: Delivery, message: Bytes) -> bool {
        let (kind, value) = match delivery.reliability {
            Reliability::Reliable => (ReliabilityType::Reliable, 0),
            Reliability::Retransmits(count) => (ReliabilityType::Rexmit, count),
            Reliability::Lifetime(time) => (ReliabilityType::Timed, time.as_millis() as u32),
        };
        let association = self.association();
        if association.stream(stream).is_err()
            && association
                .open_stream(stream, PayloadProtocolIdentifier::Binary)
                .is_err()
        {
            return false;
        }
        let mut stream = association.stream(stream).unwrap();
        stream
            .set_reliability_params(delivery.order == Order::Unordered, kind, value)
            .unwrap();
        if !stream.is_writable() {
            return false;
        }
        let sent = stream.write_sctp(&message, PayloadProtocolIdentifier::Binary);
        assert_eq!(sent, Ok(message.len()));
        true
    }

    fn read(&mut self) -> Option<(u16, Bytes)> {
        self.poll();
        while let Some(&id) = self.readable.last() {
            let association = &mut self.association.as_mut()?.1;
            if let Ok(mut stream) = association.stream(id)
                && let Ok(Some(chunks)) = stream.read_sctp()
            {
                let mut message = vec![0; chunks.len()];
                chunks.read(&mut message).unwrap();
                return Some((id, message.into()));
            }
            self.readable.pop();
        }
        None
    }
}
