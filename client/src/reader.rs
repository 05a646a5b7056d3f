//! Reading one incoming stream.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use lkstream_engine::{IncomingId, Lost, Outcome, Read, ReadError, StreamInfo, Summary};
use lkstream_proto::id::StreamId;
use tokio::io::{AsyncRead, ReadBuf};

use crate::files::{self, Partial, Removal, Target};
use crate::shared::Shared;
use crate::{ReadAllError, ReadProgress, SaveError};

/// How much is handed to a blocking thread at a time when a stream is stored, in bytes.
const BATCH_BYTES: usize = 1 << 20;

/// The part of a reader that text and bytes share.
#[derive(Debug)]
struct Incoming {
    shared: Arc<Shared>,
    id: IncomingId,
    info: Arc<StreamInfo>,
    /// What an `AsyncRead` left of a piece; text readers never leave anything.
    rest: Bytes,
    read: u64,
    end: Option<Result<Summary, ReadError>>,
}

impl Incoming {
    /// The next piece, or `None` at the clean end. A failure is repeated for whoever asks again.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ReadError>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.rest))));
        }
        let mut pieces = None;
        match ready!(self.poll_pieces(cx, 1, |piece| pieces = Some(piece))) {
            Err(error) => Poll::Ready(Some(Err(error))),
            Ok(()) => Poll::Ready(pieces.map(Ok)),
        }
    }

    /// Takes what is there until `enough` bytes are taken; `Ok` without a piece is the clean end.
    fn poll_pieces(
        &mut self,
        cx: &mut Context<'_>,
        enough: usize,
        mut take: impl FnMut(Bytes),
    ) -> Poll<Result<(), ReadError>> {
        if let Some(end) = &self.end {
            return Poll::Ready(end.as_ref().map(|_| ()).map_err(Clone::clone));
        }
        let waker = cx.waker().clone();
        let mut state = self.shared.lock();
        let was_over_budget = state.engine.is_over_budget();
        let now = Instant::now();
        let mut taken = 0;
        while taken < enough && self.end.is_none() {
            let read = match state.engine.incoming(self.id) {
                Some(mut incoming) => incoming.read(now),
                None => Read::Failed(ReadError::ConnectionLost(Lost::Left)),
            };
            match read {
                Read::Piece(piece) => {
                    taken += piece.len();
                    self.read += piece.len() as u64;
                    take(piece);
                }
                Read::Pending => break,
                Read::Finished(summary) => {
                    self.end = Some(Ok(summary));
                    break;
                }
                Read::Failed(error) => {
                    self.end = Some(Err(error));
                    break;
                }
            }
        }
        if was_over_budget && !state.engine.is_over_budget() {
            state.wake_driver();
        }
        if taken > 0 {
            return Poll::Ready(Ok(()));
        }
        match &self.end {
            Some(end) => Poll::Ready(end.as_ref().map(|_| ()).map_err(Clone::clone)),
            None => {
                let previous = state.readers.insert(self.id, waker);
                state.deferred.forget(previous);
                Poll::Pending
            }
        }
    }

    /// Does something with what was read, during which the reader does not count as stalled.
    async fn busy_with<T>(&self, work: impl Future<Output = T>) -> T {
        let _busy = Busy::new(self);
        work.await
    }

    fn progress(&self) -> ReadProgress {
        ReadProgress {
            total: self.info.total_length,
            read: self.read,
        }
    }

    /// Answers the sender's wish for a receipt, if it has one.
    fn confirm(&self, outcome: Outcome) {
        let mut state = self.shared.lock();
        if let Some(mut incoming) = state.engine.incoming(self.id) {
            incoming.confirm(outcome);
            state.wake_driver();
        }
    }

    fn set_idle_timeout(&self, limit: Option<Duration>) {
        let mut state = self.shared.lock();
        if let Some(mut incoming) = state.engine.incoming(self.id) {
            incoming.set_idle_timeout(Instant::now(), limit);
            state.wake_driver();
        }
    }

    async fn read_all(&mut self, limit: usize) -> Result<Bytes, ReadAllError> {
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(piece) = std::future::poll_fn(|cx| self.poll_piece(cx)).await {
            let piece = piece?;
            if all.len() + first.len() + piece.len() > limit {
                let error = ReadAllError::TooLong { limit };
                self.confirm(Outcome::Failed {
                    reason: error.to_string(),
                });
                return Err(error);
            }
            // One piece, the common case of a short message, is handed on without a copy.
            if first.is_empty() && all.is_empty() {
                first = piece;
            } else {
                all.extend_from_slice(&std::mem::take(&mut first));
                all.extend_from_slice(&piece);
            }
        }
        self.confirm(Outcome::Complete);
        Ok(if all.is_empty() { first } else { all.freeze() })
    }
}

