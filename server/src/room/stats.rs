//! Counters of a room.

/// What a room has seen so far. All counters only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomStats {
    /// Packets that publishers sent and that were accepted.
    pub packets_accepted: u64,
    /// Bytes of those packets.
    pub bytes_accepted: u64,
    /// Packets handed to the transports of subscribers.
    pub packets_delivered: u64,
    /// Bytes of those packets.
    pub bytes_delivered: u64,
    /// Packets of participants that may not publish data, dropped silently (protocol.md §4.3).
    pub not_permitted: u64,
    /// Packets of participants that are not connected.
    pub not_connected: u64,
    /// Reliable packets whose sequence number was reached before (protocol.md §4.3).
    pub duplicates: u64,
    /// Packets that did not decode, were too large or are not for participants to send.
    pub malformed: u64,
    /// Lossy packets dropped since their subscriber's queue was full.
    pub lossy_dropped: u64,
    /// Reliable packets that a subscriber's transport could not take, for example above its message size.
    pub discarded: u64,
    /// Subscribers that were cut since they stopped draining for too long.
    pub cut_stalled: u64,
    /// Subscribers that were cut since they fell off a log.
    pub cut_overrun: u64,
    /// Newcomers without an open channel that lost what they had not taken, as if they had joined later.
    pub joiners_skipped: u64,
    /// Times a publisher was slowed.
    pub braked: u64,
    /// Leavers whose leave was announced before everybody had all of their data.
    pub late_leaves: u64,
    /// Signal requests that were refused.
    pub requests_refused: u64,
    /// Signal links closed since too many answers waited for them.
    pub links_overrun: u64,
    /// Messages for signal links that were larger than clients take, not sent.
    pub signals_too_large: u64,
    /// Packets of a leaver dropped for somebody who had not heard in time that it came.
    pub unannounced_dropped: u64,
}

impl std::ops::AddAssign for RoomStats {
    fn add_assign(&mut self, other: RoomStats) {
        // Every field is named, so that a new counter is not forgotten here.
        let RoomStats {
            packets_accepted,
            bytes_accepted,
            packets_delivered,
            bytes_delivered,
            not_permitted,
            not_connected,
            duplicates,
            malformed,
            lossy_dropped,
            discarded,
            cut_stalled,
            cut_overrun,
            joiners_skipped,
            braked,
            late_leaves,
            requests_refused,
            links_overrun,
            signals_too_large,
            unannounced_dropped,
        } = other;
        self.packets_accepted += packets_accepted;
        self.bytes_accepted += bytes_accepted;
        self.packets_delivered += packets_delivered;
        self.bytes_delivered += bytes_delivered;
        self.not_permitted += not_permitted;
        self.not_connected += not_connected;
        self.duplicates += duplicates;
        self.malformed += malformed;
        self.lossy_dropped += lossy_dropped;
        self.discarded += discarded;
        self.cut_stalled += cut_stalled;
        self.cut_overrun += cut_overrun;
        self.joiners_skipped += joiners_skipped;
        self.braked += braked;
        self.late_leaves += late_leaves;
        self.requests_refused += requests_refused;
        self.links_overrun += links_overrun;
        self.signals_too_large += signals_too_large;
        self.unannounced_dropped += unannounced_dropped;
    }
}
