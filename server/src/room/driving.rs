//! The inputs and outputs of a room.

use bytes::Bytes;
use lkstream_proto::disconnect::DisconnectReason;
use lkstream_proto::id::ParticipantSid;
use lkstream_proto::packet::Channel;
use lkstream_proto::signal::Request;

use super::MemberId;
use super::departure::Departure;

/// Something that happened to a participant.
#[derive(Clone, Debug)]
pub enum Input {
    /// A message arrived on one of its data channels.
    Packet {
        /// Who sent it.
        from: MemberId,
        /// On which channel; the packet's own word for it is not trusted (protocol.md §4.1).
        channel: Channel,
        /// The message.
        bytes: Bytes,
    },
    /// A request arrived on its signal link. Offers, answers and candidates are the driver's business.
    Request {
        /// Who sent it.
        from: MemberId,
        /// What it asks.
        request: Request,
    },
    /// Its signal link is gone. It is kept for a resume.
    LinkLost(MemberId),
    /// Something of the driver's own for its signal link, in order with the room's messages.
    Say {
        /// To whom.
        member: MemberId,
        /// An encoded [`SignalResponse`](lkstream_proto::signal::SignalResponse).
        message: Bytes,
    },
    /// Its signal link has written so many messages to its socket since the join or the last resume.
    SignalsWritten {
        /// Whose.
        member: MemberId,
        /// Messages that [`Room::next_signal`](super::Room::next_signal) gave.
        total: u64,
    },
    /// Its peer connection is up, for the first time or again.
    Connected(MemberId),
    /// A data channel may be used towards it.
    ChannelOpen {
        /// Whose.
        member: MemberId,
        /// Which.
        channel: Channel,
    },
    /// Its transport acknowledged this many bytes of reliable packets since the start.
    Acknowledged {
        /// Whose.
        member: MemberId,
        /// Bytes, counting each packet that [`Room::next_packet`](super::Room::next_packet) gave and that was not discarded.
        total: u64,
    },
    /// A reliable packet that [`Room::next_packet`](super::Room::next_packet) gave could not be handed to its transport.
    Discarded {
        /// Whose.
        member: MemberId,
        /// Length of the packet.
        bytes: u64,
    },
    /// Its peer connection is silent and only an ICE restart helps. It is kept for a resume.
    ConnectionLost(MemberId),
    /// Its peer connection was closed, not by us.
    ConnectionClosed(MemberId),
    /// After [`Output::Finish`]: everything it has sent was handed over.
    Finished(MemberId),
    /// Remove it.
    Remove {
        /// Whom.
        member: MemberId,
        /// Why.
        departure: Departure,
    },
    /// Remove everybody and admit nobody any more.
    Close(DisconnectReason),
}

/// Why something that waited for a participant was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// It took nothing for [`Limits::cut_after`](super::Limits::cut_after). It is cut and joins anew.
    #[error("cut, since it took nothing of what waits for it")]
    Stalled,
    /// More waited than may. It is cut and joins anew.
    #[error("cut, since more waits for it than may")]
    Overrun,
    /// It had no open channel yet: as if it had joined later.
    #[error("packets from before its channel was open were dropped")]
    Skipped,
    /// A message for its signal link is larger than clients take ([`SIGNAL_BYTES`](lkstream_proto::limits::SIGNAL_BYTES)):
    /// a fresh token with large metadata, above all.
    #[error("a message for its signal link is too large and was not sent")]
    SignalTooLarge,
    /// It had not heard yet that the sender came when that was announced as gone.
    #[error("packets of a leaver were dropped that it had not heard of")]
    Unannounced,
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Messages wait for its signal link: take them with [`Room::next_signal`](super::Room::next_signal) while the link has room. Comes
    /// once until `next_signal` has given `None`.
    Signals(MemberId),
    /// Send this encoded [`SignalResponse`](lkstream_proto::signal::SignalResponse) on its signal link, if it has one, as the last
    /// message. [`Output::Removed`] follows.
    Farewell {
        /// To whom.
        to: MemberId,
        /// One WebSocket binary message.
        message: Bytes,
    },
    /// Something that waited for it was dropped: for the log.
    Lost {
        /// Whose.
        member: MemberId,
        /// Why.
        loss: Loss,
    },
    /// It does not read its answers: close its signal link, and say [`Input::LinkLost`]. It may resume.
    CloseLink(MemberId),
    /// Packets wait for it: take them with [`Room::next_packet`](super::Room::next_packet) while its transport has room. Comes once until
    /// `next_packet` has given `None` on both channels.
    Packets(MemberId),
    /// [`Room::accepts`](super::Room::accepts) is true for it again.
    Accepting(MemberId),
    /// It said goodbye: hand over what its transport has received already, then send [`Input::Finished`].
    /// Nothing more is for it; its transport may be closed then.
    Finish(MemberId),
    /// It is out: flush its signal link and close everything of it. Its id is not known any more.
    Removed {
        /// Who it was.
        member: MemberId,
        /// Its session.
        sid: ParticipantSid,
        /// Why.
        reason: DisconnectReason,
    },
}
