//! The life of one desktop as a pure state machine: state + event + now → effects.
//!
//! ```text
//!            Ensure                Launched
//!  Asleep ───────────▶ Starting ─────────────▶ Ready ──┐ viewers come and go
//!    ▲ ▲                │    │                  │  ▲───┘
//!    │ │   LaunchFailed │    │ Stop             │ Tick (idle, age), Stop, Exited
//!    │ │    ▼           │    ▼                  ▼
//!    │ └─ Failed        └─▶ Stopping ◀──────────┘
//!    │                       │  │  │ Stopped, then: Restart ──▶ Starting
//!    └───────────────────────┘  │
//!          then: Rest           └─ then: Forget ──▶ Forgetting ──▶ Gone
//! ```
//!
//! There is no clock, no I/O and no log in here: `driver.rs` performs the effects and
//! reports what came of them as events. What only one state needs lives in that state.
//!
//! Why a grant and a stop cannot race: both are decided here, one after the other. The idle clock
//! running out is an event that looks at the viewers again, and whoever asks while a stop is under
//! way turns it into a restart and is served by the new instance.
//! Guests decide nothing: a desktop goes through the same states with them and without.
//!
//! More than 500 lines because it is one machine: every event in every state stands in one place.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use crate::catalog::Timers;
use crate::engine::Exit;

use super::end::EndReason;
use super::failure::FailReason;

/// A desktop whose instance ends sooner than this after it was ready is not started again by
/// itself, although somebody is looking: it would end again.
pub const CRASH_LOOP_BOUND: Duration = Duration::from_secs(10);

/// How often a desktop is started again by itself until somebody asks for it, or until one of its instances has lasted for
/// [`LASTING`]: viewers who stay connected would otherwise have it end and start for ever.
pub const RESTARTS_MAX: u8 = 3;

/// An instance that answered for this long does not count among those that end again and again.
pub const LASTING: Duration = Duration::from_secs(300);

/// The connections of viewers break a moment before the engine says that what they looked at has ended: so long after
/// the last one, an end is one under viewers.
pub const BREAK_BOUND: Duration = Duration::from_secs(2);

/// The timer of an image that ends by itself when idle has a resolution of one second, and starts independently.
const OWN_CLOCK_SLACK: Duration = Duration::from_secs(1);

/// One run of the desktop, counted from 1 in the life of the service's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run(pub u64);

/// Somebody who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Where a desktop is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Remembered, and nothing of it runs.
    Asleep,
    /// Its instance is being started, or (after a restart of the service) probed.
    Starting {
        /// The run that starts.
        run: Run,
        /// How its instance ended, where the engine said so before the launch did.
        exited: Option<Exited>,
    },
    /// Its instance answers.
    Ready {
        /// The run that answers.
        run: Run,
        /// When it was started, as far as the maximum age is concerned.
        since: Instant,
        /// When it began to answer, as far as it is known.
        answers_since: Instant,
        /// Who looks and keeps it alive.
        in_use: Use,
        /// How many guests look. No rule of this module depends on it.
        guests: usize,
    },
    /// Its instance is being ended; the stream key still belongs to the desktop.
    Stopping {
        /// The run that ends.
        run: Run,
        /// Why.
        reason: EndReason,
        /// What comes after.
        then: AfterStop,
        /// Whether the instance ran when its end began, so that a last picture can be taken.
        still_runs: bool,
    },
    /// Its last start failed, and nothing of it runs.
    Failed {
        /// Why.
        reason: FailReason,
    },
    /// Its record and home are being deleted.
    Forgetting {
        /// Why its first start failed, where that is why it is forgotten.
        failure: Option<FailReason>,
    },
    /// It does not exist any more; a request for its name makes a new desktop.
    Gone,
}

/// How an instance ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exited {
    /// What the engine says of it.
    pub exit: Exit,
    /// After how long without viewers it ends by itself, where it does.
    pub own_timeout: Option<Duration>,
}

/// By which address the holder of a lease came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// By the desktop's own: the lease keeps the desktop alive.
    Viewer,
    /// By a share: the lease starts, restarts and prolongs nothing.
    Guest,
}

/// Who looks at a ready desktop and keeps it alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// So many leases are held.
    By(NonZeroUsize),
    /// Nobody, and its URL was handed out at this time, when it began to answer.
    Expected(Instant),
    /// Nobody, and its URL was handed out at this time, while it ran already.
    ExpectedAgain(Instant),
    /// Nobody since the last viewer left at this time.
    IdleSince(Instant),
}

