use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn timers() -> Timers {
    Timers {
        idle: Some(15 * SECOND),
        first_viewer: Some(30 * SECOND),
        max_age: Some(600 * SECOND),
        start: 60 * SECOND,
        stop_grace: 10 * SECOND,
    }
}

fn machine() -> Lifecycle {
    Lifecycle::new(timers(), History::Proven)
}

fn refused() -> FailReason {
    FailReason::Engine(crate::engine::EngineError::Unavailable("gone".into()))
}

fn how(exit: Exit, own_timeout: Option<Duration>) -> Exited {
    Exited { exit, own_timeout }
}

fn exited() -> FailReason {
    FailReason::AppExited {
        exit: Exit::default(),
        logs: String::new(),
    }
}

/// Brings a machine to Ready with nobody looking, as run 1.
fn ready(now: Instant) -> Lifecycle {
    let mut machine = machine();
    assert_eq!(
        machine.step(Event::Ensure(RequestId(1)), now),
        [Effect::Launch(Run(1))]
    );
    assert_eq!(
        machine.step(Event::Launched(Run(1), Duration::ZERO), now),
        [Effect::Answer(RequestId(1), Answer::Ready)]
    );
    machine
}

#[test]
fn simultaneous_requests_share_one_launch() {
    let now = Instant::now();
    let mut machine = machine();
    assert_eq!(
        machine.step(Event::Ensure(RequestId(1)), now),
        [Effect::Launch(Run(1))]
    );
    assert_eq!(machine.step(Event::Ensure(RequestId(2)), now), []);
    assert_eq!(machine.step(Event::Acquire(RequestId(3)), now), []);
    assert_eq!(
        machine.step(Event::Launched(Run(1), Duration::ZERO), now),
        [
            Effect::Answer(RequestId(1), Answer::Ready),
            Effect::Answer(RequestId(2), Answer::Ready),
            Effect::Answer(RequestId(3), Answer::Granted(Run(1))),
        ]
    );
}

#[test]
fn idle_clock_starts_with_the_last_viewer_and_looks_again() {
    let start = Instant::now();
    let mut machine = ready(start);
    assert_eq!(machine.next_deadline().unwrap().at, start + 30 * SECOND);
    machine.step(Event::Acquire(RequestId(2)), start + SECOND);
    machine.step(Event::Acquire(RequestId(3)), start + SECOND);
    machine.step(
        Event::Released(Run(1), Holder::Viewer),
        start + 100 * SECOND,
    );
    assert_eq!(machine.step(Event::Tick, start + 200 * SECOND), []);
    machine.step(
        Event::Released(Run(1), Holder::Viewer),
        start + 200 * SECOND,
    );
    assert_eq!(machine.step(Event::Tick, start + 214 * SECOND), []);
    assert_eq!(
        machine.step(Event::Tick, start + 215 * SECOND),
        [Effect::Stop(Run(1), EndReason::Idle)]
    );
}

#[test]
fn a_url_handed_out_again_starts_the_wait_for_a_viewer_again() {
    let start = Instant::now();
    let mut machine = ready(start);
    machine.step(Event::Ensure(RequestId(2)), start + 29 * SECOND);
    assert_eq!(machine.step(Event::Tick, start + 30 * SECOND), []);
    assert_eq!(machine.next_deadline().unwrap().at, start + 59 * SECOND);
}

#[test]
fn an_adopted_instance_keeps_its_age() {
    let now = Instant::now() + 1_000 * SECOND;
    let mut machine = machine();
    machine.step(Event::Found, now);
    machine.step(Event::Launched(Run(1), 590 * SECOND), now);
    machine.step(Event::Acquire(RequestId(1)), now);
    assert_eq!(machine.next_deadline().unwrap().at, now + 10 * SECOND);
}

#[test]
fn maximum_age_ends_it_under_viewers() {
    let start = Instant::now();
    let mut machine = ready(start);
    machine.step(Event::Acquire(RequestId(2)), start);
    assert_eq!(
        machine.step(Event::Tick, start + 600 * SECOND),
        [Effect::Stop(Run(1), EndReason::MaximumAge)]
    );
}

