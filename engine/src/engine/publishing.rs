//! Sends and receives the application's single packets.

use lkstream_proto::id::Identity;
use lkstream_proto::limits::PACKET_BYTES;
use lkstream_proto::packet::{Channel, DataPacket, Packet};

use super::{Engine, Session};
use crate::encryption::{Seal, encode};
use crate::limits;
use crate::publish::{Message, PublishError};

impl Engine {
    /// Queues one packet to `destinations`, or to everybody when there are none.
    ///
    /// On the reliable channel such packets take their turn with the streams, in their own order,
    /// and wait in a queue of 1 MiB. On the lossy channel, which
    /// [`poll_lossy`](Engine::poll_lossy) serves, 256 KiB wait and the oldest give way, counted.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was queued then.
    pub fn publish(
        &mut self,
        channel: Channel,
        message: Message,
        destinations: &[Identity],
    ) -> Result<(), PublishError> {
        let (identity, sid) = match &self.session {
            Session::Waiting => return Err(PublishError::NotJoined),
            Session::Lost(cause) => return Err(PublishError::ConnectionLost(cause.clone())),
            Session::Joined { identity, sid } => (identity, sid),
        };
        let mut overhead = 0;
        if let Some(cipher) = &self.cipher {
            if !cipher.keyring.can_seal(identity) {
                let index = cipher.keyring.index();
                return Err(PublishError::NoKey { index });
            }
            overhead = limits::SEALING_BYTES;
        }
        let packet = DataPacket {
            participant_identity: identity.as_str().to_owned(),
            participant_sid: sid.as_str().to_owned(),
            destination_identities: destinations
                .iter()
                .map(|identity| identity.as_str().to_owned())
                .collect(),
            // Numbers grow; so this one is as long as it gets.
            sequence: u32::MAX,
            value: Some(message.into_value()),
            ..DataPacket::default()
        };
        let size = packet.size() + overhead;
        let limit = self.packet_limit;
        if size > limit {
            return Err(PublishError::TooLarge { size, limit });
        }
        match channel {
            Channel::Reliable => self.outgoing.queue_published(packet, size),
            Channel::Lossy => {
                self.counters.dropped_lossy += self.outgoing.queue_lossy(packet, size);
                Ok(())
            }
        }
    }

    /// The next packet for the lossy channel. Call while its transport has room.
    pub fn poll_lossy(&mut self) -> Option<Packet> {
        let Session::Joined { identity, .. } = &self.session else {
            return None;
        };
        let mut seal = self.cipher.as_mut().map(|cipher| Seal { cipher, identity });
        if seal.as_ref().is_some_and(|seal| !seal.has_key()) {
            return None;
        }
        let mut packet = self.outgoing.next_lossy()?;
        // Lossy packets have no number (protocol.md §4.5).
        packet.sequence = 0;
        Some(Packet {
            channel: Channel::Lossy,
            bytes: encode(packet, seal.as_mut()),
        })
    }

    /// The server takes no packets above `bytes` (`a=max-message-size`). More than 64 000 are
    /// never sent (protocol.md §3.8).
    pub fn set_packet_limit(&mut self, bytes: usize) {
        self.packet_limit = bytes.min(PACKET_BYTES);
    }
}
