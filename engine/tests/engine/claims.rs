//! Which listeners should get a stream, computed in another way than the engine does: for the model.

use bytes::Bytes;
use lkstream_engine::{Engine, ListenerId, StreamKind, TopicFilter};
use lkstream_proto::id::{StreamId, Topic};
use lkstream_proto::packet::{Content, DataPacket, Value};

/// What a header says that matters here.
pub(crate) struct Opening {
    pub(crate) id: StreamId,
    kind: StreamKind,
    topic: Topic,
}

impl Opening {
    /// The stream that a packet opens.
    pub(crate) fn of(packet: &Bytes) -> Option<Opening> {
        match DataPacket::from_bytes(packet.clone()).unwrap().value {
            Some(Value::StreamHeader(header)) => Some(Opening {
                id: header.stream_id.into(),
                kind: match header.content.unwrap() {
                    Content::Text(_) => StreamKind::Text,
                    Content::Bytes(_) => StreamKind::Bytes,
                },
                topic: header.topic.into(),
            }),
            _ => None,
        }
    }
}

struct Listener {
    id: ListenerId,
    kind: StreamKind,
    filter: TopicFilter,
}

impl Listener {
    /// How well the stream fits: a whole topic before a longer prefix before a shorter one.
    fn rank(&self, opening: &Opening) -> Option<usize> {
        let topic = opening.topic.as_str();
        let rank = match &self.filter {
            TopicFilter::Exact(exact) => (*exact == *topic).then_some(1_000),
            TopicFilter::Prefix(prefix) => topic.strip_prefix(&**prefix).map(|_| prefix.len()),
            _ => Some(0),
        };
        rank.filter(|_| opening.kind == self.kind)
    }
}

/// The listeners of one engine, in the order of their registration.
#[derive(Default)]
pub(crate) struct Claims {
    listeners: Vec<Listener>,
}

impl Claims {
    pub(crate) fn len(&self) -> usize {
        self.listeners.len()
    }

    pub(crate) fn listen(&mut self, engine: &mut Engine, kind: StreamKind, filter: TopicFilter) {
        let id = engine.listen(kind, filter.clone());
        self.listeners.push(Listener { id, kind, filter });
    }

    pub(crate) fn unlisten(&mut self, engine: &mut Engine, at: usize) {
        engine.unlisten(self.listeners.remove(at).id);
    }

    /// All who fit best, in the order of their registration.
    pub(crate) fn of(&self, opening: &Opening) -> Vec<ListenerId> {
        let best = self.listeners.iter().filter_map(|each| each.rank(opening));
        let Some(best) = best.max() else {
            return Vec::new();
        };
        let mut claimants = self.listeners.iter().collect::<Vec<_>>();
        claimants.retain(|each| each.rank(opening) == Some(best));
        claimants.into_iter().map(|each| each.id).collect()
    }
}
