//! The server under attack, and what is asserted of every attack.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use lkstream_conformance::peers::{KEY, SECRET, Site};
use lkstream_conformance::process::{Failure, ResourceLimits};
use lkstream_proto::token::{Claims, sign};

use crate::pair::{Pair, Times};
use crate::wire;

/// What the process gets, as a small container would have it.
const LIMITS: ResourceLimits = ResourceLimits {
    address_space: 256 << 20,
    open_files: 4096,
};

/// What it may have resident at any time, in bytes.
const RESIDENT: u64 = 96 << 20;

/// A measured server shares the machine with no other.
static ALONE: Mutex<()> = Mutex::new(());

/// Where the server is attacked.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) url: String,
    /// Where it takes HTTP.
    pub(crate) http: SocketAddr,
    /// Where it takes datagrams.
    pub(crate) rtc: SocketAddr,
    /// The id of its process.
    process: u32,
}

impl Target {
    /// The number of files and sockets that the server has open.
    pub(crate) fn open_files(&self) -> Result<usize, Failure> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.process))?.count())
    }
}

/// `lkstream serve` with 256 MB of address space. Tests with one run one after another.
pub(crate) struct Server {
    target: Target,
    site: Site,
    _alone: MutexGuard<'static, ()>,
}

impl Server {
    pub(crate) fn start() -> Result<Self, Failure> {
        Self::start_with_open_files(LIMITS.open_files)
    }

    /// With other limits of files and sockets.
    pub(crate) fn start_with_open_files(open_files: u64) -> Result<Self, Failure> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let site = Site::ours_limited(ResourceLimits {
            open_files,
            ..LIMITS
        })?;
        Ok(Self {
            target: Target {
                url: site.url.clone(),
                http: site.http,
                rtc: site.rtc,
                process: site.id(),
            },
            site,
            _alone: alone,
        })
    }

    pub(crate) fn target(&self) -> Target {
        self.target.clone()
    }

    /// Runs an attack while the pair transfers, and checks what has to hold whatever the attack was: every transfer
    /// arrived, the server answers, and its memory was bounded. `what` names the attack in the line that is printed.
    pub(crate) async fn endure<T>(
        &mut self,
        pair: &mut Pair,
        what: &str,
        attack: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let quiet = pair.quiet().await;
        let quiet = quiet.map_err(|error| self.told(what, "before the attack", &error))?;
        let (outcome, attacked) = pair.during(attack).await;
        let attacked = attacked.map_err(|error| self.told(what, "under attack", &error))?;
        let outcome = outcome.map_err(|error| self.told(what, "the attack", &error))?;
        self.assert_healthy(what).await?;
        self.report(what, &quiet, &attacked)?;
        Ok(outcome)
    }

    fn told(&self, what: &str, when: &str, error: &Failure) -> Failure {
        self.site.failure(&format!("{what}: {when}: {error:?}"))
    }

    fn report(&mut self, what: &str, quiet: &Times, attacked: &Times) -> Result<(), Failure> {
        let peak = self.site.process().peak_memory()?;
        println!(
            "{what}: server peak {} MB, {} files open; pair {quiet} quiet, {attacked} under attack",
            peak >> 20,
            self.target.open_files()?,
        );
        Ok(())
    }

    /// Fails unless the process runs, serves, and never had more resident than it may.
    pub(crate) async fn assert_healthy(&mut self, what: &str) -> Result<(), Failure> {
        if !self.site.process().is_running() {
            return Err(self.site.failure(&format!("{what}: the server is gone")));
        }
        let answer = wire::get(self.target.http, "/").await?;
        if answer.status() != Some(200) {
            return Err(self
                .site
                .failure(&format!("{what}: GET / gives {answer:?}")));
        }
        let peak = self.site.process().peak_memory()?;
        if peak > RESIDENT {
            let message = format!("{what}: the server had {} MB resident", peak >> 20);
            return Err(self.site.failure(&message));
        }
        Ok(())
    }
}

/// All failures of a table as one.
pub(crate) fn every(outcomes: Vec<Result<(), Failure>>) -> Result<(), Failure> {
    let failures: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    if failures.is_empty() {
        return Ok(());
    }
    let lines = failures.iter().map(|failure| format!("  {failure:?}\n"));
    Err(Failure::new(format!(
        "{} inputs failed:\n{}",
        failures.len(),
        lines.collect::<String>()
    )))
}

/// Claims that let this identity join this room.
pub(crate) fn claims(identity: &str, room: &str) -> Claims {
    Claims::join(identity, room, SystemTime::now(), Duration::from_secs(3600))
}

/// A token with these claims.
pub(crate) fn signed(claims: &Claims) -> String {
    sign(claims, KEY, SECRET).unwrap()
}

/// A plain token: join this room under this identity, nothing else.
pub(crate) fn token(identity: &str, room: &str) -> String {
    signed(&claims(identity, room))
}
