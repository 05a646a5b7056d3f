//! The JSON inside a trickle request (protocol.md §3.3).

use serde::{Deserialize, Serialize};

use super::{SignalTarget, TrickleRequest};

/// Bytes of the JSON at most that are looked at; real ones have about 200.
const CANDIDATE_BYTES: usize = 4096;

/// A candidate as browsers write it: the text in [`TrickleRequest::candidate_init`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// The candidate line, `candidate:…`; may be empty or name a `.local` host, then ignore it.
    #[serde(default)]
    pub candidate: String,
    /// The media section it belongs to, by name. Always written: Rust clients unwrap it.
    #[serde(default, deserialize_with = "or_default")]
    pub sdp_mid: String,
    /// The media section it belongs to, by place. Always written: Rust clients unwrap it.
    #[serde(rename = "sdpMLineIndex", default, deserialize_with = "or_default")]
    pub sdp_m_line_index: u16,
    /// The ICE user name it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_fragment: Option<String>,
}

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

/// `null` is the same as absent.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

impl Candidate {
    /// A candidate for the media section `sdp_mid`, the first in the BUNDLE group: elsewhere
    /// Chromium ignores it (protocol.md §3.3).
    pub fn new(candidate: impl Into<String>, sdp_mid: impl Into<String>) -> Self {
        Self {
            candidate: candidate.into(),
            sdp_mid: sdp_mid.into(),
            sdp_m_line_index: 0,
            username_fragment: None,
        }
    }

    /// Reads the candidate in a trickle request.
    ///
    /// # Errors
    /// [`CandidateError::Malformed`].
    pub fn from_trickle(trickle: &TrickleRequest) -> Result<Self, CandidateError> {
        let size = trickle.candidate_init.len();
        if size > CANDIDATE_BYTES {
            return Err(CandidateError::Malformed { size });
        }
        serde_json::from_str(&trickle.candidate_init)
            .map_err(|_| CandidateError::Malformed { size })
    }

    /// The trickle request for `target` that holds it.
    pub fn to_trickle(&self, target: SignalTarget) -> TrickleRequest {
        TrickleRequest {
            // A struct of texts and a number always becomes JSON.
            candidate_init: serde_json::to_string(self).unwrap_or_default(),
            target: target.into(),
            r#final: false,
        }
    }
}