#[test]
fn whoever_asks_during_a_stop_gets_the_next_instance() {
    let start = Instant::now();
    for event in [Event::Ensure(RequestId(2)), Event::Acquire(RequestId(2))] {
        let mut machine = ready(start);
        machine.step(Event::Tick, start + 30 * SECOND);
        assert_eq!(machine.step(event, start + 31 * SECOND), []);
        assert_eq!(
            machine.step(Event::Stopped(Run(1), String::new()), start + 32 * SECOND),
            [Effect::Launch(Run(2))]
        );
        let answers = machine.step(Event::Launched(Run(2), Duration::ZERO), start + 33 * SECOND);
        assert!(
            matches!(
                answers[..],
                [Effect::Answer(
                    RequestId(2),
                    Answer::Ready | Answer::Granted(Run(2))
                )]
            ),
            "{answers:?}"
        );
    }
}

#[test]
fn a_stop_while_starting_calls_the_launch_off_and_answers_everybody() {
    let now = Instant::now();
    let mut machine = machine();
    machine.step(Event::Ensure(RequestId(1)), now);
    assert_eq!(
        machine.step(Event::Stop(RequestId(2), StopMode::Keep), now),
        [
            Effect::CancelLaunch(Run(1)),
            Effect::Answer(RequestId(1), Answer::Failed(FailReason::StoppedByRequest)),
        ]
    );
    // The launch was faster than the cancellation.
    assert_eq!(
        machine.step(Event::Launched(Run(1), Duration::ZERO), now),
        [Effect::Stop(Run(1), EndReason::Stopped)]
    );
    assert_eq!(
        machine.step(Event::Stopped(Run(1), String::new()), now),
        [
            Effect::ReleaseKey,
            Effect::Answer(RequestId(2), Answer::Stopped)
        ]
    );
    assert_eq!(*machine.state(), State::Asleep);
}

#[test]
fn a_first_start_that_fails_leaves_nothing_and_a_later_one_its_reason() {
    let now = Instant::now();
    let mut new = Lifecycle::new(timers(), History::New);
    new.step(Event::Ensure(RequestId(1)), now);
    assert_eq!(
        new.step(Event::LaunchFailed(Run(1), refused()), now),
        [
            Effect::ReleaseKey,
            Effect::Answer(RequestId(1), Answer::Failed(refused())),
            Effect::Discard,
        ]
    );
    new.step(Event::Forgotten(Ok(())), now);
    assert_eq!(*new.state(), State::Gone);

    let mut proven = machine();
    proven.step(Event::Ensure(RequestId(1)), now);
    proven.step(Event::LaunchFailed(Run(1), refused()), now);
    assert_eq!(*proven.state(), State::Failed { reason: refused() });
    assert_eq!(
        proven.step(Event::Ensure(RequestId(2)), now),
        [Effect::Launch(Run(2))]
    );
}

#[test]
fn whoever_stays_gets_the_next_instance_and_starts_none() {
    let start = Instant::now();
    let rejoin = Event::Join(RequestId(3), Holder::Viewer);
    let exited = |after| {
        let mut machine = ready(start);
        machine.step(Event::Acquire(RequestId(2)), start);
        machine.step(
            Event::Exited(Run(1), how(Exit::default(), None)),
            start + after,
        );
        machine
    };
    let mut restarted = exited(60 * SECOND);
    assert_eq!(restarted.step(rejoin.clone(), start + 60 * SECOND), []);
    let later = start + 61 * SECOND;
    assert_eq!(
        restarted.step(Event::Stopped(Run(1), String::new()), later),
        [Effect::Launch(Run(2))]
    );
    assert_eq!(
        restarted.step(Event::Launched(Run(2), Duration::ZERO), later),
        [Effect::Answer(RequestId(3), Answer::Granted(Run(2)))]
    );

    // It had just begun, so it would end again.
    let mut failing = exited(SECOND);
    assert_eq!(
        failing.step(rejoin.clone(), start + SECOND),
        [Effect::Answer(RequestId(3), Answer::NotRunning)]
    );
    failing.step(Event::Stopped(Run(1), String::new()), start + SECOND);
    assert!(matches!(failing.state(), State::Failed { .. }));
    assert_eq!(
        failing.step(rejoin, start + SECOND),
        [Effect::Answer(RequestId(3), Answer::NotRunning)]
    );
}

