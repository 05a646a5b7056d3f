//! The settings of an association.

use std::time::Duration;

use crate::limits;

/// Which congestion control a sender uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Congestion {
    /// Bounded by loss (RFC 9260 §7, RFC 5681): the reference.
    NewReno,
    /// Built on a model of the path (draft-ietf-ccwg-bbr, version 3), paced.
    #[default]
    Bbr,
}

/// Whether the lower layer protects the bytes well enough that a checksum of zero is accepted (RFC 9653).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Checksum {
    /// DTLS below: offer to take packets without checksum, and leave it out when the peer offers that.
    #[default]
    ZeroOverDtls,
    /// Always CRC32c.
    Always,
}

/// Settings of an [`Association`](crate::Association).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The largest packet to send, in bytes, common header included (path MTU less everything below SCTP). Kept between
    /// [`limits::MIN_PACKET`] and [`limits::MAX_PACKET`].
    pub packet: usize,
    /// What the other side may have sent that was not read, in bytes, at the start; at most [`limits::MAX_WINDOW`].
    pub receive_window: usize,
    /// How far that grows while the application reads as fast as data comes, in bytes; at most [`limits::MAX_WINDOW`].
    pub receive_window_limit: usize,
    /// Bytes of messages that wait or are not acknowledged; [`send`](crate::Association::send) refuses more.
    pub send_buffer: usize,
    /// The largest message that is handed out whole, in bytes; at most half of [`limits::MAX_WINDOW`]. The receive window is kept at
    /// least twice as large.
    pub max_message_size: usize,
    /// Streams that the other side may use.
    pub inbound_streams: u16,
    /// Which congestion control sends.
    pub congestion: Congestion,
    /// Whether packets go without checksum when both sides agree.
    pub checksum: Checksum,
    /// Timeouts and heartbeats without answer in a row, together, after which the association is lost (RFC 9260 §8.1); `None` when something
    /// else watches the path, as ICE does.
    pub max_timeouts: Option<u32>,
    /// How often an idle path is measured; `None` for never. One that data comes in on is measured in any case.
    pub heartbeat: Option<Duration>,
    /// Our port, in every packet (`a=sctp-port`).
    pub local_port: u16,
    /// The port of the other side.
    pub remote_port: u16,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            packet: 1_191,
            receive_window: 2 * 1024 * 1024,
            receive_window_limit: 16 * 1024 * 1024,
            send_buffer: 16 * 1024 * 1024,
            max_message_size: 262_144,
            inbound_streams: 1_024,
            congestion: Congestion::default(),
            checksum: Checksum::default(),
            max_timeouts: None,
            heartbeat: Some(limits::HEARTBEAT_INTERVAL),
            local_port: 5_000,
            remote_port: 5_000,
        }
    }
}

impl Config {
    pub(crate) fn normalized(mut self) -> Self {
        self.packet = self.packet.clamp(limits::MIN_PACKET, limits::MAX_PACKET) & !3;
        self.max_message_size = self.max_message_size.min(limits::MAX_WINDOW / 2);
        self.receive_window = self
            .receive_window
            .clamp(self.max_message_size * 2, limits::MAX_WINDOW);
        self.receive_window_limit = self
            .receive_window_limit
            .clamp(self.receive_window, limits::MAX_WINDOW);
        self.inbound_streams = self.inbound_streams.max(1);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is asked for, four windows are a number, and two messages fit one.
    #[test]
    fn absurd_sizes_are_bounded() {
        for size in [0, 1, usize::MAX / 2, usize::MAX] {
            for windows in [(size, 0), (0, size), (size, size)] {
                let config = Config {
                    packet: size,
                    receive_window: windows.0,
                    receive_window_limit: windows.1,
                    max_message_size: size,
                    inbound_streams: 0,
                    ..Config::default()
                }
                .normalized();
                assert!((limits::MIN_PACKET..=limits::MAX_PACKET).contains(&config.packet));
                assert!(config.max_message_size * 2 <= config.receive_window);
                assert!(config.receive_window <= config.receive_window_limit);
                assert!(config.receive_window_limit.checked_mul(4).is_some());
                assert_eq!(config.inbound_streams, 1);
            }
        }
    }
}
