//! How fast a bare page in Chromium and `transport::Peer` exchange bytes over one reliable, ordered channel.

use std::time::{Duration, Instant};

use bytes::Bytes;
use lkstream_transport::{ChannelId, SendError};
use serde_json::{Value, json};

use crate::browser::{Browser, Launch, Page};
use crate::endpoint::Endpoint;
use crate::process::Failure;

const LABEL: &str = "bulk";

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The page.
    Page,
    /// The peer.
    Peer,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Who sends.
    pub sender: Sender,
    /// Bytes of payload.
    pub bytes: usize,
    /// Bytes of a message, at most 262 144; the last may be shorter.
    pub message: usize,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes of payload that arrived.
    pub bytes: usize,
    /// From the first send to the arrival of the last byte, or as near to that as the sender's side can see: the page's
    /// first message until the peer has everything, or the peer's first message until the page tells that it has.
    pub took: Duration,
}

impl Outcome {
    /// Payload in megabytes (10^6) a second.
    #[must_use]
    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.took.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Connects a page to a peer on `launch.server`, sends the load once, and tells how long that took. The page offers. The
/// deadline is `within`, for the transfer alone. On the way `progress` is told how many bytes have arrived, as far as the
/// peer knows: what it received, or what the page has acknowledged.
pub async fn measure(
    launch: &Launch,
    load: Load,
    within: Duration,
    progress: impl FnMut(usize),
) -> Result<Outcome, Failure> {
    let mut browser = Browser::launch(Page::PeerConnection, launch).await?;
    browser.call("open", json!({"label": LABEL})).await?;
    let offer = browser.call("offer", json!({})).await?;
    let offer = offer.as_str().unwrap_or_default();
    let (mut endpoint, answer) = Endpoint::answer(&launch.server, |_| {}, offer)?;
    let accept = browser.call("accept", json!({"answer": answer}));
    endpoint.beside(accept).await?;
    let channel = endpoint.channel(LABEL).await?.id;
    endpoint
        .beside(browser.expect_with("open", "label", LABEL))
        .await?;
    match load.sender {
        Sender::Page => {
            from_page(&mut browser, &mut endpoint, channel, load, within, progress).await
        }
        Sender::Peer => to_page(&mut browser, &mut endpoint, channel, load, within, progress).await,
    }
}

async fn from_page(
    browser: &mut Browser,
    endpoint: &mut Endpoint,
    channel: ChannelId,
    load: Load,
    within: Duration,
    mut progress: impl FnMut(usize),
) -> Result<Outcome, Failure> {
    let command = json!({"label": LABEL, "bytes": load.bytes, "message": load.message});
    let began = Instant::now();
    let send = browser.call("send_bytes", command);
    endpoint.beside(send).await?;
    let mut bytes = 0;
    let arrival = endpoint.until_within("all bytes", within, |endpoint| {
        while let Some(message) = endpoint.peer.receive(channel) {
            bytes += message.len();
        }
        progress(bytes);
        (bytes >= load.bytes).then(|| began.elapsed())
    });
    let took = arrival.await?;
    Ok(Outcome { bytes, took })
}

async fn to_page(
    browser: &mut Browser,
    endpoint: &mut Endpoint,
    channel: ChannelId,
    load: Load,
    within: Duration,
    mut progress: impl FnMut(usize),
) -> Result<Outcome, Failure> {
    let command = json!({"label": LABEL, "bytes": load.bytes});
    let receive = browser.call("receive_bytes", command);
    endpoint.beside(receive).await?;
    let message = Bytes::from(vec![7; load.message]);
    let mut left = load.bytes;
    let began = Instant::now();
    let given = endpoint.until_within("acknowledgement", within, |endpoint| {
        while left > 0 {
            let piece = message.slice(..left.min(message.len()));
            match endpoint.peer.send(Instant::now(), channel, piece.clone()) {
                Ok(()) => left -= piece.len(),
                Err(SendError::Full) => break,
                Err(error) => return Some(Err(error)),
            }
        }
        let waiting = endpoint.peer.buffered(channel);
        progress((load.bytes - left).saturating_sub(waiting));
        (left == 0 && waiting == 0).then_some(Ok(()))
    });
    given.await??;
    let received: Value = endpoint
        .beside(browser.expect_with("received", "label", LABEL))
        .await?;
    let bytes = usize::try_from(received["bytes"].as_u64().unwrap_or_default())?;
    Ok(Outcome {
        bytes,
        took: began.elapsed(),
    })
}
