//! One task per desktop of which something is wanted: it alone changes the desktop's state, performs the effects that
//! [`super::lifecycle`] asks for, and shows the outcome as a [`View`].

mod adoption;
mod answers;
mod effects;
mod messages;
mod pictures;
mod recovery;
mod show;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

pub(super) use self::messages::{Answering, Find, MakeRecord, Message, Report};
use super::camera::{Occasion, Schedule};
use super::context::Context;
use super::end::EndReason;
use super::error::DesktopError;
use super::failure::FailReason;
use super::keys::KeyLease;
use super::lease::Lease;
use super::lifecycle::{
    Deadline, Effect, Event, Exited, History, Holder, Lifecycle, RequestId, Run, State, StopMode,
};
use super::record::{Cause, DesktopRecord, Failure, StoredDesktop};
use super::view::{Progress, View};
use super::{StreamKey, Uid};
use crate::engine::{Exit, Instance, InstanceId};
use crate::supervise::{Panicked, caught, caught_at_once};

enum Reply {
    Ensure(MakeRecord, oneshot::Sender<Result<Answering, DesktopError>>),
    Acquire(String, Holder, oneshot::Sender<Result<Lease, DesktopError>>),
    Stop(oneshot::Sender<Result<(), DesktopError>>),
}

/// What belongs to the run that starts, runs or ends.
struct Current {
    run: Run,
    id: InstanceId,
    cancel: CancellationToken,
    progress: Option<Progress>,
    /// Tells the launch that its instance ended.
    exited: Option<oneshot::Sender<Exit>>,
    /// Of one that was found running, until it answers or does not.
    adoption: Option<TaskTrackerToken>,
    /// Whether it was found running.
    is_found: bool,
    instance: Option<Arc<Instance>>,
    ended: watch::Sender<Option<EndReason>>,
}

/// A picture that is being taken, after which [`Report::Kept`] comes.
struct Keeping {
    number: u64,
    occasion: Occasion,
    task: JoinHandle<()>,
}

struct Driver<'a> {
    record: Arc<DesktopRecord>,
    /// Whether the store has the desktop, so that others may know of it.
    is_stored: bool,
    context: Arc<Context>,
    own: mpsc::UnboundedSender<Message>,
    machine: Lifecycle,
    replies: HashMap<RequestId, Reply>,
    asked: u64,
    current: Option<Current>,
    found: Option<Find>,
    /// The run that is live in the store and was not adopted yet.
    unadopted: Option<InstanceId>,
    key: Option<KeyLease>,
    last_key: Option<StreamKey>,
    /// Why the next run begins.
    cause: Cause,
    /// What the view's `until` was made from.
    due: Option<Deadline>,
    schedule: Schedule,
    /// The picture that is being taken while the desktop runs.
    keeping: Option<Keeping>,
    /// When the last one that is kept was taken.
    picture: Option<Timestamp>,
    /// Why its last run ended, until the next begins.
    ended: Option<EndReason>,
    /// Why its last start failed, until the next begins.
    failure: Option<Failure>,
    /// What of it the store has.
    stored_failure: Option<Failure>,
    view: &'a watch::Sender<Option<Arc<View>>>,
}

/// Serves a desktop until nothing of it runs, nothing is under way and no message waits, or until the service ends. A
/// message that comes for a desktop which has just been deleted is left in the inbox, for the next call. `runs` counts the runs
/// of all calls with this inbox.
pub(super) async fn drive(
    context: &Arc<Context>,
    uid: &Uid,
    own: &mpsc::UnboundedSender<Message>,
    inbox: &mut mpsc::UnboundedReceiver<Message>,
    view: &watch::Sender<Option<Arc<View>>>,
    runs: &mut u64,
) {
    let stored = loop {
        let error = match caught(load(context, uid)).await {
            Ok(Ok(stored)) => break stored,
            Ok(Err(error)) => error,
            Err(Panicked) => FailReason::Internal.into(),
        };
        if !adoption::refuse_all(inbox, own, uid, &error) {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(adoption::RETRY_PAUSE) => {}
            () = context.ended.cancelled() => return,
        }
    };
    let first;
    let (stored, is_stored) = match stored {
        Some(stored) => {
            first = None;
            (stored, true)
        }
        None => match answers::make(context, inbox, uid).await {
            Some((record, make, reply)) => {
                first = Some(Message::Ensure(make, reply));
                (StoredDesktop::new(record), false)
            }
            None => return context.access.close(uid),
        },
    };
    let mut driver = Driver::new(context, stored, is_stored, own, view);
    driver.machine = driver.machine.counting_from(*runs);
    if let Some(message) = first {
        // It takes the way of all others, so that a panic leaves it answered.
        let _ = own.send(message);
    }
    driver.live(inbox).await;
    *runs = driver.machine.runs();
    context.access.close(uid);
}

