//! File descriptors: how many this process may have, how many desktops take, and how to tell that
//! there are none left.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a desktop takes: two sockets hold its stream key's port (IPv4 and IPv6), and one viewer has
/// a connection on either side of the gateway.
const PER_DESKTOP: u64 = 4;

/// What the service takes beside desktops: listeners, records, and connections to the engine.
const BESIDE_DESKTOPS: u64 = 64;

/// No file descriptor is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// Of those that the process may have (`EMFILE`).
    #[error(
        "the service has used up its file descriptors ({}); stop a desktop, or raise the limit: LimitNOFILE= of a systemd unit, --ulimit nofile= of a container",
        describe(*.limit)
    )]
    Process {
        /// The process's limit; `None` is none.
        limit: Option<u64>,
    },
    /// Of those that the host has (`ENFILE`).
    #[error(
        "the host has used up its file descriptors; stop programs that use many, or raise fs.file-max with sysctl"
    )]
    Host,
}

impl Exhausted {
    /// Whether that is what an error of the system says.
    pub fn from_error(error: &io::Error) -> Option<Self> {
        match Errno::from_io_error(error)? {
            Errno::MFILE => Some(Self::Process {
                limit: getrlimit(Resource::Nofile).current,
            }),
            Errno::NFILE => Some(Self::Host),
            _ => None,
        }
    }
}

fn describe(limit: Option<u64>) -> String {
    limit.map_or_else(|| "no limit".to_owned(), |limit| format!("limit {limit}"))
}

/// An error of the system in words that name the next step, where there is one.
pub(crate) fn explain(error: &io::Error) -> String {
    Exhausted::from_error(error)
        .map_or_else(|| error.to_string(), |exhausted| exhausted.to_string())
}

/// How many descriptors this many desktops take when one viewer is connected to each of them.
pub(crate) fn needed(desktops: usize) -> u64 {
    let desktops = u64::try_from(desktops).unwrap_or(u64::MAX);
    desktops
        .saturating_mul(PER_DESKTOP)
        .saturating_add(BESIDE_DESKTOPS)
}

/// How many descriptors a process may have that raises its limit; `None` is no limit.
pub(crate) fn most() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// Raises the limit as far as the system allows, and warns where that is too little for so many
/// desktops. The usual limit of 1024 dates from `select`, which nothing here uses.
pub(crate) fn raise_limit(desktops: usize) {
    let maximum = most();
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of file descriptors could not be raised");
    }
    let needed = needed(desktops);
    if let Some(limit) = getrlimit(Resource::Nofile).current
        && limit < needed
    {
        tracing::warn!(
            limit,
            needed,
            desktops,
            "too few file descriptors for as many desktops as there are ports; raise the limit (LimitNOFILE= of a systemd unit, --ulimit nofile= of a container), or set COSAGE_MAX_DESKTOPS"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lack_of_descriptors_is_one() {
        let of = |errno: Errno| Exhausted::from_error(&errno.into());
        assert!(matches!(of(Errno::MFILE), Some(Exhausted::Process { .. })));
        assert_eq!(of(Errno::NFILE), Some(Exhausted::Host));
        assert_eq!(of(Errno::ADDRINUSE), None);
        assert_eq!(Exhausted::from_error(&io::Error::other("EMFILE")), None);
    }
}
