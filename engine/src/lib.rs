//! LiveKit data streams as state machines: no sockets, no clock, no tasks.
//!
//! [`Engine`] is everything one participant sends and receives as streams. It is fed with time and
//! packets and says what to send, what happened and when it wants to be woken; sockets, tasks and
//! clocks are its driver's. [`delivery`] is the part of it that servers use too.
//!
//! Every queue inside has a limit from [`Config`], every byte from the network is checked, and
//! nothing that was cut short ever reads as finished.

mod config;
pub mod delivery;
mod engine;
mod event;
mod fault;
mod incoming;
pub mod limits;
mod listener;
mod outgoing;
mod stream;

pub use config::Config;
pub use engine::{Engine, Lost};
pub use event::{Event, UserMessage};
pub use fault::{Counters, PeerFault, Rule};
pub use incoming::{Incoming, IncomingId, Limit, Outcome, Read, ReadError, Summary};
pub use listener::{ListenerId, TopicFilter};
pub use outgoing::{
    CloseError, OpenError, OpenOptions, Outgoing, OutgoingId, OutgoingState, Progress, Receipts,
    WriteError, Written,
};
pub use stream::{Attributes, Content, StreamInfo, StreamKind, TextOperation};
