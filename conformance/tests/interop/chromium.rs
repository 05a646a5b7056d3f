//! A bare page with an `RTCPeerConnection` in headless Chromium against `transport::Peer`: all roles, messages of all
//! sizes, and the end of a connection.

use std::time::Instant;

use bytes::Bytes;
use lkstream_conformance::browser::{Browser, Launch, Page};
use lkstream_conformance::endpoint::{Endpoint, Opened};
use lkstream_conformance::host::Host;
use lkstream_conformance::process::Failure;
use lkstream_transport::{Cause, ChannelConfig, ChannelId, Event, IceMode, PeerConfig, SendError};
use serde_json::{Value, json};

use super::payloads::sha256;

/// What both sides take (`a=max-message-size`, RFC 8841 §6), in bytes.
const MAX_MESSAGE: usize = 262_144;

/// Who is the DTLS client. The server's SCTP answers, the client's begins; Chromium's always begins, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Page,
    Endpoint,
}

/// The page and the endpoint, connected.
pub(super) struct Pair {
    pub(super) browser: Browser,
    pub(super) endpoint: Endpoint,
    /// The offer or answer of the page.
    pub(super) sdp: String,
}

impl Pair {
    /// The page offers, with a channel `page` of its own.
    pub(super) async fn page_offers(
        client: Client,
        change: impl FnOnce(&mut PeerConfig),
    ) -> Result<Self, Failure> {
        Self::page_offers_in(&Launch::new(), client, change).await
    }

    /// As [`Pair::page_offers`], in a browser started another way.
    pub(super) async fn page_offers_in(
        launch: &Launch,
        client: Client,
        change: impl FnOnce(&mut PeerConfig),
    ) -> Result<Self, Failure> {
        let mut browser = Browser::launch(Page::PeerConnection, launch).await?;
        browser.call("open", json!({"label": "page"})).await?;
        let offer = browser.call("offer", json!({})).await?;
        // `actpass` lets the answer choose, and it chooses `active`; so the choice is taken away on the way.
        let offer = match client {
            Client::Endpoint => text(&offer)?.to_owned(),
            Client::Page => text(&offer)?.replace("a=setup:actpass", "a=setup:active"),
        };
        let (mut endpoint, answer) = Endpoint::answer(&Host::loopback(), change, &offer)?;
        let accept = browser.call("accept", json!({"answer": answer}));
        endpoint.beside(accept).await?;
        let pair = Self {
            browser,
            endpoint,
            sdp: offer,
        };
        pair.connected().await
    }

    /// The page answers, and opens a channel `page` then.
    pub(super) async fn page_answers(
        client: Client,
        change: impl FnOnce(&mut PeerConfig),
    ) -> Result<Self, Failure> {
        Self::page_answers_in(&Launch::new(), client, change).await
    }

    /// As [`Pair::page_answers`], in a browser started another way.
    pub(super) async fn page_answers_in(
        launch: &Launch,
        client: Client,
        change: impl FnOnce(&mut PeerConfig),
    ) -> Result<Self, Failure> {
        let mut browser = Browser::launch(Page::PeerConnection, launch).await?;
        let (mut endpoint, offer) = Endpoint::offer(&Host::loopback(), change)?;
        // No API of the browser lets the answer be `passive`; what it wrote has to be changed before it takes it.
        let setup = (client == Client::Endpoint).then_some("passive");
        let answer = browser.call("answer", json!({"offer": offer, "setup": setup}));
        let answer = endpoint.beside(answer).await?;
        let answer = text(&answer)?.to_owned();
        endpoint.peer.handle_answer(Instant::now(), &answer)?;
        let open = browser.call("open", json!({"label": "page"}));
        endpoint.beside(open).await?;
        let pair = Self {
            browser,
            endpoint,
            sdp: answer,
        };
        pair.connected().await
    }

    async fn connected(mut self) -> Result<Self, Failure> {
        self.endpoint
            .beside(self.browser.expect_with("state", "state", "connected"))
            .await?;
        Ok(self)
    }

