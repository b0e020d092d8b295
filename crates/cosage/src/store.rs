//! What outlives the process, and says what should be: desktops, their runs, who may do what to them, and what happened.

pub mod memory;
pub mod sqlite;

use std::cmp::Ordering;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::desktop::access::{Share, Takeover, TokenHash};
use crate::desktop::record::{
    DesktopRecord, Failure, JournalEntry, NewRun, RunEnd, RunRecord, StoredDesktop,
};
use crate::desktop::{StreamKey, Uid};
use crate::engine::InstanceId;

/// How many ended runs of a desktop are kept.
pub const ENDED_RUNS_KEPT: u64 = 20;

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The desktop does not exist, or was deleted meanwhile.
    #[error("the store has no desktop '{0}'")]
    UnknownDesktop(Uid),
    /// The desktop was created by another request.
    #[error("the desktop '{0}' exists already")]
    Exists(Uid),
    /// Another process drives a live run of the desktop.
    #[error("another process runs the desktop '{0}'")]
    DrivenElsewhere(Uid),
    /// It could not be read or written. The text names the next step.
    #[error("the store of desktops failed: {0}")]
    Failed(String),
}

/// Which desktops, in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Their order.
    pub sort: Sort,
    /// Where the page begins: after this desktop.
    pub after: Option<Cursor>,
    /// How many at most, 1 or more.
    pub limit: usize,
    /// Only those of this app.
    pub app: Option<String>,
    /// Only those whose name or app contains each word of this text; ASCII letters match in either case.
    pub text: Option<String>,
    /// Only those of which no run is live: that failed, or that did not.
    pub resting: Option<Resting>,
}

/// An order of desktops. Those that are equal in it are sorted by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// The newest first.
    #[default]
    Created,
    /// The one that was used last first.
    Used,
    /// By name.
    Uid,
}

/// A place in an order of desktops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The time that the order is by; of no meaning with [`Sort::Uid`].
    pub at: Timestamp,
    /// The name.
    pub uid: Uid,
}

/// What a desktop of which no run is live may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resting {
    /// Its last start did not fail.
    Asleep,
    /// Its last start failed.
    Failed,
}

/// What is only seen, and written in batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A desktop had a viewer at this time.
    Used(Uid, Timestamp),
    /// A run answers since this time.
    Ready(InstanceId, Timestamp),
    /// A run has another stream key than the one it began with.
    Key(InstanceId, StreamKey),
}

