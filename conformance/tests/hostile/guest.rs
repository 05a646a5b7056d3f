//! A participant of the attacker's: a signalling link, and a peer connection where the attack needs one.

use std::time::Instant;

use bytes::Bytes;
use lkstream_conformance::endpoint::Endpoint;
use lkstream_conformance::host::Host;
use lkstream_conformance::process::Failure;
use lkstream_proto::join::Join;
use lkstream_proto::participant::{Capability, ClientInfo, Sdk};
use lkstream_proto::signal::{Response, SessionDescription};
use lkstream_transport::{ChannelConfig, ChannelId, Event, PeerConfig, SendError};

use crate::server::Target;
use crate::wire::{Caller, Link};

/// A join as our own client asks for it, without an offer.
pub(crate) fn plain_join() -> Join {
    Join::new(ClientInfo {
        sdk: Sdk::Rust.into(),
        version: "0.1.0".into(),
        protocol: lkstream_proto::limits::PROTOCOL,
        client_protocol: lkstream_proto::limits::CLIENT_PROTOCOL,
        capabilities: vec![Capability::CompressionDeflateRaw.into()],
        ..ClientInfo::default()
    })
}

/// An offer as a join carries it.
pub(crate) fn offer(sdp: impl Into<String>) -> SessionDescription {
    SessionDescription {
        r#type: "offer".into(),
        sdp: sdp.into(),
        id: 1,
        ..SessionDescription::default()
    }
}

/// Joins by signalling alone.
pub(crate) async fn join(target: &Target, caller: Caller, token: &str) -> Result<Link, Failure> {
    joined(target, caller, token, &plain_join()).await
}

/// Joins with this request, which the server has to accept.
pub(crate) async fn joined(
    target: &Target,
    caller: Caller,
    token: &str,
    join: &Join,
) -> Result<Link, Failure> {
    let opened = Link::open(caller, target.http, &join.to_query(), token).await?;
    opened.map_err(|answer| Failure::new(format!("a plain join gets {answer:?}")))
}

/// A participant with data channels.
pub(crate) struct Guest {
    pub(crate) endpoint: Endpoint,
    _link: Link,
}

impl Guest {
    /// Joins, and waits until the channels that our client opens are there. `change` completes the peer's settings.
    pub(crate) async fn join(
        target: &Target,
        token: &str,
        change: impl FnOnce(&mut PeerConfig),
    ) -> Result<Self, Failure> {
        let prepare = |config: &mut PeerConfig| {
            config.channels = vec![
                ChannelConfig::reliable("_reliable"),
                ChannelConfig::lossy("_lossy"),
            ];
            change(config);
        };
        let (mut endpoint, sdp) = Endpoint::offer(&Host::loopback(), prepare)?;
        let mut request = plain_join();
        request.offer = Some(offer(sdp));
        let mut link = joined(target, Caller::here(), token, &request).await?;
        let answer = link
            .expect("answer", |response| match response {
                Response::Answer(answer) => Some(answer.sdp),
                _ => None,
            })
            .await?;
        endpoint.peer.handle_answer(Instant::now(), &answer)?;
        endpoint
            .until("connection", |endpoint| {
                endpoint.events.contains(&Event::Connected).then_some(())
            })
            .await?;
        Ok(Self {
            endpoint,
            _link: link,
        })
    }

    /// Waits for a channel of this label.
    pub(crate) async fn channel(&mut self, label: &str) -> Result<ChannelId, Failure> {
        Ok(self.endpoint.channel(label).await?.id)
    }

    /// Sends messages as they stand, and waits until the server's transport has them all; false once it has ended the
    /// connection.
    pub(crate) async fn send(
        &mut self,
        channel: ChannelId,
        messages: impl IntoIterator<Item = Bytes>,
    ) -> Result<bool, Failure> {
        let mut messages = messages.into_iter();
        let mut next = messages.next();
        self.endpoint
            .until("acknowledgement", |endpoint| {
                while let Some(message) = next.take() {
                    match endpoint.peer.send(Instant::now(), channel, message.clone()) {
                        Ok(()) => next = messages.next(),
                        Err(SendError::Full) => {
                            next = Some(message);
                            break;
                        }
                        Err(_) => return Some(false),
                    }
                }
                if endpoint.peer.is_closed() {
                    return Some(false);
                }
                (next.is_none() && endpoint.peer.buffered(channel) == 0).then_some(true)
            })
            .await
    }
}
