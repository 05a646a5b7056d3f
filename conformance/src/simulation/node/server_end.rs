//! The server's end of a client's wire: what a worker of the server does, between one wire and the room.

use lkstream_proto::packet::Channel;
use lkstream_proto::signal::SignalRequest;
use lkstream_server::room::{self, MemberId, Room};

use super::*;

impl Node {
    /// Does all that can be done now at the server's end; says whether anything was.
    pub(in crate::simulation) fn drive_server(
        &mut self,
        world: &mut World<'_>,
        room: &mut Room,
    ) -> bool {
        let now = world.now;
        let mut busy = flush(&mut self.wire, now, End::Server, &mut self.server_signals);
        if self.server_signals.is_empty()
            && self.signals_given != self.signals_written
            && let Some(member) = self.member
        {
            self.signals_written = self.signals_given;
            let total = self.signals_written;
            tell(room, now, room::Input::SignalsWritten { member, total });
            busy = true;
        }
        if self.server_closing && !self.server_link_closed && self.server_signals.is_empty() {
            self.server_link_closed = true;
            self.server_close = Some(now + CLOSES_AFTER_LINK);
            self.wire.close_signal(now, End::Server);
            busy = true;
        }
        if self.server_close.is_some_and(|at| at <= now) {
            self.server_close = None;
            self.wire.close(now, End::Server);
            busy = true;
        }
        while let Some(event) = self.wire.poll_event(End::Server) {
            let Some(member) = self.member else {
                continue;
            };
            busy = true;
            match event {
                wire::Event::Open => {
                    tell(room, now, room::Input::Connected(member));
                    for channel in [Channel::Reliable, Channel::Lossy] {
                        tell(room, now, room::Input::ChannelOpen { member, channel });
                    }
                }
                wire::Event::Closed(wire::Cause::Peer | wire::Cause::Failure) => {
                    self.publish(world, room);
                    tell(room, now, room::Input::ConnectionClosed(member));
                }
                wire::Event::Closed(wire::Cause::Silence) => {
                    tell(room, now, room::Input::ConnectionLost(member));
                }
                wire::Event::SignalClosed => {
                    self.take_requests(world, room);
                    tell(room, now, room::Input::LinkLost(member));
                }
                wire::Event::Readable(_) | wire::Event::Writable(_) => {}
            }
        }
        busy |= self.take_requests(world, room);
        let acknowledged = self.wire.acknowledged(End::Server, Lane::Reliable);
        if let Some(member) = self.member
            && acknowledged != self.server_acknowledged
        {
            self.server_acknowledged = acknowledged;
            // The room does not know of what was sent twice.
            let total = acknowledged.saturating_sub(self.repeated);
            tell(room, now, room::Input::Acknowledged { member, total });
            busy = true;
        }
        busy |= self.publish(world, room);
        busy |= self.deliver(world, room);
        busy
    }

    fn take_requests(&mut self, world: &mut World<'_>, room: &mut Room) -> bool {
        let mut busy = false;
        while let Some(frame) = self.wire.receive(world.now, End::Server, Lane::Signal) {
            busy = true;
            let request = match SignalRequest::from_bytes(frame) {
                Ok(request) => request.message,
                Err(error) => panic!("{} sent a bad request: {error}", self.who),
            };
            if let (Some(from), Some(request)) = (self.member, request) {
                tell(room, world.now, room::Input::Request { from, request });
            }
        }
        busy
    }

    /// Hands what the participant has sent to the room, as far as that accepts it.
    fn publish(&mut self, world: &mut World<'_>, room: &mut Room) -> bool {
        let mut busy = false;
        while let Some(member) = self.member {
            if !self.wire.is_readable(End::Server, Lane::Reliable)
                || !room.accepts(world.now, member)
            {
                break;
            }
            busy |= self.publish_one(world, room, member, Channel::Reliable);
        }
        while let Some(member) = self.member {
            if !self.publish_one(world, room, member, Channel::Lossy) {
                break;
            }
            busy = true;
        }
        busy
    }

    fn publish_one(
        &mut self,
        world: &mut World<'_>,
        room: &mut Room,
        from: MemberId,
        channel: Channel,
    ) -> bool {
        let Some(bytes) = self.wire.receive(world.now, End::Server, lane(channel)) else {
            return false;
        };
        let size = bytes.len();
        let input = room::Input::Packet {
            from,
            channel,
            bytes,
        };
        let result = room.handle_input(world.now, input);
        world.trace.record(
            world.since,
            format_args!("room gets {size} of {}: {result:?}", self.who),
        );
        true
    }

    /// Fills the wire to the client from the room.
    fn deliver(&mut self, world: &mut World<'_>, room: &mut Room) -> bool {
        let Some(member) = self.member.filter(|_| self.packets_wait) else {
            return false;
        };
        let mut busy = false;
        let mut empty = 0;
        for channel in [Channel::Reliable, Channel::Lossy] {
            while self.wire.room(End::Server, lane(channel)) > 0 {
                let Some(packet) = room.next_packet(world.now, member, channel) else {
                    empty += 1;
                    break;
                };
                busy = true;
                let bytes = packet.len() as u64;
                if channel == Channel::Reliable && self.random.happens(self.client.drops) {
                    world.trace.record(
                        world.since,
                        format_args!("a packet for {} is dropped", self.who),
                    );
                    tell(room, world.now, room::Input::Discarded { member, bytes });
                    continue;
                }
                let again = packet.clone();
                if self
                    .wire
                    .send(world.now, End::Server, lane(channel), packet)
                    .is_err()
                {
                    tell(room, world.now, room::Input::Discarded { member, bytes });
                } else if channel == Channel::Reliable
                    && self.random.happens(self.client.repeats)
                    && self
                        .wire
                        .send(world.now, End::Server, Lane::Reliable, again)
                        .is_ok()
                {
                    self.repeated += bytes;
                }
            }
        }
        if empty == 2 {
            self.packets_wait = false;
        }
        busy
    }

    /// The room asks for all that its participant has sent already.
    pub(in crate::simulation) fn finish(
        &mut self,
        world: &mut World<'_>,
        room: &mut Room,
        member: MemberId,
    ) {
        while self.publish_one(world, room, member, Channel::Reliable) {}
        tell(room, world.now, room::Input::Finished(member));
    }

    pub(in crate::simulation) fn take_signals(&mut self, room: &mut Room, member: MemberId) {
        while let Some(message) = room.next_signal(member) {
            self.signals_given += 1;
            self.signal(message);
        }
    }

    pub(in crate::simulation) fn signal(&mut self, message: Bytes) {
        self.server_signals.push_back(message);
    }

    /// The room let go of its participant.
    pub(in crate::simulation) fn removed(&mut self) {
        self.member = None;
        self.server_closing = true;
    }
}
