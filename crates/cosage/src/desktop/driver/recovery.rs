//! What becomes of a desktop when a task of its driver, or the driver itself, panics: nobody waits for ever, nothing runs on
//! unclaimed, and the next request starts it anew.

use std::sync::Arc;

use super::super::camera::Schedule;
use super::super::end::EndReason;
use super::super::error::DesktopError;
use super::super::failure::FailReason;
use super::super::lifecycle::{Run, State};
use super::super::record::EndCause;
use super::{Driver, Report, report};
use crate::engine::InstanceId;
use crate::supervise::{caught, caught_at_once};

impl Driver<'_> {
    /// After a panic, which may have left anything half-way: the desktop has failed, whoever waits is told, and what
    /// runs of it is ended.
    pub(super) fn fail(&mut self) {
        let error = if *self.machine.state() == State::Gone {
            DesktopError::UnknownDesktop(self.record.uid.clone())
        } else {
            let reason = FailReason::Internal;
            self.machine.fail(reason.clone());
            DesktopError::Failed(reason)
        };
        self.schedule = Schedule::default();
        self.keeping = None;
        self.found = None;
        self.key = None;
        if let Some(current) = self.current.take() {
            self.abandon(current.id);
            current.cancel.cancel();
            current.ended.send_replace(Some(EndReason::Exited));
        }
        // That may be what panicked, and keeps nobody from being told.
        let _ = caught_at_once(|| self.show());
        for (_, reply) in std::mem::take(&mut self.replies) {
            reply.refuse(error.clone());
        }
    }

    /// Ends an instance that is no run of the desktop's any more.
    pub(super) fn abandon(&self, id: InstanceId) {
        let context = Arc::clone(&self.context);
        let grace = context.timers(&self.record.app).stop_grace;
        // Before the run is not claimed any more, so that it is not adopted.
        context.endings.condemn(&id);
        tokio::spawn(async move {
            context.endings.abandon(&id, grace, EndCause::Failed).await;
        });
    }

    /// Starts a task that reports, or whose loss is reported.
    pub(super) fn start_task(
        &self,
        run: Option<Run>,
        task: impl Future<Output = Report> + Send + 'static,
    ) {
        let own = self.own.clone();
        tokio::spawn(async move {
            let outcome = caught(task).await;
            report(&own, outcome.unwrap_or(Report::Lost(run)));
        });
    }
}
