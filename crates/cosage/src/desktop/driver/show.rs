//! What others see of a desktop, and what the log says of it.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::super::keys::KeyLease;
use super::super::lifecycle::{AfterStop, State};
use super::super::record::{DesktopRecord, Failure};
use super::super::retention::Unused;
use super::super::view::{Phase, View};
use super::{Driver, now};

impl Driver<'_> {
    /// Shows the others what changed, and tells those who listen.
    pub(super) fn show(&mut self) {
        let state = self.machine.state();
        let phase = phase_of(state);
        let Some(previous) = self.view.borrow().clone() else {
            return;
        };
        let entered = previous.phase != phase;
        if entered {
            log_entry(&self.record, state);
        }
        match state {
            State::Starting { .. } => {
                self.ended = None;
                self.failure = None;
            }
            State::Stopping { reason, .. } => self.ended = Some(*reason),
            State::Failed { reason }
            | State::Forgetting {
                failure: Some(reason),
            } if entered => {
                self.failure = Some(Failure {
                    at: Timestamp::now(),
                    text: reason.to_string(),
                    logs: reason.logs().map(str::to_owned),
                });
            }
            State::Asleep => self.failure = None,
            _ => {}
        }
        let starting = match state {
            State::Starting { run, .. } => Some(*run),
            _ => None,
        };
        let mut progress = None;
        if let Some(current) = &mut self.current {
            if starting == Some(current.run) {
                progress = current.progress;
            } else {
                // Whether it answers is known, or of no interest any more.
                current.adoption = None;
            }
        }
        let (viewers, guests) = state.viewers();
        let viewers_changed = viewers != previous.viewers;
        if viewers_changed {
            self.context.notes.used(&self.record.uid);
        }
        // As the store has it, which writes by itself when runs begin and end.
        let unused = if viewers_changed || (entered && self.current.is_some()) {
            Unused {
                since: Timestamp::now(),
                announced_at: None,
            }
        } else {
            previous.unused
        };
        let due = self.machine.next_deadline();
        // The same moment of the one clock is not always the same of the other.
        let until = if due == self.due {
            previous.until
        } else {
            due.map(|due| (timestamp_of(due.at), due.reason))
        };
        let view = Arc::new(View {
            record: Arc::clone(&self.record),
            phase,
            since: if entered {
                Timestamp::now()
            } else {
                previous.since
            },
            unused,
            progress,
            key: self.key.as_ref().map(KeyLease::key),
            viewers,
            guests,
            until,
            takeover: previous.takeover.clone(),
            picture: self.picture,
            ended: self.ended,
            failure: self.failure.clone(),
            instance: self.current.as_ref().and_then(|c| c.instance.clone()),
            claimed: self.current.as_ref().map(|current| current.id.clone()),
        });
        self.due = due;
        self.view.send_replace(Some(Arc::clone(&view)));
        if self.is_stored {
            self.context.events.publish_changes(&previous, &view);
        }
    }
}

fn log_entry(record: &DesktopRecord, state: &State) {
    let uid = &record.uid;
    match state {
        State::Ready { .. } => tracing::info!(%uid, "ready"),
        State::Asleep => tracing::info!(%uid, "asleep"),
        State::Failed { reason }
        | State::Forgetting {
            failure: Some(reason),
        } => {
            tracing::warn!(%uid, reason = reason.for_log(), "failed");
        }
        State::Gone => tracing::info!(%uid, "forgotten"),
        State::Starting { .. } | State::Stopping { .. } | State::Forgetting { failure: None } => {}
    }
}

fn phase_of(state: &State) -> Phase {
    match state {
        State::Asleep => Phase::Asleep,
        State::Starting { .. } => Phase::Starting,
        State::Ready { .. } => Phase::Ready,
        State::Stopping {
            then: AfterStop::Restart,
            ..
        } => Phase::Restarting,
        State::Stopping { .. } | State::Forgetting { failure: None } => Phase::Stopping,
        State::Failed { .. } | State::Forgetting { failure: Some(_) } => Phase::Failed,
        State::Gone => Phase::Forgotten,
    }
}

fn timestamp_of(at: Instant) -> Timestamp {
    let ahead = at.saturating_duration_since(now());
    Timestamp::now()
        .saturating_add(ahead)
        .unwrap_or(Timestamp::MAX)
}
