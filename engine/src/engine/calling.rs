//! Remote calls, both roles: what the engine does with their packets, streams and timers.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use lkstream_proto::id::Identity;
use lkstream_proto::limits::RPC_PAYLOAD_BYTES;
use lkstream_proto::packet::{DataPacket, RpcAck, RpcRequest, RpcResponse, RpcResult, Value};

use super::receiving::Envelope;
use super::{Engine, Lost, Session, fault};
use crate::event::Event;
use crate::fault::{PeerFault, Rule};
use crate::incoming::{Encoding, IncomingId, Limit, Read, ReadError, Stream};
use crate::limits;
use crate::outgoing::{OpenError, OpenOptions};
use crate::rpc::{
    Call, CallId, CallOptions, Form, ID_ATTRIBUTE, Invocation, InvocationId, METHOD_ATTRIBUTE,
    PACKET_VERSION, Purpose, REQUEST_TOPIC, RESPONSE_TOPIC, Reading, RpcCode, RpcError,
    STREAM_VERSION, Source, TIMEOUT_ATTRIBUTE, VERSION_ATTRIBUTE,
};
use crate::stream::{Attributes, Content, StreamInfo, StreamKind};

impl Engine {
    /// Calls a method of another participant. [`Event::CallEnded`] brings what becomes of it, at
    /// the latest when [`CallOptions::response_timeout`] is over, unless it is
    /// [cancelled](Engine::cancel_call).
    ///
    /// # Errors
    /// What is known at once: too large a payload, no connection, too many calls. Nothing was sent
    /// then, and no event follows.
    pub fn call(&mut self, now: Instant, options: CallOptions) -> Result<CallId, RpcError> {
        self.refuse_call(&options)?;
        let as_stream = self.takes_streams(&options.destination);
        let limit = if as_stream {
            self.config.max_rpc_payload
        } else {
            RPC_PAYLOAD_BYTES
        };
        let size = options.payload.len();
        if size > limit {
            let why = format!("{size} bytes, at most {limit} allowed");
            return Err(RpcCode::RequestTooLarge.because(why));
        }
        let request = self.draw_id().as_str().to_owned();
        let respond_by = now.checked_add(options.response_timeout);
        let id = self.rpc.calls.add(Call {
            request: request.clone(),
            destination: options.destination.clone(),
            acknowledge_by: Some(now + limits::RPC_ROUND_TRIP),
            respond_by,
            gone_by: None,
            response: None,
        });
        let sent = if as_stream {
            self.send_request_stream(request, options)
        } else {
            self.send_request_packet(request, options)
        };
        if sent.is_err() {
            self.rpc.calls.remove(id);
        }
        sent.map(|()| id)
    }

    /// Forgets a call: no event follows, and a response that still comes is ignored. Does nothing
    /// to one that has ended. The other side is not told; its handler runs on.
    pub fn cancel_call(&mut self, id: CallId) {
        if let Some(call) = self.rpc.calls.remove(id)
            && let Some(stream) = call.response
        {
            self.stop_reading(stream);
        }
    }

    /// From now on takes calls of this method, as [`Event::Invoked`]. Calls of other methods are
    /// answered with [`RpcCode::UnsupportedMethod`].
    pub fn serve(&mut self, method: impl Into<String>) {
        self.rpc.invocations.serve(method.into());
    }

    /// Takes no new calls of this method; those taken are still to be answered.
    pub fn unserve(&mut self, method: &str) {
        self.rpc.invocations.unserve(method);
    }

