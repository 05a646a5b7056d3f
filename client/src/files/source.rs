//! A file that is being sent, read in blocks.
//!
//! The length in a file's metadata is a hint: kernel file systems announce 0 or 4096 bytes for files with any content. So a
//! file that ends within its first block is announced with what was read, and the hint counts only for longer ones.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;

use crate::SendError;

/// Bytes read at a time. One block is read ahead while another is written, so a file holds two in memory.
const BLOCK_BYTES: usize = 240_000;

/// An open file of which nothing was read yet.
#[derive(Debug)]
pub(crate) struct Source {
    file: File,
    path: PathBuf,
    /// The length in the metadata when it was opened.
    hint: u64,
    modified: Option<SystemTime>,
}

/// What the start of a file says about it.
#[derive(Debug)]
pub(crate) enum Start {
    /// All of it.
    Whole(Bytes),
    /// Its first block, with more to come.
    Blocks(Bytes, Blocks),
}

/// The blocks of a file after its first one.
#[derive(Debug)]
pub(crate) struct Blocks {
    source: Source,
    /// The length to announce; `None` where the metadata's is too small to be true.
    length: Option<u64>,
    offset: u64,
}

impl Source {
    /// Opens a regular file; anything else is refused before it could block (a pipe) or never end (a device).
    pub(crate) fn open(path: &Path) -> Result<Self, SendError> {
        let failed = |error| read_failed(path, error);
        let not_a_file = || SendError::NotAFile {
            path: path.to_owned(),
        };
        // Opening a pipe would block.
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(not_a_file());
        }
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(not_a_file());
        }
        Ok(Source {
            file,
            path: path.to_owned(),
            hint: metadata.len(),
            modified: metadata.modified().ok(),
        })
    }

    /// The file's own name; what is not Unicode in it is replaced.
    pub(crate) fn name(&self) -> Option<String> {
        self.path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
    }

    /// Reads the first block.
    pub(crate) fn start(mut self) -> Result<Start, SendError> {
        let first = self.read(BLOCK_BYTES)?;
        let offset = first.len() as u64;
        if first.len() < BLOCK_BYTES {
            // Written to while it was read, it may be neither the old nor the new one.
            if self.hint == offset {
                self.check_unmodified(&self.file.metadata().map_err(|e| self.failed(e))?)?;
            }
            return Ok(Start::Whole(first));
        }
        let length = Some(self.hint).filter(|length| *length >= offset);
        Ok(Start::Blocks(
            first,
            Blocks {
                source: self,
                length,
                offset,
            },
        ))
    }

    /// Reads this much, or less at the end of the file.
    fn read(&mut self, want: usize) -> Result<Bytes, SendError> {
        let mut block = Vec::with_capacity(want.min(BLOCK_BYTES));
        (&mut self.file)
            .take(want as u64)
            .read_to_end(&mut block)
            .map_err(|error| self.failed(error))?;
        Ok(Bytes::from(block))
    }

    fn check_unmodified(&self, now: &Metadata) -> Result<(), SendError> {
        if now.modified().ok() == self.modified {
            return Ok(());
        }
        Err(SendError::FileModified {
            path: self.path.clone(),
        })
    }

    fn failed(&self, error: io::Error) -> SendError {
        read_failed(&self.path, error)
    }
}

impl Blocks {
    /// The length to announce, if it is known.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Bytes read so far.
    #[cfg(test)]
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next block, or `None` at the end, where it is checked that the file is still the one that was announced.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, SendError> {
        let left = self.length.map(|length| length - self.offset);
        let want = left.map_or(BLOCK_BYTES, |left| {
            usize::try_from(left).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES))
        });
        if want == 0 {
            self.check_unchanged()?;
            return Ok(None);
        }
        let block = self.source.read(want)?;
        self.offset += block.len() as u64;
        match self.length {
            Some(announced) if block.len() < want => Err(self.changed(announced, self.offset)),
            None if block.is_empty() => Ok(None),
            _ => Ok(Some(block)),
        }
    }

    fn check_unchanged(&mut self) -> Result<(), SendError> {
        let Some(announced) = self.length else {
            return Ok(());
        };
        let metadata = self.source.file.metadata();
        let metadata = metadata.map_err(|error| self.source.failed(error))?;
        if metadata.len() != announced {
            return Err(self.changed(announced, metadata.len()));
        }
        let more = loop {
            match self.source.file.read(&mut [0; 1]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                more => break more.map_err(|error| self.source.failed(error))?,
            }
        };
        if more > 0 {
            return Err(self.changed(announced, announced + 1));
        }
        self.source.check_unmodified(&metadata)
    }

    fn changed(&self, announced: u64, found: u64) -> SendError {
        SendError::FileChanged {
            path: self.source.path.clone(),
            announced,
            found,
        }
    }
}

fn read_failed(path: &Path, error: io::Error) -> SendError {
    SendError::File {
        path: path.to_owned(),
        cause: error.into(),
    }
}
