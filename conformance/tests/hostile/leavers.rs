//! Attacks with coming and going beside a subscriber that does not read.

use bytes::Bytes;
use lkstream::{ByteOptions, Room};
use lkstream_conformance::process::Failure;

use crate::guest::{Guest, plain_join};
use crate::join::storm;
use crate::pair::{Joins, Pair};
use crate::server::{Server, token};

/// More than every buffer between the sender and the subscriber holds.
const BYTES: usize = 64 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn leavers_beside_a_stalled_subscriber_cost_their_number_alone() -> Result<(), Failure> {
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::EachTime).await?;
    let query = plain_join().to_query();
    let storms = async |room: &'static str| {
        let (one, other) = tokio::join!(storm(&target, room, &query), storm(&target, room, &query));
        Ok::<_, Failure>(one? + other?)
    };
    let what = "join storm beside nobody";
    let free = server.endure(&mut pair, what, storms("attack")).await?;
    println!("{what}: {free} joins");

    // It only moves while it is waited for, which is never again. So everything sent to it stays unacknowledged, and each
    // leaver's room waits for it.
    let stalled = Guest::join(&target, &token("stalled", "attack"), |_| {}).await?;
    let sender = Room::connect(&target.url, &token("sender", "attack")).await?;
    sender.wait_for_participant("stalled").await?;
    let options = ByteOptions::new("files").to("stalled");
    let sending = {
        let sender = sender.clone();
        tokio::spawn(async move {
            sender
                .send_bytes(Bytes::from(vec![7; BYTES]), options)
                .await
        })
    };
    let what = "join storm beside a stalled subscriber";
    let beside = server.endure(&mut pair, what, storms("attack")).await?;
    println!("{what}: {beside} joins");
    sending.abort();
    drop(stalled);
    Ok(())
}
