//! One side: an association, its records and its socket, in the order in which `transport` and its callers do things.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use lkstream_transport::udp::{ReceiveBatch, Socket};
use lkstream_transport::{Transmit, limits};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};

use crate::link::Endpoint;
use crate::record::{OVERHEAD_BYTES, ROOM, Records};
use crate::{Failure, MESSAGE, SEND_BUFFER};

/// The stream that is used.
const STREAM: u16 = 1;

/// How long an end sleeps at most before it looks whether it is done.
const NAP: Duration = Duration::from_millis(50);

/// When is measured.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
}

/// What a thread did until some time.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) at: Instant,
    /// User and system time of the thread.
    pub(crate) cpu: Duration,
    /// Bytes of messages read.
    pub(crate) bytes: usize,
}

pub(crate) struct End<E> {
    pub(crate) endpoint: E,
    pub(crate) socket: Socket,
    pub(crate) remote: SocketAddr,
    pub(crate) records: Records,
    /// What to send again and again.
    pub(crate) message: Option<Bytes>,
}

impl<E: Endpoint> End<E> {
    /// Runs until the window is over. Gives the marks of its begin and end.
    pub(crate) fn run(mut self, window: Window) -> Result<[Mark; 2], Failure> {
        let mut batch = ReceiveBatch::new();
        let mut buffer = Vec::with_capacity(limits::BATCH_BYTES);
        let mut held = Vec::new();
        let mut bytes = 0;
        let mut first = None;
        loop {
            let filled = match self.socket.try_receive(&mut batch) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                filled => filled?,
            };
            let now = Instant::now();
            if filled > 0 {
                self.input(now, &batch)?;
            }
            if self.endpoint.next_timeout().is_some_and(|at| at <= now) {
                self.endpoint.timeout(now);
            }
            bytes += self.read()?;
            self.write(now);
            while let Some(transmit) = self.fill(&mut buffer, &mut held)? {
                self.send(&transmit, &buffer)?;
            }
            let mark = || Mark {
                at: Instant::now(),
                cpu: thread_cpu(),
                bytes,
            };
            match first {
                None if now >= window.begin => first = Some(mark()),
                Some(first) if now >= window.end => return Ok([first, mark()]),
                _ => {}
            }
            if filled == 0 {
                let timeout = self.endpoint.next_timeout();
                let until = timeout.map_or(now + NAP, |at| at.min(now + NAP));
                self.wait(PollFlags::IN, until);
            }
        }
    }

    fn input(&mut self, now: Instant, batch: &ReceiveBatch) -> Result<(), Failure> {
        for received in batch.iter() {
            let mut arena = BytesMut::with_capacity(received.data.len());
            for datagram in received.data.chunks(received.segment_size) {
                arena.extend_from_slice(datagram);
                let mut record = arena.split();
                let packet = self.records.open(&mut record).ok_or("a forged record")?;
                self.endpoint
                    .input_shared(now, record.freeze().slice(packet));
            }
        }
        Ok(())
    }

    fn read(&mut self) -> Result<usize, Failure> {
        let mut bytes = 0;
        while let Some((_, message)) = self.endpoint.read() {
            if message.len() != MESSAGE {
                return Err(format!("a message of {} bytes", message.len()).into());
            }
            bytes += message.len();
        }
        Ok(bytes)
    }

    fn write(&mut self, now: Instant) {
        if let Some(message) = &self.message
            && self.endpoint.is_connected()
        {
            while self.endpoint.room(SEND_BUFFER) >= message.len() {
                self.endpoint.write(now, STREAM, message.clone());
            }
        }
    }

    /// The next batch: records of one size, of which the last may be shorter. A packet that is larger is held for the next one.
    fn fill(
        &mut self,
        buffer: &mut Vec<u8>,
        held: &mut Vec<u8>,
    ) -> Result<Option<Transmit>, Failure> {
        buffer.clear();
        let now = Instant::now();
        let mut size = 0;
        let mut segments = 0;
        while segments < self.socket.max_segments() && buffer.len() + size <= limits::BATCH_BYTES {
            let start = buffer.len();
            buffer.extend_from_slice(&ROOM);
            if !held.is_empty() {
                buffer.append(held);
            } else if !self.endpoint.output(now, buffer) {
                buffer.truncate(start);
                break;
            }
            let sealed = buffer.len() - start + OVERHEAD_BYTES - ROOM.len();
            if segments > 0 && sealed > size {
                held.extend_from_slice(&buffer[start + ROOM.len()..]);
                buffer.truncate(start);
                break;
            }
            self.records
                .seal(start, buffer)
                .ok_or("a packet that cannot be sealed")?;
            segments += 1;
            if segments == 1 {
                size = sealed;
            } else if sealed < size {
                break;
            }
        }
        Ok((segments > 0).then(|| Transmit {
            destination: self.remote,
            source: None,
            len: buffer.len(),
            segment_size: (segments > 1).then_some(size),
        }))
    }

    fn send(&self, transmit: &Transmit, buffer: &[u8]) -> Result<(), Failure> {
        while let Err(error) = self.socket.try_send(transmit, buffer) {
            if error.kind() != ErrorKind::WouldBlock {
                return Err(error.into());
            }
            self.wait(PollFlags::OUT, Instant::now() + NAP);
        }
        Ok(())
    }

    fn wait(&self, what: PollFlags, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let socket = self.socket.as_fd();
        // An interrupted wait is a short one.
        let _ = poll(&mut [PollFd::new(&socket, what)], Some(&timeout));
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanos)
}
