//! Reports that wait for whoever takes them: merged by desktop, tried again, bounded in number, bytes and time.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::pace::Pace;
use crate::delivery::{DeliveryError, ENDING_PAUSE, Trouble, pause, pause_after};
use crate::desktop::Uid;
use crate::supervise::caught;

/// Of how many desktops reports may wait.
const DESKTOPS_MAX: usize = 1024;

/// How many bytes may wait altogether, those under way included.
const BYTES_MAX: usize = 64 << 20;

/// How many bytes of one desktop's reports may be merged, so that no desktop takes all the room.
const MERGED_MAX: usize = 8 << 20;

/// How many reports are under way at a time.
const AT_A_TIME: usize = 4;

/// How long a report waits for others to be merged with it: a restored session opens its tabs one by one.
const QUIET: Duration = Duration::from_millis(200);

/// How long a report is tried for, counted from when its newest part was taken.
const DELIVERY_BOUND: Duration = Duration::from_secs(600);

/// How often a report is tried that the destination fails at. SAGE3 fails at every report of a deleted application.
const ATTEMPTS_MAX: u32 = 4;

/// How long nothing is sent after a 429 without `Retry-After`.
const TOO_MANY_PAUSE: Duration = Duration::from_secs(30);

/// Where reports go.
#[async_trait]
pub(super) trait Destination: Send + Sync + 'static {
    /// Hands a report over, a JSON object.
    async fn put(&self, uid: &Uid, report: Bytes) -> Result<(), DeliveryError>;
}

/// There is no room for a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// The queue. Clones are the same.
#[derive(Clone)]
pub(super) struct Queue {
    inner: Arc<Inner>,
}

struct Inner {
    destination: Box<dyn Destination>,
    pace: Pace,
    waiting: Mutex<Waiting>,
    turns: Semaphore,
    deliveries: TaskTracker,
    ending: CancellationToken,
}

/// Each desktop in it has a task of its own that delivers its reports one after the other, so that they keep their
/// order and one that is refused holds up no other desktop's.
#[derive(Default)]
struct Waiting {
    reports: HashMap<Uid, Report>,
    bytes: usize,
    /// Desktops whose last report was given up because the destination fails at them. Their next ones are tried once.
    failing: HashSet<Uid>,
    /// Of how many desktops reports were dropped because the service ends.
    given_up: usize,
}

struct Report {
    /// What waits, beside what is under way.
    body: Option<Bytes>,
    /// When the newest part of it was taken.
    taken_at: Instant,
}

impl Queue {
    /// `pace` is how often the destination is called, by all desktops together.
    pub(super) fn new(destination: impl Destination, pace: Pace) -> Self {
        Self {
            inner: Arc::new(Inner {
                destination: Box::new(destination),
                pace,
                waiting: Mutex::default(),
                turns: Semaphore::new(AT_A_TIME),
                deliveries: TaskTracker::new(),
                ending: CancellationToken::new(),
            }),
        }
    }

    /// Takes a report, a JSON object, without waiting for its delivery. What already waits of the same desktop is
    /// merged with it: of each key, the newest value counts.
    pub(super) fn take(&self, uid: Uid, body: Bytes) -> Result<(), Full> {
        let taken_at = Instant::now();
        let mut waiting = self.inner.waiting();
        let Waiting { reports, bytes, .. } = &mut *waiting;
        let may_join = reports.len() < DESKTOPS_MAX;
        match reports.entry(uid) {
            Entry::Occupied(mut known) => {
                let report = known.get_mut();
                let before = report.body.as_ref().map_or(0, Bytes::len);
                let merged = match &report.body {
                    Some(older) => merge(older, body),
                    None => body,
                };
                let after = *bytes - before + merged.len();
                if after > BYTES_MAX || merged.len() > MERGED_MAX {
                    return Err(Full);
                }
                *bytes = after;
                *report = Report {
                    body: Some(merged),
                    taken_at,
                };
            }
            Entry::Vacant(new) => {
                if !may_join || *bytes + body.len() > BYTES_MAX {
                    return Err(Full);
                }
                *bytes += body.len();
                let uid = new.key().clone();
                new.insert(Report {
                    body: Some(body),
                    taken_at,
                });
                let inner = Arc::clone(&self.inner);
                self.inner.deliveries.spawn(inner.deliver(uid));
            }
        }
        Ok(())
    }

    /// Tries what waits without long pauses from now on, and returns when nothing waits any more. What the destination
    /// wants to have later is dropped.
    pub(super) async fn drained(&self) {
        self.inner.ending.cancel();
        self.inner.deliveries.close();
        self.inner.deliveries.wait().await;
        let reports = self.inner.waiting().given_up;
        if reports > 0 {
            tracing::warn!(
                reports,
                "reports are dropped: the service ends before SAGE3 takes calls again"
            );
        }
    }

    /// Of how many desktops reports wait.
    pub(super) fn len(&self) -> usize {
        self.inner.waiting().reports.len()
    }
}

