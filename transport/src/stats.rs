//! Counters of one peer connection.

/// What a peer has seen so far. All counters only grow; of those of [`sctp`](Self::sctp), where the association stands does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Datagrams received, good or bad.
    pub datagrams_received: u64,
    /// Bytes of those datagrams.
    pub bytes_received: u64,
    /// Datagrams handed to the caller for sending.
    pub datagrams_sent: u64,
    /// Bytes of those datagrams.
    pub bytes_sent: u64,
    /// Datagrams dropped because they were no STUN and no DTLS, did not parse, or came too early.
    pub datagrams_dropped: u64,
    /// STUN messages that ICE refused.
    pub stun_refused: u64,
    /// STUN messages of ours that were dropped since too many waited to be sent.
    pub stun_dropped: u64,
    /// DTLS records that were refused.
    pub dtls_refused: u64,
    /// SCTP packets that were refused, in whole or in part.
    pub sctp_refused: u64,
    /// What the SCTP association counts: packets, chunks, losses, and what of each it refused and why. Zero before DTLS is up.
    pub sctp: lkstream_sctp::Stats,
    /// Data channel control messages that were refused, and messages of unknown kind.
    pub dcep_refused: u64,
    /// Remote candidates that were ignored (`.local`, TCP, too many, bad).
    pub candidates_ignored: u64,
    /// Messages received and handed to the caller.
    pub messages_received: u64,
    /// Messages taken from the caller.
    pub messages_sent: u64,
    /// Messages that were unread on a channel when we closed it, or came on it afterwards, dropped.
    pub messages_unread: u64,
    /// Messages of the remote side that were larger than we accept, dropped.
    pub messages_oversized: u64,
}
