//! One task per desktop: it alone changes the desktop's state, performs the effects that
//! [`super::lifecycle`] asks for, and shows the outcome as a [`View`].

mod pictures;
mod recovery;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::camera::{self, Occasion, Schedule};
use super::events::Kind;
use super::failure::FailReason;
use super::keys::KeyLease;
use super::launch::{self, Launch};
use super::lease::{EndReason, Lease, Release, Successor};
use super::lifecycle::{
    AfterStop, Answer, Deadline, Effect, Event, History, Holder, Lifecycle, RequestId, Run, State,
    StopMode,
};
use super::manager::Shared;
use super::view::{Phase, Progress, View};
use super::{DesktopRecord, StreamKey};
use crate::catalog::{App, Timers};
use crate::engine::{Endpoint, Exit, Instance, InstanceId, Presence};
use crate::supervise::{Panicked, caught, caught_at_once};
use crate::text::SCREEN_AREA_MAX;

/// What a driver is told.
pub(super) enum Message {
    /// Make it run.
    Ensure(oneshot::Sender<Result<StreamKey, Refusal>>),
    /// Let me look at this stream.
    Acquire(String, Holder, oneshot::Sender<Result<Lease, Refusal>>),
    /// My instance ended by itself: let me look at this stream of the next one, if there is one anyway.
    Rejoin(String, Holder, oneshot::Sender<Result<Lease, Refusal>>),
    /// Let me look once, without being a viewer.
    Glance(oneshot::Sender<Result<Lease, Refusal>>),
    /// Stop it.
    Stop(StopMode, oneshot::Sender<Result<(), Refusal>>),
    /// The engine has a running instance of it that nobody claims.
    Found(Find),
    /// The engine says that this instance ended, or does not know it any more.
    Ended(InstanceId, Exit),
    /// Close all connections: the service ends.
    ServiceShutdown,
    /// A task that was started for an effect reports.
    Report(Report),
}

/// A running instance that nobody claims.
pub(super) struct Find {
    pub(super) instance: Box<Instance>,
    pub(super) key: KeyLease,
    /// Kept until it is known whether the instance answers.
    pub(super) adoption: TaskTrackerToken,
}

/// What the tasks that perform effects report.
pub(super) enum Report {
    Progress(Run, Progress),
    Launched(Run, Box<Instance>),
    LaunchFailed(Run, FailReason),
    Stopped(Run, String),
    StopDelayed(Run, FailReason),
    Forgotten(Result<(), FailReason>),
    Released(Run, Holder),
    Pictured(Timestamp),
    /// A task panicked that belongs to this run, or to none.
    Lost(Option<Run>),
}

/// Why a driver did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The desktop does not exist any more: look its name up again.
    Gone,
    /// Nothing of it runs.
    NotRunning,
    /// It has no such stream; these it has.
    UnknownStream(Vec<String>),
    /// It failed.
    Failed(FailReason),
}

enum Reply {
    Ensure(oneshot::Sender<Result<StreamKey, Refusal>>),
    Acquire(String, Holder, oneshot::Sender<Result<Lease, Refusal>>),
    Stop(oneshot::Sender<Result<(), Refusal>>),
}

impl Reply {
    fn refuse(self, refusal: Refusal) {
        match self {
            Self::Ensure(reply) => drop(reply.send(Err(refusal))),
            Self::Acquire(.., reply) => drop(reply.send(Err(refusal))),
            Self::Stop(reply) => drop(reply.send(Err(refusal))),
        }
    }
}

/// The way to a driver.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    inbox: mpsc::UnboundedSender<Message>,
    view: watch::Receiver<Arc<View>>,
}

impl Handle {
    /// Sends without waiting. A driver that is gone drops the message and with it the reply's
    /// sender, which the asker reads as [`Refusal::Gone`].
    pub(super) fn send(&self, message: Message) {
        let _ = self.inbox.send(message);
    }

    pub(super) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Whether both lead to the same driver.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.leads_to(&other.inbox)
    }

    pub(super) fn leads_to(&self, inbox: &mpsc::UnboundedSender<Message>) -> bool {
        self.inbox.same_channel(inbox)
    }
}

