//! The claims of a token (protocol.md §1.1).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize};

use crate::id::{Identity, RoomName};
use crate::participant::{KindDetail, ParticipantKind, ParticipantPermission, TrackSource};

/// The claims of an access token. Absent and `null` are the same everywhere; unknown claims are
/// ignored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Claims {
    /// `iss`: the API key; signing sets it.
    #[serde(rename = "iss", deserialize_with = "or_default")]
    pub issuer: String,
    /// `sub`: the participant's identity.
    #[serde(
        rename = "sub",
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub subject: String,
    /// `jti`: the identity in tokens of old; see [`Claims::participant_identity`].
    #[serde(
        rename = "jti",
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub token_id: String,
    /// `exp`: Unix seconds, mandatory in a token that is to be accepted.
    #[serde(
        rename = "exp",
        deserialize_with = "numeric_date",
        skip_serializing_if = "Option::is_none"
    )]
    pub expires: Option<u64>,
    /// `nbf`: Unix seconds.
    #[serde(
        rename = "nbf",
        deserialize_with = "numeric_date",
        skip_serializing_if = "Option::is_none"
    )]
    pub not_before: Option<u64>,
    /// `iat`: Unix seconds.
    #[serde(
        rename = "iat",
        deserialize_with = "numeric_date",
        skip_serializing_if = "Option::is_none"
    )]
    pub issued_at: Option<u64>,
    /// Copy of the identity that some helpers write; not read by the server.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub identity: String,
    /// Name to show.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub name: String,
    /// What the participant is, in lower case; see [`Claims::participant_kind`].
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub kind: String,
    /// More about it, in lower case; see [`Claims::participant_kind_details`].
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub kind_details: Vec<String>,
    /// What it may do in which room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoGrant>,
    /// How to configure a room that the join creates, kept as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_config: Option<serde_json::Value>,
    /// Name of a room configuration.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub room_preset: String,
    /// SHA-256 of the body, in tokens of webhooks (protocol.md §7.5).
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub sha256: String,
    /// First metadata of the participant.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub metadata: String,
    /// First attributes of the participant.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub attributes: BTreeMap<String, String>,
}

/// The claim `video`: what its bearer may do, in which room (protocol.md §1.1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VideoGrant {
    /// Create and delete rooms.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_false")]
    pub room_create: bool,
    /// List rooms.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_false")]
    pub room_list: bool,
    /// Record rooms.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_false")]
    pub room_record: bool,
    /// Administer `room`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_false")]
    pub room_admin: bool,
    /// Join `room`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_false")]
    pub room_join: bool,
    /// The room; empty for any.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub room: String,
    /// Publish tracks; absent means yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish: Option<bool>,
    /// Subscribe to tracks; absent means yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe: Option<bool>,
    /// Send data; absent means as `can_publish`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish_data: Option<bool>,
    /// Change its own name, metadata and attributes; absent means no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_update_own_metadata: Option<bool>,
    /// Receive metrics; absent means no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe_metrics: Option<bool>,
    /// Manage an agent's session; absent means no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_manage_agent_session: Option<bool>,
    /// Track sources it may publish, in lower case; empty for all.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub can_publish_sources: Vec<String>,
    /// Administer ingress.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_false")]
    pub ingress_admin: bool,
    /// Never announced to others.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_false")]
    pub hidden: bool,
    /// Is a recorder.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_false")]
    pub recorder: bool,
    /// Is an agent, or registers as one.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_false")]
    pub agent: bool,
    /// Where participants may be forwarded or moved to.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub destination_room: String,
}

/// `null` is the same as absent.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// RFC 7519 NumericDate: seconds, which may have a fraction. Text is an error, never "absent".
fn numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    use serde::de::Error as _;

    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else {
        return Ok(None);
    };
    if let Some(seconds) = number.as_u64() {
        return Ok(Some(seconds));
    }
    match number.as_f64() {
        // A cast saturates, and a date past the end of u64 is as good as the end.
        Some(seconds) if seconds >= 0.0 => Ok(Some(seconds as u64)),
        _ => Err(D::Error::custom("a date must not be negative")),
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // The signature that serde asks for.
fn is_false(value: &bool) -> bool {
    !value
}

impl Claims {
    /// Claims that let `identity` join `room` from `now` on, for `valid_for`, with the rights that
    /// absent grants mean: send, receive, not change its own metadata.
    pub fn join(
        identity: impl Into<Identity>,
        room: impl Into<RoomName>,
        now: SystemTime,
        valid_for: Duration,
    ) -> Self {
        Self {
            subject: identity.into().into(),
            video: Some(VideoGrant {
                room_join: true,
                room: room.into().into(),
                ..VideoGrant::default()
            }),
            ..Self::valid(now, valid_for)
        }
    }

    /// Claims without any grant, valid from `now` on for `valid_for`.
    pub fn valid(now: SystemTime, valid_for: Duration) -> Self {
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            not_before: Some(now.as_secs()),
            issued_at: Some(now.as_secs()),
            expires: Some(now.saturating_add(valid_for).as_secs()),
            ..Self::default()
        }
    }

    /// Whom the token is for: `sub`, or `jti` in tokens of old; may be empty.
    pub fn participant_identity(&self) -> Identity {
        if self.subject.is_empty() {
            Identity::from(&self.token_id)
        } else {
            Identity::from(&self.subject)
        }
    }

    /// What the participant is; anything unknown is [`ParticipantKind::Standard`].
    pub fn participant_kind(&self) -> ParticipantKind {
        match self.kind.to_ascii_lowercase().as_str() {
            "ingress" => ParticipantKind::Ingress,
            "egress" => ParticipantKind::Egress,
            "sip" => ParticipantKind::Sip,
            "agent" => ParticipantKind::Agent,
            "connector" => ParticipantKind::Connector,
            "bridge" => ParticipantKind::Bridge,
            _ => ParticipantKind::Standard,
        }
    }

    /// More about what the participant is; unknown names are left out.
    pub fn participant_kind_details(&self) -> Vec<KindDetail> {
        self.kind_details
            .iter()
            .filter_map(|name| KindDetail::from_name(name))
            .collect()
    }

    /// Whether the bearer may speak under another identity in text headers and chat: its kind or
    /// its grant says agent (protocol.md §4.3).
    pub fn is_agent(&self) -> bool {
        self.participant_kind() == ParticipantKind::Agent
            || self.video.as_ref().is_some_and(|video| video.agent)
    }

    /// The permissions of the participant; without a `video` claim there are none.
    pub fn permission(&self) -> ParticipantPermission {
        self.video
            .as_ref()
            .map(VideoGrant::permission)
            .unwrap_or_default()
    }
}

impl VideoGrant {
    /// The permissions that the grant means, with the defaults of protocol.md §1.1.
    pub fn permission(&self) -> ParticipantPermission {
        let can_publish = self.can_publish.unwrap_or(true);
        ParticipantPermission {
            can_subscribe: self.can_subscribe.unwrap_or(true),
            can_publish,
            can_publish_data: self.can_publish_data.unwrap_or(can_publish),
            hidden: self.hidden,
            recorder: self.recorder,
            can_publish_sources: self
                .can_publish_sources
                .iter()
                .filter_map(|name| TrackSource::from_name(name))
                .map(i32::from)
                .collect(),
            can_update_metadata: self.can_update_own_metadata.unwrap_or(false),
            agent: self.agent,
            can_subscribe_metrics: self.can_subscribe_metrics.unwrap_or(false),
            can_manage_agent_session: self.can_manage_agent_session.unwrap_or(false),
        }
    }
}
