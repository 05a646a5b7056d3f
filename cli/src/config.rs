//! `serve --config`: the part of livekit-server's YAML that a data-only server can honour.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use lkstream_server::LoopbackCandidates;
use saphyr::{Yaml, YamlLoader};
use saphyr_parser::Parser;

use crate::exit::Failure;

/// The settings of a file, with a warning for each that has no effect.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct FileSettings {
    pub(crate) port: Option<u16>,
    pub(crate) bind: Option<IpAddr>,
    pub(crate) rtc_port: Option<u16>,
    pub(crate) node_ip: Option<IpAddr>,
    pub(crate) loopback: Option<LoopbackCandidates>,
    pub(crate) keys: Vec<(String, String)>,
    pub(crate) empty_timeout: Option<Duration>,
    pub(crate) departure_timeout: Option<Duration>,
    pub(crate) max_participants: Option<usize>,
    /// One line for each setting that has no effect here.
    pub(crate) warnings: Vec<String>,
}

/// A setting that can't be taken: its path in the file, and why. Never the value: it may be a secret.
#[derive(Debug, PartialEq, Eq)]
struct Unusable {
    path: String,
    why: String,
}

impl FileSettings {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<FileSettings, Failure> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Failure::usage(
                format!("can't read {}: {e}", path.display()),
                "check --config",
            )
        })?;
        let mut settings = FileSettings::parse(&text).map_err(|why| {
            Failure::usage(
                format!("{}: {why}", path.display()),
                "correct the file, or leave the setting out",
            )
        })?;
        for warning in &mut settings.warnings {
            *warning = format!("{}: {warning}", path.display());
        }
        Ok(settings)
    }

    /// Reads the text of a file.
    pub(crate) fn parse(text: &str) -> Result<FileSettings, String> {
        let mut loader = YamlLoader::<Yaml>::default();
        // Scalars stay as written: a secret of digits keeps its leading zeros.
        loader.early_parse(false);
        let scanned = Parser::new_from_str(text).load(&mut loader, true).err();
        if let Some(e) = scanned.as_ref().or(loader.error()) {
            return Err(format!(
                "line {} is no valid YAML: {}",
                e.marker().line(),
                e.info()
            ));
        }
        let documents = loader.into_documents();
        let mut settings = FileSettings::default();
        let Some(root) = documents.first() else {
            return Ok(settings);
        };
        if is_empty(root) {
            return Ok(settings);
        }
        settings
            .section("", root)
            .map_err(|Unusable { path, why }| format!("`{path}` {why}"))?;
        Ok(settings)
    }

    fn section(&mut self, path: &str, node: &Yaml) -> Result<(), Unusable> {
        let Yaml::Mapping(entries) = node else {
            if is_empty(node) {
                return Ok(());
            }
            let path = if path.is_empty() { "the file" } else { path };
            return Err(Unusable {
                path: path.to_owned(),
                why: "is not a section of settings".to_owned(),
            });
        };
        for (key, value) in entries {
            let Some(key) = text_of(key) else { continue };
            let path = if path.is_empty() {
                key.to_owned()
            } else {
                format!("{path}.{key}")
            };
            self.setting(&path, value)?;
        }
        Ok(())
    }

    fn setting(&mut self, path: &str, value: &Yaml) -> Result<(), Unusable> {
        let unusable = |why: &str| {
            Err(Unusable {
                path: path.to_owned(),
                why: why.to_owned(),
            })
        };
        match path {
            "rtc" | "room" => return self.section(path, value),
            "port" => self.port = number(path, value)?,
            "rtc.udp_port" => self.rtc_port = number(path, value)?,
            "bind_addresses" => match value {
                Yaml::Sequence(list) if list.len() == 1 => {
                    self.bind = list.first().map(|a| address(path, a)).transpose()?
                }
                Yaml::Sequence(list) if list.is_empty() => {}
                Yaml::Sequence(_) => {
                    return unusable("names several addresses; this server listens on one");
                }
                _ => return unusable("is not a list"),
            },
            "rtc.node_ip" => self.node_ip = Some(address(path, value)?),
            "rtc.enable_loopback_candidate" => {
                self.loopback = Some(if flag(path, value)? {
                    LoopbackCandidates::Offer
                } else {
                    LoopbackCandidates::Omit
                });
            }
            "keys" => {
                let Yaml::Mapping(entries) = value else {
                    return unusable("is not a map of `key: secret`");
                };
                for (key, secret) in entries {
                    match (text_of(key), text_of(secret)) {
                        (Some(key), Some(secret)) if !key.is_empty() && !secret.is_empty() => {
                            self.keys.push((key.to_owned(), secret.to_owned()));
                        }
                        _ => return unusable("holds an entry that is not `key: secret`"),
                    }
                }
            }
            "key_file" => {
                let Some(file) = text_of(value) else {
                    return unusable("is not a path");
                };
                let text = std::fs::read_to_string(file).map_err(|e| Unusable {
                    path: path.to_owned(),
                    why: format!("can't be read: {e}"),
                })?;
                let keys = parse_keys(&text).map_err(|why| Unusable {
                    path: path.to_owned(),
                    why,
                })?;
                self.keys.extend(keys);
            }
            "room.empty_timeout" => {
                self.empty_timeout = number(path, value)?.map(Duration::from_secs)
            }
            "room.departure_timeout" => {
                self.departure_timeout = number(path, value)?.map(Duration::from_secs)
            }
            "room.max_participants" => {
                self.max_participants = number(path, value)?.filter(|most: &usize| *most > 0);
            }
            "room.auto_create" => {
                if !flag(path, value)? {
                    return unusable(
                        "is false, but this server makes a room when somebody joins it",
                    );
                }
            }
            "development" => {
                if flag(path, value)? {
                    self.warn(path, "start with --dev instead");
                }
            }
            "rtc.tcp_port" => self.warn(
                path,
                "has no effect: ICE over TCP is not served, participants need UDP",
            ),
            "rtc.use_external_ip" => {
                if flag(path, value)? {
                    self.warn(path, "has no effect: name the address in rtc.node_ip");
                }
            }
            "redis" => self.warn(
                path,
                "has no effect: this server runs alone, rooms are not shared with other nodes",
            ),
            "webhook" => self.warn(path, "has no effect: no webhooks are sent"),
            "log_level" | "logging" => self.warn(path, "has no effect: use -v, or RUST_LOG"),
            _ => self.warn(path, "is unknown here and has no effect"),
        }
        Ok(())
    }

    fn warn(&mut self, path: &str, why: &str) {
        self.warnings.push(format!("`{path}` {why}"));
    }
}

