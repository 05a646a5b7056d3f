//! A path that carries nothing for a while.

use std::time::Duration;

use crate::link::{config, pair};
use crate::{ms, path};

/// An outage: the retransmission timer is not drawn out far, and `path_changed` does not wait for it at all.
#[test]
fn outages_end_soon() {
    for is_told in [false, true] {
        let mut world = pair(3, path(25), (config(), config()));
        world.connect();
        world.throughput(Duration::ZERO, ms(1_000), 1_000_000);
        let begin = world.passed();
        let dark = vec![(begin, begin + ms(20_000))];
        world.there.path.blackouts = dark.clone();
        world.back.path.blackouts = dark;
        world.throughput(Duration::ZERO, ms(20_000), 1_000_000);
        while world.b.read_message().is_some() {}
        let end = world.now;
        if is_told {
            world.a.association.path_changed(end);
            world.b.association.path_changed(end);
        }
        while world.b.read_message().is_none() {
            assert!(world.step());
        }
        let wait = world.now - end;
        let most = if is_told { ms(60) } else { ms(4_200) };
        assert!(wait <= most, "{wait:?}");
        let rate = world.throughput(ms(1_000), ms(2_000), 4_000_000);
        assert!(rate > 5e6, "{rate}");
    }
}