impl Inner {
    async fn deliver(self: Arc<Self>, uid: Uid) {
        let mut failures = 0;
        pause(&self.ending, QUIET, Duration::ZERO).await;
        while !self.is_done(&uid) {
            // Never closed.
            let turn = self.turns.acquire().await;
            if !self.pace.turn(&self.ending).await {
                return self.give_up(&uid);
            }
            // As late as can be, so that the newest state is what is sent.
            let Some((body, taken_at)) = self.begin(&uid) else {
                continue;
            };
            let put = caught(self.destination.put(&uid, body.clone())).await;
            let outcome = put.unwrap_or_else(|panic| Err(DeliveryError::Never(panic.to_string())));
            drop(turn);
            match outcome {
                Err(DeliveryError::Later {
                    trouble,
                    reason,
                    after,
                }) if self.may_try_again(&uid, taken_at, trouble, failures) => {
                    tracing::debug!(%uid, reason, "a report will be tried again");
                    self.put_back(&uid, body, taken_at);
                    if trouble == Trouble::TooMany {
                        // It concerns all desktops.
                        self.pace.hold(after.unwrap_or(TOO_MANY_PAUSE));
                    } else {
                        pause(&self.ending, pause_after(failures, after), ENDING_PAUSE).await;
                        failures += 1;
                    }
                    continue;
                }
                Err(DeliveryError::Later {
                    trouble, reason, ..
                }) => {
                    tracing::warn!(%uid, reason, "a report is dropped: SAGE3 did not take it");
                    if trouble == Trouble::Failed {
                        self.note_failing(&uid);
                    }
                }
                Err(DeliveryError::Never(reason)) => {
                    tracing::warn!(%uid, reason, "a report is dropped: SAGE3 refused it");
                }
                Err(DeliveryError::Gone) => {
                    tracing::warn!(%uid, "a report is dropped: SAGE3 does not have the app any more");
                }
                Ok(()) => drop(self.waiting().failing.remove(&uid)),
            }
            failures = 0;
            self.waiting().bytes -= body.len();
            pause(&self.ending, QUIET, Duration::ZERO).await;
        }
    }

    /// Whether a report that was not taken, after so many failures before, is tried once more.
    fn may_try_again(&self, uid: &Uid, taken_at: Instant, trouble: Trouble, failures: u32) -> bool {
        let is_hopeful = trouble != Trouble::Failed
            || (failures + 1 < ATTEMPTS_MAX && !self.waiting().failing.contains(uid));
        is_hopeful && taken_at.elapsed() < DELIVERY_BOUND
    }

    fn note_failing(&self, uid: &Uid) {
        let failing = &mut self.waiting().failing;
        // One that does not fit costs a few attempts more.
        if failing.len() < DESKTOPS_MAX {
            failing.insert(uid.clone());
        }
    }

    /// Whether nothing of the desktop waits, and then it is forgotten.
    fn is_done(&self, uid: &Uid) -> bool {
        let mut waiting = self.waiting();
        let waits = waiting
            .reports
            .get(uid)
            .is_some_and(|report| report.body.is_some());
        if !waits {
            waiting.reports.remove(uid);
        }
        !waits
    }

    /// Drops what waits of the desktop.
    fn give_up(&self, uid: &Uid) {
        let mut waiting = self.waiting();
        if let Some(body) = waiting.reports.remove(uid).and_then(|report| report.body) {
            waiting.bytes -= body.len();
            waiting.given_up += 1;
        }
    }

    /// What is to be delivered now.
    fn begin(&self, uid: &Uid) -> Option<(Bytes, Instant)> {
        let mut waiting = self.waiting();
        let report = waiting.reports.get_mut(uid)?;
        Some((report.body.take()?, report.taken_at))
    }

    /// Puts back what was not delivered, behind what was taken meanwhile.
    fn put_back(&self, uid: &Uid, body: Bytes, taken_at: Instant) {
        let mut waiting = self.waiting();
        let Waiting { reports, bytes, .. } = &mut *waiting;
        // Only its own task, which is this one, removes it.
        let Some(report) = reports.get_mut(uid) else {
            return;
        };
        *report = match report.body.take() {
            Some(newer) => {
                *bytes -= body.len() + newer.len();
                let merged = merge(&body, newer);
                *bytes += merged.len();
                Report {
                    body: Some(merged),
                    taken_at: report.taken_at,
                }
            }
            None => Report {
                body: Some(body),
                taken_at,
            },
        };
    }

    // Nothing panics half-way through a change.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Two JSON objects as one; of each key, the newer value counts.
fn merge(older: &Bytes, newer: Bytes) -> Bytes {
    let both = || {
        let mut merged: Map<String, Value> = serde_json::from_slice(older)?;
        merged.extend(serde_json::from_slice::<Map<String, Value>>(&newer)?);
        serde_json::to_vec(&merged)
    };
    // Both were read as objects when they were taken.
    both().map_or_else(|_| newer.clone(), Bytes::from)
}

#[cfg(test)]
mod tests;