/// Reads `key: secret`, one a line, as `--keys` and `LIVEKIT_KEYS` take it. Errors never quote the text.
pub(crate) fn parse_keys(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let pair = line
            .split_once(':')
            .map(|(key, secret)| (unquoted(key), unquoted(secret)));
        match pair {
            Some((key, secret)) if !key.is_empty() && !secret.is_empty() => {
                keys.push((key.to_owned(), secret.to_owned()))
            }
            _ => return Err(format!("line {} is not `key: secret`", index + 1)),
        }
    }
    Ok(keys)
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote)) {
            return inner;
        }
    }
    text
}

fn text_of<'a>(node: &'a Yaml) -> Option<&'a str> {
    match node {
        Yaml::Representation(text, ..) => Some(text),
        Yaml::Tagged(_, inner) => text_of(inner),
        other => other.as_str(),
    }
}

fn is_empty(node: &Yaml) -> bool {
    match node {
        Yaml::Representation(text, style, _) => {
            *style == saphyr::ScalarStyle::Plain && matches!(&**text, "" | "~" | "null")
        }
        other => other.is_null(),
    }
}

fn number<T: std::str::FromStr>(path: &str, value: &Yaml) -> Result<Option<T>, Unusable> {
    if is_empty(value) {
        return Ok(None);
    }
    match text_of(value).map(str::parse) {
        Some(Ok(number)) => Ok(Some(number)),
        _ => Err(Unusable {
            path: path.to_owned(),
            why: "is not a number in range".to_owned(),
        }),
    }
}

fn flag(path: &str, value: &Yaml) -> Result<bool, Unusable> {
    match text_of(value) {
        Some("true") => Ok(true),
        Some("false" | "") => Ok(false),
        _ => Err(Unusable {
            path: path.to_owned(),
            why: "is neither true nor false".to_owned(),
        }),
    }
}

fn address(path: &str, value: &Yaml) -> Result<IpAddr, Unusable> {
    match text_of(value) {
        Some("") => Ok(Ipv4Addr::UNSPECIFIED.into()),
        Some("localhost") => Ok(Ipv4Addr::LOCALHOST.into()),
        Some(text) => text.parse().map_err(|_| Unusable {
            path: path.to_owned(),
            why: "is not an IP address".to_owned(),
        }),
        None => Err(Unusable {
            path: path.to_owned(),
            why: "is not an IP address".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
