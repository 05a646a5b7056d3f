//! Options of outgoing streams.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use lkstream_engine::{Compress, StreamInfo, TextOperation};
use lkstream_proto::id::{Identity, StreamId, Topic};

use crate::{Payload, Progress, Recipients};

/// A callback for progress; runs on the task that writes, a few times a second, and must not block.
pub(crate) type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// A callback with the header of a stream that was opened; runs on the task that opens.
pub(crate) type OnOpen = Arc<dyn Fn(&StreamInfo) + Send + Sync>;

/// What both kinds of stream have in common.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) topic: Topic,
    pub(crate) id: Option<StreamId>,
    pub(crate) mime_type: Option<String>,
    pub(crate) total_length: Option<u64>,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) destinations: Vec<Identity>,
    pub(crate) sender_identity: Option<Identity>,
    pub(crate) timestamp: Option<SystemTime>,
    pub(crate) confirmed: bool,
    pub(crate) compress: Compress,
    pub(crate) on_open: Option<OnOpen>,
    pub(crate) on_progress: Option<OnProgress>,
}

impl Common {
    fn new(topic: Topic) -> Self {
        Common {
            topic,
            id: None,
            mime_type: None,
            total_length: None,
            attributes: BTreeMap::new(),
            destinations: Vec::new(),
            sender_identity: None,
            timestamp: None,
            confirmed: false,
            compress: Compress::Auto,
            on_open: None,
            on_progress: None,
        }
    }

    fn debug(&self, mut out: fmt::DebugStruct<'_, '_>) -> fmt::Result {
        out.field("topic", &self.topic)
            .field("id", &self.id)
            .field("mime_type", &self.mime_type)
            .field("total_length", &self.total_length)
            .field("destinations", &self.destinations)
            .field("confirmed", &self.confirmed)
            .field("compress", &self.compress)
            .finish_non_exhaustive()
    }
}

/// Options of a text stream: the topic is mandatory, the rest has defaults.
///
/// ```
/// # use lkstream::TextOptions;
/// let options = TextOptions::new("lk.chat").to("bob").attribute("lang", "en");
/// ```
#[derive(Clone)]
pub struct TextOptions {
    pub(crate) common: Common,
    pub(crate) operation: TextOperation,
    pub(crate) version: i32,
    pub(crate) reply_to: Option<StreamId>,
    pub(crate) generated: bool,
    pub(crate) attached: Vec<StreamId>,
    pub(crate) attachments: Vec<Attachment>,
}

/// Bytes that travel with a text, as a stream of their own.
#[derive(Debug, Clone)]
pub(crate) struct Attachment {
    pub(crate) source: AttachmentSource,
    pub(crate) options: Option<ByteOptions>,
}

#[derive(Clone)]
pub(crate) enum AttachmentSource {
    File(PathBuf),
    Bytes(Payload),
}

impl fmt::Debug for AttachmentSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttachmentSource::File(path) => f.debug_tuple("File").field(path).finish(),
            AttachmentSource::Bytes(bytes) => bytes.fmt(f),
        }
    }
}

/// Options of a byte stream or a file: the topic is mandatory, the rest has defaults.
///
/// ```
/// # use lkstream::ByteOptions;
/// let options = ByteOptions::new("files").name("report.pdf").mime_type("application/pdf").to("bob");
/// ```
#[derive(Clone)]
pub struct ByteOptions {
    pub(crate) common: Common,
    pub(crate) name: Option<String>,
}

