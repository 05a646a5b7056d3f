//! A thousand inputs more: those of the tables, changed at random.

use std::net::UdpSocket;

use lkstream_conformance::process::Failure;

use crate::guest::Guest;
use crate::http::{Asked, Expected};
use crate::pair::{Joins, Pair};
use crate::server::{Server, token};
use crate::websocket::{Fate, Input};
use crate::{datagrams, http, join, packets, signalling, websocket};

/// Inputs of a full run.
const MUTATIONS: usize = 1000;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        number as usize % limit.max(1)
    }

    /// Changes, takes away or repeats some bytes.
    fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let end = (at + 1 + self.below(40)).min(bytes.len());
            match self.below(5) {
                0 if !bytes.is_empty() => bytes[at] = self.below(256) as u8,
                1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                2 => bytes.truncate(at),
                3 => drop(bytes.drain(at.min(end)..end)),
                _ => {
                    let part = bytes[at.min(end)..end].to_vec();
                    bytes.splice(at..at, part);
                }
            }
        }
        bytes
    }

    fn choose<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a thousand inputs"]
async fn long_a_thousand_mutated_inputs_harm_nobody() -> Result<(), Failure> {
    let seed = u64::from(std::process::id()) << 20 | 1;
    println!("seed {seed}");
    let mut random = Random(seed);
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::EachTime).await?;

    let asked: Vec<_> = http::requests()
        .into_iter()
        .chain(join::inputs())
        .map(|asked| (asked.name, asked.bytes))
        // What only ends by a time limit would make the run long.
        .filter(|(_, bytes)| bytes.len() < 10_000)
        .collect();
    let framed: Vec<_> = websocket::inputs()
        .into_iter()
        .chain(signalling::inputs())
        .map(|input| (input.name, input.bytes))
        .collect();
    let datagrams = datagrams::inputs();
    let packets = packets::inputs();
    let stranger = UdpSocket::bind("127.0.0.1:0")?;

    let attack = async {
        for number in 0..MUTATIONS {
            let tried = match number % 4 {
                0 => {
                    let (name, bytes) = random.choose(&asked);
                    let mut bytes = random.mutate(&bytes);
                    // A head that ends, or the answer would be the one to a head that does not.
                    bytes.extend_from_slice(b"\r\n\r\n");
                    Asked::new(name, bytes, Expected::Any)
                        .check(target.http)
                        .await
                }
                1 => {
                    let (name, bytes) = random.choose(&framed);
                    let bytes = random.mutate(&bytes);
                    Input::new(name, bytes, Fate::Any)
                        .check_without_answer(&target, "yard")
                        .await
                }
                2 => {
                    let (_, bytes) = random.choose(&datagrams);
                    stranger.send_to(&random.mutate(&bytes), target.rtc)?;
                    Ok(())
                }
                _ => {
                    let (_, bytes) = random.choose(&packets);
                    let bytes = random.mutate(&bytes);
                    let mut guest =
                        Guest::join(&target, &token("attacker", "yard"), |_| {}).await?;
                    let id = guest.channel("_reliable").await?;
                    guest.send(id, [bytes.into()]).await.map(drop)
                }
            };
            tried
                .map_err(|error| Failure::new(format!("seed {seed}, input {number}: {error:?}")))?;
        }
        Ok(())
    };
    server
        .endure(&mut pair, "a thousand mutated inputs", attack)
        .await
}
