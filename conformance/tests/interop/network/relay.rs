//! The lab delays, loses and cuts the kernel's packets as its link is set to.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::fs::MetadataExt;
use std::time::{Duration, Instant};

use lkstream_conformance::host::Host;
use lkstream_conformance::lab::Lab;
use lkstream_conformance::link::{Bottleneck, Config, Loss};
use lkstream_conformance::process::{DEADLINE, Failure};
use lkstream_conformance::wire::Random;

use crate::interop::payloads::sha256;

const SEED: u64 = 11;

/// Few enough for the buffer of a socket, of which a datagram takes more than its size.
const COUNT: u16 = 64;

/// A socket on each side, the left one connected to the right one.
fn sockets(lab: &Lab) -> Result<[UdpSocket; 2], Failure> {
    let bind = |host: &Host| host.enter(|| UdpSocket::bind((host.address(), 0)));
    let [left, right] = [bind(lab.left())??, bind(lab.right())??];
    left.connect(right.local_addr()?)?;
    right.set_read_timeout(Some(DEADLINE))?;
    Ok([left, right])
}

/// Sends so many numbered datagrams.
fn send(socket: &UdpSocket, count: u16) -> Result<(), Failure> {
    for number in 0..count {
        let mut datagram = [0; 1_000];
        datagram[..2].copy_from_slice(&number.to_be_bytes());
        socket.send(&datagram)?;
    }
    Ok(())
}

fn receive(socket: &UdpSocket) -> Result<u16, Failure> {
    let mut datagram = [0; 1_000];
    socket.recv(&mut datagram)?;
    Ok(u16::from_be_bytes([datagram[0], datagram[1]]))
}

/// Waits until the link has disposed of so many packets, and gives its counters.
fn settled(lab: &Lab, count: u64) -> Result<lkstream_conformance::link::Totals, Failure> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let [there, _] = lab.totals()?;
        if there.carried + there.lost + there.overflowed + there.cut_off >= count {
            return Ok(there);
        }
        if Instant::now() > deadline {
            return Err(Failure::new(format!("{there:?} of {count}")));
        }
        std::thread::yield_now();
    }
}

#[test]
#[ignore = "needs a lab"]
fn loses_what_the_seed_says_and_delays_the_rest() -> Result<(), Failure> {
    let run = || {
        let config = Config {
            delay: Duration::from_millis(10),
            loss: Loss::Each(0.2),
            ..Config::default()
        };
        let lab = Lab::symmetric(config, SEED)?;
        let [left, right] = sockets(&lab)?;
        let start = Instant::now();
        send(&left, COUNT)?;
        let first = receive(&right)?;
        assert!(start.elapsed() >= Duration::from_millis(10));
        let totals = settled(&lab, COUNT.into())?;
        assert_eq!(totals.carried + totals.lost, u64::from(COUNT), "{totals:?}");
        assert!(totals.lost > 0, "{totals:?}");
        assert_eq!(lab.overruns()?, [0, 0]);
        let mut numbers = vec![first];
        while (numbers.len() as u64) < totals.carried {
            numbers.push(receive(&right)?);
        }
        Ok::<_, Failure>(numbers)
    };
    let numbers = run()?;
    assert!(numbers.is_sorted());
    assert_eq!(numbers, run()?);
    Ok(())
}

#[test]
#[ignore = "needs a lab"]
fn refuses_what_its_queue_does_not_hold() -> Result<(), Failure> {
    let slow = Config {
        bottleneck: Some(Bottleneck {
            bytes_per_second: 10_000,
            queue: 5_300,
        }),
        ..Config::default()
    };
    let lab = Lab::new(slow, Config::default(), SEED)?;
    let [left, right] = sockets(&lab)?;
    // 14 bytes of Ethernet, 20 of IP and 8 of UDP: 5 packets fit, and the next does a tenth of a second later.
    send(&left, COUNT)?;
    let totals = settled(&lab, COUNT.into())?;
    assert!(totals.carried >= 5 && totals.overflowed > 0, "{totals:?}");
    assert_eq!(totals.carried_bytes, totals.carried * 1_042);
    for _ in 0..totals.carried {
        receive(&right)?;
    }
    Ok(())
}

