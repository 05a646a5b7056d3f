//! The header of an incoming stream: read in place, or taken out of a decrypted packet.

use std::borrow::Cow;

use bytes::Bytes;
use lkstream_proto::id::{StreamId, Topic};
use lkstream_proto::packet::{self, Header};
use lkstream_proto::splice::{ContentView, HeaderView};

use crate::stream::{Attributes, Content, StreamKind, TextOperation};

#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) id: StreamId,
    /// `None` where the header says neither text nor bytes.
    pub(crate) content: Option<Content>,
    pub(crate) topic: Topic,
    pub(crate) mime_type: Cow<'static, str>,
    /// Unix milliseconds.
    pub(crate) timestamp: i64,
    pub(crate) total_length: Option<u64>,
    pub(crate) attributes: Attributes,
    /// The number on the wire.
    pub(crate) compression: i32,
    /// The whole content.
    pub(crate) inline: Option<Bytes>,
}

impl From<HeaderView<'_>> for Opening {
    fn from(header: HeaderView<'_>) -> Self {
        let attributes = header.attributes();
        Opening {
            id: StreamId::from(header.stream_id),
            topic: Topic::from(header.topic),
            mime_type: usual(header.mime_type)
                .map_or_else(|| Cow::Owned(header.mime_type.to_owned()), Cow::Borrowed),
            timestamp: header.timestamp,
            total_length: header.total_length,
            attributes: attributes
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            compression: header.compression,
            content: header.content.map(|content| match content {
                ContentView::Text(text) => Content::Text {
                    operation: TextOperation::from(text.operation_type),
                    version: text.version,
                    reply_to: Some(text.reply_to_stream_id)
                        .filter(|id| !id.is_empty())
                        .map(StreamId::from),
                    attachments: text.attached_stream_ids().map(StreamId::from).collect(),
                    generated: text.generated,
                },
                ContentView::Bytes { name } => Content::bytes(name),
            }),
            inline: header.inline_content,
        }
    }
}

impl From<Header> for Opening {
    fn from(header: Header) -> Self {
        Opening {
            id: StreamId::from(header.stream_id),
            topic: Topic::from(header.topic),
            mime_type: usual(&header.mime_type).map_or(Cow::Owned(header.mime_type), Cow::Borrowed),
            timestamp: header.timestamp,
            total_length: header.total_length,
            attributes: header.attributes,
            compression: header.compression,
            content: header.content.map(|content| match content {
                packet::Content::Text(text) => Content::Text {
                    operation: TextOperation::from(text.operation_type),
                    version: text.version,
                    reply_to: Some(text.reply_to_stream_id)
                        .filter(|id| !id.is_empty())
                        .map(StreamId::from),
                    attachments: text
                        .attached_stream_ids
                        .into_iter()
                        .map(StreamId::from)
                        .collect(),
                    generated: text.generated,
                },
                packet::Content::Bytes(bytes) => Content::Bytes { name: bytes.name },
            }),
            inline: header.inline_content,
        }
    }
}

/// The MIME type that nearly every stream has needs no memory of its own.
fn usual(mime_type: &str) -> Option<&'static str> {
    let kinds = [StreamKind::Text, StreamKind::Bytes];
    let usual = kinds.map(StreamKind::default_mime_type);
    usual.into_iter().find(|usual| *usual == mime_type)
}

impl From<i32> for TextOperation {
    /// From the number on the wire (protocol.md §5.1).
    fn from(number: i32) -> Self {
        match number {
            0 => TextOperation::Create,
            1 => TextOperation::Update,
            2 => TextOperation::Delete,
            3 => TextOperation::Reaction,
            other => TextOperation::Other(other),
        }
    }
}
