//! What the lab itself carries: plain TCP on a link that neither delays nor loses.

use std::thread;
use std::time::Instant;

use lkstream_conformance::lab::Lab;
use lkstream_conformance::link::Config;
use lkstream_conformance::process::Failure;

use crate::flow::{Flow, measure};
use crate::options::Options;
use crate::tcp::Tcp;

/// Prints the rate, and what the relay costs at it.
pub(crate) fn print(options: &Options) -> Result<(), Failure> {
    let lab = Lab::symmetric(Config::default(), options.seed)?;
    let mut flows: [Box<dyn Flow>; 1] = [Box::new(Tcp::start(&lab)?)];
    thread::sleep(options.window().settle);
    let (start, before, busy) = (Instant::now(), lab.totals()?, lab.relay_time()?);
    let rates = measure(&mut flows, options.window().at_once())?;
    let (seconds, after) = (start.elapsed().as_secs_f64(), lab.totals()?);
    let busy = (lab.relay_time()? - busy).as_secs_f64();
    let frames: u64 = (0..2)
        .map(|side| after[side].carried - before[side].carried)
        .sum();
    for rate in rates {
        println!(
            "\nthe relay alone: TCP at {:.0} MB/s; {:.0} frames a second both ways, {:.0} % of a core, {:.2} µs a frame",
            rate.bytes_per_second / 1e6,
            frames as f64 / seconds,
            100.0 * busy / seconds,
            1e6 * busy / frames as f64,
        );
    }
    println!(
        "frames lost before the relay read them: {:?}",
        lab.overruns()?
    );
    Ok(())
}