    /// Answers a call, once. `timestamp` is now, for the header of a stream. Of an error, 256 bytes
    /// of the message and 15 360 bytes of the data are sent (protocol.md §6).
    ///
    /// # Errors
    /// [`RpcCode::ResponseTooLarge`] for more than 15 360 bytes to a call that came as a packet, or
    /// more than [`Config::max_rpc_payload`](crate::Config::max_rpc_payload): the caller gets the
    /// same error. [`RpcCode::RecipientDisconnected`] when the caller is gone, or the call was
    /// answered before. [`RpcCode::SendFailed`] when nothing could be queued.
    pub fn respond(
        &mut self,
        id: InvocationId,
        result: Result<String, RpcError>,
        timestamp: SystemTime,
    ) -> Result<(), RpcError> {
        let Some(Ok(source)) = self.rpc.invocations.remove(id) else {
            self.counters.dropped_replies += 1;
            return Err(RpcCode::RecipientDisconnected.into());
        };
        let payload = match result {
            Ok(payload) => payload,
            Err(error) => return self.refuse(&source.caller, &source.request, &error),
        };
        let limit = match source.form {
            Form::Packet => RPC_PAYLOAD_BYTES,
            Form::Stream => self.config.max_rpc_payload,
        };
        let size = payload.len();
        if size > limit {
            let why = format!("{size} bytes, at most {limit} allowed");
            let error = RpcCode::ResponseTooLarge.because(why);
            self.refuse(&source.caller, &source.request, &error)?;
            return Err(error);
        }
        match source.form {
            Form::Packet => {
                let response = RpcResponse {
                    request_id: source.request,
                    result: Some(RpcResult::Payload(payload)),
                };
                self.send_packet(&source.caller, Value::RpcResponse(response))
            }
            Form::Stream => {
                let attributes = Attributes::from([(ID_ATTRIBUTE.to_owned(), source.request)]);
                let destination = source.caller;
                self.send_stream(RESPONSE_TOPIC, destination, attributes, payload, timestamp)
            }
        }
    }

    /// Why a call cannot be made, whatever its form.
    fn refuse_call(&self, options: &CallOptions) -> Result<(), RpcError> {
        let identity = match &self.session {
            Session::Joined { identity, .. } => identity,
            Session::Waiting => return Err(RpcCode::SendFailed.because(OpenError::NotJoined)),
            Session::Lost(cause) => {
                let error = OpenError::ConnectionLost(cause.clone());
                return Err(RpcCode::SendFailed.because(error));
            }
        };
        // Nobody gets back what he sent (protocol.md §4.3), and no destination is everybody.
        if options.destination.is_empty() || options.destination == *identity {
            return Err(RpcCode::RecipientNotFound.into());
        }
        if options.method.is_empty() {
            return Err(RpcCode::UnsupportedMethod.into());
        }
        if let Some(cipher) = &self.cipher
            && !cipher.keyring.can_seal(identity)
        {
            let index = cipher.keyring.index();
            return Err(RpcCode::SendFailed.because(OpenError::NoKey { index }));
        }
        let limit = self.config.max_calls;
        if self.rpc.calls.len() + self.rpc.unpolled >= limit {
            return Err(RpcCode::SendFailed.because(format!("{limit} calls are pending")));
        }
        Ok(())
    }

    fn takes_streams(&self, identity: &Identity) -> bool {
        self.participants
            .get(identity)
            .is_some_and(|other| other.takes_calls_as_streams())
    }

    fn send_request_packet(
        &mut self,
        request: String,
        options: CallOptions,
    ) -> Result<(), RpcError> {
        let request = RpcRequest {
            id: request,
            response_timeout_ms: millis(options.handler_timeout()),
            method: options.method,
            payload: options.payload,
            version: PACKET_VERSION,
            ..RpcRequest::default()
        };
        self.send_packet(&options.destination, Value::RpcRequest(request))
    }

    fn send_request_stream(
        &mut self,
        request: String,
        options: CallOptions,
    ) -> Result<(), RpcError> {
        let timeout = millis(options.handler_timeout());
        let attributes = Attributes::from([
            (ID_ATTRIBUTE.to_owned(), request),
            (TIMEOUT_ATTRIBUTE.to_owned(), timeout.to_string()),
            (VERSION_ATTRIBUTE.to_owned(), STREAM_VERSION.to_string()),
            (METHOD_ATTRIBUTE.to_owned(), options.method),
        ]);
        self.send_stream(
            REQUEST_TOPIC,
            options.destination,
            attributes,
            options.payload,
            options.timestamp,
        )
    }

