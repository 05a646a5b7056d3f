//! LiveKit data streams as state machines: no sockets, no clock, no tasks.
//!
//! [`Engine`] is everything one participant sends and receives as streams. It is fed with time and
//! packets and says what to send, what happened and when it wants to be woken; sockets, tasks and
//! clocks are its driver's. [`delivery`] is the part of it that servers use too.
//!
//! ```
//! use std::time::{Instant, SystemTime};
//! use lkstream_engine::{Config, Content, Engine, Event, OpenOptions, Read, StreamKind};
//!
//! let now = Instant::now();
//! let mut alice = Engine::new(Config::default(), 1);
//! alice.set_local(now, "alice".into(), "PA_alice".into());
//! let mut bob = Engine::new(Config::default(), 2);
//! bob.set_local(now, "bob".into(), "PA_bob".into());
//! bob.listen(StreamKind::Text, "lk.chat".into());
//!
//! let options = OpenOptions::new(Content::text(), "lk.chat", SystemTime::now());
//! let id = alice.open(options)?;
//! if let Some(mut outgoing) = alice.outgoing(id) {
//!     outgoing.write("hello".into())?;
//!     outgoing.close(Default::default())?;
//! }
//! // The server would put its own idea of the sender into each packet.
//! while let Some(packet) = alice.poll_packet() {
//!     bob.handle_packet(now, packet.channel, packet.bytes)?;
//! }
//! let Some(Event::Opened { id, info, .. }) = bob.poll_event() else {
//!     return Err("no stream came".into());
//! };
//! assert_eq!(info.sender, "alice");
//! let mut incoming = bob.incoming(id).ok_or("released")?;
//! assert_eq!(incoming.read(now), Read::Piece("hello".into()));
//! assert!(matches!(incoming.read(now), Read::Finished(_)));
//! incoming.release(now);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Every queue inside has a limit from [`Config`], every byte from the network is checked, and
//! nothing that was cut short ever reads as finished.

mod config;
pub mod delivery;
pub mod encryption;
mod engine;
mod event;
mod fault;
mod incoming;
pub mod limits;
mod listener;
mod outgoing;
mod participants;
mod publish;
pub mod rpc;
mod slots;
mod stream;

pub use config::Config;
pub use engine::{Engine, Lost};
pub use event::{Event, UserMessage};
pub use fault::{Counters, PeerFault, Rule};
pub use incoming::{Incoming, IncomingId, Limit, Outcome, Read, ReadError, Summary};
pub use listener::{ListenerId, TopicFilter};
pub use outgoing::{
    CloseError, Compress, Missed, MissedCause, NoRecipients, OpenError, OpenOptions, Outgoing,
    OutgoingId, OutgoingState, Progress, Receipts, WriteError, Written,
};
pub use participants::Capabilities;
pub use publish::{Message, PublishError};
pub use rpc::{CallId, CallOptions, Invocation, InvocationId, RpcCode, RpcError};
pub use stream::{Attributes, Content, StreamInfo, StreamKind, TextOperation};
