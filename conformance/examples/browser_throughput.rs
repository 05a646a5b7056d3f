//! Prints the rate between a bare page in headless Chromium and `transport::Peer`, in MB/s:
//!
//! `cargo run --release -p lkstream-conformance --example browser_throughput -- page|peer MEGABYTES [ADDRESS [NAMESPACE [MESSAGE]]]`
//!
//! The first word says who sends. ADDRESS is where the page is served and where the peer's socket is bound, NAMESPACE the
//! named network namespace that the browser runs in (needs root; `-` for none), MESSAGE the size of a message in bytes.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use lkstream_conformance::browser::Launch;
use lkstream_conformance::host::Host;
use lkstream_conformance::process::Failure;
use lkstream_conformance::throughput::{Load, Sender, measure};

const WITHIN: Duration = Duration::from_secs(600);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize| words.get(at).map(String::as_str);
    let sender = match word(0) {
        Some("page") => Sender::Page,
        Some("peer") => Sender::Peer,
        _ => return Err(Failure::new("who sends, page or peer?")),
    };
    let megabytes: usize = word(1).unwrap_or("100").parse()?;
    let mut launch = Launch::new();
    if let Some(address) = word(2) {
        launch.server = Host::here(address.parse()?);
    }
    if let Some(name) = word(3).filter(|name| *name != "-") {
        // Nobody asks for the browser's own address.
        let path = Path::new("/run/netns").join(name);
        launch.browser = Host::in_namespace(path, Ipv4Addr::UNSPECIFIED);
    }
    let load = Load {
        sender,
        bytes: megabytes * 1_000_000,
        message: word(4).unwrap_or("15000").parse()?,
    };
    let outcome = measure(&launch, load, WITHIN, |_| {}).await?;
    println!(
        "{:.1} MB/s, {} bytes in {:.2} s",
        outcome.megabytes_per_second(),
        outcome.bytes,
        outcome.took.as_secs_f64()
    );
    Ok(())
}
