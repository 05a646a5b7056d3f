//! The `lkstream` command: a data-only LiveKit server, and streams from a terminal.

mod config;
mod credentials;
mod demo;
mod duration;
mod event;
mod exit;
mod interrupt;
mod output;
mod progress;
mod recv;
mod send;
mod serve;
mod size;
mod token;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use lkstream::files::printable;

use crate::exit::{Code, Failure};
use crate::output::{Channel, Format, Output};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Text, files and live bytes through LiveKit rooms, without media.
#[derive(Parser, Debug)]
#[command(name = "lkstream", version, max_term_width = 100, after_help = AFTER_HELP)]
struct CommandLine {
    /// Log to standard error; -vv and -vvv say more. RUST_LOG works too
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Try it on this machine, in three terminals:
  lkstream serve --dev
  lkstream recv --dev --room demo
  lkstream send --dev --room demo FILE

Exit codes: 0 done, 1 other, 2 usage, 3 refused, 4 can't connect, 5 a stream failed,
6 timed out, 130 interrupted.";

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a data-only LiveKit room server
    Serve(serve::Arguments),
    /// Send files, or text, to the participants of a room
    Send(send::Arguments),
    /// Store the files and print the texts that arrive in a room
    Recv(recv::Arguments),
    /// Print an access token for a room
    Token(token::Arguments),
    /// Show it all on this machine: a server, two participants, a text and a 256 MB file
    Demo(demo::Arguments),
}

impl Command {
    fn output(&self) -> Output {
        match self {
            Command::Serve(arguments) => Output::new(Format::json(arguments.json), Channel::Stdout),
            Command::Send(arguments) => Output::new(Format::json(arguments.json), Channel::Stdout),
            // Standard output carries the texts that arrive.
            Command::Recv(arguments) => Output::new(Format::json(arguments.json), Channel::Stderr),
            Command::Token(arguments) => Output::new(Format::json(arguments.json), Channel::Stdout),
            Command::Demo(arguments) => Output::new(Format::json(arguments.json), Channel::Stdout),
        }
    }

    async fn run(&self, output: &Output) -> Result<(), Failure> {
        match self {
            Command::Serve(arguments) => serve::run(arguments, output).await,
            Command::Send(arguments) => send::run(arguments, output).await,
            Command::Recv(arguments) => recv::run(arguments, output).await,
            Command::Token(arguments) => token::run(arguments, output),
            Command::Demo(arguments) => demo::run(arguments, output).await,
        }
    }
}

fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => return refuse(&error),
    };
    log_to_stderr(line.verbose, matches!(line.command, Command::Serve(_)));
    let output = line.command.output();
    let result = runtime(&line.command).and_then(|runtime| {
        let result = runtime.block_on(line.command.run(&output));
        // A read of standard input can't be cancelled; waiting for it would keep the process alive.
        runtime.shutdown_timeout(Duration::ZERO);
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.fail(&failure);
            failure.code.into()
        }
    }
}

/// Help and versions as clap writes them; a wrong command line as one line, like every other failure.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Nobody reads it when its pipe is closed.
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Code::Usage.number()));
    }
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    let line = one_line(&error.to_string(), &arguments);
    let _ = writeln!(std::io::stderr(), "{}", printable(&line));
    Code::Usage.into()
}

/// clap's message without its line breaks, with the help of the subcommand that was meant.
fn one_line<S: AsRef<str>>(text: &str, arguments: &[S]) -> String {
    let cause = text.split("\n\nUsage: ").next().unwrap_or(text);
    let cause = cause
        .split("\n\nFor more information")
        .next()
        .unwrap_or(cause);
    let cause: Vec<String> = cause
        .split("\n\n")
        .map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let line = CommandLine::command();
    let command = arguments
        .iter()
        .find_map(|argument| line.find_subcommand(argument.as_ref()))
        .map_or("lkstream".to_owned(), |command| {
            format!("lkstream {}", command.get_name())
        });
    format!("{}; see `{command} --help`", cause.join("; "))
}

fn runtime(command: &Command) -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = match command {
        // Server, sender and receiver at once.
        Command::Demo(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    builder.enable_all().build().map_err(|e| {
        Failure::new(
            Code::Other,
            format!("the system gave no event loop: {e}"),
            "close other programs",
        )
    })
}

/// Logs go to standard error; without `-v` and RUST_LOG only a server's do: who joins and leaves, whom it refuses or cuts, and warnings.
fn log_to_stderr(verbose: u8, is_server: bool) {
    use tracing_subscriber::EnvFilter;
    let asked = std::env::var("RUST_LOG")
        .ok()
        .filter(|text| !text.is_empty() && verbose == 0);
    let filter = match (asked, verbose) {
        (Some(text), _) => EnvFilter::new(text),
        (None, 0) if is_server => EnvFilter::new("lkstream=warn,lkstream_server=info"),
        (None, 0) => return,
        (None, 1) => EnvFilter::new("warn,lkstream=info"),
        (None, 2) => EnvFilter::new("info,lkstream=debug"),
        (None, _) => EnvFilter::new("debug,lkstream=trace"),
    };
    // Fails only if a logger is installed already, which nothing here does.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn usage_errors_are_one_line_with_a_remedy() {
        for (arguments, wanted) in [
            (
                vec!["send"],
                "error: the following required arguments were not provided: <FILE|--text <TEXT>>; see `lkstream send --help`",
            ),
            (
                vec!["recv", "--romo", "x"],
                "error: unexpected argument '--romo' found; tip: a similar argument exists: '--room'; see `lkstream recv --help`",
            ),
            (
                vec!["recv", "--room", ""],
                "error: invalid value '' for '--room <ROOM>': it is empty; see `lkstream recv --help`",
            ),
            (
                vec!["-v", "send", "--wait", "soon", "--text", "x"],
                "error: invalid value 'soon' for '--wait <SECONDS>': expected number at 0; write seconds, or 90s, 5m, 6h; see `lkstream send --help`",
            ),
            (
                vec!["receive"],
                "error: unrecognized subcommand 'receive'; tip: a similar subcommand exists: 'recv'; see `lkstream --help`",
            ),
        ] {
            let error =
                CommandLine::try_parse_from(std::iter::once("lkstream").chain(arguments.clone()))
                    .unwrap_err();
            assert_eq!(one_line(&error.to_string(), &arguments), wanted);
        }
    }
}
