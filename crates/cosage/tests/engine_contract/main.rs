//! What every engine is held to: one list of tests, run on each engine, alone and with remote desktops beside it; and
//! what only Docker can get wrong.
//!
//! A test on a capability is skipped, and says so, on an engine that does not have it.
//!
//! The tests on Docker are skipped, and say so, where no engine answers; with
//! `COSAGE_REQUIRE_DOCKER` set they fail instead. They need the image `cosage/tiny:latest`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

#[path = "../support/bare.rs"]
mod bare;
mod capabilities;
mod docker;
mod docker_only;
mod docker_pull;
#[path = "../support/engine.rs"]
mod engine;
mod files;
mod names;
mod simulated;
mod stub;
#[path = "../support/wait.rs"]
mod wait;

use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cosage::desktop::{StreamKey, Uid};
use cosage::engine::legacy::TIMEOUT_VARIABLE;
use cosage::engine::remote::WithRemotes;
use cosage::engine::{
    ContainerSpec, Engine, EngineError, EngineEvent, Exit, Found, Instance, InstanceId, LaunchSpec,
    StartStep, Workload,
};
use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt};
use rfb::client::{Client, Sharing};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::capabilities::{
    logs_are_bounded, logs_are_followed_to_the_end, logs_are_the_last_lines,
    nothing_has_no_logs_and_no_usage, present_and_missing_images_are_told_apart,
    usage_is_measured_until_it_ends,
};
use self::files::{
    a_file_comes_back_as_it_went, a_forgotten_home_takes_its_transfers_along,
    a_large_file_comes_back_as_it_went, a_transfer_and_a_start_do_not_wait_for_each_other,
    an_upload_that_is_given_up_leaves_nothing, directories_are_listed_archived_and_deleted,
    disk_use_is_what_the_blocks_of_a_home_take, homes_are_listed_until_they_are_deleted,
    links_that_lead_out_lead_nowhere, what_a_change_expects_has_to_be_there,
    what_is_put_belongs_to_the_homes_owner,
};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The exit code of a process that was killed: 128 and the number of the signal.
const KILLED: i64 = 137;

/// An engine that is tested, and what has to be done to it from outside.
#[async_trait]
trait Fixture: Send + Sync {
    /// A handle to the engine, as a service that has just started has it.
    fn engine(&self) -> Arc<dyn Engine>;
    /// A desktop with a VNC server, a password and a home volume.
    fn desktop(&self, uid: &Uid) -> LaunchSpec;
    /// A container that does nothing but write `lines` numbered lines first.
    fn writer(&self, uid: &Uid, lines: usize) -> LaunchSpec;
    /// Lets that container have written; nothing to do where it does so by itself.
    fn write(&self, instance: &InstanceId, lines: usize);
    /// A container that does not end when it is asked to.
    fn stubborn(&self, uid: &Uid) -> LaunchSpec;
    /// Lets starts take so long that they can be cancelled.
    fn slow_down(&self);
    /// Lets more than four starts at a time wait for each other.
    fn queue_starts(&self);
    /// Lets the image of this order be missing.
    fn lose_image(&self, spec: &mut LaunchSpec);
    /// Makes a container with the name of this one that is somebody else's.
    async fn take_name(&self, spec: &LaunchSpec);
    /// Whether that container is there and runs.
    async fn name_is_taken(&self, spec: &LaunchSpec) -> bool;
    /// Ends the main process of a writer with exit code 3; its last line is "the end".
    async fn end(&self, instance: &InstanceId);
    /// Whether the desktop has a home volume.
    async fn has_home(&self, uid: &Uid) -> bool;
    /// What a shell prints that is run in the desktop's home as its owner.
    async fn in_home(&self, uid: &Uid, script: &str) -> String;
    /// Removes all that was made.
    async fn clean_up(&self);
}

type Subject = Arc<dyn Fixture>;

/// Whether an engine has remote desktops beside its own.
#[derive(Clone, Copy)]
enum Remotes {
    Without,
    With,
}

impl Remotes {
    fn beside(self, engine: Arc<dyn Engine>) -> Arc<dyn Engine> {
        match self {
            Self::Without => engine,
            Self::With => Arc::new(WithRemotes::new(engine, Vec::new())),
        }
    }
}

/// Runs a test, and cleans up after it whatever becomes of it.
async fn run(fixture: Subject, test: impl Future<Output = ()>) {
    let outcome = AssertUnwindSafe(tokio::time::timeout(PATIENCE, test))
        .catch_unwind()
        .await;
    fixture.clean_up().await;
    match outcome {
        Ok(in_time) => in_time.expect("the test took longer than a minute"),
        Err(panic) => resume_unwind(panic),
    }
}

