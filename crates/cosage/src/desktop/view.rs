//! What others see of a desktop without asking its driver.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::StreamKey;
use super::access::Takeover;
use super::end::EndReason;
use super::record::{DesktopRecord, Failure, StoredDesktop};
use super::retention::Unused;
use crate::engine::{Instance, InstanceId, StartStep};

/// Where a desktop is, for those who look on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing of it runs.
    Asleep,
    /// Its instance is being started.
    Starting,
    /// It answers.
    Ready,
    /// It is being ended.
    Stopping,
    /// It is being ended and will be started again, because somebody asked for it meanwhile.
    Restarting,
    /// Its last start failed.
    Failed,
    /// Its record and home are deleted: nobody who looks its name up finds it any more.
    Forgotten,
}

/// How far a start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The engine is at it.
    Engine(StartStep),
    /// Its instance runs and does not answer yet.
    Waiting,
}

/// A picture of a desktop at one moment, made by its driver after each change and read by
/// everybody else without waiting.
#[derive(Clone, Debug)]
pub struct View {
    /// What is remembered of it.
    pub record: Arc<DesktopRecord>,
    /// Where it is.
    pub phase: Phase,
    /// Since when it is there.
    pub since: Timestamp,
    /// How long it was not used; of meaning while nothing of it runs.
    pub unused: Unused,
    /// How far its start is, while it is [`Phase::Starting`] and the engine has the order.
    pub progress: Option<Progress>,
    /// Its stream key, while it has one.
    pub key: Option<StreamKey>,
    /// How many viewers hold a lease.
    pub viewers: usize,
    /// How many of them came by a share and keep nothing alive.
    pub guests: usize,
    /// When it will be stopped if nothing else happens, and why; `None` is "not by itself".
    pub until: Option<(Timestamp, EndReason)>,
    /// Control was taken from its viewers, as of when it was read from the store; see
    /// [`super::manager::Manager::takeover_of`].
    pub takeover: Option<Takeover>,
    /// When the last picture of it that is kept was taken.
    pub picture: Option<Timestamp>,
    /// Why what ran of it last is being ended or was; `None` once it starts again, and where nothing ran yet.
    pub ended: Option<EndReason>,
    /// Why its last start failed.
    pub failure: Option<Failure>,
    /// Its instance, once it is known.
    pub instance: Option<Arc<Instance>>,
    /// The run that belongs to it, also while it is being started or ended.
    pub claimed: Option<InstanceId>,
}

impl View {
    /// A desktop of which nothing runs, as the store has it; `picture` is when the last one that is kept was taken.
    pub fn stored(stored: &StoredDesktop, picture: Option<Timestamp>) -> Self {
        let end = stored.last_run.as_ref().and_then(|run| run.end);
        let since = [
            end.map(|end| end.at),
            stored.failure.as_ref().map(|failure| failure.at),
        ];
        let created_at = stored.record.created_at;
        Self {
            record: Arc::new(stored.record.clone()),
            phase: match stored.failure {
                Some(_) => Phase::Failed,
                None => Phase::Asleep,
            },
            since: since.into_iter().flatten().max().unwrap_or(created_at),
            unused: stored.unused(),
            progress: None,
            key: None,
            viewers: 0,
            guests: 0,
            until: None,
            takeover: stored.takeover.clone(),
            picture,
            ended: end.and_then(|end| end.why.reason()),
            failure: stored.failure.clone(),
            instance: None,
            claimed: None,
        }
    }

    /// When it is deleted unless it is used before; `None` while something of it runs.
    pub fn deleted_at(&self, forget_after: Duration, now: Timestamp) -> Option<Timestamp> {
        let rests = matches!(self.phase, Phase::Asleep | Phase::Failed);
        rests.then(|| self.unused.deleted_at(forget_after, now))
    }

    /// The key under which it can be looked at right now.
    pub fn ready_key(&self) -> Option<StreamKey> {
        self.key.filter(|_| self.phase == Phase::Ready)
    }
}
