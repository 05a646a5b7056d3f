//! LiveKit data streams without libwebrtc: text, files and live bytes between the participants of a room.
//!
//! ```no_run
//! # async fn example(url: &str, token: &str) -> Result<(), Box<dyn std::error::Error>> {
//! use lkstream::{ByteOptions, Room, TextOptions};
//!
//! let room = Room::connect(url, token).await?;
//! room.send_text("hello", TextOptions::new("lk.chat")).await?;
//! room.send_file("report.pdf", ByteOptions::new("files")).await?;
//!
//! let mut texts = room.text_streams("lk.chat");
//! while let Some(text) = texts.next().await {
//!     let sender = text.info().sender.clone();
//!     println!("{sender}: {}", text.read_all(1 << 20).await?);
//! }
//! # Ok(()) }
//! ```
//!
//! Everything runs on tokio. One task per room owns its sockets; readers, writers and the [`Room`] itself are handles
//! to it. A send resolves once the server's transport has acknowledged it; whether a receiver has it, only a
//! [`Receipt`] tells. What was cut short never reads as finished.

mod attachments;
mod builder;
mod candidates;
mod connect;
mod datagrams;
mod deferred;
mod dial;
mod disconnected;
mod driver;
mod dropped;
mod error;
mod events;
pub mod files;
mod footprint;
mod handlers;
mod options;
mod participant;
mod payload;
mod progress;
mod publish;
mod reader;
mod recipients;
mod room;
mod rpc;
mod sending;
mod sent;
#[doc(hidden)]
pub mod session;
mod shared;
mod streams;
mod upgrade;
mod url;
mod writer;

pub use attachments::{Attachments, MissingAttachment, MissingCause};
pub use builder::RoomBuilder;
pub use disconnected::{Advice, Disconnected};
pub use error::{
    ConnectError, ConnectErrorKind, ConnectStep, IoCause, OpenError, ReadAllError, SaveError,
    SendError,
};
pub use events::{Event, Events};
pub use handlers::{HandlerOptions, Registration};
pub use lkstream_engine::Config as StreamLimits;
pub use lkstream_engine::OpenError as StreamOpenError;
pub use lkstream_engine::PublishError as PacketError;
pub use lkstream_engine::encryption;
pub use lkstream_engine::{
    Attributes, CloseError, Compress, Content, Counters, Limit, Lost, Missed, MissedCause,
    NoRecipients, PeerFault, ReadError, RpcCode, RpcError, Rule, StreamInfo, StreamKind,
    TextOperation, TopicFilter, UserMessage, WriteError,
};
pub use lkstream_proto::disconnect::DisconnectReason;
pub use lkstream_proto::id::{Identity, ParticipantSid, RoomName, RoomSid, StreamId, Topic};
pub use lkstream_proto::packet::{
    Channel, ChatMessage, SipDtmf, Transcription, TranscriptionSegment,
};
pub use lkstream_proto::token;
pub use options::{ByteOptions, TextOptions};
pub use participant::{Kind, Participant, State};
pub use payload::Payload;
pub use progress::{Progress, ReadProgress};
pub use publish::{DataOptions, PublishError};
pub use reader::{ByteReader, Stored, TextReader};
pub use recipients::Recipients;
pub use room::Room;
pub use rpc::{RpcCall, RpcInvocation, RpcNext, RpcRequest};
pub use sent::{Receipt, ReceiptStatus, Receipts, Sent};
pub use streams::{ByteStreams, TextStreams};
pub use writer::{ByteWriter, TextWriter};