/// Where the truth about desktops is kept. Every change is on disk when its call returns, and happens as a whole or not at
/// all. One contract suite (`tests/store_contract`) holds every implementation to what is written here.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The name of this installation: made with the store, and kept in it. It labels the service's containers, so that
    /// two installations on one engine never touch each other's.
    fn owner(&self) -> &str;

    /// The name of this process among those that share the store. Where one process at a time has the store open, it
    /// is always the same, so that a process goes on with what the one before it left.
    fn replica(&self) -> &str;

    /// A desktop.
    async fn desktop(&self, uid: &Uid) -> Result<Option<StoredDesktop>, StoreError>;

    /// A page of desktops.
    async fn desktops(&self, query: &Query) -> Result<Vec<StoredDesktop>, StoreError>;

    /// How many desktops there are, counted up to `most`.
    async fn count(&self, most: usize) -> Result<usize, StoreError>;

    /// Begins a run, and creates its desktop where `new` is given. It clears the desktop's failure. A live run that this
    /// process drove before is ended as [`crate::desktop::record::EndCause::Lost`]: its end could not be written. Of the
    /// ended ones, [`ENDED_RUNS_KEPT`] are kept. Returns the run's epoch.
    ///
    /// [`StoreError::Exists`] when `new` is there already, [`StoreError::UnknownDesktop`] when without `new` the desktop
    /// is not there, [`StoreError::DrivenElsewhere`].
    async fn begin_run(&self, new: Option<&DesktopRecord>, run: &NewRun)
    -> Result<u64, StoreError>;

    /// Ends a run. One that is not there, or has ended, stays as it is, which is a success.
    async fn end_run(&self, instance: &InstanceId, end: &RunEnd) -> Result<(), StoreError>;

    /// All live runs, also of other processes.
    async fn live_runs(&self) -> Result<Vec<RunRecord>, StoreError>;

    /// Keeps why the last start failed, or with `None` that it does not count any more. A desktop that is not there is a
    /// success.
    async fn set_failure(&self, uid: &Uid, failure: Option<&Failure>) -> Result<(), StoreError>;

    /// Writes what was seen. What is not there any more, or is newer, stays as it is.
    async fn note(&self, notes: &[Note]) -> Result<(), StoreError>;

    /// Deletes a desktop, with its runs, shares and takeover. One that is not there is a success.
    async fn delete(&self, uid: &Uid) -> Result<(), StoreError>;

    /// Desktops of an app that were used last before a time and of which no run is live; those that were used earliest first,
    /// and equal ones by name. `after` is where a page begins: a place of [`Sort::Used`].
    async fn unused(
        &self,
        app: &str,
        before: Timestamp,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<StoredDesktop>, StoreError>;

    /// Keeps that the deletion of a desktop was announced, until it is used again.
    async fn announce_deletion(&self, uid: &Uid, at: Timestamp) -> Result<(), StoreError>;

    /// Whether an instance without a live run was started by a version of the service that did not write runs: it is taken
    /// over and not ended. Never, after [`Store::end_upgrade`].
    async fn is_from_before(&self, instance: &InstanceId) -> Result<bool, StoreError>;

    /// Every such instance has a run now, or has ended.
    async fn end_upgrade(&self) -> Result<(), StoreError>;

    /// The shares of a desktop, oldest first, the expired ones included.
    async fn shares(&self, uid: &Uid) -> Result<Vec<Share>, StoreError>;

    /// The share that has this token.
    async fn share_by_token(&self, token: &TokenHash) -> Result<Option<Share>, StoreError>;

    /// Keeps a new share. [`StoreError::UnknownDesktop`].
    async fn add_share(&self, share: &Share, token: &TokenHash) -> Result<(), StoreError>;

    /// Changes the rights of a share. One that is not there is a success.
    async fn change_share(&self, share: &Share) -> Result<(), StoreError>;

    /// Deletes a share. Says whether it was there.
    async fn delete_share(&self, uid: &Uid, id: &str) -> Result<bool, StoreError>;

    /// Deletes the shares that have expired.
    async fn delete_expired_shares(&self, now: Timestamp) -> Result<(), StoreError>;

    /// Keeps a desktop's takeover instead of an older one, or with `None` that there is none.
    /// [`StoreError::UnknownDesktop`].
    async fn set_takeover(&self, uid: &Uid, takeover: Option<&Takeover>) -> Result<(), StoreError>;

    /// The newest entries of the journal before the number `before`, newest first; `uid` asks for one desktop's only.
    /// The store adds an entry with each change that [`crate::desktop::record::JournalKind`] names.
    async fn journal(
        &self,
        uid: Option<&Uid>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, StoreError>;

    /// Does what keeps the store small and safe, once in a while: drops the oldest entries of a long journal, and keeps a
    /// backup where that is the store's business.
    async fn maintain(&self) -> Result<(), StoreError>;
}

/// How many entries the journal keeps at least.
pub const JOURNAL_KEPT: u64 = 100_000;

impl Query {
    /// The newest desktops, all kinds of them.
    pub fn newest(limit: usize) -> Self {
        Self {
            sort: Sort::default(),
            after: None,
            limit,
            app: None,
            text: None,
            resting: None,
        }
    }

    /// Whether a desktop is among those that are asked for, apart from the limit.
    pub fn selects(&self, desktop: &StoredDesktop) -> bool {
        let is_after = self.after.as_ref().is_none_or(|after| {
            let here = Cursor::after(desktop, self.sort);
            match self.sort {
                Sort::Uid => here.uid > after.uid,
                Sort::Created | Sort::Used => {
                    here.at < after.at || (here.at == after.at && here.uid > after.uid)
                }
            }
        });
        let record = &desktop.record;
        let has_app = self.app.as_ref().is_none_or(|app| record.app == *app);
        let has_text = self.text.as_ref().is_none_or(|text| {
            let text = text.to_ascii_lowercase();
            let contains = |field: &str, word| field.to_ascii_lowercase().contains(word);
            text.split_whitespace()
                .all(|word| contains(record.uid.as_str(), word) || contains(&record.app, word))
        });
        let rests = match self.resting {
            None => true,
            Some(Resting::Asleep) => desktop.live_run().is_none() && desktop.failure.is_none(),
            Some(Resting::Failed) => desktop.live_run().is_none() && desktop.failure.is_some(),
        };
        is_after && has_app && has_text && rests
    }
}

impl Sort {
    /// Which of two desktops comes first.
    pub fn compare(self, one: &StoredDesktop, other: &StoredDesktop) -> Ordering {
        let by_name = one.record.uid.cmp(&other.record.uid);
        match self {
            Self::Uid => by_name,
            Self::Created | Self::Used => {
                let time_of = |desktop| Cursor::after(desktop, self).at;
                time_of(other).cmp(&time_of(one)).then(by_name)
            }
        }
    }
}

impl Cursor {
    /// The place right after a desktop.
    pub fn after(desktop: &StoredDesktop, sort: Sort) -> Self {
        Self {
            at: match sort {
                Sort::Created | Sort::Uid => desktop.record.created_at,
                Sort::Used => desktop.used_at,
            },
            uid: desktop.record.uid.clone(),
        }
    }
}
