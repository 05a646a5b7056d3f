//! A file that is being received: a temporary name first, the final one at the end, never over another file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::names::{numbered_name, safe_name};
use crate::SaveError;

/// How many numbered names are tried before giving up.
const NUMBERS: u32 = 10_000;

/// Under which name a file is stored in the end.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// Exactly this path, which must not exist.
    Path(PathBuf),
    /// In this directory, under the safe form of this name, numbered if that exists.
    Directory {
        /// The directory, which must exist.
        directory: PathBuf,
        /// The name as it came from the network.
        name: String,
    },
}

impl Target {
    /// The directory of the temporary and the final file.
    fn directory(&self) -> &Path {
        match self {
            Target::Path(path) => match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            },
            Target::Directory { directory, .. } => directory,
        }
    }
}

/// A temporary file in the target's directory. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Partial {
    file: Option<File>,
    temporary: PathBuf,
    target: Target,
}

impl Partial {
    /// Creates the temporary file, readable as the process' umask says.
    ///
    /// A target path that exists already is refused here, before anything is received, and again at the end.
    pub(crate) fn create(target: Target) -> Result<Self, SaveError> {
        if let Target::Path(path) = &target
            && path.symlink_metadata().is_ok()
        {
            return Err(SaveError::Exists { path: path.clone() });
        }
        let directory = target.directory();
        loop {
            let temporary =
                directory.join(format!(".lkstream-{:016x}.part", rand::random::<u64>()));
            match OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&temporary)
            {
                Ok(file) => {
                    return Ok(Partial {
                        file: Some(file),
                        temporary,
                        target,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(failed(directory, error)),
            }
        }
    }

    /// Appends the pieces.
    pub(crate) fn write(&mut self, pieces: &[Bytes]) -> Result<(), SaveError> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        for piece in pieces {
            file.write_all(piece)
                .map_err(|error| failed(&self.temporary, error))?;
        }
        Ok(())
    }

    /// Syncs the content, gives the file its final name and syncs the directory. Returns the final path.
    pub(crate) fn finish(mut self) -> Result<PathBuf, SaveError> {
        if let Some(file) = self.file.take() {
            file.sync_all()
                .map_err(|error| failed(&self.temporary, error))?;
        }
        let path = match &self.target {
            Target::Path(path) => {
                place(&self.temporary, path).map_err(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => SaveError::Exists { path: path.clone() },
                    _ => failed(path, error),
                })?;
                path.clone()
            }
            Target::Directory { directory, name } => {
                place_numbered(&self.temporary, directory, &safe_name(name))?
            }
        };
        sync_directory(self.target.directory());
        Ok(path)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        drop(self.file.take());
        // After `finish` the name is gone already or a second link to the stored file.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

fn place_numbered(temporary: &Path, directory: &Path, name: &str) -> Result<PathBuf, SaveError> {
    for number in 0..NUMBERS {
        let path = directory.join(numbered_name(name, number));
        match place(temporary, &path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(failed(&path, error)),
        }
    }
    Err(SaveError::Exists {
        path: directory.join(name),
    })
}

/// Gives the temporary file its final name without ever replacing another file.
fn place(temporary: &Path, path: &Path) -> io::Result<()> {
    match std::fs::hard_link(temporary, path) {
        Ok(()) => {
            // The content is safe under its final name; a leftover link is removed again on drop.
            let _ = std::fs::remove_file(temporary);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        Err(_) => place_without_links(temporary, path),
    }
}

/// For file systems without hard links: reserves the name with an empty file of our own, then renames onto that.
fn place_without_links(temporary: &Path, path: &Path) -> io::Result<()> {
    drop(OpenOptions::new().write(true).create_new(true).open(path)?);
    std::fs::rename(temporary, path).inspect_err(|_| {
        let _ = std::fs::remove_file(path);
    })
}

/// Makes the new name durable where directories can be synced; elsewhere the system does it in its own time.
fn sync_directory(directory: &Path) {
    if let Ok(directory) = File::open(directory) {
        let _ = directory.sync_all();
    }
}

fn failed(path: &Path, error: io::Error) -> SaveError {
    SaveError::File {
        path: path.to_owned(),
        cause: error.into(),
    }
}
