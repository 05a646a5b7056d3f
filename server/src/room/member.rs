//! What a room knows about one participant.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lkstream_engine::delivery::Duplicates;
use lkstream_proto::disconnect::DisconnectReason;
use lkstream_proto::id::{Identity, ParticipantSid};
use lkstream_proto::participant::{ParticipantInfo, ParticipantKind};

use super::MemberId;
use super::departure::Departure;
use super::limits::Limits;
use super::log::{Log, Slot};
use super::signals::Signals;

#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) sid: ParticipantSid,
    pub(super) identity: Identity,
    pub(super) info: ParticipantInfo,
    pub(super) joined: Instant,
    pub(super) phase: Phase,
    pub(super) link: Link,
    /// When it is given up if its peer connection does not come back.
    pub(super) path_lost: Option<Instant>,
    /// What waits for its signal link.
    pub(super) signals: Signals,
    /// An update about it as of a version, for all who get it.
    pub(super) encoded: Option<(u32, Bytes)>,

    // As a publisher.
    pub(super) log: Log,
    pub(super) sent: Duplicates,
    pub(super) braked: bool,

    // As a subscriber.
    pub(super) reliable_open: bool,
    pub(super) lossy_open: bool,
    /// Publishers in whose logs something waits, in turn.
    pub(super) turns: VecDeque<Slot>,
    /// Cost of all that waits.
    pub(super) behind: usize,
    /// Since when something waits and nothing was taken or acknowledged.
    pub(super) waiting_since: Option<Instant>,
    pub(super) woken: bool,
    pub(super) lossy: VecDeque<Bytes>,
    pub(super) lossy_bytes: usize,
    /// Bytes of reliable packets taken.
    pub(super) taken: u64,
    /// Bytes of those that its transport acknowledged.
    pub(super) acknowledged: u64,
    /// Leavers of whom it has not received everything yet.
    pub(super) leavers: BTreeSet<MemberId>,
    /// From how many acknowledged bytes on it has everything of which leaver, in order. Some are no longer of interest.
    pub(super) targets: VecDeque<(u64, MemberId)>,
    /// Publishers that have sent something to it by name.
    pub(super) addressed_by: BTreeSet<Slot>,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// Its peer connection is not up yet.
    Joined {
        /// When it is given up.
        deadline: Instant,
    },
    Active,
    /// It is out, but what it has sent is still on its way.
    Leaving(Leaving),
}

#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) reason: DisconnectReason,
    /// Nothing more comes from it.
    pub(super) finished: bool,
    /// Whether the others are told; not when it was hidden or has come back under a new sid.
    pub(super) told: bool,
    /// Who has not received everything yet; each of them has this leaver in [`Member::leavers`].
    pub(super) awaiting: BTreeSet<MemberId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    Lost {
        /// When it is given up.
        until: Instant,
    },
}

/// What has to be done about a participant.
#[derive(Debug)]
pub(super) enum Overdue {
    Depart(Departure),
    Skip,
}

impl Member {
    pub(super) fn new(
        now: Instant,
        id: MemberId,
        sid: ParticipantSid,
        identity: Identity,
        info: ParticipantInfo,
        deadline: Instant,
    ) -> Member {
        Member {
            id,
            sid,
            identity,
            info,
            joined: now,
            phase: Phase::Joined { deadline },
            link: Link::Up,
            path_lost: None,
            signals: Signals::default(),
            encoded: None,
            log: Log::default(),
            sent: Duplicates::new(Duration::MAX, 1),
            braked: false,
            reliable_open: false,
            lossy_open: false,
            turns: VecDeque::new(),
            behind: 0,
            waiting_since: None,
            woken: false,
            lossy: VecDeque::new(),
            lossy_bytes: 0,
            taken: 0,
            acknowledged: 0,
            leavers: BTreeSet::new(),
            targets: VecDeque::new(),
            addressed_by: BTreeSet::new(),
        }
    }

    pub(super) fn is_present(&self) -> bool {
        !matches!(self.phase, Phase::Leaving(_))
    }

    pub(super) fn is_hidden(&self) -> bool {
        self.info
            .permission
            .as_ref()
            .is_some_and(|permission| permission.hidden)
    }

    pub(super) fn may_publish(&self) -> bool {
        self.info
            .permission
            .as_ref()
            .is_some_and(|permission| permission.can_publish_data)
    }

    pub(super) fn takes_metrics(&self) -> bool {
        self.info
            .permission
            .as_ref()
            .is_some_and(|permission| permission.can_subscribe_metrics)
    }

    pub(super) fn is_agent(&self) -> bool {
        self.info.kind == ParticipantKind::Agent as i32
            || self
                .info
                .permission
                .as_ref()
                .is_some_and(|permission| permission.agent)
    }

    /// Whether it counts as a participant of the room (protocol.md §2.10).
    pub(super) fn is_counted(&self) -> bool {
        !self.is_agent() && !self.is_hidden() && self.info.kind != ParticipantKind::Egress as i32
    }

    /// Whether it has stopped taking what waits for it. A newcomer without a channel counts from its join.
    pub(super) fn is_stalled(&self, now: Instant, limits: &Limits) -> bool {
        self.stalled_at(limits).is_some_and(|at| at <= now)
    }

    fn stalled_at(&self, limits: &Limits) -> Option<Instant> {
        self.still_since().map(|since| since + limits.stalled_after)
    }

    fn still_since(&self) -> Option<Instant> {
        let since = self.waiting_since?;
        Some(if self.reliable_open {
            since
        } else {
            self.joined
        })
    }

    pub(super) fn overdue(&self, now: Instant, limits: &Limits) -> Option<Overdue> {
        if let Phase::Joined { deadline } = self.phase
            && deadline <= now
        {
            return Some(Overdue::Depart(Departure::never_connected()));
        }
        if self.path_lost.is_some_and(|at| at <= now) {
            return Some(Overdue::Depart(Departure::connection_lost()));
        }
        if let Link::Lost { until } = self.link
            && until <= now
        {
            return Some(Overdue::Depart(Departure::link_lost()));
        }
        if self
            .still_since()
            .is_some_and(|since| since + limits.cut_after <= now)
        {
            return Some(if self.reliable_open {
                Overdue::Depart(Departure::stalled())
            } else {
                Overdue::Skip
            });
        }
        None
    }

    pub(super) fn deadlines(&self, limits: &Limits, sooner: &mut impl FnMut(Option<Instant>)) {
        if let Phase::Joined { deadline } = self.phase {
            sooner(Some(deadline));
        }
        sooner(self.path_lost);
        if let Link::Lost { until } = self.link {
            sooner(Some(until));
        }
        sooner(self.stalled_at(limits));
        sooner(self.still_since().map(|since| since + limits.cut_after));
    }
}
