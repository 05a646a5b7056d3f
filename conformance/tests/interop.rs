//! Real peers: the official Python SDK and server, the browser SDK, and a bare page in Chromium against ours, in both
//! directions, digests compared.
//!
//! All of it is marked as ignored, since it needs what `./ci/peers` installs and the binary `lkstream`; the mark names the
//! need as `./ci/peers` does when it is not met. `./ci/test` runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod interop {
    mod agent;
    mod api;
    mod chromium;
    mod chromium_channels;
    mod chromium_features;
    mod chromium_sdk;
    mod chromium_transfer;
    mod cut_short;
    mod documented;
    mod encryption;
    mod lkstream_to_lkstream;
    mod lkstream_to_python;
    #[cfg(target_os = "linux")]
    mod network;
    mod outcomes;
    mod payloads;
    mod python_to_lkstream;
    mod python_to_python;
    mod rpc;
    mod user_packets;
    mod whole;
}