#[test]
fn a_desktop_that_ends_again_and_again_under_viewers_who_stay_is_given_up() {
    let mut now = Instant::now();
    let mut machine = ready(now);
    machine.step(Event::Acquire(RequestId(2)), now);
    // Ends after `lasted`; whether it is started again, for the viewer who stays.
    let mut ends = |machine: &mut Lifecycle, lasted: Duration| {
        now += lasted;
        let State::Ready { run, .. } = *machine.state() else {
            return false;
        };
        machine.step(Event::Exited(run, how(Exit::default(), None)), now);
        machine.step(Event::Join(RequestId(100 + run.0), Holder::Viewer), now);
        machine.step(Event::Stopped(run, String::new()), now);
        let State::Starting { run, .. } = *machine.state() else {
            return false;
        };
        machine.step(Event::Launched(run, Duration::ZERO), now);
        true
    };
    for _ in 0..RESTARTS_MAX {
        assert!(ends(&mut machine, 11 * SECOND));
    }
    // What has lasted, and what somebody asks for, begins to count anew.
    assert!(ends(&mut machine, LASTING));
    for _ in 1..RESTARTS_MAX {
        assert!(ends(&mut machine, 11 * SECOND));
    }
    machine.step(Event::Ensure(RequestId(3)), Instant::now());
    for _ in 0..RESTARTS_MAX {
        assert!(ends(&mut machine, 11 * SECOND));
    }
    assert!(!ends(&mut machine, 11 * SECOND));
    assert!(matches!(machine.state(), State::Failed { .. }));
}

#[test]
fn what_took_long_to_start_has_not_lasted_for_long() {
    let start = Instant::now();
    let mut machine = machine();
    machine.step(Event::Acquire(RequestId(1)), start);
    machine.step(Event::Ensure(RequestId(2)), start);
    machine.step(Event::Acquire(RequestId(3)), start);
    machine.step(Event::Launched(Run(1), 30 * SECOND), start);
    machine.step(
        Event::Exited(Run(1), how(Exit::default(), None)),
        start + 2 * SECOND,
    );
    machine.step(Event::Stopped(Run(1), String::new()), start + 2 * SECOND);
    assert!(matches!(machine.state(), State::Failed { .. }));
}

#[test]
fn an_exit_under_viewers_restarts_once_and_gives_up_when_too_soon() {
    let start = Instant::now();
    let exit = Exit::default();
    let mut machine = ready(start);
    machine.step(Event::Acquire(RequestId(2)), start);
    let later = start + 60 * SECOND;
    assert_eq!(
        machine.step(Event::Exited(Run(1), how(exit, None)), later),
        [Effect::Stop(Run(1), EndReason::Exited)]
    );
    assert_eq!(
        machine.step(Event::Stopped(Run(1), String::new()), later),
        [Effect::Launch(Run(2))]
    );
    machine.step(Event::Launched(Run(2), Duration::ZERO), later);
    machine.step(Event::Acquire(RequestId(3)), later);
    // The lease of the first run is dropped late: it must not count against the second.
    machine.step(Event::Released(Run(1), Holder::Viewer), later);
    assert_eq!(machine.step(Event::Tick, later + 500 * SECOND), []);
    let soon = later + SECOND;
    machine.step(Event::Exited(Run(2), how(exit, None)), soon);
    machine.step(Event::Stopped(Run(2), "the end".into()), soon);
    let State::Failed { reason } = machine.state() else {
        panic!("{:?}", machine.state());
    };
    assert_eq!(reason.logs(), Some("the end"));
}

