//! The last line of a terminal, for all streams that run.

mod line;

use std::collections::{BTreeMap, VecDeque};
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use console::Term;

use line::View;

/// What takes less than this shows no line.
const DELAY: Duration = Duration::from_millis(300);
/// Between two drawings.
const PACE: Duration = Duration::from_millis(100);
/// How far back the rate looks, with a sample now and then.
const WINDOW: Duration = Duration::from_secs(5);
const SAMPLES: Duration = Duration::from_millis(200);
/// Columns of a terminal that does not say.
const COLUMNS: usize = 80;

/// Draws the line, where it is in nobody's way: on a terminal, for a process in its foreground, while no text of others
/// stands unfinished above it. Clones draw the same line.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    terminal: Option<Term>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Streams that run, or will.
    tasks: BTreeMap<u64, Measured>,
    next: u64,
    /// Those that ended since the line was last empty, and their bytes.
    ended: usize,
    ended_bytes: u64,
    since: Option<Instant>,
    samples: VecDeque<(Instant, u64)>,
    drawn: Option<Instant>,
    is_drawn: bool,
    is_held: bool,
}

#[derive(Debug)]
struct Measured {
    label: String,
    bytes: u64,
    length: Option<u64>,
}

/// One stream's part of the line, until it is dropped.
#[derive(Debug)]
pub(crate) struct Task {
    progress: Progress,
    id: u64,
}

impl Progress {
    /// A line on standard error where that is a terminal, and nothing that others read there is in its way.
    pub(crate) fn on_terminal() -> Progress {
        let is_shown = std::io::stderr().is_terminal()
            && !feeds_a_pipe()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Progress {
            terminal: is_shown.then(Term::buffered_stderr),
            state: Arc::default(),
        }
    }

    /// No line.
    pub(crate) fn hidden() -> Progress {
        Progress {
            terminal: None,
            state: Arc::default(),
        }
    }

    /// Adds a stream of this name.
    pub(crate) fn task(&self, label: &str, length: Option<u64>) -> Task {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.since.get_or_insert_with(Instant::now);
        let task = Measured {
            label: lkstream::files::printable(label),
            bytes: 0,
            length,
        };
        state.tasks.insert(id, task);
        Task {
            progress: self.clone(),
            id,
        }
    }

    /// Draws again when it is time, so that rate and time left are true while nothing moves.
    pub(crate) fn tick(&self) {
        self.draw(&mut self.lock(), Instant::now());
    }

    /// Does something with the terminal while the line is away.
    pub(crate) fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut state = self.lock();
        self.erase(&mut state);
        let result = work();
        state.drawn = None;
        self.draw(&mut state, Instant::now());
        result
    }

    /// Takes the line away until [`release`](Self::release): text of others stands on the last line.
    pub(crate) fn hold(&self) {
        let mut state = self.lock();
        self.erase(&mut state);
        state.is_held = true;
    }

    /// The cursor is at the start of a line again.
    pub(crate) fn release(&self) {
        self.lock().is_held = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn erase(&self, state: &mut State) {
        if let Some(terminal) = &self.terminal
            && std::mem::take(&mut state.is_drawn)
        {
            // A terminal that is gone needs no line.
            let _ = terminal.clear_line().and_then(|()| terminal.flush());
        }
    }

    fn draw(&self, state: &mut State, now: Instant) {
        let Some(terminal) = &self.terminal else {
            return;
        };
        let is_early = state
            .since
            .is_none_or(|since| now.duration_since(since) < DELAY);
        let is_recent = state
            .drawn
            .is_some_and(|drawn| now.duration_since(drawn) < PACE);
        if is_early || is_recent || state.is_held || state.tasks.is_empty() || !in_foreground() {
            return;
        }
        state.sample(now);
        let columns = terminal
            .size_checked()
            .map_or(COLUMNS, |(_, columns)| usize::from(columns));
        let line = line::line(columns, &state.view(now));
        let _ = terminal
            .clear_line()
            .and_then(|()| terminal.write_str(&line))
            .and_then(|()| terminal.flush());
        state.drawn = Some(now);
        state.is_drawn = true;
    }
}

impl Task {
    /// The stream's length, once it is known.
    pub(crate) fn set_length(&self, length: Option<u64>) {
        if let Some(task) = self.progress.lock().tasks.get_mut(&self.id) {
            task.length = length;
        }
    }

    /// The stream's bytes so far.
    pub(crate) fn set_bytes(&self, bytes: u64) {
        let mut state = self.progress.lock();
        if let Some(task) = state.tasks.get_mut(&self.id) {
            task.bytes = bytes;
        }
        self.progress.draw(&mut state, Instant::now());
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let mut state = self.progress.lock();
        if let Some(task) = state.tasks.remove(&self.id) {
            state.ended += 1;
            state.ended_bytes += task.bytes;
        }
        if state.tasks.is_empty() {
            self.progress.erase(&mut state);
            let (next, is_held) = (state.next, state.is_held);
            *state = State {
                next,
                is_held,
                ..State::default()
            };
        }
    }
}

impl State {
    fn bytes(&self) -> u64 {
        self.ended_bytes + self.tasks.values().map(|task| task.bytes).sum::<u64>()
    }

    fn sample(&mut self, now: Instant) {
        let is_due = self
            .samples
            .back()
            .is_none_or(|(at, _)| now.duration_since(*at) >= SAMPLES);
        if is_due {
            self.samples.push_back((now, self.bytes()));
        }
        while self
            .samples
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at) > WINDOW)
        {
            self.samples.pop_front();
        }
    }

    fn view(&self, now: Instant) -> View {
        let all = self.ended + self.tasks.len();
        let label = match self.tasks.values().next() {
            Some(task) if all == 1 => task.label.clone(),
            _ => format!("{} of {all} files", self.ended),
        };
        let lengths: Option<u64> = self
            .tasks
            .values()
            .map(|task| task.length.map(|length| length.max(task.bytes)))
            .sum();
        let bytes = self.bytes();
        let rate = self.samples.front().and_then(|(at, then)| {
            let seconds = now.duration_since(*at).as_secs_f64();
            (seconds >= 0.5).then(|| (bytes.saturating_sub(*then) as f64 / seconds) as u64)
        });
        View {
            label,
            bytes,
            total: lengths.map(|lengths| self.ended_bytes + lengths),
            rate,
        }
    }
}

/// Whether standard output goes into a pipe, so that another program has the terminal, too.
#[cfg(unix)]
fn feeds_a_pipe() -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileTypeExt;

    std::io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .and_then(|out| std::fs::File::from(out).metadata())
        .is_ok_and(|out| out.file_type().is_fifo() || out.file_type().is_socket())
}

#[cfg(not(unix))]
fn feeds_a_pipe() -> bool {
    !std::io::stdout().is_terminal()
}

/// Whether the terminal is ours to draw on: the shell has it while we run in the background.
#[cfg(unix)]
fn in_foreground() -> bool {
    rustix::termios::tcgetpgrp(std::io::stderr())
        .is_ok_and(|group| group == rustix::process::getpgrp())
}

#[cfg(not(unix))]
fn in_foreground() -> bool {
    true
}
