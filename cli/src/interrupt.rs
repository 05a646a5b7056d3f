//! Ctrl-C and SIGTERM.

/// From the call on, a Ctrl-C or SIGTERM no longer ends the program but resolves the future. Where signals can't be had
/// it never resolves, and the system's default (end at once) stays in force.
#[cfg(unix)]
pub(crate) fn interrupted() -> impl Future<Output = ()> {
    use tokio::signal::unix::{Signal, SignalKind, signal};

    async fn came(signal: std::io::Result<Signal>) {
        if let Ok(mut signal) = signal
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending::<()>().await;
    }

    // Taken here, not in the future: what is printed next may say that Ctrl-C works.
    let interrupt = signal(SignalKind::interrupt());
    let terminate = signal(SignalKind::terminate());
    async {
        tokio::select! {
            () = came(interrupt) => {}
            () = came(terminate) => {}
        }
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