#[test]
fn an_app_that_ends_soon_has_failed_whichever_breaks_first() {
    let start = Instant::now();
    let ends = start + 3 * SECOND;
    let broken_first = |machine: &mut Lifecycle| {
        machine.step(Event::Acquire(RequestId(2)), start);
        machine.step(Event::Released(Run(1), Holder::Viewer), ends);
    };
    let told_first = |machine: &mut Lifecycle| {
        machine.step(Event::Acquire(RequestId(2)), start);
    };
    let asked_again = |machine: &mut Lifecycle| {
        broken_first(machine);
        machine.step(Event::Ensure(RequestId(3)), ends);
    };
    let cases: [&dyn Fn(&mut Lifecycle); 3] = [&broken_first, &told_first, &asked_again];
    for (case, before) in cases.into_iter().enumerate() {
        let mut machine = ready(start);
        before(&mut machine);
        let reported = ends + SECOND;
        let exited = Event::Exited(Run(1), how(Exit::default(), None));
        let effects = machine.step(exited, reported);
        assert_eq!(effects, [Effect::Stop(Run(1), EndReason::Exited)], "{case}");
        machine.step(Event::Stopped(Run(1), "the end".into()), reported);
        let State::Failed { reason } = machine.state() else {
            panic!("{case}: {:?}", machine.state());
        };
        assert_eq!(reason.logs(), Some("the end"), "{case}");
    }
}

#[test]
fn a_guest_turns_no_end_into_a_start() {
    let start = Instant::now();
    let guest = Event::Join(RequestId(9), Holder::Guest);
    let refused = [Effect::Answer(RequestId(9), Answer::NotRunning)];
    for stop in [
        Event::Stop(RequestId(2), StopMode::Keep),
        Event::Stop(RequestId(2), StopMode::Forget),
        Event::Exited(Run(1), how(Exit::default(), None)),
        Event::Tick,
    ] {
        let mut machine = ready(start);
        let later = start + 30 * SECOND;
        machine.step(stop.clone(), later);
        assert_eq!(machine.step(guest.clone(), later), refused, "{stop:?}");
        let effects = machine.step(Event::Stopped(Run(1), String::new()), later);
        assert!(!effects.contains(&Effect::Launch(Run(2))), "{stop:?}");
        assert_eq!(machine.step(guest.clone(), later), refused, "{stop:?}");
    }
    // One that waits for an adoption starts nothing when the instance is found to have ended.
    let mut found = machine();
    found.step(Event::Found, start);
    assert_eq!(found.step(guest, start), []);
    let ended = FailReason::AppExited {
        exit: Exit::default(),
        logs: String::new(),
    };
    assert_eq!(
        found.step(Event::LaunchFailed(Run(1), ended), start),
        [Effect::ReleaseKey, refused[0].clone()]
    );
    assert_eq!(*found.state(), State::Asleep);
}

#[test]
fn a_guest_keeps_nothing_alive() {
    let start = Instant::now();
    let mut machine = ready(start);
    let guest = Event::Join(RequestId(9), Holder::Guest);
    machine.step(Event::Acquire(RequestId(2)), start);
    machine.step(Event::Released(Run(1), Holder::Viewer), start + SECOND);
    let due = machine.next_deadline();
    let granted = [Effect::Answer(RequestId(9), Answer::Granted(Run(1)))];
    assert_eq!(machine.step(guest, start + 10 * SECOND), granted);
    assert_eq!(machine.state().viewers(), (1, 1));
    assert_eq!(machine.next_deadline(), due);
    machine.step(Event::Released(Run(1), Holder::Guest), start + 12 * SECOND);
    assert_eq!(machine.state().viewers(), (0, 0));
    assert_eq!(machine.next_deadline(), due);
}

/// What an exit without out-of-memory says of a machine that was ready from `start` on.
fn end_of(machine: &mut Lifecycle, own_timeout: Duration, at: Instant) -> EndReason {
    let effects = machine.step(
        Event::Exited(Run(1), how(Exit::default(), Some(own_timeout))),
        at,
    );
    match effects[..] {
        [Effect::Stop(Run(1), reason)] => reason,
        _ => panic!("{effects:?}"),
    }
}

fn comes_to_rest(machine: &mut Lifecycle, now: Instant) {
    let effects = machine.step(Event::Stopped(Run(1), String::new()), now);
    assert_eq!(effects, [Effect::ReleaseKey]);
    assert_eq!(*machine.state(), State::Asleep);
}

