//! Rates of real sockets over the lab of `conformance`: emulated delay, loss and rate between two network namespaces.
//! `bench/network` builds what it needs and runs it. It needs root on Linux.

#[cfg(target_os = "linux")]
mod bottleneck;
#[cfg(target_os = "linux")]
mod chromium;
#[cfg(target_os = "linux")]
mod cpu;
#[cfg(target_os = "linux")]
mod flow;
#[cfg(target_os = "linux")]
mod grid;
#[cfg(target_os = "linux")]
mod hop;
#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod page;
#[cfg(target_os = "linux")]
mod participant;
#[cfg(target_os = "linux")]
mod relay;
#[cfg(target_os = "linux")]
mod tcp;
#[cfg(target_os = "linux")]
mod transfer;
#[cfg(target_os = "linux")]
mod worker;

#[cfg(target_os = "linux")]
fn main() -> Result<(), lkstream_conformance::process::Failure> {
    use clap::Parser;
    use grid::Path;
    use lkstream_conformance::throughput::Sender;
    use options::Part;
    use transfer::Client::{Chromium, Lkstream, Python};
    use transfer::{Route, Server, Side};

    let options = options::Options::parse();
    println!("link seed {}", options.seed);
    let route = |sender, server, receiver| {
        Path::Route(Route {
            sender,
            server,
            receiver,
        })
    };
    let mut failed = 0;
    for part in options.parts() {
        let path = match part {
            Part::Relay => {
                relay::print(&options)?;
                continue;
            }
            Part::Bottleneck => {
                bottleneck::print(&options)?;
                continue;
            }
            Part::Hop => Path::Hop,
            Part::ToChromium => Path::Chromium(Sender::Peer),
            Part::FromChromium => Path::Chromium(Sender::Page),
            Part::Upload => route(
                Lkstream,
                (Server::Livekit, Side::Right),
                (Lkstream, Side::Right),
            ),
            Part::UploadOfficial => route(
                Python,
                (Server::Livekit, Side::Right),
                (Python, Side::Right),
            ),
            Part::UploadChromium => route(
                Chromium,
                (Server::Livekit, Side::Right),
                (Chromium, Side::Right),
            ),
            Part::Download => route(
                Lkstream,
                (Server::Lkstream, Side::Left),
                (Python, Side::Right),
            ),
            Part::DownloadOfficial => {
                route(Python, (Server::Livekit, Side::Left), (Python, Side::Right))
            }
            Part::DownloadToChromium => route(
                Lkstream,
                (Server::Lkstream, Side::Left),
                (Chromium, Side::Right),
            ),
            Part::DownloadChromium => route(
                Chromium,
                (Server::Livekit, Side::Left),
                (Chromium, Side::Right),
            ),
            Part::Room => route(
                Lkstream,
                (Server::Lkstream, Side::Right),
                (Lkstream, Side::Left),
            ),
            Part::RoomOfficial => {
                route(Python, (Server::Livekit, Side::Right), (Python, Side::Left))
            }
            Part::RoomChromium => route(
                Chromium,
                (Server::Livekit, Side::Right),
                (Chromium, Side::Left),
            ),
        };
        failed += grid::print(path, &options);
    }
    if failed > 0 {
        let text = format!("{failed} cells could not be measured");
        return Err(lkstream_conformance::process::Failure::new(text));
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("network namespaces are Linux's");
}
