//! Shutdown and abort from either side (RFC 9260 §9).

use std::time::Duration;

use bytes::Bytes;
use lkstream_sctp::{Closed, Config, Event};

use crate::link::{Endpoint, Ours, Path, World};
use crate::peer::{self, Peer, Role};
use crate::proto::Proto;
use crate::rtc::Rtc;

fn connected<P: Peer>(seed: u64, role: Role, loss: f64) -> World<Ours, P> {
    let path = Path {
        delay: Duration::from_millis(10),
        loss,
        ..Path::default()
    };
    peer::connected(seed, path, role, Config::default())
}

fn until_closed<P: Peer>(world: &mut World<Ours, P>) {
    let end = world.now + Duration::from_secs(600);
    while !(world.a.association.is_closed() && world.b.is_closed()) {
        assert!(world.now < end && world.step(), "{} stays open", P::NAME);
    }
}

/// What was sent before it arrives before it (RFC 9260 §9.2).
fn our_shutdown<P: Peer>(seed: u64, role: Role) {
    println!("{} {role:?}, seed {seed}", P::NAME);
    let mut world = connected::<P>(seed, role, 0.05);
    let now = world.now;
    for _ in 0..10 {
        world.a.write(now, 1, Bytes::from(vec![5; 9_000]));
    }
    world.a.association.shutdown(now);
    let mut received = 0;
    let end = world.now + Duration::from_secs(600);
    while received < 10 {
        assert!(world.now < end && world.step());
        received += std::iter::from_fn(|| world.b.read()).count();
    }
    until_closed(&mut world);
    let closed = Event::Closed(Closed::Shutdown);
    assert!(world.a.events.contains(&closed), "{:?}", world.a.events);
}

/// Both begin a shutdown although messages wait, and never repeat its last packets: so all is acknowledged first, and nothing lost.
fn their_shutdown<P: Peer>(role: Role) {
    let mut world = connected::<P>(1, role, 0.0);
    let now = world.now;
    for _ in 0..10 {
        world.b.write(now, 1, Bytes::from(vec![5; 9_000]));
    }
    while world.b.buffered() > 0 {
        assert!(world.step());
    }
    world.b.shutdown();
    world.run(Duration::from_secs(1));
    let closed = Event::Closed(Closed::RemoteShutdown);
    assert!(world.a.events.contains(&closed), "{:?}", world.a.events);
    assert_eq!(std::iter::from_fn(|| world.a.read()).count(), 10);
}

/// RFC 9260 §9.1.
fn aborts<P: Peer>(role: Role) {
    let mut world = connected::<P>(1, role, 0.0);
    let now = world.now;
    world.a.association.abort(now);
    world.run(Duration::from_millis(500));
    assert!(world.b.is_closed());

    let mut world = connected::<P>(1, role, 0.0);
    if world.b.abort() {
        world.run(Duration::from_millis(500));
        assert!(world.a.events.contains(&Event::Closed(Closed::RemoteAbort)));
    }
}

fn all<P: Peer>() {
    for role in Role::BOTH {
        aborts::<P>(role);
        their_shutdown::<P>(role);
        for seed in 0..10 {
            our_shutdown::<P>(seed, role);
        }
    }
}

#[test]
fn with_rtc_sctp() {
    all::<Rtc>();
}

#[test]
fn with_sctp_proto() {
    all::<Proto>();
}
