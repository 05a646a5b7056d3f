//! Our own confirmation: a user packet from a receiver to the publisher of a stream that asked for it.
//!
//! A sender asks by the header attribute [`ATTRIBUTE`] = [`REQUESTED`]; our receivers answer with
//! reliable user packets of topic [`TOPIC`], addressed to that publisher only, with a [`Receipt`] as
//! payload. Official clients see an attribute and a topic they do not know, and do nothing.

use bytes::Bytes;
use prost::Message;

use crate::packet::DecodeError;

/// Topic of the user packets that carry receipts.
pub const TOPIC: &str = "lkstream.receipt";

/// Header attribute by which a sender asks for receipts.
pub const ATTRIBUTE: &str = "lkstream.receipt";

/// Value of [`ATTRIBUTE`] that asks.
pub const REQUESTED: &str = "1";

/// Bytes of an encoded receipt at most; more is refused unread.
pub const RECEIPT_BYTES: usize = 1024;

/// What a receiver confirms about one stream.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Receipt {
    /// The stream, one of the addressee's.
    #[prost(string, tag = "1")]
    pub stream_id: String,
    /// How far it came.
    #[prost(enumeration = "Status", tag = "2")]
    pub status: i32,
    /// Content bytes received, after decompression.
    #[prost(uint64, tag = "3")]
    pub bytes_received: u64,
    /// Why it failed, for a person; empty with any other status.
    #[prost(string, tag = "4")]
    pub reason: String,
}

/// How far a stream came at a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Status {
    /// Not said; no sender of ours writes it.
    Unspecified = 0,
    /// A reader took the stream.
    Accepted = 1,
    /// The reader has all of it and confirmed, for a file after it was synced and renamed.
    Complete = 2,
    /// It will not complete at this receiver.
    Failed = 3,
}

impl Receipt {
    /// Decodes the payload of a user packet of topic [`TOPIC`].
    ///
    /// # Errors
    /// [`DecodeError`] above [`RECEIPT_BYTES`] or for anything that is not this message.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
        if bytes.len() > RECEIPT_BYTES {
            return Err(DecodeError::TooLarge {
                size: bytes.len(),
                limit: RECEIPT_BYTES,
            });
        }
        Ok(Self::decode(bytes)?)
    }

    /// Encodes the receipt as the payload of a user packet.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from(self.encode_to_vec())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bytes_are_stable() {
        let receipt = Receipt {
            stream_id: "s1".into(),
            status: Status::Complete.into(),
            bytes_received: 300,
            reason: String::new(),
        };
        let bytes = receipt.to_bytes();
        assert_eq!(&bytes[..], b"\x0a\x02s1\x10\x02\x18\xac\x02");
        assert_eq!(Receipt::from_bytes(bytes).unwrap(), receipt);
    }

    #[test]
    fn oversize_and_garbage_are_errors() {
        assert_eq!(
            Receipt::from_bytes(Bytes::from(vec![0; 1025])),
            Err(DecodeError::TooLarge {
                size: 1025,
                limit: 1024
            })
        );
        assert!(matches!(
            Receipt::from_bytes(Bytes::from_static(b"\x0a\xff")),
            Err(DecodeError::Malformed { .. })
        ));
    }
}
