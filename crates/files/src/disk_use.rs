//! How much of its disk a directory takes.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

use crate::home::{DEPTH_MAX, failure, from_io, is_dots, too_deep};
use crate::protocol::Failure;

/// What `st_blocks` counts in, whatever the file system's own blocks are: stat(3type).
const BLOCK_LEN: u64 = 512;

/// The bytes of all blocks of a directory and what is beneath it, in a memory that does not grow with either.
///
/// A file with several names is shared among them, so that it counts once: all names of a home's file are in the home,
/// because no link leads from one mount to another. What its owner may not read is left out.
pub(crate) fn of(directory: BorrowedFd<'_>, depth: usize) -> Result<u64, Failure> {
    if depth > DEPTH_MAX {
        return Err(from_io(too_deep()));
    }
    let mut sum = blocks(&fstat(directory).map_err(failure)?);
    for found in Dir::read_from(directory).map_err(failure)? {
        let found = found.map_err(failure)?;
        let name = found.file_name();
        if is_dots(name) {
            continue;
        }
        let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // It went meanwhile.
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(failure(error)),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            // The number of names is an u32 on some machines, and an u64 on others.
            let part = u128::from(blocks(&stat)) / u128::from(stat.st_nlink.max(1));
            sum += u64::try_from(part).unwrap_or(u64::MAX);
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(directory, name, flags, Mode::empty()) {
            Ok(found) => sum += of(found.as_fd(), depth + 1)?,
            Err(Errno::ACCESS) => sum += blocks(&stat),
            // It went meanwhile, or is no directory any more.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(error) => return Err(failure(error)),
        }
    }
    Ok(sum)
}

fn blocks(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or_default() * BLOCK_LEN
}
