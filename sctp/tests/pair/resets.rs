//! Streams that are reset (RFC 6525).

use bytes::Bytes;
use lkstream_sctp::{Delivery, Event, SendError};

use crate::link::{Endpoint, Path, config, pair};
use crate::{count, ms, path};

/// RFC 6525: both directions begin anew; what was sent before arrives before.
#[test]
fn streams_are_reset() {
    for seed in 0..100 {
        let lossy = Path {
            loss: 0.15,
            ..path(25)
        };
        let mut world = pair(seed, lossy, (config(), config()));
        world.connect();
        for round in 0..3u8 {
            for _ in 0..5 {
                world.a.write(world.now, 6, Bytes::from(vec![round; 5_000]));
            }
            world.a.association.reset_stream(world.now, 6).unwrap();
            assert_eq!(
                world.a.association.send(
                    world.now,
                    6,
                    53,
                    Delivery::default(),
                    Bytes::from_static(b"x")
                ),
                Err(SendError::Resetting(6))
            );
            let done = Event::ResetDone {
                stream: 6,
                is_accepted: true,
            };
            while count(&world, done) <= usize::from(round) {
                assert!(world.step() && world.passed() < ms(120_000), "seed {seed}");
            }
            assert_eq!(
                count(&world, Event::StreamReset(6)),
                usize::from(round) + 1,
                "seed {seed}"
            );
            let mut messages = 0;
            while let Some((_, message)) = world.b.read_message() {
                assert!(
                    message.bytes.iter().all(|byte| *byte == round),
                    "seed {seed}"
                );
                messages += 1;
            }
            assert_eq!(messages, 5, "seed {seed}");
        }
    }
}
