//! The threads that store files: a few for the whole process, however many streams arrive at once.
//!
//! Many small files are limited by the syncs of the disk. So files that are ready to get their final name are renamed in batches, each
//! with one sync of the directory; on a file system with a journal the syncs of several threads are done together.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::partial::{Partial, sync_directory};
use crate::SaveError;

/// Threads at most. More only wait for the same disk.
const THREADS: usize = 8;
/// Files that one thread finishes with one sync of their directory.
const BATCH: usize = 16;
/// How long a thread waits for more to do before it ends.
const IDLE: Duration = Duration::from_secs(1);

static WRITERS: Writers = Writers {
    state: Mutex::new(State {
        work: VecDeque::new(),
        finishes: VecDeque::new(),
        threads: 0,
        idle: 0,
    }),
    more: Condvar::new(),
};

struct Writers {
    state: Mutex<State>,
    more: Condvar,
}

struct State {
    work: VecDeque<Box<dyn FnOnce() + Send>>,
    finishes: VecDeque<Finish>,
    threads: usize,
    /// Threads that wait for `more`.
    idle: usize,
}

/// A file that gets its last bytes and its final name.
struct Finish {
    partial: Box<dyn FnOnce() -> Result<Partial, SaveError> + Send>,
    answer: oneshot::Sender<Result<PathBuf, SaveError>>,
}

/// Runs file work on one of the threads. Dropping the future drops the work if it has not begun.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SaveError> + Send + 'static,
) -> Result<T, SaveError> {
    let (answer, answered) = oneshot::channel();
    WRITERS.push(|state| {
        state.work.push_back(Box::new(move || {
            if !answer.is_closed() {
                // Nobody waits any more; a file in the result goes with it.
                let _ = answer.send(work());
            }
        }));
    })?;
    answered.await.unwrap_or_else(|_| Err(thread_ended()))
}

/// Gives the file that `partial` makes complete its final name, durably, and returns that name. Dropping the future
/// removes the file if its turn has not come.
pub(crate) async fn finish(
    partial: impl FnOnce() -> Result<Partial, SaveError> + Send + 'static,
) -> Result<PathBuf, SaveError> {
    let (answer, answered) = oneshot::channel();
    let partial = Box::new(partial);
    WRITERS.push(|state| state.finishes.push_back(Finish { partial, answer }))?;
    answered.await.unwrap_or_else(|_| Err(thread_ended()))
}

impl Writers {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete at once; the work itself runs without the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues something and sees to a thread for it.
    fn push(&'static self, queue: impl FnOnce(&mut State)) -> Result<(), SaveError> {
        let mut state = self.lock();
        let queued = state.work.len() + state.finishes.len();
        if queued >= state.idle && state.threads < THREADS {
            let spawned = std::thread::Builder::new()
                .name("lkstream-files".to_owned())
                .spawn(|| self.work());
            match spawned {
                Ok(_) => state.threads += 1,
                // Those that run will come to it.
                Err(_) if state.threads > 0 => {}
                Err(error) => {
                    return Err(SaveError::File {
                        path: PathBuf::new(),
                        cause: error.into(),
                    });
                }
            }
        }
        queue(&mut state);
        drop(state);
        self.more.notify_one();
        Ok(())
    }

    fn work(&'static self) {
        let running = Running(self);
        let mut state = self.lock();
        loop {
            let work = state.work.pop_front();
            let share = state.finishes.len().div_ceil(THREADS).min(BATCH);
            let finishes: Vec<Finish> = state.finishes.drain(..share).collect();
            if work.is_none() && finishes.is_empty() {
                state.idle += 1;
                let (woken, waited) = self
                    .more
                    .wait_timeout(state, IDLE)
                    .unwrap_or_else(PoisonError::into_inner);
                state = woken;
                state.idle -= 1;
                if waited.timed_out() && state.work.is_empty() && state.finishes.is_empty() {
                    // Under the lock, so that nothing is queued for a thread that is gone.
                    state.threads -= 1;
                    std::mem::forget(running);
                    return;
                }
                continue;
            }
            drop(state);
            if let Some(work) = work {
                work();
            }
            finish_all(finishes);
            state = self.lock();
        }
    }
}

/// A thread that counts, until a panic ends it.
struct Running(&'static Writers);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().threads -= 1;
    }
}

fn finish_all(finishes: Vec<Finish>) {
    let mut placed = Vec::with_capacity(finishes.len());
    let mut directories = BTreeSet::new();
    for Finish { partial, answer } in finishes {
        if answer.is_closed() {
            continue;
        }
        let result = partial().and_then(|partial| {
            let directory = partial.directory().to_owned();
            let path = partial.place()?;
            directories.insert(directory);
            Ok(path)
        });
        placed.push((answer, result));
    }
    for directory in &directories {
        sync_directory(directory);
    }
    for (answer, result) in placed {
        let _ = answer.send(result);
    }
}

fn thread_ended() -> SaveError {
    SaveError::File {
        path: PathBuf::new(),
        cause: io::Error::other("the thread that stores files ended").into(),
    }
}
