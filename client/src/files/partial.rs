//! A file that is being received: a temporary name first, the final one at the end, never over another file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::names::{numbered_name, portable_name, safe_name};
use crate::SaveError;

/// How many numbered names are tried before giving up.
const NUMBERS: u32 = 10_000;
const PREFIX: &str = ".lkstream-";
const SUFFIX: &str = ".part";

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

    /// A new temporary path beside the final one.
    pub(crate) fn temporary(&self) -> PathBuf {
        let number = rand::random::<u64>();
        self.directory()
            .join(format!("{PREFIX}{number:016x}{SUFFIX}"))
    }
}

/// Removes a temporary file when it is dropped, whoever writes it.
#[derive(Debug)]
pub(crate) struct Removal(PathBuf);

impl Removal {
    pub(crate) fn of(temporary: &Path) -> Self {
        Removal(temporary.to_owned())
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        // After its end the name is gone, or a second link to the stored file.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A temporary file in the target's directory, locked for as long as it is one. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Partial {
    file: File,
    temporary: Removal,
    target: Target,
}

impl Partial {
    /// Creates the temporary file, readable as the process' umask says.
    ///
    /// A target path that exists already is refused here, before anything is received, and again at the end.
    pub(crate) fn create(target: Target, temporary: &Path) -> Result<Self, SaveError> {
        if let Target::Path(path) = &target
            && path.symlink_metadata().is_ok()
        {
            return Err(SaveError::Exists { path: path.clone() });
        }
        let file = create_locked(temporary).map_err(|error| failed(target.directory(), error))?;
        Ok(Partial {
            file,
            temporary: Removal::of(temporary),
            target,
        })
    }

    /// Appends the pieces.
    pub(crate) fn write(&mut self, pieces: &[Bytes]) -> Result<(), SaveError> {
        for piece in pieces {
            self.file
                .write_all(piece)
                .map_err(|error| failed(&self.temporary.0, error))?;
        }
        Ok(())
    }

    /// Where it is and will stay.
    pub(crate) fn directory(&self) -> &Path {
        self.target.directory()
    }

    /// Syncs the content and gives the file its final name, which is durable once the directory is synced.
    pub(crate) fn place(self) -> Result<PathBuf, SaveError> {
        let temporary = &self.temporary.0;
        self.file
            .sync_all()
            .map_err(|error| failed(temporary, error))?;
        match &self.target {
            Target::Path(path) => {
                place(temporary, path).map_err(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => SaveError::Exists { path: path.clone() },
                    _ => failed(path, error),
                })?;
                Ok(path.clone())
            }
            Target::Directory { directory, name } => {
                let name = safe_name(name);
                match (
                    place_numbered(temporary, directory, &name),
                    portable_name(&name),
                ) {
                    (Err(SaveError::File { cause, .. }), Some(portable))
                        if is_about_the_name(&cause) =>
                    {
                        place_numbered(temporary, directory, &portable)
                    }
                    (placed, _) => placed,
                }
            }
        }
    }
}

/// Creates a file and takes a lock on it, which tells [`remove_leftovers`] that somebody works on it. Where files can't be
/// locked, that removes nothing.
fn create_locked(path: &Path) -> io::Result<File> {
    loop {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        if fs4::FileExt::lock(&file).is_err() || path.symlink_metadata().is_ok() {
            return Ok(file);
        }
        // It was taken for a leftover before the lock.
    }
}

/// Whether a file system does not take a name.
fn is_about_the_name(cause: &crate::IoCause) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename
    )
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
        Ok(()) => Ok(()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound
            ) =>
        {
            Err(error)
        }
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

/// Makes new names durable where directories can be synced; elsewhere the system does it in its own time.
pub(super) fn sync_directory(directory: &Path) {
    if let Ok(directory) = File::open(directory) {
        let _ = directory.sync_all();
    }
}

/// Removes the temporary files that processes which were killed left in a directory, and returns how many.
///
/// Only files with the names that [`ByteReader::write_to_dir`](crate::ByteReader::write_to_dir) and `write_to_file` give are
/// looked at, and only those removed that no process holds a lock on: a file that somebody is receiving stays.
/// Where files cannot be locked, as on some network file systems, nothing is removed. It blocks for a few system calls a file.
///
/// # Errors
/// The directory cannot be read. A file that cannot be removed is left.
pub fn remove_leftovers(directory: impl AsRef<Path>) -> io::Result<usize> {
    let mut removed = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && entry.file_name().to_str().is_some_and(is_temporary) {
            removed += usize::from(remove_unheld(&entry.path()));
        }
    }
    Ok(removed)
}

/// Whether a file has a name that only [`Target::temporary`] gives.
fn is_temporary(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .and_then(|name| name.strip_suffix(SUFFIX))
        .is_some_and(|number| {
            number.len() == 16
                && number
                    .bytes()
                    .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        })
}

fn remove_unheld(path: &Path) -> bool {
    let Ok(file) = OpenOptions::new().write(true).open(path) else {
        return false;
    };
    fs4::FileExt::try_lock(&file).is_ok() && std::fs::remove_file(path).is_ok()
}

fn failed(path: &Path, error: io::Error) -> SaveError {
    SaveError::File {
        path: path.to_owned(),
        cause: error.into(),
    }
}
