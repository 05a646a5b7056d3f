//! Writing one outgoing stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::{Buf, Bytes};
use lkstream_engine::{
    Attributes, CloseError, Content, OpenOptions, OutgoingId, OutgoingState, Receipts as Ask,
    StreamInfo, WriteError, Written,
};
use tokio::io::AsyncWrite;

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
    receipts: Option<Receipts>,
    is_ended: bool,
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
        let Some(info) = state
            .engine
            .outgoing(id)
            .map(|outgoing| outgoing.info().clone())
        else {
            // The engine has just said that it is open; a room that ended meanwhile is the only other story.
            let lost = state
                .ended
                .as_ref()
                .map_or(lkstream_engine::Lost::Left, |ended| ended.to_lost());
            return Err(lkstream_engine::OpenError::ConnectionLost(lost).into());
        };
        let receipts = common.confirmed.then(|| {
            state.receipts.insert(info.id.clone(), Waiting::default());
            Receipts {
                shared: Some(shared.clone()),
                stream: info.id.clone(),
            }
        });
        if !is_whole {
            state.open.insert(id);
        }
        state.wake_driver();
        drop(state);
        let outgoing = Outgoing {
            shared,
            id,
            info,
            on_progress: common.on_progress,
            receipts,
            is_ended: false,
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

    fn report(&self) {
        if let Some(on_progress) = &self.on_progress {
            on_progress(self.progress());
        }
    }

    /// Takes what fits of `bytes`; ready when at least something was taken, or nothing was given.
    fn poll_some(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut Bytes,
    ) -> Poll<Result<(), WriteError>> {
        let waker = cx.waker().clone();
        let mut state = self.shared.lock();
        let Some(mut outgoing) = state.engine.outgoing(self.id) else {
            return Poll::Ready(Err(WriteError::Closed));
        };
        let taken = match outgoing.write(bytes.clone())? {
            Written::All => bytes.len(),
            Written::Blocked { taken } => taken,
        };
        if taken == 0 && !bytes.is_empty() {
            let previous = state.writers.insert(self.id, waker);
            state.deferred.forget(previous);
            return Poll::Pending;
        }
        bytes.advance(taken);
        state.wake_driver();
        Poll::Ready(Ok(()))
    }

    /// Writes all of it, waiting for room.
    pub(crate) async fn write(&mut self, mut bytes: Bytes) -> Result<(), WriteError> {
        std::future::poll_fn(|cx| {
            while !bytes.is_empty() {
                ready!(self.poll_some(cx, &mut bytes))?;
            }
            Poll::Ready(Ok(()))
        })
        .await?;
        self.report();
        Ok(())
    }

    /// Waits until what was written is acknowledged; of a closed stream until its trailer is, too.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        self.report();
        let waker = cx.waker().clone();
        let mut state = self.shared.lock();
        let Some(mut outgoing) = state.engine.outgoing(self.id) else {
            return Poll::Ready(Err(WriteError::Closed));
        };
        let progress = outgoing.progress();
        match outgoing.state() {
            OutgoingState::Lost(lost) => return Poll::Ready(Err(WriteError::ConnectionLost(lost))),
            OutgoingState::Flushed => return Poll::Ready(Ok(())),
            OutgoingState::Open if progress.acknowledged >= progress.written => {
                return Poll::Ready(Ok(()));
            }
            _ => {}
        }
        outgoing.notify_acknowledged();
        let previous = state.flushers.insert(self.id, waker);
        state.deferred.forget(previous);
        Poll::Pending
    }

    pub(crate) async fn flush(&mut self) -> Result<(), WriteError> {
        std::future::poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Queues the end of the stream.
    fn end(&mut self, attributes: Attributes) -> Result<(), CloseError> {
        let mut state = self.shared.lock();
        let Some(mut outgoing) = state.engine.outgoing(self.id) else {
            return Err(CloseError::Closed);
        };
        outgoing.close(attributes)?;
        state.open.remove(&self.id);
        state.wake_driver();
        drop(state);
        self.is_ended = true;
        Ok(())
    }

    /// Ends the stream well and waits until all of it is acknowledged.
    pub(crate) async fn close(mut self, attributes: Attributes) -> Result<Sent, CloseError> {
        self.end(attributes)?;
        self.delivered().await
    }

    /// Waits until all of a payload that was queued whole is acknowledged. Dropping the future gives up what was not
    /// handed to the transport yet.
    pub(crate) async fn finished(self) -> Result<Sent, CloseError> {
        self.delivered().await
    }

    async fn delivered(mut self) -> Result<Sent, CloseError> {
        self.flush().await.map_err(to_close_error)?;
        self.is_ended = true;
        let receipts = self.receipts.take().unwrap_or_else(|| Receipts {
            shared: None,
            stream: self.info.id.clone(),
        });
        Ok(Sent {
            info: self.info.clone(),
            receipts,
            bytes: self.progress().written,
            attachments: Vec::new(),
        })
    }

    /// Ends the stream with a reason instead of well.
    pub(crate) fn abort(&mut self, reason: &str) {
        self.is_ended = true;
        let mut state = self.shared.lock();
        if let Some(mut outgoing) = state.engine.outgoing(self.id) {
            outgoing.cancel(reason);
        }
        state.open.remove(&self.id);
        state.wake_driver();
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
        if !self.is_ended {
            self.abort(DROPPED);
        }
        let mut state = self.shared.lock();
        let (writer, flusher) = (
            state.writers.remove(&self.id),
            state.flushers.remove(&self.id),
        );
        state.deferred.forget(writer);
        state.deferred.forget(flusher);
        if let Some(outgoing) = state.engine.outgoing(self.id) {
            outgoing.release();
        }
    }
}

