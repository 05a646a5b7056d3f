//! Single packets: published data, telephone keys, and the older chat and transcription
//! (protocol.md §4.1).

use std::sync::Arc;

use lkstream_engine::Message;
use lkstream_proto::id::{Identity, Topic};
use lkstream_proto::packet::{Channel, ChatMessage, SipDtmf, Transcription};

use crate::shared::Shared;
use crate::{Payload, Recipients, Room};

/// How a packet is published: reliably and to everybody, unless said otherwise.
///
/// ```
/// # use lkstream::DataOptions;
/// let options = DataOptions::new().lossy().topic("cursor").to("bob");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataOptions {
    pub(crate) channel: Channel,
    pub(crate) topic: Option<Topic>,
    pub(crate) destinations: Vec<Identity>,
}

impl Default for DataOptions {
    fn default() -> Self {
        DataOptions::new()
    }
}

impl DataOptions {
    /// Reliable, without a topic, to everybody else in the room.
    pub fn new() -> Self {
        DataOptions {
            channel: Channel::Reliable,
            topic: None,
            destinations: Vec::new(),
        }
    }

    /// Uses the lossy channel: unordered, never sent again, dropped where something is slow.
    #[must_use]
    pub fn lossy(mut self) -> Self {
        self.channel = Channel::Lossy;
        self
    }

    /// Says what the packet is about.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<Topic>) -> Self {
        self.topic = Some(topic.into());
        self
    }

    /// Adds recipients: `"bob"`, or `["bob", "carol"]`. Without any the packet goes to everybody else in the room.
    #[must_use]
    pub fn to(mut self, recipients: impl Into<Recipients>) -> Self {
        self.destinations.extend(recipients.into());
        self
    }
}

/// Why a packet was not published; nothing of it was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The token does not allow publishing data; the server would drop every packet silently (protocol.md §4.3).
    #[error("the token does not permit publishing data")]
    NotPermitted,
    /// The packet is too large, or the room is gone.
    #[error(transparent)]
    Packet(#[from] lkstream_engine::PublishError),
}

impl Room {
    /// Publishes one packet, which the others get as [`Event::Data`](crate::Event::Data), or as `DataReceived` in
    /// official SDKs. It resolves once the packet is queued; reliable packets of 1 MiB may wait, then it waits for room.
    /// Of lossy ones 256 KiB wait, then the oldest go.
    ///
    /// # Cancel safety
    /// Dropped before it resolved, nothing was published.
    ///
    /// # Errors
    /// [`PublishError`]: above 64 000 bytes, with everything around the payload, a stream is needed.
    pub async fn publish_data(
        &self,
        payload: impl Into<Payload>,
        options: DataOptions,
    ) -> Result<(), PublishError> {
        let message = Message::User {
            payload: payload.into().lent(&self.shared().released),
            topic: options.topic.clone(),
        };
        self.publish(message, &options).await
    }

    /// Sends a telephone key to everybody: its code, and its label such as `#`.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish_dtmf(
        &self,
        code: u32,
        digit: impl Into<String>,
    ) -> Result<(), PublishError> {
        let digit = digit.into();
        let message = Message::SipDtmf(SipDtmf { code, digit });
        self.publish(message, &DataOptions::new()).await
    }

    /// Sends a chat message of the older kind to everybody. New programs send a text on `lk.chat` instead.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish_chat(&self, message: ChatMessage) -> Result<(), PublishError> {
        self.publish(Message::Chat(message), &DataOptions::new())
            .await
    }

    /// Sends a transcription of the older kind to everybody; servers take it from agents only (protocol.md §4.3).
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish_transcription(
        &self,
        transcription: Transcription,
    ) -> Result<(), PublishError> {
        self.publish(Message::Transcription(transcription), &DataOptions::new())
            .await
    }

    async fn publish(&self, message: Message, options: &DataOptions) -> Result<(), PublishError> {
        publish(
            self.shared(),
            options.channel,
            message,
            &options.destinations,
        )
        .await
    }
}

/// Queues the packet, waiting for room on the reliable channel.
pub(crate) async fn publish(
    shared: &Arc<Shared>,
    channel: Channel,
    message: Message,
    destinations: &[Identity],
) -> Result<(), PublishError> {
    loop {
        let mut has_room = std::pin::pin!(shared.publishable.notified());
        has_room.as_mut().enable();
        {
            let mut state = shared.lock();
            if state.ended.is_none() && !state.session.can_publish_data() {
                return Err(PublishError::NotPermitted);
            }
            match state.engine.publish(channel, message.clone(), destinations) {
                Err(lkstream_engine::PublishError::Full { .. }) => {}
                published => {
                    state.wake_driver();
                    drop(state);
                    // There may be room for one more.
                    shared.publishable.notify_one();
                    return Ok(published?);
                }
            }
        }
        has_room.await;
    }
}
