//! `lkstream token`: signs an access token and prints it alone.

use std::io::Write;
use std::time::{Duration, SystemTime};

use lkstream_proto::token::{self, Claims};

use crate::credentials::{KeyFlags, KeyPair, Source, Sourced, no_credentials, process_environment};
use crate::duration;
use crate::event::Event;
use crate::exit::{Code, Failure};
use crate::output::Output;

/// What room names and identities may take, in bytes (protocol.md §1.4).
const NAME_BYTES: usize = 256;

/// Arguments of `lkstream token`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Room that the token lets its bearer join
    #[arg(long, value_parser = name)]
    room: String,
    /// Identity of its bearer
    #[arg(long, value_name = "ID", value_parser = name)]
    identity: String,
    /// Display name of its bearer
    #[arg(long)]
    name: Option<String>,
    /// How long the token is valid: seconds, or with a unit, such as 90s, 5m, 6h
    #[arg(long, value_name = "TIME", default_value = "6h", value_parser = duration::parse)]
    valid_for: Duration,
    /// Print the token as a JSON event
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    key: KeyFlags,
}

/// Prints a token.
pub(crate) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let Some(pair) = arguments.key.resolve(&process_environment)? else {
        return Err(no_credentials("", ""));
    };
    let now = SystemTime::now();
    let token = sign(
        &pair,
        &arguments.room,
        &arguments.identity,
        arguments.name.as_deref(),
        arguments.valid_for,
        now,
    )?;
    output.note(&format!(
        "signed with key {} ({}), valid for {}",
        &pair.key.value,
        pair.key.source,
        duration::words(arguments.valid_for)
    ));
    if pair.secret.source != Source::Dev && pair.secret.value.len() < 32 {
        output.warn(format!(
            "the secret has {} bytes; under 32 it may be guessed",
            pair.secret.value.len()
        ));
    }
    if !output.is_human() {
        output.emit(&Event::Token {
            token,
            room: arguments.room.clone(),
            identity: arguments.identity.clone(),
            seconds: arguments.valid_for.as_secs_f64(),
        });
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{token}")
        .and_then(|()| out.flush())
        .map_err(|e| {
            Failure::new(
                Code::Other,
                format!("the token could not be printed: {e}"),
                "see to what standard output is connected to",
            )
        })
}

/// Signs a token to join `room` as `identity`.
pub(crate) fn sign(
    pair: &KeyPair,
    room: &str,
    identity: &str,
    name: Option<&str>,
    valid_for: Duration,
    now: SystemTime,
) -> Result<String, Failure> {
    if valid_for < Duration::from_secs(1) {
        return Err(Failure::usage(
            "a token is valid for a second at least",
            "give --valid-for 1s or more",
        ));
    }
    let mut claims = Claims::join(identity, room, now, valid_for);
    claims.name = name.unwrap_or_default().to_owned();
    token::sign(&claims, &pair.key.value, &pair.secret.value)
        .map_err(|e| Failure::usage(e.to_string(), "check the API key and the secret"))
}

/// What a ready-made token says of itself; its signature is the server's business.
pub(crate) struct TokenClaims {
    /// The one room it is for, or `None` for any.
    pub(crate) room: Option<String>,
    pub(crate) identity: String,
}

/// Reads a token without checking it.
pub(crate) fn read_claims(given: &Sourced<String>) -> Result<TokenClaims, Failure> {
    // A token that does not read is refused, as the server would, before anything is connected.
    let claims = token::peek(&given.value).map_err(|e| {
        Failure::new(
            Code::Refused,
            format!("{e} ({})", given.source),
            "check that the whole token was copied",
        )
    })?;
    let room = claims
        .video
        .as_ref()
        .map(|video| video.room.clone())
        .filter(|room| !room.is_empty());
    Ok(TokenClaims {
        room,
        identity: claims.participant_identity().as_str().to_owned(),
    })
}

/// Checks a room name or an identity as the server would.
pub(crate) fn name(text: &str) -> Result<String, String> {
    match text.len() {
        0 => Err("it is empty".to_owned()),
        length if length > NAME_BYTES => Err(format!(
            "it has {length} bytes, at most {NAME_BYTES} are allowed"
        )),
        _ => Ok(text.to_owned()),
    }
}
