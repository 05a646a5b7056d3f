//! Writing one outgoing stream.

use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::{Buf, Bytes};
use lkstream_engine::{
    Attributes, CloseError, Content, Missed, OpenOptions, OutgoingId, OutgoingState,
    Receipts as Ask, StreamInfo, WriteError, Written,
};
use lkstream_proto::id::Identity;
use tokio::io::AsyncWrite;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::deferred::Deferred;
use crate::options::{ByteOptions, Common, OnProgress, TextOptions};
use crate::sent::{Receipts, Sent, Waiting};
use crate::shared::Shared;
use crate::{OpenError, Payload, Progress};

/// Bytes copied at most from one `AsyncWrite::poll_write`: four chunks (protocol.md §5.2).
const COPY_BYTES: usize = 60_000;

/// What receivers are told about a writer that was dropped.
const DROPPED: &str = "cancelled";

/// The part of a writer that text and bytes share. Dropping it before the close aborts the stream.
pub(crate) struct Outgoing {
    shared: Arc<Shared>,
    id: OutgoingId,
    info: StreamInfo,
    on_progress: Option<OnProgress>,
    receipts: Mutex<Option<Receipts>>,
    is_ended: AtomicBool,
    signals: Signals,
    /// Held while a piece is written, so that those of several handles do not mix.
    turn: tokio::sync::Mutex<()>,
}

/// What those who write a stream wait for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signals {
    /// There is room for more.
    pub(crate) room: Arc<Notify>,
    /// More was acknowledged.
    pub(crate) acknowledged: Arc<Notify>,
}

impl Signals {
    /// The stream has ended, or the room has.
    pub(crate) fn all(&self, deferred: &mut Deferred) {
        deferred.notify(&self.room);
        deferred.notify(&self.acknowledged);
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing")
            .field("id", &self.info.id)
            .finish_non_exhaustive()
    }
}

impl Outgoing {
    pub(crate) fn open_text(shared: Arc<Shared>, options: TextOptions) -> Result<Self, OpenError> {
        Self::open(shared, text_content(&options), options.common, Way::Pieces)
    }

    pub(crate) fn open_bytes(shared: Arc<Shared>, options: ByteOptions) -> Result<Self, OpenError> {
        Self::open(shared, byte_content(&options), options.common, Way::Pieces)
    }

    /// Opens a byte stream for a file that starts with these bytes; they are to be written all the same.
    pub(crate) fn open_file(
        shared: Arc<Shared>,
        options: ByteOptions,
        start: &[u8],
    ) -> Result<Self, OpenError> {
        Self::open(
            shared,
            byte_content(&options),
            options.common,
            Way::File(start),
        )
    }

    /// Queues a whole text; only waiting for its end is left.
    pub(crate) fn send_text(
        shared: Arc<Shared>,
        options: TextOptions,
        text: Bytes,
    ) -> Result<Self, OpenError> {
        Self::open(
            shared,
            text_content(&options),
            options.common,
            Way::Whole(text),
        )
    }

    /// Queues all bytes; only waiting for their end is left.
    pub(crate) fn send_bytes(
        shared: Arc<Shared>,
        options: ByteOptions,
        bytes: Bytes,
    ) -> Result<Self, OpenError> {
        Self::open(
            shared,
            byte_content(&options),
            options.common,
            Way::Whole(bytes),
        )
    }

    fn open(
        shared: Arc<Shared>,
        content: Content,
        common: Common,
        way: Way<'_>,
    ) -> Result<Self, OpenError> {
        let timestamp = common.timestamp.unwrap_or_else(SystemTime::now);
        let mut options = OpenOptions::new(content, common.topic, timestamp);
        options.id = common.id;
        options.mime_type = common.mime_type;
        options.total_length = common.total_length;
        options.attributes = common.attributes;
        options.destinations = common.destinations;
        options.sender_identity = common.sender_identity;
        options.compress = common.compress;
        if common.confirmed {
            options.receipts = Ask::Request;
        }
        let is_whole = matches!(way, Way::Whole(_));

        let mut state = shared.lock();
        if state.ended.is_none() && !state.session.can_publish_data() {
            return Err(OpenError::NotPermitted);
        }
        let id = match way {
            Way::Pieces => state.engine.open(options)?,
            Way::File(start) => state.engine.open_file(options, start)?,
            Way::Whole(payload) => state.engine.send(options, payload)?,
        };
        let Some((info, recipients)) = state
            .engine
            .outgoing(id)
            .map(|outgoing| (outgoing.info().clone(), outgoing.recipients()))
        else {
            // The engine has just said that it is open; a room that ended meanwhile is the only other story.
            let lost = state
                .ended
                .as_ref()
                .map_or(lkstream_engine::Lost::Left, |ended| ended.to_lost());
            return Err(lkstream_engine::OpenError::ConnectionLost(lost).into());
        };
        let receipts = common.confirmed.then(|| {
            let waiting = Waiting::new(&recipients);
            state.receipts.insert(info.id.clone(), waiting);
            Receipts {
                shared: Some(shared.clone()),
                stream: info.id.clone(),
            }
        });
        if !is_whole {
            state.open.insert(id);
        }
        let signals = Signals::default();
        state.writers.insert(id, signals.clone());
        state.wake_driver();
        drop(state);
        let outgoing = Outgoing {
            shared,
            id,
            info,
            on_progress: common.on_progress,
            receipts: Mutex::new(receipts),
            is_ended: AtomicBool::new(false),
            signals,
            turn: tokio::sync::Mutex::default(),
        };
        if let Some(on_open) = common.on_open {
            on_open(&outgoing.info);
        }
        Ok(outgoing)
    }

