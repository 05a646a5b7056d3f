//! Connects with any WebRTC stack by hand: reads an offer from standard input, writes the answer to standard output, and
//! sends every message back; later offers are answered too. With `--offer` it writes an offer and reads the answer. Each
//! description ends with a line `.`.
//!
//! `cargo run -p lkstream-transport --example echo -- 127.0.0.1`

use std::error::Error;
use std::io::BufRead as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use lkstream_transport::udp::{ReceiveBatch, Socket};
use lkstream_transport::{
    Certificate, ChannelConfig, Credentials, Event, IceMode, Peer, PeerConfig,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let offers = arguments.iter().any(|word| word == "--offer");
    let ip = arguments
        .iter()
        .find_map(|word| word.parse().ok())
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let socket = Socket::bind(SocketAddr::new(ip, 0))?;
    // Good enough to try things out; real callers bring real randomness.
    let seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_nanos()
        .to_le_bytes();
    let random = std::array::from_fn(|index| {
        seed[index % seed.len()].wrapping_add(u8::try_from(index).unwrap_or(0))
    });
    let mut config = PeerConfig::new(
        Arc::new(Certificate::generate()?),
        Credentials::from_random(random),
    );
    config.candidates = vec![socket.local_addr()?];
    let start = Instant::now();
    let mut peer = if offers {
        config.channels = vec![
            ChannelConfig::reliable("_reliable"),
            ChannelConfig::lossy("_lossy"),
        ];
        let (mut peer, offer) = Peer::offer(start, config)?;
        println!("{offer}.");
        peer.handle_answer(Instant::now(), &read_description()?)?;
        peer
    } else {
        config.ice = IceMode::Lite;
        let (peer, answer) = Peer::answer(start, config, &read_description()?)?;
        println!("{answer}.");
        peer
    };

    // Later offers, among them ICE restarts.
    let (sender, later) = mpsc::sync_channel(1);
    thread::spawn(move || {
        while let Ok(text) = read_description()
            && !text.is_empty()
            && sender.send(text).is_ok()
        {}
    });

    let mut batch = ReceiveBatch::new();
    let mut buffer = Vec::new();
    while !peer.is_closed() {
        if let Ok(offer) = later.try_recv() {
            match peer.handle_reoffer(Instant::now(), &offer) {
                Ok(answer) => println!("{answer}."),
                Err(error) => eprintln!("{error}"),
            }
        }
        let idle = socket.try_receive(&mut batch).is_err();
        for received in batch.iter().filter(|_| !idle) {
            peer.handle_received(Instant::now(), received);
        }
        let now = Instant::now();
        if peer.poll_timeout().is_some_and(|at| at <= now) {
            peer.handle_timeout(now);
        }
        while let Some(event) = peer.poll_event() {
            eprintln!("{:?} {event:?}", start.elapsed());
            if let Event::ChannelOpen { id, .. } = event
                && offers
            {
                peer.send(now, id, "hello".into())?;
            }
            if let Event::Readable(id) = event {
                while let Some(message) = peer.receive(id) {
                    if !offers && let Err(error) = peer.send(now, id, message) {
                        eprintln!("{error}");
                    }
                }
            }
        }
        while let Some(transmit) = peer.poll_transmit(now, socket.max_segments(), &mut buffer) {
            if let Err(error) = socket.try_send(&transmit, &buffer) {
                eprintln!("{error}");
            }
        }
        if idle {
            thread::sleep(Duration::from_micros(200));
        }
    }
    eprintln!("{:?}", peer.stats());
    Ok(())
}

fn read_description() -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line == "." {
            break;
        }
        text.push_str(&line);
        text.push_str("\r\n");
    }
    Ok(text)
}
