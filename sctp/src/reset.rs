//! Stream reset, both directions (RFC 6525).
//!
//! One request of ours is under way at a time; what is asked for meanwhile waits in the queue. A request of the other side that
//! speaks of chunks not yet here is put off and done when they are.

use std::time::Instant;

use crate::chunk::{
    PARAMETER_ADD_INCOMING, PARAMETER_ADD_OUTGOING, PARAMETER_INCOMING_RESET,
    PARAMETER_OUTGOING_RESET, PARAMETER_RESPONSE, PARAMETER_TSN_RESET, RE_CONFIG, parameters, word,
    write_last_parameter, write_parameter,
};
use crate::error::PeerFault;
use crate::limits::RESET_STREAMS;
use crate::packet::Writer;
use crate::queue::Queue;
use crate::receiver::Receiver;
use crate::stats::Stats;
use crate::tsn;

/// Results of a request (RFC 6525 §4.4).
const NOTHING_TO_DO: u32 = 0;
const PERFORMED: u32 = 1;
const DENIED: u32 = 2;
const BAD_NUMBER: u32 = 5;
const IN_PROGRESS: u32 = 6;

/// Parameters of a chunk (RFC 6525 §3.1).
const PARAMETERS: usize = 2;

#[derive(Debug)]
struct Request {
    number: u32,
    last_tsn: u32,
    streams: Vec<u16>,
    /// When to send it, the first time or again.
    at: Instant,
}

/// A request of the other side for chunks that are not all here.
#[derive(Debug)]
struct PutOff {
    number: u32,
    until: u64,
    streams: Vec<u16>,
}

#[derive(Debug)]
pub(crate) struct Reset {
    next_number: u32,
    request: Option<Request>,
    /// Number of the next request of the other side, and what was said to the last.
    peer_number: u32,
    last_result: u32,
    put_off: Option<PutOff>,
    /// Answers to be sent: number and result, the last two.
    answers: [Option<(u32, u32)>; 2],
    /// Streams that the other side has reset, to be told.
    done_incoming: Vec<u16>,
    done_outgoing: Vec<(u16, bool)>,
}

impl Reset {
    /// Numbers begin with the initial TSNs (RFC 6525 §4.1).
    pub(crate) fn new(local_tsn: u32, peer_tsn: u32) -> Self {
        Self {
            next_number: local_tsn,
            request: None,
            peer_number: peer_tsn,
            last_result: NOTHING_TO_DO,
            put_off: None,
            answers: [None; 2],
            done_incoming: Vec::new(),
            done_outgoing: Vec::new(),
        }
    }

    pub(crate) fn handle(
        &mut self,
        now: Instant,
        value: &[u8],
        queue: &mut Queue,
        receiver: &mut Receiver,
        stats: &mut Stats,
    ) -> Result<(), PeerFault> {
        for (index, (kind, value)) in parameters(value).enumerate() {
            if index >= PARAMETERS {
                stats.resets_refused += 1;
                continue;
            }
            let number = word(value, 0).ok_or(PeerFault::Range(RE_CONFIG))?;
            match kind {
                PARAMETER_RESPONSE => {
                    let result = word(value, 4).ok_or(PeerFault::Range(RE_CONFIG))?;
                    self.take_answer(now, number, result, queue, stats);
                }
                PARAMETER_OUTGOING_RESET => {
                    let last_tsn = word(value, 8).ok_or(PeerFault::Range(RE_CONFIG))?;
                    let streams = value
                        .get(12..)
                        .unwrap_or_default()
                        .chunks_exact(2)
                        .map(|id| u16::from_be_bytes([id[0], id[1]]))
                        .collect();
                    self.take_request(number, last_tsn, streams, receiver, stats);
                }
                PARAMETER_INCOMING_RESET
                | PARAMETER_TSN_RESET
                | PARAMETER_ADD_OUTGOING
                | PARAMETER_ADD_INCOMING => self.deny(number, stats),
                _ => stats.resets_refused += 1,
            }
        }
        Ok(())
    }

    fn answer(&mut self, number: u32, result: u32) {
        if self.answers[0].is_none_or(|(before, _)| before == number) {
            self.answers[0] = Some((number, result));
        } else {
            self.answers[1] = Some((number, result));
        }
    }

    /// The answer to a request in its turn is kept, in case the request comes again.
    fn answer_request(&mut self, number: u32, result: u32) {
        if number == self.peer_number {
            self.peer_number = number.wrapping_add(1);
            self.last_result = result;
            self.answer(number, result);
        } else if number.wrapping_add(1) == self.peer_number {
            self.answer(number, self.last_result);
        } else {
            self.answer(number, BAD_NUMBER);
        }
    }

    fn deny(&mut self, number: u32, stats: &mut Stats) {
        // One that comes again was counted.
        let is_again = number.wrapping_add(1) == self.peer_number;
        stats.resets_refused += u64::from(!is_again);
        self.answer_request(number, DENIED);
    }

