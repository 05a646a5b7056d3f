//! Handles incoming packets (RFC 9260 §8.5).

use std::time::Instant;

use super::handshake::needs_checksum;
use super::{Association, State};
use crate::chunk::{
    ABORT, CAUSE_NO_DATA, CAUSE_PROTOCOL, CAUSE_STALE_COOKIE, CAUSE_UNRECOGNIZED_CHUNK, COOKIE_ACK,
    COOKIE_ECHO, Chunk, DATA, Data, ERROR, FORWARD_TSN, ForwardTsn, HEARTBEAT, HEARTBEAT_ACK, INIT,
    INIT_ACK, RE_CONFIG, REFLECTED, SACK, SHUTDOWN, SHUTDOWN_ACK, SHUTDOWN_COMPLETE, Sack, chunks,
    half, word,
};
use crate::config::Checksum;
use crate::error::PeerFault;
use crate::event::Closed;
use crate::limits;
use crate::packet::{Header, checksum};

/// Whether the rest of a packet is looked at.
enum Next {
    Go,
    Stop,
}

/// Whether the rest of the packet may be of somebody else, for its tag was another one or was not looked at.
fn ends_packet(fault: PeerFault) -> bool {
    matches!(
        fault,
        PeerFault::Tag
            | PeerFault::Closed
            | PeerFault::Cookie
            | PeerFault::Malformed(_)
            | PeerFault::Unexpected(SHUTDOWN_COMPLETE)
    )
}

