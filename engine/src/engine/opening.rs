//! How an outgoing stream is opened.

use lkstream_proto::id::StreamId;
use lkstream_proto::limits::HEADER_PACKET_BYTES;
use lkstream_proto::packet::{self, ByteHeader, Header, TextHeader};
use lkstream_proto::receipt;

use super::{Engine, Session};
use crate::encryption::Encryption;
use crate::outgoing::{OpenError, OpenOptions, OutgoingId, Receipts, Stream};
use crate::stream::{Content, StreamInfo, TextOperation, to_millis};

impl Engine {
    /// Opens a stream; its header is queued.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is sent then.
    pub fn open(&mut self, options: OpenOptions) -> Result<OutgoingId, OpenError> {
        let (identity, sid) = match &self.session {
            Session::Waiting => return Err(OpenError::NotJoined),
            Session::Lost(cause) => return Err(OpenError::ConnectionLost(cause.clone())),
            Session::Joined { identity, sid } => (identity.clone(), sid.clone()),
        };
        if let Some(cipher) = &self.cipher
            && !cipher.keyring.can_seal(&identity)
        {
            return Err(OpenError::NoKey {
                index: cipher.keyring.index(),
            });
        }
        let limit = self.config.max_outgoing;
        if self.outgoing.len() >= limit {
            return Err(OpenError::TooManyStreams { limit });
        }
        let limit = self.config.max_payload;
        if let Some(size) = options.total_length.filter(|size| *size > limit) {
            return Err(OpenError::PayloadTooLarge { size, limit });
        }
        let id = match options.id {
            Some(id) if self.outgoing.has_id(id.as_str()) => return Err(OpenError::IdInUse { id }),
            Some(id) => id,
            None => self.draw_id(),
        };
        let mime_type = options
            .mime_type
            .unwrap_or_else(|| options.content.default_mime_type().to_owned());
        let mut attributes = options.attributes;
        let info = StreamInfo {
            id,
            topic: options.topic,
            mime_type,
            timestamp: options.timestamp,
            total_length: options.total_length,
            attributes: attributes.clone(),
            sender: options.sender_identity.unwrap_or(identity),
            publisher: Some(sid.as_ref().into()),
            content: options.content,
            encryption: match &self.cipher {
                Some(_) => Encryption::Gcm,
                None => Encryption::None,
            },
        };
        if options.receipts == Receipts::Request {
            attributes.insert(receipt::ATTRIBUTE.to_owned(), receipt::REQUESTED.to_owned());
        }
        let header = Header {
            stream_id: info.id.as_str().to_owned(),
            timestamp: to_millis(info.timestamp),
            topic: info.topic.as_str().to_owned(),
            mime_type: info.mime_type.clone(),
            total_length: info.total_length,
            attributes,
            content: Some(content_header(&info.content)),
            ..Header::default()
        };
        let stream = Stream::new(info, header, options.destinations, sid);
        let size = stream.header_size();
        if size > HEADER_PACKET_BYTES {
            return Err(OpenError::HeaderTooLarge {
                size,
                limit: HEADER_PACKET_BYTES,
            });
        }
        Ok(self.outgoing.add(stream))
    }

    fn draw_id(&mut self) -> StreamId {
        let mut random = [0; 16];
        for half in random.chunks_exact_mut(8) {
            half.copy_from_slice(&self.draw().to_le_bytes());
        }
        StreamId::generate(random)
    }

    /// The next number of a SplitMix64 sequence (Steele, Lea and Flood, 2014): ids need to
    /// differ, not to be secret.
    pub(super) fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn content_header(content: &Content) -> packet::Content {
    match content {
        Content::Text {
            operation,
            version,
            reply_to,
            attachments,
            generated,
        } => packet::Content::Text(TextHeader {
            operation_type: operation.number(),
            version: *version,
            reply_to_stream_id: reply_to
                .as_ref()
                .map(|id| id.as_str().to_owned())
                .unwrap_or_default(),
            attached_stream_ids: attachments
                .iter()
                .map(|id| id.as_str().to_owned())
                .collect(),
            generated: *generated,
        }),
        Content::Bytes { name } => packet::Content::Bytes(ByteHeader { name: name.clone() }),
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
