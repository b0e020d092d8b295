//! Who is connected to which desktop, by which address, and what they may do: in memory, for all desktops.
//!
//! A desktop's own address gives control. A [`Share`] is another address of the same desktop, with a role of its own. A
//! [`Takeover`] holds all viewers to `view`, whatever their address gives.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::task::AbortHandle;

use super::Uid;
use super::lease::{EndReason, Lease, Release};
use super::rights::{Clipboard, Rights, Role, Standing};

/// What stands in a share's address instead of a port: 128 random bits as 32 hexadecimal digits. Whoever knows it has
/// the share's rights, so its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token(String);

/// A further address of a desktop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its name among the desktop's shares, which is no secret: a UUID.
    pub id: String,
    /// The desktop.
    pub uid: Uid,
    /// The secret of its address.
    pub token: Token,
    /// What whoever comes by it may do.
    pub rights: Rights,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; `None` is never.
    pub expires: Option<Timestamp>,
}

/// What a client calls itself in its stream's address, so that it is known again when it reconnects: 1 to 64 letters,
/// digits, `-` and `_`. It gives no rights beyond those of the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientName(String);

/// The longest [`ClientName`], in characters.
pub const CLIENT_NAME_MAX_LEN: usize = 64;

/// A text that is no [`ClientName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a client's name has 1 to {CLIENT_NAME_MAX_LEN} letters, digits, '-' and '_'; send such a name"
)]
pub struct ClientNameError;

/// Control is taken from all viewers of a desktop, those who connect later included, until the takeover is lifted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Takeover {
    /// The client that keeps what its address gives.
    pub except: Option<Spared>,
}

/// The client that a takeover spares. Another address with the same name is another client, so a guest gains nothing by the
/// name of an owner's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spared {
    /// What it calls itself.
    pub client: ClientName,
    /// The share by which it comes; `None` is the desktop's own address.
    pub share: Option<String>,
}

/// One connection, for those who look on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// Its number, counted from 1 in the life of the service's process.
    pub id: u64,
    /// The stream it is connected to.
    pub stream: String,
    /// What it may do.
    pub rights: Rights,
    /// Since when it is there.
    pub since: Timestamp,
    /// The share it came by; `None` is the desktop's own address.
    pub share: Option<String>,
    /// What its client calls itself.
    pub client: Option<ClientName>,
    /// Where its connection comes from: the last hop, which is a proxy where there is one in front.
    pub address: Option<IpAddr>,
}

/// A change of rights; what is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The role.
    pub role: Option<Role>,
    /// The clipboard. A change of the role alone brings that role's own along.
    pub clipboard: Option<Clipboard>,
}

/// All of it. Never waits, and never holds its lock for longer than a look.
#[derive(Debug, Default)]
pub(super) struct Access {
    inner: Mutex<Inner>,
    last_viewer: AtomicU64,
    /// Held while the store and this are changed together.
    pub(super) changing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Inner {
    tokens: HashMap<Token, (Uid, String)>,
    desktops: HashMap<Uid, Desktop>,
}

#[derive(Debug, Default)]
struct Desktop {
    takeover: Option<Takeover>,
    shares: BTreeMap<String, Entry>,
    viewers: BTreeMap<u64, Connected>,
}

#[derive(Debug)]
struct Entry {
    share: Share,
    /// What ends it when it expires.
    timer: Option<AbortHandle>,
}

#[derive(Debug)]
struct Connected {
    standing: Arc<Standing>,
    stream: String,
    since: Timestamp,
    share: Option<String>,
    client: Option<ClientName>,
}

impl ClientName {
    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientName {
    type Err = ClientNameError;

    fn from_str(text: &str) -> Result<Self, ClientNameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if (1..=CLIENT_NAME_MAX_LEN).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ClientNameError)
        }
    }
}

impl Takeover {
    /// The share of the client that it spares, where that comes by one.
    pub(super) fn share(&self) -> Option<&str> {
        self.except.as_ref()?.share.as_deref()
    }

    /// Whether a client that came by this share, or by the desktop's own address, keeps what that gives.
    fn spares(&self, share: Option<&str>, client: Option<&ClientName>) -> bool {
        self.except.as_ref().is_some_and(|spared| {
            spared.share.as_deref() == share && Some(&spared.client) == client
        })
    }
}

