//! A data-only LiveKit room server to embed in any tokio program.
//!
//! [`Server::spawn`] starts it, [`Server::url`] is what clients connect to, [`Server::shutdown`] closes its rooms with a
//! reason, and dropping the [`Server`] stops it.
//!
//! ```no_run
//! # async fn example() -> Result<(), lkstream_server::SpawnError> {
//! use lkstream_server::{Config, Server};
//!
//! let server = Server::spawn(Config::dev().with_free_ports()).await?;
//! println!("rooms at {}", server.url());
//! server.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! Official LiveKit SDKs and browsers join it as they join livekit-server, for data: packets, streams and RPC.
//! Media sections of their offers are answered as inactive.

mod config;
pub mod room;
mod server;

pub use config::{Config, LoopbackCandidates, DEV_API_KEY, DEV_API_SECRET};
pub use server::{Server, SpawnError};
