//! The three messages of a data stream (protocol.md §5.1).

use std::collections::BTreeMap;

use bytes::Bytes;

/// Opens a stream, and with `inline_content` is all of it (protocol.md §5.1, §5.4).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Header {
    /// Names the stream among those of its publisher, usually a UUID.
    #[prost(string, tag = "1")]
    pub stream_id: String,
    /// When it was opened, Unix milliseconds of the sender's clock.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
    /// Chooses the handler.
    #[prost(string, tag = "3")]
    pub topic: String,
    /// Media type of the content.
    #[prost(string, tag = "4")]
    pub mime_type: String,
    /// Bytes of the whole content before compression, where the sender knows them.
    #[prost(uint64, optional, tag = "5")]
    pub total_length: Option<u64>,
    /// Deprecated, 0 even under encryption (protocol.md §5.1).
    #[prost(enumeration = "super::EncryptionType", tag = "7")]
    pub encryption_type: i32,
    /// Free for applications; the prefix `lk.` is reserved.
    #[prost(btree_map = "string, string", tag = "8")]
    pub attributes: BTreeMap<String, String>,
    /// The whole content, compressed as said below; then no chunk and no trailer follow.
    #[prost(bytes = "bytes", optional, tag = "11")]
    pub inline_content: Option<Bytes>,
    /// How inline content or the sequence of chunks is compressed.
    #[prost(enumeration = "Compression", tag = "12")]
    pub compression: i32,
    /// Text or bytes; a header with neither is dropped (protocol.md §5.6).
    #[prost(oneof = "Content", tags = "9, 10")]
    pub content: Option<Content>,
}

/// What kind of stream a header opens.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Content {
    /// Text in UTF-8.
    #[prost(message, tag = "9")]
    Text(TextHeader),
    /// Bytes.
    #[prost(message, tag = "10")]
    Bytes(ByteHeader),
}

/// What is special to a text stream.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TextHeader {
    /// What the text does to an earlier one.
    #[prost(enumeration = "OperationType", tag = "1")]
    pub operation_type: i32,
    /// Version of a text that is updated.
    #[prost(int32, tag = "2")]
    pub version: i32,
    /// The stream this one answers.
    #[prost(string, tag = "3")]
    pub reply_to_stream_id: String,
    /// Byte streams that belong to the text.
    #[prost(string, repeated, tag = "4")]
    pub attached_stream_ids: Vec<String>,
    /// Made by a machine, for example a transcription.
    #[prost(bool, tag = "5")]
    pub generated: bool,
}

/// What is special to a byte stream.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ByteHeader {
    /// File name; comes from the peer, so never a path to open as it is.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// A piece of a stream (protocol.md §5.1).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Chunk {
    /// The stream.
    #[prost(string, tag = "1")]
    pub stream_id: String,
    /// Counts from 0 without gaps.
    #[prost(uint64, tag = "2")]
    pub chunk_index: u64,
    /// At most [`crate::limits::CHUNK_BYTES`] from well-behaved senders.
    #[prost(bytes = "bytes", tag = "3")]
    pub content: Bytes,
    /// Above 0: replaces what was sent under the same index.
    #[prost(int32, tag = "4")]
    pub version: i32,
    /// Deprecated.
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub iv: Option<Bytes>,
}

/// Ends a stream (protocol.md §5.1).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Trailer {
    /// The stream.
    #[prost(string, tag = "1")]
    pub stream_id: String,
    /// Why it ended early; empty for a normal end.
    #[prost(string, tag = "2")]
    pub reason: String,
    /// Merged over the header's attributes.
    #[prost(btree_map = "string, string", tag = "3")]
    pub attributes: BTreeMap<String, String>,
}

/// How the content of a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Compression {
    /// Not at all.
    None = 0,
    /// One raw DEFLATE stream (RFC 1951) over the whole content.
    DeflateRaw = 1,
}

/// What a text stream does to an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
#[non_exhaustive]
pub enum OperationType {
    /// It is new.
    Create = 0,
    /// It replaces another.
    Update = 1,
    /// It deletes another.
    Delete = 2,
    /// It reacts to another.
    Reaction = 3,
}
