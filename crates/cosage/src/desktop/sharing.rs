//! What the owner of a desktop decides about who may do what: kept in the store and in force at once.

use jiff::Timestamp;

use super::Uid;
use super::access::{self, Change, ClientName, Share, Takeover, Token, Viewer};
use super::error::DesktopError;
use super::events::Kind;
use super::failure::FailReason;
use super::lease::Lease;
use super::lifecycle::Holder;
use super::manager::Manager;
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
    Store(StoreError),
}

impl From<StoreError> for SharingError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::UnknownDesktop(uid) => DesktopError::UnknownDesktop(uid).into(),
            error => Self::Store(error),
        }
    }
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
            | DesktopError::Files(_)
            | DesktopError::InUse(_)
            | DesktopError::MeasurementTimeout(_)
            | DesktopError::HomeClaimed(_) => GuestError::Failed,
        };
        Self::Guest(error)
    }
}

impl Manager {
    /// Makes a further address of the desktop. The answer has the only copy of its token.
    ///
    /// # Errors
    /// See [`SharingError`].
    pub async fn share(
        &self,
        uid: &Uid,
        rights: Rights,
        expires: Option<Timestamp>,
    ) -> Result<(Share, Token), SharingError> {
        self.can_hold(uid, rights).await?;
        let _changing = self.context.access.changing(uid).await;
        let store = &self.context.store;
        let now = Timestamp::now();
        let shares = store.shares(uid).await?;
        let in_force = shares.iter().filter(|share| !share.has_expired(now));
        if in_force.count() >= SHARES_MAX {
            return Err(SharingError::TooMany);
        }
        let share = Share {
            id: uuid::Uuid::new_v4().to_string(),
            uid: uid.clone(),
            rights,
            created_at: Timestamp::now(),
            expires,
        };
        let token = Token::random();
        store.add_share(&share, &token.hash()).await?;
        tracing::info!(%uid, share = share.id, role = rights.role.as_str(), "shared");
        Ok((share, token))
    }

    /// The desktop's shares, oldest first.
    ///
    /// # Errors
    /// [`DesktopError::UnknownDesktop`], or the store's.
    pub async fn shares(&self, uid: &Uid) -> Result<Vec<Share>, SharingError> {
        self.known(uid).await?;
        let now = Timestamp::now();
        let mut shares = self.context.store.shares(uid).await?;
        shares.retain(|share| !share.has_expired(now));
        Ok(shares)
    }

    /// The share that an address belongs to.
    ///
    /// # Errors
    /// [`SharingError::UnknownShare`], or the store's.
    pub async fn resolve(&self, token: &Token) -> Result<Share, SharingError> {
        let share = self.context.store.share_by_token(&token.hash()).await?;
        share
            .filter(|share| !share.has_expired(Timestamp::now()))
            .ok_or(SharingError::UnknownShare)
    }

    async fn known_share(&self, uid: &Uid, id: &str) -> Result<Share, SharingError> {
        let shares = self.shares(uid).await?;
        let share = shares.into_iter().find(|share| share.id == id);
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
        let _changing = self.context.access.changing(uid).await;
        let mut share = self.known_share(uid, id).await?;
        share.rights = change.apply(share.rights);
        self.can_hold(uid, share.rights).await?;
        self.context.store.change_share(&share).await?;
        self.context.access.change_share(&share);
        Ok(share)
    }

    /// Ends a share and the connections of those who came by it.
    ///
    /// # Errors
    /// See [`SharingError`]. When the store does not take it, the share stays, and those connections end all the same.
    pub async fn revoke(&self, uid: &Uid, id: &str) -> Result<(), SharingError> {
        let (manager, uid, id) = (self.clone(), uid.clone(), id.to_owned());
        // It goes on when the caller does not wait for it.
        let revoked = tokio::spawn(async move {
            let _changing = manager.context.access.changing(&uid).await;
            manager.known_share(&uid, &id).await?;
            // At once, and those who connect while the store is at it right after.
            manager.context.access.end_share(&uid, &id);
            let deleted = manager.context.store.delete_share(&uid, &id).await;
            manager.context.access.end_share(&uid, &id);
            deleted?;
            tracing::info!(%uid, share = id, "no longer shared");
            Ok(())
        });
        let lost = |_| Err(DesktopError::Failed(FailReason::Internal).into());
        revoked.await.unwrap_or_else(lost)
    }

    /// Who is connected to the desktop, in the order in which they came.
    ///
    /// # Errors
    /// [`DesktopError::UnknownDesktop`], or the store's.
    pub async fn viewers(&self, uid: &Uid) -> Result<Vec<Viewer>, SharingError> {
        self.known(uid).await?;
        Ok(self.context.access.viewers(uid))
    }

    /// Changes what one viewer may do from now on.
    ///
    /// # Errors
    /// See [`SharingError`].
    pub async fn change_viewer(
        &self,
        uid: &Uid,
        id: u64,
        change: Change,
    ) -> Result<Viewer, SharingError> {
        self.known(uid).await?;
        let viewer = self.context.access.change_viewer(uid, id, change);
        viewer.ok_or(SharingError::UnknownViewer(id))
    }

    /// Takes control from all viewers, those who connect later included, until `None` lifts it: then each may do again
    /// what its address gives.
    ///
    /// # Errors
    /// See [`SharingError`]. When it could not be kept it is in force all the same, for as long as anything of the desktop
    /// runs.
    pub async fn set_takeover(
        &self,
        uid: &Uid,
        takeover: Option<Takeover>,
    ) -> Result<Vec<Viewer>, SharingError> {
        let _changing = self.context.access.changing(uid).await;
        let view = self.view(uid).await?;
        if let Some(share) = takeover.as_ref().and_then(Takeover::share) {
            self.known_share(uid, share).await?;
        }
        let is_new = self.takeover_of(&view) != takeover;
        self.context.access.set_takeover(uid, takeover.clone());
        let kept = self
            .context
            .store
            .set_takeover(uid, takeover.as_ref())
            .await;
        if is_new && !matches!(kept, Err(StoreError::UnknownDesktop(_))) {
            tracing::info!(%uid, taken = takeover.is_some(), "control was taken from all viewers, or given back");
            self.context.events.publish(Kind::Takeover, &view);
        }
        kept?;
        Ok(self.context.access.viewers(uid))
    }

    /// What a client without a name gets by this share at this moment.
    ///
    /// # Errors
    /// The store's.
    pub async fn rights_by(&self, share: &Share) -> Result<Rights, SharingError> {
        let view = self.view(&share.uid).await?;
        Ok(access::rights_by(share, self.takeover_of(&view).as_ref()))
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
        let Share { uid, .. } = self.resolve(token).await?;
        let lease = self.lease(&uid, stream, Holder::Guest).await;
        let lease = lease.map_err(SharingError::for_guest)?;
        // It may have ended, or changed, while its desktop was waited for.
        let _changing = self.context.access.changing(&uid).await;
        let share = self.resolve(token).await?;
        let access = &self.context.access;
        Ok(access.admit(&uid, Some(&share), stream, client, lease))
    }

    /// Whether somebody with these rights can be let in at all; an app that is not in the catalogue any more is
    /// refused when they come.
    async fn can_hold(&self, uid: &Uid, rights: Rights) -> Result<(), SharingError> {
        let view = self.view(uid).await?;
        let app = self.context.app(&view.record.app);
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
