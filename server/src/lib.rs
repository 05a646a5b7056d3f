//! A data-only LiveKit room server to embed in any tokio program.
//!
//! [`Server::spawn`] starts it, [`Server::url`] is what clients connect to, [`Server::shutdown`] closes its rooms with a
//! reason, and dropping the [`Server`] stops it.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use lkstream_server::{Config, Server};
//!
//! let server = Server::spawn(Config::dev().with_free_ports()).await?;
//! println!("rooms at {}", server.url());
//! let token = server.token("lobby", "alice")?;
//! server.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! Official LiveKit SDKs and browsers join it as they join livekit-server, for data: packets, streams and RPC.
//! Media sections of their offers are answered as inactive.

mod accept;
mod admission;
mod config;
mod http;
mod journal;
mod link;
pub mod room;
mod server;
mod stats;
mod worker;

pub use accept::HttpLimits;
pub use config::{Config, DEV_API_KEY, DEV_API_SECRET, LoopbackCandidates};
pub use link::SignalLimits;
pub use lkstream_proto::token;
pub use server::{Server, SpawnError};
pub use stats::Stats;