impl Association {
    /// A packet from the other side, as DTLS gave it.
    ///
    /// # Errors
    /// The first rule that the packet broke; it was dropped, or what is wrong in it, and counted. The association goes on, unless
    /// [`Event::Closed`](crate::Event::Closed) says otherwise.
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) -> Result<(), PeerFault> {
        self.tick(now);
        self.stats.packets_received += 1;
        let result = self.check_packet(packet);
        let (header, body) = match result {
            Ok(parts) => parts,
            Err(fault) => {
                self.stats.packets_refused += 1;
                return Err(fault);
            }
        };
        let Some(list) = chunks(body) else {
            self.stats.packets_refused += 1;
            return Err(PeerFault::Malformed(packet.len()));
        };
        let mut first = Ok(());
        for chunk in list {
            let next = self.handle_chunk(now, &header, chunk, packet.len());
            match next {
                Ok(Next::Go) => {}
                Ok(Next::Stop) => break,
                Err(fault) => {
                    if fault != PeerFault::Window {
                        self.stats.chunks_refused += 1;
                    }
                    first = first.and(Err(fault));
                    if ends_packet(fault) {
                        break;
                    }
                }
            }
        }
        if let Some(receiver) = &mut self.receiver {
            let has_data = receiver.end_packet(now);
            if let Some(reset) = &mut self.reset {
                reset.follow(receiver, &mut self.stats);
            }
            if has_data {
                self.measure(now);
            }
        }
        self.follow_shutdown(now);
        first
    }

    fn check_packet<'a>(&self, packet: &'a [u8]) -> Result<(Header, &'a [u8]), PeerFault> {
        let header = Header::read(packet).ok_or(PeerFault::Malformed(packet.len()))?;
        let body = &packet[limits::COMMON_HEADER..];
        if header.destination != self.config.local_port {
            return Err(PeerFault::Port(header.destination));
        }
        if header.source != self.config.remote_port {
            return Err(PeerFault::Port(header.source));
        }
        let may_be_zero = self.config.checksum == Checksum::ZeroOverDtls
            && body.first().is_some_and(|kind| !needs_checksum(*kind));
        if !(header.checksum == 0 && may_be_zero) && checksum(packet) != header.checksum {
            return Err(PeerFault::Checksum);
        }
        let kind = *body.first().ok_or(PeerFault::Malformed(packet.len()))?;
        let is_reflected = body.get(1).is_some_and(|flags| flags & REFLECTED != 0);
        let is_right = match kind {
            // RFC 9260 §8.5.1.
            INIT => header.tag == 0,
            // Checked against the cookie.
            COOKIE_ECHO => true,
            ABORT | SHUTDOWN_COMPLETE if is_reflected => {
                header.tag == self.peer_tag && self.peer_tag != 0
            }
            _ => header.tag == self.local_tag,
        };
        if is_right {
            Ok((header, body))
        } else {
            Err(PeerFault::Tag)
        }
    }

    fn handle_chunk(
        &mut self,
        now: Instant,
        header: &Header,
        chunk: Chunk<'_>,
        packet: usize,
    ) -> Result<Next, PeerFault> {
        if self.state == State::Closed {
            // Our SHUTDOWN COMPLETE was lost, or is not needed any more (RFC 9260 §8.4 rule 5).
            self.pending.shutdown_complete |= chunk.kind == SHUTDOWN_ACK;
            return Err(PeerFault::Closed);
        }
        match chunk.kind {
            DATA => self.handle_data(now, chunk)?,
            INIT => {
                // Alone in its packet (RFC 9260 §3.3.2).
                if chunk.value.len() + limits::COMMON_HEADER + 4 + 3 < packet {
                    return Err(PeerFault::Malformed(packet));
                }
                self.handle_init(now, chunk.value)?;
                return Ok(Next::Stop);
            }
            INIT_ACK => {
                self.handle_init_ack(now, chunk.value)?;
                return Ok(Next::Stop);
            }
            SACK => {
                let sack = Sack::read(chunk.value).ok_or(PeerFault::Range(SACK))?;
                if self.receiver.is_none() {
                    return Err(PeerFault::Unexpected(SACK));
                }
                self.sender.handle_sack(now, &sack, &mut self.stats)?;
                self.hear_answer();
            }
            HEARTBEAT => {
                // It comes back unchanged or not at all (RFC 9260 §8.3).
                if limits::COMMON_HEADER + 4 + chunk.value.len() > self.config.packet {
                    return Err(PeerFault::Range(HEARTBEAT));
                }
                self.pending.heartbeat_ack = Some(Box::from(chunk.value));
            }
            HEARTBEAT_ACK => {
                self.handle_heartbeat_ack(now, chunk.value)?;
                self.hear_answer();
                self.sender.timeouts_in_row = 0;
            }
            ABORT => {
                self.close(Closed::RemoteAbort);
                return Ok(Next::Stop);
            }
            SHUTDOWN => self.handle_shutdown(now, chunk.value)?,
            SHUTDOWN_ACK => match self.state {
                State::ShutdownSent | State::ShutdownAckSent => {
                    self.pending.shutdown_complete = true;
                    self.close(Closed::Shutdown);
                    return Ok(Next::Stop);
                }
                _ => return Err(PeerFault::Unexpected(SHUTDOWN_ACK)),
            },
            SHUTDOWN_COMPLETE => match self.state {
                State::ShutdownAckSent => {
                    self.close(Closed::RemoteShutdown);
                    return Ok(Next::Stop);
                }
                _ => return Err(PeerFault::Unexpected(SHUTDOWN_COMPLETE)),
            },
            ERROR => {
                if half(chunk.value, 0) == Some(CAUSE_STALE_COOKIE) {
                    self.handle_stale_cookie();
                }
            }
            COOKIE_ECHO => self.handle_cookie_echo(now, header.tag, chunk.value)?,
            COOKIE_ACK => self.handle_cookie_ack(now)?,
            RE_CONFIG => {
                let (Some(reset), Some(receiver)) = (&mut self.reset, &mut self.receiver) else {
                    return Err(PeerFault::Unexpected(RE_CONFIG));
                };
                let queue = &mut self.sender.queue;
                reset.handle(now, chunk.value, queue, receiver, &mut self.stats)?;
            }
            FORWARD_TSN => {
                let forward = ForwardTsn::read(chunk.value).ok_or(PeerFault::Range(FORWARD_TSN))?;
                let Some(receiver) = &mut self.receiver else {
                    return Err(PeerFault::Unexpected(FORWARD_TSN));
                };
                receiver.handle_forward(&forward, &mut self.stats)?;
            }
            kind => return Ok(self.handle_unknown(kind, chunk)),
        }
        Ok(Next::Go)
    }

    fn handle_data(&mut self, now: Instant, chunk: Chunk<'_>) -> Result<(), PeerFault> {
        if self.state == State::ShutdownSent {
            self.hear_before_shutdown(now);
        }
        let Some(receiver) = &mut self.receiver else {
            return Err(PeerFault::Unexpected(DATA));
        };
        if matches!(self.state, State::ShutdownReceived | State::ShutdownAckSent) {
            // It said that nothing more would come (RFC 9260 §9.2).
            return Err(PeerFault::Unexpected(DATA));
        }
        let Some(data) = Data::read(chunk) else {
            self.abort_for(CAUSE_PROTOCOL, &[]);
            return Err(PeerFault::Range(DATA));
        };
        if data.payload.is_empty() {
            // RFC 9260 §6.2, §3.3.10.9.
            self.abort_for(CAUSE_NO_DATA, &data.tsn.to_be_bytes());
            return Err(PeerFault::Range(DATA));
        }
        receiver.handle_data(&data, &mut self.stats)
    }

    fn handle_shutdown(&mut self, now: Instant, value: &[u8]) -> Result<(), PeerFault> {
        let cumulative = word(value, 0).ok_or(PeerFault::Range(SHUTDOWN))?;
        match self.state {
            State::Established | State::ShutdownPending => {
                self.state = State::ShutdownReceived;
            }
            State::ShutdownSent => {
                // Both at once (RFC 9260 §9.2).
                self.state = State::ShutdownAckSent;
                self.pending.shutdown = false;
                self.pending.shutdown_ack = true;
                self.shutdown_at = Some(now + self.sender.rtt.timeout());
            }
            State::ShutdownReceived => {}
            State::ShutdownAckSent => self.pending.shutdown_ack = true,
            _ => return Err(PeerFault::Unexpected(SHUTDOWN)),
        }
        self.sender
            .handle_cumulative(now, cumulative, &mut self.stats)
    }

    /// The two high bits say whether to go on, and whether to report (RFC 9260 §3.2).
    fn handle_unknown(&mut self, kind: u8, chunk: Chunk<'_>) -> Next {
        self.stats.chunks_refused += 1;
        if kind & 0x40 != 0 && self.receiver.is_some() {
            let length = chunk.value.len().min(limits::REPORTED_BYTES);
            let mut copy = vec![kind, chunk.flags, 0, 0];
            let told = u16::try_from(length + 4).unwrap_or(u16::MAX);
            copy[2..].copy_from_slice(&told.to_be_bytes());
            copy.extend_from_slice(&chunk.value[..length]);
            self.pending.error = Some((CAUSE_UNRECOGNIZED_CHUNK, copy.into()));
        }
        if kind & 0x80 != 0 {
            Next::Go
        } else {
            Next::Stop
        }
    }
}
