//! Remote calls as packets: version 1, and the acknowledgements and errors of version 2 (protocol.md §6).

use bytes::Bytes;

/// A call (protocol.md §6).
#[derive(Clone, PartialEq, prost::Message)]
pub struct RpcRequest {
    /// Names the call, a UUID.
    #[prost(string, tag = "1")]
    pub id: String,
    /// What to call.
    #[prost(string, tag = "2")]
    pub method: String,
    /// Its argument.
    #[prost(string, tag = "3")]
    pub payload: String,
    /// How long the caller waits for a response, milliseconds.
    #[prost(uint32, tag = "4")]
    pub response_timeout_ms: u32,
    /// Version of this form, 1.
    #[prost(uint32, tag = "5")]
    pub version: u32,
    /// The argument compressed; no client uses it.
    #[prost(bytes = "bytes", tag = "6")]
    pub compressed_payload: Bytes,
}

/// A call arrived (protocol.md §6).
#[derive(Clone, PartialEq, prost::Message)]
pub struct RpcAck {
    /// The call.
    #[prost(string, tag = "1")]
    pub request_id: String,
}

/// How a call ended (protocol.md §6).
#[derive(Clone, PartialEq, prost::Message)]
pub struct RpcResponse {
    /// The call.
    #[prost(string, tag = "1")]
    pub request_id: String,
    /// Its result.
    #[prost(oneof = "RpcResult", tags = "2, 3, 4")]
    pub result: Option<RpcResult>,
}

/// The result of a call.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum RpcResult {
    /// It returned this.
    #[prost(string, tag = "2")]
    Payload(String),
    /// It failed.
    #[prost(message, tag = "3")]
    Error(RpcError),
    /// It returned this, compressed; no client uses it.
    #[prost(bytes = "bytes", tag = "4")]
    CompressedPayload(Bytes),
}

/// Why a call failed; the codes are in protocol.md §6.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RpcError {
    /// 1400 to 1505 are built in.
    #[prost(uint32, tag = "1")]
    pub code: u32,
    /// One line.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Free for applications.
    #[prost(string, tag = "3")]
    pub data: String,
}
