//! Real sockets over the lab: two network namespaces with delay and loss between them.
//!
//! The server is on the right and everybody else on the left, so what is sent crosses the link twice.

use std::time::Duration;

use lkstream_conformance::lab::Lab;
use lkstream_conformance::link::{Bottleneck, Config, Loss};
use lkstream_conformance::process::Failure;

mod official;
mod ours;
mod relay;

/// For one file. Official senders make less than 1 MB/s of such a link.
const PATIENCE: Duration = Duration::from_secs(180);

/// Short enough for every peer to keep its connection: ICE gives up after silence of some 20 s, livekit-server sooner.
const CUT: Duration = Duration::from_secs(4);

/// 20 ms there and back, 1 % lost each way, and 40 Mbit/s, so that a file takes long enough to be cut in its middle.
fn wireless() -> Result<Lab, Failure> {
    let seed = std::process::id().into();
    println!("link seed {seed}");
    let config = Config {
        delay: Duration::from_millis(10),
        loss: Loss::Each(0.01),
        bottleneck: Some(Bottleneck {
            bytes_per_second: 5_000_000,
            queue: 200_000,
        }),
        ..Config::default()
    };
    Lab::symmetric(config, seed)
}

/// Cuts the link while so many bytes are on their way to the left. Fails if they were there already: the test would show nothing then.
#[track_caller]
fn cut_in_the_middle_of(lab: &Lab, bytes: usize) -> Result<(), Failure> {
    lab.cut_for(CUT)?;
    // Nothing is carried any more, and headers and signalling are counted, too.
    let [_, back] = lab.totals()?;
    assert!(back.carried_bytes < bytes as u64, "{bytes} bytes: {back:?}");
    Ok(())
}

/// Fails unless the link has lost packets by itself and, if it was cut, to the cut.
#[track_caller]
fn assert_hindered(lab: &Lab, was_cut: bool) -> Result<(), Failure> {
    let totals = lab.totals()?;
    for direction in totals {
        assert!(direction.lost > 0, "{totals:?}");
        assert_eq!(direction.cut_off > 0, was_cut, "{totals:?}");
    }
    Ok(())
}
