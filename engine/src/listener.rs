//! Finds the listeners that are registered for the topic of an incoming stream.

use lkstream_proto::id::Topic;

use crate::stream::StreamKind;

/// Names a listener of one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(u64);

/// Which topics a listener wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TopicFilter {
    /// This topic.
    Exact(Topic),
    /// Topics that start with this; the empty prefix equals [`TopicFilter::Any`].
    Prefix(String),
    /// Every topic.
    Any,
}

impl TopicFilter {
    /// How well the filter fits: higher is more specific, `None` is no match.
    fn fit(&self, topic: &Topic) -> Option<usize> {
        match self {
            TopicFilter::Exact(exact) => (exact == topic).then_some(usize::MAX),
            TopicFilter::Prefix(prefix) => topic
                .as_str()
                .starts_with(prefix.as_str())
                .then_some(prefix.len()),
            TopicFilter::Any => Some(0),
        }
    }
}

impl From<&str> for TopicFilter {
    /// An exact topic.
    fn from(topic: &str) -> Self {
        TopicFilter::Exact(Topic::from(topic))
    }
}

impl From<Topic> for TopicFilter {
    fn from(topic: Topic) -> Self {
        TopicFilter::Exact(topic)
    }
}

/// All listeners of an engine.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    listeners: Vec<(ListenerId, StreamKind, TopicFilter)>,
    next: u64,
}

impl Listeners {
    pub(crate) fn add(&mut self, kind: StreamKind, filter: TopicFilter) -> ListenerId {
        self.next += 1;
        let id = ListenerId(self.next);
        self.listeners.push((id, kind, filter));
        id
    }

    pub(crate) fn remove(&mut self, id: ListenerId) {
        self.listeners.retain(|(each, _, _)| *each != id);
    }

    /// The oldest of the most specific listeners, and the others as specific as it.
    pub(crate) fn find(
        &self,
        kind: StreamKind,
        topic: &Topic,
    ) -> Option<(ListenerId, Vec<ListenerId>)> {
        let mut best: Option<(usize, ListenerId)> = None;
        let mut equal = Vec::new();
        for (id, listens_to, filter) in &self.listeners {
            if *listens_to != kind {
                continue;
            }
            let Some(fit) = filter.fit(topic) else {
                continue;
            };
            if best.is_none_or(|(other, _)| fit > other) {
                best = Some((fit, *id));
                equal.clear();
            } else if best.is_some_and(|(other, _)| fit == other) {
                equal.push(*id);
            }
        }
        best.map(|(_, id)| (id, equal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_listeners_win() {
        let mut listeners = Listeners::default();
        let any = listeners.add(StreamKind::Text, TopicFilter::Any);
        let prefix = listeners.add(StreamKind::Text, TopicFilter::Prefix("lk.".into()));
        let exact = listeners.add(StreamKind::Text, "lk.chat".into());
        let equal = listeners.add(StreamKind::Text, "lk.chat".into());
        let all = listeners.add(StreamKind::Text, TopicFilter::Prefix(String::new()));
        let bytes = listeners.add(StreamKind::Bytes, TopicFilter::Any);
        assert_eq!(
            listeners.find(StreamKind::Text, &"lk.chat".into()),
            Some((exact, vec![equal]))
        );
        assert_eq!(
            listeners.find(StreamKind::Text, &"lk.other".into()),
            Some((prefix, vec![]))
        );
        assert_eq!(
            listeners.find(StreamKind::Text, &"files".into()),
            Some((any, vec![all]))
        );
        assert_eq!(
            listeners.find(StreamKind::Bytes, &"lk.chat".into()),
            Some((bytes, vec![]))
        );
        listeners.remove(bytes);
        assert_eq!(listeners.find(StreamKind::Bytes, &"lk.chat".into()), None);
    }
}
