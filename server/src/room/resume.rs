//! A participant whose signal link was cut comes back over a new one (protocol.md §2.14).

use std::time::Instant;

use lkstream_proto::id::{Identity, ParticipantSid};
use lkstream_proto::participant::ParticipantPermission;
use lkstream_proto::signal::{ReconnectResponse, Response, RoomUpdate};

use super::member::Link;
use super::signals::News;
use super::{MemberId, Room};

/// Why a session does not go on. The client is to be told to join anew: leave with reason `STATE_MISMATCH` and action
/// `RECONNECT`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// The session is over or was never here.
    #[error("the session is not known")]
    Unknown,
    /// The token is for another participant.
    #[error("the session belongs to another participant")]
    Foreign,
}

impl Room {
    /// Lets a session go on over a new signal link, with the rights of the token that it came with. The outputs that follow are, in this order: the reconnect response
    /// with the highest sequence accepted, who left meanwhile, everybody including the participant itself, the room.
    /// Data channels are not touched; the client's next offer restarts ICE over them.
    ///
    /// # Errors
    /// See [`ResumeError`]; nothing has changed then.
    pub fn resume(
        &mut self,
        now: Instant,
        sid: &ParticipantSid,
        identity: &Identity,
        permission: ParticipantPermission,
    ) -> Result<MemberId, ResumeError> {
        let until = now + self.options.limits.resume_timeout;
        let slot = *self.by_sid.get(sid).ok_or(ResumeError::Unknown)?;
        let Some(member) = self.at_mut(slot).filter(|member| member.is_present()) else {
            return Err(ResumeError::Unknown);
        };
        if member.identity != *identity {
            return Err(ResumeError::Foreign);
        }
        let id = member.id;
        let last_message_seq = member.sent.last(sid.as_str());
        // Whether it is hidden was decided at the join: the others know of it or do not.
        let permission = ParticipantPermission {
            hidden: member.is_hidden(),
            ..permission
        };
        let is_changed = member.info.permission.as_ref() != Some(&permission);
        if is_changed {
            member.info.permission = Some(permission);
            member.info.version += 1;
        }
        member.link = Link::Up;
        member.signals.restart();
        if let Some(path_lost) = &mut member.path_lost {
            *path_lost = until;
        }
        self.signal_first(
            id,
            Response::Reconnect(ReconnectResponse {
                ice_servers: Vec::new(),
                server_info: Some(self.options.server.clone()),
                last_message_seq,
            }),
        );
        let everybody: Vec<MemberId> = self.visible(id).map(|member| member.id).collect();
        for other in everybody {
            self.show(id, other, News::Changed);
        }
        self.show(id, id, News::Changed);
        if is_changed {
            self.announce(slot, News::Changed);
        }
        let room = RoomUpdate {
            room: Some(self.info()),
        };
        self.signal(id, Response::RoomUpdate(room));
        Ok(id)
    }
}
