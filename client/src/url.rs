//! The server's address as a user writes it.

/// Where the signalling is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    pub(crate) is_tls: bool,
    /// A name or an address; IPv6 without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What stands before `/rtc/v1`: empty, or with a leading and without a trailing slash.
    pub(crate) prefix: String,
}

impl ServerUrl {
    /// Parses `ws`, `wss`, `http` or `https` with an optional port and path; a query is ignored.
    pub(crate) fn parse(url: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = url
            .trim()
            .split_once("://")
            .ok_or("it has no scheme such as wss://")?;
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => return Err("its scheme is not ws, wss, http or https"),
        };
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("it holds a character that must be percent-encoded");
        }
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err("it holds a user name, which no livekit server takes");
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let (host, port) = bracketed
                    .split_once(']')
                    .ok_or("its ipv6 address has no closing bracket")?;
                if host.parse::<std::net::Ipv6Addr>().is_err() {
                    return Err("its ipv6 address does not parse");
                }
                (host, port.strip_prefix(':').unwrap_or(port))
            }
            None => authority.split_once(':').unwrap_or((authority, "")),
        };
        if host.is_empty() {
            return Err("it has no host");
        }
        if host.contains(['\\', '"', '<', '>', '^', '`', '{', '|', '}']) {
            return Err("its host holds a character that no host has");
        }
        let port = match port {
            "" if is_tls => 443,
            "" => 80,
            digits => digits
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or("its port is not a number of 1 to 65535")?,
        };
        let mut prefix = path.trim_end_matches('/');
        // Somebody may have copied the whole signalling address.
        for tail in ["/rtc/v1", "/rtc"] {
            prefix = prefix.strip_suffix(tail).unwrap_or(prefix);
        }
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() {
            String::new()
        } else {
            format!("/{prefix}")
        };
        Ok(ServerUrl {
            is_tls,
            host: host.to_owned(),
            port,
            prefix,
        })
    }

    /// The value of the `Host` header.
    pub(crate) fn host_header(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match (self.is_tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[track_caller]
    fn check(url: &str, host_header: &str, is_tls: bool, prefix: &str) {
        let parsed = ServerUrl::parse(url).unwrap();
        assert_eq!(
            (
                parsed.host_header().as_str(),
                parsed.is_tls,
                parsed.prefix.as_str()
            ),
            (host_header, is_tls, prefix)
        );
    }

    #[test]
    fn all_forms_of_a_server_address_are_taken() {
        check("ws://127.0.0.1:7880", "127.0.0.1:7880", false, "");
        check("http://localhost:7880/", "localhost:7880", false, "");
        check(
            "wss://example.livekit.cloud",
            "example.livekit.cloud",
            true,
            "",
        );
        check("HTTPS://example.org:443/a/b//", "example.org", true, "/a/b");
        check("ws://[::1]:7880/x?y=z#w", "[::1]:7880", false, "/x");
        check("ws://[::1]", "[::1]", false, "");
        check("ws://host/rtc/v1", "host", false, "");
        check("ws://host/deep/rtc", "host", false, "/deep");
        check(" ws://host//rtc ", "host", false, "");
    }

    #[test]
    fn what_is_no_server_address_is_refused_with_a_reason() {
        for url in [
            "",
            "localhost:7880",
            "ftp://host",
            "ws://",
            "ws:///path",
            "ws://host:0",
            "ws://host:99999",
            "ws://host:x",
            "ws://user:password@host",
            "ws://[::1",
            "ws://[nonsense]:1",
            "ws://ho st",
            "ws://h\u{f6}st",
            "ws://host/\r\nx",
        ] {
            assert!(ServerUrl::parse(url).is_err(), "{url:?}");
        }
    }
}