/// A reader that works, until this is dropped.
struct Busy<'a>(&'a Incoming);

impl<'a> Busy<'a> {
    fn new(incoming: &'a Incoming) -> Self {
        if let Some(mut stream) = incoming.shared.lock().engine.incoming(incoming.id) {
            stream.begin_work();
        }
        Busy(incoming)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut state = self.0.shared.lock();
        if let Some(mut stream) = state.engine.incoming(self.0.id) {
            stream.end_work(Instant::now());
        }
        // There may be a deadline again.
        if state.engine.is_over_budget() {
            state.wake_driver();
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.readers.remove(&self.id);
        state.release_incoming(self.id);
        state.wake_driver();
    }
}

macro_rules! common_reader {
    ($reader:ident) => {
        impl $reader {
            pub(crate) fn new(shared: Arc<Shared>, id: IncomingId, info: Arc<StreamInfo>) -> Self {
                $reader {
                    incoming: Incoming {
                        shared,
                        id,
                        info,
                        rest: Bytes::new(),
                        read: 0,
                        end: None,
                    },
                }
            }

            /// The stream's header. `sender` is the identity to show, `publisher` the session that really sent it.
            pub fn info(&self) -> &StreamInfo {
                &self.incoming.info
            }

            /// The attributes, with those that came at the end of the stream once that was read.
            pub fn attributes(&self) -> &lkstream_engine::Attributes {
                match &self.incoming.end {
                    Some(Ok(summary)) => &summary.attributes,
                    _ => &self.incoming.info.attributes,
                }
            }

            /// How far the reader is, in payload bytes.
            pub fn progress(&self) -> ReadProgress {
                self.incoming.progress()
            }

            /// Fails the stream when nothing came for this long, counted from now; `None`, the default of
            /// `StreamLimits::idle_timeout`, waits for as long as the sender is there. Time in which we pushed back
            /// does not count.
            pub fn set_idle_timeout(&mut self, limit: Option<Duration>) {
                self.incoming.set_idle_timeout(limit);
            }

            /// Waits for `work` on what was read, like writing it somewhere slow: meanwhile the reader never fails as
            /// too slow. What it leaves unread pushes back as ever, on everything that is sent to us.
            ///
            /// # Cancel safety
            /// As that of `work`; the reader goes on.
            pub async fn busy_with<T>(&self, work: impl Future<Output = T>) -> T {
                self.incoming.busy_with(work).await
            }

            /// Tells the sender that what was read is safe, if it asked for receipts and the stream has ended.
            ///
            /// `read_all`, `write_to_file` and `write_to_dir` do this themselves. A reader that is dropped without
            /// it tells the sender that the stream failed here.
            pub fn confirm(self) {
                if matches!(self.incoming.end, Some(Ok(_))) {
                    self.incoming.confirm(Outcome::Complete);
                }
            }
        }
    };
}

/// What the sender is told of a file that was not stored: nothing about folders and names here.
fn reason_for_sender(error: &SaveError) -> String {
    match error {
        SaveError::Read(error) => error.to_string(),
        SaveError::File { cause, .. } => format!("it could not be stored: {cause}"),
        SaveError::Exists { .. } => "it could not be stored: the name exists".to_owned(),
    }
}

/// Reads one byte stream: as [`Stream`] of pieces of at most 64 KiB, as [`AsyncRead`], or whole.
///
/// Not reading pushes back on the sender once 4 MiB wait (ARCHITECTURE.md, "Bounds"); a reader that then takes no byte for
/// 5 s fails alone, unless it says that it is [busy](ByteReader::busy_with). Storing it in a file counts as busy.
/// Dropping a reader before the end lets the rest of the stream go by unread, and tells the sender
/// so if it asked for receipts. A reader outlives its [`Room`](crate::Room) only to hand out what has arrived; then
/// it fails.
#[derive(Debug)]
pub struct ByteReader {
    incoming: Incoming,
}

common_reader!(ByteReader);

/// A stream that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// The final path.
    pub path: PathBuf,
    /// Bytes stored.
    pub bytes: u64,
    /// The attributes of header and trailer.
    pub attributes: lkstream_engine::Attributes,
}

