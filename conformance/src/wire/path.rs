//! The model or the real stack, whichever a simulation runs over.

use std::time::Instant;

use bytes::Bytes;

use super::{Config, End, Event, Lane, SendError, Stack, Totals, Wire};

/// What carries a client's packets in a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Carrier {
    /// [`Wire`]: quick, and exact for a seed.
    #[default]
    Model,
    /// [`Stack`]: ICE, DTLS and SCTP as they ship.
    Stack,
}

#[derive(Debug)]
pub(crate) enum Path {
    Model(Box<Wire>),
    Stack(Box<Stack>),
}

macro_rules! forward {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        match $self {
            Path::Model(path) => path.$method($($argument),*),
            Path::Stack(path) => path.$method($($argument),*),
        }
    };
}

impl Path {
    pub(crate) fn new(carrier: Carrier, config: Config, seed: u64) -> Path {
        match carrier {
            Carrier::Model => Path::Model(Box::new(Wire::new(config, seed))),
            Carrier::Stack => Path::Stack(Box::new(Stack::new(config, seed))),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        forward!(self.config())
    }

    pub(crate) fn totals(&self) -> Totals {
        forward!(self.totals())
    }

    pub(crate) fn connect(&mut self, now: Instant) {
        forward!(self.connect(now));
    }

    pub(crate) fn cut(&mut self, now: Instant) {
        forward!(self.cut(now));
    }

    pub(crate) fn mend(&mut self, now: Instant) {
        forward!(self.mend(now));
    }

    pub(crate) fn is_connected(&self) -> bool {
        forward!(self.is_connected())
    }

    pub(crate) fn send(
        &mut self,
        now: Instant,
        end: End,
        lane: Lane,
        message: Bytes,
    ) -> Result<(), SendError> {
        forward!(self.send(now, end, lane, message))
    }

    pub(crate) fn receive(&mut self, now: Instant, end: End, lane: Lane) -> Option<Bytes> {
        forward!(self.receive(now, end, lane))
    }

    pub(crate) fn is_readable(&mut self, end: End, lane: Lane) -> bool {
        forward!(self.is_readable(end, lane))
    }

    pub(crate) fn buffered(&self, end: End, lane: Lane) -> usize {
        forward!(self.buffered(end, lane))
    }

    pub(crate) fn room(&mut self, end: End, lane: Lane) -> usize {
        forward!(self.room(end, lane))
    }

    pub(crate) fn acknowledged(&self, end: End, lane: Lane) -> u64 {
        forward!(self.acknowledged(end, lane))
    }

    /// Unread bytes; the stack does not tell, its window is its own.
    pub(crate) fn unread(&self, end: End) -> u64 {
        match self {
            Path::Model(path) => path.unread(end),
            Path::Stack(_) => 0,
        }
    }

    pub(crate) fn close(&mut self, now: Instant, end: End) {
        forward!(self.close(now, end));
    }

    pub(crate) fn close_signal(&mut self, now: Instant, end: End) {
        forward!(self.close_signal(now, end));
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        forward!(self.poll_timeout())
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        forward!(self.handle_timeout(now));
    }

    pub(crate) fn poll_event(&mut self, end: End) -> Option<Event> {
        forward!(self.poll_event(end))
    }
}
