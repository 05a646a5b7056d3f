//! Errors of calls.

use lkstream_proto::packet;
use thiserror::Error;

use super::cut;
use crate::limits::{RPC_ERROR_DATA_BYTES, RPC_ERROR_MESSAGE_BYTES};

/// Why a call failed: what the other side said, or one of the built-in [`RpcCode`]s.
///
/// Handlers return it with a code of their own; 1001 to 1999 are the protocol's (protocol.md §6).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message} ({code}){}", self.details())]
#[non_exhaustive]
pub struct RpcError {
    /// What went wrong, as a number.
    pub code: u32,
    /// One line; of those sent, at most 256 bytes.
    pub message: String,
    /// Details, in a form of the application's; of those sent, at most 15 360 bytes.
    pub data: String,
}

impl RpcError {
    /// An error of an application.
    pub fn new(code: u32, message: impl Into<String>) -> RpcError {
        RpcError {
            code,
            message: message.into(),
            data: String::new(),
        }
    }

    /// The same with details.
    #[must_use]
    pub fn with_data(mut self, data: impl Into<String>) -> RpcError {
        self.data = data.into();
        self
    }

    /// The built-in code, if it is one.
    pub fn builtin(&self) -> Option<RpcCode> {
        RpcCode::ALL
            .into_iter()
            .find(|code| *code as u32 == self.code)
    }

    /// What `data` adds to a built-in error, which is a sentence and not an application's.
    fn details(&self) -> String {
        match self.builtin() {
            Some(_) if !self.data.is_empty() => {
                format!(": {}", cut(&self.data, RPC_ERROR_MESSAGE_BYTES))
            }
            _ => String::new(),
        }
    }

    /// As sent: cut to what fits (protocol.md §6).
    pub(crate) fn to_wire(&self) -> packet::RpcError {
        packet::RpcError {
            code: self.code,
            message: cut(&self.message, RPC_ERROR_MESSAGE_BYTES).to_owned(),
            data: cut(&self.data, RPC_ERROR_DATA_BYTES).to_owned(),
        }
    }
}

impl From<packet::RpcError> for RpcError {
    fn from(error: packet::RpcError) -> Self {
        RpcError {
            code: error.code,
            message: error.message,
            data: error.data,
        }
    }
}

impl From<RpcCode> for RpcError {
    fn from(code: RpcCode) -> Self {
        RpcError::new(code as u32, code.text())
    }
}

/// The built-in failures, with their numbers on the wire (protocol.md §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum RpcCode {
    /// Nobody serves the method there.
    UnsupportedMethod = 1400,
    /// Nobody of that identity is there.
    RecipientNotFound = 1401,
    /// The argument is larger than the other side, or this one, takes.
    RequestTooLarge = 1402,
    /// The server is older than calls.
    UnsupportedServer = 1403,
    /// The request is of a version that the other side does not know.
    UnsupportedVersion = 1404,
    /// The handler failed.
    ApplicationError = 1500,
    /// The other side did not acknowledge the call within 7 s.
    ConnectionTimeout = 1501,
    /// It did, and no response came in time.
    ResponseTimeout = 1502,
    /// It left, or we did.
    RecipientDisconnected = 1503,
    /// The result is larger than the caller takes.
    ResponseTooLarge = 1504,
    /// The call could not be sent; `data` says why.
    SendFailed = 1505,
}

impl RpcCode {
    const ALL: [RpcCode; 11] = [
        RpcCode::UnsupportedMethod,
        RpcCode::RecipientNotFound,
        RpcCode::RequestTooLarge,
        RpcCode::UnsupportedServer,
        RpcCode::UnsupportedVersion,
        RpcCode::ApplicationError,
        RpcCode::ConnectionTimeout,
        RpcCode::ResponseTimeout,
        RpcCode::RecipientDisconnected,
        RpcCode::ResponseTooLarge,
        RpcCode::SendFailed,
    ];

    /// The message that goes with it, as the official clients say it (protocol.md §6).
    pub fn text(self) -> &'static str {
        match self {
            RpcCode::UnsupportedMethod => "Method not supported at destination",
            RpcCode::RecipientNotFound => "Recipient not found",
            RpcCode::RequestTooLarge => "Request payload too large",
            RpcCode::UnsupportedServer => "RPC not supported by server",
            RpcCode::UnsupportedVersion => "Unsupported RPC version",
            RpcCode::ApplicationError => "Application error in method handler",
            RpcCode::ConnectionTimeout => "Connection timeout",
            RpcCode::ResponseTimeout => "Response timeout",
            RpcCode::RecipientDisconnected => "Recipient disconnected",
            RpcCode::ResponseTooLarge => "Response payload too large",
            RpcCode::SendFailed => "Failed to send",
        }
    }

    /// The error with details.
    pub(crate) fn because(self, data: impl ToString) -> RpcError {
        RpcError::from(self).with_data(data.to_string())
    }
}
