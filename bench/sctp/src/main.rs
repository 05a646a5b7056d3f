//! Our SCTP beside `rtc-sctp`: two threads, a UDP socket each, the same batches and the same encryption for both, taking turns.

#[path = "../../../sctp/tests/link/mod.rs"]
mod link;
#[allow(dead_code)]
#[path = "../../../conformance/tests/sctp/peer.rs"]
mod peer;
#[allow(clippy::unwrap_used)]
#[path = "../../../conformance/tests/sctp/rtc.rs"]
mod rtc;

mod end;
mod record;

use std::error::Error;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use lkstream_sctp::{Association, Checksum, Config};
use lkstream_transport::limits;
use lkstream_transport::udp::Socket;

use crate::end::{End, Window};
use crate::link::{Endpoint, Ours};
use crate::peer::{Peer, RECEIVE_BUFFER, Role};
use crate::record::Records;
use crate::rtc::Rtc;

type Failure = Box<dyn Error + Send + Sync>;

/// Bytes of a chunk as LiveKit clients cut it.
const MESSAGE: usize = 15_000;

/// Bytes of messages that wait or are not acknowledged.
const SEND_BUFFER: usize = 4 * 1024 * 1024;

/// Prints rates and CPU seconds of one hop over loopback, for our SCTP and for `rtc-sctp`.
#[derive(Debug, Parser)]
struct Options {
    /// How often each has its turn
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// How long a connection has to reach its pace
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5)]
    settle: f64,
    /// How long it is then measured
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    seconds: f64,
}

/// Who carries the bytes.
#[derive(Clone, Copy)]
enum Stack {
    Ours(Checksum),
    Rtc,
}

/// In the order of their turns in the first round; each round begins one further.
const STACKS: [(&str, Stack); 3] = [
    ("ours", Stack::Ours(Checksum::ZeroOverDtls)),
    ("ours, with checksums", Stack::Ours(Checksum::Always)),
    ("`rtc-sctp`", Stack::Rtc),
];

impl Stack {
    fn measure(self, options: &Options) -> Result<Figures, Failure> {
        let now = Instant::now();
        match self {
            Self::Ours(checksum) => {
                let config = Config {
                    receive_window: RECEIVE_BUFFER as usize,
                    receive_window_limit: RECEIVE_BUFFER as usize,
                    send_buffer: SEND_BUFFER,
                    checksum,
                    ..Config::default()
                };
                let ends = [
                    Ours::new(Association::connect(now, config.clone(), 1)),
                    Ours::new(Association::accept(now, config, 2)),
                ];
                run(ends, options)
            }
            Self::Rtc => run(
                [Role::Connect, Role::Accept].map(|role| Rtc::new(now, role)),
                options,
            ),
        }
    }
}

/// What one connection gave: MB/s that the receiver read, CPU seconds per GB of the sender's thread and of the receiver's.
type Figures = [f64; 3];

/// One connection; the first end sends.
fn run<E: Endpoint + Send + 'static>(
    [near, far]: [E; 2],
    options: &Options,
) -> Result<Figures, Failure> {
    let bind = || Socket::bind((Ipv4Addr::LOCALHOST, 0).into());
    let sockets = [bind()?, bind()?];
    let addresses = [sockets[0].local_addr()?, sockets[1].local_addr()?];
    let [near_socket, far_socket] = sockets;
    let ends = [
        End {
            endpoint: near,
            socket: near_socket,
            remote: addresses[1],
            records: Records::new(0).ok_or("no key")?,
            message: Some(Bytes::from(vec![7; MESSAGE])),
        },
        End {
            endpoint: far,
            socket: far_socket,
            remote: addresses[0],
            records: Records::new(1).ok_or("no key")?,
            message: None,
        },
    ];
    let begin = Instant::now() + Duration::try_from_secs_f64(options.settle)?;
    let window = Window {
        begin,
        end: begin + Duration::try_from_secs_f64(options.seconds)?,
    };
    let threads = ends.map(|end| thread::spawn(move || end.run(window)));
    let [sender, receiver] = threads.map(|thread| thread.join().map_err(|_| "an end panicked"));
    let (sender, receiver) = (sender??, receiver??);
    let bytes = receiver[1].bytes - receiver[0].bytes;
    if bytes == 0 {
        return Err("nothing arrived".into());
    }
    let rate = bytes as f64 / (receiver[1].at - receiver[0].at).as_secs_f64();
    let [sender, receiver] = [sender, receiver].map(|[first, last]| {
        let busy = (last.cpu - first.cpu).as_secs_f64() / (last.at - first.at).as_secs_f64();
        busy / rate * 1e9
    });
    Ok([rate / 1e6, sender, receiver])
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// A socket that takes less than asked for loses bursts, and then the figures are of recovery, too.
fn warn_of_short_buffers() -> Result<(), Failure> {
    let sizes = Socket::bind((Ipv4Addr::LOCALHOST, 0).into())?.buffer_sizes();
    if sizes.is_short() {
        eprintln!(
            "the system grants a UDP receive buffer of {} bytes, not {}; bursts will be lost (Linux: raise net.core.rmem_max)",
            sizes.receive,
            limits::SOCKET_BUFFER
        );
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let cores = thread::available_parallelism()?;
    println!("{cores} cores, load {} at the start", load());
    warn_of_short_buffers()?;
    let mut rounds = Vec::new();
    for round in 0..usize::from(options.rounds) {
        let mut of_round = STACKS.map(|_| [f64::NAN; 3]);
        for index in 0..STACKS.len() {
            let turn = (round + index) % STACKS.len();
            let (name, stack) = STACKS[turn];
            let figures = stack.measure(&options)?;
            let [rate, sender, receiver] = figures;
            eprintln!("{name}: {rate:.0} MB/s, {sender:.3} and {receiver:.3} s/GB");
            of_round[turn] = figures;
        }
        rounds.push(of_round);
    }
    println!("load {} at the end\n", load());
    println!("| median | MB/s | sender | receiver |\n|---|---|---|---|");
    for (index, (name, _)) in STACKS.iter().enumerate() {
        let [rate, sender, receiver] =
            [0, 1, 2].map(|figure| median(rounds.iter().map(|round| round[index][figure])));
        println!("| {name} | {rate:.0} | {sender:.3} s/GB | {receiver:.3} s/GB |");
    }
    let [without, with, rtc] = [0, 1, 2];
    for (name, ours) in [("ours", without), ("ours with checksums", with)] {
        let [rate, sender, receiver] = [0, 1, 2].map(|figure| {
            let ratios = rounds.iter().map(|it| it[rtc][figure] / it[ours][figure]);
            median(ratios)
        });
        println!(
            "| `rtc-sctp` to {name} in a round | {rate:.2}x | {sender:.2}x | {receiver:.2}x |"
        );
    }
    Ok(())
}
