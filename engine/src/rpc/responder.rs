//! Calls that others make to us, until they are answered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use lkstream_proto::id::Identity;

use super::InvocationId;
use crate::config::Config;

/// How a request came, and so how its result goes back (protocol.md §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Packet,
    Stream,
}

/// Where a request came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) caller: Identity,
    pub(crate) request: String,
    pub(crate) form: Form,
    pub(crate) method: String,
    pub(crate) response_timeout: Duration,
}

#[derive(Debug)]
struct Pending {
    source: Source,
    /// The caller left: nobody waits for the answer.
    is_abandoned: bool,
}

/// The methods served, and the requests that are read or handled.
#[derive(Debug)]
pub(crate) struct Invocations {
    methods: BTreeSet<String>,
    pending: BTreeMap<u64, Pending>,
    by_caller: HashMap<Identity, BTreeMap<String, u64>>,
    next: u64,
    limit: usize,
    limit_per_caller: usize,
}

impl Invocations {
    pub(crate) fn new(config: &Config) -> Invocations {
        Invocations {
            methods: BTreeSet::new(),
            pending: BTreeMap::new(),
            by_caller: HashMap::new(),
            next: 0,
            limit: config.max_invocations,
            limit_per_caller: config.max_invocations_per_caller,
        }
    }

    pub(crate) fn serve(&mut self, method: String) {
        self.methods.insert(method);
    }

    pub(crate) fn unserve(&mut self, method: &str) {
        self.methods.remove(method);
    }

    pub(crate) fn serves(&self, method: &str) -> bool {
        self.methods.contains(method)
    }

    /// Whether this request is being read or handled.
    pub(crate) fn is_pending(&self, caller: &Identity, request: &str) -> bool {
        self.by_caller
            .get(caller)
            .is_some_and(|requests| requests.contains_key(request))
    }

    /// The limit that one more request of this caller would break.
    pub(crate) fn limit_met(&self, caller: &Identity) -> Option<usize> {
        if self.pending.len() >= self.limit {
            return Some(self.limit);
        }
        let own = self.by_caller.get(caller).map_or(0, BTreeMap::len);
        (own >= self.limit_per_caller).then_some(self.limit_per_caller)
    }

    pub(crate) fn add(&mut self, source: Source) -> InvocationId {
        self.next += 1;
        self.by_caller
            .entry(source.caller.clone())
            .or_default()
            .insert(source.request.clone(), self.next);
        let pending = Pending {
            source,
            is_abandoned: false,
        };
        self.pending.insert(self.next, pending);
        InvocationId(self.next)
    }

    pub(crate) fn get(&self, id: InvocationId) -> Option<&Source> {
        self.pending.get(&id.0).map(|pending| &pending.source)
    }

    /// Takes a request out; `Err` when nobody waits for its answer.
    pub(crate) fn remove(&mut self, id: InvocationId) -> Option<Result<Source, Source>> {
        let Pending {
            source,
            is_abandoned,
        } = self.pending.remove(&id.0)?;
        if let Some(requests) = self.by_caller.get_mut(&source.caller) {
            if requests.get(&source.request) == Some(&id.0) {
                requests.remove(&source.request);
            }
            if requests.is_empty() {
                self.by_caller.remove(&source.caller);
            }
        }
        Some(if is_abandoned {
            Err(source)
        } else {
            Ok(source)
        })
    }

    /// Somebody left. Its requests keep their places until they are answered, since something
    /// works on them.
    pub(crate) fn left(&mut self, caller: &Identity) {
        for pending in self.pending.values_mut() {
            pending.is_abandoned |= pending.source.caller == *caller;
        }
    }

    /// Nobody waits for anything any more.
    pub(crate) fn abandon_all(&mut self) {
        for pending in self.pending.values_mut() {
            pending.is_abandoned = true;
        }
    }
}
