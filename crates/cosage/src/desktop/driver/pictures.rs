//! How a driver has pictures of its desktop taken. It is not the state machine's business: a picture changes nothing
//! about the desktop's life, and one that cannot be had is missed by nobody but who looks at it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::super::camera::{self, Occasion};
use super::super::context::Context;
use super::super::error::DesktopError;
use super::super::lease::{Lease, Release};
use super::super::lifecycle::{AfterStop, State};
use super::answers::unknown_stream;
use super::{Driver, Keeping, Message, Report, now, report};
use crate::supervise::caught;

impl Driver<'_> {
    /// A lease that keeps nothing alive, of a desktop that answers.
    pub(super) fn glance(&self) -> Result<Lease, DesktopError> {
        match self.machine.state() {
            State::Ready { .. } => self.look_at(),
            _ => Err(self.not_running()),
        }
    }

    fn look_at(&self) -> Result<Lease, DesktopError> {
        let instance = self.current.as_ref().and_then(|c| c.instance.as_ref());
        let endpoints = &instance.ok_or_else(|| self.not_running())?.endpoints;
        match camera::shown_by(endpoints) {
            Some(stream) => self.lease(stream, Release::nothing()),
            None => Err(unknown_stream("vnc", endpoints.keys())),
        }
    }

    /// Has the picture taken that is due now, if one is. While one is being taken, only the viewers' leaving is worth
    /// another.
    pub(super) fn take_pictures(&mut self) {
        let Some(occasion) = self.schedule.look(self.machine.state(), now()) else {
            return;
        };
        match &self.keeping {
            Some(keeping) if keeping.occasion == Occasion::Left => return,
            Some(_) if occasion != Occasion::Left => return,
            Some(_) | None => {}
        }
        let Ok(lease) = self.glance() else { return };
        if !camera::disturbs_nobody(lease.endpoint(), occasion) {
            return;
        }
        let (context, own) = (Arc::clone(&self.context), self.own.clone());
        let before = self.keeping.take();
        let number = before.as_ref().map_or(0, |before| before.number + 1);
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                // It is bounded in time, and in the log if it panicked.
                let _ = before.task.await;
            }
            let picture = keep(&context, &own, lease, occasion, camera::PATIENCE);
            let _ = caught(picture).await;
            report(&own, Report::Kept(number));
        });
        self.keeping = Some(Keeping {
            number,
            occasion,
            task,
        });
    }

    /// The right to take one more picture of a desktop that is about to be stopped: unless it has ended already, has
    /// shown nothing yet, or is to be forgotten.
    pub(super) fn last_look(&self) -> Option<Lease> {
        let has_picture = matches!(
            self.machine.state(),
            State::Stopping {
                then: AfterStop::Rest | AfterStop::Restart | AfterStop::Fail(_),
                still_runs: true,
                ..
            }
        );
        if !has_picture || !self.schedule.was_ready() {
            return None;
        }
        self.look_at().ok()
    }
}

/// Takes a picture and tells the driver.
pub(super) async fn keep(
    context: &Context,
    own: &mpsc::UnboundedSender<Message>,
    lease: Lease,
    occasion: Occasion,
    patience: Duration,
) {
    if let Some(at) = context.camera.keep(lease, occasion, patience).await {
        report(own, Report::Pictured(at));
    }
}