    pub(crate) fn info(&self) -> &StreamInfo {
        &self.info
    }

    pub(crate) fn progress(&self) -> Progress {
        let mut state = self.shared.lock();
        let progress = state
            .engine
            .outgoing(self.id)
            .map(|outgoing| outgoing.progress())
            .unwrap_or_default();
        Progress {
            total: self.info.total_length,
            written: progress.written,
            sent: progress.sent,
            acknowledged: progress.acknowledged,
            wire: progress.wire,
        }
    }

    /// Whom the stream was addressed to, and whom it missed.
    fn recipients(&self) -> (Arc<[Identity]>, Vec<Missed>) {
        let mut state = self.shared.lock();
        match state.engine.outgoing(self.id) {
            Some(outgoing) => (outgoing.recipients(), outgoing.missed()),
            None => (Arc::from([]), Vec::new()),
        }
    }

    fn report(&self) {
        if let Some(on_progress) = &self.on_progress {
            on_progress(self.progress());
        }
    }

    /// Takes what fits of `bytes`; says whether that was anything, or nothing was given.
    fn take(&self, bytes: &mut Bytes) -> Result<bool, WriteError> {
        let mut state = self.shared.lock();
        let Some(mut outgoing) = state.engine.outgoing(self.id) else {
            return Err(WriteError::Closed);
        };
        let taken = match outgoing.write(bytes.clone())? {
            Written::All => bytes.len(),
            Written::Blocked { taken } => taken,
        };
        if taken == 0 && !bytes.is_empty() {
            return Ok(false);
        }
        bytes.advance(taken);
        state.wake_driver();
        Ok(true)
    }

    /// Writes all of it, waiting for room.
    pub(crate) async fn write(&self, mut bytes: Bytes) -> Result<(), WriteError> {
        let turn = self.turn.lock().await;
        while !bytes.is_empty() {
            if self.take(&mut bytes)? {
                continue;
            }
            let mut room = pin!(self.signals.room.notified());
            room.as_mut().enable();
            // There may have been room since.
            if !self.take(&mut bytes)? {
                room.await;
            }
        }
        drop(turn);
        self.report();
        Ok(())
    }

    /// Whether what was written is acknowledged; of a closed stream whether its trailer is, too. If not, the next
    /// acknowledgement signals.
    fn is_flushed(&self) -> Result<bool, WriteError> {
        let mut state = self.shared.lock();
        let Some(mut outgoing) = state.engine.outgoing(self.id) else {
            return Err(WriteError::Closed);
        };
        let progress = outgoing.progress();
        match outgoing.state() {
            OutgoingState::Lost(lost) => Err(WriteError::ConnectionLost(lost)),
            OutgoingState::GivenUp(error) => Err(WriteError::NoRecipients(error)),
            OutgoingState::Flushed => Ok(true),
            OutgoingState::Open if progress.acknowledged >= progress.written => Ok(true),
            _ => {
                outgoing.notify_acknowledged();
                Ok(false)
            }
        }
    }

    pub(crate) async fn flush(&self) -> Result<(), WriteError> {
        loop {
            let mut acknowledged = pin!(self.signals.acknowledged.notified());
            acknowledged.as_mut().enable();
            self.report();
            if self.is_flushed()? {
                return Ok(());
            }
            acknowledged.await;
        }
    }