impl ByteReader {
    /// The name the sender gave. It is not safe as a path; [`files::safe_name`](crate::files::safe_name) makes it so.
    pub fn name(&self) -> &str {
        match &self.incoming.info.content {
            lkstream_engine::Content::Bytes { name, .. } => name,
            _ => "",
        }
    }

    /// The next piece; `None` at the clean end of the stream.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// How the stream failed; the same error again if asked again.
    pub async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        std::future::poll_fn(|cx| self.incoming.poll_piece(cx)).await
    }

    /// Everything that was not read yet, at most `limit` bytes.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future drops the reader.
    ///
    /// # Errors
    /// How the stream failed, or that it is longer than `limit`.
    pub async fn read_all(mut self, limit: usize) -> Result<Bytes, ReadAllError> {
        self.incoming.read_all(limit).await
    }

    /// Stores the stream under exactly this path: temporary file in the same directory, fsync, rename.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future drops the reader and removes the temporary file.
    ///
    /// # Errors
    /// [`SaveError`]; whatever it is, nothing is left under the path or beside it. An existing file is never
    /// replaced.
    pub async fn write_to_file(self, path: impl AsRef<Path>) -> Result<Stored, SaveError> {
        let target = Target::Path(path.as_ref().to_owned());
        self.store(target, |_| {}).await
    }

    /// Stores the stream in this directory under the [safe form](crate::files::safe_name) of its name, numbered
    /// (`name (1).ext`) if that exists.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future drops the reader and removes the temporary file.
    ///
    /// # Errors
    /// [`SaveError`]; whatever it is, nothing is left in the directory.
    pub async fn write_to_dir(self, directory: impl AsRef<Path>) -> Result<Stored, SaveError> {
        self.write_to_dir_with(directory, |_| {}).await
    }

    /// [`write_to_dir`](Self::write_to_dir) that calls back after each block that was written, at least every MiB.
    ///
    /// # Cancel safety
    /// As [`write_to_dir`](Self::write_to_dir).
    ///
    /// # Errors
    /// As [`write_to_dir`](Self::write_to_dir).
    pub async fn write_to_dir_with(
        self,
        directory: impl AsRef<Path>,
        on_progress: impl FnMut(ReadProgress),
    ) -> Result<Stored, SaveError> {
        let target = Target::Directory {
            directory: directory.as_ref().to_owned(),
            name: self.name().to_owned(),
        };
        self.store(target, on_progress).await
    }

    async fn store(
        mut self,
        target: Target,
        mut on_progress: impl FnMut(ReadProgress),
    ) -> Result<Stored, SaveError> {
        let result = self.store_pieces(target, &mut on_progress).await;
        self.incoming.confirm(match &result {
            Ok(_) => Outcome::Complete,
            Err(error) => Outcome::Failed {
                reason: reason_for_sender(error),
            },
        });
        let path = result?;
        Ok(Stored {
            path,
            bytes: self.incoming.read,
            attributes: self.attributes().clone(),
        })
    }

    async fn store_pieces(
        &mut self,
        target: Target,
        on_progress: &mut impl FnMut(ReadProgress),
    ) -> Result<PathBuf, SaveError> {
        let temporary = target.temporary();
        // When this future is dropped, whatever the threads are doing.
        let _removal = Removal::of(&temporary);
        let mut partial = None;
        if let Target::Path(_) = &target {
            // What exists already is refused before anything is received.
            let (target, temporary) = (target.clone(), temporary.clone());
            let create = files::run(move || Partial::create(target, &temporary));
            partial = Some(self.incoming.busy_with(create).await?);
        }
        loop {
            let mut pieces = Vec::new();
            if !self.incoming.rest.is_empty() {
                pieces.push(std::mem::take(&mut self.incoming.rest));
            }
            std::future::poll_fn(|cx| {
                let taken = self
                    .incoming
                    .poll_pieces(cx, BATCH_BYTES, |piece| pieces.push(piece));
                if taken.is_pending() && !pieces.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                taken
            })
            .await?;
            let (target, temporary) = (target.clone(), temporary.clone());
            let write = move || {
                let mut partial = match partial {
                    Some(partial) => partial,
                    None => Partial::create(target, &temporary)?,
                };
                partial.write(&pieces).map(|()| partial)
            };
            if matches!(self.incoming.end, Some(Ok(_))) {
                let path = files::finish(write).await?;
                on_progress(self.incoming.progress());
                return Ok(path);
            }
            partial = Some(self.incoming.busy_with(files::run(write)).await?);
            on_progress(self.incoming.progress());
        }
    }
}

