//! Who is connected to which desktop, by which address, and what they may do: in memory, for desktops that have a driver. The
//! store has all shares and takeovers.
//!
//! A desktop's own address gives control. A [`Share`] is another address of the same desktop, with a role of its own. A
//! [`Takeover`] holds all viewers to `view`, whatever their address gives.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedMutexGuard;
use tokio::task::AbortHandle;

use super::Uid;
use super::end::EndReason;
use super::lease::{Lease, Release};
use super::rights::{Clipboard, Rights, Role, Standing};

/// What stands in a share's address instead of a port: 256 random bits as 64 hexadecimal digits, or the 128 as 32 of
/// earlier versions. Whoever knows it has the share's rights, so it is shown once, the store has its hash only, and its
/// `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token(String);

/// SHA-256 of a [`Token`]: enough, because nobody can guess so many random bits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

/// A further address of a desktop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its name among the desktop's shares, which is no secret: a UUID.
    pub id: String,
    /// The desktop.
    pub uid: Uid,
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

/// All of it. Never waits for anything but [`Access::changing`].
#[derive(Debug, Default)]
pub(super) struct Access {
    desktops: Mutex<HashMap<Uid, Desktop>>,
    last_viewer: AtomicU64,
    changing: Mutex<HashMap<Uid, Weak<tokio::sync::Mutex<()>>>>,
}

#[derive(Debug, Default)]
struct Desktop {
    /// Whether it has a driver, so that its takeover is kept here.
    is_open: bool,
    takeover: Option<Takeover>,
    viewers: BTreeMap<u64, Connected>,
}