/// Flushing fails only with the connection.
fn to_close_error(error: WriteError) -> CloseError {
    match error {
        WriteError::ConnectionLost(lost) => CloseError::ConnectionLost(lost),
        _ => CloseError::Closed,
    }
}

fn to_io_error(error: WriteError) -> io::Error {
    let kind = match &error {
        WriteError::ConnectionLost(_) => io::ErrorKind::BrokenPipe,
        WriteError::Closed => io::ErrorKind::NotConnected,
        _ => io::ErrorKind::InvalidInput,
    };
    io::Error::new(kind, error)
}

macro_rules! common_writer {
    ($writer:ident) => {
        impl $writer {
            pub(crate) fn new(outgoing: Outgoing) -> Self {
                $writer { outgoing }
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
            pub async fn flush(&mut self) -> Result<(), WriteError> {
                self.outgoing.flush().await
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

            /// Ends the stream as failed: what waits is dropped and the receivers read an error with this reason.
            pub fn abort(mut self, reason: &str) {
                self.outgoing.abort(reason);
            }
        }
    };
}

/// Writes one text stream, piece by piece. Each write travels at once, on its own.
///
/// Only [`close`](TextWriter::close) ends the stream well. Dropping the writer before that aborts it: receivers
/// read an error, never a clean end.
#[derive(Debug)]
pub struct TextWriter {
    outgoing: Outgoing,
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
    pub async fn write(&mut self, text: impl Into<String>) -> Result<(), WriteError> {
        self.outgoing.write(Bytes::from(text.into())).await
    }
}

/// Writes one byte stream; also as [`AsyncWrite`].
///
/// Only [`close`](ByteWriter::close) (or `AsyncWrite::poll_shutdown`) ends the stream well. Dropping the writer
/// before that aborts it: receivers read an error, never a clean end. `AsyncWrite::poll_flush` does not wait for
/// acknowledgements, since nothing is held back; [`flush`](ByteWriter::flush) does.
#[derive(Debug)]
pub struct ByteWriter {
    outgoing: Outgoing,
}

common_writer!(ByteWriter);

impl ByteWriter {
    /// Sends bytes, without copying them, waiting while more than 256 KiB are queued.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future may leave a part of the bytes written.
    ///
    /// # Errors
    /// [`WriteError`] when the announced length is exceeded, the stream is closed or the room is gone.
    pub async fn write(&mut self, bytes: impl Into<Payload>) -> Result<(), WriteError> {
        let bytes = bytes.into().lent(&self.outgoing.shared.released);
        self.outgoing.write(bytes).await
    }
}

impl AsyncWrite for ByteWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let given = buf.len().min(COPY_BYTES);
        let mut bytes = Bytes::copy_from_slice(&buf[..given]);
        ready!(self.outgoing.poll_some(cx, &mut bytes)).map_err(to_io_error)?;
        Poll::Ready(Ok(given - bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.outgoing.is_ended {
            self.outgoing
                .end(Attributes::new())
                .map_err(|error| match error {
                    CloseError::ConnectionLost(_) => {
                        io::Error::new(io::ErrorKind::BrokenPipe, error)
                    }
                    _ => io::Error::new(io::ErrorKind::InvalidInput, error),
                })?;
        }
        self.outgoing.poll_flush(cx).map_err(to_io_error)
    }
}
