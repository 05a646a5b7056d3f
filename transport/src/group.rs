//! Channels of the same label, as one.

use std::time::Instant;

use bytes::Bytes;

use crate::channel::ChannelId;
use crate::error::SendError;
use crate::peer::Peer;

/// The open channels of one label of one [`Peer`], used as one channel.
///
/// Labels need not be unique (WebRTC allows several channels of one label), and LiveKit knows a channel by its label alone. So there may be
/// several, by accident or to have one that nobody reads and that fills the window. Messages of all are read, in turn; ours go over the one
/// that was opened first. There is an order within each channel only.
#[derive(Debug, Default)]
pub struct ChannelGroup {
    members: Vec<ChannelId>,
    /// Which one is read next.
    turn: usize,
    /// Bytes given to the first one of now, and to those before it.
    given: u64,
    given_before: u64,
}

impl ChannelGroup {
    /// A group without channels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a channel in, after [`Event::ChannelOpen`](crate::Event::ChannelOpen).
    pub fn insert(&mut self, channel: ChannelId) {
        if !self.members.contains(&channel) {
            self.members.push(channel);
        }
    }

    /// Lets a channel go, after [`Event::ChannelClosed`](crate::Event::ChannelClosed). Whether it was the last one; `false` also for one
    /// that is not in the group.
    pub fn remove(&mut self, channel: ChannelId) -> bool {
        let Some(at) = self.members.iter().position(|known| *known == channel) else {
            return false;
        };
        self.members.remove(at);
        if at == 0 {
            self.given_before = self.given;
        }
        self.members.is_empty()
    }

    /// Whether a channel of the group is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.members.is_empty()
    }

    /// The next message of one of the channels; see [`Peer::receive`].
    pub fn receive(&mut self, peer: &mut Peer) -> Option<Bytes> {
        for _ in 0..self.members.len() {
            self.turn = (self.turn + 1) % self.members.len();
            if let Some(message) = peer.receive(self.members[self.turn]) {
                return Some(message);
            }
        }
        None
    }

    /// Gives a message to the channel that was opened first; see [`Peer::send`].
    ///
    /// # Errors
    /// See [`SendError`]; [`SendError::Closed`] where no channel is open.
    pub fn send(&mut self, now: Instant, peer: &mut Peer, message: Bytes) -> Result<(), SendError> {
        let channel = *self.members.first().ok_or(SendError::Closed)?;
        let bytes = message.len() as u64;
        peer.send(now, channel, message)?;
        self.given += bytes;
        Ok(())
    }

    /// Bytes that should be handed over now, 0 where no channel is open; see [`Peer::room`].
    #[must_use]
    pub fn room(&self, peer: &Peer) -> usize {
        self.members
            .first()
            .map_or(0, |channel| peer.room(*channel))
    }

    /// Bytes given that the other side has acknowledged; see [`Peer::acknowledged`]. All that was given to a channel before it was closed
    /// counts: it was sent before the close, and the other side closes its direction when it has that.
    #[must_use]
    pub fn acknowledged(&self, peer: &Peer) -> u64 {
        let first = self.members.first();
        self.given_before + first.map_or(0, |channel| peer.acknowledged(*channel))
    }
}