    /// Why the stream takes no more writes, if it takes none.
    fn is_stopped(&self) -> Option<WriteError> {
        let mut state = self.shared.lock();
        let outgoing = state.engine.outgoing(self.id);
        match outgoing.map(|outgoing| outgoing.state()) {
            Some(OutgoingState::Open) => None,
            Some(OutgoingState::Lost(lost)) => Some(WriteError::ConnectionLost(lost)),
            Some(OutgoingState::GivenUp(error)) => Some(WriteError::NoRecipients(error)),
            Some(_) | None => Some(WriteError::Closed),
        }
    }

    pub(crate) async fn stopped(&self) -> WriteError {
        loop {
            let mut changed = pin!(self.signals.room.notified());
            changed.as_mut().enable();
            if let Some(error) = self.is_stopped() {
                return error;
            }
            changed.await;
        }
    }

    /// Queues the end of the stream.
    fn end(&self, attributes: Attributes) -> Result<(), CloseError> {
        let mut state = self.shared.lock();
        let Some(mut outgoing) = state.engine.outgoing(self.id) else {
            return Err(CloseError::Closed);
        };
        outgoing.close(attributes)?;
        state.open.remove(&self.id);
        state.wake_driver();
        drop(state);
        self.is_ended.store(true, Ordering::Relaxed);
        self.signals.room.notify_waiters();
        Ok(())
    }

    /// Ends the stream well and waits until all of it is acknowledged.
    pub(crate) async fn close(&self, attributes: Attributes) -> Result<Sent, CloseError> {
        self.end(attributes)?;
        self.delivered().await
    }

    /// Waits until all of a payload that was queued whole is acknowledged. Dropping the future gives up what was not
    /// handed to the transport yet.
    pub(crate) async fn finished(self) -> Result<Sent, CloseError> {
        self.delivered().await
    }

    async fn delivered(&self) -> Result<Sent, CloseError> {
        self.flush().await.map_err(to_close_error)?;
        self.is_ended.store(true, Ordering::Relaxed);
        let receipts = self
            .receipts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let receipts = receipts.unwrap_or_else(|| Receipts {
            shared: None,
            stream: self.info.id.clone(),
        });
        let (recipients, missed) = self.recipients();
        Ok(Sent {
            info: self.info.clone(),
            receipts,
            recipients,
            missed,
            bytes: self.progress().written,
            attachments: Vec::new(),
        })
    }

    /// Ends the stream with a reason instead of well.
    pub(crate) fn abort(&self, reason: &str, attributes: Attributes) {
        self.is_ended.store(true, Ordering::Relaxed);
        let mut state = self.shared.lock();
        if let Some(mut outgoing) = state.engine.outgoing(self.id) {
            outgoing.cancel(reason, attributes);
        }
        state.open.remove(&self.id);
        state.wake_driver();
        drop(state);
        self.signals.room.notify_waiters();
    }
}

/// How the payload comes.
enum Way<'a> {
    /// As it is made.
    Pieces,
    /// From a file that starts like this.
    File(&'a [u8]),
    /// At once.
    Whole(Bytes),
}

fn text_content(options: &TextOptions) -> Content {
    Content::Text {
        operation: options.operation,
        version: options.version,
        reply_to: options.reply_to.clone(),
        attachments: options.attached.clone(),
        generated: options.generated,
    }
}

fn byte_content(options: &ByteOptions) -> Content {
    Content::bytes(options.name.as_deref().unwrap_or("unknown"))
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !*self.is_ended.get_mut() {
            self.abort(DROPPED, Attributes::new());
        }
        let mut state = self.shared.lock();
        // Nobody waits for them: whoever did would still hold the stream.
        state.writers.remove(&self.id);
        if let Some(outgoing) = state.engine.outgoing(self.id) {
            outgoing.release();
        }
    }
}

/// Flushing fails only with the connection, or when no recipient is left.
fn to_close_error(error: WriteError) -> CloseError {
    match error {
        WriteError::ConnectionLost(lost) => CloseError::ConnectionLost(lost),
        WriteError::NoRecipients(error) => CloseError::NoRecipients(error),
        _ => CloseError::Closed,
    }
}

fn to_io_error(error: WriteError) -> io::Error {
    let kind = match &error {
        WriteError::ConnectionLost(_) | WriteError::NoRecipients(_) => io::ErrorKind::BrokenPipe,
        WriteError::Closed => io::ErrorKind::NotConnected,
        _ => io::ErrorKind::InvalidInput,
    };
    io::Error::new(kind, error)
}

