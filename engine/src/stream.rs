//! The description of a stream, as its header gives it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::encryption::Encryption;
use lkstream_proto::id::{Identity, ParticipantSid, StreamId, Topic};

/// The attributes of a stream, in the order of their keys.
pub type Attributes = BTreeMap<String, String>;

/// Trailer attribute in which our senders say how many bytes a stream had whose header could not:
/// so no chunk that a server dropped at the end goes unnoticed by our receivers.
pub(crate) const LENGTH_ATTRIBUTE: &str = "lkstream.length";

/// Whether a stream carries text or bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StreamKind {
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Bytes,
}

impl StreamKind {
    /// The mime type a stream gets when its sender names none (protocol.md §5.1).
    pub(crate) fn default_mime_type(self) -> &'static str {
        match self {
            StreamKind::Text => "text/plain",
            StreamKind::Bytes => "application/octet-stream",
        }
    }
}

/// What only text or only byte streams have (protocol.md §5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A text stream.
    Text {
        /// What the text does to an earlier one.
        operation: TextOperation,
        /// Version of the text, for updates.
        version: i32,
        /// The stream this one answers; empty when none.
        reply_to: Option<StreamId>,
        /// Byte streams that belong to this text. Each arrives as a stream of its own.
        attachments: Vec<StreamId>,
        /// Whether a machine wrote the text.
        generated: bool,
    },
    /// A byte stream.
    Bytes {
        /// Name of the file, or `unknown`. As the sender wrote it: not safe as a path.
        name: String,
    },
}

impl Content {
    /// Plain new text.
    pub fn text() -> Content {
        Content::Text {
            operation: TextOperation::Create,
            version: 0,
            reply_to: None,
            attachments: Vec::new(),
            generated: false,
        }
    }

    /// Bytes under `name`.
    pub fn bytes(name: impl Into<String>) -> Content {
        Content::Bytes { name: name.into() }
    }

    /// Text or bytes.
    pub fn kind(&self) -> StreamKind {
        match self {
            Content::Text { .. } => StreamKind::Text,
            Content::Bytes { .. } => StreamKind::Bytes,
        }
    }

    /// The mime type a stream gets when its sender names none (protocol.md §5.1).
    pub fn default_mime_type(&self) -> &'static str {
        self.kind().default_mime_type()
    }
}

/// What a text does to an earlier one (protocol.md §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextOperation {
    /// A new text.
    Create,
    /// Replaces an earlier one.
    Update,
    /// Takes an earlier one back.
    Delete,
    /// A reaction to an earlier one.
    Reaction,
    /// A number this library does not know, as received.
    Other(i32),
}

/// A stream's header in our own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// The stream's id, unique only together with `publisher`.
    pub id: StreamId,
    /// Text or bytes, with what belongs to each.
    pub content: Content,
    /// The topic that handlers choose by.
    pub topic: Topic,
    /// The mime type.
    pub mime_type: Cow<'static, str>,
    /// When the sender opened the stream, by the sender's clock, in whole milliseconds.
    pub timestamp: SystemTime,
    /// Bytes of the whole payload, uncompressed; `None` when the sender did not know.
    pub total_length: Option<u64>,
    /// The header's attributes. Those of the trailer are merged into
    /// [`Summary::attributes`](crate::Summary::attributes).
    pub attributes: Attributes,
    /// Who the stream is shown as coming from. An agent may name a user here.
    pub sender: Identity,
    /// Who published it: the sid that the server wrote; `None` from a server that wrote none.
    pub publisher: Option<ParticipantSid>,
    /// Whether it was encrypted from participant to participant.
    pub encryption: Encryption,
}

impl StreamInfo {
    /// Text or bytes.
    pub fn kind(&self) -> StreamKind {
        self.content.kind()
    }
}

/// Milliseconds of the Unix epoch, as headers carry them.
pub(crate) fn to_millis(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

/// The time that a header's milliseconds mean; the epoch itself for what no clock shows.
pub(crate) fn from_millis(ms: i64) -> SystemTime {
    let distance = Duration::from_millis(ms.unsigned_abs());
    let time = if ms < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(UNIX_EPOCH)
}

/// The start of a trailer's reason that is kept.
pub(crate) fn reason(reason: &str) -> &str {
    cut(reason, crate::limits::REASON_BYTES)
}

/// The start of a text that has at most `limit` bytes.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
