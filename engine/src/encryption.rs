//! Payload encryption from participant to participant, as the official SDKs do it for data
//! (protocol.md §5.8).
//!
//! The value of a packet is sealed with AES-128-GCM; its envelope, with sender, destinations and
//! sequence number, stays readable for the server. [`Keyring`] holds the keys: one for everybody in
//! the room, or one for each participant, in 16 numbered slots that a rotation can move through.
//! It is part of one participant's [`Engine`](crate::Engine) and draws nothing at random itself.

mod chain;
mod cipher;
mod keyring;
mod seal;
#[cfg(test)]
mod tests;

pub(crate) use cipher::{Cipher, Seal, encode};
pub use keyring::{KeyError, KeySharing, Keyring, KeyringOptions};
pub use seal::DecryptError;

/// How keys are derived from the secrets of the application (protocol.md §5.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Derivation {
    /// PBKDF2-HMAC-SHA256 with 100 000 iterations: for passwords. Takes tens of milliseconds a key.
    #[default]
    Pbkdf2,
    /// HKDF-SHA256 with 128 zero bytes as its info: for secrets that are random already.
    Hkdf,
}

/// Whether a stream or packet was encrypted on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Encryption {
    /// The server could read it.
    #[default]
    None,
    /// AES-128-GCM between the participants.
    Gcm,
}

/// What happens to a stream or packet that comes unencrypted while a keyring is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Plaintext {
    /// It is dropped and counted.
    #[default]
    Refuse,
    /// It is taken, and says so.
    Accept,
}