/// Reads a desktop, and from then on the rights of its viewers are kept in memory.
async fn load(context: &Context, uid: &Uid) -> Result<Option<StoredDesktop>, DesktopError> {
    let _changing = context.access.changing(uid).await;
    let stored = context.store.desktop(uid).await?;
    let takeover = stored.as_ref().and_then(|stored| stored.takeover.clone());
    context.access.open(uid, takeover);
    Ok(stored)
}

impl<'a> Driver<'a> {
    fn new(
        context: &Arc<Context>,
        stored: StoredDesktop,
        is_stored: bool,
        own: &mpsc::UnboundedSender<Message>,
        view: &'a watch::Sender<Option<Arc<View>>>,
    ) -> Self {
        let uid = &stored.record.uid;
        let timers = context.timers(&stored.record.app);
        let machine = match (&stored.failure, is_stored) {
            (_, false) => Lifecycle::new(timers, History::New),
            (None, true) => Lifecycle::new(timers, History::Proven),
            (Some(failure), true) => Lifecycle::failed(timers, failure.clone().into()),
        };
        let picture = context.camera.kept(uid).filter(|_| is_stored);
        let first_view = View::stored(&stored, picture);
        let record = Arc::clone(&first_view.record);
        let ended = first_view.ended;
        view.send_replace(Some(Arc::new(first_view)));
        Self {
            record,
            is_stored,
            context: Arc::clone(context),
            own: own.clone(),
            machine,
            replies: HashMap::new(),
            asked: 0,
            current: None,
            found: None,
            unadopted: adoption::unadopted(context, &stored),
            key: None,
            last_key: stored.last_run.as_ref().map(|run| run.key),
            cause: Cause::Request,
            due: None,
            schedule: Schedule::default(),
            keeping: None,
            picture,
            ended,
            failure: stored.failure.clone(),
            stored_failure: stored.failure,
            view,
        }
    }

    /// Serves the desktop. After a panic it goes on: who waited is told, what ran is ended, and whoever asks next has it
    /// started anew.
    async fn live(&mut self, inbox: &mut mpsc::UnboundedReceiver<Message>) {
        while caught(self.serve(inbox)).await.is_err() {
            // What a second panic leaves undone is in the log, and the next message is taken all the same.
            let _ = caught_at_once(|| self.fail());
        }
    }

