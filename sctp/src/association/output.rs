//! Builds outgoing packets.

use std::time::Instant;

use super::{Association, Pending, State};
use crate::chunk::{
    ABORT, CAUSE_STALE_COOKIE, CAUSE_UNRECOGNIZED_PARAMETERS, COOKIE_ACK, COOKIE_ECHO, ERROR,
    HEARTBEAT, HEARTBEAT_ACK, HEARTBEAT_INFO, INIT, INIT_ACK, SHUTDOWN, SHUTDOWN_ACK,
    SHUTDOWN_COMPLETE, write_last_parameter,
};
use crate::packet::Writer;

/// Of a HEARTBEAT of ours, in bytes.
const HEARTBEAT_LENGTH: usize = 16;

impl Association {
    /// Appends the next packet to `buffer`, at most [`Config::packet`](crate::Config::packet) bytes, unless it has what was cut for a
    /// larger one. How many; `None` when there is nothing to send now. Packets of a busy sender all have the same length, so that they
    /// can leave in one batch; reports come before them, and are short.
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<usize> {
        self.tick(now);
        self.write_packet(now, buffer).or_else(|| {
            // All that was to be sent was given up instead: that is to be told, and a shutdown may have waited for it.
            self.follow_shutdown(now);
            let is_due =
                self.sender.is_forward_due() || self.pending.shutdown || self.pending.shutdown_ack;
            is_due.then(|| self.write_packet(now, buffer))?
        })
    }

    fn write_packet(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<usize> {
        let ports = (self.config.local_port, self.config.remote_port);
        let mut writer = Writer::new(buffer, self.config.packet, ports, self.peer_tag);
        let is_setup = self.write_setup(now, &mut writer);
        if !is_setup && !self.write_early_sack(&mut writer) {
            let is_ready = self.can_send_data() && self.sender.is_ready(now);
            self.write_control(now, &mut writer, is_ready);
            self.write_payload(now, &mut writer, is_ready);
        }
        let zero_checksum = !is_setup && self.sends_zero_checksum();
        let length = writer.finish(zero_checksum);
        if length == 0 {
            return None;
        }
        self.stats.packets_sent += 1;
        Some(length)
    }

    /// It has a packet for itself: some senders do as much for a packet as for a SACK.
    fn write_early_sack(&mut self, writer: &mut Writer<'_>) -> bool {
        let receiver = self.receiver.as_mut();
        self.state == State::Established
            && receiver.is_some_and(|receiver| receiver.write_early_sack(writer, &mut self.stats))
    }

    /// What has a packet for itself. Whether there was something.
    fn write_setup(&mut self, now: Instant, writer: &mut Writer<'_>) -> bool {
        if let Some((cause, about)) = self.pending.abort.take() {
            writer.chunk(ABORT, 0, |body| {
                write_last_parameter(body, cause, &about);
            });
            self.pending = Pending::default();
        } else if let Some(ack) = self.pending.init_ack.take() {
            writer.set_tag(ack.tag);
            ack.init
                .write(writer, INIT_ACK, Some(&ack.cookie), &ack.unrecognized);
        } else if let Some((tag, over)) = self.pending.stale_cookie.take() {
            writer.set_tag(tag);
            writer.chunk(ERROR, 0, |body| {
                write_last_parameter(body, CAUSE_STALE_COOKIE, &over.to_be_bytes());
            });
        } else if std::mem::take(&mut self.pending.init) {
            writer.set_tag(0);
            self.own_init(self.local_tag, self.local_tsn)
                .write(writer, INIT, None, &[]);
            self.setup_sent(now);
        } else if std::mem::take(&mut self.pending.cookie_echo) {
            let cookie = &self.setup.cookie;
            writer.chunk(COOKIE_ECHO, 0, |body| body.extend_from_slice(cookie));
            // Along with it, for before it the other side knows nothing of us (RFC 9260 §3.2.1).
            let unrecognized = &self.setup.unrecognized;
            if !unrecognized.is_empty() && unrecognized.len() + 8 <= writer.room() {
                writer.chunk(ERROR, 0, |body| {
                    write_last_parameter(body, CAUSE_UNRECOGNIZED_PARAMETERS, unrecognized);
                });
            }
            self.setup_sent(now);
        } else if std::mem::take(&mut self.pending.shutdown_complete) {
            writer.chunk(SHUTDOWN_COMPLETE, 0, |_| {});
        } else {
            return false;
        }
        true
    }

    fn write_control(&mut self, now: Instant, writer: &mut Writer<'_>, is_data_ready: bool) {
        if std::mem::take(&mut self.pending.cookie_ack) {
            writer.chunk(COOKIE_ACK, 0, |_| {});
        }
        if let Some((cause, value)) = self.pending.error.take() {
            writer.chunk(ERROR, 0, |body| write_last_parameter(body, cause, &value));
        }
        let Some(receiver) = &mut self.receiver else {
            return;
        };
        if self.state == State::Closed {
            return;
        }
        if std::mem::take(&mut self.pending.shutdown) {
            let cumulative = receiver.cumulative() as u32;
            writer.chunk(SHUTDOWN, 0, |body| {
                body.extend_from_slice(&cumulative.to_be_bytes());
            });
        }
        if std::mem::take(&mut self.pending.shutdown_ack) {
            writer.chunk(SHUTDOWN_ACK, 0, |_| {});
        }
        if let Some(echo) = self
            .pending
            .heartbeat_ack
            .take_if(|echo| echo.len() + 4 <= writer.room())
        {
            writer.chunk(HEARTBEAT_ACK, 0, |body| body.extend_from_slice(&echo));
        }
        if self.pending.heartbeat && writer.room() >= HEARTBEAT_LENGTH {
            self.pending.heartbeat = false;
            let nonce = self.random.next_u64();
            self.heartbeats.sent(now, nonce);
            writer.chunk(HEARTBEAT, 0, |body| {
                write_last_parameter(body, HEARTBEAT_INFO, &nonce.to_be_bytes());
            });
        }
        // A SACK that could wait goes along with data (RFC 9260 §6.2).
        let goes_along = is_data_ready && receiver.timer().is_some();
        if (receiver.is_sack_due(now) || goes_along) && writer.room() >= 64 {
            receiver.write_sack(writer, &mut self.stats);
        }
        if let Some(reset) = &mut self.reset {
            let last_tsn = self.sender.last_tsn();
            reset.prepare(now, &mut self.sender.queue, last_tsn);
            if reset.is_due(now) && writer.room() >= 40 {
                reset.write(now, self.sender.rtt.timeout(), writer);
            }
        }
    }

    fn can_send_data(&self) -> bool {
        matches!(
            self.state,
            State::Established | State::ShutdownPending | State::ShutdownReceived
        )
    }

    fn write_payload(&mut self, now: Instant, writer: &mut Writer<'_>, is_data_ready: bool) {
        if !self.can_send_data() {
            return;
        }
        if self.sender.is_forward_due() && writer.room() >= 16 {
            self.sender.write_forward(now, writer);
        }
        if is_data_ready {
            self.sender.write_data(now, writer, &mut self.stats);
        }
    }
}
