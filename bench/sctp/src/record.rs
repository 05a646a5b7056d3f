//! What DTLS 1.2 with AES-128-GCM does to a packet (RFC 6347 §4.1, RFC 5288), as `transport` does it: in place, with 37 bytes more. Of the
//! record's header only the number is there, which is all that costs something.

use std::ops::Range;

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

const HEADER_BYTES: usize = 13;
const NONCE_BYTES: usize = 8;
const TAG_BYTES: usize = 16;

/// Stands before a packet that is sealed in place.
pub(crate) const ROOM: [u8; HEADER_BYTES + NONCE_BYTES] = [0; HEADER_BYTES + NONCE_BYTES];

/// What sealing adds, in bytes.
pub(crate) const OVERHEAD_BYTES: usize = ROOM.len() + TAG_BYTES;

/// Both directions, with keys that everybody knows.
pub(crate) struct Records {
    local: LessSafeKey,
    remote: LessSafeKey,
    next: u64,
}

impl Records {
    /// The records of one side; `side` is 0 or 1.
    pub(crate) fn new(side: u8) -> Option<Self> {
        let key = |side| UnboundKey::new(&AES_128_GCM, &[side; 16]).map(LessSafeKey::new);
        Some(Self {
            local: key(side).ok()?,
            remote: key(1 - side).ok()?,
            next: 0,
        })
    }

    /// Seals what stands in `out` from `start` on: [`ROOM`], then the packet.
    pub(crate) fn seal(&mut self, start: usize, out: &mut Vec<u8>) -> Option<()> {
        let number = self.next.to_be_bytes();
        self.next += 1;
        let (head, packet) = out.get_mut(start..)?.split_at_mut_checked(ROOM.len())?;
        head[HEADER_BYTES..].copy_from_slice(&number);
        let data = associated_data(number, packet.len())?;
        let tag = self
            .local
            .seal_in_place_separate_tag(nonce(number), data, packet);
        out.extend_from_slice(tag.ok()?.as_ref());
        Some(())
    }

    /// Opens a record in place. Gives the range of the packet; `None` when it is forged.
    pub(crate) fn open(&self, record: &mut [u8]) -> Option<Range<usize>> {
        let (head, packet) = record.split_at_mut_checked(ROOM.len())?;
        let number = *head.last_chunk()?;
        let data = associated_data(number, packet.len().checked_sub(TAG_BYTES)?)?;
        let packet = self.remote.open_in_place(nonce(number), data, packet);
        Some(ROOM.len()..ROOM.len() + packet.ok()?.len())
    }
}

fn nonce(number: [u8; NONCE_BYTES]) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number);
    Nonce::assume_unique_for_key(nonce)
}

/// As long as that of a real record.
fn associated_data(number: [u8; NONCE_BYTES], length: usize) -> Option<Aad<[u8; HEADER_BYTES]>> {
    let mut data = [0; HEADER_BYTES];
    data[..NONCE_BYTES].copy_from_slice(&number);
    data[HEADER_BYTES - 2..].copy_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
    Some(Aad::from(data))
}
