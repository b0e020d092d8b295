//! Files of this machine that are whole or not there.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::failure::Failure;
use super::foreign::plain;

/// The name of standard input and output where a file is expected.
pub(super) const STANDARD: &str = "-";

/// A file that comes into being under its name when it is complete, and never before.
pub(super) struct NewFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl NewFile {
    /// Gets ready to write `path`; what is there stays until the new one is complete.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let file = tempfile::Builder::new()
            .prefix(".cosage-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .tempfile_in(directory)
            .map_err(|error| unwritable(path, &error))?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file
            .write_all(bytes)
            .map_err(|error| unwritable(&self.path, &error))
    }

    /// Puts it in place.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let Self { file, path } = self;
        file.persist(&path)
            .map(drop)
            .map_err(|error| unwritable(&path, &error.error))
    }
}

/// A path for people: a name may have line feeds and orders for a terminal in it.
pub(super) fn shown(path: &Path) -> String {
    plain(&path.display().to_string())
}

pub(super) fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("{} cannot be written: {error}", shown(path)))
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let text = format!("{} cannot be read: {error}", shown(path));
    match error.kind() {
        io::ErrorKind::NotFound => Failure::Unknown(text),
        _ => Failure::Failed(text),
    }
}
