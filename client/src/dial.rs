//! A TCP connection to a host that may have several addresses, some of which may not work (RFC 8305).

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How long an attempt goes on alone before the next address is tried beside it (RFC 8305 §8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Addresses that are tried at most.
const ADDRESSES: usize = 16;

/// Connects to the address that answers first, in the order of [`interleaved`].
pub(crate) async fn dial(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let stream = race(interleaved(addresses), TcpStream::connect).await?;
    // Small messages that somebody waits for.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// The addresses in the resolver's order, except that the families take turns (RFC 8305 §4).
fn interleaved(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut first = Vec::new();
    let mut second = Vec::new();
    for address in addresses {
        match first.first().map(SocketAddr::is_ipv6) {
            Some(is_ipv6) if is_ipv6 != address.is_ipv6() => second.push(address),
            _ => first.push(address),
        }
    }
    let mut order = Vec::new();
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        let turn = [first.next(), second.next()];
        if turn == [None, None] {
            break;
        }
        order.extend(turn.into_iter().flatten());
    }
    order.truncate(ADDRESSES);
    order
}

/// Tries one address after the other, the next as soon as one has failed or has taken [`ATTEMPT_DELAY`]. The first to
/// succeed wins and the others are dropped; if all fail, the error is that of the first to fail.
async fn race<T, F: Future<Output = io::Result<T>>>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = None;
    let mut next = pin!(tokio::time::sleep(Duration::ZERO));
    loop {
        tokio::select! {
            biased;
            Some(attempt) = attempts.next(), if !attempts.is_empty() => match attempt {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    failure.get_or_insert(error);
                    next.as_mut().reset(Instant::now());
                }
            },
            () = &mut next, if waiting.len() > 0 => {
                attempts.extend(waiting.next().map(&connect));
                next.as_mut().reset(Instant::now() + ATTEMPT_DELAY);
            }
            else => break,
        }
    }
    Err(failure
        .unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::cell::RefCell;

    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|each| each.parse().unwrap()).collect()
    }

    /// What becomes of an attempt at each port: 1 never answers, 2 fails, anything else succeeds.
    async fn outcome(list: &[&str]) -> (io::Result<u16>, Vec<u16>) {
        let tried = RefCell::new(Vec::new());
        let racing = race(addresses(list), |address| {
            tried.borrow_mut().push(address.port());
            async move {
                match address.port() {
                    1 => std::future::pending().await,
                    2 => Err(io::ErrorKind::ConnectionRefused.into()),
                    port => Ok(port),
                }
            }
        });
        let result = tokio::time::timeout(Duration::from_secs(30), racing);
        let result = result.await.expect("no attempt ended");
        (result, tried.take())
    }

    #[test]
    fn families_take_turns_and_the_first_stays_first() {
        let order = |list: &[&str]| interleaved(addresses(list).into_iter());
        assert_eq!(
            order(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]),
            addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"])
        );
        assert_eq!(
            order(&["1.1.1.1:1", "[::1]:1", "[::2]:1", "[::3]:1"]),
            addresses(&["1.1.1.1:1", "[::1]:1", "[::2]:1", "[::3]:1"])
        );
        assert!(order(&[]).is_empty());
        let many = (0..100).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        assert_eq!(interleaved(many).len(), ADDRESSES);
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_is_passed_by() {
        let (result, tried) = outcome(&["[::1]:1", "1.1.1.1:7"]).await;
        assert_eq!((result.unwrap(), tried), (7, vec![1, 7]));
        let (result, tried) = outcome(&["[::1]:1", "1.1.1.1:2", "[::2]:7", "[::3]:8"]).await;
        assert_eq!((result.unwrap(), tried), (7, vec![1, 2, 7]));
        let (result, tried) = outcome(&["1.1.1.1:7", "[::1]:8"]).await;
        assert_eq!((result.unwrap(), tried), (7, vec![7]));
    }

    #[tokio::test]
    async fn if_all_fail_the_error_is_the_first() {
        let (result, tried) = outcome(&["[::1]:2", "1.1.1.1:2"]).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(tried, [2, 2]);
        let (result, _) = outcome(&[]).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
