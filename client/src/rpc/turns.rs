//! Calls that wait until others to the same participant have ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use lkstream_engine::{RpcCode, RpcError, limits};
use lkstream_proto::id::Identity;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::shared::Shared;

/// Calls under way to one participant: as many as our own receiver handles of one caller.
const AT_ONCE: usize = limits::INVOCATIONS_PER_CALLER;

/// Calls of a room that wait for their turn.
const WAITING: usize = limits::CALLS;

/// The participants that are called, and how many calls wait.
#[derive(Debug, Default)]
pub(super) struct Turns {
    by_destination: HashMap<Identity, Queue>,
    waiting: usize,
}

/// The calls to one participant.
#[derive(Debug)]
struct Queue {
    turns: Arc<Semaphore>,
    /// Calls that wait or are under way.
    calls: usize,
}

/// The right to make one call. Dropping it gives it to the next one.
#[derive(Debug)]
pub(super) struct Turn {
    shared: Arc<Shared>,
    destination: Identity,
    is_waiting: bool,
    /// It was not given at once.
    pub(super) has_waited: bool,
    permit: Option<OwnedSemaphorePermit>,
}

impl Turn {
    /// Waits for the turn, in the order of the calls.
    ///
    /// # Errors
    /// When too many wait already, or the deadline passes.
    pub(super) async fn wait(
        shared: &Arc<Shared>,
        destination: &Identity,
        deadline: Option<Instant>,
    ) -> Result<Turn, RpcError> {
        let (turns, mut turn) = {
            let mut state = shared.lock();
            let all = &mut state.rpc.turns;
            if all.waiting >= WAITING {
                return Err(RpcError::from(RpcCode::SendFailed)
                    .with_data(format!("{WAITING} calls wait already")));
            }
            all.waiting += 1;
            let queue = all
                .by_destination
                .entry(destination.clone())
                .or_insert_with(|| Queue {
                    turns: Arc::new(Semaphore::new(AT_ONCE)),
                    calls: 0,
                });
            queue.calls += 1;
            let turn = Turn {
                shared: shared.clone(),
                destination: destination.clone(),
                is_waiting: true,
                has_waited: false,
                permit: None,
            };
            (queue.turns.clone(), turn)
        };
        if let Ok(permit) = turns.clone().try_acquire_owned() {
            turn.begin(permit);
            return Ok(turn);
        }
        turn.has_waited = true;
        let acquired = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline.into(), turns.acquire_owned()).await,
            None => Ok(turns.acquire_owned().await),
        };
        match acquired {
            Ok(Ok(permit)) => turn.begin(permit),
            // It is never closed.
            Ok(Err(_)) => {}
            Err(_) => {
                let reason = format!("{AT_ONCE} earlier calls to {destination} have not ended");
                return Err(RpcError::from(RpcCode::ResponseTimeout).with_data(reason));
            }
        }
        Ok(turn)
    }

    fn begin(&mut self, permit: OwnedSemaphorePermit) {
        self.permit = Some(permit);
        self.is_waiting = false;
        self.shared.lock().rpc.turns.waiting -= 1;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Wakes the next one, so not under the lock.
        drop(self.permit.take());
        let mut state = self.shared.lock();
        let all = &mut state.rpc.turns;
        all.waiting -= usize::from(self.is_waiting);
        if let Some(queue) = all.by_destination.get_mut(&self.destination) {
            queue.calls -= 1;
            if queue.calls == 0 {
                all.by_destination.remove(&self.destination);
            }
        }
    }
}
