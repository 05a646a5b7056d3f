//! A network namespace that ends with the process that holds it.

use std::path::PathBuf;

use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::host::Host;
use crate::process::{Events, Failure, Process, Tied};

/// The name of the one network device of a namespace.
const DEVICE: &str = "lab0";

/// Frames that the kernel keeps for the relay: 100 ms at 100 000 a second.
const QUEUE_FRAMES: u32 = 10_000;

/// Largest IP packet in bytes, as on Ethernet.
const MTU: u16 = 1_500;

/// Dropping it ends its holder, and with the last process that runs inside the namespace is gone.
pub(super) struct Namespace {
    holder: Process,
}

impl Namespace {
    pub(super) fn new() -> Result<Namespace, Failure> {
        // Loopback alone, and no IPv6: its neighbour discovery and extra addresses are no part of what is measured.
        // `cat` ends when our end of its input does.
        let script = r#"set -e
            all=/proc/sys/net/ipv6/conf/all/disable_ipv6
            if [ -e $all ]; then echo 1 >$all; fi
            ip link set lo up
            echo '{"event":"ready"}'
            exec cat"#;
        let command = Tied::new("/usr/bin/unshare").with(["--net", "/bin/sh", "-c", script]);
        let mut holder = Process::spawn("namespace", &command, Events::Output)?;
        holder.expect("ready")?;
        Ok(Namespace { holder })
    }

    /// What setns(2) takes.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.holder.id()))
    }

    /// Makes the device through which `here` and `there` see each other.
    pub(super) fn attach(&self, here: &Host, there: &Host) -> Result<SyncDevice, Failure> {
        let device = here.enter(|| {
            // Without offloads the kernel cuts what it sends into the packets that a wire would see.
            DeviceBuilder::new()
                .name(DEVICE)
                .layer(Layer::L2)
                .mtu(MTU)
                .tx_queue_len(QUEUE_FRAMES)
                .mac_addr(hardware_address(here))
                .offload(false)
                .enable(false)
                .build_sync()
        })??;
        device.set_nonblocking(true)?;
        let neighbour = hardware_address(there)
            .map(|byte| format!("{byte:02x}"))
            .join(":");
        // Address resolution would take a second whenever one of its packets is lost: say the answer.
        let script = format!(
            "set -e
             ip address add {}/24 dev {DEVICE}
             ip link set {DEVICE} up
             ip neighbour replace {} lladdr {neighbour} dev {DEVICE} nud permanent",
            here.address(),
            there.address(),
        );
        let command = here.program("/bin/sh").with(["-c", &script]);
        Process::spawn("ip", &command, Events::Output)?.succeed()?;
        Ok(device)
    }

    /// Frames that found the device's queue full.
    pub(super) fn overruns(&self, here: &Host) -> Result<u64, Failure> {
        let table = here.enter(|| std::fs::read_to_string("/proc/thread-self/net/dev"))??;
        // After the name: eight columns of what was received, then bytes, packets, errors and drops of what was sent.
        let drops = table
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(DEVICE)?.strip_prefix(':'))
            .and_then(|columns| columns.split_whitespace().nth(11))
            .and_then(|drops| drops.parse().ok());
        drops.ok_or_else(|| {
            self.holder
                .failure("the kernel does not count what it drops")
        })
    }
}

/// A locally administered address that tells the two hosts apart.
fn hardware_address(host: &Host) -> [u8; 6] {
    let [.., last] = host.address().octets();
    [0x02, 0, 0, 0, 0, last]
}
