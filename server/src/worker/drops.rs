//! Who learns of what a worker drops: the operator, by counters and log lines.

use super::Worker;
use super::connection::{Drops, Key};

impl Worker {
    pub(super) fn note_leaver_messages(&mut self, identity: &str, dropped: u64) {
        if dropped == 0 {
            return;
        }
        self.stats.leaver_messages += dropped;
        self.options.journal.say("messages of leavers", |more| {
            tracing::info!(
                ?identity,
                dropped,
                more,
                "messages of a leaver were dropped: the others are too far behind"
            );
        });
    }

    /// Counts what was dropped in a turn, and says so.
    pub(super) fn note_drops(&mut self, key: Key, late: u64, others: u64, drops: &Drops) {
        if late + others + drops.refused + drops.discarded + drops.lossy == 0 {
            return;
        }
        let Some(connection) = self.connections.get(&key) else {
            return;
        };
        let identity = connection.claims.participant_identity();
        let identity = identity.as_str();
        let journal = &self.options.journal;
        if let Some(refusal) = &drops.refusal {
            journal.say("refused packets", |more| {
                let refused = drops.refused;
                tracing::info!(?identity, refused, %refusal, more, "packets of a participant were dropped");
            });
        }
        if let Some(error) = &drops.error {
            journal.say("discarded packets", |more| {
                let dropped = drops.discarded;
                tracing::warn!(?identity, dropped, %error, more, "reliable packets did not go to a participant");
            });
        }
        if others > 0 {
            self.stats.other_messages += others;
            journal.say("other channels", |more| {
                tracing::info!(
                    ?identity,
                    others,
                    more,
                    "messages on other channels than those of data packets were dropped"
                );
            });
        }
        self.stats.lossy_unsent += drops.lossy;
        self.note_leaver_messages(identity, late);
    }
}
