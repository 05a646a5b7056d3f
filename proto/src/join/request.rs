//! `join_request`: base64url of a wrapper of a `JoinRequest`, usually in gzip (protocol.md §2.3).

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use prost::Message as _;

use super::{Join, JoinError, Mode, Resume};
use crate::id::{ParticipantSid, RoomName};
use crate::limits::{CLIENT_INFO_BYTES, JOIN_REQUEST_BYTES, SIGNAL_FIELDS};
use crate::participant::ClientInfo;
use crate::signal::{ReconnectReason, SessionDescription, SyncState};
use crate::wire::Fields;

/// Writes padding, as the official clients do, and reads with or without it.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const NONE: i32 = 0;
const GZIP: i32 = 1;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WrappedJoinRequest {
    #[prost(int32, tag = "1")]
    pub(super) compression: i32,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) join_request: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ConnectionSettings {
    #[prost(bool, tag = "1")]
    auto_subscribe: bool,
    #[prost(bool, tag = "2")]
    adaptive_stream: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct JoinRequest {
    #[prost(message, optional, tag = "1")]
    client_info: Option<ClientInfo>,
    #[prost(message, optional, tag = "2")]
    connection_settings: Option<ConnectionSettings>,
    #[prost(string, tag = "3")]
    metadata: String,
    #[prost(btree_map = "string, string", tag = "4")]
    participant_attributes: BTreeMap<String, String>,
    #[prost(bytes = "bytes", repeated, tag = "5")]
    add_track_requests: Vec<Bytes>,
    #[prost(message, optional, tag = "6")]
    publisher_offer: Option<SessionDescription>,
    #[prost(bool, tag = "7")]
    reconnect: bool,
    #[prost(enumeration = "ReconnectReason", tag = "8")]
    reconnect_reason: i32,
    #[prost(string, tag = "9")]
    participant_sid: String,
    #[prost(message, optional, tag = "10")]
    sync_state: Option<SyncState>,
}

/// Inflates at most [`JOIN_REQUEST_BYTES`]; one byte more is an error, and is as far as it reads.
fn gunzip(zipped: &[u8]) -> Result<Bytes, JoinError> {
    let mut plain = Vec::new();
    GzDecoder::new(zipped)
        .take(JOIN_REQUEST_BYTES as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|_| JoinError::BrokenGzip)?;
    check_size(plain.len())?;
    Ok(Bytes::from(plain))
}

fn gzip(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain)?;
    encoder.finish()
}

fn check_size(bytes: usize) -> Result<(), JoinError> {
    if bytes > JOIN_REQUEST_BYTES {
        return Err(JoinError::TooLarge {
            limit: JOIN_REQUEST_BYTES,
        });
    }
    Ok(())
}

/// Tags of [`JoinRequest`] that the check looks into.
const CLIENT_INFO: u32 = 1;
const SYNC_STATE: u32 = 10;

/// Refuses what would take far more memory decoded than encoded: an element of a list may be a single byte.
fn check_fields(plain: &[u8]) -> Result<(), JoinError> {
    let mut fields = 0;
    let mut count = |more: usize| {
        fields += more;
        if fields > SIGNAL_FIELDS {
            return Err(JoinError::TooManyFields {
                limit: SIGNAL_FIELDS,
            });
        }
        Ok(())
    };
    let mut client_info = 0;
    for field in Fields::new(plain) {
        let field = field.map_err(|_| JoinError::Malformed)?;
        count(1)?;
        match field.tag {
            CLIENT_INFO => client_info += field.block().len(),
            SYNC_STATE => {
                for field in Fields::new(field.block()) {
                    field.map_err(|_| JoinError::Malformed)?;
                    count(1)?;
                }
            }
            _ => {}
        }
    }
    if client_info > CLIENT_INFO_BYTES {
        return Err(JoinError::ClientInfo {
            size: client_info,
            limit: CLIENT_INFO_BYTES,
        });
    }
    Ok(())
}

pub(super) fn decode(text: &str) -> Result<Join, JoinError> {
    // The limit is on the inflated form; what is larger already here cannot meet it either.
    check_size(text.len() / 4 * 3)?;
    let wrapped = BASE64.decode(text).map_err(|_| JoinError::NotBase64)?;
    let wrapped =
        WrappedJoinRequest::decode(Bytes::from(wrapped)).map_err(|_| JoinError::Malformed)?;
    let plain = match wrapped.compression {
        NONE => wrapped.join_request,
        GZIP => gunzip(&wrapped.join_request)?,
        compression => return Err(JoinError::UnknownCompression { compression }),
    };
    check_fields(&plain)?;
    let request = JoinRequest::decode(plain).map_err(|_| JoinError::Malformed)?;
    let reason = request.reconnect_reason();
    Ok(Join {
        mode: Mode::Single,
        client: request.client_info.unwrap_or_default(),
        room: RoomName::default(),
        metadata: request.metadata,
        attributes: request.participant_attributes,
        offer: request.publisher_offer,
        resume: request.reconnect.then(|| Resume {
            sid: ParticipantSid::from(request.participant_sid),
            reason,
        }),
        sync_state: request.sync_state,
        add_tracks: request.add_track_requests,
    })
}

pub(super) fn encode(join: &Join) -> String {
    let request = JoinRequest {
        client_info: Some(join.client.clone()),
        connection_settings: Some(ConnectionSettings {
            auto_subscribe: true,
            adaptive_stream: false,
        }),
        metadata: join.metadata.clone(),
        participant_attributes: join.attributes.clone(),
        add_track_requests: join.add_tracks.clone(),
        publisher_offer: join.offer.clone(),
        reconnect: join.resume.is_some(),
        reconnect_reason: join
            .resume
            .as_ref()
            .map_or(0, |resume| resume.reason.into()),
        participant_sid: join
            .resume
            .as_ref()
            .map(|resume| resume.sid.as_str().to_owned())
            .unwrap_or_default(),
        sync_state: join.sync_state.clone(),
    };
    let plain = request.encode_to_vec();
    let wrapped = match gzip(&plain) {
        Ok(zipped) if zipped.len() < plain.len() => WrappedJoinRequest {
            compression: GZIP,
            join_request: Bytes::from(zipped),
        },
        _ => WrappedJoinRequest {
            compression: NONE,
            join_request: Bytes::from(plain),
        },
    };
    BASE64.encode(wrapped.encode_to_vec())
}
