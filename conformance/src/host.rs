//! Where a process runs: on this machine's loopback, at another of its addresses or in a network namespace, with the address others find it at.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::process::{Failure, Tied};

/// A network, as a process on it sees it.
#[derive(Clone, Debug)]
pub struct Host {
    address: Ipv4Addr,
    // What setns(2) takes. Without one: the network this process is in.
    namespace: Option<PathBuf>,
}

impl Host {
    /// This machine, reachable on its loopback only.
    #[must_use]
    pub fn loopback() -> Host {
        Host::here(Ipv4Addr::LOCALHOST)
    }

    /// This machine, at one of its addresses.
    #[must_use]
    pub fn here(address: Ipv4Addr) -> Host {
        Host {
            address,
            namespace: None,
        }
    }

    /// The network namespace behind this path, where it has this address.
    #[must_use]
    pub fn in_namespace(namespace: PathBuf, address: Ipv4Addr) -> Host {
        Host {
            address,
            namespace: Some(namespace),
        }
    }

    /// The same network at its loopback, where nothing but itself reaches it.
    #[must_use]
    pub fn own_loopback(&self) -> Host {
        Host {
            address: Ipv4Addr::LOCALHOST,
            ..self.clone()
        }
    }

    /// Where it is reached.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Whether only this machine itself reaches it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.address.is_loopback()
    }

    /// A program that will run here.
    #[must_use]
    pub fn program(&self, path: impl Into<PathBuf>) -> Tied {
        match &self.namespace {
            None => Tied::new(path),
            Some(namespace) => Tied::new(path).inside(namespace),
        }
    }

    /// Runs `work` on a thread that is here. Sockets it opens stay here, wherever they are used afterwards.
    ///
    /// # Errors
    /// When the namespace cannot be entered or `work` panics.
    #[cfg(target_os = "linux")]
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R, Failure> {
        use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
        use std::os::fd::AsFd;

        let Some(path) = &self.namespace else {
            return Ok(work());
        };
        let namespace = std::fs::File::open(path)?;
        let entered = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let kind = LinkNameSpaceType::Network;
                move_into_link_name_space(namespace.as_fd(), Some(kind)).map(|()| work())
            });
            thread.join()
        });
        match entered {
            Ok(result) => Ok(result?),
            Err(_) => Err(Failure::new("the work in a namespace panicked")),
        }
    }

    /// Runs `work`; there are no namespaces here.
    ///
    /// # Errors
    /// None.
    #[cfg(not(target_os = "linux"))]
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R, Failure> {
        Ok(work())
    }
}
