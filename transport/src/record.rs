//! Application data in DTLS 1.2 records, AES-128-GCM (RFC 6347 §4.1, RFC 5288), sealed into the caller's buffer.
//!
//! rtc-dtls makes several buffers for every record. After its handshake this layer takes over both directions: it learns
//! the keys as the cryptography provider of the handshake ([`KeyTap`]), goes on with the sequence numbers where the
//! handshake stopped, and numbers the few later records of the handshake layer (a repeated Finished, alerts) anew, so that
//! a sequence number is never used twice.

use std::sync::{Arc, Mutex, PoisonError};

use ring::aead;
use rtc_crypto::{
    ActiveKeyExchange, AeadAlgorithm, AeadCipher, BlockCipherAlgorithm, CbcAlgorithm, CbcCipher,
    CryptoAlgorithm, CryptoError, HashAlgorithm, HmacAlgorithm, KeyExchangeAlgorithm, Mac,
    PublicKey, RTCCrypto, RTCCryptoProvider, RTCRandom, SignatureScheme, SigningKey, StreamCipher,
    StreamCipherAlgorithm,
};

/// Bytes of a record header: type, version, epoch, sequence number, length.
pub(crate) const HEADER_BYTES: usize = 13;
/// Bytes of the part of the nonce that is sent along.
const NONCE_BYTES: usize = 8;
const TAG_BYTES: usize = 16;
/// What sealing adds to a plaintext, in bytes.
pub(crate) const OVERHEAD_BYTES: usize = HEADER_BYTES + NONCE_BYTES + TAG_BYTES;
/// Stands before a plaintext that is sealed in place: 21 bytes for the record's header and the nonce.
pub(crate) const ROOM: [u8; HEADER_BYTES + NONCE_BYTES] = [0; HEADER_BYTES + NONCE_BYTES];
/// `application_data` (RFC 5246 §6.2.1).
pub(crate) const APPLICATION_DATA: u8 = 23;
/// `alert`.
pub(crate) const ALERT: u8 = 21;
/// `handshake` and `change_cipher_spec`.
const HANDSHAKE: [u8; 2] = [22, 20];
const VERSION_DTLS_1_2: [u8; 2] = [0xfe, 0xfd];
/// The only epoch with encryption, since nothing here renegotiates.
const EPOCH: u16 = 1;
const SEQUENCE_LIMIT: u64 = 1 << 48;

/// One record of a datagram.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) kind: u8,
    pub(crate) epoch: u16,
    pub(crate) bytes: &'a [u8],
}

impl Record<'_> {
    /// The number of the handshake message in it, where that is readable (RFC 6347 §4.2.2).
    pub(crate) fn message_number(&self) -> Option<u16> {
        if self.kind != HANDSHAKE[0] || self.epoch != 0 {
            return None;
        }
        let number = self.bytes.get(HEADER_BYTES + 4..HEADER_BYTES + 6)?;
        Some(u16::from_be_bytes([number[0], number[1]]))
    }
}

/// The records of a datagram; stops at the first that is cut short.
pub(crate) fn records(mut datagram: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let header = datagram.get(..HEADER_BYTES)?;
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        let bytes = datagram.get(..HEADER_BYTES + length)?;
        datagram = &datagram[HEADER_BYTES + length..];
        Some(Record {
            kind: header[0],
            epoch: u16::from_be_bytes([header[3], header[4]]),
            bytes,
        })
    })
}

/// Whether records of this kind make up flights of the handshake.
pub(crate) fn is_handshake(kind: u8) -> bool {
    HANDSHAKE.contains(&kind)
}

struct Direction {
    key: aead::LessSafeKey,
    salt: [u8; 4],
}

impl Direction {
    fn new(key: &[u8; 16], salt: [u8; 4]) -> Option<Self> {
        let key = aead::UnboundKey::new(&aead::AES_128_GCM, key).ok()?;
        Some(Self {
            key: aead::LessSafeKey::new(key),
            salt,
        })
    }

