//! `rtc-sctp` as an endpoint.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rtc_sctp::{
    AssociationHandle, ClientConfig, DatagramEvent, Endpoint as RtcEndpoint, EndpointConfig, Event,
    Payload, PayloadProtocolIdentifier, ReliabilityType, ServerConfig, StreamEvent,
    TransportConfig, max_payload_size_for_mtu,
};
use rtc_shared::TransportProtocol;

use super::Endpoint;

pub struct Rtc {
    endpoint: RtcEndpoint,
    association: Option<(AssociationHandle, rtc_sctp::Association)>,
    pub connected: bool,
    pub lost: bool,
    pub reset: Vec<u16>,
    outgoing: VecDeque<Bytes>,
    readable: Vec<u16>,
    pub unordered: bool,
    pub reliability: (ReliabilityType, u32),
    buffered: usize,
}

fn address() -> SocketAddr {
    "192.0.2.1:5000".parse().unwrap()
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Connect,
    Accept,
}

impl Rtc {
    pub fn new(now: Instant, role: Role) -> Self {
        let transport = TransportConfig::default()
            .with_max_receive_buffer_size(2 * 1024 * 1024)
            .with_max_message_size(1_000_000);
        let mut config = EndpointConfig::new();
        config.max_payload_size(max_payload_size_for_mtu(1_191));
        let server = (role == Role::Accept).then(|| Arc::new(ServerConfig::new(transport.clone())));
        let mut endpoint =
            RtcEndpoint::new(address(), TransportProtocol::UDP, Arc::new(config), server);
        let association = (role == Role::Connect).then(|| {
            endpoint
                .connect(now, ClientConfig::new(transport), address())
                .unwrap()
        });
        Self {
            endpoint,
            association,
            connected: false,
            lost: false,
            reset: Vec::new(),
            outgoing: VecDeque::new(),
            readable: Vec::new(),
            unordered: false,
            reliability: (ReliabilityType::Reliable, 0),
            buffered: 0,
        }
    }

    fn poll(&mut self) {
        let Some((_, association)) = &mut self.association else {
            return;
        };
        while let Some(event) = association.poll() {
            match event {
                Event::Connected => self.connected = true,
                Event::AssociationLost { id, .. } => {
                    if association.is_closed() {
                        self.lost = true;
                    } else {
                        self.reset.push(id);
                    }
                }
                Event::HandshakeFailed { .. } => self.lost = true,
                Event::Stream(StreamEvent::Readable { id }) => self.readable.push(id),
                Event::Stream(StreamEvent::BufferedAmountReleased { n_bytes, .. }) => {
                    self.buffered -= n_bytes;
                }
                _ => {}
            }
        }
    }

    pub fn association(&mut self) -> &mut rtc_sctp::Association {
        &mut self.association.as_mut().unwrap().1
    }
}

impl Endpoint for Rtc {
    fn input(&mut self, now: Instant, packet: &[u8]) {
        let packet = Bytes::copy_from_slice(packet);
        match self.endpoint.handle(now, address(), None, packet) {
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
                if let Payload::RawEncode(packets) = transmit.message {
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
        self.connected
    }

    fn room(&self, limit: usize) -> usize {
        limit.saturating_sub(self.buffered)
    }

    fn write(&mut self, now: Instant, stream: u16, message: Bytes) {
        let (unordered, (kind, value)) = (self.unordered, self.reliability);
        self.buffered += message.len();
        let association = self.association();
        if association.stream(stream).is_err() {
            association
                .open_stream(stream, PayloadProtocolIdentifier::Binary)
                .unwrap();
        }
        let mut stream = association.stream(stream).unwrap();
        stream
            .set_reliability_params(unordered, kind, value)
            .unwrap();
        stream
            .write_sctp(now, &message, PayloadProtocolIdentifier::Binary)
            .unwrap();
    }

    fn read(&mut self) -> Option<(u16, Bytes)> {
        self.poll();
        while let Some(&id) = self.readable.last() {
            let association = &mut self.association.as_mut()?.1;
            if let Ok(mut stream) = association.stream(id)
                && let Ok(Some(chunks)) = stream.read_sctp()
            {
                return Some((id, chunks.to_payload(1_000_000).unwrap().freeze()));
            }
            self.readable.pop();
        }
        None
    }
}
