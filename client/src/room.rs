//! A room, seen from one participant.

use std::sync::Arc;

use lkstream_engine::TopicFilter;
use lkstream_engine::encryption::Keyring;
use lkstream_proto::id::{Identity, RoomName, RoomSid};

use crate::builder::RoomBuilder;
use crate::shared::Shared;
use crate::writer::Outgoing;
use crate::{
    ByteOptions, ByteStreams, ByteWriter, ConnectError, Counters, Disconnected, Events, OpenError,
    Participant, TextOptions, TextStreams, TextWriter,
};

/// A joined room. Cloning gives another handle to the same membership.
///
/// Dropping the last handle leaves the room: what is queued is still sent for up to 3 s in the background, open
/// writers and readers end with an error. [`close`](Room::close) does the same and waits for it. Neither needs a
/// runtime in the drop itself; without one the connection is just gone.
#[derive(Clone)]
pub struct Room {
    handle: Arc<Handle>,
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// Leaves the room when the last of the user's handles is gone.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closing = true;
        state.wake_driver();
    }
}

impl Room {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Room {
            handle: Arc::new(Handle { shared }),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// Joins the room of the token at the server: `ws`, `wss`, `http` or `https`, with an optional path.
    ///
    /// Resolves once data can be sent and received. To be ready for streams that arrive at once, register them with
    /// [`Room::builder`].
    ///
    /// # Cancel safety
    /// Dropping the future gives up the join and leaves nothing behind.
    ///
    /// # Errors
    /// [`ConnectError`]; its `kind()` tells a refusal from an unreachable server and from a time limit.
    pub async fn connect(url: &str, token: &str) -> Result<Room, ConnectError> {
        Room::builder(url, token).connect().await
    }

    /// Prepares a join with options.
    pub fn builder(url: &str, token: &str) -> RoomBuilder {
        RoomBuilder::new(url, token)
    }

    /// The room's name.
    pub fn name(&self) -> RoomName {
        self.handle.shared.lock().session.room_name()
    }

    /// The id of this lifetime of the room; empty until the server has told it.
    pub fn sid(&self) -> RoomSid {
        self.handle.shared.lock().session.room_sid()
    }

    /// Ourselves, as the server describes us.
    pub fn local(&self) -> Participant {
        // A room exists only after the join response.
        self.handle
            .shared
            .lock()
            .session
            .local()
            .cloned()
            .unwrap_or_default()
    }

    /// The server's version, for messages and bug reports.
    pub fn server_version(&self) -> String {
        self.handle.shared.lock().session.server().version.clone()
    }

    /// The others in the room, in the order of their identities; without hidden ones.
    pub fn participants(&self) -> Vec<Participant> {
        self.handle
            .shared
            .lock()
            .session
            .others()
            .cloned()
            .collect()
    }

    /// One of the others.
    pub fn participant(&self, identity: impl AsRef<str>) -> Option<Participant> {
        let identity = identity.as_ref();
        let state = self.handle.shared.lock();
        state.session.other(identity).cloned()
    }