macro_rules! common_options {
    ($options:ident) => {
        impl $options {
            /// Uses this stream id instead of a random UUID. It must not be in use by another open stream.
            #[must_use]
            pub fn id(mut self, id: impl Into<StreamId>) -> Self {
                self.common.id = Some(id.into());
                self
            }

            /// Sets the MIME type; the default is protocol.md §5.1's for the kind.
            #[must_use]
            pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
                self.common.mime_type = Some(mime_type.into());
                self
            }

            /// Announces the length of the whole payload in bytes. Writing more, or closing with less, is an error.
            #[must_use]
            pub fn total_length(mut self, bytes: u64) -> Self {
                self.common.total_length = Some(bytes);
                self
            }

            /// Adds an attribute. Keys that start with `lk.` are reserved by the protocol (protocol.md §5.7).
            #[must_use]
            pub fn attribute(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
                self.common.attributes.insert(key.into(), value.into());
                self
            }

            /// Adds attributes, as [`attribute`](Self::attribute) does.
            #[must_use]
            pub fn attributes<K: Into<String>, V: Into<String>>(
                mut self,
                attributes: impl IntoIterator<Item = (K, V)>,
            ) -> Self {
                let attributes = attributes.into_iter();
                self.common
                    .attributes
                    .extend(attributes.map(|(key, value)| (key.into(), value.into())));
                self
            }

            /// Adds recipients: `"bob"`, or `["bob", "carol"]`. Without any the stream goes to everybody else in the room.
            #[must_use]
            pub fn to(mut self, recipients: impl Into<Recipients>) -> Self {
                self.common.destinations.extend(recipients.into());
                self
            }

            /// Speaks for another identity. Servers accept that only from agents, and only on text (protocol.md §4.3).
            #[must_use]
            pub fn sender_identity(mut self, identity: impl Into<Identity>) -> Self {
                self.common.sender_identity = Some(identity.into());
                self
            }

            /// Sets the header's time instead of now; it travels in milliseconds since 1970.
            #[must_use]
            pub fn timestamp(mut self, timestamp: SystemTime) -> Self {
                self.common.timestamp = Some(timestamp);
                self
            }

            /// Asks receivers for receipts. Receivers built on this crate answer, all others ignore the request.
            #[must_use]
            pub fn confirmed(mut self) -> Self {
                self.common.confirmed = true;
                self
            }

            /// Whether `send_text`, `send_bytes` and `send_file` compress, where all recipients can inflate:
            /// [`Compress::Auto`] unless something else is said. Streams that are written piece by piece never are.
            #[must_use]
            pub fn compress(mut self, compress: Compress) -> Self {
                self.common.compress = compress;
                self
            }

            /// Calls back once the stream is open, with the header as it goes out: with the length, the MIME type and
            /// the attributes that were filled in. A stream that cannot be opened calls nothing.
            ///
            /// The callback runs on the calling task and must not block.
            #[must_use]
            pub fn on_open(
                mut self,
                callback: impl Fn(&StreamInfo) + Send + Sync + 'static,
            ) -> Self {
                self.common.on_open = Some(Arc::new(callback));
                self
            }

            /// Calls back when bytes were queued or acknowledged, while a `send_*` call or a writer's method runs.
            ///
            /// The callback runs on the calling task, never concurrently with itself, and must not block.
            #[must_use]
            pub fn on_progress(
                mut self,
                callback: impl Fn(Progress) + Send + Sync + 'static,
            ) -> Self {
                self.common.on_progress = Some(Arc::new(callback));
                self
            }
        }

        impl fmt::Debug for $options {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.common.debug(f.debug_struct(stringify!($options)))
            }
        }
    };
}

common_options!(TextOptions);
common_options!(ByteOptions);

impl TextOptions {
    /// Options for a text stream on this topic.
    pub fn new(topic: impl Into<Topic>) -> Self {
        TextOptions {
            common: Common::new(topic.into()),
            operation: TextOperation::Create,
            version: 0,
            reply_to: None,
            generated: false,
            attached: Vec::new(),
            attachments: Vec::new(),
        }
    }

    /// Says what the text does to an earlier one; the default is a new text.
    #[must_use]
    pub fn operation(mut self, operation: TextOperation) -> Self {
        self.operation = operation;
        self
    }

    /// Sets the version of the text, for updates of an earlier one.
    #[must_use]
    pub fn version(mut self, version: i32) -> Self {
        self.version = version;
        self
    }

    /// Marks the text as written by a machine.
    #[must_use]
    pub fn generated(mut self) -> Self {
        self.generated = true;
        self
    }

    /// Marks the text as a reply to another stream.
    #[must_use]
    pub fn reply_to(mut self, id: impl Into<StreamId>) -> Self {
        self.reply_to = Some(id.into());
        self
    }

    /// Sends a file with the text: [`Room::send_text`](crate::Room::send_text) announces its id, and sends it after
    /// the text as a byte stream of the same topic to the same recipients.
    #[must_use]
    pub fn attach(mut self, path: impl Into<PathBuf>) -> Self {
        self.attachments.push(Attachment {
            source: AttachmentSource::File(path.into()),
            options: None,
        });
        self
    }

    /// [`attach`](Self::attach) with options of its own. Its recipients are the text's, whatever the options say.
    #[must_use]
    pub fn attach_with(mut self, path: impl Into<PathBuf>, options: ByteOptions) -> Self {
        self.attachments.push(Attachment {
            source: AttachmentSource::File(path.into()),
            options: Some(options),
        });
        self
    }

    /// Sends bytes with the text, as [`attach`](Self::attach) sends a file.
    #[must_use]
    pub fn attach_bytes(mut self, bytes: impl Into<Payload>, options: ByteOptions) -> Self {
        self.attachments.push(Attachment {
            source: AttachmentSource::Bytes(bytes.into()),
            options: Some(options),
        });
        self
    }

    /// Names a byte stream that belongs to this text. Send that stream under the same id.
    #[must_use]
    pub fn attached(mut self, id: impl Into<StreamId>) -> Self {
        self.attached.push(id.into());
        self
    }
}

impl ByteOptions {
    /// Options for a byte stream on this topic.
    pub fn new(topic: impl Into<Topic>) -> Self {
        ByteOptions {
            common: Common::new(topic.into()),
            name: None,
        }
    }

    /// Names the stream. [`Room::send_file`](crate::Room::send_file) uses the file's own name by default,
    /// the other calls use `unknown` (protocol.md §5.1).
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}
