//! The thread that carries frames between two devices through two links.

use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write, pipe};
use std::num::NonZeroU64;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use tun_rs::SyncDevice;

use crate::link::Link;
use crate::process::Failure;

/// Bytes of the largest frame: an IP packet of 1 500 bytes and the Ethernet header.
const FRAME_BYTES: usize = 1_514;

/// Frames read from one device before the other has its turn.
const TURN: usize = 64;

/// Buffers kept for later frames: 6 MB.
const SPARE_BUFFERS: usize = 4_096;

/// A frame on its way.
pub(super) type Frame = Vec<u8>;

/// The two directions and whether they are cut.
pub(super) struct Line {
    links: [Link<Frame>; 2],
    mends: Option<Instant>,
}

impl Line {
    pub(super) fn links(&self) -> &[Link<Frame>; 2] {
        &self.links
    }

    pub(super) fn cut_until(&mut self, until: Instant) {
        self.links.iter_mut().for_each(Link::cut);
        self.mends = Some(until);
    }

    fn mend_in_time(&mut self, now: Instant) {
        if self.mends.is_some_and(|at| at <= now) {
            self.links.iter_mut().for_each(Link::mend);
            self.mends = None;
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let links = self.links.iter().filter_map(Link::poll_timeout);
        links.chain(self.mends).min()
    }
}

type Request = Box<dyn FnOnce(&mut Line) + Send>;

/// The running thread. Dropping it stops the thread and closes the devices, which the kernel then removes.
pub(super) struct Relay {
    requests: Option<mpsc::Sender<Request>>,
    bell: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub(super) fn start(
        devices: [SyncDevice; 2],
        links: [Link<Frame>; 2],
    ) -> Result<Relay, Failure> {
        let (requests, waiting) = mpsc::channel();
        let (door, bell) = pipe()?;
        let line = Line { links, mends: None };
        let thread = std::thread::Builder::new()
            .name("lab relay".into())
            .spawn(move || carry(&devices, line, &waiting, door))?;
        Ok(Relay {
            requests: Some(requests),
            bell: Some(bell),
            thread: Some(thread),
        })
    }

    /// Runs `work` on the relay's thread and waits for what it says.
    pub(super) fn with<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Line) -> R + Send + 'static,
    ) -> Result<R, Failure> {
        let gone = || Failure::new("the relay of the lab has ended");
        let (reply, answer) = mpsc::channel();
        let request: Request = Box::new(move |line| {
            // Nobody waits any more when this fails.
            let _ = reply.send(work(line));
        });
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests.send(request).map_err(|_| gone())?;
        if let Some(mut bell) = self.bell.as_ref() {
            bell.write_all(&[0])?;
        }
        answer.recv().map_err(|_| gone())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.requests = None;
        self.bell = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

/// CPU time of the calling thread.
pub(super) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Until the requests end.
fn carry(
    devices: &[SyncDevice; 2],
    mut line: Line,
    requests: &mpsc::Receiver<Request>,
    mut door: PipeReader,
) {
    // The kernel may round a thread's sleeps up by 50 µs otherwise; too late is a delay that nobody asked for.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let mut spare: Vec<Frame> = Vec::new();
    loop {
        loop {
            match requests.try_recv() {
                Ok(request) => request(&mut line),
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => return,
            }
        }
        let mut is_idle = true;
        for from in 0..devices.len() {
            let to = 1 - from;
            is_idle &= read(&devices[from], &mut line.links[from], &mut spare) == 0;
            let now = Instant::now();
            line.mend_in_time(now);
            while let Some(frame) = line.links[from].pop(now) {
                // A device refuses frames while it is being set up or torn down, as a wire without its plug would.
                let _ = devices[to].send(&frame);
                keep(&mut spare, frame);
            }
        }
        if is_idle && !wait(devices, &door, line.poll_timeout()) {
            // What rang is in `requests`, or they have ended.
            let _ = door.read(&mut [0; 64]);
        }
    }
}

/// Puts what a device has into its link, up to a turn; gives the number of frames.
fn read(device: &SyncDevice, link: &mut Link<Frame>, spare: &mut Vec<Frame>) -> usize {
    for count in 0..TURN {
        let mut frame = spare.pop().unwrap_or_default();
        frame.resize(FRAME_BYTES, 0);
        match device.recv(&mut frame) {
            Ok(bytes) => {
                frame.truncate(bytes);
                if let Some(dropped) = link.push(Instant::now(), bytes, frame) {
                    keep(spare, dropped);
                }
            }
            Err(error) => {
                keep(spare, frame);
                if error.kind() == ErrorKind::Interrupted {
                    continue;
                }
                return count;
            }
        }
    }
    TURN
}

fn keep(spare: &mut Vec<Frame>, frame: Frame) {
    if spare.len() < SPARE_BUFFERS {
        spare.push(frame);
    }
}

/// Waits until a device has frames, somebody rings or the time has come; `false` when somebody rang.
fn wait(devices: &[SyncDevice; 2], door: &PipeReader, until: Option<Instant>) -> bool {
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    let timeout = left.map(|left| Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    });
    let mut sources = [
        PollFd::new(&devices[0], PollFlags::IN),
        PollFd::new(&devices[1], PollFlags::IN),
        PollFd::new(door, PollFlags::IN),
    ];
    // An interrupted wait is a short one.
    let _ = poll(&mut sources, timeout.as_ref());
    sources[2].revents().is_empty()
}
