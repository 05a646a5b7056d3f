//! The others in a room, bounded in memory.

use std::collections::BTreeMap;

use lkstream_proto::id::Identity;
use lkstream_proto::participant::ParticipantInfo;

use crate::participant::Participant;

/// Memory of the participants of a room with all that they say about themselves, in bytes. Those above it are kept
/// without name, metadata and attributes.
pub(crate) const PARTICIPANTS_BYTES: usize = 64 * 1024 * 1024;

/// Memory of the participants above which the room is left: what is left of each is needed to route packets.
pub(crate) const PARTICIPANTS_BYTES_AT_MOST: usize = 128 * 1024 * 1024;

/// The participants take too much memory, even without what can be left out.
#[derive(Debug)]
pub(super) struct TooLarge;

/// The others, in the order of their identities.
#[derive(Debug, Default)]
pub(super) struct Others {
    by_identity: BTreeMap<Identity, Participant>,
    bytes: usize,
    has_warned: bool,
}

impl Others {
    pub(super) fn get(&self, identity: &str) -> Option<&Participant> {
        self.by_identity.get(identity)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Participant> {
        self.by_identity.values()
    }

    pub(super) fn len(&self) -> usize {
        self.by_identity.len()
    }

    /// Puts a participant in, in place of the one with this identity, and gives it back as it is kept.
    pub(super) fn insert(&mut self, info: ParticipantInfo) -> Result<Participant, TooLarge> {
        let mut participant = Participant::from_info(info);
        self.remove(participant.identity());
        if self.bytes + participant.footprint() > PARTICIPANTS_BYTES {
            participant = participant.shortened();
            if !std::mem::replace(&mut self.has_warned, true) {
                tracing::warn!(
                    participants = self.len(),
                    "the participants of the room take more than 64 MiB; further ones are kept without metadata"
                );
            }
        }
        let bytes = self.bytes + participant.footprint();
        if bytes > PARTICIPANTS_BYTES_AT_MOST {
            return Err(TooLarge);
        }
        self.bytes = bytes;
        self.by_identity
            .insert(participant.identity().clone(), participant.clone());
        Ok(participant)
    }

    pub(super) fn remove(&mut self, identity: &Identity) -> Option<Participant> {
        let removed = self.by_identity.remove(identity)?;
        self.bytes -= removed.footprint();
        Some(removed)
    }

    /// Takes all of them out.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Participant> + use<> {
        self.bytes = 0;
        std::mem::take(&mut self.by_identity).into_values()
    }
}
