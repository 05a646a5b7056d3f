//! Answers the requests of clients on the signal link (protocol.md §2.11, §2.16, §2.17).

use std::time::Instant;

use bytes::Bytes;
use lkstream_proto::disconnect::DisconnectReason;
use lkstream_proto::limits as wire;
use lkstream_proto::signal::{
    Echo, Pong, Request, RequestReason, RequestResponse, Response, Scenario, UpdateMetadata,
};

use super::departure::Departure;
use super::signals::News;
use super::{MemberId, Room, millis};

/// Bytes of a refused request that are sent back at most, so that its client knows which one it was.
const ECHO_BYTES: usize = 64 << 10;

fn echo(request: Bytes, kind: fn(Bytes) -> Echo) -> Option<Echo> {
    (request.len() <= ECHO_BYTES).then(|| kind(request))
}

impl Room {
    pub(super) fn handle_request(&mut self, now: Instant, from: MemberId, request: Request) {
        if !self
            .member(from)
            .is_some_and(super::member::Member::is_present)
        {
            return;
        }
        let unix = millis(self.unix_time(now));
        match request {
            Request::Ping(_) => self.signal(from, Response::Pong(unix)),
            Request::PingReq(ping) => self.signal(
                from,
                Response::PongResp(Pong {
                    last_ping_timestamp: ping.timestamp,
                    timestamp: unix,
                }),
            ),
            Request::Leave(_) => self.say_goodbye(now, from),
            Request::UpdateMetadata(change) => self.update_metadata(from, change),
            Request::AddTrack(track) => self.refuse(from, echo(track, Echo::AddTrack)),
            Request::PublishDataTrack(track) => {
                self.refuse(from, echo(track, Echo::PublishDataTrack));
            }
            Request::StoreDataBlob(_) | Request::GetDataBlob(_) => self.refuse(from, None),
            Request::Simulate(simulation) => match simulation.scenario {
                Some(Scenario::ServerLeave(_)) => {
                    self.depart(
                        now,
                        from,
                        Departure::final_(DisconnectReason::ParticipantRemoved),
                    );
                }
                Some(Scenario::LeaveRequestFullReconnect(_)) => {
                    self.depart(
                        now,
                        from,
                        Departure::rejoin(DisconnectReason::StateMismatch),
                    );
                }
                Some(Scenario::NodeFailure(_)) => {
                    self.depart(
                        now,
                        from,
                        Departure::silent(DisconnectReason::ConnectionTimeout),
                    );
                }
                _ => {}
            },
            // Offers, answers and candidates are the driver's; the rest is about tracks or needs no answer.
            _ => {}
        }
    }

    /// A request about what this server does not have; silence would hang the call for 10 s (protocol.md §2.17).
    fn refuse(&mut self, from: MemberId, request: Option<Echo>) {
        self.stats.requests_refused += 1;
        self.signal(
            from,
            Response::RequestResponse(RequestResponse {
                request_id: 0,
                reason: RequestReason::UnsupportedType as i32,
                message: "this server carries data only".to_owned(),
                request,
            }),
        );
    }

    fn update_metadata(&mut self, from: MemberId, change: UpdateMetadata) {
        let (reason, message) = match self.apply(from, &change) {
            Ok(()) => (RequestReason::Ok, String::new()),
            Err(refused) => {
                self.stats.requests_refused += 1;
                refused
            }
        };
        self.signal(
            from,
            Response::RequestResponse(RequestResponse {
                request_id: change.request_id,
                reason: reason as i32,
                message,
                request: Some(Echo::UpdateMetadata(change)),
            }),
        );
        if reason == RequestReason::Ok {
            self.announce(from.slot, News::Changed);
        }
    }

    fn apply(
        &mut self,
        from: MemberId,
        change: &UpdateMetadata,
    ) -> Result<(), (RequestReason, String)> {
        let Some(member) = self.member_mut(from) else {
            return Err((RequestReason::NotFound, String::new()));
        };
        let may = member
            .info
            .permission
            .as_ref()
            .is_some_and(|permission| permission.can_update_metadata);
        if !may {
            let message = "the token does not allow to update own metadata";
            return Err((RequestReason::NotAllowed, message.to_owned()));
        }
        let mut attributes = member.info.attributes.clone();
        for (key, value) in &change.attributes {
            if value.is_empty() {
                attributes.remove(key);
            } else {
                attributes.insert(key.clone(), value.clone());
            }
        }
        let attribute_bytes = attributes
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        for (what, size, limit) in [
            ("name", change.name.len(), wire::NAME_BYTES),
            ("metadata", change.metadata.len(), wire::METADATA_BYTES),
            ("attributes", attribute_bytes, wire::ATTRIBUTES_BYTES),
        ] {
            if size > limit {
                let message = format!("{what} of {size} bytes, at most {limit} allowed");
                return Err((RequestReason::LimitExceeded, message));
            }
        }
        member.info.attributes = attributes;
        if !change.name.is_empty() {
            member.info.name.clone_from(&change.name);
        }
        if !change.metadata.is_empty() {
            member.info.metadata.clone_from(&change.metadata);
        }
        member.info.version += 1;
        Ok(())
    }
}
