//! The header of an outgoing stream, until it is sent.

use bytes::Bytes;
use lkstream_proto::packet::{
    self, ByteHeader, Compression, ContentFields, Header, HeaderFields, TextHeader, Value,
};
use lkstream_proto::receipt;

use super::Receipts;
use super::slab::Slab;
use super::stream::Stream;
use crate::encryption::{Seal, encode};
use crate::stream::{Attributes, Content, TextOperation, to_millis};

/// What a header says beyond the [`StreamInfo`](crate::StreamInfo) that the sender is shown.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    /// The attributes, with those that the sender does not see; `None` when there are none such.
    attributes: Option<Attributes>,
    /// The whole content, where it fits: then nothing follows the header.
    pub(super) inline: Option<Bytes>,
    pub(super) compression: Compression,
}

impl Opening {
    pub(crate) fn new(attributes: &Attributes, receipts: Receipts) -> Opening {
        let attributes = (receipts == Receipts::Request).then(|| {
            let mut attributes = attributes.clone();
            attributes.insert(receipt::ATTRIBUTE.to_owned(), receipt::REQUESTED.to_owned());
            attributes
        });
        Opening {
            attributes,
            inline: None,
            compression: Compression::None,
        }
    }
}

impl Stream {
    /// Bytes that the header's packet has at most.
    pub(crate) fn header_size(&self) -> usize {
        self.opening
            .as_ref()
            .map_or(0, |opening| self.header_size_with(opening, None))
    }

    /// Bytes that the header's packet would have at most, with this inline content.
    pub(super) fn header_size_with(&self, opening: &Opening, inline: Option<&[u8]>) -> usize {
        let fields = HeaderFields {
            inline_content: inline,
            compression: Compression::DeflateRaw,
            ..self.header_fields(opening, u32::MAX)
        };
        fields.size()
    }

    pub(super) fn encode_header(
        &self,
        opening: &Opening,
        sequence: u32,
        slab: &mut Slab,
        seal: Option<&mut Seal<'_>>,
    ) -> Bytes {
        if seal.is_some() {
            let header = self.header(opening);
            return encode(self.envelope(sequence, Value::StreamHeader(header)), seal);
        }
        let fields = self.header_fields(opening, sequence);
        slab.packet(fields.size(), |block| fields.put(block))
    }

    fn header_fields<'a>(&'a self, opening: &'a Opening, sequence: u32) -> HeaderFields<'a> {
        let info = &self.info;
        HeaderFields {
            envelope: self.fields(sequence),
            timestamp: to_millis(info.timestamp),
            topic: info.topic.as_str(),
            mime_type: &info.mime_type,
            total_length: info.total_length,
            attributes: opening.attributes.as_ref().unwrap_or(&info.attributes),
            content: content_fields(&info.content),
            inline_content: opening.inline.as_deref(),
            compression: opening.compression,
        }
    }

    /// The header as a message, to be sealed.
    fn header(&self, opening: &Opening) -> Header {
        let fields = self.header_fields(opening, 0);
        Header {
            stream_id: fields.envelope.stream_id.to_owned(),
            timestamp: fields.timestamp,
            topic: fields.topic.to_owned(),
            mime_type: fields.mime_type.to_owned(),
            total_length: fields.total_length,
            attributes: fields.attributes.clone(),
            content: Some(content_message(&fields.content)),
            inline_content: opening.inline.clone(),
            compression: opening.compression.into(),
            ..Header::default()
        }
    }
}

fn content_fields(content: &Content) -> ContentFields<'_> {
    match content {
        Content::Text {
            operation,
            version,
            reply_to,
            attachments,
            generated,
        } => ContentFields::Text {
            operation_type: operation.number(),
            version: *version,
            reply_to_stream_id: reply_to.as_ref().map_or("", |id| id.as_str()),
            attached_stream_ids: attachments,
            generated: *generated,
        },
        Content::Bytes { name } => ContentFields::Bytes { name },
    }
}

fn content_message(fields: &ContentFields<'_>) -> packet::Content {
    match fields {
        ContentFields::Text {
            operation_type,
            version,
            reply_to_stream_id,
            attached_stream_ids,
            generated,
        } => packet::Content::Text(TextHeader {
            operation_type: *operation_type,
            version: *version,
            reply_to_stream_id: (*reply_to_stream_id).to_owned(),
            attached_stream_ids: attached_stream_ids
                .iter()
                .map(|id| id.as_str().to_owned())
                .collect(),
            generated: *generated,
        }),
        ContentFields::Bytes { name } => packet::Content::Bytes(ByteHeader {
            name: (*name).to_owned(),
        }),
    }
}

impl TextOperation {
    /// The number on the wire (protocol.md §5.1).
    fn number(self) -> i32 {
        match self {
            TextOperation::Create => 0,
            TextOperation::Update => 1,
            TextOperation::Delete => 2,
            TextOperation::Reaction => 3,
            TextOperation::Other(number) => number,
        }
    }
}