#[test]
fn an_old_image_that_ends_for_want_of_viewers_went_idle() {
    let start = Instant::now();
    let own = 20 * SECOND;
    for (ends_after, reason) in [
        (5, EndReason::Exited),
        (18, EndReason::Exited),
        (19, EndReason::Idle),
        (25, EndReason::Idle),
    ] {
        // Before its first viewer, and after its last.
        let mut first = ready(start);
        let end = start + ends_after * SECOND;
        assert_eq!(end_of(&mut first, own, end), reason, "{ends_after} s");
        comes_to_rest(&mut first, end);

        let mut last = ready(start);
        last.step(Event::Acquire(RequestId(2)), start + SECOND);
        let left = start + 100 * SECOND;
        last.step(Event::Released(Run(1), Holder::Viewer), left);
        let end = left + ends_after * SECOND;
        assert_eq!(end_of(&mut last, own, end), reason, "{ends_after} s");
        comes_to_rest(&mut last, end);
    }
}

#[test]
fn an_end_for_want_of_memory_or_under_viewers_is_none_for_want_of_viewers() {
    let start = Instant::now();
    let later = start + 100 * SECOND;
    let exit = Exit {
        code: Some(137),
        out_of_memory: true,
    };
    let mut machine = ready(start);
    assert_eq!(
        machine.step(Event::Exited(Run(1), how(exit, Some(SECOND))), later),
        [Effect::Stop(Run(1), EndReason::Exited)]
    );
    let mut machine = ready(start);
    machine.step(Event::Acquire(RequestId(2)), start);
    assert_eq!(end_of(&mut machine, SECOND, later), EndReason::Exited);
    assert_eq!(
        machine.step(Event::Stopped(Run(1), String::new()), later),
        [Effect::Launch(Run(2))],
        "a crash under a viewer is restarted"
    );
}

#[test]
fn the_break_of_the_last_connection_comes_before_the_engines_word() {
    let start = Instant::now();
    let left = start + 100 * SECOND;
    for (later, next) in [
        (SECOND, Effect::Launch(Run(2))),
        (2 * SECOND, Effect::ReleaseKey),
    ] {
        let mut machine = ready(start);
        machine.step(Event::Acquire(RequestId(2)), start);
        machine.step(Event::Released(Run(1), Holder::Viewer), left);
        let end = left + later;
        let reason = end_of(&mut machine, 20 * SECOND, end);
        assert_eq!(reason, EndReason::Exited);
        let effects = machine.step(Event::Stopped(Run(1), String::new()), end);
        assert_eq!(effects, [next]);
    }
}

#[test]
fn whoever_was_told_that_it_runs_just_before_it_ended_gets_the_next_instance() {
    let start = Instant::now();
    let mut machine = ready(start);
    let asked = start + 20 * SECOND;
    assert_eq!(
        machine.step(Event::Ensure(RequestId(2)), asked),
        [Effect::Answer(RequestId(2), Answer::Ready)]
    );
    assert_eq!(end_of(&mut machine, 20 * SECOND, asked), EndReason::Idle);
    assert_eq!(
        machine.step(Event::Stopped(Run(1), String::new()), asked),
        [Effect::Launch(Run(2))]
    );
    // Nobody came to the next one either, and nobody asked again.
    let ready = asked + SECOND;
    machine.step(Event::Launched(Run(2), Duration::ZERO), ready);
    let exited = Event::Exited(Run(2), how(Exit::default(), Some(20 * SECOND)));
    let effects = machine.step(exited, ready + 20 * SECOND);
    assert_eq!(effects, [Effect::Stop(Run(2), EndReason::Idle)]);
    let effects = machine.step(Event::Stopped(Run(2), String::new()), ready + 20 * SECOND);
    assert_eq!(effects, [Effect::ReleaseKey]);
}

#[test]
fn one_that_ended_while_it_was_adopted_is_asleep_unless_somebody_waits() {
    let now = Instant::now();
    let mut machine = machine();
    let ended = exited();
    assert_eq!(machine.step(Event::Found, now), [Effect::Probe(Run(1))]);
    assert_eq!(
        machine.step(Event::LaunchFailed(Run(1), ended.clone()), now),
        [Effect::ReleaseKey]
    );
    assert_eq!(*machine.state(), State::Asleep);

    assert_eq!(machine.step(Event::Found, now), [Effect::Probe(Run(2))]);
    machine.step(Event::Ensure(RequestId(1)), now);
    assert_eq!(
        machine.step(Event::LaunchFailed(Run(2), ended.clone()), now),
        [Effect::Launch(Run(3))]
    );
    // A start that ends is a failed one.
    machine.step(Event::LaunchFailed(Run(3), ended.clone()), now);
    assert_eq!(*machine.state(), State::Failed { reason: ended });
}

