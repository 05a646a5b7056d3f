//! The candidate in a trickle request (protocol.md §3.3).

use serde_json::{Map, Value};

use super::TrickleRequest;

/// Bytes of the JSON at most that are looked at; real ones have about 200.
const CANDIDATE_BYTES: usize = 4096;

/// A trickle request does not hold a candidate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CandidateError {
    /// Not JSON of this shape, or longer than any candidate.
    #[error("trickle request of {size} bytes holds no candidate")]
    Malformed {
        /// Bytes there were.
        size: usize,
    },
}

impl TrickleRequest {
    /// The candidate line in it, `candidate:…`; empty for the end of candidates.
    ///
    /// # Errors
    /// [`CandidateError::Malformed`] where it is no JSON object, has a candidate that is no text, or more than 4096 bytes.
    pub fn candidate(&self) -> Result<String, CandidateError> {
        let size = self.candidate_init.len();
        let malformed = CandidateError::Malformed { size };
        if size > CANDIDATE_BYTES {
            return Err(malformed);
        }
        let Ok(mut init) = serde_json::from_str::<Map<String, Value>>(&self.candidate_init) else {
            return Err(malformed);
        };
        // The media section it names does not matter: all are bundled.
        match init.remove("candidate") {
            Some(Value::String(candidate)) => Ok(candidate),
            Some(Value::Null) | None => Ok(String::new()),
            Some(_) => Err(malformed),
        }
    }
}
