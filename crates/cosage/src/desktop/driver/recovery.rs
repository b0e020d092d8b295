//! What becomes of a desktop when a task of its driver, or the driver itself, panics: nobody waits for ever, nothing runs on
//! unclaimed, and the next request starts it anew.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::super::camera::Schedule;
use super::super::failure::FailReason;
use super::super::lease::EndReason;
use super::super::lifecycle::{Run, State};
use super::{Driver, Message, Refusal, Reply, Report, report};
use crate::engine::InstanceId;
use crate::supervise::{caught, caught_at_once};

impl Driver {
    /// After a panic, which may have left anything half-way: the desktop has failed, whoever waits is told, and what
    /// runs of it is ended.
    pub(super) fn fail(&mut self) {
        let refusal = if *self.machine.state() == State::Gone {
            Refusal::Gone
        } else {
            let reason = FailReason::Internal;
            self.machine.fail(reason.clone());
            Refusal::Failed(reason)
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
            reply.refuse(refusal.clone());
        }
    }

    /// Ends an instance that is no run of the desktop's any more.
    pub(super) fn abandon(&self, id: InstanceId) {
        let shared = Arc::clone(&self.shared);
        let grace = self.timers().stop_grace;
        // Before the run is not claimed any more, so that it is not adopted.
        shared.orphans.add(&id);
        tokio::spawn(async move {
            shared.add_orphan(&id).await;
            shared.abandon(&id, grace).await;
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

    /// Tells everybody who has sent a message to a driver that does not begin.
    pub(super) fn refuse_all(
        &self,
        inbox: &mut mpsc::UnboundedReceiver<Message>,
        reason: &FailReason,
    ) {
        inbox.close();
        while let Ok(message) = inbox.try_recv() {
            let refusal = Refusal::Failed(reason.clone());
            match message {
                Message::Ensure(reply) => Reply::Ensure(reply).refuse(refusal),
                Message::Acquire(.., reply)
                | Message::Rejoin(.., reply)
                | Message::Glance(reply) => {
                    drop(reply.send(Err(refusal)));
                }
                Message::Stop(_, reply) => Reply::Stop(reply).refuse(refusal),
                Message::Found(_)
                | Message::Ended(..)
                | Message::ServiceShutdown
                | Message::Report(_) => {}
            }
        }
    }
}