macro_rules! contract {
    ($($test:ident,)*) => {
        contract!(@on on_simulated, Some(crate::simulated::fixture()), $($test,)*);
        contract!(@on on_simulated_with_remotes, Some(crate::simulated::with_remotes()), $($test,)*);
        contract!(@on on_simulated_without_capabilities, Some(crate::simulated::bare()), $($test,)*);
        contract!(@on on_docker, crate::docker::fixture().await, $($test,)*);
        contract!(@on on_docker_with_remotes, crate::docker::with_remotes().await, $($test,)*);
    };
    (@on $engine:ident, $fixture:expr, $($test:ident,)*) => {
        mod $engine {
            $(#[tokio::test]
            async fn $test() {
                if let Some(fixture) = $fixture {
                    crate::run(fixture.clone(), crate::$test(fixture)).await;
                }
            })*
        }
    };
}

contract! {
    what_is_started_can_be_used_until_it_is_stopped,
    a_start_says_where_it_is,
    a_cancelled_start_leaves_nothing,
    a_missing_image_is_said_with_what_to_do,
    a_foreign_name_is_left_alone,
    what_is_left_of_an_earlier_run_is_replaced,
    an_earlier_run_is_asked_to_end_before_the_next_begins,
    a_restarted_service_finds_the_same_instance,
    an_end_is_reported_with_its_code,
    logs_are_the_last_lines,
    logs_are_bounded,
    usage_is_measured_until_it_ends,
    logs_are_followed_to_the_end,
    nothing_has_no_logs_and_no_usage,
    present_and_missing_images_are_told_apart,
    a_home_outlives_its_container,
    what_does_not_end_is_killed,
    simultaneous_starts_all_succeed,
    nothing_is_no_error,
    a_file_comes_back_as_it_went,
    what_a_change_expects_has_to_be_there,
    a_large_file_comes_back_as_it_went,
    directories_are_listed_archived_and_deleted,
    links_that_lead_out_lead_nowhere,
    an_upload_that_is_given_up_leaves_nothing,
    what_is_put_belongs_to_the_homes_owner,
    a_transfer_and_a_start_do_not_wait_for_each_other,
    a_forgotten_home_takes_its_transfers_along,
    disk_use_is_what_the_blocks_of_a_home_take,
    homes_are_listed_until_they_are_deleted,
}

async fn what_is_started_can_be_used_until_it_is_stopped(subject: Subject) {
    let engine = subject.engine();
    let spec = subject.desktop(&Uid::random());
    let instance = start(&*engine, &spec).await;

    assert_eq!(instance.id, spec.instance);
    assert_eq!(instance.uid, spec.uid);
    assert_eq!(instance.app, spec.app);
    assert_eq!(instance.key, spec.key);
    assert_eq!(instance.password, container(&spec).password);
    let age = jiff::Timestamp::now().duration_since(instance.started_at);
    assert!(age.as_secs().abs() < 60, "started {age:?} ago");
    let (width, height) = look(&instance).await;
    assert!(width > 0 && height > 0);
    assert_eq!(engine.exit(&instance.id).await, Ok(None));
    assert_eq!(
        engine.list().await,
        Ok(vec![Found::Running(instance.clone())])
    );

    let address = instance.endpoints["vnc"].address;
    for _ in 0..2 {
        let grace = Duration::from_secs(5);
        assert_eq!(engine.stop(&instance.id, grace).await, Ok(()));
        assert_eq!(engine.list().await, Ok(vec![]));
    }
    let dial = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address));
    assert!(!matches!(dial.await, Ok(Ok(_))), "it still answers");
    assert_eq!(engine.exit(&instance.id).await, Err(EngineError::Gone));
}

async fn a_start_says_where_it_is(subject: Subject) {
    let engine = subject.engine();
    subject.queue_starts();
    let specs: Vec<_> = (0..8).map(|_| subject.desktop(&Uid::random())).collect();
    let told = join_all(specs.iter().map(async |spec| {
        let steps = Mutex::new(Vec::new());
        let on_step = |step| steps.lock().unwrap().push(step);
        let cancel = CancellationToken::new();
        engine.start(spec, &cancel, &on_step).await.unwrap();
        steps.into_inner().unwrap()
    }))
    .await;
    for steps in &told {
        let (last, before) = steps.split_last().unwrap();
        assert_eq!(*last, StartStep::Starting, "{told:?}");
        assert!(before.len() < 2, "{told:?}");
        assert!(
            before.iter().all(|step| *step == StartStep::Queued),
            "{told:?}"
        );
    }
    assert!(told.iter().any(|steps| steps.len() == 2), "{told:?}");
}