    /// Runs a command of the page while the endpoint runs.
    pub(super) async fn call(&mut self, command: &str, given: Value) -> Result<Value, Failure> {
        self.endpoint
            .beside(self.browser.call(command, given))
            .await
    }

    /// Waits for an event of the page about this channel while the endpoint runs.
    pub(super) async fn expect(&mut self, event: &str, label: &str) -> Result<Value, Failure> {
        self.endpoint
            .beside(self.browser.expect_with(event, "label", label))
            .await
    }

    /// Waits until both sides have the channel open.
    pub(super) async fn channel(&mut self, label: &str) -> Result<Opened, Failure> {
        let opened = self.endpoint.channel(label).await?;
        self.expect("open", label).await?;
        Ok(opened)
    }

    /// Waits until this many messages have come.
    pub(super) async fn receive(
        &mut self,
        channel: ChannelId,
        count: usize,
    ) -> Result<Vec<Bytes>, Failure> {
        let mut messages = Vec::new();
        self.endpoint
            .until(&format!("{count} messages"), |endpoint| {
                while messages.len() < count
                    && let Some(message) = endpoint.peer.receive(channel)
                {
                    messages.push(message);
                }
                (messages.len() == count).then(|| std::mem::take(&mut messages))
            })
            .await
    }

    /// Sends the messages as the channel has room, and waits until the page has acknowledged them.
    pub(super) async fn send(
        &mut self,
        channel: ChannelId,
        messages: &[Bytes],
    ) -> Result<(), Failure> {
        let mut rest = messages.iter();
        let mut next = rest.next();
        self.endpoint
            .until("acknowledgement", |endpoint| {
                while let Some(message) = next {
                    let now = Instant::now();
                    match endpoint.peer.send(now, channel, message.clone()) {
                        Ok(()) => next = rest.next(),
                        Err(SendError::Full) => return None,
                        Err(error) => return Some(Err(error)),
                    }
                }
                (endpoint.peer.buffered(channel) == 0).then_some(Ok(()))
            })
            .await??;
        Ok(())
    }
}

pub(super) fn text(value: &Value) -> Result<&str, Failure> {
    value
        .as_str()
        .ok_or_else(|| Failure::new(format!("not a text: {value}")))
}

