//! A store that ends with the process: for tests and measurements.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Cursor, ENDED_RUNS_KEPT, JOURNAL_KEPT, Note, Query, Sort, Store, StoreError};
use crate::desktop::Uid;
use crate::desktop::access::{Share, Takeover, TokenHash};
use crate::desktop::record::{
    DesktopRecord, EndCause, Failure, JournalEntry, JournalKind, NewRun, RunEnd, RunRecord,
    StoredDesktop,
};
use crate::engine::InstanceId;

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    owner: String,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    desktops: BTreeMap<Uid, StoredDesktop>,
    /// By desktop, the oldest first.
    runs: BTreeMap<Uid, Vec<RunRecord>>,
    shares: BTreeMap<Uid, Vec<(Share, TokenHash)>>,
    journal: Vec<JournalEntry>,
    journaled: u64,
    from_before: HashSet<InstanceId>,
}

const REPLICA: &str = "memory";

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self {
            owner: uuid::Uuid::new_v4().to_string(),
            tables: Mutex::default(),
        }
    }

    /// Adds a live run of another process, as a shared store may have it.
    pub fn run_elsewhere(&self, run: RunRecord) {
        let mut tables = self.tables();
        if let Some(desktop) = tables.desktops.get_mut(&run.uid) {
            desktop.last_run = Some(run.clone());
        }
        tables.runs.entry(run.uid.clone()).or_default().push(run);
    }

    /// Lets an instance be one that a version without runs started.
    pub fn add_from_before(&self, instance: InstanceId) {
        self.tables().from_before.insert(instance);
    }

    /// No operation on the tables can be interrupted half-way, so that a poisoned lock is sound.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn require(&mut self, uid: &Uid) -> Result<&mut StoredDesktop, StoreError> {
        let desktop = self.desktops.get_mut(uid);
        desktop.ok_or_else(|| StoreError::UnknownDesktop(uid.clone()))
    }

    fn write(&mut self, kind: JournalKind, uid: &Uid, detail: Option<String>) {
        self.write_at(Timestamp::now(), kind, uid, detail);
    }

    fn write_at(&mut self, at: Timestamp, kind: JournalKind, uid: &Uid, detail: Option<String>) {
        self.journaled += 1;
        self.journal.push(JournalEntry {
            number: self.journaled,
            at,
            kind,
            uid: uid.clone(),
            detail,
        });
    }

    /// Ends a live run.
    fn end(&mut self, instance: &InstanceId, end: RunEnd) {
        let mut runs = self.runs.values_mut().flatten();
        let live = runs.find(|run| run.instance == *instance && run.end.is_none());
        let Some(run) = live else { return };
        run.end = Some(end);
        let run = run.clone();
        if let Some(desktop) = self.desktops.get_mut(&run.uid) {
            desktop.used_at = desktop.used_at.max(end.at);
            desktop.last_run = Some(run.clone());
        }
        let why = Some(end.why.to_string());
        self.write_at(end.at, JournalKind::RunEnded, &run.uid, why);
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn owner(&self) -> &str {
        &self.owner
    }

    fn replica(&self) -> &str {
        REPLICA
    }

    async fn desktop(&self, uid: &Uid) -> Result<Option<StoredDesktop>, StoreError> {
        Ok(self.tables().desktops.get(uid).cloned())
    }

    async fn desktops(&self, query: &Query) -> Result<Vec<StoredDesktop>, StoreError> {
        let tables = self.tables();
        let mut desktops: Vec<_> = tables
            .desktops
            .values()
            .filter(|desktop| query.selects(desktop))
            .collect();
        desktops.sort_by(|one, other| query.sort.compare(one, other));
        let page = desktops.into_iter().take(query.limit);
        Ok(page.cloned().collect())
    }

    async fn count(&self, most: usize) -> Result<usize, StoreError> {
        Ok(self.tables().desktops.len().min(most))
    }

    async fn begin_run(
        &self,
        new: Option<&DesktopRecord>,
        run: &NewRun,
    ) -> Result<u64, StoreError> {
        let mut tables = self.tables();
        match new {
            Some(new) if tables.desktops.contains_key(&new.uid) => {
                return Err(StoreError::Exists(new.uid.clone()));
            }
            Some(_) => {}
            None => drop(tables.require(&run.uid)?),
        }
        let live = tables.runs.get(&run.uid).and_then(|runs| {
            let live = runs.iter().find(|run| run.end.is_none())?;
            Some((live.instance.clone(), live.replica.clone()))
        });
        match live {
            Some((_, replica)) if replica != REPLICA => {
                return Err(StoreError::DrivenElsewhere(run.uid.clone()));
            }
            Some((instance, _)) => {
                let end = RunEnd {
                    at: run.begun_at,
                    why: EndCause::Lost,
                };
                tables.end(&instance, end);
            }
            None => {}
        }
        if let Some(new) = new {
            let desktop = StoredDesktop::new(new.clone());
            tables.desktops.insert(new.uid.clone(), desktop);
            let app = Some(new.app.clone());
            tables.write_at(new.created_at, JournalKind::Created, &new.uid, app);
        }
        let runs = tables.runs.entry(run.uid.clone()).or_default();
        let epoch = runs.last().map_or(1, |run| run.epoch + 1);
        runs.retain(|run| run.epoch + ENDED_RUNS_KEPT >= epoch);
        let run = run.clone().begun(REPLICA, epoch);
        runs.push(run.clone());
        let desktop = tables.require(&run.uid)?;
        desktop.used_at = desktop.used_at.max(run.begun_at);
        desktop.failure = None;
        desktop.announced_at = None;
        desktop.last_run = Some(run.clone());
        let cause = Some(run.cause.to_string());
        tables.write_at(run.begun_at, JournalKind::RunBegun, &run.uid, cause);
        Ok(epoch)
    }

    async fn end_run(&self, instance: &InstanceId, end: &RunEnd) -> Result<(), StoreError> {
        self.tables().end(instance, *end);
        Ok(())
    }

    async fn live_runs(&self) -> Result<Vec<RunRecord>, StoreError> {
        let tables = self.tables();
        let runs = tables.runs.values().flatten();
        Ok(runs.filter(|run| run.end.is_none()).cloned().collect())
    }

    async fn set_failure(&self, uid: &Uid, failure: Option<&Failure>) -> Result<(), StoreError> {
        let mut tables = self.tables();
        if let Some(desktop) = tables.desktops.get_mut(uid) {
            desktop.failure = failure.cloned();
            if let Some(failure) = failure {
                tables.write_at(failure.at, JournalKind::Failed, uid, None);
            }
        }
        Ok(())
    }

    async fn note(&self, notes: &[Note]) -> Result<(), StoreError> {
        let mut tables = self.tables();
        for note in notes {
            match note {
                Note::Used(uid, at) => {
                    if let Some(desktop) = tables.desktops.get_mut(uid) {
                        desktop.used_at = desktop.used_at.max(*at);
                        desktop.announced_at = None;
                    }
                }
                Note::Key(instance, key) => {
                    let Tables { runs, desktops, .. } = &mut *tables;
                    let mut all = runs.values_mut().flatten();
                    let Some(run) = all.find(|run| run.instance == *instance) else {
                        continue;
                    };
                    run.key = *key;
                    let desktop = desktops.get_mut(&run.uid);
                    if let Some(last) = desktop.and_then(|desktop| desktop.last_run.as_mut())
                        && last.instance == *instance
                    {
                        last.key = *key;
                    }
                }
                Note::Ready(instance, at) => {
                    let Tables { runs, desktops, .. } = &mut *tables;
                    let mut all = runs.values_mut().flatten();
                    let Some(run) = all.find(|run| run.instance == *instance) else {
                        continue;
                    };
                    run.ready_at.get_or_insert(*at);
                    if let Some(desktop) = desktops.get_mut(&run.uid)
                        && let Some(last) = &mut desktop.last_run
                        && last.instance == *instance
                    {
                        last.ready_at.get_or_insert(*at);
                    }
                }
            }
        }
        Ok(())
    }

    async fn delete(&self, uid: &Uid) -> Result<(), StoreError> {
        let mut tables = self.tables();
        tables.runs.remove(uid);
        tables.shares.remove(uid);
        if tables.desktops.remove(uid).is_some() {
            tables.write(JournalKind::Deleted, uid, None);
        }
        Ok(())
    }

    async fn unused(
        &self,
        app: &str,
        before: Timestamp,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<StoredDesktop>, StoreError> {
        let place = |desktop: &StoredDesktop| {
            let Cursor { at, uid } = Cursor::after(desktop, Sort::Used);
            (at, uid)
        };
        let after = after.map(|after| (after.at, after.uid.clone()));
        let tables = self.tables();
        let mut unused: Vec<_> = tables
            .desktops
            .values()
            .filter(|desktop| desktop.record.app == app && desktop.used_at < before)
            .filter(|desktop| desktop.live_run().is_none())
            .filter(|desktop| after.as_ref().is_none_or(|after| place(desktop) > *after))
            .collect();
        unused.sort_by_key(|desktop| place(desktop));
        Ok(unused.into_iter().take(limit).cloned().collect())
    }

    async fn announce_deletion(&self, uid: &Uid, at: Timestamp) -> Result<(), StoreError> {
        let mut tables = self.tables();
        if let Some(desktop) = tables.desktops.get_mut(uid) {
            desktop.announced_at = Some(at);
            tables.write(JournalKind::DeletionAnnounced, uid, None);
        }
        Ok(())
    }

    async fn is_from_before(&self, instance: &InstanceId) -> Result<bool, StoreError> {
        let tables = self.tables();
        let has_run = |run: &RunRecord| run.instance == *instance;
        Ok(tables.from_before.contains(instance) && !tables.runs.values().flatten().any(has_run))
    }

    async fn end_upgrade(&self) -> Result<(), StoreError> {
        self.tables().from_before.clear();
        Ok(())
    }

    async fn shares(&self, uid: &Uid) -> Result<Vec<Share>, StoreError> {
        let tables = self.tables();
        let shares = tables.shares.get(uid).into_iter().flatten();
        let mut shares: Vec<_> = shares.map(|(share, _)| share.clone()).collect();
        shares.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        Ok(shares)
    }

    async fn share_by_token(&self, token: &TokenHash) -> Result<Option<Share>, StoreError> {
        let tables = self.tables();
        let mut shares = tables.shares.values().flatten();
        let found = shares.find(|(_, hash)| hash == token);
        Ok(found.map(|(share, _)| share.clone()))
    }

    async fn add_share(&self, share: &Share, token: &TokenHash) -> Result<(), StoreError> {
        let mut tables = self.tables();
        tables.require(&share.uid)?;
        let shares = tables.shares.entry(share.uid.clone()).or_default();
        shares.push((share.clone(), token.clone()));
        let id = Some(share.id.clone());
        tables.write(JournalKind::ShareCreated, &share.uid, id);
        Ok(())
    }

    async fn change_share(&self, changed: &Share) -> Result<(), StoreError> {
        let mut tables = self.tables();
        let mut shares = tables.shares.get_mut(&changed.uid).into_iter().flatten();
        if let Some((share, _)) = shares.find(|(share, _)| share.id == changed.id) {
            share.rights = changed.rights;
            let id = Some(changed.id.clone());
            tables.write(JournalKind::ShareChanged, &changed.uid, id);
        }
        Ok(())
    }

    async fn delete_share(&self, uid: &Uid, id: &str) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let Some(shares) = tables.shares.get_mut(uid) else {
            return Ok(false);
        };
        let before = shares.len();
        shares.retain(|(share, _)| share.id != id);
        let deleted = shares.len() < before;
        if deleted {
            tables.write(JournalKind::ShareRevoked, uid, Some(id.to_owned()));
        }
        Ok(deleted)
    }

    async fn delete_expired_shares(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut tables = self.tables();
        let mut expired = Vec::new();
        for (share, _) in tables.shares.values_mut().flatten() {
            if share.has_expired(now) {
                expired.push((share.uid.clone(), share.id.clone()));
            }
        }
        for (uid, id) in expired {
            if let Some(shares) = tables.shares.get_mut(&uid) {
                shares.retain(|(share, _)| share.id != id);
            }
            tables.write(JournalKind::ShareExpired, &uid, Some(id));
        }
        Ok(())
    }

    async fn set_takeover(&self, uid: &Uid, takeover: Option<&Takeover>) -> Result<(), StoreError> {
        let mut tables = self.tables();
        let desktop = tables.require(uid)?;
        let kind = match takeover {
            Some(_) => JournalKind::ControlTaken,
            None => JournalKind::ControlReturned,
        };
        if desktop.takeover.as_ref() == takeover {
            return Ok(());
        }
        desktop.takeover = takeover.cloned();
        tables.write(kind, uid, None);
        Ok(())
    }

    async fn journal(
        &self,
        uid: Option<&Uid>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        let tables = self.tables();
        let newest_first = tables.journal.iter().rev();
        let wanted = newest_first
            .filter(|entry| uid.is_none_or(|uid| entry.uid == *uid))
            .filter(|entry| before.is_none_or(|before| entry.number < before));
        Ok(wanted.take(limit).cloned().collect())
    }

    async fn maintain(&self) -> Result<(), StoreError> {
        let mut tables = self.tables();
        let oldest = tables.journaled.saturating_sub(JOURNAL_KEPT);
        tables.journal.retain(|entry| entry.number > oldest);
        Ok(())
    }
}