async fn a_cancelled_start_leaves_nothing(subject: Subject) {
    let engine = subject.engine();
    let before = CancellationToken::new();
    before.cancel();
    let spec = subject.desktop(&Uid::random());
    assert_eq!(
        engine.start(&spec, &before, &|_| {}).await,
        Err(EngineError::Cancelled)
    );

    subject.slow_down();
    let meanwhile = CancellationToken::new();
    let under_way = Notify::new();
    let on_step = |_| under_way.notify_one();
    let (outcome, ()) = tokio::join!(engine.start(&spec, &meanwhile, &on_step), async {
        under_way.notified().await;
        meanwhile.cancel();
    });
    assert_eq!(outcome, Err(EngineError::Cancelled));
    assert_eq!(engine.list().await, Ok(vec![]));
    assert!(!subject.has_home(&spec.uid).await);
}

async fn a_missing_image_is_said_with_what_to_do(subject: Subject) {
    let engine = subject.engine();
    let mut spec = subject.desktop(&Uid::random());
    subject.lose_image(&mut spec);
    let error = engine
        .start(&spec, &CancellationToken::new(), &|_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, EngineError::ImageMissing { .. }), "{error}");
    let text = error.to_string();
    let container = container(&spec);
    assert!(
        text.contains(&container.image) && text.contains(&container.image_hint),
        "{text}"
    );
    assert_eq!(engine.list().await, Ok(vec![]));
    assert!(!subject.has_home(&spec.uid).await);
}

async fn a_foreign_name_is_left_alone(subject: Subject) {
    let engine = subject.engine();
    let spec = subject.desktop(&Uid::random());
    subject.take_name(&spec).await;
    assert_eq!(
        engine
            .start(&spec, &CancellationToken::new(), &|_| {})
            .await,
        Err(EngineError::NameTaken {
            name: container(&spec).name.clone()
        })
    );
    assert_eq!(engine.list().await, Ok(vec![]));
    assert_eq!(engine.stop(&spec.instance, Duration::ZERO).await, Ok(()));
    assert!(subject.name_is_taken(&spec).await);
}

async fn what_is_left_of_an_earlier_run_is_replaced(subject: Subject) {
    let engine = subject.engine();
    let uid = Uid::random();
    let first = start(&*engine, &subject.writer(&uid, 0)).await;
    subject.end(&first.id).await;
    eventually(async || engine.list().await == Ok(vec![Found::Remains(first.id.clone())])).await;

    let next = start(&*engine, &subject.writer(&uid, 0)).await;
    assert_eq!(engine.list().await, Ok(vec![Found::Running(next)]));
}

async fn an_earlier_run_is_asked_to_end_before_the_next_begins(subject: Subject) {
    let engine = subject.engine();
    let uid = Uid::random();
    let first = start(&*engine, &subject.desktop(&uid)).await;
    look(&first).await;
    let mut events = engine.events();
    assert_eq!(events.next().await, Some(EngineEvent::Connected));
    let next = start(&*engine, &subject.desktop(&uid)).await;
    assert_eq!(engine.list().await, Ok(vec![Found::Running(next)]));
    let Some(EngineEvent::Exited(ended, exit)) = events.next().await else {
        panic!("the first one did not end");
    };
    assert_eq!(ended, first.id);
    assert_ne!(exit.code, Some(KILLED), "it was killed");
}

async fn a_restarted_service_finds_the_same_instance(subject: Subject) {
    let mut spec = subject.desktop(&Uid::random());
    let Workload::Container(container) = &mut spec.workload else {
        panic!("a desktop is a container");
    };
    let timeout = (TIMEOUT_VARIABLE.to_owned(), "600".to_owned());
    container.environment.0.extend([timeout]);
    let started = start(&*subject.engine(), &spec).await;
    assert_eq!(started.own_timeout, Some(Duration::from_secs(600)));
    let after = subject.engine();
    assert_eq!(
        after.list().await,
        Ok(vec![Found::Running(started.clone())])
    );
    look(&started).await;
    assert_eq!(after.stop(&started.id, Duration::ZERO).await, Ok(()));
    assert_eq!(after.list().await, Ok(vec![]));
}

async fn an_end_is_reported_with_its_code(subject: Subject) {
    let engine = subject.engine();
    let mut events = engine.events();
    assert_eq!(events.next().await, Some(EngineEvent::Connected));
    let instance = start(&*engine, &subject.writer(&Uid::random(), 0)).await;
    subject.end(&instance.id).await;
    let exit = Exit {
        code: Some(3),
        out_of_memory: false,
    };
    assert_eq!(
        events.next().await,
        Some(EngineEvent::Exited(instance.id.clone(), exit))
    );
    eventually(async || engine.exit(&instance.id).await == Ok(Some(exit))).await;
    assert_eq!(
        engine.list().await,
        Ok(vec![Found::Remains(instance.id.clone())])
    );
    assert_eq!(
        engine.stop(&instance.id, Duration::from_secs(1)).await,
        Ok(())
    );
    assert_eq!(engine.list().await, Ok(vec![]));
}