    /// Changes keys of a room that was joined with [`RoomBuilder::encryption`]; `None` without it. What is sent once
    /// it resolves takes the new ones.
    ///
    /// `change` runs on one of tokio's blocking threads, where keys are derived as well, since a key of a password
    /// takes tens of milliseconds; the room goes on meanwhile. Several changes happen one after the other.
    ///
    /// # Cancel safety
    /// Dropped before it resolved, nothing is changed; `change` may run all the same, on a copy of the keys.
    ///
    /// # Panics
    /// With what `change` panics with.
    pub async fn with_keyring<R: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Keyring) -> R + Send + 'static,
    ) -> Option<R> {
        let shared = &self.handle.shared;
        let _turn = shared.keyring_turn.lock().await;
        let mut keyring = shared.lock().engine.keyring()?.clone();
        let changing = tokio::task::spawn_blocking(move || {
            let result = change(&mut keyring);
            keyring.derive_keys();
            (keyring, result)
        });
        let (keyring, result) = match changing.await {
            Ok(changed) => changed,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime shuts down.
                Err(_) => return None,
            },
        };
        let mut state = shared.lock();
        *state.engine.keyring()? = keyring;
        state.wake_driver();
        Some(result)
    }

    /// How often something was dropped, refused or ignored since the join: packets that broke a rule, duplicates,
    /// streams that nobody registered for, readers that were too slow.
    pub fn counters(&self) -> Counters {
        self.handle.shared.lock().engine.counters()
    }

    /// What happens in the room: for the first call everything since the join, for later ones what happens from then
    /// on. See [`Events`].
    pub fn events(&self) -> Events {
        Events::new(self.handle.shared.clone())
    }

    /// Waits until this participant is in the room and its connection is up.
    ///
    /// # Cancel safety
    /// Cancel safe. Put it into `tokio::time::timeout` to wait no longer than that.
    ///
    /// # Errors
    /// When the room ends before.
    pub async fn wait_for_participant(
        &self,
        identity: impl Into<Identity>,
    ) -> Result<Participant, Disconnected> {
        let identity = identity.into();
        let others = self
            .wait_until(|others| {
                others
                    .iter()
                    .any(|other| *other.identity() == identity && other.is_active())
            })
            .await?;
        let found = others
            .into_iter()
            .find(|other| *other.identity() == identity);
        Ok(found.unwrap_or_default())
    }

    /// Waits until the others in the room are as wished; gives them as they were at that moment.
    ///
    /// The condition is asked at once and after each change. A participant that only just joined is there but not yet
    /// [active](Participant::is_active).
    ///
    /// # Cancel safety
    /// Cancel safe. Put it into `tokio::time::timeout` to wait no longer than that.
    ///
    /// # Errors
    /// When the room ends before.
    pub async fn wait_until(
        &self,
        mut condition: impl FnMut(&[Participant]) -> bool,
    ) -> Result<Vec<Participant>, Disconnected> {
        let shared = &self.handle.shared;
        loop {
            let mut changed = std::pin::pin!(shared.changed.notified());
            changed.as_mut().enable();
            if let Some(reason) = shared.lock().ended.clone() {
                return Err(reason);
            }
            let others = self.participants();
            if condition(&others) {
                return Ok(others);
            }
            changed.await;
        }
    }

    /// Opens a text stream to write piece by piece.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn stream_text(&self, options: TextOptions) -> Result<TextWriter, OpenError> {
        Ok(TextWriter::new(Outgoing::open_text(
            self.handle.shared.clone(),
            options,
        )?))
    }

    /// Opens a byte stream to write piece by piece.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn stream_bytes(&self, options: ByteOptions) -> Result<ByteWriter, OpenError> {
        Ok(ByteWriter::new(Outgoing::open_bytes(
            self.handle.shared.clone(),
            options,
        )?))
    }

    /// Registers for text streams: `"topic"` for one topic, or any [`TopicFilter`].
    ///
    /// Takes over a registration of the [builder](RoomBuilder::texts) with the same filter and what it has got
    /// since. Streams that came before any registration are gone ([`Event::UnclaimedStream`](crate::Event)).
    /// [`on_text`](Room::on_text) runs a closure for each instead, and says who gets a stream.
    pub fn text_streams(&self, topics: impl Into<TopicFilter>) -> TextStreams {
        TextStreams::new(self.handle.shared.clone(), topics.into())
    }

    /// Registers for byte streams; see [`text_streams`](Room::text_streams).
    pub fn byte_streams(&self, topics: impl Into<TopicFilter>) -> ByteStreams {
        ByteStreams::new(self.handle.shared.clone(), topics.into())
    }

    /// Leaves: sends what is queued for up to 3 s, says goodbye, closes the connection, and waits for all that.
    ///
    /// Other handles to the room fail from then on. Calling it again, or on a room that is gone, is harmless.
    ///
    /// # Cancel safety
    /// The room closes even if the future is dropped after its first poll.
    pub async fn close(&self) {
        {
            let mut state = self.handle.shared.lock();
            state.is_closing = true;
            state.wake_driver();
        }
        self.closed().await;
    }

    /// Waits until the room is gone, for whatever reason.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn closed(&self) -> Disconnected {
        let shared = &self.handle.shared;
        loop {
            let mut changed = std::pin::pin!(shared.changed.notified());
            changed.as_mut().enable();
            if let Some(reason) = shared.lock().gone.clone() {
                return reason;
            }
            changed.await;
        }
    }
}