    fn nonce(&self, explicit: [u8; NONCE_BYTES]) -> aead::Nonce {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.salt);
        nonce[4..].copy_from_slice(&explicit);
        aead::Nonce::assume_unique_for_key(nonce)
    }
}

/// Epoch and sequence number, kind, version, and the length of the plaintext (RFC 5246 §6.2.3.3).
fn associated_data(
    epoch_and_sequence: [u8; 8],
    kind: u8,
    plaintext: usize,
) -> Option<aead::Aad<[u8; 13]>> {
    let mut data = [0; 13];
    data[..8].copy_from_slice(&epoch_and_sequence);
    data[8] = kind;
    data[9..11].copy_from_slice(&VERSION_DTLS_1_2);
    data[11..].copy_from_slice(&u16::try_from(plaintext).ok()?.to_be_bytes());
    Some(aead::Aad::from(data))
}

/// Both directions of an established association.
pub(crate) struct RecordLayer {
    local: Direction,
    remote: Direction,
    next_sequence: u64,
    replay: ReplayWindow,
}

impl RecordLayer {
    /// `None` when the handshake did not use AES-128-GCM or is not finished.
    pub(crate) fn new(tap: &KeyTap) -> Option<Self> {
        let seen = tap.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let [.., local, remote] = seen.keys.as_slice() else {
            return None;
        };
        Some(Self {
            local: Direction::new(local, seen.local_salt?)?,
            remote: Direction::new(remote, seen.remote_salt?)?,
            next_sequence: seen.next_sequence,
            replay: ReplayWindow::default(),
        })
    }

    /// Appends one record to `out`. `None`, with nothing appended, when the plaintext is too long or the numbers ran out.
    pub(crate) fn seal(&mut self, kind: u8, plaintext: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let start = out.len();
        out.extend_from_slice(&ROOM);
        out.extend_from_slice(plaintext);
        self.seal_in_place(kind, start, out)
    }

    /// Seals what stands in `out` from `start` on: [`ROOM`], then the plaintext. `None`, with all of it gone, when the plaintext is too
    /// long or the numbers ran out.
    pub(crate) fn seal_in_place(
        &mut self,
        kind: u8,
        start: usize,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let tag = out
            .get_mut(start..)
            .and_then(|record| self.encrypt(kind, record));
        match tag {
            Some(tag) => out.extend_from_slice(tag.as_ref()),
            None => out.truncate(start),
        }
        tag.map(|_| ())
    }

    fn encrypt(&mut self, kind: u8, record: &mut [u8]) -> Option<aead::Tag> {
        let (room, body) = record.split_at_mut_checked(ROOM.len())?;
        let sealed = u16::try_from(NONCE_BYTES + body.len() + TAG_BYTES).ok()?;
        if self.next_sequence >= SEQUENCE_LIMIT {
            return None;
        }
        let number = (u64::from(EPOCH) << 48 | self.next_sequence).to_be_bytes();
        let data = associated_data(number, kind, body.len())?;
        let (header, explicit) = room.split_at_mut(HEADER_BYTES);
        header[0] = kind;
        header[1..3].copy_from_slice(&VERSION_DTLS_1_2);
        header[3..11].copy_from_slice(&number);
        header[11..].copy_from_slice(&sealed.to_be_bytes());
        explicit.copy_from_slice(&number);
        let nonce = self.local.nonce(number);
        let tag = self
            .local
            .key
            .seal_in_place_separate_tag(nonce, data, body)
            .ok()?;
        self.next_sequence += 1;
        Some(tag)
    }

    /// Opens a record of [`EPOCH`] in place. Gives the plaintext's range in `record`; `None` when it is a replay or forged.
    pub(crate) fn open(&mut self, record: &mut [u8]) -> Option<std::ops::Range<usize>> {
        let (header, body) = record.split_at_mut_checked(HEADER_BYTES)?;
        let number: [u8; 8] = header[3..11].try_into().ok()?;
        let sequence = u64::from_be_bytes(number) & (SEQUENCE_LIMIT - 1);
        if !self.replay.is_new(sequence) {
            return None;
        }
        let plaintext = open(&self.remote, header[0], number, body)?;
        self.replay.accept(sequence);
        Some(HEADER_BYTES + NONCE_BYTES..HEADER_BYTES + NONCE_BYTES + plaintext)
    }

