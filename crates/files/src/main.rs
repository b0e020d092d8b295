//! Serves the files of `/home` on its standard input and output: the one program of a container
//! that has a desktop's home in it and nothing else.

use std::io;
use std::process::ExitCode;

use files::Home;
use rustix::fs::{Gid, Mode, OFlags, Uid, open, stat};
use rustix::process::umask;
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

/// Where the engine mounts the home.
const HOME: &str = "/home";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    become_owner()?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let home = Home::new(open(HOME, flags, Mode::empty())?);
    // Not the locked ones of the standard library, which look for ends of lines.
    let input = rustix::io::dup(io::stdin())?;
    let output = rustix::io::dup(io::stdout())?;
    files::serve(
        &home,
        std::fs::File::from(input),
        std::fs::File::from(output),
    )
}

/// Takes the identity of the home's owner, and gives up every right beyond it: so what is made
/// belongs to the desktop, and what its owner may not read is not read for anybody. There is one
/// thread, whose identity is the process's.
fn become_owner() -> io::Result<()> {
    let owner = stat(HOME)?;
    let (uid, gid) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    umask(Mode::empty());
    Ok(())
}
