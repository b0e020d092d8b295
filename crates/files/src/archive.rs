//! A directory as a tar stream, made while it is read.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use rustix::fs::Stat;
use tar::{Builder, EntryType, Header};

use crate::home::{Found, Step, as_path, modified, walk};

/// Writes what was found at `path` as a tar archive, in which it has the last name of its path.
/// What cannot be read ends it with an error: an archive that lacks something in silence is worse
/// than none.
pub(crate) fn write(found: Found, path: &[u8], output: impl Write) -> io::Result<()> {
    let name = match path.rsplit(|byte| *byte == b'/').next() {
        Some(name) if !name.is_empty() => name,
        _ => b"home",
    };
    let mut archive = Builder::new(output);
    let mut append = |path: &[u8], step: Step<'_>| match step {
        Step::Directory(stat) => {
            let mut header = header(EntryType::Directory, stat, 0);
            archive.append_data(&mut header, as_path(path), io::empty())
        }
        Step::File(file, stat) => {
            let size = u64::try_from(stat.st_size).unwrap_or_default();
            let mut header = header(EntryType::Regular, stat, size);
            archive.append_data(&mut header, as_path(path), exactly(file, size))
        }
        Step::Link(target, stat) => {
            let mut header = header(EntryType::Symlink, stat, 0);
            archive.append_link(&mut header, as_path(path), as_path(target.as_bytes()))
        }
    };
    match found {
        Found::File(file, stat) => append(name, Step::File(file, &stat))?,
        Found::Directory(directory) => {
            walk(directory.as_fd(), &mut name.to_vec(), 0, &mut append)?;
        }
    }
    archive.finish()
}

/// A file of the length that was announced, whoever writes to it meanwhile.
fn exactly(file: impl Read, size: u64) -> impl Read {
    file.chain(io::repeat(0)).take(size)
}

fn header(kind: EntryType, stat: &Stat, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_size(size);
    // The format has no time before 1970.
    header.set_mtime(u64::try_from(modified(stat).seconds).unwrap_or_default());
    header
}
