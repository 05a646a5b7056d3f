//! A data-only LiveKit room server to embed in any tokio program.
