//! Received content that its reader has not taken yet.

use std::collections::VecDeque;

use bytes::Bytes;

/// Content with what it costs: its whole packet stays in memory until it is read.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) content: Bytes,
    pub(super) charge: usize,
}

/// What has arrived and was not read. A reader that keeps up has one piece waiting, and so has a
/// short message: that one needs no allocation.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Empty only when `rest` is.
    front: Option<Queued>,
    rest: VecDeque<Queued>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.front.is_none()
    }

    pub(super) fn push(&mut self, queued: Queued) {
        if self.front.is_none() {
            self.front = Some(queued);
        } else {
            self.rest.push_back(queued);
        }
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Queued> {
        self.front.as_mut()
    }

    /// Takes the front away if nothing is left of it; what it cost.
    pub(super) fn drop_spent(&mut self) -> usize {
        match &self.front {
            Some(front) if front.content.is_empty() => {
                let charge = front.charge;
                self.front = self.rest.pop_front();
                charge
            }
            _ => 0,
        }
    }

    pub(super) fn clear(&mut self) {
        self.front = None;
        self.rest.clear();
    }
}
