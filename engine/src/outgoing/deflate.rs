//! Deflates a stream chunk by chunk, as the transport takes it.

use std::collections::VecDeque;
use std::fmt;

use bytes::{Buf, Bytes};
use flate2::{Compress, Compression, FlushCompress, Status};
use lkstream_proto::limits::CHUNK_BYTES;

use crate::limits::{DEFLATE_LEVEL, DEFLATE_STEP_BYTES};

/// One raw deflate stream (RFC 1951) and the chunk that it fills. About 300 kB, so it is used
/// again for the next stream.
pub(crate) struct Deflater {
    state: Compress,
    buffer: Box<[u8]>,
    filled: usize,
    /// Payload bytes taken in since the last chunk left.
    consumed: usize,
    ended: bool,
}

/// A chunk's content, and how many bytes of payload went in since the last one.
pub(super) struct Deflated<'a> {
    pub(super) content: &'a [u8],
    pub(super) payload: usize,
}

/// The encoder failed, which it does for no input.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater")
            .field("filled", &self.filled)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl Deflater {
    pub(crate) fn new() -> Deflater {
        Deflater {
            state: Compress::new(Compression::new(DEFLATE_LEVEL), false),
            buffer: vec![0; CHUNK_BYTES].into_boxed_slice(),
            filled: 0,
            consumed: 0,
            ended: false,
        }
    }

    /// Starts a new stream.
    pub(crate) fn reset(&mut self) {
        self.state.reset();
        self.filled = 0;
        self.consumed = 0;
        self.ended = false;
    }

    /// Bytes that `sample` has as a stream of its own; `None` when they do not fit into a chunk.
    /// Leaves the deflater as new.
    pub(super) fn trial(&mut self, sample: &[u8]) -> Option<usize> {
        let status = self
            .state
            .compress(sample, &mut self.buffer, FlushCompress::Finish);
        let size = usize::try_from(self.state.total_out()).ok();
        self.reset();
        matches!(status, Ok(Status::StreamEnd))
            .then_some(size)
            .flatten()
    }

    /// The whole stream, when the payload at the front of `queue` fits into one chunk's content:
    /// looks at the first MiB at most. What was taken from the queue then goes on with
    /// [`next_chunk`](Deflater::next_chunk).
    pub(super) fn start(&mut self, queue: &mut VecDeque<Bytes>) -> Result<Option<&[u8]>, Broken> {
        self.fill(queue, true)?;
        Ok(self.ended.then(|| &self.buffer[..self.filled]))
    }

    /// Payload bytes that went in and are in no chunk yet.
    pub(super) fn taken_in(&self) -> usize {
        self.consumed
    }

    /// Whether all of the stream was made and taken.
    pub(super) fn is_spent(&self) -> bool {
        self.ended && self.filled == 0
    }

    /// The next chunk's content: full, or the last. `None` when there is too little for a chunk
    /// and more is to come, or nothing is left. `whole` says that nothing follows what is queued.
    pub(super) fn next_chunk(
        &mut self,
        queue: &mut VecDeque<Bytes>,
        whole: bool,
    ) -> Result<Option<Deflated<'_>>, Broken> {
        loop {
            self.fill(queue, whole)?;
            let is_ready = self.filled == CHUNK_BYTES
                || (self.ended || self.consumed >= DEFLATE_STEP_BYTES) && self.filled > 0;
            if is_ready {
                let deflated = Deflated {
                    content: &self.buffer[..self.filled],
                    payload: self.consumed,
                };
                self.filled = 0;
                self.consumed = 0;
                return Ok(Some(deflated));
            }
            if self.ended || queue.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Deflates until the buffer is full, the queue empty, or a step is done.
    fn fill(&mut self, queue: &mut VecDeque<Bytes>, whole: bool) -> Result<(), Broken> {
        let mut step = 0;
        while self.filled < CHUNK_BYTES && !self.ended && step < DEFLATE_STEP_BYTES {
            let is_last = whole && queue.len() <= 1;
            let input = queue.front().map_or(&[][..], |front| &front[..]);
            if input.is_empty() && !is_last {
                if queue.pop_front().is_none() {
                    break;
                }
                continue;
            }
            let looked_at = input.len().min(DEFLATE_STEP_BYTES - step);
            let flush = if is_last && looked_at == input.len() {
                FlushCompress::Finish
            } else {
                FlushCompress::None
            };
            let (read, written) = (self.state.total_in(), self.state.total_out());
            let status = self
                .state
                .compress(&input[..looked_at], &mut self.buffer[self.filled..], flush)
                .map_err(|_| Broken)?;
            let read = usize::try_from(self.state.total_in() - read).map_err(|_| Broken)?;
            let written = usize::try_from(self.state.total_out() - written).map_err(|_| Broken)?;
            self.filled += written;
            self.consumed += read;
            step += read;
            self.ended = matches!(status, Status::StreamEnd);
            if let Some(front) = queue.front_mut() {
                front.advance(read);
                if front.is_empty() {
                    queue.pop_front();
                }
            }
            if read == 0 && written == 0 && !self.ended {
                return Err(Broken);
            }
        }
        Ok(())
    }
}