/// A writer's side of `AsyncWrite`: what it waits for between two polls.
#[derive(Debug, Default)]
struct Polled {
    waiting: Option<Pin<Box<OwnedNotified>>>,
}

impl Polled {
    /// Asks `done` until it says so, and waits for `signal` before it asks again.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        signal: &Arc<Notify>,
        mut done: impl FnMut() -> io::Result<bool>,
    ) -> Poll<io::Result<()>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
            let mut waiting = Box::pin(signal.clone().notified_owned());
            waiting.as_mut().enable();
            if done()? {
                return Poll::Ready(Ok(()));
            }
            self.waiting = Some(waiting);
        }
    }

    /// Takes at least one byte of `bytes`.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        outgoing: &Outgoing,
        bytes: &mut Bytes,
    ) -> Poll<io::Result<()>> {
        if self.waiting.is_none() && outgoing.take(bytes).map_err(to_io_error)? {
            return Poll::Ready(Ok(()));
        }
        self.poll(cx, &outgoing.signals.room, || {
            outgoing.take(bytes).map_err(to_io_error)
        })
    }

    /// Ends the stream well, and waits until all of it is acknowledged.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>, outgoing: &Outgoing) -> Poll<io::Result<()>> {
        if !outgoing.is_ended.load(Ordering::Relaxed) {
            // What a write waited for is no matter any more.
            self.waiting = None;
            outgoing.end(Attributes::new()).map_err(|error| {
                let kind = match error {
                    CloseError::ConnectionLost(_) => io::ErrorKind::BrokenPipe,
                    _ => io::ErrorKind::InvalidInput,
                };
                io::Error::new(kind, error)
            })?;
        }
        self.poll(cx, &outgoing.signals.acknowledged, || {
            outgoing.report();
            outgoing.is_flushed().map_err(to_io_error)
        })
    }
}

macro_rules! common_writer {
    ($writer:ident) => {
        impl $writer {
            pub(crate) fn new(outgoing: Outgoing) -> Self {
                $writer {
                    outgoing: Arc::new(outgoing),
                    state: Default::default(),
                }
            }

            /// The header as it was sent.
            pub fn info(&self) -> &StreamInfo {
                self.outgoing.info()
            }

            /// How far the stream is.
            pub fn progress(&self) -> Progress {
                self.outgoing.progress()
            }

            /// Waits until everything written so far was acknowledged by the server's transport.
            ///
            /// # Cancel safety
            /// Cancel safe; flushing again goes on waiting.
            ///
            /// # Errors
            /// [`WriteError`] when the stream is closed or the room is gone.
            pub async fn flush(&self) -> Result<(), WriteError> {
                self.outgoing.flush().await
            }

            /// Waits until the stream takes no more writes, and says why: no recipient is left, the connection is lost, or
            /// this or another handle closed or aborted it ([`WriteError::Closed`]). For whoever waits for something to
            /// write, which may never come.
            ///
            /// # Cancel safety
            /// Cancel safe.
            pub async fn stopped(&self) -> WriteError {
                self.outgoing.stopped().await
            }

            /// Ends the stream well and waits until all of it, the trailer included, was acknowledged.
            ///
            /// # Cancel safety
            /// The end is queued at the first poll; dropping the future later only stops waiting.
            ///
            /// # Errors
            /// [`CloseError`]; with less written than announced the stream is aborted.
            pub async fn close(self) -> Result<Sent, CloseError> {
                self.outgoing.close(Attributes::new()).await
            }

            /// [`close`](Self::close) with attributes that are merged over the header's at the receivers.
            ///
            /// # Cancel safety
            /// As [`close`](Self::close).
            ///
            /// # Errors
            /// As [`close`](Self::close).
            pub async fn close_with(self, attributes: Attributes) -> Result<Sent, CloseError> {
                self.outgoing.close(attributes).await
            }

            /// Ends the stream as failed: what waits is dropped and the receivers read an error with this reason, of
            /// which they get 1024 bytes.
            pub fn abort(self, reason: &str) {
                self.outgoing.abort(reason, Attributes::new());
            }

            /// [`abort`](Self::abort) with attributes for the trailer, as far as they fit into a packet of 64 000
            /// bytes.
            pub fn abort_with(self, reason: &str, attributes: Attributes) {
                self.outgoing.abort(reason, attributes);
            }
        }

        impl Clone for $writer {
            fn clone(&self) -> Self {
                $writer {
                    outgoing: self.outgoing.clone(),
                    state: Default::default(),
                }
            }
        }

        impl std::fmt::Debug for $writer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($writer))
                    .field("id", &self.outgoing.info.id)
                    .finish_non_exhaustive()
            }
        }
    };
}

