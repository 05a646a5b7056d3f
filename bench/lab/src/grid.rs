//! Rates by round trip time and loss, without a limit of rate.

use std::fmt;
use std::time::Duration;

use lkstream_conformance::lab::Lab;
use lkstream_conformance::link::{Config, Loss};
use lkstream_conformance::process::Failure;
use lkstream_conformance::throughput::Sender;

use crate::chromium::Chromium;
use crate::flow::{Flow, Rate, measure};
use crate::hop::Hop;
use crate::options::Options;
use crate::transfer::{Route, Transfer};

/// A cell that could not be measured; why is on standard error.
const FAILED: &str = "failed";

/// What the bytes go through.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Path {
    /// A peer on each side.
    Hop,
    /// A peer on one side, a page in Chromium on the other.
    Chromium(Sender),
    /// A room server and two participants.
    Route(Route),
}

impl Path {
    fn start(self, lab: &Lab) -> Result<Box<dyn Flow>, Failure> {
        Ok(match self {
            Path::Hop => Box::new(Hop::start(lab)?),
            Path::Chromium(sender) => Box::new(Chromium::start(lab, sender)?),
            Path::Route(route) => Box::new(Transfer::start(lab, route)?),
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Hop => f.write_str("peer ~> peer"),
            Path::Chromium(Sender::Peer) => f.write_str("peer ~> chromium"),
            Path::Chromium(Sender::Page) => f.write_str("chromium ~> peer"),
            Path::Route(route) => route.fmt(f),
        }
    }
}

/// Prints a table of rates and one of CPU seconds. How many cells could not be measured.
pub(crate) fn print(path: Path, options: &Options) -> usize {
    let mut failed = 0;
    let mut rates = String::new();
    let mut costs = String::new();
    let mut roles = String::new();
    for &rtt in &options.rtt {
        rates += &format!("| {rtt} ms |");
        costs += &format!("| {rtt} ms |");
        for &loss in &options.loss {
            let config = Config {
                delay: Duration::from_micros(rtt * 500),
                loss: Loss::Each(loss / 100.0),
                ..Config::default()
            };
            let (rate, cost) = match cell(path, config, options) {
                Ok(rate) => {
                    let parts = |text: fn(&(&str, f64)) -> String| {
                        rate.cpu.iter().map(text).collect::<Vec<_>>().join(" · ")
                    };
                    roles = parts(|(role, _)| (*role).to_owned());
                    let cost = parts(|(_, seconds)| format!("{seconds:.1}"));
                    (format!("{:.2}", rate.bytes_per_second / 1e6), cost)
                }
                Err(failure) => {
                    failed += 1;
                    eprintln!("{failure:?}");
                    (FAILED.to_owned(), FAILED.to_owned())
                }
            };
            eprintln!("{path}: {rtt} ms, {loss} %: {rate} MB/s, {cost} CPU-s/GB");
            rates += &format!(" {rate} |");
            costs += &format!(" {cost} |");
        }
        rates.push('\n');
        costs.push('\n');
    }
    let losses: String = options
        .loss
        .iter()
        .map(|loss| format!(" {loss} % |"))
        .collect();
    let head = format!(
        "| RTT |{losses}\n|---|{}",
        "---|".repeat(options.loss.len())
    );
    println!("\n{path}: MB/s by round trip time and loss\n\n{head}\n{rates}");
    println!("{path}: CPU seconds per GB, {roles}\n\n{head}\n{costs}");
    failed
}

fn cell(path: Path, config: Config, options: &Options) -> Result<Rate, Failure> {
    let lab = Lab::symmetric(config, options.seed)?;
    let mut rates = measure(&mut [path.start(&lab)?], options.window())?;
    let overruns = lab.overruns()?;
    if overruns != [0, 0] {
        eprintln!("{path}: the relay fell behind and lost {overruns:?} frames by itself");
    }
    rates.pop().ok_or_else(|| Failure::new("no rate"))
}
