//! The certificate that DTLS shows, and its fingerprint.

use std::fmt::Write as _;

use ring::digest;

/// A self-signed certificate with its key. One serves all peers of a process.
pub struct Certificate {
    pub(crate) inner: rtc_dtls::crypto::Certificate,
    fingerprint: Box<str>,
}

impl Certificate {
    /// Makes a new ECDSA P-256 key and certificate. Takes about a millisecond; do it once per process.
    ///
    /// # Errors
    /// When the cryptography provider fails.
    pub fn generate() -> Result<Self, CertificateError> {
        let provider = rtc_crypto::default_provider().map_err(|_| CertificateError)?;
        let inner = rtc_dtls::crypto::Certificate::generate_self_signed(
            vec!["lkstream".to_owned()],
            provider.crypto(),
        )
        .map_err(|_| CertificateError)?;
        let der = inner.certificate.first().ok_or(CertificateError)?;
        let fingerprint = hex(digest::digest(&digest::SHA256, der).as_ref()).into();
        Ok(Self { inner, fingerprint })
    }

    /// The SHA-256 fingerprint as SDP writes it: upper-case hex with colons.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Why no certificate could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("certificate generation failed")]
pub struct CertificateError;

/// What the other side's SDP says its certificate hashes to (RFC 8122 §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    algorithm: HashAlgorithm,
    value: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HashAlgorithm {
    Sha256,
    Sha384,
    Sha512,
}

impl Fingerprint {
    /// Reads `sha-256 AB:CD:…`. `None` for hashes that are unknown or too weak, and for bad hex.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (algorithm, value) = text.trim().split_once(' ')?;
        let algorithm = match algorithm.to_ascii_lowercase().as_str() {
            "sha-256" => HashAlgorithm::Sha256,
            "sha-384" => HashAlgorithm::Sha384,
            "sha-512" => HashAlgorithm::Sha512,
            _ => return None,
        };
        let value = value
            .trim()
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16).ok())
            .collect::<Option<Vec<_>>>()?;
        (value.len() == algorithm.ring().output_len()).then_some(Self { algorithm, value })
    }

    /// Whether the certificate is the one that was announced.
    pub(crate) fn matches(&self, der: &[u8]) -> bool {
        digest::digest(self.algorithm.ring(), der).as_ref() == self.value
    }
}

impl HashAlgorithm {
    fn ring(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for (index, byte) in bytes.iter().enumerate() {
        let separator = if index == 0 { "" } else { ":" };
        let _ = write!(text, "{separator}{byte:02X}");
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_certificate_matches_its_own_fingerprint_only() {
        let certificate = Certificate::generate().unwrap();
        let other = Certificate::generate().unwrap();
        let announced =
            Fingerprint::parse(&format!("sha-256 {}", certificate.fingerprint())).unwrap();
        assert!(announced.matches(&certificate.inner.certificate[0]));
        assert!(!announced.matches(&other.inner.certificate[0]));
    }

    #[test]
    fn bad_fingerprints_are_refused() {
        for text in [
            "",
            "sha-256",
            "sha-256 ",
            "sha-256 AB",
            "sha-1 00:11",
            "sha-256 ZZ:11",
            "md5 00",
        ] {
            assert_eq!(Fingerprint::parse(text), None, "{text}");
        }
    }
}
