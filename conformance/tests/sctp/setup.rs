//! Setting an association up in both roles over a link that loses, repeats and reorders (RFC 9260 §5).

use std::time::Duration;

use lkstream_sctp::Config;

use crate::link::Path;
use crate::peer::{Peer, Role, world};
use crate::proto::Proto;
use crate::rtc::Rtc;

/// Of how many seeds both sides are connected within two minutes.
fn set_up<P: Peer>(role: Role) -> usize {
    let path = Path {
        delay: Duration::from_millis(10),
        loss: 0.2,
        duplication: 0.1,
        reordering: 0.3,
        jitter: Duration::from_millis(15),
        ..Path::default()
    };
    let is_set_up = |seed: u64| {
        let mut world = world::<P>(seed, path.clone(), role, Config::default());
        world.run(Duration::from_secs(120));
        world.a.connected && world.b.is_connected()
    };
    let count = (0..100).filter(|seed| is_set_up(*seed)).count();
    println!("{} {role:?}: {count} of 100 seeds", P::NAME);
    count
}

/// It never answers an INIT again, so that a lost INIT ACK is the end (docs/differences.md).
#[test]
fn with_rtc_sctp() {
    assert!(set_up::<Rtc>(Role::Connect) > 95);
    assert!(set_up::<Rtc>(Role::Accept) > 60);
}

/// It gives up after eight INITs.
#[test]
fn with_sctp_proto() {
    assert!(set_up::<Proto>(Role::Connect) > 95);
    assert_eq!(set_up::<Proto>(Role::Accept), 100);
}