    fn send_stream(
        &mut self,
        topic: &str,
        destination: Identity,
        attributes: Attributes,
        payload: String,
        timestamp: SystemTime,
    ) -> Result<(), RpcError> {
        let mut options = OpenOptions::new(Content::text(), topic, timestamp);
        options.attributes = attributes;
        options.destinations = vec![destination];
        let sent = self.send(options, Bytes::from(payload));
        let id = sent.map_err(|error| RpcCode::SendFailed.because(error))?;
        if let Some(stream) = self.outgoing(id) {
            stream.release();
        }
        Ok(())
    }

    /// Queues a packet to one participant, before all streams.
    fn send_packet(&mut self, to: &Identity, value: Value) -> Result<(), RpcError> {
        let Session::Joined { identity, sid } = &self.session else {
            return Err(RpcCode::SendFailed.into());
        };
        let packet = DataPacket {
            participant_identity: identity.as_str().to_owned(),
            participant_sid: sid.as_str().to_owned(),
            destination_identities: vec![to.as_str().to_owned()],
            value: Some(value),
            ..DataPacket::default()
        };
        if self.outgoing.queue_control(packet) {
            Ok(())
        } else {
            self.counters.dropped_replies += 1;
            Err(RpcCode::SendFailed.because("too many packets are queued"))
        }
    }

    fn refuse(
        &mut self,
        caller: &Identity,
        request: &str,
        error: &RpcError,
    ) -> Result<(), RpcError> {
        let response = RpcResponse {
            request_id: request.to_owned(),
            result: Some(RpcResult::Error(error.to_wire())),
        };
        self.send_packet(caller, Value::RpcResponse(response))
    }

    fn acknowledge(&mut self, caller: &Identity, request: &str) {
        let ack = RpcAck {
            request_id: request.to_owned(),
        };
        // The caller notices by itself when there was no room.
        let _ = self.send_packet(caller, Value::RpcAck(ack));
    }

    /// A request as a packet.
    pub(super) fn request_packet(
        &mut self,
        envelope: &Envelope<'_>,
        request: RpcRequest,
    ) -> Result<(), PeerFault> {
        let source = Source {
            caller: Identity::from(envelope.identity),
            request: request.id,
            form: Form::Packet,
            method: request.method,
            response_timeout: Duration::from_millis(request.response_timeout_ms.into()),
        };
        let version = match &request.compressed_payload {
            // No client sends it; whoever does has to learn that we can't read it.
            compressed if !compressed.is_empty() => None,
            _ => Some(request.version),
        };
        if let Some(id) = self.admit(source, version == Some(PACKET_VERSION))? {
            self.invoke(id, request.payload);
        }
        Ok(())
    }

    /// Acknowledges a request and gives it a place; `None` when it was refused.
    fn admit(
        &mut self,
        source: Source,
        is_version_known: bool,
    ) -> Result<Option<InvocationId>, PeerFault> {
        if source.caller.is_empty() || source.request.is_empty() || source.method.is_empty() {
            return Err(fault(Rule::MalformedCall, None));
        }
        let (caller, request) = (&source.caller, &source.request);
        if self.rpc.invocations.is_pending(caller, request) {
            self.counters.duplicate_requests += 1;
            return Ok(None);
        }
        self.acknowledge(caller, request);
        let error = if !is_version_known {
            RpcCode::UnsupportedVersion.into()
        } else if !self.rpc.invocations.serves(&source.method) {
            RpcCode::UnsupportedMethod.into()
        } else if let Some(limit) = self.rpc.invocations.limit_met(caller) {
            RpcCode::ApplicationError.because(format!("{limit} calls are being handled"))
        } else {
            return Ok(Some(self.rpc.invocations.add(source)));
        };
        self.counters.refused_requests += 1;
        // The caller runs into its timeout when there was no room.
        let _ = self.refuse(caller, request, &error);
        Ok(None)
    }

    fn invoke(&mut self, id: InvocationId, payload: String) {
        let Some(source) = self.rpc.invocations.get(id) else {
            return;
        };
        self.events.push_back(Event::Invoked(Invocation {
            id,
            caller: source.caller.clone(),
            request_id: source.request.clone(),
            method: source.method.clone(),
            payload,
            response_timeout: source.response_timeout,
        }));
    }

