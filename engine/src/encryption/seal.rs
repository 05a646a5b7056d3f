//! Seals and opens one value with AES-128-GCM.

use bytes::Bytes;
use lkstream_proto::id::Identity;
use lkstream_proto::packet::{EncryptedPacket, EncryptionType};
use ring::aead::{Aad, LessSafeKey, Nonce};
use thiserror::Error;

use super::Keyring;

/// Bytes of an initialisation vector (protocol.md §5.8).
const IV_BYTES: usize = 12;
/// Bytes of the tag behind a sealed value (protocol.md §5.8).
pub(crate) const TAG_BYTES: usize = 16;

/// Why a packet was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecryptError {
    /// There is no key for its sender and slot.
    #[error("there is no key in slot {index} for the sender")]
    NoKey {
        /// The slot that the packet names.
        index: u32,
    },
    /// Its initialisation vector has another length than 12 bytes.
    #[error("the initialisation vector has {size} bytes, 12 expected")]
    BadVector {
        /// Bytes it has.
        size: usize,
    },
    /// What was sealed is no payload.
    #[error("the opened bytes do not decode")]
    Malformed,
    /// No key of the slot opens it: another key was used, or the bytes were changed.
    #[error("no key in slot {index} opens it")]
    Refused {
        /// The slot that the packet names.
        index: u32,
    },
}

/// Seals what one engine sends. A vector is never used twice: 64 bits drawn at the start, then a
/// counter.
#[derive(Debug)]
pub(crate) struct Sealer {
    prefix: u64,
    pub(super) counter: u32,
}

impl Sealer {
    /// `prefix` must be random: under a shared key, vectors of different participants must differ.
    pub(crate) fn new(prefix: u64) -> Sealer {
        Sealer { prefix, counter: 0 }
    }

    fn vector(&mut self) -> [u8; IV_BYTES] {
        let mut vector = [0; IV_BYTES];
        vector[..8].copy_from_slice(&self.prefix.to_be_bytes());
        vector[8..].copy_from_slice(&self.counter.to_be_bytes());
        let (next, wrapped) = self.counter.overflowing_add(1);
        self.counter = next;
        self.prefix = self.prefix.wrapping_add(u64::from(wrapped));
        vector
    }

    /// Seals an encoded payload; `None` without a key, or when it is too long for the cipher.
    pub(crate) fn seal(
        &mut self,
        keyring: &Keyring,
        identity: &Identity,
        mut payload: Vec<u8>,
    ) -> Option<EncryptedPacket> {
        let chain = keyring.sealing(identity)?;
        let vector = self.vector();
        let nonce = Nonce::assume_unique_for_key(vector);
        chain
            .key()?
            .seal_in_place_append_tag(nonce, Aad::empty(), &mut payload)
            .ok()?;
        Some(EncryptedPacket {
            encryption_type: EncryptionType::Gcm as i32,
            iv: Bytes::copy_from_slice(&vector),
            key_index: keyring.index(),
            encrypted_value: Bytes::from(payload),
        })
    }
}

/// Opens what `identity` sealed. The type on the wire is not looked at: JS leaves it 0
/// (protocol.md §5.8).
pub(crate) fn open(
    keyring: &mut Keyring,
    identity: &str,
    packet: &EncryptedPacket,
) -> Result<Bytes, DecryptError> {
    let index = packet.key_index;
    let vector: [u8; IV_BYTES] = packet.iv.as_ref().try_into().map_err(|_| {
        let size = packet.iv.len();
        DecryptError::BadVector { size }
    })?;
    let window = keyring.window();
    let chain = keyring
        .opening(identity, index)
        .ok_or(DecryptError::NoKey { index })?;
    let mut buf = Vec::new();
    let open = |key: &LessSafeKey| {
        // A failed opening leaves rubbish behind, so each starts from the packet again.
        buf.clear();
        buf.extend_from_slice(&packet.encrypted_value);
        let nonce = Nonce::assume_unique_for_key(vector);
        let opened = key.open_in_place(nonce, Aad::empty(), &mut buf).ok()?;
        Some(opened.len())
    };
    let size = chain
        .find(window, open)
        .ok_or(DecryptError::Refused { index })?;
    buf.truncate(size);
    Ok(Bytes::from(buf))
}
