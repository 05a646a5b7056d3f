//! A reader that stops, on either side (RFC 9260 §6.1, §6.2).

use std::time::Duration;

use bytes::Bytes;
use lkstream_sctp::Config;

use crate::link::{Endpoint, Path, World};
use crate::peer::{Peer, Role, connected};
use crate::proto::Proto;
use crate::rtc::Rtc;

const MESSAGES: usize = 300;

fn read_all<A: Endpoint, B: Endpoint>(
    world: &mut World<A, B>,
    mut read: impl FnMut(&mut World<A, B>) -> usize,
) {
    let mut received = 0;
    let end = world.now + Duration::from_secs(300);
    loop {
        received += read(world);
        if received == MESSAGES {
            return;
        }
        assert!(world.step() && world.now < end, "{received} received");
    }
}

/// More than the window holds waits for the reader, and all of it comes once it reads.
fn windows_close_and_open<P: Peer>(role: Role) {
    let path = Path {
        delay: Duration::from_millis(10),
        ..Path::default()
    };
    let message = Bytes::from(vec![1; 15_000]);
    let mut world = connected::<P>(1, path, role, Config::default());
    for _ in 0..MESSAGES {
        let now = world.now;
        world.a.write(now, 1, message.clone());
        world.b.write(now, 2, message.clone());
    }
    world.run(Duration::from_secs(5));
    let stats = world.a.association.stats();
    assert!(stats.peer_window < 15_000, "{stats:?}");
    assert!(stats.window_drops < 20, "{stats:?}");
    assert!(world.a.association.buffered_total() > 0);
    assert!(world.b.buffered() > 0);
    read_all(&mut world, |world| {
        std::iter::from_fn(|| world.a.read()).count()
    });
    read_all(&mut world, |world| {
        std::iter::from_fn(|| world.b.read()).count()
    });
}

#[test]
fn windows_of_rtc_sctp_close_and_open() {
    Role::BOTH
        .into_iter()
        .for_each(windows_close_and_open::<Rtc>);
}

#[test]
fn windows_of_sctp_proto_close_and_open() {
    Role::BOTH
        .into_iter()
        .for_each(windows_close_and_open::<Proto>);
}