impl Stream for ByteReader {
    type Item = Result<Bytes, ReadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.incoming.poll_piece(cx)
    }
}

impl AsyncRead for ByteReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.incoming.rest.is_empty() {
            match ready!(self.incoming.poll_piece(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                Some(Ok(piece)) => self.incoming.rest = piece,
            }
        }
        let take = self.incoming.rest.len().min(buf.remaining());
        let piece = self.incoming.rest.split_to(take);
        buf.put_slice(&piece);
        Poll::Ready(Ok(()))
    }
}

/// Reads one text stream: as [`Stream`] of pieces as they arrive, or whole. No piece splits a character.
///
/// What [`ByteReader`] says about push-back and dropping holds here too.
#[derive(Debug)]
pub struct TextReader {
    incoming: Incoming,
}

common_reader!(TextReader);

impl TextReader {
    /// The byte streams that belong to the text; [`ByteStreams::attachments_of`](crate::ByteStreams::attachments_of)
    /// waits for them.
    pub fn attachments(&self) -> &[StreamId] {
        match &self.incoming.info.content {
            lkstream_engine::Content::Text { attachments, .. } => attachments,
            _ => &[],
        }
    }

    /// The next piece; `None` at the clean end of the stream.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// How the stream failed; the same error again if asked again.
    pub async fn next(&mut self) -> Option<Result<String, ReadError>> {
        std::future::poll_fn(|cx| self.poll_next_piece(cx)).await
    }

    fn poll_next_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<String, ReadError>>> {
        let piece = ready!(self.incoming.poll_piece(cx));
        Poll::Ready(piece.map(|piece| piece.map(text)))
    }

    /// Everything that was not read yet, at most `limit` bytes of UTF-8.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future drops the reader.
    ///
    /// # Errors
    /// How the stream failed, or that it is longer than `limit`.
    pub async fn read_all(mut self, limit: usize) -> Result<String, ReadAllError> {
        self.incoming.read_all(limit).await.map(text)
    }
}

/// The engine hands out whole characters only, so nothing is replaced here.
fn text(piece: Bytes) -> String {
    String::from_utf8(piece.into())
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

impl Stream for TextReader {
    type Item = Result<String, ReadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_next_piece(cx)
    }
}
