//! The server's URL and the credentials: from flags, else `--dev`, else the environment variables of LiveKit's own command line.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use lkstream_server::{DEV_API_KEY, DEV_API_SECRET};

use crate::exit::Failure;
use crate::token;

/// Where `lkstream serve --dev` listens (protocol.md §1.3).
const DEV_URL: &str = "ws://127.0.0.1:7880";
/// How long a token is valid that this command signs for its own join.
const OWN_TOKEN: Duration = Duration::from_secs(6 * 3600);

/// Looks a variable up; a parameter, so that tests need no process environment.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of this process; empty variables count as unset.
pub(crate) fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The key that signs tokens.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Server and credentials")]
pub(crate) struct KeyFlags {
    /// Use a local development server: ws://127.0.0.1:7880, key devkey, secret secret
    #[arg(long)]
    pub(crate) dev: bool,
    /// API key [env: LIVEKIT_API_KEY]
    #[arg(long, value_name = "KEY")]
    pub(crate) api_key: Option<String>,
    /// API secret; others on this machine can see it, prefer the file or the variable [env: LIVEKIT_API_SECRET]
    #[arg(long, value_name = "SECRET", conflicts_with = "api_secret_file")]
    pub(crate) api_secret: Option<String>,
    /// File that holds the API secret
    #[arg(long, value_name = "FILE")]
    pub(crate) api_secret_file: Option<PathBuf>,
}

/// The server to join, and the right to.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Server and credentials")]
pub(crate) struct ServerFlags {
    /// Server, as ws://host:port or wss://host [env: LIVEKIT_URL]
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// Ready-made access token, instead of key and secret [env: LIVEKIT_TOKEN]
    #[arg(long, conflicts_with_all = ["api_key", "api_secret", "api_secret_file"])]
    pub(crate) token: Option<String>,
    #[command(flatten)]
    pub(crate) key: KeyFlags,
}

/// Where a value came from, for the line that says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A flag.
    Flag(&'static str),
    /// `--dev`.
    Dev,
    /// An environment variable.
    Env(&'static str),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Source::Flag(name) | Source::Env(name) => name,
            Source::Dev => "--dev",
        })
    }
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sourced<T> {
    pub(crate) value: T,
    pub(crate) source: Source,
}

/// Key and secret. `Debug` hides the secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct KeyPair {
    pub(crate) key: Sourced<String>,
    pub(crate) secret: Sourced<String>,
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPair")
            .field("key", &self.key)
            .field("secret", &self.secret.source)
            .finish()
    }
}

/// What gives the right to join.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    /// A token someone else signed.
    Token(Sourced<String>),
    /// A key to sign one with.
    Key(KeyPair),
}

/// The server and the credential a command will use.
pub(crate) struct Target {
    pub(crate) url: Sourced<String>,
    pub(crate) credential: Credential,
}

/// Everything a join needs, signed and checked.
pub(crate) struct Admission {
    /// As the user gave it.
    pub(crate) url: String,
    /// The same without user, password, path parameters or query: for people.
    pub(crate) shown_url: String,
    pub(crate) url_source: Source,
    /// The API key's name, where one signed.
    pub(crate) key: Option<String>,
    pub(crate) credential_source: Source,
    pub(crate) token: String,
    /// The room, as far as it is known before the join.
    pub(crate) room: String,
    pub(crate) identity: String,
}

impl KeyFlags {
    fn any_flag(&self) -> bool {
        self.api_key.is_some() || self.api_secret.is_some() || self.api_secret_file.is_some()
    }

    /// The key pair by precedence; `None` where nothing names one.
    pub(crate) fn resolve(&self, environment: Environment) -> Result<Option<KeyPair>, Failure> {
        let key = pick(
            self.api_key.clone(),
            "--api-key",
            self.dev.then_some(DEV_API_KEY),
            environment,
            "LIVEKIT_API_KEY",
        );
        let secret = match (&self.api_secret, &self.api_secret_file) {
            (None, Some(path)) => Some(Sourced {
                value: secret_file(path)?,
                source: Source::Flag("--api-secret-file"),
            }),
            (flag, _) => pick(
                flag.clone(),
                "--api-secret",
                self.dev.then_some(DEV_API_SECRET),
                environment,
                "LIVEKIT_API_SECRET",
            ),
        };
        match (key, secret) {
            (None, None) => Ok(None),
            (Some(key), None) => Err(Failure::usage(
                format!("API key {} ({}) has no secret", &key.value, key.source),
                "add --api-secret-file FILE, or set LIVEKIT_API_SECRET",
            )),
            (None, Some(secret)) => Err(Failure::usage(
                format!("the API secret ({}) has no key", secret.source),
                "add --api-key, or set LIVEKIT_API_KEY",
            )),
            (Some(key), Some(secret)) if key.value.is_empty() || secret.value.is_empty() => {
                let (what, source) = if key.value.is_empty() {
                    ("key", key.source)
                } else {
                    ("secret", secret.source)
                };
                Err(Failure::usage(
                    format!("the API {what} ({source}) is empty"),
                    "give the server's own",
                ))
            }
            (Some(key), Some(secret)) => Ok(Some(KeyPair { key, secret })),
        }
    }
}

