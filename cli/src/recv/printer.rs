//! Texts on standard output: as they arrive, one at a time.
//!
//! Several streams may run at once. One of them is printed piece by piece; the others are read
//! meanwhile, up to a bound, and wait. The next one is printed when that stream ends, when it pauses while others wait,
//! or when another one has more waiting than may be kept.

use std::io::IsTerminal;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lkstream::files::Hazard;
use lkstream::{ReadError, TextReader};
use tokio::io::{AsyncWriteExt, Stdout};
use tokio::sync::{Mutex, MutexGuard};

use crate::progress::Progress;

/// A stream that pauses for this long lets others speak.
const PAUSE: Duration = Duration::from_secs(1);
/// Bytes that one stream may have waiting; then the printed one lets it print, too.
const WAITING_BYTES: usize = 1 << 20;

/// What follows a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// A newline where the text has none, so that texts stay apart.
    Newline,
    /// Nothing, unless on a terminal: the output is the text, byte for byte.
    Exact,
}

/// Why a text is incomplete.
#[derive(Debug)]
pub(super) enum Error {
    /// The stream failed.
    Read(ReadError),
    /// Standard output did.
    Output(std::io::Error),
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        Error::Output(error)
    }
}

/// Standard output, shared by all text streams.
pub(super) struct Printer {
    /// Locked by the stream that is printed.
    screen: Mutex<Screen>,
    /// Streams that wait to be printed.
    waiting: AtomicUsize,
    /// Those of them that have [`WAITING_BYTES`] waiting.
    pressing: AtomicUsize,
}

/// Standard output, and what stands on its last line.
struct Screen {
    out: Stdout,
    progress: Progress,
    ending: Ending,
    is_terminal: bool,
    at_line_start: bool,
}

impl Printer {
    /// A printer on standard output.
    pub(super) fn new(ending: Ending, progress: Progress) -> Printer {
        let is_terminal = std::io::stdout().is_terminal();
        let ending = if is_terminal { Ending::Newline } else { ending };
        let screen = Screen {
            out: tokio::io::stdout(),
            progress,
            ending,
            is_terminal,
            at_line_start: true,
        };
        Printer {
            screen: Mutex::new(screen),
            waiting: AtomicUsize::new(0),
            pressing: AtomicUsize::new(0),
        }
    }

    /// Prints a stream to its end, confirms it, and gives its length in bytes. `heading` runs whenever the stream
    /// begins or goes on to be printed.
    pub(super) async fn print(
        &self,
        mut reader: TextReader,
        heading: &mut impl FnMut(),
    ) -> Result<u64, Error> {
        let mut screen: Option<MutexGuard<'_, Screen>> = None;
        let mut bytes = 0;
        loop {
            let piece = match &screen {
                None => reader.next().await,
                Some(_) => match tokio::time::timeout(PAUSE, reader.next()).await {
                    Ok(piece) => piece,
                    Err(_) if self.waiting.load(Ordering::Relaxed) > 0 => {
                        screen = None;
                        continue;
                    }
                    Err(_) => continue,
                },
            };
            let (mut text, mut end) = match piece {
                Some(Ok(text)) => (text, None),
                Some(Err(error)) => (String::new(), Some(Err(error))),
                None => (String::new(), Some(Ok(()))),
            };
            let mut held = match screen.take() {
                Some(held) => held,
                None => {
                    let mut held = self.take_turn(&mut reader, &mut text, &mut end).await;
                    held.line_start().await?;
                    heading();
                    held
                }
            };
            bytes += text.len() as u64;
            // A pipe that is full, or a terminal that stands still, is no reason to fail the stream.
            reader.busy_with(held.write(&text)).await?;
            match end {
                None if self.pressing.load(Ordering::Relaxed) > 0 => drop(held),
                None => screen = Some(held),
                Some(Ok(())) => {
                    held.finish().await?;
                    drop(held);
                    reader.confirm();
                    return Ok(bytes);
                }
                Some(Err(error)) => {
                    held.line_start().await?;
                    return Err(Error::Read(error));
                }
            }
        }
    }

    /// Waits until this stream may be printed, and reads on meanwhile.
    async fn take_turn(
        &self,
        reader: &mut TextReader,
        text: &mut String,
        end: &mut Option<Result<(), ReadError>>,
    ) -> MutexGuard<'_, Screen> {
        let _waiting = Counted::new(&self.waiting);
        let mut pressing = None;
        let mut turn = pin!(self.screen.lock());
        loop {
            if text.len() >= WAITING_BYTES && pressing.is_none() {
                pressing = Some(Counted::new(&self.pressing));
            }
            if pressing.is_some() || end.is_some() {
                return reader.busy_with(turn).await;
            }
            tokio::select! {
                biased;
                held = &mut turn => return held,
                piece = reader.next() => match piece {
                    Some(Ok(piece)) => text.push_str(&piece),
                    Some(Err(error)) => *end = Some(Err(error)),
                    None => *end = Some(Ok(())),
                },
            }
        }
    }
}

impl Screen {
    async fn write(&mut self, text: &str) -> std::io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        self.at_line_start = text.ends_with('\n');
        if !self.is_terminal {
            self.out.write_all(text.as_bytes()).await?;
            return self.out.flush().await;
        }
        self.progress.hold();
        self.out.write_all(harmless(text).as_bytes()).await?;
        self.out.flush().await?;
        if self.at_line_start {
            self.progress.release();
        }
        Ok(())
    }

    /// Ends the line that another text, or a failed one, left open.
    async fn line_start(&mut self) -> std::io::Result<()> {
        if !self.at_line_start && self.ending == Ending::Newline {
            self.write("\n").await?;
        }
        Ok(())
    }

    /// Ends a complete text.
    async fn finish(&mut self) -> std::io::Result<()> {
        self.line_start().await
    }
}

/// Text that can't drive the terminal: control characters of others are replaced. What only hides or turns letters stays,
/// since a text may need it.
fn harmless(text: &str) -> String {
    Hazard::all(text)
        .filter(|(c, _)| *c != '\r')
        .map(|(c, hazard)| match hazard {
            Some(Hazard::Control) if !matches!(c, '\n' | '\t') => '\u{fffd}',
            _ => c,
        })
        .collect()
}

/// One more, for as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(counter: &'a AtomicUsize) -> Counted<'a> {
        counter.fetch_add(1, Ordering::Relaxed);
        Counted(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_do_not_drive_the_terminal() {
        assert_eq!(
            harmless("a\tb\r\nc\u{1b}[2Jd\u{9b}e"),
            "a\tb\nc\u{fffd}[2Jd\u{fffd}e"
        );
    }
}
