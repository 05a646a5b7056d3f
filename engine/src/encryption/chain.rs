//! One secret and the keys that ratcheting makes of it.

use ring::aead::{self, LessSafeKey, UnboundKey};
use ring::{hkdf, pbkdf2};
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};

use super::Derivation;
use crate::limits;

/// protocol.md §5.8.
const PBKDF2_ITERATIONS: NonZeroU32 = match NonZeroU32::new(100_000) {
    Some(iterations) => iterations,
    None => NonZeroU32::MIN,
};
const HKDF_INFO: [u8; 128] = [0; 128];
/// Bytes of a key (AES-128).
const KEY_BYTES: usize = 16;
/// Bytes of the secret that a ratchet step makes.
const RATCHETED_BYTES: usize = 32;

/// How a chain derives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kdf {
    pub(super) derivation: Derivation,
    pub(super) salt: Arc<[u8]>,
}

impl Kdf {
    fn derive(&self, secret: &[u8], out: &mut [u8]) -> Option<()> {
        match self.derivation {
            Derivation::Pbkdf2 => {
                pbkdf2::derive(
                    pbkdf2::PBKDF2_HMAC_SHA256,
                    PBKDF2_ITERATIONS,
                    &self.salt,
                    secret,
                    out,
                );
                Some(())
            }
            Derivation::Hkdf => {
                struct Length(usize);
                impl hkdf::KeyType for Length {
                    fn len(&self) -> usize {
                        self.0
                    }
                }
                hkdf::Salt::new(hkdf::HKDF_SHA256, &self.salt)
                    .extract(secret)
                    .expand(&[&HKDF_INFO], Length(out.len()))
                    .and_then(|okm| okm.fill(out))
                    .ok()
            }
        }
    }
}

#[derive(Clone)]
struct Step {
    secret: Vec<u8>,
    /// Derived when it is asked for, once for all clones; `None` in it if that is impossible.
    key: Arc<OnceLock<Option<LessSafeKey>>>,
}

impl Step {
    fn new(secret: Vec<u8>) -> Step {
        Step {
            secret,
            key: Arc::default(),
        }
    }

    fn key(&self, kdf: &Kdf) -> Option<&LessSafeKey> {
        let derive = || {
            let mut key = [0; KEY_BYTES];
            kdf.derive(&self.secret, &mut key)?;
            let key = UnboundKey::new(&aead::AES_128_GCM, &key).ok()?;
            Some(LessSafeKey::new(key))
        };
        self.key.get_or_init(derive).as_ref()
    }

    fn ratcheted(&self, kdf: &Kdf) -> Option<Step> {
        let mut secret = vec![0; RATCHETED_BYTES];
        kdf.derive(&self.secret, &mut secret)?;
        Some(Step::new(secret))
    }
}

/// A secret, and as many ratchet steps of it as were needed so far.
///
/// Deriving is slow by intent, so a step is derived once and kept; a peer that sends rubbish costs
/// its derivations once, not for every packet.
#[derive(Clone)]
pub(super) struct Chain {
    kdf: Kdf,
    first: Step,
    ahead: Vec<Step>,
    /// The step that opened something last; 0 is `first`.
    last: usize,
}

impl Chain {
    pub(super) fn new(kdf: Kdf, secret: &[u8]) -> Chain {
        Chain {
            kdf,
            first: Step::new(secret.to_vec()),
            ahead: Vec::new(),
            last: 0,
        }
    }

    /// The key to seal with. Derives it, if nothing did before.
    pub(super) fn key(&self) -> Option<&LessSafeKey> {
        self.first.key(&self.kdf)
    }

    /// Makes the next step the first.
    pub(super) fn ratchet(&mut self) -> Option<()> {
        self.first = if self.ahead.is_empty() {
            self.first.ratcheted(&self.kdf)?
        } else {
            self.ahead.remove(0)
        };
        self.last = self.last.saturating_sub(1);
        Some(())
    }

    /// Calls `open` with one key after the other until it gives something: the one that worked
    /// last, up to `window` steps beyond it, then those before it.
    pub(super) fn find<R>(
        &mut self,
        window: usize,
        mut open: impl FnMut(&LessSafeKey) -> Option<R>,
    ) -> Option<R> {
        let start = self.last;
        let end = (start + window).min(limits::RATCHET_STEPS);
        for step in (start..=end).chain(0..start) {
            while self.ahead.len() < step {
                let next = self
                    .ahead
                    .last()
                    .unwrap_or(&self.first)
                    .ratcheted(&self.kdf)?;
                self.ahead.push(next);
            }
            let found = match step.checked_sub(1) {
                None => &self.first,
                Some(ahead) => &self.ahead[ahead],
            };
            if let Some(opened) = open(found.key(&self.kdf)?) {
                self.last = step;
                return Some(opened);
            }
        }
        None
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain")
            .field("derived", &self.ahead.len())
            .finish_non_exhaustive()
    }
}