#[derive(Debug)]
struct Connected {
    standing: Arc<Standing>,
    stream: String,
    since: Timestamp,
    /// What its address gives.
    rights: Rights,
    share: Option<String>,
    client: Option<ClientName>,
    /// Ends it with its share.
    expiry: Option<AbortHandle>,
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
        let [high, low]: [u128; 2] = rand::random();
        Self(format!("{high:032x}{low:032x}"))
    }

    /// A text that has the form of one.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = matches!(text.len(), 32 | 64)
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        well_formed.then(|| Self(text.to_owned()))
    }

    /// The text itself, for an address.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the store has of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0.as_bytes()).into())
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
    /// Held while the store and this are changed together, and while a desktop is read: it waits for those who change the
    /// same desktop only.
    pub(super) async fn changing(&self, uid: &Uid) -> OwnedMutexGuard<()> {
        let lock = {
            let mut changing = lock(&self.changing);
            let held = changing.get(uid).and_then(Weak::upgrade);
            held.unwrap_or_else(|| {
                changing.retain(|_, lock| lock.strong_count() > 0);
                let lock = Arc::default();
                changing.insert(uid.clone(), Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }

    /// A desktop gets a driver, and has this takeover.
    pub(super) fn open(&self, uid: &Uid, takeover: Option<Takeover>) {
        let mut desktops = lock(&self.desktops);
        let desktop = desktops.entry(uid.clone()).or_default();
        desktop.is_open = true;
        desktop.set_takeover(takeover);
    }

    /// A desktop has no driver any more.
    pub(super) fn close(&self, uid: &Uid) {
        let mut desktops = lock(&self.desktops);
        if let Some(desktop) = desktops.get_mut(uid) {
            desktop.is_open = false;
        }
        remove_unused(&mut desktops, uid);
    }

    /// Enters a connection in the list for as long as its lease lives; `share` is what it came by.
    pub(super) fn admit(
        self: &Arc<Self>,
        uid: &Uid,
        share: Option<&Share>,
        stream: &str,
        client: Option<ClientName>,
        lease: Lease,
    ) -> Lease {
        let id = self.last_viewer.fetch_add(1, Ordering::Relaxed) + 1;
        let mut desktops = lock(&self.desktops);
        let desktop = desktops.entry(uid.clone()).or_default();
        let given = share.map_or(Rights::of(Role::Control), |share| share.rights);
        let standing = Arc::new(Standing::new(given));
        let expires = share.and_then(|share| share.expires);
        let viewer = Connected {
            standing: Arc::clone(&standing),
            stream: stream.to_owned(),
            since: Timestamp::now(),
            rights: given,
            share: share.map(|share| share.id.clone()),
            client,
            expiry: expires.map(|at| end_at(Arc::clone(&standing), at)),
        };
        standing.set(desktop.rights_of(&viewer));
        desktop.viewers.insert(id, viewer);
        let (access, uid) = (Arc::clone(self), uid.clone());
        let leave = Release::new(move || access.leave(&uid, id));
        lease.held_by(standing, leave)
    }

    fn leave(&self, uid: &Uid, id: u64) {
        let mut desktops = lock(&self.desktops);
        let viewers = desktops.get_mut(uid).map(|desktop| &mut desktop.viewers);
        let viewer = viewers.and_then(|viewers| viewers.remove(&id));
        if let Some(expiry) = viewer.and_then(|viewer| viewer.expiry) {
            expiry.abort();
        }
        remove_unused(&mut desktops, uid);
    }

    /// Who is connected to the desktop, in the order in which they came.
    pub(super) fn viewers(&self, uid: &Uid) -> Vec<Viewer> {
        let desktops = lock(&self.desktops);
        let viewers = desktops.get(uid).map(|desktop| &desktop.viewers);
        viewers
            .into_iter()
            .flatten()
            .map(|(id, viewer)| viewer.describe(*id))
            .collect()
    }

    /// Changes what one viewer may do; `None` when it is not there.
    pub(super) fn change_viewer(&self, uid: &Uid, id: u64, change: Change) -> Option<Viewer> {
        let desktops = lock(&self.desktops);
        let viewer = desktops.get(uid)?.viewers.get(&id)?;
        viewer.standing.set(change.apply(viewer.standing.rights()));
        Some(viewer.describe(id))
    }

    /// The takeover of a desktop that has a driver, where there is one; `None` where there is no driver.
    pub(super) fn takeover(&self, uid: &Uid) -> Option<Option<Takeover>> {
        let desktops = lock(&self.desktops);
        let desktop = desktops.get(uid).filter(|desktop| desktop.is_open);
        desktop.map(|desktop| desktop.takeover.clone())
    }

    /// Starts, changes or lifts the takeover of a desktop, and sets the rights of all its viewers by it.
    pub(super) fn set_takeover(&self, uid: &Uid, takeover: Option<Takeover>) {
        if let Some(desktop) = lock(&self.desktops).get_mut(uid) {
            desktop.set_takeover(takeover);
        }
    }

    /// Changes what those may do who have come by a share.
    pub(super) fn change_share(&self, changed: &Share) {
        let mut desktops = lock(&self.desktops);
        let Some(desktop) = desktops.get_mut(&changed.uid) else {
            return;
        };
        for viewer in desktop.viewers.values_mut() {
            if viewer.share.as_ref() == Some(&changed.id) {
                viewer.rights = changed.rights;
            }
        }
        for viewer in desktop.viewers.values() {
            if viewer.share.as_ref() == Some(&changed.id) {
                viewer.standing.set(desktop.rights_of(viewer));
            }
        }
    }

    /// Ends the connections of those who have come by a share, because it is revoked.
    pub(super) fn end_share(&self, uid: &Uid, id: &str) {
        let desktops = lock(&self.desktops);
        let viewers = desktops.get(uid).map(|desktop| &desktop.viewers);
        for viewer in viewers.into_iter().flat_map(BTreeMap::values) {
            if viewer.share.as_deref() == Some(id) {
                viewer.standing.end(EndReason::ShareRevoked);
            }
        }
    }
}

/// What a client without a name gets by a share, while the desktop has this takeover.
pub(super) fn rights_by(share: &Share, takeover: Option<&Takeover>) -> Rights {
    limited(share.rights, takeover, Some(&share.id), None)
}

/// What is left of an address's rights.
fn limited(
    rights: Rights,
    takeover: Option<&Takeover>,
    share: Option<&str>,
    client: Option<&ClientName>,
) -> Rights {
    match takeover {
        Some(takeover) if !takeover.spares(share, client) => Rights::of(Role::View),
        Some(_) | None => rights,
    }
}

/// Ends a connection when the share it came by expires.
fn end_at(standing: Arc<Standing>, at: Timestamp) -> AbortHandle {
    let left = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
    let timer = async move {
        tokio::time::sleep(left).await;
        standing.end(EndReason::ShareExpired);
    };
    tokio::spawn(timer).abort_handle()
}

fn remove_unused(desktops: &mut HashMap<Uid, Desktop>, uid: &Uid) {
    let is_unused = |desktop: &Desktop| !desktop.is_open && desktop.viewers.is_empty();
    if desktops.get(uid).is_some_and(is_unused) {
        desktops.remove(uid);
    }
}

// A panic while one is held cannot leave more than an entry that leads nowhere: go on with it.
fn lock<T>(inner: &Mutex<T>) -> MutexGuard<'_, T> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desktop {
    fn set_takeover(&mut self, takeover: Option<Takeover>) {
        self.takeover = takeover;
        for viewer in self.viewers.values() {
            viewer.standing.set(self.rights_of(viewer));
        }
    }

    fn rights_of(&self, viewer: &Connected) -> Rights {
        limited(
            viewer.rights,
            self.takeover.as_ref(),
            viewer.share.as_deref(),
            viewer.client.as_ref(),
        )
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