/// What comes after a stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterStop {
    /// Nothing: it is remembered.
    Rest,
    /// It starts again: somebody asked for it meanwhile.
    Restart,
    /// Nothing: it ended by itself too soon, and this is why.
    Fail(FailReason),
    /// Its record and home are deleted.
    Forget,
}

/// What is kept of a desktop that is stopped by request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Record and home.
    Keep,
    /// Nothing.
    Forget,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants the desktop to run.
    Ensure(RequestId),
    /// Somebody wants to look at the desktop, by its stream key.
    Acquire(RequestId),
    /// A guest, or a viewer whose instance has ended, wants to look at the desktop if it runs or starts anyway.
    Join(RequestId, Holder),
    /// Somebody wants it stopped.
    Stop(RequestId, StopMode),
    /// A running instance was found that this desktop does not know of: after a restart of the
    /// service.
    Found,
    /// The launch succeeded: the instance, which was started so long ago, answers.
    Launched(Run, Duration),
    /// The launch failed, and nothing of it is left.
    LaunchFailed(Run, FailReason),
    /// A lease was dropped.
    Released(Run, Holder),
    /// The instance ended by itself, or is not there any more.
    Exited(Run, Exited),
    /// The stop is done: nothing of the run is left but, where it ended by itself, the last lines
    /// it wrote.
    Stopped(Run, String),
    /// The stop does not get on, because the engine does not answer; it is tried again.
    StopDelayed(Run, FailReason),
    /// Record and home are deleted, or not.
    Forgotten(Result<(), FailReason>),
    /// The time of [`Lifecycle::next_deadline`] has come.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start an instance, wait until it answers, and report Launched or LaunchFailed.
    Launch(Run),
    /// Wait until the instance that was found answers, and report Launched or LaunchFailed.
    Probe(Run),
    /// Call the launch off; it still reports.
    CancelLaunch(Run),
    /// Tell the launch that its instance ended; it still reports.
    FailLaunch(Run, Exit),
    /// End the instance under its viewers, remove it, and report Stopped.
    Stop(Run, EndReason),
    /// Tell a waiting request.
    Answer(RequestId, Answer),
    /// Delete record and home, and report Forgotten.
    Forget,
    /// Delete the record of a desktop that never ran and whatever its start left; report Forgotten.
    Discard,
    /// The stream key belongs to nobody any more.
    ReleaseKey,
}

/// What a request is told; each gets exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It runs and answers.
    Ready,
    /// Here is a lease of the running instance.
    Granted(Run),
    /// Nothing of it runs.
    Stopped,
    /// Nothing of it runs, and a stream request starts nothing.
    NotRunning,
    /// It does not exist any more: look the name up again.
    Gone,
    /// It could not be done.
    Failed(FailReason),
}

/// Whether a desktop ever answered: one that never did leaves nothing behind when its start fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// Made by the request that starts it.
    New,
    /// It answered before, or was read from the store.
    Proven,
}

/// When and why a desktop will be stopped, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Instant,
    /// Why.
    pub reason: EndReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Desktop,
    Lease,
    /// A lease, if the desktop answers anyway.
    Join(Holder),
}

impl Want {
    /// Whether a desktop is started for it.
    fn starts(self) -> bool {
        match self {
            Self::Desktop | Self::Lease => true,
            Self::Join(_) => false,
        }
    }
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    state: State,
    timers: Timers,
    history: History,
    runs: u64,
    /// Whether the run that starts, or runs, was found running.
    found: bool,
    /// Restarts that nobody asked for, see [`RESTARTS_MAX`].
    restarts: u8,
    /// Held until an instance answers; empty unless Starting, Stopping or Forgetting.
    waiting: Vec<(RequestId, Want)>,
    /// Requests to stop, held until nothing runs; empty unless Stopping or Forgetting.
    stopping: Vec<RequestId>,
}

impl State {
    /// How many look: all of them, and how many of these are guests.
    pub fn viewers(&self) -> (usize, usize) {
        match self {
            Self::Ready { in_use, guests, .. } => match in_use {
                Use::By(leases) => (leases.get() + guests, *guests),
                Use::Expected(_) | Use::ExpectedAgain(_) | Use::IdleSince(_) => (*guests, *guests),
            },
            _ => (0, 0),
        }
    }
}

impl Lifecycle {
    /// A desktop of which nothing runs.
    pub fn new(timers: Timers, history: History) -> Self {
        Self::resting(State::Asleep, timers, history)
    }

