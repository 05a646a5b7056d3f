//! Large transfers with a bare page in headless Chromium, and ICE restarts in the middle of one.

use std::time::Instant;

use bytes::Bytes;
use lkstream_conformance::endpoint::Endpoint;
use lkstream_conformance::process::Failure;
use lkstream_transport::{ChannelId, Credentials, Event, IceMode, PeerConfig, SendError};
use ring::digest::{Context, SHA256};
use serde_json::json;

use super::chromium::{Client, Pair, noise, own_channel, text};
use super::payloads::hexadecimal;

const BYTES: usize = 20_000_000;

/// What either side has sent and acknowledged when ICE is restarted.
const FIRST_PART: usize = BYTES / 20;

/// What the endpoint gives and takes until the restart is through. The rest waits for it, however much faster one direction or
/// one side is; what the page may send beyond is one receive window, far less than the rest.
const UNTIL_RESTARTED: usize = BYTES / 10;

const MESSAGE: usize = 60_000;

#[tokio::test]
#[ignore = "needs chromium"]
async fn each_way_at_once_when_the_page_offers() -> Result<(), Failure> {
    each_way(
        Pair::page_offers(Client::Endpoint, own_channel).await?,
        Restart::Nobody,
    )
    .await
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn each_way_at_once_when_the_page_answers() -> Result<(), Failure> {
    each_way(
        Pair::page_answers(Client::Page, own_channel).await?,
        Restart::Nobody,
    )
    .await
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn page_that_offered_restarts_ice() -> Result<(), Failure> {
    let pair = Pair::page_offers(Client::Endpoint, own_channel).await?;
    each_way(pair, Restart::Page).await
}

/// The page moves to another port. A lite agent has it prove that address before it sends more than a little there.
#[tokio::test]
#[ignore = "needs chromium"]
async fn page_that_offered_to_ice_lite_restarts_ice() -> Result<(), Failure> {
    let lite = |config: &mut PeerConfig| {
        config.ice = IceMode::Lite;
        own_channel(config);
    };
    let pair = Pair::page_offers(Client::Endpoint, lite).await?;
    each_way(pair, Restart::Page).await
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn page_that_answered_restarts_ice() -> Result<(), Failure> {
    let pair = Pair::page_answers(Client::Page, own_channel).await?;
    each_way(pair, Restart::Page).await
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn endpoint_that_offered_restarts_ice() -> Result<(), Failure> {
    let pair = Pair::page_answers(Client::Page, own_channel).await?;
    each_way(pair, Restart::Endpoint).await
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn endpoint_that_answered_restarts_ice() -> Result<(), Failure> {
    let pair = Pair::page_offers(Client::Endpoint, own_channel).await?;
    each_way(pair, Restart::Endpoint).await
}

/// Who restarts ICE in the middle of the transfer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Restart {
    Nobody,
    Page,
    Endpoint,
}

/// Both sides send at the same time, each over its own channel.
struct Transfer {
    outgoing: Bytes,
    sent: usize,
    channel_out: ChannelId,
    channel_in: ChannelId,
    received: usize,
    digest: Context,
}

impl Transfer {
    /// Sends and receives what is possible now, `limit` bytes in all in each direction.
    fn advance(&mut self, endpoint: &mut Endpoint, limit: usize) -> Result<(), SendError> {
        while self.received < limit
            && let Some(message) = endpoint.peer.receive(self.channel_in)
        {
            self.received += message.len();
            self.digest.update(&message);
        }
        while self.sent < limit {
            let end = limit.min(self.sent + MESSAGE);
            let message = self.outgoing.slice(self.sent..end);
            match endpoint
                .peer
                .send(Instant::now(), self.channel_out, message)
            {
                Ok(()) => self.sent = end,
                Err(SendError::Full) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether so many bytes have come and so many are acknowledged.
    fn has_come_to(&self, endpoint: &Endpoint, bytes: usize) -> bool {
        let acknowledged = endpoint.peer.acknowledged(self.channel_out);
        self.received >= bytes && acknowledged >= bytes as u64
    }
}

/// Restarts ICE while both directions have more to send, and goes on when there is a path again.
async fn restart_in_the_middle(
    pair: &mut Pair,
    transfer: &mut Transfer,
    restart: Restart,
) -> Result<(), Failure> {
    pair.endpoint
        .until("first part", |endpoint| {
            let advanced = transfer.advance(endpoint, UNTIL_RESTARTED);
            let done = transfer.has_come_to(endpoint, FIRST_PART);
            (done || advanced.is_err()).then_some(advanced)
        })
        .await??;
    let credentials = pair.endpoint.peer.local_ufrag().to_owned();
    match restart {
        Restart::Nobody => return Ok(()),
        Restart::Page => restart_from_the_page(pair).await?,
        Restart::Endpoint => restart_from_the_endpoint(pair).await?,
    }
    // RFC 8445 §9: a restart is new credentials on both sides.
    assert_ne!(pair.endpoint.peer.local_ufrag(), credentials);
    pair.endpoint
        .until("path after the restart", |endpoint| {
            let advanced = transfer.advance(endpoint, UNTIL_RESTARTED);
            let address = endpoint.peer.remote_address();
            let is_validated = address.is_some_and(|address| endpoint.peer.is_validated(address));
            let done = is_validated && endpoint.events.contains(&Event::Reconnected);
            (done || advanced.is_err()).then_some(advanced)
        })
        .await??;
    Ok(())
}

async fn restart_from_the_page(pair: &mut Pair) -> Result<(), Failure> {
    let offer = pair.call("restart", json!({})).await?;
    let answer = pair
        .endpoint
        .peer
        .handle_reoffer(Instant::now(), text(&offer)?)?;
    pair.call("accept", json!({"answer": answer})).await?;
    Ok(())
}

async fn restart_from_the_endpoint(pair: &mut Pair) -> Result<(), Failure> {
    let credentials = Credentials::from_random([9; 48]);
    let offer = pair.endpoint.peer.restart(Instant::now(), credentials)?;
    let answer = pair.call("answer", json!({"offer": offer})).await?;
    pair.endpoint
        .peer
        .handle_answer(Instant::now(), text(&answer)?)?;
    Ok(())
}

async fn each_way(mut pair: Pair, restart: Restart) -> Result<(), Failure> {
    let channel_in = pair.channel("page").await?.id;
    let channel_out = pair.channel("endpoint").await?.id;
    let mut transfer = Transfer {
        outgoing: noise(1, BYTES),
        sent: 0,
        channel_out,
        channel_in,
        received: 0,
        digest: Context::new(&SHA256),
    };
    let receive = json!({"label": "endpoint", "bytes": BYTES, "digest": true});
    pair.call("receive_bytes", receive).await?;
    let send = json!({"label": "page", "bytes": BYTES, "message": MESSAGE, "digest": true});
    pair.call("send_bytes", send).await?;

    if restart != Restart::Nobody {
        restart_in_the_middle(&mut pair, &mut transfer, restart).await?;
    }
    pair.endpoint
        .until("all bytes", |endpoint| {
            let advanced = transfer.advance(endpoint, BYTES);
            let done = transfer.has_come_to(endpoint, BYTES);
            (done || advanced.is_err()).then_some(advanced)
        })
        .await??;
    assert_eq!(transfer.received, BYTES);
    let sent = pair.expect("sent", "page").await?;
    assert_eq!(
        sent["sha256"],
        hexadecimal(transfer.digest.finish().as_ref())
    );
    let received = pair.expect("received", "endpoint").await?;
    let digest = ring::digest::digest(&SHA256, &transfer.outgoing);
    assert_eq!(received["sha256"], hexadecimal(digest.as_ref()));
    println!(
        "from the page {} ms, to the page {} ms",
        sent["milliseconds"], received["milliseconds"]
    );

    let expected: &[Event] = match restart {
        Restart::Nobody => &[Event::Connected],
        Restart::Page | Restart::Endpoint => &[Event::Connected, Event::Reconnected],
    };
    assert_eq!(pair.endpoint.events, expected);
    Ok(())
}
