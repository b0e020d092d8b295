//! What a change of a path depends on.

use super::{Time, Version};

/// What has to be at a path at the moment of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing, not even a link that leads nowhere.
    Absent,
    /// Anything.
    Present,
    /// A file of this version. Links are followed, as by a request that reads.
    Version(Version),
}

impl Expected {
    /// How many bytes it takes in a frame.
    const LEN: usize = 1 + 8 + 12;

    /// Appends one to a frame's body, or that there is none.
    pub(super) fn put(expected: Option<Self>, body: &mut Vec<u8>) {
        let (kind, version) = match expected {
            None => (0, Version::default()),
            Some(Self::Absent) => (1, Version::default()),
            Some(Self::Present) => (2, Version::default()),
            Some(Self::Version(version)) => (3, version),
        };
        body.push(kind);
        body.extend_from_slice(&version.inode.to_be_bytes());
        body.extend_from_slice(&version.changed.to_bytes());
    }

    /// Takes what [`Self::put`] has appended from the front of a body; the rest is what follows it.
    pub(super) fn take(body: &[u8]) -> Option<(Option<Self>, &[u8])> {
        let (bytes, rest) = body.split_first_chunk::<{ Self::LEN }>()?;
        let [kind, version @ ..] = bytes;
        let (inode, changed) = version.split_first_chunk()?;
        let version = Version {
            inode: u64::from_be_bytes(*inode),
            changed: Time::from_bytes(changed.try_into().ok()?),
        };
        let expected = match kind {
            0 => None,
            1 => Some(Self::Absent),
            2 => Some(Self::Present),
            3 => Some(Self::Version(version)),
            _ => return None,
        };
        Some((expected, rest))
    }
}
