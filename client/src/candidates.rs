//! The addresses at which our socket can be reached.

use std::net::{IpAddr, SocketAddr};

/// More addresses than this are not offered: each makes the checks of both sides longer.
const CANDIDATES: usize = 16;

/// Which addresses the socket can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Families {
    /// IPv4 only.
    V4,
    /// IPv6, and IPv4 as mapped addresses.
    Both,
}

/// The host candidates of a socket at `port`, those next to the server first.
pub(crate) fn local(port: u16, families: Families, server: IpAddr) -> Vec<SocketAddr> {
    let addresses = match if_addrs::get_if_addrs() {
        Ok(interfaces) => interfaces.iter().map(|interface| interface.ip()).collect(),
        Err(error) => {
            tracing::warn!(%error, "can't list the network interfaces");
            Vec::new()
        }
    };
    choose(addresses, families, server)
        .into_iter()
        .map(|address| SocketAddr::new(address, port))
        .collect()
}

/// Loopback addresses only if the server is on loopback or there is nothing else; never link-local ones.
fn choose(addresses: Vec<IpAddr>, families: Families, server: IpAddr) -> Vec<IpAddr> {
    let server = server.to_canonical();
    let mut usable: Vec<IpAddr> = Vec::new();
    for address in addresses {
        if is_usable(address, families) && !usable.contains(&address) {
            usable.push(address);
        }
    }
    let has_other = usable.iter().any(|address| !address.is_loopback());
    if has_other && !server.is_loopback() {
        usable.retain(|address| !address.is_loopback());
    }
    // Stable: the order of the interfaces stays within each half.
    usable.sort_by_key(|address| {
        (
            address.is_loopback() != server.is_loopback(),
            address.is_ipv4() != server.is_ipv4(),
        )
    });
    usable.truncate(CANDIDATES);
    usable
}

fn is_usable(address: IpAddr, families: Families) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => {
            families == Families::Both && !v6.is_unicast_link_local() && !v6.is_unspecified()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn loopback_is_offered_only_where_it_can_work() {
        let all = ips(&[
            "127.0.0.1",
            "10.0.0.2",
            "169.254.1.1",
            "fe80::1",
            "fd00::1",
            "::1",
            "10.0.0.2",
        ]);
        let loopback = "127.0.0.1".parse().unwrap();
        let far = "192.0.2.1".parse().unwrap();
        assert_eq!(choose(all.clone(), Families::V4, far), ips(&["10.0.0.2"]));
        assert_eq!(
            choose(all.clone(), Families::V4, loopback),
            ips(&["127.0.0.1", "10.0.0.2"])
        );
        assert_eq!(
            choose(all.clone(), Families::Both, far),
            ips(&["10.0.0.2", "fd00::1"])
        );
        assert_eq!(
            choose(all, Families::Both, "::1".parse().unwrap()),
            ips(&["::1", "127.0.0.1", "fd00::1", "10.0.0.2"])
        );
        assert_eq!(
            choose(ips(&["127.0.0.1"]), Families::V4, far),
            ips(&["127.0.0.1"])
        );
        let many = (0..40)
            .map(|i| format!("10.0.0.{i}").parse().unwrap())
            .collect();
        assert_eq!(choose(many, Families::V4, far).len(), CANDIDATES);
    }
}
