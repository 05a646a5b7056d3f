//! Access tokens: JWTs signed with HS256 (protocol.md §1; RFC 7515, RFC 7519).
//!
//! Written on ring's HMAC: jsonwebtoken 11 takes its crypto from a process-wide registry only, and 9.3 carries GHSA-h395-gr6q-cpjc.
//!
//! Nothing here reads a clock: whoever signs or verifies passes the time.

mod claims;
mod keys;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::Deserialize;

pub use claims::{Claims, VideoGrant};
pub use keys::{ApiKeys, KeysError};

use crate::limits::TOKEN_LEEWAY;

/// The header that every token of ours has.
const HEADER: &[u8] = br#"{"alg":"HS256","typ":"JWT"}"#;

/// Why a token was not accepted. No variant holds any part of the token but the key's public name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not three base64url parts with JSON of the right shape.
    #[error("the token is malformed: {cause}")]
    Malformed {
        /// Which part, and what is wrong with it.
        cause: &'static str,
    },
    /// Signed with something else than HS256, or not at all.
    #[error("the token is not signed with HS256")]
    UnsupportedAlgorithm,
    /// Its issuer is none of our keys.
    #[error("the token's API key {key:?} is not known here")]
    UnknownKey {
        /// The `iss` claim, cut to 64 characters.
        key: String,
    },
    /// Signed with another secret.
    #[error("the token's signature does not match the secret of its API key")]
    BadSignature,
    /// It has no `exp`, which is mandatory (protocol.md §1.1).
    #[error("the token has no expiry")]
    NoExpiry,
    /// Its time is over.
    #[error("the token expired {} s ago", ago.as_secs())]
    Expired {
        /// For how long.
        ago: Duration,
    },
    /// Its time has not come; also where it says it was issued in the future.
    #[error("the token is valid only in {} s", wait.as_secs())]
    NotYetValid {
        /// How long until then.
        wait: Duration,
    },
}

/// Why a token could not be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The key or the secret is empty.
    #[error("the API key and its secret must not be empty")]
    EmptyKey,
    /// The ring has no such key.
    #[error("no secret for the API key {key:?}")]
    UnknownKey {
        /// The key asked for.
        key: String,
    },
    /// The claims do not become JSON.
    #[error("the claims cannot be encoded")]
    Claims,
}

/// Signs `claims` in the name of the API key `key`, which becomes the issuer.
///
/// # Errors
/// [`SignError`] where key or secret is empty, or the claims cannot be encoded.
pub fn sign(claims: &Claims, key: &str, secret: &str) -> Result<String, SignError> {
    if key.is_empty() || secret.is_empty() {
        return Err(SignError::EmptyKey);
    }
    let claims = Claims {
        issuer: key.to_owned(),
        ..claims.clone()
    };
    let json = serde_json::to_vec(&claims).map_err(|_| SignError::Claims)?;
    let mut token = URL_SAFE_NO_PAD.encode(HEADER);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(&json, &mut token);
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
        token.as_bytes(),
    );
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(tag.as_ref(), &mut token);
    Ok(token)
}

/// Reads the claims of a token **without checking anything**: not its signature, not its times.
///
/// For a client, which has no secret, to say what its token is for; never to grant anything.
///
/// # Errors
/// [`TokenError::Malformed`] where there are no claims to read.
pub fn peek(token: &str) -> Result<Claims, TokenError> {
    Ok(Parts::split(token)?.claims)
}

/// The `alg` of a header; everything else in it is ignored, above all keys that it brings along.
#[derive(Deserialize)]
struct Header {
    alg: String,
}

/// A token taken apart, nothing of it believed.
struct Parts<'a> {
    alg: String,
    claims: Claims,
    /// What the signature is over.
    signed: &'a str,
    signature: Vec<u8>,
}

const fn malformed(cause: &'static str) -> TokenError {
    TokenError::Malformed { cause }
}

/// Parses a JSON object; serde alone would take an array for a struct too.
fn object<T: serde::de::DeserializeOwned>(json: &[u8]) -> Option<T> {
    if !json.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    serde_json::from_slice(json).ok()
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Result<Self, TokenError> {
        let (signed, signature) = token
            .rsplit_once('.')
            .ok_or(malformed("not three parts separated by dots"))?;
        let (header, claims) = signed
            .split_once('.')
            .ok_or(malformed("not three parts separated by dots"))?;
        if claims.contains('.') {
            return Err(malformed("more than three parts"));
        }
        let header = URL_SAFE_NO_PAD
            .decode(header)
            .map_err(|_| malformed("the header is not base64url"))?;
        let header: Header = object(&header).ok_or(malformed("the header is not JSON"))?;
        let claims = URL_SAFE_NO_PAD
            .decode(claims)
            .map_err(|_| malformed("the claims are not base64url"))?;
        let claims =
            object(&claims).ok_or(malformed("the claims are not the JSON they should be"))?;
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| malformed("the signature is not base64url"))?;
        Ok(Self {
            alg: header.alg,
            claims,
            signed,
            signature,
        })
    }

    /// Checks algorithm and signature.
    fn verified(self, keys: &ApiKeys) -> Result<Claims, TokenError> {
        if self.alg != "HS256" {
            return Err(TokenError::UnsupportedAlgorithm);
        }
        let Some(secret) = keys.secret(&self.claims.issuer) else {
            return Err(TokenError::UnknownKey {
                key: self.claims.issuer.chars().take(64).collect(),
            });
        };
        hmac::verify(
            &hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
            self.signed.as_bytes(),
            &self.signature,
        )
        .map_err(|_| TokenError::BadSignature)?;
        Ok(self.claims)
    }
}

/// Checks the times of claims against `now`, with [`TOKEN_LEEWAY`] on both sides.
fn check_times(claims: &Claims, now: SystemTime) -> Result<(), TokenError> {
    let now = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let expires = Duration::from_secs(claims.expires.ok_or(TokenError::NoExpiry)?);
    if now > expires.saturating_add(TOKEN_LEEWAY) {
        return Err(TokenError::Expired {
            ago: now.saturating_sub(expires),
        });
    }
    for from in [claims.not_before, claims.issued_at].into_iter().flatten() {
        let from = Duration::from_secs(from);
        if from > now.saturating_add(TOKEN_LEEWAY) {
            return Err(TokenError::NotYetValid {
                wait: from.saturating_sub(now),
            });
        }
    }
    Ok(())
}

impl ApiKeys {
    /// Verifies a token at the time `now`: algorithm, issuer, signature, then its times.
    ///
    /// # Errors
    /// The first thing that is wrong with it, as a [`TokenError`].
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Claims, TokenError> {
        let claims = Parts::split(token)?.verified(self)?;
        check_times(&claims, now)?;
        Ok(claims)
    }

    /// Signs `claims` with the secret of `key`.
    ///
    /// # Errors
    /// [`SignError::UnknownKey`] where the ring lacks it, and those of [`sign`].
    pub fn sign(&self, claims: &Claims, key: &str) -> Result<String, SignError> {
        let secret = self.secret(key).ok_or_else(|| SignError::UnknownKey {
            key: key.to_owned(),
        })?;
        sign(claims, key, secret)
    }
}