/// Bytes that do not shrink and that differ for every seed.
pub(super) fn noise(seed: u64, size: usize) -> Bytes {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes.into()
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn page_offers_as_dtls_server() -> Result<(), Failure> {
    let pair = Pair::page_offers(Client::Endpoint, own_channel).await?;
    exchange(pair, Client::Endpoint).await
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn page_offers_as_dtls_client() -> Result<(), Failure> {
    let pair = Pair::page_offers(Client::Page, own_channel).await?;
    exchange(pair, Client::Page).await
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn page_offers_to_ice_lite() -> Result<(), Failure> {
    let lite = |config: &mut PeerConfig| {
        config.ice = IceMode::Lite;
        own_channel(config);
    };
    let pair = Pair::page_offers(Client::Endpoint, lite).await?;
    exchange(pair, Client::Endpoint).await
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn page_answers_as_dtls_client() -> Result<(), Failure> {
    let pair = Pair::page_answers(Client::Page, own_channel).await?;
    exchange(pair, Client::Page).await
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn page_answers_as_dtls_server() -> Result<(), Failure> {
    let pair = Pair::page_answers(Client::Endpoint, own_channel).await?;
    exchange(pair, Client::Endpoint).await
}

pub(super) fn own_channel(config: &mut PeerConfig) {
    config.channels = vec![ChannelConfig::reliable("endpoint")];
}

/// Messages of all sizes over a channel of either side, then the page closes the connection.
pub(super) async fn exchange(mut pair: Pair, client: Client) -> Result<(), Failure> {
    let theirs = pair.channel("page").await?;
    let ours = pair.channel("endpoint").await?;
    // RFC 8832 §6: the DTLS client has the even streams.
    let odd = u16::from(client == Client::Page);
    assert_eq!(
        (ours.id.stream() % 2, theirs.id.stream() % 2),
        (odd, 1 - odd)
    );

    // RFC 8841 §6: what either side says that it takes is what the other one sends.
    let limits = pair.call("limits", json!({})).await?;
    assert_eq!(limits["maxMessageSize"], MAX_MESSAGE, "{limits}");
    assert_eq!(pair.endpoint.peer.remote_max_message_size(), MAX_MESSAGE);

    for (label, channel) in [("page", theirs.id), ("endpoint", ours.id)] {
        messages(&mut pair, label, channel).await?;
        let too_large = json!({"label": label, "size": MAX_MESSAGE + 1});
        assert_eq!(pair.call("refuses", too_large).await?, "TypeError");
        let message = noise(0, MAX_MESSAGE + 1);
        let refused = pair.endpoint.peer.send(Instant::now(), channel, message);
        assert_eq!(
            refused,
            Err(SendError::TooLarge {
                size: MAX_MESSAGE + 1,
                limit: MAX_MESSAGE
            })
        );
    }

    let stats = pair.endpoint.peer.stats();
    assert_eq!(
        (
            stats.dcep_refused,
            stats.messages_oversized,
            stats.dtls_refused
        ),
        (0, 0, 0),
        "{stats:?}"
    );
    assert_eq!(pair.endpoint.events, [Event::Connected]);
    pair.call("close", json!({})).await?;
    let closed = |endpoint: &mut Endpoint| endpoint.peer.is_closed().then_some(());
    pair.endpoint.until("end", closed).await?;
    assert_eq!(
        pair.endpoint.events.last(),
        Some(&Event::Closed(Cause::Remote))
    );
    Ok(())
}

/// Texts and bytes in every size that is special: none and one byte, around one and two SCTP packets, around the 16 bits
/// of many a length field, and up to the limit.
async fn messages(pair: &mut Pair, label: &str, channel: ChannelId) -> Result<(), Failure> {
    let sizes = [
        0,
        1,
        2,
        1_150,
        1_191,
        1_200,
        2_400,
        15_000,
        65_535,
        65_536,
        65_537,
        262_143,
        MAX_MESSAGE,
    ];
    for is_text in [false, true] {
        let send = json!({"label": label, "sizes": sizes, "text": is_text});
        let digests = pair.call("send_messages", send).await?;
        let received = pair.receive(channel, sizes.len()).await?;
        for (at, message) in received.iter().enumerate() {
            assert_eq!(message.len(), sizes[at]);
            assert_eq!(digests[at], sha256(message), "{} bytes", sizes[at]);
        }
    }
    let collect = json!({"label": label, "count": sizes.len()});
    pair.call("collect_messages", collect).await?;
    let sent: Vec<Bytes> = sizes
        .iter()
        .map(|size| noise(*size as u64, *size))
        .collect();
    pair.send(channel, &sent).await?;
    let received = pair.expect("messages", label).await?;
    for (at, message) in sent.iter().enumerate() {
        let seen = &received["messages"][at];
        assert_eq!(seen["size"], message.len(), "{seen}");
        assert_eq!(seen["sha256"], sha256(message), "{seen}");
        assert_eq!(seen["kind"], "object", "binary, RFC 8831 §8");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn endpoint_closes_the_connection() -> Result<(), Failure> {
    let mut pair = Pair::page_offers(Client::Endpoint, own_channel).await?;
    pair.channel("page").await?;
    pair.channel("endpoint").await?;
    pair.endpoint.peer.close(Instant::now());
    // RFC 9260 §9.1: the ABORT ends the channels.
    pair.expect("closed", "page").await?;
    pair.expect("closed", "endpoint").await?;
    assert_eq!(
        pair.endpoint.events,
        [Event::Connected, Event::Closed(Cause::Local)]
    );
    Ok(())
}