/// Writes one text stream, piece by piece; also as [`AsyncWrite`]. Each write travels at once, on its own.
///
/// Only [`close`](TextWriter::close) (or `AsyncWrite::poll_shutdown`) ends the stream well. Dropping the writer, and all
/// its clones, before that aborts it: receivers read an error, never a clean end.
///
/// Clones write the same stream; what one writes is never in the middle of what another does, except with
/// `AsyncWrite`, whose pieces may be cut. As `AsyncWrite` it takes UTF-8 in any pieces; anything else is
/// [`InvalidData`](io::ErrorKind::InvalidData). `AsyncWrite::poll_flush` does not wait for acknowledgements, since nothing
/// but the beginning of a character is held back; [`flush`](TextWriter::flush) does.
pub struct TextWriter {
    outgoing: Arc<Outgoing>,
    state: TextState,
}

#[derive(Debug, Default)]
struct TextState {
    polled: Polled,
    /// The beginning of a character whose rest the next write brings: at most 3 bytes.
    partial: Vec<u8>,
}

common_writer!(TextWriter);

impl TextWriter {
    /// Sends a piece, waiting while more than 256 KiB are queued.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future may leave a part of a long piece written.
    ///
    /// # Errors
    /// [`WriteError`] when the announced length is exceeded, the stream is closed or the room is gone.
    pub async fn write(&self, text: impl Into<String>) -> Result<(), WriteError> {
        self.outgoing.write(Bytes::from(text.into())).await
    }
}

impl AsyncWrite for TextWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let TextWriter { outgoing, state } = self.get_mut();
        let buf = &buf[..buf.len().min(COPY_BYTES)];
        let held = state.partial.len();
        let all = [&state.partial, buf].concat();
        let whole = match std::str::from_utf8(&all) {
            Ok(_) => all.len(),
            Err(error) if error.error_len().is_none() || error.valid_up_to() > 0 => {
                error.valid_up_to()
            }
            Err(error) => return Poll::Ready(Err(invalid_text(error))),
        };
        if whole == 0 {
            // Not even one character yet.
            state.partial = all;
            return Poll::Ready(Ok(buf.len()));
        }
        let mut text = Bytes::copy_from_slice(&all[..whole]);
        ready!(state.polled.poll_write(cx, outgoing, &mut text))?;
        // What is taken ends with a character, so it covers what was held back.
        state.partial.clear();
        Poll::Ready(Ok(whole - text.len() - held))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let TextWriter { outgoing, state } = self.get_mut();
        if let Err(error) = std::str::from_utf8(&state.partial) {
            return Poll::Ready(Err(invalid_text(error)));
        }
        state.polled.poll_shutdown(cx, outgoing)
    }
}

fn invalid_text(error: std::str::Utf8Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Writes one byte stream; also as [`AsyncWrite`].
///
/// Only [`close`](ByteWriter::close) (or `AsyncWrite::poll_shutdown`) ends the stream well. Dropping the writer, and all
/// its clones, before that aborts it: receivers read an error, never a clean end.
///
/// Clones write the same stream; what one writes is never in the middle of what another does, except with
/// `AsyncWrite`, whose pieces may be cut. `AsyncWrite::poll_flush` does not wait for acknowledgements, since nothing is
/// held back; [`flush`](ByteWriter::flush) does.
pub struct ByteWriter {
    outgoing: Arc<Outgoing>,
    state: Polled,
}

common_writer!(ByteWriter);

impl ByteWriter {
    /// Sends bytes, waiting while more than 256 KiB are queued. Owned ones, such as [`Bytes`], are not copied.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future may leave a part of the bytes written.
    ///
    /// # Errors
    /// [`WriteError`] when the announced length is exceeded, the stream is closed or the room is gone.
    pub async fn write(&self, bytes: impl Into<Payload>) -> Result<(), WriteError> {
        let bytes = bytes.into().lent(&self.outgoing.shared.released);
        self.outgoing.write(bytes).await
    }
}

impl AsyncWrite for ByteWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let ByteWriter { outgoing, state } = self.get_mut();
        let given = buf.len().min(COPY_BYTES);
        let mut bytes = Bytes::copy_from_slice(&buf[..given]);
        ready!(state.poll_write(cx, outgoing, &mut bytes))?;
        Poll::Ready(Ok(given - bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ByteWriter { outgoing, state } = self.get_mut();
        state.poll_shutdown(cx, outgoing)
    }
}
