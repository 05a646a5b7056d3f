//! `lkstream serve`: a data-only room server.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use lkstream_server::{Config, DEV_API_KEY, DEV_API_SECRET, LoopbackCandidates, Server};

use crate::config::{FileSettings, parse_keys};
use crate::credentials::{Environment, process_environment};
use crate::event::Event;
use crate::exit::Failure;
use crate::interrupt::interrupted;
use crate::output::Output;

/// The longest a shutdown may take: participants are told, not waited for.
const SHUTDOWN: Duration = Duration::from_secs(2);
/// livekit-server asks for secrets of at least this length, in bytes.
const SECRET_BYTES: usize = 32;

/// Arguments of `lkstream serve`.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Arguments {
    /// For development: key devkey, secret secret, this machine only
    #[arg(long)]
    pub(crate) dev: bool,
    /// Address to listen on [default: all interfaces; with --dev 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    pub(crate) bind: Option<IpAddr>,
    /// TCP port for signalling; 0 takes a free one [default: 7880]
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// UDP port for data; 0 takes a free one [default: 7882]
    #[arg(long, value_name = "PORT")]
    pub(crate) rtc_port: Option<u16>,
    /// Address at which participants reach this machine, if it is none of its own (behind NAT)
    #[arg(long, value_name = "ADDR")]
    pub(crate) node_ip: Option<IpAddr>,
    /// API key and secret that tokens are signed with; may be repeated [env: LIVEKIT_KEYS]
    #[arg(long, value_name = "KEY: SECRET")]
    pub(crate) keys: Vec<String>,
    /// Settings in livekit-server's YAML; flags win over them
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print events as JSON, one a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// What the server will do, and what to say about it.
#[derive(Debug)]
struct Plan {
    config: Config,
    keys: Vec<String>,
    keys_source: String,
    warnings: Vec<String>,
}

/// Runs a server until Ctrl-C.
pub(crate) async fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let plan = plan(arguments, &process_environment)?;
    for warning in &plan.warnings {
        output.warn(warning.clone());
    }
    let interrupted = interrupted();
    let bind = plan.config.bind;
    let server = Server::spawn(plan.config)
        .await
        .map_err(|e| Failure::spawning(&e))?;
    let (port, rtc_port) = (server.addr().port(), server.rtc_addr().port());
    output.emit(&Event::Listening {
        url: server.url(),
        bind: bind.to_string(),
        port,
        rtc_port,
        keys: plan.keys.clone(),
        dev: arguments.dev,
    });
    let keys = &plan.keys.join(", ");
    let wherefrom = if bind.is_unspecified() {
        "all interfaces".to_owned()
    } else {
        bind.to_string()
    };
    output.say(&format!(
        "listening at {} ({wherefrom}), key {keys} ({})",
        server.url(),
        plan.keys_source
    ));
    output.say(&format!(
        "ports that must be open: TCP {port} (signalling), UDP {rtc_port} (data)"
    ));
    output.say("Ctrl-C ends it");
    interrupted.await;
    // What outlives this is cut by the end of the process.
    let _ = tokio::time::timeout(SHUTDOWN, server.shutdown()).await;
    output.emit(&Event::Stopped {});
    output.say("rooms closed, server stopped");
    Ok(())
}

/// Flags win over `--dev`, `--dev` over `LIVEKIT_KEYS`, that over the file.
fn plan(arguments: &Arguments, environment: Environment) -> Result<Plan, Failure> {
    let file = match &arguments.config {
        Some(path) => FileSettings::read(path)?,
        None => FileSettings::default(),
    };
    let mut warnings = file.warnings;
    let mut config = Config::new();

    let (keys, keys_source) = if !arguments.keys.is_empty() {
        let remedy = "write --keys \"key: secret\"";
        (
            parse_keys(&arguments.keys.join("\n"))
                .map_err(|why| Failure::usage(format!("--keys: {why}"), remedy))?,
            "--keys",
        )
    } else if arguments.dev {
        (
            vec![(DEV_API_KEY.to_owned(), DEV_API_SECRET.to_owned())],
            "--dev",
        )
    } else if let Some(text) = environment("LIVEKIT_KEYS") {
        let remedy = "set it to \"key: secret\"";
        (
            parse_keys(&text)
                .map_err(|why| Failure::usage(format!("LIVEKIT_KEYS: {why}"), remedy))?,
            "LIVEKIT_KEYS",
        )
    } else {
        (file.keys, "--config")
    };
    if keys.is_empty() {
        return Err(Failure::usage(
            "no API key is given, nobody could join",
            "give --keys \"key: secret\", set LIVEKIT_KEYS, or use --dev on this machine only",
        ));
    }

    let loopback = IpAddr::from([127, 0, 0, 1]);
    config.bind = arguments
        .bind
        .or(arguments.dev.then_some(loopback))
        .or(file.bind)
        .unwrap_or(config.bind);
    config.port = arguments.port.or(file.port).unwrap_or(config.port);
    config.rtc_port = arguments
        .rtc_port
        .or(file.rtc_port)
        .unwrap_or(config.rtc_port);
    config.node_ips = arguments.node_ip.or(file.node_ip).into_iter().collect();
    if let Some(loopback) = file.loopback {
        config.loopback = loopback;
    } else if arguments.dev {
        config.loopback = LoopbackCandidates::Offer;
    }
    config.room.empty_timeout = file.empty_timeout.unwrap_or(config.room.empty_timeout);
    config.room.departure_timeout = file
        .departure_timeout
        .unwrap_or(config.room.departure_timeout);
    config.room.participants = file.max_participants.unwrap_or(config.room.participants);

    for (key, secret) in &keys {
        if secret == DEV_API_SECRET {
            if !config.bind.is_loopback() {
                warnings.push(format!(
                    "the secret of key {} is the well-known one of development, and others can reach {}: anybody can join",
                    key,
                    config.bind
                ));
            }
        } else if secret.len() < SECRET_BYTES {
            warnings.push(format!(
                "the secret of key {} has {} bytes; under {SECRET_BYTES} it may be guessed",
                key,
                secret.len()
            ));
        }
        config.add_key(key.clone(), secret.clone());
    }
    let keys = keys.into_iter().map(|(key, _)| key).collect();
    Ok(Plan {
        config,
        keys,
        keys_source: keys_source.to_owned(),
        warnings,
    })
}

#[cfg(test)]
mod tests;
