//! What the owner of a desktop decides about who may do what: kept in the store and in force at once.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::AbortHandle;

use super::Uid;
use super::access::{Change, ClientName, Share, Takeover, Token, Viewer};
use super::events::Kind;
use super::failure::FailReason;
use super::lease::{EndReason, Lease};
use super::lifecycle::Holder;
use super::manager::{DesktopError, Manager, Shared};
use super::rights::Rights;
use crate::engine::{Presence, Protocol};
use crate::store::StoreError;

/// How many shares one desktop may have.
pub const SHARES_MAX: usize = 100;

/// Why a share or a viewer could not be had or changed.
#[derive(Debug, thiserror::Error)]
pub enum SharingError {
    /// About the desktop itself.
    #[error(transparent)]
    Desktop(#[from] DesktopError),
    /// No such share, or not any more.
    #[error("there is no such share; it may have expired or been withdrawn")]
    UnknownShare,
    /// A guest cannot be connected.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// Nobody with this number is connected.
    #[error("no viewer {0} is connected to this desktop; GET …/viewers lists those who are")]
    UnknownViewer(u64),
    /// Viewers of this app cannot be held to less than everything.
    #[error(
        "viewers of this app's stream '{0}' can only have the role 'control' with the clipboard 'both': nothing can be \
         kept out of its protocol, only out of 'rfb'"
    )]
    NotHeld(String),
    /// It has as many as it may have.
    #[error("this desktop has {SHARES_MAX} shares already; delete one of them")]
    TooMany,
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why somebody who came by a share cannot be connected. A guest knows neither the desktop's name, by which there is more
/// to be had, nor what the host is made of, so this has nothing of either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuestError {
    /// The desktop is not running.
    #[error("the desktop is not running; connect again when its owner has started it")]
    NotRunning,
    /// The desktop has no such stream.
    #[error("the desktop has no stream of this name; it has: {}", .0.join(", "))]
    UnknownStream(Vec<String>),
    /// The desktop was about to run, and does not.
    #[error("the desktop could not be started; its owner can see why")]
    Failed,
    /// The service is shutting down.
    #[error("the service is shutting down; connect again in a moment")]
    ShuttingDown,
}

impl SharingError {
    /// The same, of a desktop that a guest asked for.
    fn for_guest(error: DesktopError) -> Self {
        let error = match error {
            // Deleted at this moment, and its shares with it.
            DesktopError::UnknownDesktop(_) => return Self::UnknownShare,
            DesktopError::NotRunning(_) => GuestError::NotRunning,
            DesktopError::UnknownStream { known, .. } => GuestError::UnknownStream(known),
            DesktopError::Failed(FailReason::ShuttingDown) => GuestError::ShuttingDown,
            DesktopError::Failed(_)
            | DesktopError::UnknownApp(_)
            | DesktopError::AppRequired(_)
            | DesktopError::Environment(_)
            | DesktopError::UnknownKey(_)
            | DesktopError::Files(_) => GuestError::Failed,
        };
        Self::Guest(error)
    }
}

impl Manager {
    /// Makes a further address of the desktop. The answer has the only copy of its token that is handed out.
    ///
    /// # Errors
    /// See [`SharingError`].
    pub async fn share(
        &self,
        uid: &Uid,
        rights: Rights,
        expires: Option<Timestamp>,
    ) -> Result<Share, SharingError> {
        self.known(uid)?;
        self.can_hold(uid, rights)?;
        let _changing = self.shared.access.changing.lock().await;
        if self.shared.access.shares(uid).len() >= SHARES_MAX {
            return Err(SharingError::TooMany);
        }
        let share = Share {
            id: uuid::Uuid::new_v4().to_string(),
            uid: uid.clone(),
            token: Token::random(),
            rights,
            created_at: Timestamp::now(),
            expires,
        };
        let kept = self.shared.store.put_share(&share).await;
        if kept.is_ok() {
            self.shared.put_in_force(share.clone());
        }
        self.still_known(uid)?;
        kept?;
        tracing::info!(%uid, share = share.id, role = rights.role.as_str(), "shared");
        Ok(share)
    }