/// What belongs to the run that starts, runs or ends.
struct Current {
    run: Run,
    id: InstanceId,
    cancel: CancellationToken,
    progress: Progress,
    /// Taken by the first report of an exit while the launch waits for it.
    exited: Option<oneshot::Sender<Exit>>,
    /// An exit that came when the launch did not listen any more.
    missed_exit: Option<Exit>,
    /// Whether it ended by itself, so that there is nothing left to look at.
    over: bool,
    /// Of one that was found running, until it answers or does not.
    adoption: Option<TaskTrackerToken>,
    instance: Option<Arc<Instance>>,
    ended: watch::Sender<Option<EndReason>>,
}

struct Driver {
    record: Arc<DesktopRecord>,
    shared: Arc<Shared>,
    own: mpsc::UnboundedSender<Message>,
    machine: Lifecycle,
    replies: HashMap<RequestId, Reply>,
    asked: u64,
    current: Option<Current>,
    found: Option<Find>,
    key: Option<KeyLease>,
    last_key: Option<StreamKey>,
    /// What the view's `until` was made from.
    due: Option<Deadline>,
    schedule: Schedule,
    /// The picture that is being taken while the desktop runs, or was the last one to be taken so.
    keeping: Option<(Occasion, JoinHandle<()>)>,
    /// When the last one that is kept was taken.
    picture: Option<Timestamp>,
    /// Why its last run ended, until the next begins.
    ended: Option<EndReason>,
    view: watch::Sender<Arc<View>>,
}

/// Starts the task of a desktop. One with [`History::New`] is written to the store before
/// anything else happens.
pub(super) fn spawn(shared: Arc<Shared>, record: DesktopRecord, history: History) -> Handle {
    let record = Arc::new(record);
    let (own, inbox) = mpsc::unbounded_channel();
    let picture = shared.camera.kept(&record.uid);
    let (view, view_receiver) = watch::channel(Arc::new(View {
        picture,
        ..View::asleep(Arc::clone(&record))
    }));
    let handle = Handle {
        inbox: own.clone(),
        view: view_receiver,
    };
    let timers = shared
        .app(&record.app)
        .map_or(shared.settings.timers, |app| app.timers);
    let driver = Driver {
        record,
        shared,
        own,
        machine: Lifecycle::new(timers, history),
        replies: HashMap::new(),
        asked: 0,
        current: None,
        found: None,
        key: None,
        last_key: None,
        due: None,
        schedule: Schedule::default(),
        keeping: None,
        picture,
        ended: None,
        view,
    };
    tokio::spawn(driver.run(inbox, history));
    handle
}