#[test]
fn what_was_found_running_is_kept_when_it_does_not_answer() {
    let now = Instant::now();
    let mut machine = Lifecycle::new(timers(), History::New);
    machine.step(Event::Found, now);
    machine.step(Event::LaunchFailed(Run(1), refused()), now);
    assert_eq!(*machine.state(), State::Failed { reason: refused() });
}

#[test]
fn forgetting_answers_the_name_anew() {
    let now = Instant::now();
    let mut machine = ready(now);
    machine.step(Event::Stop(RequestId(2), StopMode::Forget), now);
    machine.step(Event::Ensure(RequestId(3)), now);
    assert_eq!(
        machine.step(Event::Stopped(Run(1), String::new()), now),
        [Effect::ReleaseKey, Effect::Forget]
    );
    assert_eq!(
        machine.step(Event::Forgotten(Ok(())), now),
        [
            Effect::Answer(RequestId(3), Answer::Gone),
            Effect::Answer(RequestId(2), Answer::Stopped),
        ]
    );
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Launching,
    Up,
    Ending,
}

/// The world around the machine: it performs effects when told to, in any order, and checks at
/// each one that it makes sense.
struct World {
    machine: Lifecycle,
    /// The same, without guests.
    twin: Lifecycle,
    guests_asked: BTreeSet<RequestId>,
    guests: BTreeMap<Run, usize>,
    now: Instant,
    asked: u64,
    open: BTreeSet<RequestId>,
    alive: BTreeMap<Run, Phase>,
    cancelled: BTreeSet<Run>,
    /// Those whose instance ended while they were launched.
    failed: BTreeSet<Run>,
    seen: BTreeSet<Run>,
    leases: BTreeMap<Run, usize>,
    key_held: bool,
    forgetting: bool,
}

#[derive(Clone, Debug)]
enum Op {
    Ensure,
    Acquire,
    Join(Holder),
    Stop(StopMode),
    Found,
    LaunchEnds { outcome: Result<(), FailReason> },
    Release(Holder),
    Exit { own_timeout: Option<Duration> },
    StopEnds,
    StopDelayed,
    ForgetEnds { succeeds: bool },
    Fail,
    Pass(u64),
    Stray(u64),
}

use StopMode::{Forget, Keep};

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Ensure),
        4 => Just(Op::Acquire),
        2 => Just(Op::Join(Holder::Viewer)),
        4 => Just(Op::Join(Holder::Guest)),
        1 => prop_oneof![Just(Op::Stop(Keep)), Just(Op::Stop(Forget))],
        1 => Just(Op::Found),
        2 => Just(Op::LaunchEnds { outcome: Ok(()) }),
        1 => Just(Op::LaunchEnds { outcome: Err(refused()) }),
        1 => Just(Op::LaunchEnds { outcome: Err(exited()) }),
        3 => Just(Op::Release(Holder::Viewer)),
        2 => Just(Op::Release(Holder::Guest)),
        1 => prop::option::of(1_u64..60).prop_map(|seconds| Op::Exit {
            own_timeout: seconds.map(Duration::from_secs),
        }),
        4 => Just(Op::StopEnds),
        1 => Just(Op::StopDelayed),
        2 => any::<bool>().prop_map(|succeeds| Op::ForgetEnds { succeeds }),
        1 => Just(Op::Fail),
        4 => (0_u64..40).prop_map(Op::Pass),
        1 => (0_u64..6).prop_map(Op::Stray),
    ]
}

