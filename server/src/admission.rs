//! Who may join what: token and parameters, checked before the WebSocket opens (protocol.md §1.2, §1.4).

use std::time::SystemTime;

use axum::http::StatusCode;
use lkstream_proto::id::RoomName;
use lkstream_proto::join::{Join, Mode, Resume, access_token};
use lkstream_proto::limits;
use lkstream_proto::signal::SessionDescription;
use lkstream_proto::token::{ApiKeys, Claims, TokenError};

use crate::room::Joining;

const BEARER: &str = "Bearer ";

/// Somebody who may come in.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) room: RoomName,
    /// Whether its token names the room; else it opens any.
    pub(crate) names_room: bool,
    /// Metadata of the room, should the join create it.
    pub(crate) room_metadata: String,
    pub(crate) joining: Joining,
    pub(crate) offer: Option<SessionDescription>,
    pub(crate) resume: Option<Resume>,
    /// What its token said, for the tokens it is given later.
    pub(crate) claims: Box<Claims>,
}

/// An HTTP refusal: plain text that clients show and act upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
}

impl Denied {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Denied {
        Denied {
            status,
            text: text.into(),
        }
    }
}

fn unauthorized(text: impl Into<String>) -> Denied {
    Denied::new(StatusCode::UNAUTHORIZED, text)
}

fn bad_request(text: impl Into<String>) -> Denied {
    Denied::new(StatusCode::BAD_REQUEST, text)
}

/// Which of the two paths was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// `/rtc`: parameters in the query, or a `join_request`.
    Legacy,
    /// `/rtc/v1`: only with a `join_request`.
    Single,
}

/// Checks everything that can be checked without looking at the room.
pub(crate) fn admit(
    keys: &ApiKeys,
    path: Path,
    authorization: Option<&[u8]>,
    query: &str,
    now: SystemTime,
) -> Result<Admission, Denied> {
    let claims = authenticate(keys, authorization, query, now)?;
    let permission = claims.permission();
    let video = claims
        .video
        .as_ref()
        .filter(|video| video.room_join)
        .ok_or_else(|| unauthorized("permissions denied"))?;
    let identity = claims.participant_identity();
    if identity.is_empty() {
        return Err(bad_request("identity cannot be empty"));
    }
    at_most("identity", identity.as_str(), limits::IDENTITY_BYTES)?;

    let join = Join::from_query(query).map_err(|error| bad_request(error.to_string()))?;
    if path == Path::Single && join.mode != Mode::Single {
        return Err(bad_request("join_request is missing"));
    }
    let room = if video.room.is_empty() {
        join.room.clone()
    } else {
        RoomName::from(video.room.as_str())
    };
    if room.is_empty() {
        return Err(bad_request("no room name"));
    }
    at_most("room name", room.as_str(), limits::ROOM_NAME_BYTES)?;

    let overrides = !join.metadata.is_empty() || !join.attributes.is_empty();
    if overrides && !permission.can_update_metadata {
        return Err(unauthorized(
            "permissions denied: the token does not allow to update own metadata",
        ));
    }
    let mut attributes = claims.attributes.clone();
    attributes.extend(join.attributes);
    attributes.retain(|_, value| !value.is_empty());
    let metadata = if join.metadata.is_empty() {
        claims.metadata.clone()
    } else {
        join.metadata
    };
    at_most("name", &claims.name, limits::NAME_BYTES)?;
    at_most("metadata", &metadata, limits::METADATA_BYTES)?;
    let attribute_bytes: usize = attributes
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    fits("attributes", attribute_bytes, limits::ATTRIBUTES_BYTES)?;

    let room_metadata = claims
        .room_config
        .as_ref()
        .and_then(|config| config.get("metadata")?.as_str())
        .unwrap_or_default()
        .to_owned();
    at_most(
        "metadata of the room",
        &room_metadata,
        limits::METADATA_BYTES,
    )?;
    Ok(Admission {
        room,
        names_room: !video.room.is_empty(),
        room_metadata,
        joining: Joining {
            random: rand::random(),
            identity,
            name: claims.name.clone(),
            metadata,
            attributes,
            kind: claims.participant_kind() as i32,
            kind_details: claims
                .participant_kind_details()
                .into_iter()
                .map(|detail| detail as i32)
                .collect(),
            permission,
            client: join.client,
        },
        offer: join.offer,
        resume: join.resume,
        claims: Box::new(claims),
    })
}

fn at_most(what: &str, text: &str, limit: usize) -> Result<(), Denied> {
    fits(what, text.len(), limit)
}

fn fits(what: &str, size: usize, limit: usize) -> Result<(), Denied> {
    if size > limit {
        return Err(bad_request(format!(
            "{what} of {size} bytes, at most {limit} allowed"
        )));
    }
    Ok(())
}

/// The header goes before the query (protocol.md §1.2).
fn authenticate(
    keys: &ApiKeys,
    authorization: Option<&[u8]>,
    query: &str,
    now: SystemTime,
) -> Result<Claims, Denied> {
    let token = match authorization {
        Some(header) => std::str::from_utf8(header)
            .ok()
            .and_then(|header| header.strip_prefix(BEARER))
            .ok_or_else(|| unauthorized("invalid authorization header. Must start with Bearer "))?
            .to_owned(),
        None => access_token(query).ok_or_else(|| unauthorized("permissions denied"))?,
    };
    keys.verify(&token, now).map_err(|error| {
        unauthorized(match error {
            TokenError::Malformed { .. } => "invalid authorization token".to_owned(),
            TokenError::UnknownKey { .. } => "invalid API key".to_owned(),
            other => other.to_string(),
        })
    })
}