    async fn serve(&mut self, inbox: &mut mpsc::UnboundedReceiver<Message>) {
        loop {
            if *self.machine.state() == State::Gone {
                // What is still in the inbox is about the next desktop of this name.
                return;
            }
            if self.is_done() && inbox.is_empty() {
                self.write_failure().await;
                if inbox.is_empty() {
                    return;
                }
            }
            let due = self.machine.next_deadline().map(|deadline| deadline.at);
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => self.take_known(message).await,
                    None => return,
                },
                () = sleep_until(due) => self.step(Event::Tick),
                () = sleep_until(self.schedule.due()) => self.take_pictures(),
                () = self.context.ended.cancelled() => return,
            }
        }
    }

    /// Whether nothing runs, nothing is under way, and nobody waits.
    fn is_done(&self) -> bool {
        self.machine.rests() && self.replies.is_empty() && self.keeping.is_none()
    }

    /// Lets the store know why the last start failed, or that it does not count any more.
    async fn write_failure(&mut self) {
        if !self.is_stored || self.failure == self.stored_failure {
            return;
        }
        let uid = &self.record.uid;
        if let Err(error) = self
            .context
            .store
            .set_failure(uid, self.failure.as_ref())
            .await
        {
            tracing::error!(%uid, %error, "why a desktop failed could not be written");
        }
        self.stored_failure = self.failure.clone();
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Ensure(make, reply) => {
                let id = self.remember(Reply::Ensure(make, reply));
                self.step(Event::Ensure(id));
            }
            Message::Acquire(stream, holder, reply) => self.acquire(stream, holder, reply),
            Message::Rejoin(stream, holder, reply) => {
                let id = self.remember(Reply::Acquire(stream, holder, reply));
                self.step(Event::Join(id, holder));
            }
            Message::Glance(reply) => drop(reply.send(self.glance())),
            Message::Stop(mode, reply) => {
                let id = self.remember(Reply::Stop(reply));
                self.step(Event::Stop(id, mode));
            }
            Message::ForgetUnused(used_at, reply) => {
                let used_last = self.view.borrow().as_ref().map(|view| view.unused.since);
                if self.machine.rests() && used_last == Some(used_at) {
                    let id = self.remember(Reply::Stop(reply));
                    self.step(Event::Stop(id, StopMode::Forget));
                } else {
                    let in_use = DesktopError::InUse(self.record.uid.clone());
                    let _ = reply.send(Err(in_use));
                }
            }
            Message::DeleteHome(reply) => {
                let claimed = DesktopError::HomeClaimed(self.record.uid.clone());
                let _ = reply.send(Err(claimed));
            }
            Message::Found(find) => {
                if self.current.is_none() {
                    self.found = Some(find);
                    self.step(Event::Found);
                    self.found = None;
                }
            }
            Message::Ended(id, exit) => self.ended(&id, exit),
            Message::ServiceShutdown => {
                if let Some(current) = &self.current {
                    current.ended.send_replace(Some(EndReason::ServiceShutdown));
                }
            }
            Message::Report(report) => self.take_report(report),
        }
    }

    fn take_report(&mut self, report: Report) {
        match report {
            Report::Begun(run) => self.begun(run),
            Report::Progress(run, progress) => {
                if let Some(current) = self.current_of(run) {
                    current.progress = Some(progress);
                    self.show();
                }
            }
            Report::Launched(run, instance) => {
                let Some(current) = self.current_of(run) else {
                    // Its run was given up meanwhile.
                    return self.abandon(instance.id);
                };
                // The wall clock counts for what is older than this process only: it may be set meanwhile.
                let age = match current.is_found {
                    true => effects::age_of(&instance),
                    false => Duration::ZERO,
                };
                let id = current.id.clone();
                current.instance = Some(Arc::from(instance));
                self.context.notes.ready(&id);
                self.step(Event::Launched(run, age));
            }
            Report::LaunchFailed(run, reason) => self.step(Event::LaunchFailed(run, reason)),
            Report::Stopped(run, logs) => self.step(Event::Stopped(run, logs)),
            Report::StopDelayed(run, reason) => self.step(Event::StopDelayed(run, reason)),
            Report::Forgotten(result) => {
                if result.is_ok() {
                    self.picture = None;
                }
                self.step(Event::Forgotten(result));
            }
            Report::Released(run, holder) => self.step(Event::Released(run, holder)),
            Report::Pictured(at) => {
                self.picture = Some(at);
                self.show();
            }
            Report::Kept(number) => {
                self.keeping.take_if(|keeping| keeping.number == number);
            }
            Report::Lost(run) => {
                if run.is_none() || self.current.as_ref().map(|current| current.run) == run {
                    self.fail();
                }
            }
        }
    }

    fn ended(&mut self, id: &InstanceId, exit: Exit) {
        let Some(current) = self.current.as_ref().filter(|current| current.id == *id) else {
            return;
        };
        if matches!(self.machine.state(), State::Stopping { .. }) {
            return;
        }
        let run = current.run;
        let own_timeout = current.instance.as_ref().and_then(|it| it.own_timeout);
        tracing::info!(uid = %self.record.uid, instance = %id, code = ?exit.code,
            out_of_memory = exit.out_of_memory, "the desktop ended by itself");
        self.step(Event::Exited(run, Exited { exit, own_timeout }));
    }

    fn remember(&mut self, reply: Reply) -> RequestId {
        self.asked += 1;
        let id = RequestId(self.asked);
        self.replies.insert(id, reply);
        id
    }

    fn current_of(&mut self, run: Run) -> Option<&mut Current> {
        self.current.as_mut().filter(|current| current.run == run)
    }

    fn step(&mut self, event: Event) {
        // An effect that fails on the spot makes a further event, taken after the others.
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.cause = match self.machine.state() {
                State::Stopping {
                    reason: EndReason::Exited,
                    ..
                } => Cause::Restart,
                _ => Cause::Request,
            };
            let effects = self.machine.step(event, now());
            // Once before the effects, so that whoever is answered finds what the answer says.
            self.show();
            for effect in effects {
                self.perform(effect, &mut events);
            }
            self.show();
            self.take_pictures();
        }
    }

    fn perform(&mut self, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::Launch(run) => {
                if let Err(reason) = self.begin_launch(run) {
                    events.push_back(Event::LaunchFailed(run, reason));
                }
            }
            Effect::Probe(run) => {
                if let Err(reason) = self.begin_probe(run) {
                    events.push_back(Event::LaunchFailed(run, reason));
                }
            }
            Effect::CancelLaunch(run) => {
                if let Some(current) = self.current_of(run) {
                    current.cancel.cancel();
                }
            }
            Effect::FailLaunch(run, exit) => {
                let exited = self.current_of(run).and_then(|it| it.exited.take());
                // A launch that does not listen any more is about to report.
                let _ = exited.map(|exited| exited.send(exit));
            }
            Effect::Stop(run, reason) => self.stop(run, reason),
            Effect::Answer(id, answer) => self.answer(id, answer),
            Effect::Forget => self.forget(effects::Forgetting::Wanted),
            Effect::Discard => self.forget(effects::Forgetting::CleanUp),
            Effect::ReleaseKey => {
                self.current = None;
                self.key = None;
                // Before anybody is told that it stopped.
                self.show();
            }
        }
    }
}

fn report(own: &mpsc::UnboundedSender<Message>, report: Report) {
    // It fails only when the driver is gone, and then nobody needs to know.
    let _ = own.send(Message::Report(report));
}

/// Tokio's clock, so that a test can pause it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
