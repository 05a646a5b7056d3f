//! Whom a stream was addressed to, and whom it does not reach any more.

use std::fmt;

use lkstream_proto::id::Identity;
use thiserror::Error;

/// A recipient that a stream does not reach.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missed {
    /// Who.
    pub identity: Identity,
    /// Why.
    pub cause: MissedCause,
}

/// Why a stream does not reach a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissedCause {
    /// It left the room.
    Left,
    /// It said so in a receipt.
    Failed {
        /// Its own words; empty where it gave none.
        reason: String,
    },
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            MissedCause::Left => write!(f, "{} left", self.identity),
            MissedCause::Failed { reason } if reason.is_empty() => {
                write!(f, "{} could not receive it", self.identity)
            }
            MissedCause::Failed { reason } => {
                write!(f, "{} could not receive it ({reason})", self.identity)
            }
        }
    }
}

/// All recipients of a stream left or refused it before all of it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub struct NoRecipients {
    /// The recipients, in the order in which they were lost.
    pub missed: Vec<Missed>,
    /// Bytes of payload that the transport had acknowledged until then.
    pub acknowledged: u64,
    /// Bytes of the whole payload, where that was known.
    pub total: Option<u64>,
}

impl fmt::Display for NoRecipients {
    /// Names ten of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, missed) in self.missed.iter().take(10).enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{missed}")?;
        }
        if self.missed.len() > 10 {
            write!(f, " and {} more", self.missed.len() - 10)?;
        }
        match self.total {
            Some(total) if total > 0 => {
                let percent = u128::from(self.acknowledged) * 100 / u128::from(total);
                write!(f, " at {percent} %")
            }
            _ => write!(f, " after {} bytes", self.acknowledged),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_says_who_and_how_far() {
        let missed = |identity: &str, cause| Missed {
            identity: identity.into(),
            cause,
        };
        let mut error = NoRecipients {
            missed: vec![
                missed("bob", MissedCause::Left),
                missed(
                    "carol",
                    MissedCause::Failed {
                        reason: "no room".to_owned(),
                    },
                ),
            ],
            acknowledged: 3_700,
            total: Some(10_000),
        };
        assert_eq!(
            error.to_string(),
            "bob left, carol could not receive it (no room) at 37 %"
        );
        error.total = None;
        error.missed.truncate(1);
        assert_eq!(error.to_string(), "bob left after 3700 bytes");
    }
}
