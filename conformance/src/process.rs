//! A child process whose output is a transcript: tests wait for its lines with a deadline.

use std::ffi::OsString;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a test waits for one line or for the end of a process.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Bytes kept of one output; what a child writes beyond that is read and dropped.
const OUTPUT_BYTES: usize = 64 << 20;

/// Why a scripted run went wrong, with the transcripts that show it.
///
/// Its `Debug` form is the plain message, since that is what a test that returns `Err` prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    /// A failure with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self(message)
    }
}

/// One output of the child, filled by a thread that always drains the pipe.
#[derive(Default)]
struct Output {
    state: Mutex<OutputState>,
    changed: Condvar,
}

#[derive(Default)]
struct OutputState {
    lines: Vec<Vec<u8>>,
    bytes: usize,
    ended: bool,
}

impl Output {
    fn follow(pipe: impl Read + Send + 'static) -> Arc<Self> {
        let output = Arc::new(Self::default());
        let filled = Arc::clone(&output);
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            loop {
                let mut line = Vec::new();
                let ended = !matches!(pipe.read_until(b'\n', &mut line), Ok(1..));
                let mut state = filled.lock();
                state.ended = ended;
                if !ended && state.bytes < OUTPUT_BYTES {
                    state.bytes += line.len();
                    state.lines.push(line);
                }
                filled.changed.notify_all();
                if ended {
                    return;
                }
            }
        });
        output
    }

    fn lock(&self) -> MutexGuard<'_, OutputState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The line at this place, or nothing when the output ended before it.
    fn line(&self, place: usize, deadline: Instant) -> Result<Option<Vec<u8>>, Late> {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines.get(place) {
                return Ok(Some(line.clone()));
            }
            if state.ended {
                return Ok(None);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Late);
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn wait_end(&self, deadline: Instant) -> Result<(), Late> {
        self.line(usize::MAX, deadline).map(|_| ())
    }

    fn tail(&self, count: usize) -> String {
        let state = self.lock();
        let from = state.lines.len().saturating_sub(count);
        state.lines[from..]
            .iter()
            .map(|line| {
                let line = String::from_utf8_lossy(line);
                let line: String = line.trim_end().chars().take(400).collect();
                format!("    {line}\n")
            })
            .collect()
    }
}

/// A deadline passed.
struct Late;

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit code, or nothing when a signal ended it.
    pub code: Option<i32>,
    /// All of standard output, up to the number of bytes that are kept.
    pub output: Vec<u8>,
}

/// Where a child writes its events, one JSON object a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    /// On standard output.
    Output,
    /// On standard error, because standard output carries the payload.
    Errors,
}

/// A running child process. Dropping it kills exactly this process and waits for its end; on Linux the
/// kernel also ends it when the thread that started it is gone, so that an aborted test leaves nothing behind.
pub struct Process {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: Arc<Output>,
    errors: Arc<Output>,
    events: Events,
    read: usize,
}

