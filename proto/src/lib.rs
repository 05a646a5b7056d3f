//! The bytes of LiveKit's data streams: packets, signalling, tokens, ids and limits.