    /// A desktop whose last start failed.
    pub fn failed(timers: Timers, reason: FailReason) -> Self {
        Self::resting(State::Failed { reason }, timers, History::Proven)
    }

    /// The same, whose runs are counted on from this number: reports of earlier ones may still come.
    #[must_use]
    pub fn counting_from(self, runs: u64) -> Self {
        Self { runs, ..self }
    }

    /// How many runs were begun.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    fn resting(state: State, timers: Timers, history: History) -> Self {
        Self {
            state,
            timers,
            history,
            runs: 0,
            found: false,
            restarts: 0,
            waiting: Vec::new(),
            stopping: Vec::new(),
        }
    }

    /// Where it is.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether nothing of it runs, nothing is under way, and no request waits.
    pub fn rests(&self) -> bool {
        let is_at_rest = matches!(
            self.state,
            State::Asleep | State::Failed { .. } | State::Gone
        );
        is_at_rest && self.waiting.is_empty() && self.stopping.is_empty()
    }

    /// Replaces the timers: those of the app as the catalogue has it now, read at each start.
    pub fn set_timers(&mut self, timers: Timers) {
        self.timers = timers;
    }

    /// When [`Event::Tick`] is due, and why it will stop the desktop if nothing else happens.
    pub fn next_deadline(&self) -> Option<Deadline> {
        let State::Ready { since, in_use, .. } = self.state else {
            return None;
        };
        let unused = match in_use {
            Use::By(_) => None,
            Use::Expected(since) | Use::ExpectedAgain(since) => {
                after(since, self.timers.first_viewer)
            }
            Use::IdleSince(since) => after(since, self.timers.idle),
        };
        let idle = unused.map(|at| Deadline {
            at,
            reason: EndReason::Idle,
        });
        let aged = after(since, self.timers.max_age).map(|at| Deadline {
            at,
            reason: EndReason::MaximumAge,
        });
        [idle, aged].into_iter().flatten().min_by_key(|due| due.at)
    }

    /// Gives up whatever was under way: nothing runs as far as this knows, and nobody waits any more.
    pub fn fail(&mut self, reason: FailReason) {
        self.state = State::Failed { reason };
        self.found = false;
        self.restarts = 0;
        self.waiting.clear();
        self.stopping.clear();
    }

    /// Takes one event and says what is to be done about it, in this order.
    pub fn step(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Ensure(id) => self.ensure(id, now, &mut effects),
            Event::Acquire(id) => self.acquire(id, &mut effects),
            Event::Join(id, holder) => self.join(id, holder, &mut effects),
            Event::Stop(id, mode) => self.stop(id, mode, &mut effects),
            Event::Found => self.found(&mut effects),
            Event::Launched(run, age) => self.launched(run, age, now, &mut effects),
            Event::LaunchFailed(run, reason) => self.launch_failed(run, reason, &mut effects),
            Event::Released(run, holder) => self.released(run, holder, now),
            Event::Exited(run, how) => self.exited(run, how, now, &mut effects),
            Event::Stopped(run, logs) => self.stopped(run, logs, &mut effects),
            Event::StopDelayed(run, reason) => self.stop_delayed(run, &reason, &mut effects),
            Event::Forgotten(result) => self.forgotten(result, &mut effects),
            Event::Tick => self.tick(now, &mut effects),
        }
        effects
    }

    fn ensure(&mut self, id: RequestId, now: Instant, effects: &mut Vec<Effect>) {
        self.restarts = 0;
        match &mut self.state {
            State::Asleep | State::Failed { .. } => {
                self.waiting.push((id, Want::Desktop));
                self.begin_launch(effects);
            }
            State::Starting { .. } | State::Forgetting { .. } => {
                self.waiting.push((id, Want::Desktop));
            }
            State::Ready { in_use, .. } => {
                // Whoever gets the URL now needs as long to open it as whoever started it.
                if !matches!(in_use, Use::By(_)) {
                    *in_use = Use::ExpectedAgain(now);
                }
                effects.push(Effect::Answer(id, Answer::Ready));
            }
            State::Stopping { then, .. } => {
                restart_instead(then);
                self.waiting.push((id, Want::Desktop));
            }
            State::Gone => effects.push(Effect::Answer(id, Answer::Gone)),
        }
    }

    fn acquire(&mut self, id: RequestId, effects: &mut Vec<Effect>) {
        self.restarts = 0;
        match &mut self.state {
            State::Asleep | State::Failed { .. } | State::Gone => {
                effects.push(Effect::Answer(id, Answer::NotRunning));
            }
            State::Starting { .. } | State::Forgetting { .. } => {
                self.waiting.push((id, Want::Lease));
            }
            State::Ready { .. } => self.grant(id, Holder::Viewer, effects),
            State::Stopping { then, .. } => {
                restart_instead(then);
                self.waiting.push((id, Want::Lease));
            }
        }
    }

    /// Unlike [`Self::acquire`], it changes nothing of what comes next: neither a stop nor the count of [`RESTARTS_MAX`].
    fn join(&mut self, id: RequestId, holder: Holder, effects: &mut Vec<Effect>) {
        match &self.state {
            State::Starting { .. }
            | State::Stopping {
                then: AfterStop::Restart,
                ..
            } => self.waiting.push((id, Want::Join(holder))),
            State::Ready { .. } => self.grant(id, holder, effects),
            State::Asleep
            | State::Failed { .. }
            | State::Stopping { .. }
            | State::Forgetting { .. }
            | State::Gone => effects.push(Effect::Answer(id, Answer::NotRunning)),
        }
    }

    fn grant(&mut self, id: RequestId, holder: Holder, effects: &mut Vec<Effect>) {
        if let State::Ready {
            run,
            in_use,
            guests,
            ..
        } = &mut self.state
        {
            match holder {
                Holder::Guest => *guests += 1,
                Holder::Viewer => {
                    *in_use = Use::By(match in_use {
                        Use::By(leases) => leases.saturating_add(1),
                        Use::Expected(_) | Use::ExpectedAgain(_) | Use::IdleSince(_) => {
                            NonZeroUsize::MIN
                        }
                    });
                }
            }
            effects.push(Effect::Answer(id, Answer::Granted(*run)));
        }
    }

    fn stop(&mut self, id: RequestId, mode: StopMode, effects: &mut Vec<Effect>) {
        let then = match mode {
            StopMode::Keep => AfterStop::Rest,
            StopMode::Forget => AfterStop::Forget,
        };
        match &mut self.state {
            State::Asleep | State::Failed { .. } => match mode {
                StopMode::Keep => {
                    self.state = State::Asleep;
                    effects.push(Effect::Answer(id, Answer::Stopped));
                }
                StopMode::Forget => {
                    self.stopping.push(id);
                    self.state = State::Forgetting { failure: None };
                    effects.push(Effect::Forget);
                }
            },
            State::Starting { run, .. } => {
                let run = *run;
                effects.push(Effect::CancelLaunch(run));
                self.stopping.push(id);
                self.state = State::Stopping {
                    run,
                    reason: EndReason::Stopped,
                    then,
                    still_runs: false,
                };
                self.refuse_waiting(&FailReason::StoppedByRequest, effects);
            }
            State::Ready { run, .. } => {
                let run = *run;
                self.stopping.push(id);
                self.begin_stop(run, EndReason::Stopped, then, true, effects);
            }
            State::Stopping { then: current, .. } => {
                if *current != AfterStop::Forget {
                    *current = then;
                }
                self.stopping.push(id);
                self.refuse_waiting(&FailReason::StoppedByRequest, effects);
            }
            State::Forgetting { .. } => self.stopping.push(id),
            State::Gone => effects.push(Effect::Answer(id, Answer::Stopped)),
        }
    }

    fn found(&mut self, effects: &mut Vec<Effect>) {
        if matches!(self.state, State::Asleep | State::Failed { .. }) {
            let run = self.next_run();
            self.found = true;
            // It ran before this service knew of it: it is no first start that could leave nothing.
            self.history = History::Proven;
            self.state = State::Starting { run, exited: None };
            effects.push(Effect::Probe(run));
        }
    }

    fn launched(&mut self, run: Run, age: Duration, now: Instant, effects: &mut Vec<Effect>) {
        match self.state {
            State::Starting {
                run: current,
                exited,
            } if current == run => {
                self.history = History::Proven;
                let since = now.checked_sub(age).unwrap_or(now);
                self.state = State::Ready {
                    run,
                    since,
                    // What was found has answered somebody else before.
                    answers_since: if self.found { since } else { now },
                    in_use: Use::Expected(now),
                    guests: 0,
                };
                for (id, want) in std::mem::take(&mut self.waiting) {
                    match want {
                        Want::Desktop => effects.push(Effect::Answer(id, Answer::Ready)),
                        Want::Lease => self.grant(id, Holder::Viewer, effects),
                        Want::Join(holder) => self.grant(id, holder, effects),
                    }
                }
                if let Some(exited) = exited {
                    self.exited(run, exited, now, effects);
                }
            }
            // It was called off too late: it has to be ended the long way.
            State::Stopping {
                run: current,
                reason,
                ..
            } if current == run => {
                self.history = History::Proven;
                effects.push(Effect::Stop(run, reason));
            }
            _ => {}
        }
    }

    fn launch_failed(&mut self, run: Run, reason: FailReason, effects: &mut Vec<Effect>) {
        match self.state {
            // An instance that ends while it is adopted is like one that ended just before: it is no failed start.
            State::Starting { run: current, .. }
                if current == run
                    && self.found
                    && matches!(reason, FailReason::AppExited { .. }) =>
            {
                if self.waiting.iter().any(|(_, want)| want.starts()) {
                    self.begin_launch(effects);
                } else {
                    self.state = State::Asleep;
                    effects.push(Effect::ReleaseKey);
                    for (id, _) in std::mem::take(&mut self.waiting) {
                        effects.push(Effect::Answer(id, Answer::NotRunning));
                    }
                }
            }
            State::Starting { run: current, .. } if current == run => {
                effects.push(Effect::ReleaseKey);
                self.refuse_waiting(&reason, effects);
                match self.history {
                    History::Proven => self.state = State::Failed { reason },
                    History::New => {
                        self.state = State::Forgetting {
                            failure: Some(reason),
                        };
                        effects.push(Effect::Discard);
                    }
                }
            }
            State::Stopping { run: current, .. } if current == run => {
                self.stopped(run, String::new(), effects);
            }
            _ => {}
        }
    }

    fn released(&mut self, released: Run, holder: Holder, now: Instant) {
        let State::Ready {
            run,
            in_use,
            guests,
            ..
        } = &mut self.state
        else {
            return;
        };
        if *run != released {
            return;
        }
        match (holder, in_use) {
            (Holder::Guest, _) => *guests = guests.saturating_sub(1),
            (Holder::Viewer, Use::By(leases)) if leases.get() > 1 => {
                *leases = NonZeroUsize::new(leases.get() - 1).unwrap_or(NonZeroUsize::MIN);
            }
            (Holder::Viewer, in_use @ Use::By(_)) => *in_use = Use::IdleSince(now),
            (Holder::Viewer, _) => {}
        }
    }

    fn exited(&mut self, ended: Run, how: Exited, now: Instant, effects: &mut Vec<Effect>) {
        if let State::Starting { run, exited } = &mut self.state
            && *run == ended
        {
            if exited.is_none() {
                *exited = Some(how);
                effects.push(Effect::FailLaunch(ended, how.exit));
            }
            return;
        }
        let Exited { exit, own_timeout } = how;
        if let State::Ready {
            run,
            since,
            answers_since,
            in_use,
            ..
        } = self.state
            && run == ended
        {
            let lasted = now.duration_since(answers_since);
            if lasted >= LASTING {
                self.restarts = 0;
            }
            // As far as is known here: whether anybody looked before the last one who asked was
            // handed the URL is not.
            let alone_since = match in_use {
                Use::By(_) => None,
                Use::Expected(_) | Use::ExpectedAgain(_) => Some(since),
                Use::IdleSince(at) => Some(at),
            };
            let alone = alone_since.map(|at| now.duration_since(at));
            let went_idle = !exit.out_of_memory
                && own_timeout
                    .zip(alone)
                    .is_some_and(|(own, alone)| alone + OWN_CLOCK_SLACK >= own);
            let reason = if went_idle {
                EndReason::Idle
            } else {
                EndReason::Exited
            };
            let is_expected = match in_use {
                // Somebody who was looking will look again, at the same key: do not make them ask.
                Use::By(_) => true,
                Use::IdleSince(at) => now.duration_since(at) < BREAK_BOUND && !went_idle,
                // They were told while it ran that it does, and are on their way.
                Use::ExpectedAgain(_) => true,
                Use::Expected(_) => false,
            };
            let may_restart = lasted >= CRASH_LOOP_BOUND && self.restarts < RESTARTS_MAX;
            let then = if is_expected && may_restart {
                self.restarts += 1;
                AfterStop::Restart
            } else if is_expected && !went_idle {
                AfterStop::Fail(FailReason::AppExited {
                    exit,
                    logs: String::new(),
                })
            } else {
                AfterStop::Rest
            };
            self.begin_stop(run, reason, then, false, effects);
        }
    }

    fn stopped(&mut self, stopped: Run, logs: String, effects: &mut Vec<Effect>) {
        let State::Stopping { run, then, .. } = &self.state else {
            return;
        };
        if *run != stopped {
            return;
        }
        match then.clone() {
            AfterStop::Rest => {
                self.state = State::Asleep;
                effects.push(Effect::ReleaseKey);
                self.answer_stopping(effects);
            }
            AfterStop::Fail(mut reason) => {
                reason.set_logs(logs);
                self.state = State::Failed { reason };
                effects.push(Effect::ReleaseKey);
                self.answer_stopping(effects);
            }
            AfterStop::Restart => {
                self.answer_stopping(effects);
                self.begin_launch(effects);
            }
            AfterStop::Forget => {
                self.state = State::Forgetting { failure: None };
                effects.push(Effect::ReleaseKey);
                effects.push(Effect::Forget);
            }
        }
    }

    fn stop_delayed(&mut self, delayed: Run, reason: &FailReason, effects: &mut Vec<Effect>) {
        if let State::Stopping { run, then, .. } = &mut self.state
            && *run == delayed
        {
            if *then == AfterStop::Restart {
                *then = AfterStop::Rest;
            }
            self.refuse_waiting(reason, effects);
            for id in std::mem::take(&mut self.stopping) {
                effects.push(Effect::Answer(id, Answer::Failed(reason.clone())));
            }
        }
    }

    fn forgotten(&mut self, result: Result<(), FailReason>, effects: &mut Vec<Effect>) {
        if !matches!(self.state, State::Forgetting { .. }) {
            return;
        }
        match result {
            Ok(()) => {
                self.state = State::Gone;
                for (id, want) in std::mem::take(&mut self.waiting) {
                    let answer = match want {
                        Want::Desktop => Answer::Gone,
                        Want::Lease | Want::Join(_) => Answer::NotRunning,
                    };
                    effects.push(Effect::Answer(id, answer));
                }
                self.answer_stopping(effects);
            }
            Err(reason) => {
                // It is still remembered; whoever asked to forget it may ask again.
                self.state = State::Asleep;
                for id in std::mem::take(&mut self.stopping) {
                    effects.push(Effect::Answer(id, Answer::Failed(reason.clone())));
                }
                let waiting = std::mem::take(&mut self.waiting);
                for (id, want) in waiting {
                    match want {
                        Want::Desktop => {
                            self.waiting.push((id, want));
                        }
                        Want::Lease | Want::Join(_) => {
                            effects.push(Effect::Answer(id, Answer::NotRunning));
                        }
                    }
                }
                if !self.waiting.is_empty() {
                    self.begin_launch(effects);
                }
            }
        }
    }

    fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if let State::Ready { run, .. } = self.state
            && let Some(due) = self.next_deadline()
            && due.at <= now
        {
            self.begin_stop(run, due.reason, AfterStop::Rest, true, effects);
        }
    }

    fn begin_launch(&mut self, effects: &mut Vec<Effect>) {
        let run = self.next_run();
        self.found = false;
        self.state = State::Starting { run, exited: None };
        effects.push(Effect::Launch(run));
    }

    fn begin_stop(
        &mut self,
        run: Run,
        reason: EndReason,
        then: AfterStop,
        still_runs: bool,
        effects: &mut Vec<Effect>,
    ) {
        self.state = State::Stopping {
            run,
            reason,
            then,
            still_runs,
        };
        effects.push(Effect::Stop(run, reason));
    }

    fn refuse_waiting(&mut self, reason: &FailReason, effects: &mut Vec<Effect>) {
        for (id, _) in std::mem::take(&mut self.waiting) {
            effects.push(Effect::Answer(id, Answer::Failed(reason.clone())));
        }
    }

    fn answer_stopping(&mut self, effects: &mut Vec<Effect>) {
        for id in std::mem::take(&mut self.stopping) {
            effects.push(Effect::Answer(id, Answer::Stopped));
        }
    }

    fn next_run(&mut self) -> Run {
        self.runs += 1;
        Run(self.runs)
    }
}

fn after(since: Instant, period: Option<Duration>) -> Option<Instant> {
    // A period beyond what the clock can hold is as good as never.
    period.and_then(|period| since.checked_add(period))
}

fn restart_instead(then: &mut AfterStop) {
    // A desktop that is being forgotten is forgotten first; its name is looked up again then.
    if *then != AfterStop::Forget {
        *then = AfterStop::Restart;
    }
}

#[cfg(test)]
mod tests;
