//! Our own calls, until they end.
//!
//! ```text
//!   sent ──ack──> acknowledged ──response──> done
//!     └─────────────response──────────────────┘
//!   7 s without ack, time over, recipient gone, connection lost ──> failed
//! ```

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use lkstream_proto::id::Identity;

use super::{CallId, RpcCode};
use crate::incoming::IncomingId;

/// A call that waits for its end.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: String,
    pub(crate) destination: Identity,
    /// When an acknowledgement is due; `None` once there is one.
    pub(crate) acknowledge_by: Option<Instant>,
    /// `None` when that is later than any clock shows.
    pub(crate) respond_by: Option<Instant>,
    /// When a reply that overtook or followed its sender's leave is due.
    pub(crate) gone_by: Option<Instant>,
    /// The stream that brings the response. When its sender leaves it ends on its own.
    pub(crate) response: Option<IncomingId>,
}

impl Call {
    /// What is due next, and what is to blame if it does not come.
    fn deadline(&self) -> Option<(Instant, RpcCode)> {
        let gone_by = self.gone_by.filter(|_| self.response.is_none());
        [
            (self.respond_by, RpcCode::ResponseTimeout),
            (self.acknowledge_by, RpcCode::ConnectionTimeout),
            (gone_by, RpcCode::RecipientDisconnected),
        ]
        .into_iter()
        .filter_map(|(at, code)| Some((at?, code)))
        .min_by_key(|(at, _)| *at)
    }
}

/// All pending calls.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pending: BTreeMap<u64, Call>,
    by_request: HashMap<String, u64>,
    next: u64,
}

impl Calls {
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn add(&mut self, call: Call) -> CallId {
        self.next += 1;
        self.by_request.insert(call.request.clone(), self.next);
        self.pending.insert(self.next, call);
        CallId(self.next)
    }

    /// The call with this id of a request, if `from` is who was called.
    pub(crate) fn find(&mut self, from: &str, request: &str) -> Option<(CallId, &mut Call)> {
        let key = *self.by_request.get(request)?;
        let call = self.pending.get_mut(&key)?;
        (call.destination == *from).then_some((CallId(key), call))
    }

    pub(crate) fn get_mut(&mut self, id: CallId) -> Option<&mut Call> {
        self.pending.get_mut(&id.0)
    }

    pub(crate) fn remove(&mut self, id: CallId) -> Option<Call> {
        let call = self.pending.remove(&id.0)?;
        self.by_request.remove(&call.request);
        Some(call)
    }

    /// Somebody left: a reply to be still on its way has until then.
    pub(crate) fn left(&mut self, identity: &Identity, gone_by: Instant) {
        for call in self.pending.values_mut() {
            if call.destination == *identity {
                call.gone_by.get_or_insert(gone_by);
            }
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = self.pending.values().filter_map(Call::deadline);
        deadlines.map(|(at, _)| at).min()
    }

    /// The calls whose time is over, and what was missing.
    pub(crate) fn expired(&self, now: Instant) -> Vec<(CallId, RpcCode)> {
        let over = self.pending.iter().filter_map(|(key, call)| {
            let (at, code) = call.deadline()?;
            (at <= now).then_some((CallId(*key), code))
        });
        over.collect()
    }

    pub(crate) fn ids(&self) -> Vec<CallId> {
        self.pending.keys().map(|key| CallId(*key)).collect()
    }
}