    fn take_request(
        &mut self,
        number: u32,
        last_tsn: u32,
        streams: Vec<u16>,
        receiver: &mut Receiver,
        stats: &mut Stats,
    ) {
        let is_again = number.wrapping_add(1) == self.peer_number;
        if is_again && self.put_off.is_none() {
            self.answer(number, self.last_result);
            return;
        }
        if number != self.peer_number && !is_again {
            stats.resets_refused += 1;
            self.answer(number, BAD_NUMBER);
            return;
        }
        let until = tsn::extend(receiver.cumulative(), last_tsn);
        if until.saturating_sub(receiver.cumulative()) > crate::limits::RECEIVE_SPAN {
            self.deny(number, stats);
            return;
        }
        self.put_off = Some(PutOff {
            number,
            until,
            streams,
        });
        if !is_again {
            self.answer_request(number, IN_PROGRESS);
        }
        self.follow(receiver, stats);
        if self.put_off.is_some() {
            self.answer(number, IN_PROGRESS);
        }
    }

    /// Does what was put off, once the chunks are here.
    pub(crate) fn follow(&mut self, receiver: &mut Receiver, stats: &mut Stats) {
        let Some(put_off) = self
            .put_off
            .take_if(|put_off| put_off.until <= receiver.cumulative())
        else {
            return;
        };
        // No stream named means all (RFC 6525 §4.1); what cannot be a stream is passed over.
        let streams = if put_off.streams.is_empty() {
            receiver.reassembly.streams()
        } else {
            put_off.streams
        };
        for stream in streams {
            if stream >= receiver.streams() {
                stats.resets_refused += 1;
                continue;
            }
            receiver.reassembly.reset(stream);
            if !self.done_incoming.contains(&stream) {
                self.done_incoming.push(stream);
            }
        }
        self.last_result = PERFORMED;
        self.answer(put_off.number, PERFORMED);
    }

    fn take_answer(
        &mut self,
        now: Instant,
        number: u32,
        result: u32,
        queue: &mut Queue,
        stats: &mut Stats,
    ) {
        let Some(request) = self.request.take_if(|request| request.number == number) else {
            stats.resets_refused += 1;
            return;
        };
        if result == IN_PROGRESS {
            let at = now + crate::limits::RTO_MIN;
            self.request = Some(Request { at, ..request });
            return;
        }
        let is_accepted = matches!(result, NOTHING_TO_DO | PERFORMED);
        for stream in request.streams {
            queue.reset_answered(stream, is_accepted);
            self.done_outgoing.push((stream, is_accepted));
        }
    }

    /// Asks for what the queue wants reset, when no other request is under way.
    pub(crate) fn prepare(&mut self, now: Instant, queue: &mut Queue, last_tsn: u32) {
        if self.request.is_some() {
            return;
        }
        let streams = queue.take_resettable(RESET_STREAMS);
        if streams.is_empty() {
            return;
        }
        self.request = Some(Request {
            number: self.next_number,
            last_tsn,
            streams,
            at: now,
        });
        self.next_number = self.next_number.wrapping_add(1);
    }

    pub(crate) fn timer(&self) -> Option<Instant> {
        self.request.as_ref().map(|request| request.at)
    }

    /// Whether there is something to write. Answers and a request share a chunk.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.answers[0].is_some()
            || self
                .request
                .as_ref()
                .is_some_and(|request| request.at <= now)
    }

    pub(crate) fn write(
        &mut self,
        now: Instant,
        wait: std::time::Duration,
        writer: &mut Writer<'_>,
    ) {
        let answers = std::mem::take(&mut self.answers);
        if answers[0].is_some() {
            writer.chunk(RE_CONFIG, 0, |body| {
                for (number, result) in answers.into_iter().flatten() {
                    let value = [number.to_be_bytes(), result.to_be_bytes()].concat();
                    write_parameter(body, PARAMETER_RESPONSE, &value);
                }
            });
        }
        // The response number is that of the next expected request less one (RFC 6525 §4.1).
        let response = self.peer_number.wrapping_sub(1);
        if let Some(request) = self.request.as_mut().filter(|request| request.at <= now)
            && 20 + request.streams.len() * 2 + 4 <= writer.room()
        {
            request.at = now + wait;
            let mut value = Vec::with_capacity(12 + request.streams.len() * 2);
            for word in [request.number, response, request.last_tsn] {
                value.extend_from_slice(&word.to_be_bytes());
            }
            for stream in &request.streams {
                value.extend_from_slice(&stream.to_be_bytes());
            }
            writer.chunk(RE_CONFIG, 0, |body| {
                write_last_parameter(body, PARAMETER_OUTGOING_RESET, &value);
            });
        }
    }

    pub(crate) fn next_incoming(&mut self) -> Option<u16> {
        self.done_incoming.pop()
    }

    pub(crate) fn next_outgoing(&mut self) -> Option<(u16, bool)> {
        self.done_outgoing.pop()
    }
}
