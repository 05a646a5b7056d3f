//! Inflates a stream piece by piece, as far as its reader asks.

use bytes::{Buf, Bytes};
use flate2::{Decompress, FlushDecompress, Status};

use crate::limits::PIECE_BYTES;

/// Bytes a buffer for inflated content has at least.
const SMALL_PIECE_BYTES: usize = 1024;
/// How much larger than its input an inflated piece is first taken to be.
const EXPANSION: usize = 8;

/// One raw deflate stream (RFC 1951). Its window of 32 KiB is made at the first read.
#[derive(Debug, Default)]
pub(crate) struct Inflate {
    state: Option<Decompress>,
    /// The last buffer was filled: there may be more output without more input.
    filled: bool,
    ended: bool,
}

/// The deflate stream breaks its own rules.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Corrupt;

impl Inflate {
    /// Whether the final block was seen.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// Whether output may come without more input.
    pub(crate) fn has_output(&self) -> bool {
        self.filled && !self.ended
    }

    /// Inflates from the front of `input`, at most `most` bytes and a piece; `prefix` is put in
    /// front of them. What comes back is empty when the input gave nothing.
    pub(crate) fn inflate(
        &mut self,
        input: &mut Bytes,
        prefix: &[u8],
        most: u64,
    ) -> Result<Vec<u8>, Corrupt> {
        if self.ended {
            return if input.is_empty() {
                Ok(Vec::new())
            } else {
                Err(Corrupt)
            };
        }
        let state = self.state.get_or_insert_with(|| Decompress::new(false));
        let guess = input.len().saturating_mul(EXPANSION).max(SMALL_PIECE_BYTES);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let room = guess.min(most).min(PIECE_BYTES - prefix.len());
        let mut output = Vec::with_capacity(prefix.len() + room);
        output.extend_from_slice(prefix);
        let before = state.total_in();
        let status = state
            .decompress_vec(input, &mut output, FlushDecompress::None)
            .map_err(|_| Corrupt)?;
        let taken = usize::try_from(state.total_in() - before).unwrap_or(usize::MAX);
        if taken == 0 && !input.is_empty() && output.len() == prefix.len() {
            return Err(Corrupt);
        }
        input.advance(taken.min(input.len()));
        self.filled = output.len() == output.capacity();
        if matches!(status, Status::StreamEnd) {
            self.ended = true;
            self.state = None;
        }
        if output.len() == prefix.len() {
            output.clear();
        }
        Ok(output)
    }
}