async fn a_home_outlives_its_container(subject: Subject) {
    let engine = subject.engine();
    let Some(homes) = offered(engine.homes()) else {
        return;
    };
    let spec = subject.desktop(&Uid::random());
    let other = subject.desktop(&Uid::random());
    let instance = start(&*engine, &spec).await;
    let other_instance = start(&*engine, &other).await;
    for id in [&instance.id, &other_instance.id] {
        engine.stop(id, Duration::ZERO).await.unwrap();
    }
    assert!(subject.has_home(&spec.uid).await);
    for _ in 0..2 {
        assert_eq!(homes.delete(&spec.uid).await, Ok(()));
        assert!(!subject.has_home(&spec.uid).await);
    }
    assert!(subject.has_home(&other.uid).await);
    assert_eq!(homes.delete(&Uid::random()).await, Ok(()));
}

async fn what_does_not_end_is_killed(subject: Subject) {
    let engine = subject.engine();
    for grace in [Duration::from_secs(1), Duration::ZERO] {
        let instance = start(&*engine, &subject.stubborn(&Uid::random())).await;
        assert_eq!(engine.stop(&instance.id, grace).await, Ok(()));
        assert_eq!(engine.list().await, Ok(vec![]));
    }
}

async fn simultaneous_starts_all_succeed(subject: Subject) {
    let engine = subject.engine();
    let specs: Vec<_> = (0..8).map(|_| subject.desktop(&Uid::random())).collect();
    let instances = join_all(specs.iter().map(|spec| start(&*engine, spec))).await;
    for instance in &instances {
        look(instance).await;
    }
    let mut listed = engine.list().await.unwrap();
    listed.sort_by_key(|found| found.id().clone());
    let mut expected: Vec<_> = instances.into_iter().map(Found::Running).collect();
    expected.sort_by_key(|found| found.id().clone());
    assert_eq!(listed, expected);
}

async fn nothing_is_no_error(subject: Subject) {
    let engine = subject.engine();
    let nobody = InstanceId::random();
    assert_eq!(engine.list().await, Ok(vec![]));
    assert_eq!(engine.stop(&nobody, Duration::from_secs(1)).await, Ok(()));
    assert_eq!(engine.exit(&nobody).await, Err(EngineError::Gone));
}

fn spec_for(uid: &Uid, container: ContainerSpec) -> LaunchSpec {
    LaunchSpec {
        uid: uid.clone(),
        app: "tiny".to_owned(),
        instance: InstanceId::random(),
        key: StreamKey(11_042),
        workload: Workload::Container(Box::new(container)),
    }
}

fn container(spec: &LaunchSpec) -> &ContainerSpec {
    match &spec.workload {
        Workload::Container(container) => container,
        Workload::Remote(_) => panic!("no fixture makes remote desktops"),
    }
}

fn container_mut(spec: &mut LaunchSpec) -> &mut ContainerSpec {
    match &mut spec.workload {
        Workload::Container(container) => container,
        Workload::Remote(_) => panic!("no fixture makes remote desktops"),
    }
}

/// Starts an instance, and gives it as it is found from then on.
async fn start(engine: &dyn Engine, spec: &LaunchSpec) -> Instance {
    let started = engine.start(spec, &CancellationToken::new(), &|_| {}).await;
    Instance {
        home_is_new: false,
        ..started.expect("it starts")
    }
}

/// A capability, or `None`, loudly, where the engine does not have it.
fn offered<T: ?Sized>(capability: Result<&T, EngineError>) -> Option<&T> {
    match capability {
        Ok(capability) => Some(capability),
        Err(EngineError::Unsupported(name)) => {
            let test = std::thread::current();
            let test = test.name().unwrap_or_default();
            eprintln!("SKIPPED: {test}: the engine has no {name}");
            None
        }
        Err(error) => panic!("whether an engine has a capability needs no answer of it: {error}"),
    }
}

/// Connects to a desktop as soon as it answers and fetches a whole picture; returns its size.
async fn look(instance: &Instance) -> (u16, u16) {
    let address = instance.endpoints["vnc"].address;
    let password = instance.password.as_ref().map(|password| password.reveal());
    wait::eventually(PATIENCE / 2, "the whole picture", async || {
        let stream = TcpStream::connect(address).await.ok()?;
        let started = Client::start(stream, password, Sharing::Shared).await;
        let mut client = started.ok()?;
        client.full_picture().await.ok()?;
        Some(client.size())
    })
    .await
}

/// Waits until a condition holds that nothing reports.
async fn eventually(mut condition: impl AsyncFnMut() -> bool) {
    wait::eventually(PATIENCE / 2, "a condition", async || {
        condition().await.then_some(())
    })
    .await;
}
