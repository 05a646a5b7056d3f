//! The innocent pair: one sends the other the same bytes again and again, and checks what arrives.

use std::fmt;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lkstream::{ByteOptions, ByteStreams, ReceiptStatus, Room};
use lkstream_conformance::process::{DEADLINE, Failure};
use ring::digest::{Digest, SHA256, digest};
use tokio::time::timeout;

use crate::server::{Target, token};

/// Bytes of a transfer: several windows, and short enough for some dozens of them during an attack.
const BYTES: usize = 2 << 20;

/// Transfers that make a quiet time, and that an attack lasts at least.
const TRANSFERS: usize = 7;

/// Whether the sender joins anew for each transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joins {
    /// Once: for attacks that a server may answer by letting nobody else in.
    Once,
    /// For each transfer, so that joins are attacked, too.
    EachTime,
}

/// A receiver that stays, and a sender.
pub(crate) struct Pair {
    url: String,
    room: String,
    joins: Joins,
    sender: Option<Room>,
    files: ByteStreams,
    _receiver: Room,
    payload: Bytes,
    digest: Digest,
}

/// How long transfers took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let (Some(median), Some(last)) = (sorted.get(sorted.len() / 2), sorted.last()) else {
            return f.write_str("no transfers");
        };
        write!(
            f,
            "{} transfers, median {} ms, longest {} ms",
            sorted.len(),
            median.as_millis(),
            last.as_millis()
        )
    }
}

impl Pair {
    /// Joins this room.
    pub(crate) async fn join(target: &Target, room: &str, joins: Joins) -> Result<Self, Failure> {
        let receiver = Room::builder(&target.url, &token("innocent-receiver", room))
            .bytes("files")
            .connect()
            .await?;
        let files = receiver.byte_streams("files");
        // The quotient of a polynomial's powers: no byte pattern that compresses.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let payload: Vec<u8> = (0..BYTES)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[3]
            })
            .collect();
        let mut pair = Self {
            url: target.url.clone(),
            room: room.to_owned(),
            joins,
            sender: None,
            files,
            _receiver: receiver,
            digest: digest(&SHA256, &payload),
            payload: payload.into(),
        };
        // The first transfer finds caches cold, at both ends.
        pair.transfer().await?;
        Ok(pair)
    }

    /// Some transfers while nothing else happens.
    pub(crate) async fn quiet(&mut self) -> Result<Times, Failure> {
        let mut times = Times::default();
        while times.0.len() < TRANSFERS {
            times.0.push(self.transfer().await?);
        }
        Ok(times)
    }

    /// Transfers until the attack is over, and then goes on until there are enough of them to speak of.
    pub(crate) async fn during<T>(
        &mut self,
        attack: impl Future<Output = T>,
    ) -> (T, Result<Times, Failure>) {
        let mut attack = pin!(attack);
        let mut outcome = None;
        let mut times = Times::default();
        let mut failed = None;
        while failed.is_none() && (outcome.is_none() || times.0.len() < TRANSFERS) {
            let mut transfer = pin!(self.transfer());
            let took = loop {
                tokio::select! {
                    took = &mut transfer => break took,
                    over = &mut attack, if outcome.is_none() => outcome = Some(over),
                }
            };
            match took {
                Ok(took) => times.0.push(took),
                Err(error) => failed = Some(error),
            }
        }
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => attack.await,
        };
        (outcome, failed.map_or(Ok(times), Err))
    }

    async fn transfer(&mut self) -> Result<Duration, Failure> {
        let began = Instant::now();
        timeout(DEADLINE, self.transfer_once())
            .await
            .map_err(|_| Failure::new("a transfer of the innocent pair takes too long"))??;
        Ok(began.elapsed())
    }

    async fn transfer_once(&mut self) -> Result<(), Failure> {
        let sender = match self.sender.take() {
            Some(sender) => sender,
            None => Room::connect(&self.url, &token("innocent-sender", &self.room)).await?,
        };
        sender.wait_for_participant("innocent-receiver").await?;
        let options = ByteOptions::new("files")
            .to("innocent-receiver")
            .confirmed();
        let (sent, received) = tokio::join!(
            async {
                let mut sent = sender.send_bytes(self.payload.clone(), options).await?;
                while let Some(receipt) = sent.receipts.next().await {
                    if receipt.is_final() {
                        return Ok(receipt.status);
                    }
                }
                Err(Failure::new(
                    "the sender's receipts ended without a last one",
                ))
            },
            async {
                while let Some(file) = self.files.next().await {
                    // Attackers in the same room send files, too.
                    if file.info().sender == "innocent-sender" {
                        return Ok(file.read_all(BYTES).await?);
                    }
                }
                Err(Failure::new("the receiver's room is over"))
            }
        );
        let (status, received) = (sent?, received?);
        if status != ReceiptStatus::Complete {
            return Err(Failure::new(format!("the receiver says {status:?}")));
        }
        if digest(&SHA256, &received).as_ref() != self.digest.as_ref() {
            return Err(Failure::new("what was received is not what was sent"));
        }
        match self.joins {
            Joins::Once => self.sender = Some(sender),
            Joins::EachTime => sender.close().await,
        }
        Ok(())
    }
}