impl Driver {
    /// Serves the desktop until it is gone or the service ends. After a panic it goes on: who waited is told, what ran
    /// is ended, and whoever asks next has it started anew.
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Message>, history: History) {
        if history == History::New {
            let kept = caught(self.shared.store.insert(&self.record)).await;
            let failure = match kept {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(FailReason::Store(error.to_string())),
                Err(Panicked) => Some(FailReason::Internal),
            };
            if let Some(reason) = failure {
                tracing::error!(uid = %self.record.uid, reason = reason.for_log(), "a new desktop could not be kept");
                self.shared.remove(&self.record.uid, &self.own);
                // What failed may have been kept all the same; the next one of this name starts
                // anew.
                let _ = caught(self.shared.store.delete(&self.record.uid)).await;
                self.refuse_all(&mut inbox, &reason);
                return;
            }
            self.shared
                .events
                .publish(Kind::Created, &self.view.borrow());
        }
        while caught(self.serve(&mut inbox)).await.is_err() {
            // What a second panic leaves undone is in the log, and the next message is taken all the same.
            let _ = caught_at_once(|| self.fail());
            if *self.machine.state() == State::Gone {
                return;
            }
        }
    }

    async fn serve(&mut self, inbox: &mut mpsc::UnboundedReceiver<Message>) {
        loop {
            let due = self.machine.next_deadline().map(|deadline| deadline.at);
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => self.take(message),
                    None => return,
                },
                () = sleep_until(due) => self.step(Event::Tick),
                () = sleep_until(self.schedule.due()) => self.take_pictures(),
                () = self.shared.ended.cancelled() => return,
            }
            if *self.machine.state() == State::Gone {
                // Whoever still has the handle is answered Gone when the inbox is dropped.
                return;
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Ensure(reply) => {
                let id = self.remember(Reply::Ensure(reply));
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
            Report::Progress(run, progress) => {
                if let Some(current) = self.current_of(run) {
                    current.progress = progress;
                    self.show();
                }
            }
            Report::Launched(run, instance) => {
                let age = age_of(&instance);
                let own_timeout = instance.own_timeout;
                let Some(current) = self.current_of(run) else {
                    // Its run was given up meanwhile.
                    return self.abandon(instance.id);
                };
                current.instance = Some(Arc::from(instance));
                current.exited = None;
                let missed = current.missed_exit;
                current.over = missed.is_some();
                self.step(Event::Launched(run, age));
                if let Some(exit) = missed {
                    self.step(Event::Exited(run, exit, own_timeout));
                }
                self.adoption_is_over(run);
            }
            Report::LaunchFailed(run, reason) => {
                self.step(Event::LaunchFailed(run, reason));
                self.adoption_is_over(run);
            }
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
            Report::Lost(run) => {
                if run.is_none() || self.current.as_ref().map(|current| current.run) == run {
                    self.fail();
                }
            }
        }
    }

    fn acquire(
        &mut self,
        stream: String,
        holder: Holder,
        reply: oneshot::Sender<Result<Lease, Refusal>>,
    ) {
        let presence = match self.presence_of(&stream) {
            Ok(presence) => presence,
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        match presence {
            Presence::Viewer => {
                let id = self.remember(Reply::Acquire(stream, holder, reply));
                self.step(match holder {
                    Holder::Viewer => Event::Acquire(id),
                    Holder::Guest => Event::Join(id, holder),
                });
            }
            // A listener alone is not a viewer: it keeps nothing alive and starts nothing.
            Presence::Listener => {
                let lease = match self.machine.state() {
                    State::Ready { .. } => self.lease(&stream, Release::nothing()),
                    _ => Err(Refusal::NotRunning),
                };
                let _ = reply.send(lease);
            }
        }
    }

    /// Whether connections to this stream are viewers: as the running instance was started, or
    /// as the catalogue says while none is known.
    fn presence_of(&self, stream: &str) -> Result<Presence, Refusal> {
        let instance = self.current.as_ref().and_then(|c| c.instance.as_ref());
        if let Some(instance) = instance {
            return match instance.endpoints.get(stream) {
                Some(endpoint) => Ok(endpoint.presence),
                None => Err(Refusal::UnknownStream(
                    instance.endpoints.keys().cloned().collect(),
                )),
            };
        }
        let Some(app) = self.shared.app(&self.record.app) else {
            return Err(Refusal::NotRunning);
        };
        match app.streams.get(stream) {
            Some(spec) => Ok(spec.presence),
            None => Err(Refusal::UnknownStream(
                app.streams.keys().cloned().collect(),
            )),
        }
    }

    fn ended(&mut self, id: &InstanceId, exit: Exit) {
        let Some(current) = self.current.as_mut().filter(|current| current.id == *id) else {
            return;
        };
        match self.machine.state() {
            State::Starting { .. } => {
                let exited = current.exited.take();
                if let Some(Err(exit)) = exited.map(|exited| exited.send(exit)) {
                    current.missed_exit = Some(exit);
                }
            }
            State::Ready { run, .. } => {
                tracing::info!(uid = %self.record.uid, instance = %id, code = ?exit.code,
                    out_of_memory = exit.out_of_memory, "the desktop ended by itself");
                let run = *run;
                current.over = true;
                let own_timeout = current.instance.as_ref().and_then(|it| it.own_timeout);
                self.step(Event::Exited(run, exit, own_timeout));
            }
            _ => {}
        }
    }

    /// Everybody can see what became of a run that was found; if it is not the current one any more, that is over, too.
    fn adoption_is_over(&mut self, run: Run) {
        if let Some(current) = self.current_of(run) {
            current.adoption = None;
        }
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
            let effects = self.machine.step(event, now());
            if *self.machine.state() == State::Gone {
                // Before anybody is told, so that who is told does not find it any more.
                self.shared.remove(&self.record.uid, &self.own);
            }
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
                if let Err(reason) = self.launch(run) {
                    events.push_back(Event::LaunchFailed(run, reason));
                }
            }
            Effect::Probe(run) => {
                if let Err(reason) = self.probe(run) {
                    events.push_back(Event::LaunchFailed(run, reason));
                }
            }
            Effect::CancelLaunch(run) => {
                if let Some(current) = self.current_of(run) {
                    current.cancel.cancel();
                }
            }
            Effect::Stop(run, reason) => self.stop(run, reason),
            Effect::Answer(id, answer) => self.answer(id, answer),
            Effect::Forget => self.forget(Forgetting::Wanted),
            Effect::Discard => self.forget(Forgetting::CleanUp),
            Effect::ReleaseKey => {
                self.current = None;
                self.key = None;
                // Before anybody is told that it stopped.
                self.show();
            }
        }
    }

    /// Puts a new run in place and starts its launch.
    fn launch(&mut self, run: Run) -> Result<(), FailReason> {
        self.current = None;
        let app = self.app()?;
        self.machine.set_timers(app.timers);
        let key = self.take_key(self.last_key)?;
        self.shared.admit()?;
        let id = InstanceId::random();
        let spec = app
            .launch_spec(
                &self.record.uid,
                &self.record.environment,
                id.clone(),
                key,
                &self.shared.settings.launch,
            )
            .map_err(|error| FailReason::Catalogue(error.to_string()))?;
        tracing::info!(uid = %self.record.uid, app = %self.record.app, instance = %id, key = %key, "starting");
        self.begin(run, id, Launch::New(Box::new(spec)), app.timers);
        Ok(())
    }

    /// Puts a run in place for an instance that was found running.
    fn probe(&mut self, run: Run) -> Result<(), FailReason> {
        let Some(find) = self.found.take() else {
            return Err(FailReason::Engine(crate::engine::EngineError::Gone));
        };
        let Find {
            instance,
            key,
            adoption,
        } = find;
        let timers = self.timers();
        self.machine.set_timers(timers);
        self.last_key = Some(key.key());
        self.key = Some(key);
        tracing::info!(uid = %self.record.uid, app = %self.record.app, instance = %instance.id, "adopting");
        let id = instance.id.clone();
        self.begin(run, id, Launch::Found(instance), timers);
        if let Some(current) = self.current_of(run) {
            current.adoption = Some(adoption);
        }
        Ok(())
    }

    fn begin(&mut self, run: Run, id: InstanceId, launch: Launch, timers: Timers) {
        let cancel = CancellationToken::new();
        let (exited, exit) = oneshot::channel();
        self.current = Some(Current {
            run,
            id,
            cancel: cancel.clone(),
            progress: launch.progress(),
            exited: Some(exited),
            missed_exit: None,
            over: false,
            adoption: None,
            instance: None,
            ended: watch::Sender::new(None),
        });
        // Claimed from here on, before there is a container that could look like an orphan.
        self.show();
        let (shared, own) = (Arc::clone(&self.shared), self.own.clone());
        self.start_task(Some(run), async move {
            let outcome = launch::launch(&shared, launch, timers, cancel, exit, |progress| {
                report(&own, Report::Progress(run, progress))
            })
            .await;
            match outcome {
                Ok(instance) => Report::Launched(run, Box::new(instance)),
                Err(reason) => Report::LaunchFailed(run, reason),
            }
        });
    }

    fn app(&self) -> Result<Arc<App>, FailReason> {
        self.shared.app(&self.record.app).ok_or_else(|| {
            FailReason::Catalogue(format!(
                "the app '{}' of this desktop is not in the catalogue any more",
                self.record.app
            ))
        })
    }

    /// The app's timers as the catalogue has them now.
    fn timers(&self) -> Timers {
        self.shared
            .app(&self.record.app)
            .map_or(self.shared.settings.timers, |app| app.timers)
    }

    fn take_key(&mut self, preferred: Option<StreamKey>) -> Result<StreamKey, FailReason> {
        if self.key.is_none() {
            let lease = self
                .shared
                .keys
                .lease(
                    &self.record.uid,
                    preferred,
                    self.shared.settings.max_desktops,
                )
                .map_err(FailReason::from)?;
            self.key = Some(lease);
        }
        self.last_key = self.key.as_ref().map(KeyLease::key);
        self.last_key.ok_or(FailReason::PortsExhausted(0))
    }

    fn stop(&mut self, run: Run, reason: EndReason) {
        let uid = self.record.uid.clone();
        let grace = self.timers().stop_grace;
        let last_look = self.last_look();
        let (shared, own) = (Arc::clone(&self.shared), self.own.clone());
        let Some(current) = self.current_of(run) else {
            return;
        };
        current.ended.send_replace(Some(reason));
        let id = current.id.clone();
        tracing::info!(%uid, instance = %id, ?reason, "stopping");
        self.start_task(Some(run), async move {
            if let Some(lease) = last_look {
                let (occasion, patience) = (Occasion::Stopping, camera::STOP_PATIENCE);
                let picture = pictures::keep(&shared, &own, lease, occasion, patience);
                // No picture is worth a stop.
                let _ = caught(picture).await;
            }
            let logs = match reason {
                EndReason::Exited => launch::last_lines(&*shared.engine, &id).await,
                _ => String::new(),
            };
            launch::end(&shared, &id, grace, |reason| {
                report(&own, Report::StopDelayed(run, reason));
            })
            .await;
            Report::Stopped(run, logs)
        });
    }

    fn forget(&mut self, forgetting: Forgetting) {
        let shared = Arc::clone(&self.shared);
        let uid = self.record.uid.clone();
        let keeping = self.keeping.take();
        self.start_task(None, async move {
            let home = match shared.engine.homes() {
                Ok(homes) => homes.delete(&uid).await,
                // An engine without homes has nothing to delete.
                Err(_) => Ok(()),
            };
            let result = match (home, forgetting) {
                (Err(error), Forgetting::Wanted) => Err(FailReason::Engine(error)),
                // It never ran, so there is hardly a home, and no engine that could be asked.
                (Ok(()), _) | (Err(_), Forgetting::CleanUp) => shared
                    .store
                    .delete(&uid)
                    .await
                    .map_err(|error| FailReason::Store(error.to_string())),
            };
            match &result {
                Ok(()) => {
                    // Or what is being taken would be kept after it. It is bounded in time.
                    if let Some((_, keeping)) = keeping {
                        let _ = keeping.await;
                    }
                    shared.camera.forget(&uid).await;
                }
                Err(reason) => {
                    tracing::error!(%uid, reason = reason.for_log(), "a desktop could not be forgotten");
                }
            }
            Report::Forgotten(result)
        });
    }

    fn answer(&mut self, id: RequestId, answer: Answer) {
        let Some(reply) = self.replies.remove(&id) else {
            return;
        };
        let refusal = match answer {
            Answer::Ready => {
                let key = self.key.as_ref().map(KeyLease::key);
                match reply {
                    Reply::Ensure(reply) => drop(reply.send(key.ok_or(Refusal::NotRunning))),
                    Reply::Acquire(..) | Reply::Stop(_) => {}
                }
                return;
            }
            Answer::Granted(run) => {
                if let Reply::Acquire(stream, holder, reply) = reply {
                    let own = self.own.clone();
                    let release = Release::new(move || report(&own, Report::Released(run, holder)));
                    let lease = self.lease(&stream, release);
                    // If the asker is gone, the lease comes back here and its drop releases it.
                    let _ =
                        reply.send(lease.map(|lease| lease.followed_by(self.next(stream, holder))));
                }
                return;
            }
            Answer::Stopped => {
                if let Reply::Stop(reply) = reply {
                    let _ = reply.send(Ok(()));
                }
                return;
            }
            Answer::NotRunning => Refusal::NotRunning,
            Answer::Gone => Refusal::Gone,
            Answer::Failed(reason) => Refusal::Failed(reason),
        };
        reply.refuse(refusal);
    }

    fn lease(&self, stream: &str, release: Release) -> Result<Lease, Refusal> {
        let ready = self.current.as_ref().and_then(|current| {
            let instance = current.instance.as_ref()?;
            Some((instance, current.ended.subscribe()))
        });
        let Some((instance, ended)) = ready else {
            return Err(Refusal::NotRunning);
        };
        let Some(endpoint) = instance.endpoints.get(stream) else {
            return Err(Refusal::UnknownStream(
                instance.endpoints.keys().cloned().collect(),
            ));
        };
        let endpoint: Endpoint = endpoint.clone();
        let app = self.shared.app(&self.record.app);
        let area_max = app.map_or(SCREEN_AREA_MAX, |app| app.area_max());
        let lease = Lease::new(Arc::clone(instance), endpoint, ended, release);
        Ok(lease.within(area_max))
    }

    /// The way from a lease of this instance to one of the next.
    fn next(&self, stream: String, holder: Holder) -> Successor {
        let (own, closing) = (self.own.clone(), self.shared.closing.clone());
        Successor::new(move || {
            let (reply, answer) = oneshot::channel();
            // It fails only when the driver is gone, and the reply with it.
            let _ = own.send(Message::Rejoin(stream, holder, reply));
            async move {
                let answer = tokio::select! {
                    answer = answer => answer,
                    () = closing.cancelled() => return Err(EndReason::ServiceShutdown),
                };
                match answer {
                    Ok(Ok(lease)) => Ok(lease),
                    Ok(Err(Refusal::Failed(FailReason::StoppedByRequest) | Refusal::Gone)) => {
                        Err(EndReason::Stopped)
                    }
                    Ok(Err(_)) => Err(EndReason::Exited),
                    Err(_) => Err(EndReason::ServiceShutdown),
                }
            }
        })
    }

    /// Shows the others what changed, and tells those who listen.
    fn show(&mut self) {
        let state = self.machine.state();
        let phase = phase_of(state);
        let previous = Arc::clone(&self.view.borrow());
        let entered = previous.phase != phase;
        if entered {
            log_entry(&self.record, state);
        }
        let (viewers, guests) = state.viewers();
        match state {
            State::Starting { .. } => self.ended = None,
            State::Stopping { reason, .. } => self.ended = Some(*reason),
            _ => {}
        }
        let progress = match (state, &self.current) {
            (State::Starting { run }, Some(current)) if current.run == *run => {
                Some(current.progress)
            }
            _ => None,
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
            progress,
            key: self.key.as_ref().map(KeyLease::key),
            viewers,
            guests,
            until,
            picture: self.picture,
            ended: self.ended,
            failure: match state {
                State::Failed { reason } => Some(reason.clone()),
                State::Forgetting { failure } => failure.clone(),
                _ => None,
            },
            instance: self.current.as_ref().and_then(|c| c.instance.clone()),
            claimed: self.current.as_ref().map(|current| current.id.clone()),
        });
        self.due = due;
        self.view.send_replace(Arc::clone(&view));
        self.shared.events.publish_changes(&previous, &view);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Forgetting {
    /// Somebody asked for it: what cannot be deleted is an error.
    Wanted,
    /// A first start failed: as much as can be.
    CleanUp,
}

fn report(own: &mpsc::UnboundedSender<Message>, report: Report) {
    // It fails only when the driver is gone, and then nobody needs to know.
    let _ = own.send(Message::Report(report));
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

fn age_of(instance: &Instance) -> Duration {
    // A clock that was set back makes no age.
    Duration::try_from(Timestamp::now().duration_since(instance.started_at)).unwrap_or_default()
}

/// Tokio's clock, so that a test can pause it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn timestamp_of(at: Instant) -> Timestamp {
    let ahead = at.saturating_duration_since(now());
    Timestamp::now()
        .saturating_add(ahead)
        .unwrap_or(Timestamp::MAX)
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