    /// Writes a datagram of the handshake layer anew, with sequence numbers of this layer for its encrypted records.
    pub(crate) fn renumber(&mut self, datagram: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(datagram.len());
        for record in records(datagram) {
            if record.epoch != EPOCH {
                out.extend_from_slice(record.bytes);
                continue;
            }
            let mut bytes = record.bytes.to_vec();
            let (header, body) = bytes.split_at_mut(HEADER_BYTES);
            let Ok(number) = header[3..11].try_into() else {
                continue;
            };
            if let Some(length) = open(&self.local, header[0], number, body) {
                let _ = self.seal(
                    record.kind,
                    &body[NONCE_BYTES..NONCE_BYTES + length],
                    &mut out,
                );
            }
        }
        out
    }
}

/// Opens nonce, ciphertext and tag in place; gives the length of the plaintext, which starts after the nonce.
fn open(direction: &Direction, kind: u8, number: [u8; 8], body: &mut [u8]) -> Option<usize> {
    let (explicit, sealed) = body.split_at_mut_checked(NONCE_BYTES)?;
    let explicit: [u8; NONCE_BYTES] = (&*explicit).try_into().ok()?;
    let data = associated_data(number, kind, sealed.len().checked_sub(TAG_BYTES)?)?;
    direction
        .key
        .open_in_place(direction.nonce(explicit), data, sealed)
        .ok()
        .map(|plaintext| plaintext.len())
}

/// Words of 64 sequence numbers that are remembered; wider than RFC 6347 §4.1.2.6 asks for, since batches reorder.
const REPLAY_WORDS: usize = 16;
const REPLAY_NUMBERS: u64 = 64 * REPLAY_WORDS as u64;

/// Which sequence numbers have been seen, of the newest [`REPLAY_NUMBERS`].
#[derive(Default)]
struct ReplayWindow {
    /// One above the newest number seen.
    end: u64,
    seen: [u64; REPLAY_WORDS],
}

impl ReplayWindow {
    fn slot(sequence: u64) -> (usize, u64) {
        (
            (sequence / 64) as usize % REPLAY_WORDS,
            1 << (sequence % 64),
        )
    }

    fn is_new(&self, sequence: u64) -> bool {
        if sequence >= self.end {
            return true;
        }
        // The word of the oldest numbers may be half overwritten already, so one word less counts.
        if sequence + REPLAY_NUMBERS - 64 < self.end {
            return false;
        }
        let (word, bit) = Self::slot(sequence);
        self.seen[word] & bit == 0
    }

    fn accept(&mut self, sequence: u64) {
        if sequence >= self.end {
            // Words between the old end and the new number are stale.
            let newest = self.end.saturating_sub(1) / 64;
            let words = (sequence / 64)
                .saturating_sub(newest)
                .min(REPLAY_WORDS as u64);
            for step in 0..words {
                let (word, _) = Self::slot((sequence / 64 - step) * 64);
                self.seen[word] = 0;
            }
            self.end = sequence + 1;
        }
        let (word, bit) = Self::slot(sequence);
        self.seen[word] |= bit;
    }
}

/// The cryptography provider of one handshake. It does nothing of its own but remember the record keys.
pub(crate) struct KeyTap {
    inner: Arc<dyn RTCCryptoProvider>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// Keys in the order they were made: local, remote.
    keys: Vec<[u8; 16]>,
    local_salt: Option<[u8; 4]>,
    remote_salt: Option<[u8; 4]>,
    /// One above the last sequence number of the encrypted epoch.
    next_sequence: u64,
}

impl KeyTap {
    pub(crate) fn new(inner: Arc<dyn RTCCryptoProvider>) -> Self {
        Self {
            inner,
            seen: Arc::default(),
        }
    }
}

