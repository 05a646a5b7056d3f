//! Who else is in the room, and what their clients can take (protocol.md §5.3).

use std::collections::BTreeMap;
use std::sync::Arc;

use lkstream_proto::id::Identity;
use lkstream_proto::limits::CLIENT_PROTOCOL;

/// What a participant's client understands, as the server passes it on in its `ParticipantInfo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Capabilities {
    /// Generation of its streams: 0 chunked only, 1 remote calls over streams, 2 inline streams.
    pub client_protocol: i32,
    /// Whether it inflates raw deflate streams (`CAP_COMPRESSION_DEFLATE_RAW`).
    pub inflates: bool,
}

impl Capabilities {
    /// Everything this library understands itself.
    pub const ALL: Capabilities = Capabilities {
        client_protocol: CLIENT_PROTOCOL,
        inflates: true,
    };

    /// Whether remote calls may go to it as streams.
    pub fn takes_calls_as_streams(self) -> bool {
        self.client_protocol >= 1
    }

    /// Whether a stream may be a single packet.
    pub fn takes_inline(self) -> bool {
        self.client_protocol >= 2
    }

    /// Whether a stream may be compressed.
    pub fn takes_deflate(self) -> bool {
        self.takes_inline() && self.inflates
    }
}

/// What a set of recipients can take: what the least of them can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) inline: bool,
    pub(crate) deflate: bool,
}

/// Everybody else in the room.
#[derive(Debug, Default)]
pub(crate) struct Participants {
    known: BTreeMap<Identity, Capabilities>,
    /// How many of them take no inline streams, and no compressed ones.
    without_inline: usize,
    without_deflate: usize,
    /// Their identities, until somebody comes or goes.
    everybody: Option<Arc<[Identity]>>,
}

impl Participants {
    /// All of them.
    pub(crate) fn everybody(&mut self) -> Arc<[Identity]> {
        let known = &self.known;
        let all = self
            .everybody
            .get_or_insert_with(|| known.keys().cloned().collect());
        Arc::clone(all)
    }

    pub(crate) fn set(&mut self, identity: Identity, capabilities: Capabilities) {
        let before = self.known.insert(identity, capabilities);
        if before.is_none() {
            self.everybody = None;
        }
        self.without_inline += usize::from(!capabilities.takes_inline());
        self.without_deflate += usize::from(!capabilities.takes_deflate());
        self.forget(before);
    }

    pub(crate) fn remove(&mut self, identity: &Identity) {
        let before = self.known.remove(identity);
        self.everybody = None;
        self.forget(before);
    }

    pub(crate) fn clear(&mut self) {
        *self = Participants::default();
    }

    /// What somebody can take, if anybody of that identity is there.
    pub(crate) fn get(&self, identity: &Identity) -> Option<Capabilities> {
        self.known.get(identity).copied()
    }

    /// What everybody of `destinations` can take, or everybody there is when it is empty. Who is
    /// unknown can take nothing; an empty room takes anything.
    pub(crate) fn reach(&self, destinations: &[Identity]) -> Reach {
        if destinations.is_empty() {
            return Reach {
                inline: self.without_inline == 0,
                deflate: self.without_deflate == 0,
            };
        }
        let all = |can: fn(Capabilities) -> bool| {
            destinations
                .iter()
                .all(|identity| self.get(identity).is_some_and(can))
        };
        Reach {
            inline: all(Capabilities::takes_inline),
            deflate: all(Capabilities::takes_deflate),
        }
    }

    fn forget(&mut self, before: Option<Capabilities>) {
        let Some(before) = before else { return };
        self.without_inline -= usize::from(!before.takes_inline());
        self.without_deflate -= usize::from(!before.takes_deflate());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_the_recipients_decides() {
        let mut room = Participants::default();
        let plain = Capabilities {
            client_protocol: 2,
            inflates: false,
        };
        let old = Capabilities {
            client_protocol: 1,
            inflates: true,
        };
        let reach = |room: &Participants, to: &[&str]| {
            let to: Vec<Identity> = to.iter().map(|to| Identity::from(*to)).collect();
            let reach = room.reach(&to);
            (reach.inline, reach.deflate)
        };
        assert_eq!(reach(&room, &[]), (true, true), "an empty room");
        room.set("bob".into(), Capabilities::ALL);
        assert_eq!(reach(&room, &[]), (true, true));
        room.set("plain".into(), plain);
        assert_eq!(reach(&room, &[]), (true, false));
        room.set("old".into(), old);
        assert_eq!(reach(&room, &[]), (false, false));
        assert_eq!(reach(&room, &["bob"]), (true, true));
        assert_eq!(reach(&room, &["bob", "plain"]), (true, false));
        assert_eq!(reach(&room, &["bob", "old"]), (false, false));
        assert_eq!(reach(&room, &["bob", "nobody"]), (false, false));
        room.set("old".into(), plain);
        assert_eq!(reach(&room, &[]), (true, false), "it was updated");
        room.remove(&"old".into());
        room.remove(&"plain".into());
        room.remove(&"nobody".into());
        assert_eq!(reach(&room, &[]), (true, true));
        room.clear();
        assert_eq!(reach(&room, &["bob"]), (false, false));
    }
}
