//! What goes over the signal links of a worker's participants.

use std::time::Instant;

use bytes::Bytes;

use super::connection::Key;
use super::{LinkId, Worker};
use crate::room::Input;

impl Worker {
    pub(super) fn link_lost(&mut self, now: Instant, link: LinkId) {
        let Some(key) = self.links.remove(&link) else {
            return;
        };
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.link = None;
        }
        self.input_of(now, key, Input::LinkLost);
    }

    /// Has a message written to a connection's signal link, after what its room has said before.
    pub(super) fn say(&mut self, now: Instant, key: Key, message: Bytes) {
        self.input_of(now, key, |member| Input::Say { member, message });
    }

    /// Moves what a room says to a participant to its signal link, as far as that has room.
    pub(super) fn fill_link(&mut self, now: Instant, key: Key) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        let Some(hosted) = self.rooms.get_mut(connection.room) else {
            return;
        };
        let Some(link) = &mut connection.link else {
            return;
        };
        while link.queue.has_room()
            && let Some(message) = hosted.room.next_signal(connection.member)
        {
            if link.queue.push(message).is_err() {
                let id = link.id;
                return self.link_lost(now, id);
            }
        }
    }

    /// A link has written what it was given: there is room for more, and publishers that were announced may be heard.
    pub(super) fn written(&mut self, now: Instant, link: LinkId) {
        let Some(key) = self.links.get(&link).copied() else {
            return;
        };
        let Some(link) = self
            .connections
            .get(&key)
            .and_then(|connection| connection.link.as_ref())
        else {
            return;
        };
        let total = link.queue.messages_written();
        self.input_of(now, key, |member| Input::SignalsWritten { member, total });
        self.fill_link(now, key);
    }
}
