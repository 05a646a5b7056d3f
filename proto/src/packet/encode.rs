//! Packets of a stream written without a message in between: the hot path of a sender.

mod chunk;
mod header;

pub use chunk::{ChunkFields, encode_chunk};
pub use header::{ContentFields, HeaderFields};