    /// An acknowledgement.
    pub(super) fn call_acknowledged(&mut self, envelope: &Envelope<'_>, ack: &RpcAck) {
        match self.rpc.calls.find(envelope.identity, &ack.request_id) {
            Some((_, call)) => call.acknowledge_by = None,
            None => self.counters.late_replies += 1,
        }
    }

    /// A response as a packet.
    pub(super) fn response_packet(&mut self, envelope: &Envelope<'_>, response: RpcResponse) {
        let Some((id, _)) = self.rpc.calls.find(envelope.identity, &response.request_id) else {
            self.counters.late_replies += 1;
            return;
        };
        let result = match response.result {
            Some(RpcResult::Payload(payload)) => Ok(payload),
            // An empty string need not be on the wire.
            None => Ok(String::new()),
            Some(RpcResult::Error(error)) => Err(error.into()),
            Some(RpcResult::CompressedPayload(_)) => {
                Err(RpcCode::UnsupportedVersion.because("the response is compressed"))
            }
        };
        self.end_call(id, result);
    }

    /// A stream on one of the two topics of calls: no listener gets it.
    pub(super) fn call_stream(
        &mut self,
        now: Instant,
        envelope: &Envelope<'_>,
        info: Arc<StreamInfo>,
        encoding: Encoding,
        inline: Option<Bytes>,
    ) -> Result<(), PeerFault> {
        let purpose = if info.topic == REQUEST_TOPIC {
            self.request_header(envelope, &info)?.map(Purpose::Request)
        } else {
            self.response_header(envelope, &info).map(Purpose::Response)
        };
        let Some(purpose) = purpose else {
            return Ok(());
        };
        let max_payload = u64::try_from(self.config.max_rpc_payload).unwrap_or(u64::MAX);
        let idle = Some(limits::RPC_IDLE);
        let mut stream = Stream::new(now, info, encoding, idle, max_payload);
        stream.header_sequence = envelope.sequence;
        stream.is_whole = inline.is_some();
        let id = self.incoming.add(now, stream);
        if let Purpose::Response(call) = purpose
            && let Some(call) = self.rpc.calls.get_mut(call)
        {
            call.response = Some(id);
        }
        let text = String::new();
        self.rpc.readings.insert(id, Reading { purpose, text });
        let taken = match inline {
            Some(content) => self.inline(now, id, envelope, content),
            None => Ok(()),
        };
        self.read_call(now, id);
        taken
    }

    fn request_header(
        &mut self,
        envelope: &Envelope<'_>,
        info: &StreamInfo,
    ) -> Result<Option<InvocationId>, PeerFault> {
        let attribute = |name| info.attributes.get(name).map(String::as_str);
        let number = |name| attribute(name).and_then(|text| text.trim().parse::<u32>().ok());
        let (Some(request), Some(method), Some(timeout), Some(version)) = (
            attribute(ID_ATTRIBUTE),
            attribute(METHOD_ATTRIBUTE),
            number(TIMEOUT_ATTRIBUTE),
            number(VERSION_ATTRIBUTE),
        ) else {
            return Err(fault(Rule::MalformedCall, Some(info.id.as_str())));
        };
        let source = Source {
            caller: Identity::from(envelope.identity),
            request: request.to_owned(),
            form: Form::Stream,
            method: method.to_owned(),
            response_timeout: Duration::from_millis(timeout.into()),
        };
        self.admit(source, version == STREAM_VERSION)
    }

    fn response_header(&mut self, envelope: &Envelope<'_>, info: &StreamInfo) -> Option<CallId> {
        let request = info.attributes.get(ID_ATTRIBUTE).map(String::as_str);
        match self
            .rpc
            .calls
            .find(envelope.identity, request.unwrap_or_default())
        {
            Some((id, call)) if call.response.is_none() => {
                call.acknowledge_by = None;
                Some(id)
            }
            _ => {
                self.counters.late_replies += 1;
                None
            }
        }
    }

    /// Reads what came of streams of calls.
    pub(super) fn read_calls(&mut self, now: Instant) {
        while let Some(id) = self.rpc.ready.pop() {
            self.read_call(now, id);
        }
    }

