//! The rules of protocol.md §2 and §4 and of ARCHITECTURE.md, each test naming its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cost;
mod leaving;
mod pressure;
mod random;
mod routing;
mod signalling;

use super::*;
use lkstream_proto::disconnect::DisconnectReason;
use lkstream_proto::packet::{DataPacket, UserPacket, Value};
use lkstream_proto::participant::ParticipantPermission;
use lkstream_proto::signal::Request;

/// A room on virtual time, and what its driver would do.
struct Scene {
    room: Room,
    now: Instant,
    /// What the room asked for and no test has looked at yet; every signal as [`Output::Farewell`].
    outputs: Vec<Output>,
    /// Signals written, by participant.
    written: BTreeMap<MemberId, u64>,
    /// Whose signal link takes nothing.
    deaf: BTreeSet<MemberId>,
    joins: u128,
}

impl Scene {
    fn new() -> Scene {
        Scene::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Limits)) -> Scene {
        let unix_time = Duration::from_millis(1_700_000_000_123);
        let mut options = Options::new(
            RoomName::from("lobby"),
            RoomSid::generate([7; 16]),
            unix_time,
        );
        change(&mut options.limits);
        let now = Instant::now();
        Scene {
            room: Room::new(now, options),
            now,
            outputs: Vec::new(),
            written: BTreeMap::new(),
            deaf: BTreeSet::new(),
            joins: 0,
        }
    }

    fn joining(&mut self, identity: &str) -> Joining {
        self.joins += 1;
        Joining::new(identity, self.joins.to_be_bytes())
    }

    /// Joins without a connection.
    fn enter(&mut self, joining: Joining) -> MemberId {
        let id = self.room.join(self.now, joining).expect("the room is open");
        self.collect();
        id
    }

    /// Joins, connects and opens both channels.
    fn join(&mut self, identity: &str) -> MemberId {
        let joining = self.joining(identity);
        self.join_as(joining)
    }

    fn join_as(&mut self, joining: Joining) -> MemberId {
        let id = self.enter(joining);
        self.connect(id);
        id
    }

    fn connect(&mut self, id: MemberId) {
        self.tell(Input::Connected(id));
        for channel in [Channel::Reliable, Channel::Lossy] {
            self.tell(Input::ChannelOpen {
                member: id,
                channel,
            });
        }
    }

    fn tell(&mut self, input: Input) {
        self.room
            .handle_input(self.now, input)
            .expect("only packets are refused");
        self.collect();
    }

    fn request(&mut self, from: MemberId, request: Request) {
        self.tell(Input::Request { from, request });
    }

    fn collect(&mut self) {
        while let Some(output) = self.room.poll_output() {
            match output {
                Output::Signals(to) if self.deaf.contains(&to) => {}
                Output::Signals(to) => self.take_signals(to),
                output => self.outputs.push(output),
            }
        }
    }

    /// Writes all signals of a participant.
    fn take_signals(&mut self, to: MemberId) {
        while let Some(message) = self.room.next_signal(to) {
            *self.written.entry(to).or_default() += 1;
            self.outputs.push(Output::Farewell { to, message });
        }
        let total = self.written.get(&to).copied().unwrap_or_default();
        let input = Input::SignalsWritten { member: to, total };
        self.room
            .handle_input(self.now, input)
            .expect("only packets are refused");
    }

    fn send_on(
        &mut self,
        from: MemberId,
        channel: Channel,
        packet: &DataPacket,
    ) -> Result<(), Refusal> {
        let result = self.room.handle_input(
            self.now,
            Input::Packet {
                from,
                channel,
                bytes: packet.to_bytes(),
            },
        );
        self.collect();
        result
    }

    fn send(&mut self, from: MemberId, packet: &DataPacket) {
        self.send_on(from, Channel::Reliable, packet)
            .expect("packet accepted");
    }

    /// Sends `count` packets of 1000 bytes of payload, whatever the brake says.
    fn send_many(&mut self, from: MemberId, count: usize) {
        for _ in 0..count {
            self.send(from, &user(&[0; 1000]));
        }
    }

    /// Everything that waits for a subscriber.
    fn take_on(&mut self, id: MemberId, channel: Channel) -> Vec<DataPacket> {
        let mut packets = Vec::new();
        while let Some(bytes) = self.room.next_packet(self.now, id, channel) {
            packets.push(DataPacket::from_bytes(bytes).expect("a good packet"));
        }
        self.collect();
        packets
    }

    fn take(&mut self, id: MemberId) -> Vec<DataPacket> {
        self.take_on(id, Channel::Reliable)
    }

    /// The payloads that wait for a subscriber, as text.
    fn texts(&mut self, id: MemberId) -> Vec<String> {
        self.take(id).iter().map(text).collect()
    }

    /// What was said to somebody since the last look.
    fn heard(&mut self, id: MemberId) -> Vec<Response> {
        let mut heard = Vec::new();
        self.outputs.retain(|output| match output {
            Output::Farewell { to, message } if *to == id => {
                let response =
                    SignalResponse::from_bytes(message.clone()).expect("good signalling");
                heard.push(response.message.expect("a response we know"));
                false
            }
            _ => true,
        });
        heard
    }

    /// Participants in the updates to somebody since the last look: identity, state, version.
    fn updates(&mut self, id: MemberId) -> Vec<(String, ParticipantState, u32)> {
        self.heard(id)
            .into_iter()
            .filter_map(|response| match response {
                Response::Update(update) => Some(update.participants),
                _ => None,
            })
            .flatten()
            .map(|info| (info.identity.clone(), info.state(), info.version))
            .collect()
    }

    /// The leave that somebody was sent, if any.
    fn sent_away(&mut self, id: MemberId) -> Option<lkstream_proto::signal::LeaveRequest> {
        self.heard(id)
            .into_iter()
            .find_map(|response| match response {
                Response::Leave(leave) => Some(leave),
                _ => None,
            })
    }

    fn forget_outputs(&mut self) {
        self.outputs.clear();
    }

    /// Lets time pass, with every timeout on the way.
    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.room.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.room.handle_timeout(self.now);
            self.collect();
        }
        self.now = end;
        self.room.handle_timeout(self.now);
        self.collect();
    }

    fn seconds(&mut self, seconds: u64) {
        self.wait(Duration::from_secs(seconds));
    }
}

/// What a token without restrictions allows.
fn rights() -> ParticipantPermission {
    Joining::new("", [0; 16]).permission
}

fn packet(value: Value) -> DataPacket {
    DataPacket {
        value: Some(value),
        ..DataPacket::default()
    }
}

fn user(payload: &[u8]) -> DataPacket {
    packet(Value::User(UserPacket {
        payload: Bytes::copy_from_slice(payload),
        ..UserPacket::default()
    }))
}

fn to(identities: &[&str], payload: &str) -> DataPacket {
    DataPacket {
        destination_identities: identities
            .iter()
            .map(|identity| (*identity).to_owned())
            .collect(),
        ..user(payload.as_bytes())
    }
}

fn numbered(sequence: u32, payload: &str) -> DataPacket {
    DataPacket {
        sequence,
        ..user(payload.as_bytes())
    }
}

fn text(packet: &DataPacket) -> String {
    match &packet.value {
        Some(Value::User(user)) => String::from_utf8(user.payload.to_vec()).expect("a text"),
        other => panic!("no user packet: {other:?}"),
    }
}
