//! Ctrl-C, SIGTERM and the end of the terminal.

/// From the call on, Ctrl-C, SIGTERM and SIGHUP (the terminal was closed) no longer end the program but resolve the
/// future. A signal that whoever started us wants ignored stays ignored: SIGHUP under `nohup`, Ctrl-C in the background
/// of a script. Where signals can't be had the future never resolves, and the system's default (end at once) stays in force.
#[cfg(unix)]
pub(crate) fn interrupted() -> impl Future<Output = ()> {
    use tokio::signal::unix::{Signal, SignalKind, signal};

    async fn came(signal: Option<Signal>) {
        if let Some(mut signal) = signal
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending::<()>().await;
    }

    let ignored = Ignored::of_this_process();
    // Taken here, not in the future: what is printed next may say that Ctrl-C works.
    let take = |kind: SignalKind| {
        if ignored.contains(kind.as_raw_value()) {
            return None;
        }
        signal(kind).ok()
    };
    let interrupt = take(SignalKind::interrupt());
    let terminate = take(SignalKind::terminate());
    let hangup = take(SignalKind::hangup());
    async {
        tokio::select! {
            () = came(interrupt) => {}
            () = came(terminate) => {}
            () = came(hangup) => {}
        }
    }
}

/// The signals that are ignored, a bit each; the first is bit 0.
#[cfg(unix)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ignored(u64);

#[cfg(unix)]
impl Ignored {
    /// What Linux says. Elsewhere there is no safe way to ask: `nohup` takes the terminal away, so without one SIGHUP
    /// is taken for ignored.
    fn of_this_process() -> Ignored {
        use std::io::IsTerminal;

        if cfg!(target_os = "linux") {
            let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            return Ignored::parse(&status);
        }
        let has_terminal = std::io::stdin().is_terminal()
            || std::io::stdout().is_terminal()
            || std::io::stderr().is_terminal();
        Ignored(u64::from(!has_terminal))
    }

    fn parse(status: &str) -> Ignored {
        let bits = status
            .lines()
            .find_map(|line| line.strip_prefix("SigIgn:"))
            .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
        Ignored(bits.unwrap_or(0))
    }

    fn contains(self, signal: i32) -> bool {
        u32::try_from(signal - 1)
            .ok()
            .and_then(|bit| self.0.checked_shr(bit))
            .is_some_and(|bits| bits & 1 == 1)
    }
}

/// Resolves at the first Ctrl-C. Where signals can't be had it never resolves, and the system's default (end at once)
/// stays in force.
#[cfg(not(unix))]
pub(crate) async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read() {
        let ignored = Ignored::parse("SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n");
        assert_eq!(ignored, Ignored(0x1001));
        assert!(ignored.contains(1) && ignored.contains(13));
        assert!(!ignored.contains(2) && !ignored.contains(15) && !ignored.contains(0));
        assert_eq!(Ignored::parse("nothing of it"), Ignored(0));
    }
}