impl World {
    fn new(history: History) -> Self {
        Self {
            machine: Lifecycle::new(timers(), history),
            twin: Lifecycle::new(timers(), history),
            guests_asked: BTreeSet::new(),
            guests: BTreeMap::new(),
            now: Instant::now(),
            asked: 0,
            open: BTreeSet::new(),
            alive: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            failed: BTreeSet::new(),
            seen: BTreeSet::new(),
            leases: BTreeMap::new(),
            key_held: false,
            forgetting: false,
        }
    }

    fn ask(&mut self) -> RequestId {
        self.asked += 1;
        let id = RequestId(self.asked);
        self.open.insert(id);
        id
    }

    fn only(&self, phase: Phase) -> Option<Run> {
        self.alive
            .iter()
            .find_map(|(run, at)| (*at == phase).then_some(*run))
    }

    fn step(&mut self, event: Event) {
        let effects = self.machine.step(event.clone(), self.now);
        let is_a_guests = |effect: &Effect| match effect {
            Effect::Answer(id, _) => self.guests_asked.contains(id),
            _ => false,
        };
        let others: Vec<_> = effects
            .iter()
            .filter(|effect| !is_a_guests(effect))
            .collect();
        let expected = match event {
            Event::Join(_, Holder::Guest) | Event::Released(_, Holder::Guest) => Vec::new(),
            _ => self.twin.step(event.clone(), self.now),
        };
        assert_eq!(others, expected.iter().collect::<Vec<_>>(), "{event:?}");
        let mut state = self.machine.state().clone();
        if let State::Ready { guests, .. } = &mut state {
            *guests = 0;
        }
        assert_eq!(state, *self.twin.state(), "{event:?}");
        assert_eq!(self.machine.next_deadline(), self.twin.next_deadline());
        for effect in effects {
            self.perform(effect, &event);
        }
    }

