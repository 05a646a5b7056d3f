//! `rtc-sctp` as a peer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use lkstream_sctp::{Delivery, Order, Reliability};
use rtc_sctp::{
    AssociationHandle, ClientConfig, DatagramEvent, EndpointConfig, Event, Payload,
    PayloadProtocolIdentifier, ReliabilityType, ServerConfig, StreamEvent, TransportConfig,
    max_payload_size_for_mtu,
};
use rtc_shared::TransportProtocol;

use crate::link::Endpoint;
use crate::peer::{LARGEST_MESSAGE, PACKET, Peer, RECEIVE_BUFFER, Role};

pub(crate) struct Rtc {
    endpoint: rtc_sctp::Endpoint,
    association: Option<(AssociationHandle, rtc_sctp::Association)>,
    is_connected: bool,
    resets: Vec<u16>,
    outgoing: VecDeque<Bytes>,
    readable: Vec<u16>,
    buffered: usize,
}

fn address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 5_000))
}

impl Rtc {
    fn poll(&mut self) {
        let Some((_, association)) = &mut self.association else {
            return;
        };
        while let Some(event) = association.poll() {
            match event {
                Event::Connected => self.is_connected = true,
                // The one event for both, the end of the association and the reset of a stream.
                Event::AssociationLost { id, .. } if !association.is_closed() => {
                    self.resets.push(id);
                }
                Event::Stream(StreamEvent::Readable { id }) => self.readable.push(id),
                Event::Stream(StreamEvent::BufferedAmountReleased { n_bytes, .. }) => {
                    self.buffered -= n_bytes;
                }
                _ => {}
            }
        }
    }

    fn association(&mut self) -> &mut rtc_sctp::Association {
        &mut self.association.as_mut().unwrap().1
    }
}

impl Peer for Rtc {
    const NAME: &'static str = "rtc-sctp";

    fn new(now: Instant, role: Role) -> Self {
        let transport = TransportConfig::default()
            .with_max_receive_buffer_size(RECEIVE_BUFFER)
            .with_max_message_size(LARGEST_MESSAGE);
        let mut config = EndpointConfig::new();
        config.max_payload_size(max_payload_size_for_mtu(PACKET));
        let server = (role == Role::Accept).then(|| Arc::new(ServerConfig::new(transport.clone())));
        let mut endpoint =
            rtc_sctp::Endpoint::new(address(), TransportProtocol::UDP, Arc::new(config), server);
        let association = (role == Role::Connect).then(|| {
            endpoint
                .connect(now, ClientConfig::new(transport), address())
                .unwrap()
        });
        Self {
            endpoint,
            association,
            is_connected: false,
            resets: Vec::new(),
            outgoing: VecDeque::new(),
            readable: Vec::new(),
            buffered: 0,
        }
    }

    fn resets(&self) -> &[u16] {
        &self.resets
    }

    fn reset(&mut self, now: Instant, stream: u16) {
        let mut stream = self.association().stream(stream).unwrap();
        stream.close(now).unwrap();
    }

    fn shutdown(&mut self) {
        self.association().shutdown().unwrap();
    }

    fn abort(&mut self) -> bool {
        self.association().abort().unwrap();
        true
    }

    fn is_closed(&self) -> bool {
        self.association
            .as_ref()
            .is_some_and(|(_, association)| association.is_closed())
    }
}

impl Endpoint for Rtc {
    fn input(&mut self, now: Instant, packet: &[u8]) {
        self.input_shared(now, Bytes::copy_from_slice(packet));
    }

    fn input_shared(&mut self, now: Instant, packet: Bytes) {
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
        self.is_connected
    }

    fn buffered(&mut self) -> usize {
        self.buffered
    }

    fn send(&mut self, now: Instant, stream: u16, delivery: Delivery, message: Bytes) -> bool {
        let (kind, value) = match delivery.reliability {
            Reliability::Reliable => (ReliabilityType::Reliable, 0),
            Reliability::Retransmits(count) => (ReliabilityType::Rexmit, count),
            Reliability::Lifetime(time) => (ReliabilityType::Timed, time.as_millis() as u32),
        };
        let length = message.len();
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
        let sent = stream.write_sctp(now, &message, PayloadProtocolIdentifier::Binary);
        assert_eq!(sent, Ok(length));
        self.buffered += length;
        true
    }

    fn read(&mut self) -> Option<(u16, Bytes)> {
        self.poll();
        while let Some(&id) = self.readable.last() {
            let association = &mut self.association.as_mut()?.1;
            if let Ok(mut stream) = association.stream(id)
                && let Ok(Some(chunks)) = stream.read_sctp()
            {
                let message = chunks.to_payload(LARGEST_MESSAGE as usize).unwrap();
                return Some((id, message.freeze()));
            }
            self.readable.pop();
        }
        None
    }
}
