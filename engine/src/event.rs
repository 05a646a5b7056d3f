//! What the engine tells its driver.

use std::sync::Arc;

use bytes::Bytes;
use lkstream_proto::id::{Identity, ParticipantSid, StreamId, Topic};
use lkstream_proto::packet::{Channel, ChatMessage, SipDtmf, Transcription};
use lkstream_proto::receipt::Status;

use crate::incoming::{IncomingId, ReadError};
use crate::listener::ListenerId;
use crate::outgoing::OutgoingId;
use crate::rpc::{CallId, Invocation, RpcError};
use crate::stream::StreamInfo;

/// Something happened. Poll with [`Engine::poll_event`](crate::Engine::poll_event) until `None`
/// after every call that changes the engine.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A stream came in for `listener`. Read it, and release it in the end.
    Opened {
        /// The listener it matched.
        listener: ListenerId,
        /// How to reach the stream from now on.
        id: IncomingId,
        /// Its header, shared with the engine.
        info: Arc<StreamInfo>,
    },
    /// A read that was pending may now give something: a piece, the end, a failure.
    Readable(IncomingId),
    /// A write that blocked may now go on.
    Writable(OutgoingId),
    /// More of a stream was acknowledged by the transport, after
    /// [`notify_acknowledged`](crate::Outgoing::notify_acknowledged) asked for it.
    Acknowledged(OutgoingId),
    /// Everything of a stream, its trailer included, was acknowledged by the transport.
    Flushed(OutgoingId),
    /// A stream ended because the connection was lost; what was not acknowledged may be missing
    /// at the receivers.
    OutgoingLost(OutgoingId),
    /// A stream for a listener failed before it was read for the first time, by a limit of ours or
    /// by its header.
    IncomingFailed {
        /// The stream, where [`Event::Opened`] has said that it is there: it is still to be
        /// released, and whoever reads it gets the same error. `None` where nothing of it is
        /// kept; then a sender that asked for receipts has been told.
        id: Option<IncomingId>,
        /// Its header.
        info: Arc<StreamInfo>,
        /// Why it failed.
        error: ReadError,
    },
    /// A stream of ours was given up because none of its recipients is left;
    /// [`OutgoingState::GivenUp`](crate::OutgoingState::GivenUp) says who they were.
    GivenUp(OutgoingId),
    /// Somebody left some time ago ([`Config::leave_grace`](crate::Config::leave_grace)), so that receipts of theirs that
    /// the leave message overtook have arrived, too.
    Departed(Identity),
    /// A stream came in that no listener wants. Nothing of it is kept; a sender that asked for
    /// receipts has been told.
    Unclaimed(Arc<StreamInfo>),
    /// A receiver says how it fared with one of our streams.
    Receipt {
        /// The stream of ours.
        stream: StreamId,
        /// Who says so.
        from: Identity,
        /// What it says: accepted, complete or failed.
        status: Status,
        /// Bytes of payload it has, uncompressed.
        bytes_received: u64,
        /// Why it failed, in the receiver's words; empty where it did not, or did not say.
        reason: String,
    },
    /// A user packet that is not a receipt.
    UserPacket(UserMessage),
    /// Somebody pressed a telephone key.
    SipDtmf {
        /// Who.
        from: Identity,
        /// Which key.
        dtmf: SipDtmf,
    },
    /// A chat message of the older kind.
    Chat {
        /// Who sent it.
        from: Identity,
        /// What it says.
        message: ChatMessage,
    },
    /// Transcribed speech of the older kind.
    Transcription {
        /// Who sent it, usually an agent.
        from: Identity,
        /// What was said.
        transcription: Transcription,
    },
    /// There is room again for a packet that was refused with
    /// [`PublishError::Full`](crate::PublishError::Full).
    Publishable,
    /// A call of ours has ended.
    CallEnded {
        /// The call.
        id: CallId,
        /// Its result, or why there is none.
        result: Result<String, RpcError>,
    },
    /// Somebody calls a method that is served here. Answer it, once, with
    /// [`Engine::respond`](crate::Engine::respond).
    Invoked(Invocation),
}

/// A user packet as received (protocol.md §4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserMessage {
    /// The channel it came on.
    pub channel: Channel,
    /// Who sent it; empty from the server's own API.
    pub from: Identity,
    /// The sender's sid, where the server wrote one.
    pub publisher: Option<ParticipantSid>,
    /// Its topic.
    pub topic: Option<Topic>,
    /// The payload: a slice of the packet where it is most of it.
    pub payload: Bytes,
}
