//! The result of a finished send, and the receipts of its receivers.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use lkstream_engine::StreamInfo;
use lkstream_proto::id::{Identity, StreamId};

use crate::deferred::Deferred;
use crate::shared::Shared;

/// Receipts kept for a handle that does not read them; a room with more receivers than that loses the oldest.
const KEPT: usize = 1024;

/// A stream that was sent completely: every packet, its trailer included, was acknowledged by the server's transport.
///
/// That is "delivered to the server". Whether a receiver has it, only [`receipts`](Sent::receipts) can tell.
#[derive(Debug)]
#[non_exhaustive]
pub struct Sent {
    /// The header as it was sent.
    pub info: StreamInfo,
    /// What receivers say; empty unless the options said `confirmed()`.
    pub receipts: Receipts,
    /// What was attached to a text, in the order of its ids.
    pub attachments: Vec<Sent>,
    pub(crate) bytes: u64,
}

impl Sent {
    /// Payload bytes sent.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What one receiver said about one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The stream.
    pub stream: StreamId,
    /// The receiver.
    pub from: Identity,
    /// What became of it.
    pub status: ReceiptStatus,
    /// Payload bytes the receiver had when it said so.
    pub bytes: u64,
    /// Why it failed, in the receiver's words; empty where it did not, or did not say.
    pub reason: String,
}

/// What became of a stream at one receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReceiptStatus {
    /// A reader took it and is reading.
    Accepted,
    /// It was read, or stored, completely.
    Complete,
    /// It failed there.
    Failed,
}

impl Receipt {
    /// Whether this is the receiver's last word.
    pub fn is_final(&self) -> bool {
        self.status != ReceiptStatus::Accepted
    }
}

/// The receipts of one stream, in the order they came.
///
/// Dropping it forgets the receipts; they still appear as [`Event::Receipt`](crate::Event::Receipt).
#[derive(Debug)]
pub struct Receipts {
    pub(crate) shared: Option<Arc<Shared>>,
    pub(crate) stream: StreamId,
}

impl Receipts {
    /// The next receipt; `None` once the room is gone, and at once for a stream that asked for none.
    ///
    /// A receiver that is not built on this crate never answers, so wait with a time limit.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Receipt> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Receipt>> {
        let Some(shared) = &self.shared else {
            return Poll::Ready(None);
        };
        let waker = cx.waker().clone();
        let mut state = shared.lock();
        let state = &mut *state;
        let is_ended = state.ended.is_some();
        let Some(waiting) = state.receipts.get_mut(&self.stream) else {
            return Poll::Ready(None);
        };
        match waiting.queue.pop_front() {
            Some(receipt) => Poll::Ready(Some(receipt)),
            None if is_ended => Poll::Ready(None),
            None => {
                state.deferred.forget(waiting.waker.replace(waker));
                Poll::Pending
            }
        }
    }
}

impl Stream for Receipts {
    type Item = Receipt;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Receipt>> {
        self.poll(cx)
    }
}

impl Drop for Receipts {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            let mut state = shared.lock();
            if let Some(waiting) = state.receipts.remove(&self.stream) {
                state.deferred.forget(waiting.waker);
            }
        }
    }
}

/// Receipts of one stream that wait for their reader.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) queue: VecDeque<Receipt>,
    pub(crate) waker: Option<Waker>,
}

impl Waiting {
    /// Adds a receipt, forgetting the oldest when full, and wakes the reader.
    pub(crate) fn push(&mut self, receipt: Receipt, deferred: &mut Deferred) {
        if self.queue.len() == KEPT {
            self.queue.pop_front();
        }
        self.queue.push_back(receipt);
        deferred.wake(self.waker.take());
    }
}
