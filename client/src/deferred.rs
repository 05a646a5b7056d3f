//! What waits until the lock of a room is released.
//!
//! Wakers, handlers and the bytes of an application run its code when they are woken, cloned or dropped, and that code
//! may lock the room again. So whoever holds the lock hands them over to [`Deferred`] instead.

use std::any::Any;
use std::sync::Arc;
use std::task::Waker;

use tokio::sync::Notify;

/// Wakers to be woken and values to be dropped; both happens when this is dropped.
#[derive(Default)]
pub(crate) struct Deferred {
    /// Kept apart: it is the most frequent one, and takes no allocation here.
    driver: Option<Waker>,
    woken: Vec<Waker>,
    stale: Vec<Waker>,
    notified: Vec<Arc<Notify>>,
    dropped: Vec<Box<dyn Any + Send>>,
}

impl Deferred {
    /// Wakes the driver of the room.
    pub(crate) fn wake_driver(&mut self, waker: Option<Waker>) {
        // There is one at most: it is set once in each turn of the driver.
        if let Some(other) = std::mem::replace(&mut self.driver, waker) {
            self.woken.push(other);
        }
    }

    /// Wakes whoever waits.
    pub(crate) fn wake(&mut self, waker: Option<Waker>) {
        self.woken.extend(waker);
    }

    /// Wakes all who wait for this.
    pub(crate) fn notify(&mut self, signal: &Arc<Notify>) {
        self.notified.push(signal.clone());
    }

    /// Drops a waker of somebody who no longer waits.
    pub(crate) fn forget(&mut self, waker: Option<Waker>) {
        self.stale.extend(waker);
    }

    /// Drops a value that may be an application's.
    pub(crate) fn drop_later(&mut self, value: impl Any + Send) {
        self.dropped.push(Box::new(value));
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        let driver = self.driver.take();
        for waker in driver.into_iter().chain(self.woken.drain(..)) {
            waker.wake();
        }
        for signal in &self.notified {
            signal.notify_waiters();
        }
    }
}

impl std::fmt::Debug for Deferred {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deferred")
            .field("woken", &(self.woken.len() + self.notified.len()))
            .field("dropped", &self.dropped.len())
            .finish_non_exhaustive()
    }
}
