//! The byte streams that belong to a text.

use std::collections::VecDeque;
use std::time::Duration;

use lkstream_engine::{Content, StreamInfo};
use lkstream_proto::id::{ParticipantSid, StreamId};

use crate::{ByteReader, ByteStreams};

/// How long an attachment of a sender that left may still be on its way: signalling overtakes data (ARCHITECTURE.md,
/// "Leaving").
const LEAVE_GRACE: Duration = Duration::from_secs(2);

/// The attachments of one text as they arrive, in the order in which the text names them; see
/// [`ByteStreams::attachments_of`].
///
/// Read each before asking for the next: a sender sends them one after the other, and one that nobody reads pushes
/// back.
#[derive(Debug)]
pub struct Attachments<'a> {
    streams: &'a mut ByteStreams,
    publisher: Option<ParticipantSid>,
    left: VecDeque<StreamId>,
}

/// An attachment that a text names will not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the attachment {id} did not come: {cause}")]
#[non_exhaustive]
pub struct MissingAttachment {
    /// Its stream.
    pub id: StreamId,
    /// What ended the waiting.
    pub cause: MissingCause,
}

/// Why nothing is waited for any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum MissingCause {
    /// The text's sender is not in the room.
    #[error("its sender left")]
    SenderLeft,
    /// We are not in the room.
    #[error("the room is gone")]
    RoomGone,
}

impl ByteStreams {
    /// The byte streams that this text names, of the same sender, as far as this registration gets them: senders use
    /// the topic of the text unless told otherwise. Other streams stay for [`next`](ByteStreams::next).
    pub fn attachments_of(&mut self, text: &StreamInfo) -> Attachments<'_> {
        let left = match &text.content {
            Content::Text { attachments, .. } => attachments.iter().cloned().collect(),
            Content::Bytes { .. } => VecDeque::new(),
        };
        Attachments {
            streams: self,
            publisher: text.publisher.clone(),
            left,
        }
    }
}

impl Attachments<'_> {
    /// The next attachment; `None` after the last.
    ///
    /// # Cancel safety
    /// Cancel safe; nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// [`MissingAttachment`] once it cannot come any more; the next call is about the next attachment.
    pub async fn next(&mut self) -> Option<Result<ByteReader, MissingAttachment>> {
        let id = self.left.front()?.clone();
        let result = self.wait_for(&id).await;
        self.left.pop_front();
        Some(result.map_err(|cause| MissingAttachment { id, cause }))
    }

    async fn wait_for(&mut self, id: &StreamId) -> Result<ByteReader, MissingCause> {
        let publisher = self.publisher.clone();
        let matches = |info: &StreamInfo| info.id == *id && info.publisher == publisher;
        let shared = self.streams.shared().clone();
        let mut grace = None;
        loop {
            let mut changed = std::pin::pin!(shared.changed.notified());
            changed.as_mut().enable();
            let left = {
                let state = shared.lock();
                publisher
                    .as_ref()
                    .is_some_and(|sid| !state.session.others().any(|other| other.sid() == sid))
            };
            if left && grace.is_none() {
                grace = Some(tokio::time::Instant::now() + LEAVE_GRACE);
            }
            let over = async {
                match grace {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                found = self.streams.take(&matches) => return found.ok_or(MissingCause::RoomGone),
                () = over => return Err(MissingCause::SenderLeft),
                () = changed => {}
            }
        }
    }
}
