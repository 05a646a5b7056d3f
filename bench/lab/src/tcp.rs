//! The kernel's own TCP from left to right, with CUBIC.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use lkstream_conformance::lab::Lab;
use lkstream_conformance::process::Failure;
use rustix::net::sockopt::set_tcp_congestion;

use crate::flow::{Cpu, Flow, Sample};

const BLOCK: usize = 256 << 10;

/// A connection that is always full.
pub(crate) struct Tcp {
    received: Arc<AtomicU64>,
    ends: [TcpStream; 2],
    threads: Vec<JoinHandle<()>>,
}

impl Tcp {
    pub(crate) fn start(lab: &Lab) -> Result<Tcp, Failure> {
        let (left, right) = (lab.left(), lab.right());
        let listener = right.enter(|| TcpListener::bind((right.address(), 0)))??;
        let address = listener.local_addr()?;
        let sender = left.enter(|| TcpStream::connect(address))??;
        set_tcp_congestion(&sender, "cubic")?;
        let (receiver, _) = listener.accept()?;
        let ends = [sender.try_clone()?, receiver.try_clone()?];
        let received = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&received);
        let mut threads = Vec::new();
        threads.push(thread::spawn(move || {
            let (mut sender, block) = (sender, vec![7; BLOCK]);
            while sender.write_all(&block).is_ok() {}
        }));
        threads.push(thread::spawn(move || {
            let (mut receiver, mut block) = (receiver, vec![0; BLOCK]);
            while let Ok(bytes @ 1..) = receiver.read(&mut block) {
                counter.fetch_add(bytes as u64, Ordering::Relaxed);
            }
        }));
        Ok(Tcp {
            received,
            ends,
            threads,
        })
    }
}

impl Flow for Tcp {
    fn sample(&mut self, from: Instant) -> Result<Sample, Failure> {
        thread::sleep(from.saturating_duration_since(Instant::now()));
        Ok(Sample {
            at: Instant::now(),
            bytes: self.received.load(Ordering::Relaxed),
        })
    }

    /// The kernel's work is nobody's, so nothing is told.
    fn cpu(&self) -> Result<Cpu, Failure> {
        Ok(Cpu::new())
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        for end in &self.ends {
            // Only fails when it has ended by itself.
            let _ = end.shutdown(Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