impl ServerFlags {
    /// The server and the credential by precedence.
    pub(crate) fn resolve(&self, environment: Environment) -> Result<Target, Failure> {
        let Some(url) = pick(
            self.url.clone(),
            "--url",
            self.key.dev.then_some(DEV_URL),
            environment,
            "LIVEKIT_URL",
        ) else {
            return Err(Failure::usage(
                "no server is named",
                "give --url, or --dev for a server on this machine, or set LIVEKIT_URL",
            ));
        };
        if !["ws://", "wss://", "http://", "https://"]
            .iter()
            .any(|scheme| url.value.starts_with(scheme))
        {
            return Err(Failure::usage(
                format!(
                    "the server's url ({}) does not start with ws:// or wss://",
                    url.source
                ),
                "write ws://host:port, or wss://host where there is TLS",
            ));
        }
        if let Some(token) = &self.token {
            let token = Sourced {
                value: token.trim().to_owned(),
                source: Source::Flag("--token"),
            };
            return Ok(Target {
                url,
                credential: Credential::Token(token),
            });
        }
        let token = if self.key.dev || self.key.any_flag() {
            None
        } else {
            environment("LIVEKIT_TOKEN")
        };
        if let Some(token) = token {
            let token = Sourced {
                value: token.trim().to_owned(),
                source: Source::Env("LIVEKIT_TOKEN"),
            };
            return Ok(Target {
                url,
                credential: Credential::Token(token),
            });
        }
        match self.key.resolve(environment)? {
            Some(pair) => Ok(Target {
                url,
                credential: Credential::Key(pair),
            }),
            None => Err(no_credentials("--token, ", " or LIVEKIT_TOKEN")),
        }
    }

    /// Resolves, signs a token where a key is given, and checks that a ready-made token fits what was asked for.
    pub(crate) fn admit(
        &self,
        environment: Environment,
        room: Option<&str>,
        identity: Option<&str>,
        default_identity: &str,
        now: SystemTime,
    ) -> Result<Admission, Failure> {
        let Target { url, credential } = self.resolve(environment)?;
        let shown_url = shown(&url.value);
        match credential {
            Credential::Key(pair) => {
                let Some(room) = room else {
                    return Err(Failure::usage("no room is named", "add --room ROOM"));
                };
                let identity = identity.unwrap_or(default_identity);
                let token = token::sign(&pair, room, identity, None, OWN_TOKEN, now)?;
                Ok(Admission {
                    url: url.value,
                    shown_url,
                    url_source: url.source,
                    key: Some(pair.key.value),
                    credential_source: pair.key.source,
                    token,
                    room: room.to_owned(),
                    identity: identity.to_owned(),
                })
            }
            Credential::Token(given) => {
                let claims = token::read_claims(&given)?;
                check_fits("--room", room, claims.room.as_deref(), given.source)?;
                check_fits("--identity", identity, Some(&claims.identity), given.source)?;
                let Some(room) = claims.room.as_deref().or(room) else {
                    return Err(Failure::usage(
                        format!("the token ({}) names no room", given.source),
                        "get a token for one room (`lkstream token --room ROOM --identity ID`)",
                    ));
                };
                Ok(Admission {
                    url: url.value,
                    shown_url,
                    url_source: url.source,
                    key: None,
                    credential_source: given.source,
                    room: room.to_owned(),
                    identity: claims.identity,
                    token: given.value,
                })
            }
        }
    }
}

/// A ready-made token can't be bent to what a flag asks for.
fn check_fits(
    flag: &str,
    asked: Option<&str>,
    granted: Option<&str>,
    source: Source,
) -> Result<(), Failure> {
    match (asked, granted) {
        (Some(asked), Some(granted)) if asked != granted => Err(Failure::usage(
            format!(
                "the token ({source}) is for {} {}, not {}",
                flag.trim_start_matches('-'),
                granted,
                asked
            ),
            format!("leave {flag} out, or get another token"),
        )),
        _ => Ok(()),
    }
}

/// The failure when nothing gives a right to join or sign.
pub(crate) fn no_credentials(flags: &str, variables: &str) -> Failure {
    Failure::usage(
        "no credentials are given",
        format!(
            "give {flags}--api-key with --api-secret-file, or --dev, or set LIVEKIT_API_KEY and LIVEKIT_API_SECRET{variables}"
        ),
    )
}

fn pick(
    flag: Option<String>,
    flag_name: &'static str,
    dev: Option<&str>,
    environment: Environment,
    variable: &'static str,
) -> Option<Sourced<String>> {
    if let Some(value) = flag {
        return Some(Sourced {
            value,
            source: Source::Flag(flag_name),
        });
    }
    if let Some(value) = dev {
        return Some(Sourced {
            value: value.to_owned(),
            source: Source::Dev,
        });
    }
    environment(variable)
        .filter(|value| !value.is_empty())
        .map(|value| Sourced {
            value,
            source: Source::Env(variable),
        })
}

fn secret_file(path: &std::path::Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        Failure::usage(
            format!("can't read the secret in {}: {e}", path.display()),
            "check --api-secret-file",
        )
    })?;
    Ok(text.trim().to_owned())
}

/// The address without anything that may be secret.
fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("ws", url));
    let rest = rest.split(['?', '#']).next().unwrap_or("");
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let host = authority.rsplit('@').next().unwrap_or("");
    format!("{scheme}://{host}{}", path.trim_end_matches('/'))
}

#[cfg(test)]
mod tests;
