//! The built binary as a process whose output is awaited line by line, with deadlines.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// No step of a test takes longer, however busy the machine is.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A running `lkstream`. Dropping it kills it.
pub struct Lkstream {
    child: Child,
    arguments: String,
    /// What came on standard error, by line.
    errors: Receiver<String>,
    seen: Vec<String>,
    stdout: Receiver<Vec<u8>>,
    printed: Vec<u8>,
    readers: Vec<JoinHandle<()>>,
    input: Option<ChildStdin>,
}

/// How a process ended.
pub struct Ended {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ended {
    pub fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }

    #[track_caller]
    pub fn expect_code(self, code: i32) -> Ended {
        assert_eq!(
            self.code,
            code,
            "stdout:\n{}\nstderr:\n{}",
            String::from_utf8_lossy(&self.stdout),
            self.stderr
        );
        self
    }
}

/// `lkstream` with these arguments and none of the variables a developer may have set.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lkstream"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in ["URL", "API_KEY", "API_SECRET", "TOKEN", "KEYS"] {
        command.env_remove(format!("LIVEKIT_{name}"));
    }
    command.env_remove("RUST_LOG");
    command
}

/// Runs to the end.
pub fn run(arguments: &[&str]) -> Ended {
    Lkstream::start(command(arguments)).ended()
}

impl Lkstream {
    pub fn start(mut command: Command) -> Lkstream {
        let arguments = format!("{:?}", command.get_args().collect::<Vec<_>>());
        let mut child = command.spawn().expect("the binary starts");
        let (error_lines, errors) = channel();
        let (pieces, stdout) = channel();
        let mut readers = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            readers.push(std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines() {
                    let Ok(line) = line else { return };
                    if error_lines.send(line).is_err() {
                        return;
                    }
                }
            }));
        }
        if let Some(mut out) = child.stdout.take() {
            readers.push(std::thread::spawn(move || {
                let mut buffer = [0; 65536];
                while let Ok(n) = out.read(&mut buffer) {
                    if n == 0 || pieces.send(buffer[..n].to_vec()).is_err() {
                        return;
                    }
                }
            }));
        }
        let input = child.stdin.take();
        Lkstream {
            child,
            arguments,
            errors,
            seen: Vec::new(),
            stdout,
            printed: Vec::new(),
            readers,
            input,
        }
    }

    /// With standard input that the test writes.
    pub fn start_with_input(mut command: Command) -> Lkstream {
        command.stdin(Stdio::piped());
        Lkstream::start(command)
    }

    pub fn write(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().expect("standard input is a pipe");
        input.write_all(bytes).unwrap();
        input.flush().unwrap();
    }

    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Waits for a line on standard error that fits.
    #[track_caller]
    pub fn wait_for(&mut self, fits: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + DEADLINE;
        let mut next = 0;
        loop {
            while next < self.seen.len() {
                if fits(&self.seen[next]) {
                    return self.seen[next].clone();
                }
                next += 1;
            }
            match self
                .errors
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{}: no such line in time: {:#?}", self.arguments, self.seen)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{}: ended without it: {:#?}", self.arguments, self.seen)
                }
            }
        }
    }

    /// Waits for a JSON event on standard error.
    #[track_caller]
    pub fn wait_for_event(&mut self, name: &str) -> Value {
        let wanted = format!("{{\"event\":\"{name}\"");
        serde_json::from_str(&self.wait_for(|line| line.starts_with(&wanted))).unwrap()
    }

    /// Waits until standard output holds this much, or ends.
    #[track_caller]
    pub fn wait_for_output(&mut self, fits: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let deadline = Instant::now() + DEADLINE;
        while !fits(&self.printed) {
            match self
                .stdout
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(piece) => self.printed.extend(piece),
                Err(e) => panic!(
                    "{}: {e}: {:?}",
                    self.arguments,
                    String::from_utf8_lossy(&self.printed)
                ),
            }
        }
        self.printed.clone()
    }

    /// Sends SIGINT, as Ctrl-C does.
    #[cfg(unix)]
    pub fn interrupt(&self) {
        self.signal("INT");
    }

    #[cfg(unix)]
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end.
    #[track_caller]
    pub fn ended(mut self) -> Ended {
        let deadline = Instant::now() + DEADLINE;
        // The pipes end with the process.
        loop {
            match self
                .stdout
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(piece) => self.printed.extend(piece),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    self.seen.extend(self.errors.try_iter());
                    panic!(
                        "{} did not end; stdout {:?}, stderr {:#?}",
                        self.arguments,
                        String::from_utf8_lossy(&self.printed),
                        self.seen
                    );
                }
            }
        }
        while let Ok(line) = self
            .errors
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.seen.push(line);
        }
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        Ended {
            code,
            stdout: std::mem::take(&mut self.printed),
            stderr: self.seen.join("\n"),
        }
    }
}

impl Drop for Lkstream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A development server on free ports.
pub struct Served {
    pub process: Lkstream,
    pub url: String,
    pub port: u64,
    pub rtc_port: u64,
}

impl Served {
    pub fn start() -> Served {
        let mut process = Lkstream::start(command(&[
            "serve",
            "--dev",
            "--port",
            "0",
            "--rtc-port",
            "0",
            "--json",
        ]));
        let printed = process.wait_for_output(|out| out.contains(&b'\n'));
        let listening: Value =
            serde_json::from_slice(printed.split(|b| *b == b'\n').next().unwrap()).unwrap();
        assert_eq!(listening["event"], "listening", "{listening}");
        Served {
            process,
            url: listening["url"].as_str().unwrap().to_owned(),
            port: listening["port"].as_u64().unwrap(),
            rtc_port: listening["rtc_port"].as_u64().unwrap(),
        }
    }

    /// A command of a client of this server.
    pub fn client(&self, name: &str, arguments: &[&str]) -> Command {
        let mut all = vec![name, "--url", &self.url, "--dev", "--room", "r"];
        all.extend_from_slice(arguments);
        command(&all)
    }

    /// A receiver that has joined, with events on standard error.
    pub fn receiver(&self, out: &Path, arguments: &[&str]) -> Lkstream {
        self.receiver_of(|command| command, out, arguments)
    }

    /// The same, with a change to its command.
    pub fn receiver_of(
        &self,
        change: impl Fn(Command) -> Command,
        out: &Path,
        arguments: &[&str],
    ) -> Lkstream {
        let mut all = vec!["--json", "--out", out.to_str().unwrap()];
        if !arguments.contains(&"--identity") {
            all.extend(["--identity", "bob"]);
        }
        all.extend_from_slice(arguments);
        let mut receiver = Lkstream::start(change(self.client("recv", &all)));
        receiver.wait_for_event("joined");
        receiver
    }

    /// A sender that ends by itself.
    pub fn send(&self, arguments: &[&str]) -> Ended {
        let mut all = vec!["--identity", "alice"];
        all.extend_from_slice(arguments);
        Lkstream::start(self.client("send", &all)).ended()
    }
}

/// The files of a folder by name, with their content.
pub fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (
                entry.file_name().into_string().unwrap(),
                std::fs::read(entry.path()).unwrap_or_default(),
            )
        })
        .collect();
    files.sort();
    files
}

/// The events of this name among lines.
pub fn events(lines: &str, name: &str) -> Vec<Value> {
    lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["event"] == name)
        .collect()
}

/// Writes a file and gives its path.
pub fn write(folder: &Path, name: &str, content: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Bytes that do not repeat soon.
pub fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new()
        .update(b"noise")
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}
