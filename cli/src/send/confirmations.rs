//! What became of each stream at each of its recipients, and whether that is good enough.

use std::collections::{BTreeMap, BTreeSet};

use lkstream::{Receipt, ReceiptStatus, Sent};

use crate::event::name_of;

/// The streams that a command has sent.
#[derive(Debug, Default)]
pub(super) struct Confirmations {
    streams: BTreeMap<String, Stream>,
    /// Recipients that send receipts: those that run lkstream.
    confirming: BTreeSet<String>,
}

#[derive(Debug)]
struct Stream {
    name: Option<String>,
    recipients: BTreeMap<String, Recipient>,
}

#[derive(Debug, Default)]
struct Recipient {
    /// Its last word.
    last: Option<ReceiptStatus>,
    /// It left or failed before everything was delivered to the server.
    is_missed: bool,
}

/// Whom the command still waits for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Nobody.
    Done,
    /// Recipients that have never said anything; they may not run lkstream.
    Silent,
    /// A recipient that runs lkstream and has not had the last word.
    For(String),
}

impl Confirmations {
    /// How many streams were sent.
    pub(super) fn streams(&self) -> u64 {
        self.streams.len() as u64
    }

    /// A stream was delivered to the server.
    pub(super) fn sent(&mut self, sent: &Sent) {
        let mut recipients: BTreeMap<String, Recipient> = BTreeMap::new();
        for recipient in &*sent.recipients {
            recipients.insert(recipient.to_string(), Recipient::default());
        }
        for missed in &sent.missed {
            recipients
                .entry(missed.identity.to_string())
                .or_default()
                .is_missed = true;
        }
        let stream = Stream {
            name: name_of(&sent.info),
            recipients,
        };
        self.streams.insert(sent.info.id.to_string(), stream);
    }

    /// A recipient said something, or left. Gives the name of the stream, if it has one.
    pub(super) fn heard(&mut self, receipt: &Receipt) -> Option<String> {
        let who = receipt.from.to_string();
        let stream = self.streams.get_mut(receipt.stream.as_str());
        if receipt.status != ReceiptStatus::Left {
            self.confirming.insert(who.clone());
        }
        let stream = stream?;
        if receipt.is_final()
            && let Some(recipient) = stream.recipients.get_mut(&who)
        {
            recipient.last.get_or_insert(receipt.status);
        }
        stream.name.clone()
    }

    /// Whom to wait for.
    pub(super) fn waiting(&self) -> Waiting {
        let mut waiting = Waiting::Done;
        for (who, _) in self.all().filter(|(_, recipient)| recipient.last.is_none()) {
            if self.confirming.contains(who) {
                return Waiting::For(who.clone());
            }
            waiting = Waiting::Silent;
        }
        waiting
    }

    /// What is wrong, if anything is, with recipients named one by one: each has to have every stream.
    pub(super) fn fault_of_named(&self, is_here: impl Fn(&str) -> bool) -> Option<String> {
        self.all()
            .find_map(|(who, recipient)| self.fault(who, recipient, &is_here))
    }

    /// The same for everybody who was there: somebody has to have each stream.
    pub(super) fn fault_of_all(&self, is_here: impl Fn(&str) -> bool) -> Option<String> {
        self.streams.values().find_map(|stream| {
            let faults: Option<Vec<String>> = stream
                .recipients
                .iter()
                .map(|(who, recipient)| self.fault(who, recipient, &is_here))
                .collect();
            // Without a fault of each there is one who has it.
            let faults = faults?;
            Some(match &faults[..] {
                [] => "nobody else was in the room".to_owned(),
                [one] => one.clone(),
                [first, ..] => format!("nobody received everything: {first}"),
            })
        })
    }

    fn all(&self) -> impl Iterator<Item = (&String, &Recipient)> {
        self.streams.values().flat_map(|stream| &stream.recipients)
    }

    /// Why a recipient does not have a stream. Of one that sends no receipts it is enough that it was there to the end.
    fn fault(
        &self,
        who: &str,
        recipient: &Recipient,
        is_here: &impl Fn(&str) -> bool,
    ) -> Option<String> {
        match recipient.last {
            Some(ReceiptStatus::Complete) => None,
            Some(ReceiptStatus::Failed) => Some(format!("{who} could not receive everything")),
            _ if self.confirming.contains(who) => {
                Some(format!("{who} left before it confirmed everything"))
            }
            _ if recipient.is_missed => Some(format!("{who} left before everything was delivered")),
            Some(_) => None,
            None if is_here(who) => None,
            None => Some(format!("{who} was not in the room")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One stream to these, of whom each has this last word.
    fn one(
        recipients: &[(&str, Option<ReceiptStatus>, bool)],
        confirming: &[&str],
    ) -> Confirmations {
        let recipients = recipients.iter().map(|(who, last, is_missed)| {
            let recipient = Recipient {
                last: *last,
                is_missed: *is_missed,
            };
            ((*who).to_owned(), recipient)
        });
        let stream = Stream {
            name: None,
            recipients: recipients.collect(),
        };
        Confirmations {
            streams: BTreeMap::from([("s".to_owned(), stream)]),
            confirming: confirming.iter().map(|who| (*who).to_owned()).collect(),
        }
    }

    #[test]
    fn who_runs_lkstream_has_to_confirm_and_others_to_stay() {
        use ReceiptStatus::{Complete, Failed, Left};
        for (last, is_missed, confirms, is_here, fault) in [
            (Some(Complete), false, true, false, None),
            (Some(Complete), true, true, false, None),
            (
                Some(Failed),
                false,
                true,
                true,
                Some("bob could not receive everything"),
            ),
            (
                Some(Left),
                false,
                true,
                false,
                Some("bob left before it confirmed everything"),
            ),
            (
                None,
                false,
                true,
                true,
                Some("bob left before it confirmed everything"),
            ),
            (
                Some(Left),
                true,
                false,
                false,
                Some("bob left before everything was delivered"),
            ),
            (Some(Left), false, false, false, None),
            (None, false, false, true, None),
            (None, false, false, false, Some("bob was not in the room")),
        ] {
            let confirming: &[&str] = if confirms { &["bob"] } else { &[] };
            let sent = one(&[("bob", last, is_missed)], confirming);
            assert_eq!(sent.fault_of_named(|_| is_here).as_deref(), fault);
            assert_eq!(sent.fault_of_all(|_| is_here).as_deref(), fault);
        }
    }

    #[test]
    fn of_everybody_one_is_enough_and_of_those_named_all_are_needed() {
        use ReceiptStatus::{Complete, Failed};
        let both = [
            ("bob", Some(Failed), false),
            ("carol", Some(Complete), false),
        ];
        let sent = one(&both, &["bob", "carol"]);
        assert_eq!(sent.fault_of_all(|_| true), None);
        assert!(sent.fault_of_named(|_| true).is_some());
        assert!(one(&[], &[]).fault_of_all(|_| true).is_some());
    }

    #[test]
    fn those_who_run_lkstream_are_waited_for() {
        let silent = one(&[("bob", None, false)], &[]);
        assert_eq!(silent.waiting(), Waiting::Silent);
        let ours = one(&[("bob", None, false), ("carol", None, false)], &["carol"]);
        assert_eq!(ours.waiting(), Waiting::For("carol".to_owned()));
        let done = one(&[("bob", Some(ReceiptStatus::Complete), false)], &["bob"]);
        assert_eq!(done.waiting(), Waiting::Done);
    }
}