impl RTCCryptoProvider for KeyTap {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn crypto(&self) -> &dyn RTCCrypto {
        self
    }

    fn random(&self) -> &dyn RTCRandom {
        self.inner.random()
    }
}

impl RTCCrypto for KeyTap {
    fn supports(&self, algorithm: CryptoAlgorithm) -> bool {
        self.inner.crypto().supports(algorithm)
    }

    fn hash(&self, algorithm: HashAlgorithm, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.inner.crypto().hash(algorithm, data)
    }

    fn block_encrypt(
        &self,
        algorithm: BlockCipherAlgorithm,
        key: &[u8],
        block: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.inner.crypto().block_encrypt(algorithm, key, block)
    }

    fn new_hmac(&self, algorithm: HmacAlgorithm, key: &[u8]) -> Result<Box<dyn Mac>, CryptoError> {
        self.inner.crypto().new_hmac(algorithm, key)
    }

    fn new_stream_cipher(
        &self,
        algorithm: StreamCipherAlgorithm,
        key: &[u8],
    ) -> Result<Box<dyn StreamCipher>, CryptoError> {
        self.inner.crypto().new_stream_cipher(algorithm, key)
    }

    fn new_aead(
        &self,
        algorithm: AeadAlgorithm,
        key: &[u8],
    ) -> Result<Box<dyn AeadCipher>, CryptoError> {
        let inner = self.inner.crypto().new_aead(algorithm, key)?;
        if algorithm == AeadAlgorithm::Aes128Gcm
            && let Ok(key) = key.try_into()
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.keys.len() >= 2 {
                *seen = Seen::default();
            }
            seen.keys.push(key);
        }
        Ok(Box::new(TappedAead {
            inner,
            seen: self.seen.clone(),
        }))
    }

    fn new_cbc(
        &self,
        algorithm: CbcAlgorithm,
        key: &[u8],
    ) -> Result<Box<dyn CbcCipher>, CryptoError> {
        self.inner.crypto().new_cbc(algorithm, key)
    }

    fn start_key_exchange(
        &self,
        algorithm: KeyExchangeAlgorithm,
    ) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        self.inner.crypto().start_key_exchange(algorithm)
    }

    fn generate_signing_key(
        &self,
        scheme: SignatureScheme,
    ) -> Result<Arc<dyn SigningKey>, CryptoError> {
        self.inner.crypto().generate_signing_key(scheme)
    }

    fn import_signing_key(
        &self,
        scheme: SignatureScheme,
        pkcs8: &[u8],
    ) -> Result<Arc<dyn SigningKey>, CryptoError> {
        self.inner.crypto().import_signing_key(scheme, pkcs8)
    }

    fn verify_signature(
        &self,
        scheme: SignatureScheme,
        public_key: PublicKey<'_>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.inner
            .crypto()
            .verify_signature(scheme, public_key, message, signature)
    }
}

struct TappedAead {
    inner: Box<dyn AeadCipher>,
    seen: Arc<Mutex<Seen>>,
}

impl AeadCipher for TappedAead {
    fn tag_len(&self) -> usize {
        self.inner.tag_len()
    }

    fn seal_in_place(
        &mut self,
        nonce: &[u8],
        aad: &[u8],
        text: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), CryptoError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.local_salt = nonce.get(..4).and_then(|salt| salt.try_into().ok());
        if let Some(number) = aad.get(..8).and_then(|number| number.try_into().ok()) {
            let sequence = u64::from_be_bytes(number) & (SEQUENCE_LIMIT - 1);
            seen.next_sequence = seen.next_sequence.max(sequence + 1);
        }
        drop(seen);
        self.inner.seal_in_place(nonce, aad, text, tag)
    }

    fn open_in_place(
        &mut self,
        nonce: &[u8],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8],
    ) -> Result<(), CryptoError> {
        let salt = nonce.get(..4).and_then(|salt| salt.try_into().ok());
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remote_salt = salt;
        self.inner.open_in_place(nonce, aad, text, tag)
    }
}

#[cfg(test)]
mod tests;
