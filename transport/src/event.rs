//! The events of a peer connection.

use crate::channel::{ChannelId, Reliability};

/// Something that happened. Take them with [`Peer::poll_event`](crate::Peer::poll_event).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// ICE and DTLS are up. Channels may still be on their way.
    Connected,
    /// A channel may be used, whichever side opened it.
    ChannelOpen {
        /// The channel.
        id: ChannelId,
        /// Its name; what the remote side chose is not checked.
        label: Box<str>,
        /// Order and retransmission.
        reliability: Reliability,
    },
    /// Messages wait in the channel. Comes once until [`Peer::receive`](crate::Peer::receive) has given `None`.
    Readable(ChannelId),
    /// [`Peer::room`](crate::Peer::room) was zero, and no longer is: enough of what waited has left or was acknowledged. Acknowledgements
    /// bring it, and [`Peer::poll_transmit`](crate::Peer::poll_transmit).
    Writable(ChannelId),
    /// The channel is gone. If the other side closed it, that is told when what it sent before was taken, or when we close it, too;
    /// until then what is unread counts against the window.
    ChannelClosed(ChannelId),
    /// Nothing was heard on the path for [`PeerConfig::disconnected_after`](crate::PeerConfig::disconnected_after).
    /// The connection may come back on its own or by an ICE restart.
    Disconnected,
    /// The path works again after [`Event::Disconnected`] or [`Event::Failed`].
    Reconnected,
    /// The path stayed silent; only an ICE restart helps. DTLS and SCTP are kept for it.
    Failed,
    /// The connection is over. Nothing comes after it; what was unread when the other side closed can still be taken with
    /// [`Peer::receive`](crate::Peer::receive).
    Closed(Cause),
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// We closed it.
    Local,
    /// The other side closed it.
    Remote,
    /// The DTLS handshake failed, for example by a wrong fingerprint.
    Dtls,
    /// SCTP was not set up or was aborted.
    Sctp,
}
