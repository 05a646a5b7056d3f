//! Two network namespaces with a link of chosen delay, loss and rate between them: real sockets and the kernel's own
//! network stack, on one machine.
//!
//! It needs Linux, root, `/dev/net/tun`, and the programs `ip` (iproute2), `unshare` and `nsenter` (util-linux);
//! `ci/namespaces` says what is missing.
//!
//! Nothing of it has a name on the machine: a namespace lives as long as the process that holds it, which ends with
//! ours however that ends, and the kernel takes the network devices along. So there is nothing to clean up.

mod namespace;
mod relay;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::host::Host;
use crate::link::{self, Link};
use crate::process::Failure;

use namespace::Namespace;
use relay::Relay;

/// A network with two hosts, `left` and `right`. Dropping it ends what runs on it and removes it.
pub struct Lab {
    // Before the namespaces, which hold its devices.
    relay: Relay,
    hosts: [Host; 2],
    namespaces: [Namespace; 2],
}

impl Lab {
    /// Makes the namespaces and starts the relay between them. `there` is from left to right, `back` the other way;
    /// what is lost is exact for `seed` and the order of packets, which real time decides.
    ///
    /// # Errors
    /// When one of these is missing, or the kernel refuses.
    pub fn new(there: link::Config, back: link::Config, seed: u64) -> Result<Lab, Failure> {
        let addresses = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
        let namespaces = [Namespace::new()?, Namespace::new()?];
        let hosts =
            [0, 1].map(|side: usize| Host::in_namespace(namespaces[side].path(), addresses[side]));
        let devices = [
            namespaces[0].attach(&hosts[0], &hosts[1])?,
            namespaces[1].attach(&hosts[1], &hosts[0])?,
        ];
        let links = [
            Link::new(there, seed),
            Link::new(back, seed.wrapping_add(1)),
        ];
        Ok(Lab {
            relay: Relay::start(devices, links)?,
            hosts,
            namespaces,
        })
    }

    /// As [`Lab::new`], the same both ways.
    ///
    /// # Errors
    /// The same.
    pub fn symmetric(config: link::Config, seed: u64) -> Result<Lab, Failure> {
        Lab::new(config.clone(), config, seed)
    }

    /// The host at one end.
    #[must_use]
    pub fn left(&self) -> &Host {
        &self.hosts[0]
    }

    /// The host at the other end.
    #[must_use]
    pub fn right(&self) -> &Host {
        &self.hosts[1]
    }

    /// Cuts both directions for so long from now on, without waiting for the end of it.
    ///
    /// # Errors
    /// When the relay has failed.
    pub fn cut_for(&self, span: Duration) -> Result<(), Failure> {
        let until = Instant::now() + span;
        self.relay.with(move |line| line.cut_until(until))
    }

    /// Counters of the two directions, the one from left to right first.
    ///
    /// # Errors
    /// When the relay has failed.
    pub fn totals(&self) -> Result<[link::Totals; 2], Failure> {
        self.relay
            .with(|line| line.links().each_ref().map(Link::totals))
    }

    /// How long packets waited before the bottleneck so far, from left to right first.
    ///
    /// # Errors
    /// When the relay has failed.
    pub fn waits(&self) -> Result<[link::Waits; 2], Failure> {
        self.relay
            .with(|line| line.links().each_ref().map(|link| link.waits().clone()))
    }

    /// Frames that the kernel dropped before the relay came to read them: losses that the link did not mean. From left
    /// to right first.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn overruns(&self) -> Result<[u64; 2], Failure> {
        let [left, right] = &self.namespaces;
        Ok([
            left.overruns(&self.hosts[0])?,
            right.overruns(&self.hosts[1])?,
        ])
    }

    /// CPU time of the relay so far.
    ///
    /// # Errors
    /// When the relay has failed.
    pub fn relay_time(&self) -> Result<Duration, Failure> {
        self.relay.with(|_| relay::thread_time())
    }
}
