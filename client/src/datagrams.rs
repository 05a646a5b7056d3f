//! The UDP socket on tokio's reactor.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use lkstream_transport::udp::{ReceiveBatch, Socket};
use lkstream_transport::{Received, Transmit};
use tokio::io::Interest;

/// A batching socket, with a second handle to it that tokio waits on.
#[derive(Debug)]
pub(crate) struct Datagrams {
    socket: Socket,
    reactor: tokio::net::UdpSocket,
    batch: ReceiveBatch,
    /// The socket is an IPv6 one, which shows IPv4 addresses as mapped ones; the peer connection sees them as IPv4.
    is_mapped: bool,
}

impl Datagrams {
    pub(crate) fn new(socket: Socket) -> io::Result<Self> {
        let sizes = socket.buffer_sizes();
        if sizes.is_short() {
            tracing::debug!(
                granted = sizes.receive,
                "small udp receive buffer, bursts may be lost; raise net.core.rmem_max"
            );
        }
        let reactor = tokio::net::UdpSocket::from_std(socket.try_clone_std()?)?;
        let is_mapped = socket.local_addr()?.is_ipv6();
        Ok(Datagrams {
            socket,
            reactor,
            batch: ReceiveBatch::new(),
            is_mapped,
        })
    }

    pub(crate) fn local_port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    pub(crate) fn max_segments(&self) -> usize {
        self.socket.max_segments()
    }

    /// Receives one batch and hands each part of it to `take`.
    pub(crate) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(Received<'_>),
    ) -> Poll<io::Result<()>> {
        loop {
            match self.reactor.try_io(Interest::READABLE, || {
                self.socket.try_receive(&mut self.batch)
            }) {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.reactor.poll_recv_ready(cx))?
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        for mut received in self.batch.iter() {
            if self.is_mapped {
                received.remote =
                    SocketAddr::new(received.remote.ip().to_canonical(), received.remote.port());
                received.local = received.local.map(|local| local.to_canonical());
            }
            take(received);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends one batch; pending when the socket is full, then it is to be sent again.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        transmit: &Transmit,
        buffer: &[u8],
    ) -> Poll<io::Result<()>> {
        let mut transmit = *transmit;
        if self.is_mapped
            && let SocketAddr::V4(v4) = transmit.destination
        {
            transmit.destination = SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port());
            // The kernel chooses: how a mapped source is named differs between systems.
            transmit.source = None;
        }
        loop {
            match self.reactor.try_io(Interest::WRITABLE, || {
                self.socket.try_send(&transmit, buffer)
            }) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.reactor.poll_send_ready(cx))?
                }
                result => return Poll::Ready(result),
            }
        }
    }
}
