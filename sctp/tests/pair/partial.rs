//! Messages that are given up (RFC 3758).

use lkstream_sctp::{Delivery, Order, Reliability};

use crate::link::{Path, Random, config, pair};
use crate::{ms, path};

/// RFC 3758: what is not worth it is given up, and the rest arrives in order.
#[test]
fn limited_messages_are_given_up() {
    for seed in 0..40 {
        let lossy = Path {
            loss: 0.1,
            ..path(25)
        };
        let mut world = pair(seed, lossy, (config(), config()));
        world.connect();
        let mut random = Random(seed + 77);
        let mut next = 0u32;
        let mut got: Vec<(u16, u32)> = Vec::new();
        while next < 600 {
            let stream = random.below(4) as u16;
            let delivery = Delivery {
                order: if stream & 1 == 0 {
                    Order::Ordered
                } else {
                    Order::Unordered
                },
                reliability: match stream {
                    0 | 1 => Reliability::Retransmits(0),
                    2 => Reliability::Lifetime(ms(40)),
                    _ => Reliability::Reliable,
                },
            };
            let mut bytes = vec![0; 4 + random.below(3_000) as usize];
            bytes[..4].copy_from_slice(&next.to_be_bytes());
            world
                .a
                .association
                .send(world.now, stream, 53, delivery, bytes.into())
                .unwrap();
            next += 1;
            world.run(ms(2));
            while let Some((stream, message)) = world.b.read_message() {
                got.push((
                    stream,
                    u32::from_be_bytes(message.bytes[..4].try_into().unwrap()),
                ));
            }
        }
        world.run(ms(10_000));
        while let Some((stream, message)) = world.b.read_message() {
            got.push((
                stream,
                u32::from_be_bytes(message.bytes[..4].try_into().unwrap()),
            ));
        }
        let stats = world.a.association.stats();
        assert!(stats.chunks_abandoned > 0, "seed {seed}");
        assert_eq!(
            world.a.association.buffered_total(),
            0,
            "seed {seed} {stats:?}"
        );
        assert!(
            got.len() > 400 && got.len() < 600,
            "seed {seed}: {}",
            got.len()
        );
        for stream in [0, 2] {
            let numbers: Vec<_> = got
                .iter()
                .filter(|(of, _)| *of == stream)
                .map(|(_, n)| *n)
                .collect();
            assert!(numbers.is_sorted(), "seed {seed}");
        }
        let unique: std::collections::BTreeSet<_> = got.iter().collect();
        assert_eq!(unique.len(), got.len(), "seed {seed}");
    }
}
