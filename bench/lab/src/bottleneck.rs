//! Links with a rate and a queue: what a flow gets of it, what it leaves to others, and what delay it adds.

use std::thread;
use std::time::{Duration, Instant};

use lkstream_conformance::lab::Lab;
use lkstream_conformance::link::{Bottleneck, Config, Loss};
use lkstream_conformance::process::Failure;

use crate::flow::{Flow, measure};
use crate::hop::Hop;
use crate::options::Options;
use crate::tcp::Tcp;

/// 100 Mbit/s.
const BYTES_PER_SECOND: u64 = 12_500_000;

/// Round trip time without the queue.
const RTT: Duration = Duration::from_millis(50);

/// What one round trip holds: 625 kB.
const BDP: usize = 625_000;

/// One line of the table.
struct Row {
    name: &'static str,
    flows: &'static [Kind],
    /// In [`BDP`]s.
    queue: usize,
    loss: f64,
}

#[derive(Clone, Copy)]
enum Kind {
    Hop,
    Tcp,
}

impl Kind {
    fn start(self, lab: &Lab) -> Result<Box<dyn Flow>, Failure> {
        Ok(match self {
            Kind::Hop => Box::new(Hop::start(lab)?),
            Kind::Tcp => Box::new(Tcp::start(lab)?),
        })
    }
}

const ROWS: &[Row] = &[
    row("one flow", &[Kind::Hop], 1, 0.0),
    row("one flow", &[Kind::Hop], 1, 0.01),
    row("one flow", &[Kind::Hop], 4, 0.0),
    row("TCP alone", &[Kind::Tcp], 1, 0.0),
    row("TCP alone", &[Kind::Tcp], 1, 0.01),
    row("TCP alone", &[Kind::Tcp], 4, 0.0),
    row("two flows", &[Kind::Hop, Kind::Hop], 1, 0.0),
    row("two flows", &[Kind::Hop, Kind::Hop], 4, 0.0),
    row("beside TCP", &[Kind::Hop, Kind::Tcp], 1, 0.0),
    row("beside TCP", &[Kind::Hop, Kind::Tcp], 4, 0.0),
];

const fn row(name: &'static str, flows: &'static [Kind], queue: usize, loss: f64) -> Row {
    Row {
        name,
        flows,
        queue,
        loss,
    }
}

/// Prints the table.
pub(crate) fn print(options: &Options) -> Result<(), Failure> {
    println!(
        "\n{} Mbit/s, {} ms, loss each way; a share is payload of the link's bytes, headers included\n",
        BYTES_PER_SECOND * 8 / 1_000_000,
        RTT.as_millis()
    );
    println!(
        "| flows | queue | loss | MB/s each | share each | link busy | median wait in the queue |"
    );
    println!("|---|---|---|---|---|---|---|");
    for row in ROWS.iter().filter(|row| row.name.contains(&options.rows)) {
        println!("{}", line(row, options)?);
    }
    Ok(())
}

fn line(row: &Row, options: &Options) -> Result<String, Failure> {
    let config = Config {
        delay: RTT / 2,
        loss: Loss::Each(row.loss),
        bottleneck: Some(Bottleneck {
            bytes_per_second: BYTES_PER_SECOND,
            queue: row.queue * BDP,
        }),
        ..Config::default()
    };
    let lab = Lab::symmetric(config, options.seed)?;
    let mut flows = Vec::new();
    for kind in row.flows {
        flows.push(kind.start(&lab)?);
    }
    let window = options.window();
    thread::sleep(window.settle);
    let (began, [before, _], [waited, _]) = (Instant::now(), lab.totals()?, lab.waits()?);
    let rates = measure(&mut flows, window.at_once())?;
    let (took, [after, _], [waits, _]) = (began.elapsed(), lab.totals()?, lab.waits()?);

    let each = |figure: &dyn Fn(f64) -> String| {
        let figures = rates.iter().map(|rate| figure(rate.bytes_per_second));
        figures.collect::<Vec<_>>().join(" · ")
    };
    let busy = (after.carried_bytes - before.carried_bytes) as f64 / took.as_secs_f64();
    let median = waits.since(&waited).quantile(0.5).unwrap_or_default();
    Ok(format!(
        "| {} | {} BDP | {} % | {} | {} | {:.1} % | {:.1} ms |",
        row.name,
        row.queue,
        row.loss * 100.0,
        each(&|rate| format!("{:.2}", rate / 1e6)),
        each(&|rate| format!("{:.1} %", 100.0 * rate / BYTES_PER_SECOND as f64)),
        100.0 * busy / BYTES_PER_SECOND as f64,
        median.as_secs_f64() * 1e3,
    ))
}
