//! API keys and their secrets.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// API keys with their secrets. Shows its keys in `Debug`, never a secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ApiKeys(BTreeMap<String, String>);

/// Why text is not a list of keys; holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// There is no key in it.
    #[error("no API key given, expected lines of the form \"key: secret\"")]
    Empty,
    /// A line has no colon.
    #[error("line {line} is not of the form \"key: secret\"")]
    NoColon {
        /// Counts from 1.
        line: usize,
    },
    /// A line has nothing before or after its colon.
    #[error("line {line} lacks the key or the secret")]
    Missing {
        /// Counts from 1.
        line: usize,
    },
    /// A key is there twice.
    #[error("line {line} repeats the API key {key:?}")]
    Repeated {
        /// Counts from 1.
        line: usize,
        /// The key.
        key: String,
    },
}

impl ApiKeys {
    /// No keys: verifies nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// One key. The stock server's convention for development is `devkey` with `secret`
    /// (protocol.md §1.3).
    pub fn one(key: impl Into<String>, secret: impl Into<String>) -> Self {
        let mut keys = Self::new();
        keys.insert(key, secret);
        keys
    }

    /// Adds a key, or replaces its secret. An empty key or secret is left out: it could never
    /// protect anything.
    pub fn insert(&mut self, key: impl Into<String>, secret: impl Into<String>) {
        let (key, secret) = (key.into(), secret.into());
        if !key.is_empty() && !secret.is_empty() {
            self.0.insert(key, secret);
        }
    }

    /// The secret of `key`.
    pub fn secret(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The keys, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromStr for ApiKeys {
    type Err = KeysError;

    /// Parses lines of the form `key: secret`, as `LIVEKIT_KEYS` has them; blank lines and lines
    /// that start with `#` are skipped, quotes around either are taken off.
    fn from_str(text: &str) -> Result<Self, KeysError> {
        let mut keys = Self::new();
        for (index, row) in text.lines().enumerate() {
            let line = index + 1;
            let row = row.trim();
            if row.is_empty() || row.starts_with('#') {
                continue;
            }
            let (key, secret) = row.split_once(':').ok_or(KeysError::NoColon { line })?;
            let (key, secret) = (unquoted(key), unquoted(secret));
            if key.is_empty() || secret.is_empty() {
                return Err(KeysError::Missing { line });
            }
            if keys.secret(key).is_some() {
                return Err(KeysError::Repeated {
                    line,
                    key: key.to_owned(),
                });
            }
            keys.insert(key, secret);
        }
        if keys.is_empty() {
            return Err(KeysError::Empty);
        }
        Ok(keys)
    }
}

/// Without spaces around, and without one pair of quotes.
fn unquoted(text: &str) -> &str {
    let text = text.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = text
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
        {
            return inner;
        }
    }
    text
}
