//! The publishers of incoming streams, each with its open streams.

use std::collections::BTreeMap;

use lkstream_proto::id::{Identity, ParticipantSid, StreamId};

use crate::slots::Key;
use crate::stream::StreamInfo;

/// Who published a stream: the sid that the server wrote, or the identity where it wrote none.
/// The identity in a header is only what is shown (protocol.md §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Publisher<'a> {
    Sid(&'a str),
    Identity(&'a str),
}

impl<'a> Publisher<'a> {
    pub(crate) fn of(sid: &'a str, identity: &'a str) -> Publisher<'a> {
        if sid.is_empty() {
            Publisher::Identity(identity)
        } else {
            Publisher::Sid(sid)
        }
    }

    /// The publisher of the stream with this header.
    pub(crate) fn of_stream(info: &'a StreamInfo) -> Publisher<'a> {
        match &info.publisher {
            Some(sid) => Publisher::Sid(sid.as_str()),
            None => Publisher::Identity(info.sender.as_str()),
        }
    }
}

/// The streams of one publisher.
#[derive(Debug)]
struct Published {
    publisher: Name,
    /// Those of which chunks may come; one of the copies, where there are several.
    open: BTreeMap<StreamId, Key>,
    /// All that were not released.
    existing: Existing,
}

/// What a publisher has of streams that were not released.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Existing {
    /// How many there are.
    pub(crate) streams: usize,
    /// What their headers take.
    pub(crate) header_bytes: usize,
}

#[derive(Debug)]
enum Name {
    Sid(ParticipantSid),
    Identity(Identity),
}

impl Published {
    fn publisher(&self) -> Publisher<'_> {
        match &self.publisher {
            Name::Sid(sid) => Publisher::Sid(sid.as_str()),
            Name::Identity(identity) => Publisher::Identity(identity.as_str()),
        }
    }
}

/// The publishers that have streams, sorted: a sender of short messages comes and goes without an
/// allocation.
#[derive(Debug, Default)]
pub(super) struct Publishers {
    sorted: Vec<Published>,
}

impl Publishers {
    fn place(&self, publisher: Publisher<'_>) -> Result<usize, usize> {
        self.sorted
            .binary_search_by(|published| published.publisher().cmp(&publisher))
    }

    fn get(&self, publisher: Publisher<'_>) -> Option<&Published> {
        self.place(publisher).ok().map(|at| &self.sorted[at])
    }

    fn get_mut(&mut self, publisher: Publisher<'_>) -> Option<&mut Published> {
        self.place(publisher).ok().map(|at| &mut self.sorted[at])
    }

    /// The open stream of this publisher and id.
    pub(super) fn find(&self, publisher: Publisher<'_>, id: &str) -> Option<Key> {
        self.get(publisher)?.open.get(id).copied()
    }

    /// The streams of this publisher that exist.
    pub(super) fn existing(&self, publisher: Publisher<'_>) -> Existing {
        self.get(publisher)
            .map_or_else(Existing::default, |published| published.existing)
    }

    /// The open streams of this publisher.
    pub(super) fn open_of(&self, publisher: Publisher<'_>) -> Vec<Key> {
        let published = self.get(publisher);
        published.map_or_else(Vec::new, |published| {
            published.open.values().copied().collect()
        })
    }

    /// One more stream exists, with a header of so many bytes.
    pub(super) fn add(&mut self, publisher: Publisher<'_>, header_bytes: usize) {
        match self.place(publisher) {
            Ok(at) => {
                let existing = &mut self.sorted[at].existing;
                existing.streams += 1;
                existing.header_bytes += header_bytes;
            }
            Err(at) => self.sorted.insert(
                at,
                Published {
                    publisher: match publisher {
                        Publisher::Sid(sid) => Name::Sid(sid.into()),
                        Publisher::Identity(identity) => Name::Identity(identity.into()),
                    },
                    open: BTreeMap::new(),
                    existing: Existing {
                        streams: 1,
                        header_bytes,
                    },
                },
            ),
        }
    }

    /// A stream that exists is gone.
    pub(super) fn remove(&mut self, publisher: Publisher<'_>, header_bytes: usize) {
        let Ok(at) = self.place(publisher) else {
            return;
        };
        let existing = &mut self.sorted[at].existing;
        existing.streams = existing.streams.saturating_sub(1);
        existing.header_bytes = existing.header_bytes.saturating_sub(header_bytes);
        if existing.streams == 0 {
            self.sorted.remove(at);
        }
    }

    /// Chunks with this id belong to the stream of that key.
    pub(super) fn open(&mut self, publisher: Publisher<'_>, id: &StreamId, key: Key) {
        if let Some(published) = self.get_mut(publisher) {
            published.open.insert(id.clone(), key);
        }
    }

    /// No chunks belong to it any more, but perhaps to its `successor`.
    pub(super) fn close(
        &mut self,
        publisher: Publisher<'_>,
        id: &str,
        key: Key,
        successor: Option<Key>,
    ) {
        let Some(published) = self.get_mut(publisher) else {
            return;
        };
        let Some(open) = published.open.get_mut(id).filter(|open| **open == key) else {
            return;
        };
        match successor {
            Some(successor) => *open = successor,
            None => {
                published.open.remove(id);
            }
        }
    }

    /// No chunks of any stream are expected any more.
    pub(super) fn close_all(&mut self) {
        for published in &mut self.sorted {
            published.open.clear();
        }
    }
}
