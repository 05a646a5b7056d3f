//! Resets of streams asked for by either side (RFC 6525).

use std::time::Duration;

use bytes::Bytes;
use lkstream_sctp::{Config, Event};

use crate::link::{Endpoint, Path};
use crate::peer::{Peer, Role, connected};
use crate::proto::Proto;
use crate::rtc::Rtc;

const STREAM: u16 = 4;

/// One side asks, the other follows, as data channels are closed (RFC 8831 §6.7); then the stream begins anew. Whether the peer
/// came so far.
fn reset_and_again<P: Peer>(seed: u64, role: Role, loss: f64) -> bool {
    println!("{} {role:?}, seed {seed}", P::NAME);
    let path = Path {
        delay: Duration::from_millis(10),
        loss,
        reordering: loss * 2.0,
        jitter: Duration::from_millis(15),
        ..Path::default()
    };
    let while_short = Duration::from_secs(10);
    let mut world = connected::<P>(seed, path, role, Config::default());
    for round in 0..2u8 {
        let now = world.now;
        world.a.write(now, STREAM, Bytes::from(vec![round; 3_000]));
        world.b.write(now, STREAM, Bytes::from(vec![round; 3_000]));
        world.run(while_short);
        assert_eq!(world.a.read().unwrap().1[0], round);
        assert_eq!(world.b.read().unwrap().1[0], round);
        world.a.events.clear();
        let now = world.now;
        let asks_first = seed % 2 == u64::from(round);
        if asks_first {
            world.a.association.reset_stream(now, STREAM).unwrap();
        } else {
            world.b.reset(now, STREAM);
        }
        world.run(while_short);
        let theirs = Event::StreamReset(STREAM);
        if !world.a.events.contains(&theirs) {
            // It resets its side in answer to ours, but what is lost of that it does not repeat.
            assert!(loss > 0.0 && asks_first);
            return false;
        }
        if !asks_first {
            let now = world.now;
            world.a.association.reset_stream(now, STREAM).unwrap();
            world.run(while_short);
        }
        let ours = Event::ResetDone {
            stream: STREAM,
            is_accepted: true,
        };
        assert!(world.a.events.contains(&ours), "{:?}", world.a.events);
        assert_eq!(world.b.resets().len(), usize::from(round) + 1);
    }
    true
}

fn resets<P: Peer>() -> usize {
    let mut done = 0;
    for role in Role::BOTH {
        for seed in 0..4 {
            assert!(reset_and_again::<P>(seed, role, 0.0));
        }
        for seed in 0..20 {
            done += usize::from(reset_and_again::<P>(seed, role, 0.05));
        }
    }
    done
}

#[test]
fn with_rtc_sctp() {
    let done = resets::<Rtc>();
    assert!(done > 20, "{done}");
}

#[test]
fn with_sctp_proto() {
    assert_eq!(resets::<Proto>(), 40);
}