impl Process {
    /// Starts the program with these arguments. `name` is what transcripts call it.
    pub fn spawn(name: &str, command: &Tied, events: Events) -> Result<Self, Failure> {
        let mut child = command
            .0
            .build()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::new(format!("cannot start {name}: {error}")))?;
        let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Failure::new(format!("{name} has no output pipes")));
        };
        Ok(Self {
            name: name.to_owned(),
            input: child.stdin.take(),
            output: Output::follow(output),
            errors: Output::follow(errors),
            child,
            events,
            read: 0,
        })
    }

    /// The id that the system knows it by.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that the process had resident at one time so far, in bytes.
    ///
    /// # Errors
    /// When the process is gone.
    #[cfg(target_os = "linux")]
    pub fn peak_memory(&self) -> Result<u64, Failure> {
        let path = format!("/proc/{}/status", self.id());
        let status = std::fs::read_to_string(path)?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        match peak {
            Some(kilobytes) => Ok(kilobytes.parse::<u64>()? * 1024),
            None => Err(self.failure("is gone")),
        }
    }

    /// Whether the process has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it the signal of this name, for example `HUP`.
    pub fn signal(&self, name: &str) -> Result<(), Failure> {
        let (signal, id) = (format!("-{name}"), self.id().to_string());
        let status = Command::new("/bin/kill").args([signal, id]).status()?;
        if status.success() {
            Ok(())
        } else {
            Err(self.failure(&format!("cannot be sent {name}")))
        }
    }

    /// Writes to standard input.
    pub fn write(&mut self, data: &[u8]) -> Result<(), Failure> {
        match &mut self.input {
            Some(input) => Ok(input.write_all(data).and_then(|()| input.flush())?),
            None => Err(Failure::new(format!("{}'s input is closed", self.name))),
        }
    }

    /// Hands standard input over, to be written to by a thread of its own; nothing if it is closed or was taken.
    pub fn take_input(&mut self) -> Option<ChildStdin> {
        self.input.take()
    }

    /// Ends standard input, which tells a scripted peer to leave.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// The next line that is a JSON object whose `event` is this one; lines before it are
    /// passed over. An `error` line, the end of the output and the deadline are failures.
    pub fn expect(&mut self, event: &str) -> Result<Value, Failure> {
        self.expect_within(event, DEADLINE)
    }

    /// As [`Process::expect`], with another deadline.
    pub fn expect_within(&mut self, event: &str, within: Duration) -> Result<Value, Failure> {
        let found = self.look_for(event, within)?;
        found.ok_or_else(|| self.failure(&format!("no `{event}` in {within:?}")))
    }

    /// As [`Process::expect_within`], but gives nothing at the deadline.
    pub fn look_for(&mut self, event: &str, within: Duration) -> Result<Option<Value>, Failure> {
        let deadline = Instant::now() + within;
        let lines = match self.events {
            Events::Output => Arc::clone(&self.output),
            Events::Errors => Arc::clone(&self.errors),
        };
        loop {
            let line = match lines.line(self.read, deadline) {
                Ok(Some(line)) => line,
                Ok(None) => return Err(self.failure(&format!("ended before its `{event}`"))),
                Err(Late) => return Ok(None),
            };
            self.read += 1;
            let Ok(value) = serde_json::from_slice::<Value>(&line) else {
                continue;
            };
            match value["event"].as_str() {
                Some(name) if name == event => return Ok(Some(value)),
                Some("error") => {
                    return Err(self.failure(&format!("an error instead of `{event}`")));
                }
                _ => {}
            }
        }
    }

    /// Waits until the process ends by itself. Standard input is closed first.
    pub fn finish(&mut self) -> Result<Ended, Failure> {
        self.finish_within(DEADLINE)
    }

    /// As [`Process::finish`], with another deadline.
    pub fn finish_within(&mut self, within: Duration) -> Result<Ended, Failure> {
        self.close_input();
        let deadline = Instant::now() + within;
        for output in [&self.output, &self.errors] {
            if output.wait_end(deadline).is_err() {
                return Err(self.failure(&format!("did not end in {within:?}")));
            }
        }
        let status = self.child.wait()?;
        Ok(Ended {
            code: status.code(),
            output: self.output.lock().lines.concat(),
        })
    }

    /// Waits for the end and takes any exit code but 0 as a failure.
    pub fn succeed(&mut self) -> Result<Ended, Failure> {
        let ended = self.finish()?;
        match ended.code {
            Some(0) => Ok(ended),
            code => Err(self.failure(&format!("ended with {code:?} instead of 0"))),
        }
    }

    /// A failure of this process with both of its outputs.
    pub fn failure(&self, what: &str) -> Failure {
        Failure(format!(
            "{}: {what}\n  its output:\n{}  its errors:\n{}",
            self.name,
            self.output.tail(40),
            self.errors.tail(40)
        ))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            // Only fails when it has just ended, which is what we want.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// A program and its arguments, started so that it cannot outlive the thread that starts it.
#[derive(Clone, Debug)]
pub struct Tied(Program);

#[derive(Clone, Debug)]
struct Program {
    path: std::path::PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(String, String)>,
    namespace: Option<std::path::PathBuf>,
    limits: Option<ResourceLimits>,
}

/// What the system gives a process at most, as a small container would have it (setrlimit(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimits {
    /// Bytes of address space.
    pub address_space: u64,
    /// Files and sockets open at a time.
    pub open_files: u64,
}

