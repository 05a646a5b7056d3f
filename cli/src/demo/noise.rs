//! Writes a file of pseudo-random bytes, and hashes it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::{Code, Failure};
use crate::size;

/// Made, written and hashed at a time, in bytes.
const BLOCK: usize = 1 << 20;

/// A BLAKE3 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest(blake3::Hash);

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.to_hex().fmt(f)
    }
}

impl Digest {
    /// The digest of a file as it is on disk.
    pub(super) async fn of_file(path: PathBuf) -> Result<Digest, Failure> {
        tokio::task::spawn_blocking(move || hash(&path))
            .await
            .unwrap_or_else(|_| Err(std::io::Error::other("the thread ended")))
            .map_err(|e| {
                Failure::new(
                    Code::Other,
                    format!("the file that arrived can't be read: {e}"),
                    "",
                )
            })
    }
}

fn hash(path: &Path) -> std::io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; BLOCK];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(Digest(hasher.finalize())),
            n => hasher.update(&block[..n]),
        };
    }
}

/// A file in the making, on a thread of its own. Dropping it stops that.
#[derive(Debug)]
pub(super) struct Noise {
    path: PathBuf,
    length: u64,
    stop: Arc<AtomicBool>,
    made: Option<tokio::task::JoinHandle<std::io::Result<Digest>>>,
}

impl Noise {
    /// Starts to write `length` bytes. They are the same each time: BLAKE3's extended output.
    pub(super) fn start(path: PathBuf, length: u64) -> Noise {
        let stop = Arc::new(AtomicBool::new(false));
        let made = tokio::task::spawn_blocking({
            let (path, stop) = (path.clone(), stop.clone());
            move || make(&path, length, &stop)
        });
        Noise {
            path,
            length,
            stop,
            made: Some(made),
        }
    }

    /// Waits for the file; gives its path and digest.
    pub(super) async fn finish(mut self) -> Result<(PathBuf, Digest), Failure> {
        let made = match self.made.take() {
            Some(made) => made
                .await
                .unwrap_or_else(|_| Err(std::io::Error::other("the thread ended"))),
            None => Err(std::io::Error::other("it was taken before")),
        };
        let digest = made.map_err(|e| {
            Failure::new(
                Code::Other,
                format!("the file could not be made: {e}"),
                format!(
                    "the demo needs {} of free space, set TMPDIR to a folder that has it",
                    size::words(2 * self.length)
                ),
            )
        })?;
        Ok((self.path.clone(), digest))
    }
}

impl Drop for Noise {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn make(path: &Path, length: u64, stop: &AtomicBool) -> std::io::Result<Digest> {
    let mut source = blake3::Hasher::new()
        .update(b"lkstream demo")
        .finalize_xof();
    let mut hasher = blake3::Hasher::new();
    let mut file = File::create(path)?;
    let mut block = vec![0; BLOCK];
    let mut left = length;
    while left > 0 {
        if stop.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("no longer needed"));
        }
        let size = usize::try_from(left).map_or(BLOCK, |left| left.min(BLOCK));
        source.fill(&mut block[..size]);
        hasher.update(&block[..size]);
        file.write_all(&block[..size])?;
        left -= size as u64;
    }
    Ok(Digest(hasher.finalize()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn the_digest_is_that_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, digest) = Noise::start(dir.path().join("n"), BLOCK as u64 + 7)
            .finish()
            .await
            .unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), BLOCK as u64 + 7);
        assert_eq!(Digest::of_file(path).await.unwrap(), digest);
    }
}
