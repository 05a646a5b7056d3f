//! How an outgoing stream is opened.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use lkstream_proto::id::StreamId;
use lkstream_proto::limits::HEADER_PACKET_BYTES;

use super::{Engine, Session};
use crate::encryption::Encryption;
use crate::outgoing::{OpenError, OpenOptions, Opening, OutgoingId, Stream};
use crate::stream::{StreamInfo, StreamKind};

impl Engine {
    /// Opens a stream to be written piece by piece; its header is queued.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is sent then.
    pub fn open(&mut self, options: OpenOptions) -> Result<OutgoingId, OpenError> {
        let stream = self.prepare(options)?;
        Ok(self.outgoing.add(stream))
    }

    /// Opens a stream for a payload that is written piece by piece but known from the start, like
    /// a file: it may be compressed, which its first bytes decide. Of `start`, which is to be
    /// written all the same, 8 KiB are looked at.
    ///
    /// A compressed stream sends full chunks, so what was written may wait for more or the close.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is sent then.
    pub fn open_file(
        &mut self,
        options: OpenOptions,
        start: &[u8],
    ) -> Result<OutgoingId, OpenError> {
        let compress = options.compress;
        let mut stream = self.prepare(options)?;
        let reach = self.participants.reach(&stream.destinations);
        if let Some(deflaters) = self.outgoing.deflaters() {
            stream.compress_from(start, compress, reach, deflaters);
        }
        Ok(self.outgoing.add(stream))
    }

    /// Sends a whole payload as a stream of its own, which is closed from the start: in a single
    /// packet where all recipients take that and it fits, else in chunks, compressed as
    /// [`OpenOptions::compress`] says (protocol.md §5.4).
    ///
    /// The payload is not copied and not bound by the write window. Compressing happens as packets
    /// are polled, except for the first chunk, of at most 1 MiB of payload. The declared length is
    /// the payload's. Release the stream in the end, like any other.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is sent then.
    pub fn send(&mut self, options: OpenOptions, payload: Bytes) -> Result<OutgoingId, OpenError> {
        if options.content.kind() == StreamKind::Text
            && let Err(error) = std::str::from_utf8(&payload)
        {
            let offset = error.valid_up_to();
            return Err(OpenError::InvalidText { offset });
        }
        let compress = options.compress;
        let total_length = Some(payload.len() as u64);
        let mut stream = self.prepare(OpenOptions {
            total_length,
            ..options
        })?;
        let reach = self.participants.reach(&stream.destinations);
        stream.load(payload, compress, reach, self.outgoing.deflaters());
        Ok(self.outgoing.add(stream))
    }

    fn prepare(&mut self, options: OpenOptions) -> Result<Stream, OpenError> {
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
        let mime_type = match options.mime_type {
            Some(mime_type) => Cow::Owned(mime_type),
            None => Cow::Borrowed(options.content.default_mime_type()),
        };
        let opening = Opening::new(&options.attributes, options.receipts);
        let info = StreamInfo {
            id,
            topic: options.topic,
            mime_type,
            timestamp: options.timestamp,
            total_length: options.total_length,
            attributes: options.attributes,
            sender: options.sender_identity.unwrap_or(identity),
            publisher: Some(sid.clone()),
            content: options.content,
            encryption: match &self.cipher {
                Some(_) => Encryption::Gcm,
                None => Encryption::None,
            },
        };
        let recipients = match &options.destinations[..] {
            [] => self.participants.everybody(),
            named => Arc::from(named),
        };
        let stream = Stream::new(info, opening, options.destinations, recipients, sid);
        let size = stream.header_size();
        if size > HEADER_PACKET_BYTES {
            return Err(OpenError::HeaderTooLarge {
                size,
                limit: HEADER_PACKET_BYTES,
            });
        }
        Ok(stream)
    }

    pub(super) fn draw_id(&mut self) -> StreamId {
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