    /// The desktop's shares, oldest first.
    ///
    /// # Errors
    /// [`DesktopError::UnknownDesktop`].
    pub fn shares(&self, uid: &Uid) -> Result<Vec<Share>, SharingError> {
        self.known(uid)?;
        Ok(self.shared.access.shares(uid))
    }

    /// The share that an address belongs to.
    ///
    /// # Errors
    /// [`SharingError::UnknownShare`].
    pub fn resolve(&self, token: &Token) -> Result<Share, SharingError> {
        let share = self.shared.access.resolve(token);
        share.ok_or(SharingError::UnknownShare)
    }

    /// Changes what those may do who come, or have come, by a share.
    ///
    /// # Errors
    /// See [`SharingError`].
    pub async fn change_share(
        &self,
        uid: &Uid,
        id: &str,
        change: Change,
    ) -> Result<Share, SharingError> {
        self.known(uid)?;
        let _changing = self.shared.access.changing.lock().await;
        let share = self.shared.access.share(uid, id);
        let mut share = share.ok_or(SharingError::UnknownShare)?;
        share.rights = change.apply(share.rights);
        self.can_hold(uid, share.rights)?;
        let kept = self.shared.store.put_share(&share).await;
        if kept.is_ok() {
            self.shared.access.change_share(&share);
        }
        self.still_known(uid)?;
        kept?;
        Ok(share)
    }

    /// Ends a share and the connections of those who came by it.
    ///
    /// # Errors
    /// See [`SharingError`]. When it could not be deleted from the store it is in force no more all the same, until
    /// the service starts again.
    pub async fn revoke(&self, uid: &Uid, id: &str) -> Result<(), SharingError> {
        self.known(uid)?;
        let _changing = self.shared.access.changing.lock().await;
        if self.shared.access.share(uid, id).is_none() {
            return Err(SharingError::UnknownShare);
        }
        self.shared.access.remove(uid, id, EndReason::ShareRevoked);
        tracing::info!(%uid, share = id, "no longer shared");
        Ok(self.shared.store.delete_share(id).await?)
    }

    /// Who is connected to the desktop, in the order in which they came.
    ///
    /// # Errors
    /// [`DesktopError::UnknownDesktop`].
    pub fn viewers(&self, uid: &Uid) -> Result<Vec<Viewer>, SharingError> {
        self.known(uid)?;
        Ok(self.shared.access.viewers(uid))
    }

    /// Changes what one viewer may do from now on.
    ///
    /// # Errors
    /// See [`SharingError`].
    pub fn change_viewer(
        &self,
        uid: &Uid,
        id: u64,
        change: Change,
    ) -> Result<Viewer, SharingError> {
        self.known(uid)?;
        let viewer = self.shared.access.change_viewer(uid, id, change);
        viewer.ok_or(SharingError::UnknownViewer(id))
    }

    /// Takes control from all viewers, those who connect later included, until `None` lifts it: then each may do again
    /// what its address gives.
    ///
    /// # Errors
    /// See [`SharingError`]. When it could not be kept it is in force all the same, until the service starts again.
    pub async fn set_takeover(
        &self,
        uid: &Uid,
        takeover: Option<Takeover>,
    ) -> Result<Vec<Viewer>, SharingError> {
        self.known(uid)?;
        let _changing = self.shared.access.changing.lock().await;
        if let Some(share) = takeover.as_ref().and_then(Takeover::share)
            && self.shared.access.share(uid, share).is_none()
        {
            return Err(SharingError::UnknownShare);
        }
        let is_new = self.shared.access.takeover(uid) != takeover;
        self.shared.access.set_takeover(uid, takeover.clone());
        let kept = self.shared.store.set_takeover(uid, takeover.as_ref()).await;
        self.still_known(uid)?;
        if is_new {
            tracing::info!(%uid, taken = takeover.is_some(), "control was taken from all viewers, or given back");
            if let Some(view) = self.view(uid) {
                self.shared.events.publish(Kind::Takeover, &view);
            }
        }
        kept?;
        Ok(self.shared.access.viewers(uid))
    }