#[test]
#[ignore = "needs a lab"]
fn carries_nothing_while_it_is_cut() -> Result<(), Failure> {
    let lab = Lab::symmetric(Config::default(), SEED)?;
    let [left, right] = sockets(&lab)?;
    // Long enough for a busy machine to send within it.
    lab.cut_for(Duration::from_secs(2))?;
    right.set_read_timeout(Some(Duration::from_millis(10)))?;
    let deadline = Instant::now() + DEADLINE;
    // Each attempt that brings nothing waits for its timeout.
    while send(&left, 1).and_then(|()| receive(&right)).is_err() {
        assert!(Instant::now() < deadline, "{:?}", lab.totals());
    }
    let [there, _] = lab.totals()?;
    assert!(there.cut_off > 0, "{there:?}");
    Ok(())
}

#[test]
#[ignore = "needs a lab"]
fn carries_tcp_whole_and_is_gone_when_dropped() -> Result<(), Failure> {
    let config = Config {
        delay: Duration::from_millis(2),
        loss: Loss::Bursts {
            share: 0.01,
            length: 3.0,
        },
        ..Config::default()
    };
    let lab = Lab::symmetric(config, SEED)?;
    let (left, right) = (lab.left().clone(), lab.right().clone());
    let listener = right.enter(|| TcpListener::bind((right.address(), 0)))??;
    let address = listener.local_addr()?;
    let data = Random::new(SEED).bytes(3_000_000);
    let digest = sha256(&data);
    let mut sender = left.enter(|| TcpStream::connect(address))??;
    let (mut receiver, _) = listener.accept()?;
    receiver.set_read_timeout(Some(DEADLINE))?;
    let writing = std::thread::spawn(move || sender.write_all(&data));
    let mut received = Vec::new();
    receiver.read_to_end(&mut received)?;
    writing.join().unwrap()?;
    assert_eq!(sha256(&received), digest);
    assert!(lab.totals()?[0].lost > 0);

    // The handles keep the namespaces, to look into them afterwards.
    let kept = [left.enter(open_namespace)??, right.enter(open_namespace)??];
    for namespace in &kept {
        assert!(devices(namespace)?.contains("lab0"));
        assert!(residents(namespace)? > 0);
    }
    drop(lab);
    for (host, namespace) in [left, right].iter().zip(&kept) {
        assert!(host.enter(|| ()).is_err());
        assert_eq!(residents(namespace)?, 0);
        let devices = devices(namespace)?;
        assert!(
            devices.contains("lo:") && !devices.contains("lab0"),
            "{devices}"
        );
    }
    Ok(())
}

/// The namespace of the calling thread.
fn open_namespace() -> std::io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

/// The table of network devices of a namespace.
fn devices(namespace: &File) -> Result<String, Failure> {
    let path = format!("/proc/self/fd/{}", namespace.as_raw_fd());
    let host = Host::in_namespace(path.into(), Ipv4Addr::LOCALHOST);
    Ok(host.enter(|| std::fs::read_to_string("/proc/thread-self/net/dev"))??)
}

/// How many processes of the machine are in a namespace.
fn residents(namespace: &File) -> Result<usize, Failure> {
    let inode = namespace.metadata()?.st_ino();
    let processes = std::fs::read_dir("/proc")?.flatten();
    let residents = processes.filter(|process| {
        // Others may be gone by now, or not ours to look at.
        let namespace = std::fs::metadata(process.path().join("ns/net"));
        namespace.is_ok_and(|namespace| namespace.st_ino() == inode)
    });
    Ok(residents.count())
}