impl Tied {
    /// The program at this path.
    pub fn new(path: impl Into<std::path::PathBuf>) -> Self {
        Self(Program {
            path: path.into(),
            arguments: Vec::new(),
            variables: Vec::new(),
            namespace: None,
            limits: None,
        })
    }

    /// Runs it with these limits.
    #[must_use]
    pub fn limited(mut self, limits: ResourceLimits) -> Self {
        self.0.limits = Some(limits);
        self
    }

    /// Runs it inside the network namespace behind this path, which needs root.
    #[must_use]
    pub fn inside(mut self, namespace: &std::path::Path) -> Self {
        self.0.namespace = Some(namespace.to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn with<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.0
            .arguments
            .extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.0.variables.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl Program {
    fn build(&self) -> Command {
        let mut words = Vec::new();
        if let Some(namespace) = &self.namespace {
            words.push(OsString::from("/usr/bin/nsenter"));
            let mut option = OsString::from("--net=");
            option.push(namespace);
            words.push(option);
        }
        // util-linux; the safe way to ask for a signal at the parent's death.
        let setpriv = std::path::Path::new("/usr/bin/setpriv");
        if cfg!(target_os = "linux") && setpriv.exists() {
            words.extend([setpriv.into(), "--pdeathsig".into(), "KILL".into()]);
        }
        if let Some(limits) = self.limits {
            // The safe way to set them: a shell that replaces itself.
            let (kilobytes, files) = (limits.address_space / 1024, limits.open_files);
            let script = format!("ulimit -v {kilobytes} && ulimit -n {files} && exec \"$@\"");
            words.extend(["/bin/sh".into(), "-c".into(), script.into(), "sh".into()]);
        }
        words.push(self.path.clone().into_os_string());
        // Each of them replaces itself by the next, so the process keeps its id.
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command.args(&self.arguments);
        // Credentials of whoever runs the tests must not decide where they go.
        for name in [
            "LIVEKIT_URL",
            "LIVEKIT_API_KEY",
            "LIVEKIT_API_SECRET",
            "LIVEKIT_TOKEN",
            "LIVEKIT_KEYS",
        ] {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transcript_is_read_line_by_line() -> Result<(), Failure> {
        let script =
            r#"echo noise; echo '{"event":"one","n":1}'; echo '{"event":"two"}'; cat; exit 7"#;
        let mut shell = Process::spawn(
            "shell",
            &Tied::new("/bin/sh").with(["-c", script]),
            Events::Output,
        )?;
        assert_eq!(shell.expect("one")?["n"], 1);
        shell.expect("two")?;
        shell.write(b"{\"event\":\"three\"}\n")?;
        shell.expect("three")?;
        let ended = shell.finish()?;
        assert_eq!(ended.code, Some(7));
        assert!(ended.output.starts_with(b"noise\n"));
        Ok(())
    }

    #[test]
    fn missing_line_is_a_failure_with_the_transcript() -> Result<(), Failure> {
        let mut shell = Process::spawn(
            "shell",
            &Tied::new("/bin/sh").with(["-c", "echo hello; cat"]),
            Events::Output,
        )?;
        let late = shell.expect_within("never", Duration::from_millis(50));
        let message = format!("{:?}", late.err());
        assert!(
            message.contains("no `never`") && message.contains("hello"),
            "{message}"
        );
        Ok(())
    }

    #[test]
    fn dropped_process_is_gone() -> Result<(), Failure> {
        let shell = Process::spawn(
            "shell",
            &Tied::new("/bin/sleep").with(["600"]),
            Events::Output,
        )?;
        let id = shell.child.id();
        drop(shell);
        assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
        Ok(())
    }
}
