//! A file that is being sent, read in blocks.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;

use crate::SendError;

/// Bytes read at a time. One block is read ahead while another is written, so a file holds two in memory.
const BLOCK_BYTES: u64 = 240_000;

/// An open file whose length was announced.
#[derive(Debug)]
pub(crate) struct Source {
    file: File,
    path: PathBuf,
    length: u64,
    modified: Option<SystemTime>,
    offset: u64,
}

impl Source {
    /// Opens a regular file; anything else is refused before it could block (a pipe) or never end (a device).
    pub(crate) fn open(path: &Path) -> Result<Self, SendError> {
        let failed = |error: std::io::Error| SendError::File {
            path: path.to_owned(),
            cause: error.into(),
        };
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(SendError::NotAFile {
                path: path.to_owned(),
            });
        }
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(SendError::NotAFile {
                path: path.to_owned(),
            });
        }
        Ok(Source {
            file,
            path: path.to_owned(),
            length: metadata.len(),
            modified: metadata.modified().ok(),
            offset: 0,
        })
    }

    /// The length in bytes when the file was opened.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes read so far.
    #[cfg(test)]
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The file's own name, if it is UTF-8 after replacement.
    pub(crate) fn name(&self) -> Option<String> {
        self.path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
    }

    /// The next block, or `None` at the end, where it is checked that the file is still the one that was announced.
    pub(crate) fn block(&mut self) -> Result<Option<Bytes>, SendError> {
        let want = BLOCK_BYTES.min(self.length - self.offset);
        if want == 0 {
            self.check_unchanged()?;
            return Ok(None);
        }
        let mut block = Vec::with_capacity(usize::try_from(want).unwrap_or(usize::MAX));
        let read = (&mut self.file)
            .take(want)
            .read_to_end(&mut block)
            .map_err(|error| self.failed(error))?;
        self.offset += read as u64;
        if (read as u64) < want {
            return Err(self.changed(self.offset));
        }
        Ok(Some(Bytes::from(block)))
    }

    fn check_unchanged(&self) -> Result<(), SendError> {
        let metadata = self.file.metadata().map_err(|error| self.failed(error))?;
        if metadata.len() != self.length {
            return Err(self.changed(metadata.len()));
        }
        if metadata.modified().ok() != self.modified {
            return Err(SendError::FileModified {
                path: self.path.clone(),
            });
        }
        Ok(())
    }

    fn changed(&self, found: u64) -> SendError {
        SendError::FileChanged {
            path: self.path.clone(),
            announced: self.length,
            found,
        }
    }

    fn failed(&self, error: std::io::Error) -> SendError {
        SendError::File {
            path: self.path.clone(),
            cause: error.into(),
        }
    }
}
