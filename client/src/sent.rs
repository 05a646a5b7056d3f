//! The result of a finished send, and the receipts of its receivers.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use lkstream_engine::{Missed, StreamInfo};
use lkstream_proto::id::{Identity, StreamId};

use crate::deferred::Deferred;
use crate::shared::Shared;

/// Receipts kept for a handle that does not read them, beside the last words of the recipients.
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
    /// Whom it was addressed to: the destinations, or else those who were in the room when it was opened.
    pub recipients: Arc<[Identity]>,
    /// Recipients that left or failed before all was acknowledged.
    pub missed: Vec<Missed>,
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
    /// The receiver left the room, and had not had the last word 2 s later. No packet says so.
    Left,
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
    /// The next receipt; `None` once every recipient has had its last word or has left, once the room is gone, and at
    /// once for a stream that asked for none. Recipients are the destinations, or else those who were in the room when
    /// the stream was opened.
    ///
    /// A receiver that is not built on this crate never answers while it is in the room, so wait with a time limit.
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
            None if is_ended || waiting.pending.is_empty() => Poll::Ready(None),
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
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Recipients that have not had their last word.
    pub(crate) pending: HashSet<Identity>,
    pub(crate) queue: VecDeque<Receipt>,
    pub(crate) waker: Option<Waker>,
}

impl Waiting {
    pub(crate) fn new(recipients: &[Identity]) -> Self {
        Waiting {
            pending: recipients.iter().cloned().collect(),
            queue: VecDeque::new(),
            waker: None,
        }
    }

    /// Somebody left whose receipts would have come by now.
    pub(crate) fn departed(&mut self, stream: &StreamId, who: &Identity, deferred: &mut Deferred) {
        if self.pending.contains(who) {
            let receipt = Receipt {
                stream: stream.clone(),
                from: who.clone(),
                status: ReceiptStatus::Left,
                bytes: 0,
                reason: String::new(),
            };
            self.push(receipt, deferred);
        }
    }

    /// Adds a receipt, if there is room for it, and wakes the reader.
    pub(crate) fn push(&mut self, receipt: Receipt, deferred: &mut Deferred) {
        let is_last = receipt.is_final() && self.pending.remove(&receipt.from);
        // The last word of a recipient always has room: there are no more of these than recipients.
        if self.queue.len() >= KEPT && !is_last {
            return;
        }
        self.queue.push_back(receipt);
        deferred.wake(self.waker.take());
    }
}
