//! Progress of a stream, in bytes.

/// How far an outgoing stream is, in bytes of its payload before compression where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Progress {
    /// The announced length, if there is one.
    pub total: Option<u64>,
    /// Bytes handed to the stream so far.
    pub written: u64,
    /// Bytes handed to the peer connection.
    pub sent: u64,
    /// Bytes the server's transport has acknowledged.
    pub acknowledged: u64,
    /// Bytes of the packets handed to the peer connection: the payload, compressed where it is, and headers.
    pub wire: u64,
}

/// How far an incoming stream is, in payload bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReadProgress {
    /// The announced length, if there is one.
    pub total: Option<u64>,
    /// Bytes the reader has handed out.
    pub read: u64,
}
