//! A room, seen from one participant.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lkstream_engine::encryption::Keyring;
use lkstream_engine::{Attributes, TopicFilter};
use lkstream_proto::id::{Identity, RoomName, RoomSid};

use crate::builder::RoomBuilder;
use crate::files::Source;
use crate::shared::Shared;
use crate::writer::Outgoing;
use crate::{
    ByteOptions, ByteStreams, ByteWriter, ConnectError, Disconnected, Events, OpenError,
    Participant, SendError, Sent, TextOptions, TextStreams, TextWriter,
};

/// A joined room. Cloning gives another handle to the same membership.
///
/// Dropping the last handle leaves the room: what is queued is still sent for up to 3 s in the background, open
/// writers and readers end with an error. [`close`](Room::close) does the same and waits for it. Neither needs a
/// runtime in the drop itself; without one the connection is just gone.
#[derive(Debug, Clone)]
pub struct Room {
    handle: Arc<Handle>,
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
    pub fn participant(&self, identity: &Identity) -> Option<Participant> {
        self.handle.shared.lock().session.other(identity).cloned()
    }

    /// Changes keys of a room that was joined with [`RoomBuilder::encryption`]; `None` without it. What is sent from
    /// now on takes the new ones. The room waits while `change` runs, and a key of a password takes tens of
    /// milliseconds.
    pub fn with_keyring<R>(&self, change: impl FnOnce(&mut Keyring) -> R) -> Option<R> {
        let mut state = self.handle.shared.lock();
        let changed = state.engine.keyring().map(change);
        state.wake_driver();
        changed
    }

    /// What happens from now on.
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

    /// Sends a text and waits until all of it was acknowledged by the server's transport.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future aborts the stream, unless all of it was queued already.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send_text(
        &self,
        text: impl Into<String>,
        options: TextOptions,
    ) -> Result<Sent, SendError> {
        let text = Bytes::from(text.into());
        let mut options = options;
        options.common.total_length = Some(text.len() as u64);
        let outgoing = Outgoing::open_text(self.handle.shared.clone(), options)?;
        send(outgoing, text).await
    }

    /// Sends bytes and waits until all of them were acknowledged by the server's transport.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future aborts the stream, unless all of it was queued already.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send_bytes(
        &self,
        bytes: impl Into<Bytes>,
        options: ByteOptions,
    ) -> Result<Sent, SendError> {
        let bytes = bytes.into();
        let mut options = options;
        options.common.total_length = Some(bytes.len() as u64);
        let outgoing = Outgoing::open_bytes(self.handle.shared.clone(), options)?;
        send(outgoing, bytes).await
    }

    /// Sends a regular file under its own name and waits until all of it was acknowledged by the server's transport.
    ///
    /// The length is announced from the file's metadata; a file that changes meanwhile is an error, and the
    /// receivers see an aborted stream. Two blocks of 240 kB are in memory at a time. Reading happens on tokio's
    /// blocking threads.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future aborts the stream, unless all of it was queued already.
    ///
    /// # Errors
    /// [`SendError`]; an unreadable file is found before anything is sent.
    pub async fn send_file(
        &self,
        path: impl AsRef<Path>,
        options: ByteOptions,
    ) -> Result<Sent, SendError> {
        let path = path.as_ref().to_owned();
        let source = blocking(&path, {
            let path = path.clone();
            move || Source::open(&path)
        })
        .await?;
        let mut options = options;
        options.common.total_length = Some(source.length());
        if options.name.is_none() {
            options.name = source.name();
        }
        let mut outgoing = Outgoing::open_bytes(self.handle.shared.clone(), options)?;
        match copy(&path, source, &mut outgoing).await {
            Ok(()) => Ok(outgoing.close(Attributes::new()).await?),
            Err(error) => {
                outgoing.abort(match &error {
                    SendError::FileChanged { .. } | SendError::FileModified { .. } => {
                        "the file changed while it was sent"
                    }
                    _ => "the file could not be read to its end",
                });
                Err(error)
            }
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

async fn send(mut outgoing: Outgoing, bytes: Bytes) -> Result<Sent, SendError> {
    outgoing.write(bytes).await?;
    Ok(outgoing.close(Attributes::new()).await?)
}

/// Writes the file's blocks, reading one ahead.
async fn copy(path: &Path, mut source: Source, outgoing: &mut Outgoing) -> Result<(), SendError> {
    let mut block = None;
    loop {
        let ahead =
            tokio::task::spawn_blocking(move || source.block().map(|block| (source, block)));
        if let Some(block) = block.take() {
            outgoing.write(block).await?;
        }
        let (rest, next) = match ahead.await {
            Ok(read) => read?,
            Err(_) => return Err(thread_ended(path)),
        };
        if next.is_none() {
            return Ok(());
        }
        source = rest;
        block = next;
    }
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, SendError> + Send + 'static,
) -> Result<T, SendError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(thread_ended(path)),
    }
}

fn thread_ended(path: &Path) -> SendError {
    SendError::File {
        path: path.to_owned(),
        cause: std::io::Error::other("the blocking thread ended").into(),
    }
}
