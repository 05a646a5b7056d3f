//! How much memory a value holds, roughly and never too little: what bounded queues and tables charge for it.

use std::collections::BTreeMap;

use lkstream_engine::{Content, StreamInfo, UserMessage};
use lkstream_proto::packet::{ChatMessage, SipDtmf, Transcription};

use crate::events::Event;
use crate::participant::Parts;
use crate::{Disconnected, Receipt};

/// Bytes charged for an allocation, and for an entry of a map, beside what is in them.
const OVERHEAD: usize = 64;

/// Memory of an event, with all that it refers to. What it shares with others is charged in full.
pub(crate) fn event(event: &Event) -> usize {
    let held = match event {
        Event::Joined(participant)
        | Event::Active(participant)
        | Event::Updated(participant)
        | Event::Left(participant) => self::participant(&participant.0),
        Event::UnclaimedStream(info) => stream_info(info),
        Event::IncomingFailed { info, error: _ } => stream_info(info),
        Event::Receipt(Receipt {
            stream,
            from,
            reason,
            ..
        }) => text(stream.as_str()) + text(from.as_str()) + text(reason),
        Event::Data(message) => user_message(message),
        Event::SipDtmf { from, dtmf } => {
            let SipDtmf { code: _, digit } = dtmf;
            text(from.as_str()) + text(digit)
        }
        Event::Chat { from, message } => {
            let ChatMessage { id, message, .. } = message;
            text(from.as_str()) + text(id) + text(message)
        }
        Event::Transcription {
            from,
            transcription,
        } => text(from.as_str()) + self::transcription(transcription),
        Event::Disconnected(
            Disconnected::SignallingLost { cause } | Disconnected::TransportLost { cause },
        ) => text(cause),
        Event::PacketsDropped { fault, count: _ } => {
            fault.stream.as_ref().map_or(0, |id| text(id.as_str()))
        }
        Event::Disconnected(_) | Event::Missed { .. } => 0,
    };
    size_of::<Event>() + held
}

/// Memory of a participant.
pub(crate) fn participant(parts: &Parts) -> usize {
    size_of::<Parts>()
        + OVERHEAD
        + text(parts.identity.as_str())
        + text(parts.sid.as_str())
        + text(&parts.name)
        + text(&parts.metadata)
        + attributes(&parts.attributes)
}

fn stream_info(info: &StreamInfo) -> usize {
    let content = match &info.content {
        Content::Text {
            reply_to,
            attachments,
            ..
        } => {
            let ids = reply_to.iter().chain(attachments);
            ids.map(|id| size_of_val(id) + text(id.as_str())).sum()
        }
        Content::Bytes { name } => text(name),
    };
    let publisher = info.publisher.as_ref().map_or("", |sid| sid.as_str());
    content
        + [info.id.as_str(), info.topic.as_str(), &info.mime_type]
            .into_iter()
            .chain([info.sender.as_str(), publisher])
            .map(text)
            .sum::<usize>()
        + attributes(&info.attributes)
}

fn user_message(message: &UserMessage) -> usize {
    let publisher = message.publisher.as_ref().map_or("", |sid| sid.as_str());
    let topic = message.topic.as_ref().map_or("", |topic| topic.as_str());
    // The engine sees to it that the payload is at least half of the packet whose memory it keeps.
    2 * message.payload.len() + text(message.from.as_str()) + text(publisher) + text(topic)
}

fn transcription(transcription: &Transcription) -> usize {
    let segments: usize = transcription
        .segments
        .iter()
        .map(|segment| {
            size_of_val(segment) + text(&segment.id) + text(&segment.text) + text(&segment.language)
        })
        .sum();
    segments + text(&transcription.transcribed_participant_identity) + text(&transcription.track_id)
}

fn attributes(attributes: &BTreeMap<String, String>) -> usize {
    attributes
        .iter()
        .map(|(key, value)| text(key) + text(value))
        .sum()
}

fn text(text: &str) -> usize {
    OVERHEAD + text.len()
}
