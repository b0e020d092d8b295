//! What somebody who is connected to a desktop may do to it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::end::EndReason;

/// Whether somebody only looks on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Steers the desktop.
    #[default]
    Control,
    /// Looks on: nothing that would change the desktop gets through.
    View,
}

/// Which way texts of the clipboard go.
///
/// The desktop tells all its viewers what was copied, in a stream whose pictures only they can decode, so there is no
/// direction that leaves that out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clipboard {
    /// Both ways.
    #[default]
    Both,
    /// From the desktop to the viewer only.
    Out,
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rights {
    /// Whether they steer.
    pub role: Role,
    /// Which way texts go.
    pub clipboard: Clipboard,
}

impl Role {
    /// The word for it on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::View => "view",
        }
    }
}

impl Clipboard {
    /// The word for it on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Out => "out",
        }
    }
}

/// A word that is none of those that are known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no role and no clipboard direction")]
pub struct UnknownWord(String);

impl FromStr for Role {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "control" => Ok(Self::Control),
            "view" => Ok(Self::View),
            other => Err(UnknownWord(other.to_owned())),
        }
    }
}

impl FromStr for Clipboard {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "both" => Ok(Self::Both),
            "out" => Ok(Self::Out),
            other => Err(UnknownWord(other.to_owned())),
        }
    }
}

impl Rights {
    /// What a role brings along where nothing else is said. Who only looks on puts nothing into the clipboard.
    pub fn of(role: Role) -> Self {
        Self {
            role,
            clipboard: match role {
                Role::Control => Clipboard::Both,
                Role::View => Clipboard::Out,
            },
        }
    }

    /// Whether nothing is forbidden.
    pub fn are_full(self) -> bool {
        self == Self::of(Role::Control)
    }

    /// Whether texts may be put into the desktop's clipboard.
    pub fn paste(self) -> bool {
        self.role == Role::Control && self.clipboard == Clipboard::Both
    }
}

/// What the holder of a lease may do right now, and whether they have to go.
///
/// The relay of the connection looks at it for each piece of bytes, and is woken by a change.
pub struct Standing {
    bits: AtomicU8,
    relay: AtomicWaker,
    address: OnceLock<IpAddr>,
    ended: watch::Sender<Option<EndReason>>,
}

impl Standing {
    /// As long as nothing changes, these rights.
    pub fn new(rights: Rights) -> Self {
        let standing = Self {
            bits: AtomicU8::default(),
            relay: AtomicWaker::new(),
            address: OnceLock::new(),
            ended: watch::Sender::new(None),
        };
        standing.set(rights);
        standing
    }

    /// The rights at this moment.
    pub fn rights(&self) -> Rights {
        let bits = self.bits.load(Ordering::Acquire);
        Rights {
            role: if bits & 1 == 0 {
                Role::Control
            } else {
                Role::View
            },
            clipboard: if bits & 2 == 0 {
                Clipboard::Both
            } else {
                Clipboard::Out
            },
        }
    }

    /// Changes the rights: the next piece of the holder's bytes is judged by them, and the relay is woken.
    pub fn set(&self, rights: Rights) {
        let bits =
            u8::from(rights.role == Role::View) | u8::from(rights.clipboard == Clipboard::Out) << 1;
        self.bits.store(bits, Ordering::Release);
        self.wake();
    }

    /// Registers the task that is woken when there is something new; one at a time, and before it looks.
    pub fn register(&self, waker: &Waker) {
        self.relay.register(waker);
    }

    /// Wakes the connection's relay.
    pub fn wake(&self) {
        self.relay.wake();
    }

    /// Where the holder's connection comes from.
    pub fn came_from(&self, address: IpAddr) {
        // Said once; a second time changes nothing.
        let _ = self.address.set(address);
    }

    /// Where the holder's connection comes from, once there is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.address.get().copied()
    }

    /// Ends the connection.
    pub fn end(&self, reason: EndReason) {
        self.ended.send_replace(Some(reason));
    }

    /// Waits until the connection has to end.
    pub(super) async fn ended(&self) -> Option<EndReason> {
        let mut ended = self.ended.subscribe();
        // The sender is this one's own, so there is no error.
        ended
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|reason| *reason)
    }
}

impl Default for Standing {
    fn default() -> Self {
        Self::new(Rights::default())
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rights().fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_says_what_was_set() {
        let standing = Standing::default();
        assert!(standing.rights().are_full());
        for role in [Role::Control, Role::View] {
            for clipboard in [Clipboard::Both, Clipboard::Out] {
                let rights = Rights { role, clipboard };
                standing.set(rights);
                assert_eq!(standing.rights(), rights);
                assert_eq!(role.as_str().parse(), Ok(role));
                assert_eq!(clipboard.as_str().parse(), Ok(clipboard));
            }
        }
    }

    #[test]
    fn only_who_steers_may_paste() {
        assert!(Rights::of(Role::Control).paste());
        assert!(!Rights::of(Role::View).paste());
        let rights = Rights {
            role: Role::View,
            clipboard: Clipboard::Both,
        };
        assert!(!rights.paste());
    }
}
