//! Bytes that an application gives away to be sent.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};

/// Up to this many bytes are copied rather than kept, in bytes: that costs less than keeping track of them.
const COPIED_BYTES: usize = 1024;

/// Bytes to be sent, made from whatever holds them: owned values such as [`Bytes`], `Vec<u8>` and `String` are taken
/// without a copy, references to anything that is `AsRef<[u8]>` are copied.
///
/// ```
/// use lkstream::Payload;
///
/// let _: Payload = b"hello".into();
/// let _: Payload = "hello".into();
/// let _: Payload = vec![1, 2, 3].into();
/// let _: Payload = bytes::Bytes::from_static(b"hello").into();
/// ```
#[derive(Clone)]
pub struct Payload {
    bytes: Bytes,
    /// Their memory may be an application's own, with a `Drop` of its own ([`Bytes::from_owner`]).
    has_owner: bool,
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Payload").field(&self.bytes.len()).finish()
    }
}

impl Payload {
    /// The bytes, which from here on may be dropped under the lock of the room.
    pub(crate) fn lent(self, released: &Arc<Released>) -> Bytes {
        if !self.has_owner {
            return self.bytes;
        }
        if self.bytes.len() <= COPIED_BYTES {
            return Bytes::copy_from_slice(&self.bytes);
        }
        Bytes::from_owner(Lent {
            bytes: self.bytes,
            released: released.clone(),
        })
    }
}

impl<T: AsRef<[u8]> + ?Sized> From<&T> for Payload {
    fn from(bytes: &T) -> Self {
        Payload {
            bytes: Bytes::copy_from_slice(bytes.as_ref()),
            has_owner: false,
        }
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Payload {
            bytes,
            has_owner: true,
        }
    }
}

macro_rules! from_owned {
    ($($owned:ty),+) => {
        $(impl From<$owned> for Payload {
            fn from(bytes: $owned) -> Self {
                Payload {
                    bytes: Bytes::from(bytes),
                    has_owner: false,
                }
            }
        })+
    };
}

from_owned!(Vec<u8>, Box<[u8]>, String, BytesMut);

impl<const N: usize> From<[u8; N]> for Payload {
    fn from(bytes: [u8; N]) -> Self {
        Payload::from(&bytes)
    }
}

/// Bytes of an application that nobody needs any more, until they are dropped where no lock is held.
#[derive(Debug, Default)]
pub(crate) struct Released(Mutex<Vec<Bytes>>);

impl Released {
    pub(crate) fn take(&self) -> Vec<Bytes> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An application's bytes while the room uses them.
struct Lent {
    bytes: Bytes,
    released: Arc<Released>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let released = &self.released.0;
        released
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(bytes);
    }
}
