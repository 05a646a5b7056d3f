//! What the runs need of another implementation.

use std::time::Instant;

use lkstream_sctp::{Association, Config};

use crate::link::{Endpoint, Ours, Path, World};

/// Which side sets the association up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Connect,
    Accept,
}

impl Role {
    pub(crate) const BOTH: [Self; 2] = [Self::Connect, Self::Accept];
}

/// The most bytes of messages that a peer keeps unread.
pub(crate) const RECEIVE_BUFFER: u32 = 2 * 1024 * 1024;

pub(crate) const LARGEST_MESSAGE: u32 = 1_000_000;

/// Bytes of a packet.
pub(crate) const PACKET: u32 = 1_191;

pub(crate) trait Peer: Endpoint + Sized {
    const NAME: &'static str;

    fn new(now: Instant, role: Role) -> Self;

    /// Streams whose direction towards the peer was reset, in that order.
    fn resets(&self) -> &[u16];

    /// Resets the direction of a stream that the peer sends on.
    fn reset(&mut self, now: Instant, stream: u16);

    fn shutdown(&mut self);

    /// Ends the association with an ABORT. Whether it can.
    fn abort(&mut self) -> bool;

    fn is_closed(&self) -> bool;
}

/// Ours is `a`, the peer `b`; `role` is that of the peer.
pub(crate) fn world<P: Peer>(seed: u64, path: Path, role: Role, config: Config) -> World<Ours, P> {
    let now = Instant::now();
    let ours = match role {
        Role::Connect => Association::accept(now, config, seed),
        Role::Accept => Association::connect(now, config, seed),
    };
    World::new(seed, now, path, Ours::new(ours), P::new(now, role))
}

/// The same, set up while the link still loses nothing: `setup` is about what happens when it does.
pub(crate) fn connected<P: Peer>(
    seed: u64,
    path: Path,
    role: Role,
    config: Config,
) -> World<Ours, P> {
    let clean = Path {
        delay: path.delay,
        ..Path::default()
    };
    let mut world = world::<P>(seed, clean, role, config);
    world.connect();
    world.there.path = path.clone();
    world.back.path = path;
    world
}
