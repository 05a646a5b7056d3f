//! The socket: batches of datagrams in one system call (GSO and GRO where the kernel has them).
//!
//! [`Socket`] never blocks: `try_*` fails with [`io::ErrorKind::WouldBlock`]. With tokio, either put it into an
//! `AsyncFd` (unix), or register [`Socket::try_clone_std`] as a `tokio::net::UdpSocket` and run [`Socket::try_send`] and
//! [`Socket::try_receive`] inside of its `try_io`.
//!
//! A socket bound to `[::]` serves both families; addresses of IPv4 are given and taken as such.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
#[cfg(unix)]
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};

use crate::limits;
use crate::peer::{Received, Transmit};

/// Buffers that one [`Socket::try_receive`] fills; each takes one GRO batch.
const RECEIVE_BUFFERS: usize = 8;

/// Bytes of one receive buffer: the largest GRO batch that the kernel makes.
const RECEIVE_BUFFER_BYTES: usize = 65_536;

/// What the kernel granted of [`limits::SOCKET_BUFFER`], in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferSizes {
    /// `SO_RCVBUF`.
    pub receive: usize,
    /// `SO_SNDBUF`.
    pub send: usize,
}

impl BufferSizes {
    /// Whether less than [`limits::SOCKET_BUFFER`] was granted to receive: worth a warning, since bursts will be lost
    /// (Linux: raise `net.core.rmem_max`).
    #[must_use]
    pub fn is_short(self) -> bool {
        self.receive < limits::SOCKET_BUFFER
    }
}

/// A non-blocking UDP socket. Dropping it closes it.
#[derive(Debug)]
pub struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
    buffers: BufferSizes,
    is_ipv6: bool,
}

impl Socket {
    /// Binds a socket and asks for large buffers.
    ///
    /// # Errors
    /// When the address is taken or not ours, or the kernel lacks an option that is needed.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::new(UdpSocket::bind(address)?)
    }

    /// Takes a bound socket.
    ///
    /// # Errors
    /// When the kernel lacks an option that is needed.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let reference = || UdpSockRef::from(&socket);
        // Less than asked for is no error: the caller learns it from `buffer_sizes`.
        let _ = state.set_recv_buffer_size(reference(), limits::SOCKET_BUFFER);
        let _ = state.set_send_buffer_size(reference(), limits::SOCKET_BUFFER);
        let granted = |size: usize| {
            if cfg!(any(target_os = "linux", target_os = "android")) {
                size / 2
            } else {
                size
            }
        };
        // Linux reports twice what it grants, its own bookkeeping included (socket(7)).
        let buffers = BufferSizes {
            receive: granted(state.recv_buffer_size(reference())?),
            send: granted(state.send_buffer_size(reference())?),
        };
        let is_ipv6 = socket.local_addr()?.is_ipv6();
        Ok(Self {
            socket,
            state,
            buffers,
            is_ipv6,
        })
    }

    /// A socket for both families wants IPv4 addresses in IPv6 form.
    fn mapped(&self, destination: SocketAddr) -> SocketAddr {
        match destination {
            SocketAddr::V4(address) if self.is_ipv6 => {
                SocketAddr::new(address.ip().to_ipv6_mapped().into(), address.port())
            }
            other => other,
        }
    }

    /// The address it is bound to.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The buffer sizes that the kernel granted.
    #[must_use]
    pub fn buffer_sizes(&self) -> BufferSizes {
        self.buffers
    }

    /// How many segments one [`Socket::try_send`] may carry now; give it to
    /// [`Peer::poll_transmit`](crate::Peer::poll_transmit). May fall to 1 when the network card refuses GSO.
    #[must_use]
    pub fn max_segments(&self) -> usize {
        self.state.max_gso_segments().clamp(1, limits::MAX_SEGMENTS)
    }

    /// A second handle to the same socket, non-blocking too, for an event loop to wait on.
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn try_clone_std(&self) -> io::Result<UdpSocket> {
        self.socket.try_clone()
    }

    /// Sends one batch: `buffer[..transmit.len]`.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when the socket is full: keep the batch and try again when it is writable. All others
    /// mean that this batch is lost; the socket stays good.
    pub fn try_send(&self, transmit: &Transmit, buffer: &[u8]) -> io::Result<()> {
        let Some(contents) = buffer.get(..transmit.len) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        self.state.try_send(
            UdpSockRef::from(&self.socket),
            &quinn_udp::Transmit {
                destination: self.mapped(transmit.destination),
                ecn: None,
                contents,
                segment_size: transmit.segment_size,
                src_ip: transmit.source,
            },
        )
    }

    /// Receives into `batch`, whose former contents are gone. Gives the number of buffers filled.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing is there.
    pub fn try_receive(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        batch.filled = 0;
        let mut chunks = batch.storage.chunks_exact_mut(RECEIVE_BUFFER_BYTES);
        let mut slices: [IoSliceMut<'_>; RECEIVE_BUFFERS] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        batch.filled =
            self.state
                .recv(UdpSockRef::from(&self.socket), &mut slices, &mut batch.meta)?;
        Ok(batch.filled)
    }
}

#[cfg(unix)]
impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(unix)]
impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Buffers for received datagrams, 512 KiB; make one per socket and use it again and again.
pub struct ReceiveBatch {
    storage: Box<[u8]>,
    meta: [RecvMeta; RECEIVE_BUFFERS],
    filled: usize,
}

impl ReceiveBatch {
    /// Empty buffers.
    #[must_use]
    pub fn new() -> Self {
        Self {
            storage: vec![0; RECEIVE_BUFFERS * RECEIVE_BUFFER_BYTES].into_boxed_slice(),
            meta: [RecvMeta::default(); RECEIVE_BUFFERS],
            filled: 0,
        }
    }

    /// What the last [`Socket::try_receive`] brought, in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = Received<'_>> {
        self.storage
            .chunks_exact(RECEIVE_BUFFER_BYTES)
            .zip(&self.meta)
            .take(self.filled)
            .map(|(bytes, meta)| Received {
                remote: SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port()),
                local: meta.dst_ip.map(|ip| ip.to_canonical()),
                data: &bytes[..meta.len.min(bytes.len())],
                segment_size: meta.stride.max(1),
            })
    }
}

impl Default for ReceiveBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for ReceiveBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveBatch")
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}
