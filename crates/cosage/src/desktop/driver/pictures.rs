//! How a driver has pictures of its desktop taken. It is not the state machine's business: a picture changes nothing
//! about the desktop's life, and one that cannot be had is missed by nobody but who looks at it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::super::camera::{self, Occasion};
use super::super::lease::{Lease, Release};
use super::super::lifecycle::{AfterStop, State};
use super::super::manager::Shared;
use super::{Driver, Message, Refusal, Report, now, report};

impl Driver {
    /// A lease that keeps nothing alive, of a desktop that answers.
    pub(super) fn glance(&self) -> Result<Lease, Refusal> {
        match self.machine.state() {
            State::Ready { .. } => self.look_at(),
            _ => Err(Refusal::NotRunning),
        }
    }

    fn look_at(&self) -> Result<Lease, Refusal> {
        let instance = self.current.as_ref().and_then(|c| c.instance.as_ref());
        let endpoints = &instance.ok_or(Refusal::NotRunning)?.endpoints;
        match camera::shown_by(endpoints) {
            Some(stream) => self.lease(stream, Release::nothing()),
            None => Err(Refusal::UnknownStream(endpoints.keys().cloned().collect())),
        }
    }

    /// Has the picture taken that is due now, if one is. While one is being taken, only the viewers' leaving is worth
    /// another.
    pub(super) fn take_pictures(&mut self) {
        let Some(occasion) = self.schedule.look(self.machine.state(), now()) else {
            return;
        };
        let under_way = self
            .keeping
            .as_ref()
            .filter(|(_, task)| !task.is_finished());
        match under_way {
            Some((Occasion::Left, _)) => return,
            Some(_) if occasion != Occasion::Left => return,
            Some(_) | None => {}
        }
        let Ok(lease) = self.glance() else { return };
        if !camera::disturbs_nobody(lease.endpoint(), occasion) {
            return;
        }
        let (shared, own) = (Arc::clone(&self.shared), self.own.clone());
        let before = self.keeping.take();
        let task = tokio::spawn(async move {
            if let Some((_, before)) = before {
                // It is bounded in time, and in the log if it panicked.
                let _ = before.await;
            }
            keep(&shared, &own, lease, occasion, camera::PATIENCE).await;
        });
        self.keeping = Some((occasion, task));
    }

    /// The right to take one more picture of a desktop that is about to be stopped: unless it has ended already, has
    /// shown nothing yet, or is to be forgotten.
    pub(super) fn last_look(&self) -> Option<Lease> {
        let forgotten = matches!(
            self.machine.state(),
            State::Stopping {
                then: AfterStop::Forget,
                ..
            }
        );
        let over = self.current.as_ref().is_none_or(|current| current.over);
        if over || forgotten || !self.schedule.was_ready() {
            return None;
        }
        self.look_at().ok()
    }
}

/// Takes a picture and tells the driver.
pub(super) async fn keep(
    shared: &Shared,
    own: &mpsc::UnboundedSender<Message>,
    lease: Lease,
    occasion: Occasion,
    patience: Duration,
) {
    if let Some(at) = shared.camera.keep(lease, occasion, patience).await {
        report(own, Report::Pictured(at));
    }
}
