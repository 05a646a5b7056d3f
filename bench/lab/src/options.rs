//! The command line.

use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::flow::Window;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Plain TCP through the relay: what the lab itself carries
    Relay,
    /// Peer to peer over the link
    Hop,
    /// Peer over the link to a page in Chromium
    ToChromium,
    /// A page in Chromium over the link to a peer
    FromChromium,
    /// lkstream over the link to livekit-server, which delivers beside itself
    Upload,
    /// The Python SDK over the link to livekit-server, which delivers beside itself
    UploadOfficial,
    /// A page in Chromium over the link to livekit-server, which delivers to a page beside itself
    UploadChromium,
    /// lkstream to `lkstream serve` beside it, and over the link to the Python SDK
    Download,
    /// The Python SDK to livekit-server beside it, and over the link to the Python SDK
    DownloadOfficial,
    /// lkstream to `lkstream serve` beside it, and over the link to a page in Chromium
    DownloadToChromium,
    /// A page in Chromium to livekit-server beside it, and over the link to another page
    DownloadChromium,
    /// lkstream over the link to `lkstream serve`, and back over it to lkstream
    Room,
    /// The Python SDK over the link to livekit-server, and back over it to the Python SDK
    RoomOfficial,
    /// A page in Chromium over the link to livekit-server, and back over it to another page
    RoomChromium,
    /// Links with a rate: the share of one flow, of two, and beside TCP
    Bottleneck,
}

/// Prints tables of rates over a link of chosen delay, loss and rate between two network namespaces.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// What to measure, one after the other; everything otherwise
    #[arg(long, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
    /// Round trip times, in milliseconds
    #[arg(long, value_delimiter = ',', default_values_t = [0, 20, 50, 100, 200])]
    pub(crate) rtt: Vec<u64>,
    /// Loss each way, in percent of the packets
    #[arg(long, value_delimiter = ',', default_values_t = [0.0, 0.1, 1.0, 3.0])]
    pub(crate) loss: Vec<f64>,
    /// Rows of `bottleneck` whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) rows: String,
    /// How long a flow has to reach its pace
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    settle: f64,
    /// How long it is then watched
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    seconds: f64,
    /// What the link loses is exact for it and the order of packets
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

impl Options {
    pub(crate) fn parts(&self) -> &[Part] {
        if self.only.is_empty() {
            Part::value_variants()
        } else {
            &self.only
        }
    }

    pub(crate) fn window(&self) -> Window {
        // A day is as good as for ever, and not every number is a `Duration`.
        let span = |seconds: f64| Duration::from_secs_f64(seconds.clamp(0.1, 86_400.0));
        Window {
            settle: span(self.settle),
            span: span(self.seconds),
        }
    }
}