    /// The takeover of the desktop, while there is one.
    pub fn takeover(&self, uid: &Uid) -> Option<Takeover> {
        self.shared.access.takeover(uid)
    }

    /// What a client without a name gets by this share at this moment.
    pub fn rights_by(&self, share: &Share) -> Rights {
        self.shared.access.rights_by(share)
    }

    /// As [`Manager::acquire`], by a share's address: it waits for a desktop that starts or restarts anyway, and changes
    /// nothing of what becomes of it.
    ///
    /// # Errors
    /// See [`SharingError`].
    pub async fn acquire_shared(
        &self,
        token: &Token,
        stream: &str,
        client: Option<ClientName>,
    ) -> Result<Lease, SharingError> {
        let Share { uid, .. } = self.resolve(token)?;
        let lease = self.lease(&uid, stream, Holder::Guest).await;
        let lease = lease.map_err(SharingError::for_guest)?;
        // It may have ended while its desktop was waited for.
        self.resolve(token)?;
        let lease = self
            .shared
            .access
            .admit(&uid, Some(token), stream, client, lease);
        lease.ok_or(SharingError::UnknownShare)
    }

    fn known(&self, uid: &Uid) -> Result<(), DesktopError> {
        match self.shared.get(uid) {
            Some(_) => Ok(()),
            None => Err(DesktopError::UnknownDesktop(uid.clone())),
        }
    }

    /// Takes out of force what was decided of a desktop that was forgotten meanwhile: it came too late to go with it.
    fn still_known(&self, uid: &Uid) -> Result<(), DesktopError> {
        self.known(uid)
            .inspect_err(|_| self.shared.access.forget(uid))
    }

    /// Whether somebody with these rights can be let in at all; an app that is not in the catalogue any more is
    /// refused when they come.
    fn can_hold(&self, uid: &Uid, rights: Rights) -> Result<(), SharingError> {
        let app = self
            .view(uid)
            .and_then(|view| self.shared.app(&view.record.app));
        let Some(app) = app.filter(|_| !rights.are_full()) else {
            return Ok(());
        };
        let not_held = app
            .streams
            .iter()
            .find(|(_, spec)| spec.presence == Presence::Viewer && spec.protocol != Protocol::Rfb);
        match not_held {
            Some((name, _)) => Err(SharingError::NotHeld(name.clone())),
            None => Ok(()),
        }
    }
}

impl Shared {
    /// Takes up what was kept.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub(super) async fn load_access(self: &Arc<Self>) -> Result<(), StoreError> {
        let now = Timestamp::now();
        for share in self.store.load_shares().await? {
            if share.has_expired(now) {
                self.store.delete_share(&share.id).await?;
            } else {
                self.put_in_force(share);
            }
        }
        for (uid, takeover) in self.store.load_takeovers().await? {
            self.access.set_takeover(&uid, Some(takeover));
        }
        Ok(())
    }

    fn put_in_force(self: &Arc<Self>, share: Share) {
        let timer = share.expires.map(|at| self.end_at(&share, at));
        self.access.add(share, timer);
    }

    /// Ends a share when its time is over.
    fn end_at(self: &Arc<Self>, share: &Share, at: Timestamp) -> AbortHandle {
        let left = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
        let (shared, uid, id) = (Arc::clone(self), share.uid.clone(), share.id.clone());
        let ended = self.ended.clone();
        let timer = async move {
            tokio::time::sleep(left).await;
            shared.access.remove(&uid, &id, EndReason::ShareExpired);
            tracing::info!(%uid, share = id, "a share has expired");
            if let Err(error) = shared.store.delete_share(&id).await {
                // The next start finds that it has expired.
                tracing::error!(%uid, %error, "an expired share could not be deleted");
            }
        };
        let task = tokio::spawn(async move { ended.run_until_cancelled(timer).await });
        task.abort_handle()
    }
}
