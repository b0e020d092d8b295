//! What is only seen of desktops, and written to the store in batches: nothing waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::Uid;
use crate::engine::InstanceId;
use crate::store::{Note, Store, StoreError};

/// How long notes are gathered.
const PERIOD: Duration = Duration::from_secs(2);

/// What is to be written next.
pub(super) struct Notes {
    store: Arc<dyn Store>,
    pending: Mutex<Pending>,
    added: Notify,
    /// Held while they are written.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Clone, Default)]
struct Pending {
    used: HashMap<Uid, Timestamp>,
    ready: HashMap<InstanceId, Timestamp>,
}

impl Notes {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            pending: Mutex::default(),
            added: Notify::new(),
            writing: tokio::sync::Mutex::default(),
        }
    }

    /// The desktop has or had a viewer now.
    pub(super) fn used(&self, uid: &Uid) {
        self.lock().used.insert(uid.clone(), Timestamp::now());
        self.added.notify_one();
    }

    /// The run answers since now.
    pub(super) fn ready(&self, instance: &InstanceId) {
        self.lock().ready.insert(instance.clone(), Timestamp::now());
        self.added.notify_one();
    }

    /// Writes what there is, again and again, for as long as it is polled.
    pub(super) async fn write_behind(&self) {
        loop {
            self.added.notified().await;
            tokio::time::sleep(PERIOD).await;
            // It is in the log, and tried again.
            let _ = self.flush().await;
        }
    }

    /// Writes what there is. What cannot be written stays.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn flush(&self) -> Result<(), StoreError> {
        let _turn = self.writing.lock().await;
        let pending = std::mem::take(&mut *self.lock());
        let Pending { used, ready } = pending.clone();
        let used = used.into_iter().map(|(uid, at)| Note::Used(uid, at));
        let ready = ready.into_iter().map(|(id, at)| Note::Ready(id, at));
        let notes: Vec<Note> = used.chain(ready).collect();
        if notes.is_empty() {
            return Ok(());
        }
        let written = self.store.note(&notes).await;
        if let Err(error) = &written {
            tracing::warn!(%error, "when desktops were used last could not be written yet");
            self.lock().put_back(pending);
            self.added.notify_one();
        }
        written
    }

    // Every change is one step, so it is sound also after a panic elsewhere.
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    /// What is newer counts.
    fn put_back(&mut self, older: Self) {
        for (uid, at) in older.used {
            self.used.entry(uid).or_insert(at);
        }
        for (id, at) in older.ready {
            self.ready.entry(id).or_insert(at);
        }
    }
}
