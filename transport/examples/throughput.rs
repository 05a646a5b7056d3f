//! How fast is one hop? Two peers over loopback, one thread each, 15 000-byte messages one way.
//!
//! `cargo run --release -p lkstream-transport --example throughput -- [megabytes] [message-bytes] [receive-window] [send-buffer]`

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lkstream_transport::udp::{ReceiveBatch, Socket};
use lkstream_transport::{
    Certificate, ChannelConfig, ChannelId, Credentials, Event, IceMode, Peer, PeerConfig, limits,
};

type Failure = Box<dyn Error + Send + Sync>;

/// What to send, and how much the other side has read.
struct Work {
    message: Bytes,
    left: usize,
    received: usize,
    expected: usize,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<usize> = std::env::args()
        .skip(1)
        .map(|word| word.parse())
        .collect::<Result<_, _>>()?;
    let argument = |index: usize, default: usize| arguments.get(index).copied().unwrap_or(default);
    let (megabytes, size) = (argument(0, 1_000), argument(1, 15_000));
    let (window, buffer) = (
        argument(2, limits::RECEIVE_WINDOW),
        argument(3, limits::SEND_BUFFER),
    );

    let certificate = Arc::new(Certificate::generate()?);
    let sockets = [
        Socket::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?,
        Socket::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?,
    ];
    println!(
        "buffers {:?}, {} segments a send",
        sockets[0].buffer_sizes(),
        sockets[0].max_segments()
    );
    let config = |side: usize| -> Result<PeerConfig, Failure> {
        let number = u8::try_from(side)?;
        let mut config = PeerConfig::new(
            Arc::clone(&certificate),
            Credentials::from_random([number; 48]),
        );
        config.candidates = vec![sockets[side].local_addr()?];
        config.receive_window = window;
        config.send_buffer = buffer;
        Ok(config)
    };
    let start = Instant::now();
    let mut client = config(0)?;
    client.channels = vec![ChannelConfig::reliable("_reliable")];
    let mut server = config(1)?;
    server.ice = IceMode::Lite;
    let (mut offerer, offer) = Peer::offer(start, client)?;
    let (answerer, answer) = Peer::answer(start, server, &offer)?;
    offerer.handle_answer(start, &answer)?;

    let messages = megabytes * 1_000_000 / size;
    let [first, second] = sockets;
    let sender = Work {
        message: Bytes::from(vec![7; size]),
        left: messages,
        received: 0,
        expected: 0,
    };
    let receiver = Work {
        message: Bytes::new(),
        left: 0,
        received: 0,
        expected: messages * size,
    };
    let threads = [
        thread::spawn(move || drive(offerer, &first, sender, start)),
        thread::spawn(move || drive(answerer, &second, receiver, start)),
    ];
    let mut took = Duration::ZERO;
    for thread in threads {
        took = took.max(thread.join().map_err(|_| "thread failed")??);
    }
    let bytes = (messages * size) as f64;
    let cpu = cpu_seconds()?;
    println!(
        "{:.1} MB/s, {:.2} CPU-s/GB (both sides)",
        bytes / 1e6 / took.as_secs_f64(),
        cpu / (bytes / 1e9)
    );
    Ok(())
}

/// Runs a peer until its work is done; gives the time from the first byte on.
fn drive(
    mut peer: Peer,
    socket: &Socket,
    mut work: Work,
    start: Instant,
) -> Result<Duration, Failure> {
    let mut batch = ReceiveBatch::new();
    let mut buffer = Vec::with_capacity(limits::BATCH_BYTES);
    let mut channel: Option<ChannelId> = None;
    let mut began = None;
    let mut end = None;
    loop {
        let mut idle = true;
        while socket
            .try_receive(&mut batch)
            .is_ok_and(|filled| filled > 0)
        {
            idle = false;
            let now = Instant::now();
            for received in batch.iter() {
                peer.handle_received(now, received);
            }
            work.read(&mut peer, &mut channel, start, &mut began);
            send_all(&mut peer, socket, &mut buffer);
        }
        let now = Instant::now();
        if peer.poll_timeout().is_some_and(|at| at <= now) {
            peer.handle_timeout(now);
        }
        work.read(&mut peer, &mut channel, start, &mut began);
        if let Some(channel) = channel {
            while work.left > 0 && peer.room(channel) > 0 {
                peer.send(now, channel, work.message.clone())?;
                work.left -= 1;
            }
            let sent = work.left == 0 && peer.buffered(channel) == 0;
            if sent && work.received == work.expected && end.is_none() {
                end = began.map(|began: Instant| began.elapsed());
                peer.close(now);
            }
        }
        send_all(&mut peer, socket, &mut buffer);
        if peer.is_closed() {
            if work.received != work.expected {
                return Err("closed too early".into());
            }
            return Ok(end.unwrap_or_default());
        }
        if idle {
            thread::sleep(Duration::from_micros(20));
        }
    }
}

impl Work {
    fn read(
        &mut self,
        peer: &mut Peer,
        channel: &mut Option<ChannelId>,
        start: Instant,
        began: &mut Option<Instant>,
    ) {
        while let Some(event) = peer.poll_event() {
            match event {
                Event::ChannelOpen { id, .. } => {
                    println!("{:?} open after {:?}", peer.role(), start.elapsed());
                    *channel = Some(id);
                    *began = Some(Instant::now());
                }
                Event::Readable(id) => {
                    while let Some(message) = peer.receive(id) {
                        self.received += message.len();
                    }
                }
                _ => {}
            }
        }
    }
}

fn send_all(peer: &mut Peer, socket: &Socket, buffer: &mut Vec<u8>) {
    while let Some(transmit) = peer.poll_transmit(Instant::now(), socket.max_segments(), buffer) {
        while let Err(error) = socket.try_send(&transmit, buffer) {
            if error.kind() != std::io::ErrorKind::WouldBlock {
                eprintln!("send: {error}");
                break;
            }
            thread::yield_now();
        }
    }
}

/// User and system time of this process so far.
fn cpu_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    let ticks: f64 = fields.get(11).unwrap_or(&"0").parse::<f64>()?
        + fields.get(12).unwrap_or(&"0").parse::<f64>()?;
    // USER_HZ is 100 on every Linux that we run on.
    Ok(ticks / 100.0)
}
