//! A room server inside of another program.
//!
//! `cargo run --example embedded`

use std::time::Duration;

use lkstream_server::{Config, Server};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Two ports that are free; `Config::dev()` alone takes 7880 (TCP) and 7882 (UDP).
    let mut config = Config::dev().with_free_ports();
    config.add_key("mykey", "a secret of at least 32 characters");
    let server = Server::spawn(config).await?;
    println!(
        "rooms at {}, data at udp {}",
        server.url(),
        server.rtc_addr()
    );

    // Tokens are what your own program hands to its users.
    println!("alice may join with {}", server.token("lobby", "alice")?);

    // Your program goes on here; this one has nothing else to do.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let stats = server.stats().await;
    println!(
        "{} participants in {} rooms",
        stats.participants, stats.rooms
    );
    server.shutdown().await;
    Ok(())
}