    fn perform(&mut self, effect: Effect, cause: &Event) {
        match effect.clone() {
            Effect::Launch(run) | Effect::Probe(run) => {
                assert!(
                    self.alive.is_empty(),
                    "a second instance beside {:?}",
                    self.alive
                );
                assert!(!self.forgetting, "launched while forgetting");
                assert!(self.seen.insert(run), "{run:?} launched twice");
                self.alive.insert(run, Phase::Launching);
                self.key_held = true;
            }
            Effect::CancelLaunch(run) => {
                assert_eq!(self.alive.get(&run), Some(&Phase::Launching));
                assert!(self.cancelled.insert(run), "{run:?} cancelled twice");
            }
            Effect::FailLaunch(run, _) => {
                assert_eq!(self.alive.get(&run), Some(&Phase::Launching));
                assert!(self.failed.insert(run), "{run:?} failed twice");
            }
            Effect::Stop(run, reason) => {
                assert_eq!(self.alive.insert(run, Phase::Ending), Some(Phase::Up));
                let held = self.leases.get(&run).copied().unwrap_or(0);
                assert!(
                    reason != EndReason::Idle || held == 0,
                    "idle stop under {held} viewers by {cause:?}"
                );
            }
            Effect::Answer(id, answer) => {
                assert!(self.open.remove(&id), "{id:?} answered twice");
                match answer {
                    Answer::Ready => {
                        assert!(
                            self.only(Phase::Up).is_some() && self.key_held,
                            "a dead URL"
                        );
                    }
                    Answer::Granted(run) => {
                        assert_eq!(self.alive.get(&run), Some(&Phase::Up), "a dead lease");
                        assert!(self.key_held);
                        let leases = if self.guests_asked.contains(&id) {
                            &mut self.guests
                        } else {
                            &mut self.leases
                        };
                        *leases.entry(run).or_default() += 1;
                    }
                    Answer::Stopped => assert!(self.alive.is_empty(), "stopped, yet it runs"),
                    Answer::NotRunning | Answer::Gone | Answer::Failed(_) => {}
                }
            }
            Effect::Forget | Effect::Discard => {
                assert!(self.alive.is_empty(), "forgotten while it runs");
                assert!(!std::mem::replace(&mut self.forgetting, true));
            }
            Effect::ReleaseKey => {
                assert!(self.alive.is_empty(), "the key was released while it runs");
                assert!(std::mem::replace(&mut self.key_held, false));
            }
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Ensure => {
                let id = self.ask();
                self.step(Event::Ensure(id));
            }
            Op::Acquire => {
                let id = self.ask();
                self.step(Event::Acquire(id));
            }
            Op::Join(holder) => {
                let id = self.ask();
                if holder == Holder::Guest {
                    self.guests_asked.insert(id);
                }
                self.step(Event::Join(id, holder));
            }
            Op::Stop(mode) => {
                let id = self.ask();
                self.step(Event::Stop(id, mode));
            }
            Op::Found => {
                if self.alive.is_empty() && !self.forgetting {
                    self.step(Event::Found);
                }
            }
            Op::LaunchEnds { outcome } => {
                if let Some(run) = self.only(Phase::Launching) {
                    match outcome {
                        Ok(()) => {
                            self.alive.insert(run, Phase::Up);
                            self.step(Event::Launched(run, Duration::ZERO));
                            let is_ready = matches!(self.machine.state(), State::Ready { .. });
                            assert!(
                                !(is_ready && self.failed.contains(&run)),
                                "a dead instance is ready"
                            );
                        }
                        Err(reason) => {
                            self.alive.remove(&run);
                            self.step(Event::LaunchFailed(run, reason));
                        }
                    }
                }
            }
            Op::Release(holder) => {
                let leases = match holder {
                    Holder::Viewer => &mut self.leases,
                    Holder::Guest => &mut self.guests,
                };
                let held = leases.iter_mut().find(|(_, count)| **count > 0);
                if let Some((run, count)) = held {
                    *count -= 1;
                    let run = *run;
                    self.step(Event::Released(run, holder));
                }
            }
            Op::Exit { own_timeout } => {
                // The engine may say so before the launch reports, and more than once.
                if let Some(run) = self.only(Phase::Up).or(self.only(Phase::Launching)) {
                    self.step(Event::Exited(run, how(Exit::default(), own_timeout)));
                }
            }
            Op::StopEnds => {
                if let Some(run) = self.only(Phase::Ending) {
                    self.alive.remove(&run);
                    self.step(Event::Stopped(run, String::new()));
                }
            }
            Op::StopDelayed => {
                if let Some(run) = self.only(Phase::Ending) {
                    self.step(Event::StopDelayed(run, refused()));
                }
            }
            Op::ForgetEnds { succeeds } => {
                if std::mem::replace(&mut self.forgetting, false) {
                    let result = if succeeds { Ok(()) } else { Err(refused()) };
                    self.step(Event::Forgotten(result));
                }
            }
            Op::Fail => {
                // The driver answers everybody and ends what runs.
                self.machine.fail(refused());
                self.twin.fail(refused());
                self.open.clear();
                self.alive.clear();
                self.forgetting = false;
                self.key_held = false;
            }
            Op::Pass(seconds) => {
                self.now += Duration::from_secs(seconds);
                self.step(Event::Tick);
            }
            Op::Stray(run) => {
                let run = Run(run);
                if !self.alive.contains_key(&run) {
                    self.step(Event::Launched(run, Duration::ZERO));
                    self.step(Event::LaunchFailed(run, refused()));
                    self.step(Event::Stopped(run, String::new()));
                    self.step(Event::Released(run, Holder::Viewer));
                    self.step(Event::Released(run, Holder::Guest));
                    self.step(Event::Exited(run, how(Exit::default(), Some(SECOND))));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// No effect twice, every request answered exactly once, no idle stop under a lease, never an
    /// answer that leads to a dead URL, and nothing that guests change: whatever happens in whatever order.
    #[test]
    fn any_order_of_events_keeps_the_promises(
        new in any::<bool>(),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let mut world = World::new(if new { History::New } else { History::Proven });
        for op in ops {
            world.apply(op);
        }
        // Whatever is under way comes to its end: then nobody waits any more.
        for _ in 0..4 {
            world.apply(Op::LaunchEnds { outcome: Ok(()) });
            world.apply(Op::StopEnds);
            world.apply(Op::ForgetEnds { succeeds: true });
        }
        prop_assert!(world.open.is_empty(), "unanswered: {:?}", world.open);
        prop_assert!(world.alive.len() <= 1);
        prop_assert_eq!(world.key_held, !world.alive.is_empty());
    }
}
