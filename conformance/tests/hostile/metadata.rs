//! Attacks with what a participant says about itself, by somebody who may change that.

use std::time::Duration;

use lkstream_conformance::process::{DEADLINE, Failure};
use lkstream_proto::signal::{Request, RequestReason, Response, UpdateMetadata};
use tokio::time::{Instant, timeout};

use crate::guest;
use crate::pair::{Joins, Pair};
use crate::server::{Server, claims, signed, token};
use crate::wire::{Caller, Link, signal};

/// How long a flood lasts at most.
const FLOOD: Duration = Duration::from_secs(8);

/// As much as a participant may say, nearly.
const LARGE: usize = 500_000;

/// A token that lets its bearer change its own metadata.
fn talker(identity: &str, room: &str) -> String {
    let mut claims = claims(identity, room);
    if let Some(video) = &mut claims.video {
        video.can_update_own_metadata = Some(true);
    }
    signed(&claims)
}

fn update(metadata: String) -> Vec<u8> {
    signal(Request::UpdateMetadata(UpdateMetadata {
        metadata,
        request_id: 1,
        ..UpdateMetadata::default()
    }))
}

/// Changes its metadata as often as the server takes it. Tells how often that was.
async fn flood(link: &mut Link) -> Result<usize, Failure> {
    let until = Instant::now() + FLOOD;
    let mut updates = 0;
    while Instant::now() < until {
        let bytes = update(format!("{updates}{}", "m".repeat(LARGE)));
        let taken = timeout(DEADLINE, link.send_and_read(&bytes)).await;
        if !matches!(taken, Ok(Ok(true))) {
            break;
        }
        link.forget();
        updates += 1;
    }
    Ok(updates)
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_without_end_beside_a_link_that_does_not_read_holds_little() -> Result<(), Failure>
{
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::EachTime).await?;
    for (what, room) in [
        (
            "metadata of 500 kB without end, one link unread, in another room",
            "attack",
        ),
        (
            "metadata of 500 kB without end, one link unread, in the same room",
            "yard",
        ),
    ] {
        let deaf = guest::join(&target, Caller::here().deaf(), &token("deaf", room)).await?;
        let mut link = guest::join(&target, Caller::here(), &talker("talker", room)).await?;
        let updates = server.endure(&mut pair, what, flood(&mut link)).await?;
        println!("{what}: {updates} updates");
        drop(deaf);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_of_participants_with_large_metadata_stays_open() -> Result<(), Failure> {
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::EachTime).await?;
    let mut links = Vec::new();
    let attack = async {
        // Together three times what a signalling message may have.
        for number in 0..12 {
            let token = talker(&format!("talker-{number}"), "yard");
            let mut link = guest::join(&target, Caller::here(), &token).await?;
            link.send_and_read(&update("m".repeat(LARGE))).await?;
            let reason = link
                .expect("answer to the update", |response| match response {
                    Response::RequestResponse(response) => Some(response.reason()),
                    _ => None,
                })
                .await?;
            if reason != RequestReason::Ok {
                println!("the server answers {reason:?} to number {number}");
            }
            links.push(link);
        }
        Ok(())
    };
    server
        .endure(&mut pair, "12 participants with 500 kB of metadata", attack)
        .await?;
    // Whoever comes now has to get in as well, and sees the others.
    Pair::join(&target, "yard", Joins::EachTime).await.map(drop)
}
