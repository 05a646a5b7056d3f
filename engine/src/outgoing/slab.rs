//! Blocks of memory, each shared by several outgoing packets.

use bytes::{Bytes, BytesMut};

use crate::limits::SLAB_BYTES;

/// A block that packets are written into one after the other, so that no packet needs an
/// allocation of its own. It is used again once all packets in it are gone, and left to them when
/// they are not.
#[derive(Debug, Default)]
pub(crate) struct Slab {
    block: BytesMut,
}

impl Slab {
    /// A packet of `size` bytes, as written.
    pub(super) fn packet(&mut self, size: usize, write: impl FnOnce(&mut BytesMut)) -> Bytes {
        if self.block.capacity() < size {
            self.block.reserve(size.max(SLAB_BYTES));
        }
        write(&mut self.block);
        debug_assert_eq!(self.block.len(), size);
        self.block.split().freeze()
    }
}
