//! What must hold of a node at any moment, and how to tell where it stands when it does not.

use super::*;

impl Node {
    /// What must hold at any moment.
    pub(in crate::simulation) fn check(&mut self) {
        let who = self.who;
        let wire = self.wire.config();
        let (window, buffer) = (
            wire.receive_window as u64,
            wire.send_buffer + wire.max_message_size,
        );
        for end in [End::Client, End::Server] {
            let unread = self.wire.unread(end);
            assert!(unread <= window, "{who}'s wire holds {unread} unread bytes");
            for lane in [Lane::Reliable, Lane::Lossy] {
                let buffered = self.wire.buffered(end, lane);
                assert!(
                    buffered <= buffer,
                    "{who}'s wire holds {buffered} unsent bytes"
                );
            }
        }
        let mut unread = 0;
        for received in self
            .received
            .iter()
            .filter(|received| received.end.is_none())
        {
            if let Some(incoming) = self.engine.incoming(received.handle) {
                unread += incoming.unread();
            }
        }
        let budget = self.client.engine.connection_budget + lkstream_engine::limits::OVERRUN_BYTES;
        assert!(unread <= budget, "{who} holds {unread} unread bytes");
    }

    /// Where everything stands, for a failure.
    pub(in crate::simulation) fn status(&self) -> String {
        let buffered = |end| self.wire.buffered(end, Lane::Reliable);
        format!(
            "{} {} {:?}: {:?}{}, client buffers {} holds {}, server buffers {} holds {}{}{}",
            self.who,
            self.identity(),
            self.presence,
            self.pace,
            if self.engine.is_over_budget() {
                " over budget"
            } else {
                ""
            },
            buffered(End::Client),
            self.wire.unread(End::Client),
            buffered(End::Server),
            self.wire.unread(End::Server),
            if self.packets_wait {
                ", packets wait"
            } else {
                ""
            },
            if self.wire.is_connected() {
                ""
            } else {
                ", cut off"
            },
        )
    }

    pub(in crate::simulation) fn check_sent(&mut self, sent: &[Sent]) {
        let limit = (self.client.engine.write_window + lkstream_proto::limits::CHUNK_BYTES) as u64;
        for sent in sent {
            if sent.by == self.who
                && sent.fate == Fate::Running
                && sent.stream.way == Way::Pieces
                && let Some(outgoing) = self.engine.outgoing(sent.handle)
            {
                let progress = outgoing.progress();
                assert!(
                    progress.queued <= limit,
                    "{} queues {} bytes of one stream",
                    self.who,
                    progress.queued
                );
                assert_eq!(
                    progress.written, sent.written as u64,
                    "{} {}",
                    self.who, sent.id
                );
                assert!(progress.acknowledged <= progress.sent);
            }
        }
    }
}