/// `client`, or `client@share`.
impl fmt::Display for Spared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.client.as_str())?;
        match &self.share {
            Some(share) => write!(formatter, "@{share}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Spared {
    type Err = ClientNameError;

    fn from_str(text: &str) -> Result<Self, ClientNameError> {
        let (client, share) = match text.split_once('@') {
            Some((client, share)) => (client, Some(share.to_owned())),
            None => (text, None),
        };
        Ok(Self {
            client: client.parse()?,
            share,
        })
    }
}

impl Token {
    /// A new one.
    pub fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    /// A text that has the form of one.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = text.len() == 32
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        well_formed.then(|| Self(text.to_owned()))
    }

    /// The text itself, for an address or the store.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

impl Share {
    /// Whether it is over at `now`.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

impl Change {
    /// What the rights become.
    pub fn apply(self, rights: Rights) -> Rights {
        let base = self.role.map_or(rights, Rights::of);
        let clipboard = match base.role {
            Role::Control => self.clipboard.unwrap_or(base.clipboard),
            // Who only looks on puts nothing into it, whatever is said.
            Role::View => Clipboard::Out,
        };
        Rights { clipboard, ..base }
    }
}

impl Access {
    /// The share that an address belongs to.
    pub(super) fn resolve(&self, token: &Token) -> Option<Share> {
        let inner = self.lock();
        let (uid, id) = inner.tokens.get(token)?;
        let share = &inner.desktops.get(uid)?.shares.get(id)?.share;
        (!share.has_expired(Timestamp::now())).then(|| share.clone())
    }

    /// Enters a connection in the list for as long as its lease lives; `token` is the share it came by. `None` when the
    /// share is not there any more.
    pub(super) fn admit(
        self: &Arc<Self>,
        uid: &Uid,
        token: Option<&Token>,
        stream: &str,
        client: Option<ClientName>,
        lease: Lease,
    ) -> Option<Lease> {
        let id = self.last_viewer.fetch_add(1, Ordering::Relaxed) + 1;
        let mut inner = self.lock();
        let share = match token {
            Some(token) => Some(inner.tokens.get(token)?.1.clone()),
            None => None,
        };
        let desktop = inner.desktops.entry(uid.clone()).or_default();
        if let Some(id) = &share {
            desktop.shares.get(id)?;
        }
        let rights = desktop.rights(share.as_deref(), client.as_ref());
        let standing = Arc::new(Standing::new(rights));
        let viewer = Connected {
            standing: Arc::clone(&standing),
            stream: stream.to_owned(),
            since: Timestamp::now(),
            share,
            client,
        };
        desktop.viewers.insert(id, viewer);
        let (access, uid) = (Arc::clone(self), uid.clone());
        let leave = Release::new(move || access.leave(&uid, id));
        Some(lease.held_by(standing, leave))
    }

    fn leave(&self, uid: &Uid, id: u64) {
        let mut inner = self.lock();
        if let Some(desktop) = inner.desktops.get_mut(uid) {
            desktop.viewers.remove(&id);
            if desktop.is_empty() {
                inner.desktops.remove(uid);
            }
        }
    }

    /// Who is connected to the desktop, in the order in which they came.
    pub(super) fn viewers(&self, uid: &Uid) -> Vec<Viewer> {
        let inner = self.lock();
        let viewers = inner.desktops.get(uid).map(|desktop| &desktop.viewers);
        viewers
            .into_iter()
            .flatten()
            .map(|(id, viewer)| viewer.describe(*id))
            .collect()
    }

    /// Changes what one viewer may do; `None` when it is not there.
    pub(super) fn change_viewer(&self, uid: &Uid, id: u64, change: Change) -> Option<Viewer> {
        let inner = self.lock();
        let viewer = inner.desktops.get(uid)?.viewers.get(&id)?;
        viewer.standing.set(change.apply(viewer.standing.rights()));
        Some(viewer.describe(id))
    }

    /// The takeover of the desktop, while there is one.
    pub(super) fn takeover(&self, uid: &Uid) -> Option<Takeover> {
        self.lock().desktops.get(uid)?.takeover.clone()
    }

    /// What a client without a name gets by this share at this moment.
    pub(super) fn rights_by(&self, share: &Share) -> Rights {
        let inner = self.lock();
        let desktop = inner.desktops.get(&share.uid);
        desktop.map_or(share.rights, |desktop| {
            desktop.rights(Some(&share.id), None)
        })
    }

    /// Starts, changes or lifts the takeover of a desktop, and sets the rights of all its viewers by it.
    pub(super) fn set_takeover(&self, uid: &Uid, takeover: Option<Takeover>) {
        let mut inner = self.lock();
        let desktop = inner.desktops.entry(uid.clone()).or_default();
        desktop.takeover = takeover;
        for viewer in desktop.viewers.values() {
            viewer.standing.set(desktop.rights_of(viewer));
        }
        if desktop.is_empty() {
            inner.desktops.remove(uid);
        }
    }

    /// Puts a share in force.
    pub(super) fn add(&self, share: Share, timer: Option<AbortHandle>) {
        let mut inner = self.lock();
        let key = (share.uid.clone(), share.id.clone());
        inner.tokens.insert(share.token.clone(), key);
        let desktop = inner.desktops.entry(share.uid.clone()).or_default();
        desktop
            .shares
            .insert(share.id.clone(), Entry { share, timer });
    }

    /// The desktop's shares, oldest first.
    pub(super) fn shares(&self, uid: &Uid) -> Vec<Share> {
        let inner = self.lock();
        let shares = inner.desktops.get(uid).map(|desktop| &desktop.shares);
        let mut shares: Vec<Share> = shares
            .into_iter()
            .flat_map(BTreeMap::values)
            .map(|entry| entry.share.clone())
            .collect();
        shares.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        shares
    }

    /// One share of the desktop.
    pub(super) fn share(&self, uid: &Uid, id: &str) -> Option<Share> {
        let inner = self.lock();
        Some(inner.desktops.get(uid)?.shares.get(id)?.share.clone())
    }

    /// Changes what those may do who come, or have come, by a share.
    pub(super) fn change_share(&self, changed: &Share) {
        let mut inner = self.lock();
        let Some(desktop) = inner.desktops.get_mut(&changed.uid) else {
            return;
        };
        if let Some(entry) = desktop.shares.get_mut(&changed.id) {
            entry.share.rights = changed.rights;
        }
        for viewer in desktop.viewers.values() {
            if viewer.share.as_ref() == Some(&changed.id) {
                viewer.standing.set(desktop.rights_of(viewer));
            }
        }
    }

    /// Takes a share out of force, and ends the connections of those who came by it.
    pub(super) fn remove(&self, uid: &Uid, id: &str, reason: EndReason) {
        let mut inner = self.lock();
        let Some(desktop) = inner.desktops.get_mut(uid) else {
            return;
        };
        let Some(entry) = desktop.shares.remove(id) else {
            return;
        };
        for viewer in desktop.viewers.values() {
            if viewer.share.as_deref() == Some(id) {
                viewer.standing.end(reason);
            }
        }
        // One that has expired is removed by its own timer, which has still to see to the store.
        if reason == EndReason::ShareRevoked {
            entry.cancel();
        }
        if desktop.is_empty() {
            inner.desktops.remove(uid);
        }
        inner.tokens.remove(&entry.share.token);
    }

    /// A desktop that is forgotten has no shares.
    pub(super) fn forget(&self, uid: &Uid) {
        let mut inner = self.lock();
        let Some(desktop) = inner.desktops.get_mut(uid) else {
            return;
        };
        desktop.takeover = None;
        let shares = std::mem::take(&mut desktop.shares);
        if desktop.is_empty() {
            inner.desktops.remove(uid);
        }
        for entry in shares.into_values() {
            entry.cancel();
            inner.tokens.remove(&entry.share.token);
        }
    }

    // A panic while it is held cannot leave more than an entry that leads nowhere: go on with it.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desktop {
    /// What a connection may do that came by this share, or by the desktop's own address.
    fn rights(&self, share: Option<&str>, client: Option<&ClientName>) -> Rights {
        let spared = |takeover: &Takeover| takeover.spares(share, client);
        if !self.takeover.as_ref().is_none_or(spared) {
            return Rights::of(Role::View);
        }
        match share {
            None => Rights::of(Role::Control),
            // A share that was revoked gives nothing back to those who have still to go.
            Some(id) => self
                .shares
                .get(id)
                .map_or(Rights::of(Role::View), |entry| entry.share.rights),
        }
    }

    fn rights_of(&self, viewer: &Connected) -> Rights {
        self.rights(viewer.share.as_deref(), viewer.client.as_ref())
    }

    /// Whether there is nothing to remember of it.
    fn is_empty(&self) -> bool {
        self.takeover.is_none() && self.shares.is_empty() && self.viewers.is_empty()
    }
}

impl Connected {
    fn describe(&self, id: u64) -> Viewer {
        Viewer {
            id,
            stream: self.stream.clone(),
            rights: self.standing.rights(),
            since: self.since,
            share: self.share.clone(),
            client: self.client.clone(),
            address: self.standing.address(),
        }
    }
}

impl Entry {
    fn cancel(&self) {
        if let Some(timer) = &self.timer {
            timer.abort();
        }
    }
}