    fn read_call(&mut self, now: Instant, id: IncomingId) {
        loop {
            let Some(reading) = self.rpc.readings.get_mut(&id) else {
                return;
            };
            let error = match self.incoming.read(now, id) {
                Some(Read::Piece(piece)) => {
                    let held = self.rpc.held + piece.len();
                    let limit = self.config.connection_budget;
                    if held <= limit {
                        // Pieces of text streams are valid by themselves.
                        reading
                            .text
                            .push_str(std::str::from_utf8(&piece).unwrap_or_default());
                        self.rpc.held = held;
                        continue;
                    }
                    let (unread, budget) = (held, limit);
                    Some(ReadError::Limit(Limit::OverBudget { unread, budget }))
                }
                Some(Read::Pending) => return,
                Some(Read::Finished(_)) | None => None,
                Some(Read::Failed(error)) => Some(error),
            };
            if let Some(reading) = self.stop_reading(id) {
                self.call_read(reading, error);
            }
            return;
        }
    }

    /// A stream of a call was read to its end, good or bad.
    fn call_read(&mut self, reading: Reading, error: Option<ReadError>) {
        match (reading.purpose, error) {
            (Purpose::Request(id), None) => self.invoke(id, reading.text),
            (Purpose::Request(id), Some(error)) => {
                let error = match error {
                    ReadError::Limit(Limit::PayloadTooLarge { .. } | Limit::OverBudget { .. }) => {
                        RpcCode::RequestTooLarge.because(error)
                    }
                    error => RpcCode::ApplicationError.because(error),
                };
                self.counters.refused_requests += 1;
                if let Some(Ok(source)) = self.rpc.invocations.remove(id) {
                    let _ = self.refuse(&source.caller, &source.request, &error);
                }
            }
            (Purpose::Response(id), None) => self.end_call(id, Ok(reading.text)),
            (Purpose::Response(id), Some(error)) => {
                let code = match error {
                    ReadError::Limit(Limit::PayloadTooLarge { .. } | Limit::OverBudget { .. }) => {
                        RpcCode::ResponseTooLarge
                    }
                    ReadError::SenderLeft { .. } => RpcCode::RecipientDisconnected,
                    _ => RpcCode::ApplicationError,
                };
                self.end_call(id, Err(code.because(error)));
            }
        }
    }

    fn stop_reading(&mut self, id: IncomingId) -> Option<Reading> {
        self.incoming.forget(id);
        self.rpc.stop_reading(id)
    }

    fn end_call(&mut self, id: CallId, result: Result<String, RpcError>) {
        let Some(call) = self.rpc.calls.remove(id) else {
            return;
        };
        if let Some(stream) = call.response {
            self.stop_reading(stream);
        }
        self.rpc.unpolled += 1;
        self.events.push_back(Event::CallEnded { id, result });
    }

    /// Ends the calls whose time is over.
    pub(super) fn expire_calls(&mut self, now: Instant) {
        for (id, code) in self.rpc.calls.expired(now) {
            self.end_call(id, Err(code.into()));
        }
    }

    /// Somebody left, which may overtake a reply of his.
    pub(super) fn caller_left(&mut self, now: Instant, identity: &Identity) {
        self.rpc.calls.left(identity, now + limits::RPC_LEAVE_GRACE);
        self.rpc.invocations.left(identity);
    }

    /// Ends all calls, both ways. What is being handled may still be answered, to nobody.
    pub(super) fn calls_lost(&mut self, cause: &Lost) {
        for id in self.rpc.calls.ids() {
            let error = RpcCode::RecipientDisconnected.because(cause);
            self.end_call(id, Err(error));
        }
        let rest: Vec<IncomingId> = self.rpc.readings.keys().copied().collect();
        for id in rest {
            if let Some(Reading {
                purpose: Purpose::Request(id),
                ..
            }) = self.stop_reading(id)
            {
                self.rpc.invocations.remove(id);
            }
        }
        self.rpc.ready.clear();
        self.rpc.invocations.abandon_all();
    }
}

/// Whether a stream is a part of a call.
pub(super) fn is_call(info: &StreamInfo) -> bool {
    info.kind() == StreamKind::Text && (info.topic == REQUEST_TOPIC || info.topic == RESPONSE_TOPIC)
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
