//! How much of its disk a directory takes.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Statx, StatxFlags, openat, statx};
use rustix::io::Errno;

use crate::home::{DEPTH_MAX, Home, failure, from_io, is_dots, too_deep};
use crate::protocol::Failure;

/// What `stx_blocks` counts in, whatever the file system's own blocks are: statx(2).
const BLOCK_LEN: u64 = 512;

/// How much of its disk a home takes, in bytes.
pub(crate) fn of_home(home: &Home) -> Result<u64, Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let root = home.open(b"", flags).map_err(failure)?;
    of(root.as_fd(), 0)
}

/// The bytes of all blocks of a directory and what is beneath it, in a memory that does not grow with either.
///
/// A file with several names is shared among them, so that it counts once: all names of a home's file are in the home,
/// because no link leads from one mount to another. What its owner may not read is left out.
fn of(directory: BorrowedFd<'_>, depth: usize) -> Result<u64, Failure> {
    if depth > DEPTH_MAX {
        return Err(from_io(too_deep()));
    }
    let itself = look(directory, c"", AtFlags::EMPTY_PATH).map_err(failure)?;
    let mut sum = itself.stx_blocks * BLOCK_LEN;
    let names = match Dir::read_from(directory) {
        // It may be read and not entered, so nothing is known of what is in it.
        Err(Errno::ACCESS) => return Ok(sum),
        names => names.map_err(failure)?,
    };
    for found in names {
        let found = found.map_err(failure)?;
        let name = found.file_name();
        if is_dots(name) {
            continue;
        }
        let found = match look(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            // It went meanwhile.
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(failure(error)),
        };
        if FileType::from_raw_mode(found.stx_mode.into()) != FileType::Directory {
            sum += found.stx_blocks * BLOCK_LEN / u64::from(found.stx_nlink.max(1));
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(directory, name, flags, Mode::empty()) {
            Ok(below) => sum += of(below.as_fd(), depth + 1)?,
            Err(Errno::ACCESS) => sum += found.stx_blocks * BLOCK_LEN,
            // It went meanwhile, or is no directory any more.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(error) => return Err(failure(error)),
        }
    }
    Ok(sum)
}

fn look(directory: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> Result<Statx, Errno> {
    let wanted = StatxFlags::TYPE | StatxFlags::NLINK | StatxFlags::BLOCKS;
    statx(directory, name, flags, wanted)
}
