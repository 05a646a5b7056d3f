//! The life of data channels with a bare page in headless Chromium: parameters, closing from either side, and opening
//! anew on the same stream.

use std::time::Instant;

use lkstream_conformance::endpoint::Opened;
use lkstream_conformance::process::Failure;
use lkstream_transport::{ChannelConfig, Order, PeerConfig, Reliability, RetransmitLimit};
use serde_json::{Value, json};

use super::chromium::{Client, Pair, noise};
use super::payloads::sha256;

/// Every form of order and retransmission that RFC 8832 §5.1 has, with what the page calls it.
fn forms() -> Vec<(&'static str, Reliability, Value)> {
    let partial = |order, limit| Reliability::Partial { order, limit };
    let unordered = Order::Unordered;
    vec![
        ("reliable", Reliability::Reliable, json!({"ordered": true})),
        (
            "unordered",
            partial(unordered, RetransmitLimit::None),
            json!({"ordered": false}),
        ),
        (
            "lossy",
            Reliability::Lossy,
            json!({"ordered": false, "maxRetransmits": 0}),
        ),
        (
            "ordered-count",
            partial(Order::Ordered, RetransmitLimit::Count(3)),
            json!({"ordered": true, "maxRetransmits": 3}),
        ),
        (
            "unordered-lifetime",
            partial(unordered, RetransmitLimit::Lifetime(500)),
            json!({"ordered": false, "maxPacketLifeTime": 500}),
        ),
    ]
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn parameters_of_channels_that_the_page_opens() -> Result<(), Failure> {
    let mut pair = Pair::page_offers(Client::Endpoint, |_| {}).await?;
    for (label, reliability, options) in forms() {
        let mut open = options.clone();
        open["label"] = label.into();
        pair.call("open", open).await?;
        let channel = pair.channel(label).await?;
        assert_eq!(channel.reliability, reliability, "{label}");
        back_and_forth(&mut pair, &channel).await?;
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn parameters_of_channels_that_the_endpoint_opens() -> Result<(), Failure> {
    let channels = |config: &mut PeerConfig| {
        config.channels = forms()
            .into_iter()
            .map(|(label, reliability, _)| ChannelConfig {
                reliability,
                ..ChannelConfig::reliable(label)
            })
            .collect();
    };
    let mut pair = Pair::page_answers(Client::Page, channels).await?;
    for (label, reliability, options) in forms() {
        let channel = pair.endpoint.channel(label).await?;
        assert_eq!(channel.reliability, reliability, "{label}");
        let seen = pair.expect("open", label).await?;
        for name in ["ordered", "maxRetransmits", "maxPacketLifeTime"] {
            assert_eq!(seen[name], options[name], "{name} of {seen}");
        }
        back_and_forth(&mut pair, &channel).await?;
    }
    Ok(())
}

/// RFC 8832 §5 does without an open message when both sides agreed on the stream before.
#[tokio::test]
#[ignore = "needs chromium"]
async fn agreed_streams_need_no_open_message() -> Result<(), Failure> {
    let channels = |config: &mut PeerConfig| {
        config.channels = vec![
            ChannelConfig::reliable("reliable").negotiated(100),
            ChannelConfig::lossy("lossy").negotiated(101),
        ];
    };
    let mut pair = Pair::page_offers(Client::Endpoint, channels).await?;
    let agreed = [
        json!({"label": "reliable", "negotiated": true, "id": 100}),
        json!({"label": "lossy", "negotiated": true, "id": 101, "ordered": false, "maxRetransmits": 0}),
    ];
    for open in agreed {
        pair.call("open", open.clone()).await?;
        let label = open["label"].as_str().unwrap_or_default();
        let channel = pair.channel(label).await?;
        assert_eq!(channel.id.stream(), open["id"]);
        back_and_forth(&mut pair, &channel).await?;
    }
    Ok(())
}

/// RFC 8831 §6.7: a closed channel is a stream reset in both directions, after which the stream can be used again.
#[tokio::test]
#[ignore = "needs chromium"]
async fn stream_of_a_closed_channel_is_used_again() -> Result<(), Failure> {
    let own = |config: &mut PeerConfig| {
        config.channels = vec![ChannelConfig::reliable("endpoint")];
    };
    let mut pair = Pair::page_offers(Client::Endpoint, own).await?;
    let first = pair.channel("page").await?;
    let mut channel = first.clone();
    for round in 0..4 {
        let label = channel.label.clone();
        back_and_forth(&mut pair, &channel).await?;
        if round % 2 == 0 {
            pair.call("close_channel", json!({"label": label})).await?;
        } else {
            pair.endpoint.peer.close_channel(Instant::now(), channel.id);
        }
        pair.expect("closed", &label).await?;
        closed(&mut pair, round + 1).await?;

        let label = format!("again {round}");
        pair.call("open", json!({"label": label})).await?;
        channel = pair.channel(&label).await?;
        assert_eq!(channel.id, first.id);
    }
    back_and_forth(&mut pair, &channel).await?;

    // The page closes what the endpoint opened; the others live on.
    let own = pair.channel("endpoint").await?;
    pair.call("close_channel", json!({"label": "endpoint"}))
        .await?;
    pair.expect("closed", "endpoint").await?;
    closed(&mut pair, 5).await?;
    assert_eq!(pair.endpoint.closed.last(), Some(&own.id));
    back_and_forth(&mut pair, &channel).await?;
    Ok(())
}

/// What was sent before a close arrives before it, in both directions (RFC 8831 §6.7).
#[tokio::test]
#[ignore = "needs chromium"]
async fn messages_before_a_close_arrive() -> Result<(), Failure> {
    let own = |config: &mut PeerConfig| {
        config.channels = vec![ChannelConfig::reliable("endpoint")];
    };
    let mut pair = Pair::page_offers(Client::Endpoint, own).await?;
    let theirs = pair.channel("page").await?;
    let ours = pair.channel("endpoint").await?;

    let sizes = [100_000; 10];
    let send = json!({"label": "page", "sizes": sizes});
    let digests = pair.call("send_messages", send).await?;
    pair.call("close_channel", json!({"label": "page"})).await?;
    let received = pair.receive(theirs.id, sizes.len()).await?;
    for (at, message) in received.iter().enumerate() {
        assert_eq!(digests[at], sha256(message));
    }
    closed(&mut pair, 1).await?;

    let collect = json!({"label": "endpoint", "count": sizes.len()});
    pair.call("collect_messages", collect).await?;
    let sent: Vec<_> = (0..10).map(|seed| noise(seed, 100_000)).collect();
    for message in &sent {
        pair.endpoint
            .until("room to send", |endpoint| {
                (endpoint.peer.room(ours.id) > 0).then_some(())
            })
            .await?;
        pair.endpoint
            .peer
            .send(Instant::now(), ours.id, message.clone())?;
    }
    pair.endpoint.peer.close_channel(Instant::now(), ours.id);
    let received = pair.expect("messages", "endpoint").await?;
    for (at, message) in sent.iter().enumerate() {
        assert_eq!(received["messages"][at]["sha256"], sha256(message));
    }
    pair.expect("closed", "endpoint").await?;
    closed(&mut pair, 2).await?;
    Ok(())
}

/// Waits until so many channels are gone.
async fn closed(pair: &mut Pair, count: usize) -> Result<(), Failure> {
    pair.endpoint
        .until("closed channel", |endpoint| {
            (endpoint.closed.len() >= count).then_some(())
        })
        .await
}

/// A few messages either way. On loopback none of so few is lost, so they arrive on a lossy channel, too; the order is
/// only that of sending where the channel has one.
async fn back_and_forth(pair: &mut Pair, channel: &Opened) -> Result<(), Failure> {
    let sizes: Vec<usize> = (1..=30).map(|at| at * 40).collect();
    let is_ordered = matches!(
        channel.reliability,
        Reliability::Reliable
            | Reliability::Partial {
                order: Order::Ordered,
                ..
            }
    );
    let arrange = |mut digests: Vec<String>| {
        if !is_ordered {
            digests.sort();
        }
        digests
    };
    let send = json!({"label": channel.label, "sizes": sizes});
    let sent = pair.call("send_messages", send).await?;
    let sent: Vec<String> = serde_json::from_value(sent)?;
    let received = pair.receive(channel.id, sizes.len()).await?;
    let received = received.iter().map(|message| sha256(message)).collect();
    assert_eq!(arrange(sent), arrange(received), "{}", channel.label);

    let collect = json!({"label": channel.label, "count": sizes.len()});
    pair.call("collect_messages", collect).await?;
    let sent: Vec<_> = sizes
        .iter()
        .map(|size| noise(*size as u64, *size))
        .collect();
    pair.send(channel.id, &sent).await?;
    let summary = pair.expect("messages", &channel.label).await?;
    let received = summary["messages"].as_array().into_iter().flatten();
    let received = received
        .filter_map(|message| message["sha256"].as_str())
        .map(str::to_owned)
        .collect();
    let sent = sent.iter().map(|message| sha256(message)).collect();
    assert_eq!(arrange(sent), arrange(received), "{}", channel.label);
    Ok(())
}
