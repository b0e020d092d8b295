//! The two long ways of a run: from the order to start until it answers, and to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Uid;
use super::context::Context;
use super::failure::FailReason;
use super::probe::Probe;
use super::record::{DesktopRecord, EndCause, NewRun};
use super::view::Progress;
use crate::catalog::Timers;
use crate::engine::{
    Engine, EngineError, Exit, Instance, InstanceId, LaunchSpec, Presence, StartStep,
};

/// How many of the last lines a failure carries.
const LAST_LINES: usize = 20;

/// How many bytes of them at most: a failure is kept for as long as its desktop is known.
const LAST_BYTES: usize = 8 * 1024;

/// How long the engine may take to tell them.
const LOGS_BOUND: Duration = Duration::from_secs(3);

const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LAST: Duration = Duration::from_secs(10);

/// A new instance, and what the store has to know before it is made.
pub(super) struct Order {
    /// The desktop, where the store does not have it yet.
    pub(super) record: Option<Arc<DesktopRecord>>,
    /// The run.
    pub(super) run: NewRun,
    /// What the engine is to start.
    pub(super) spec: LaunchSpec,
}

/// What is launched.
pub(super) enum Launch {
    /// A new instance.
    New(Box<Order>),
    /// An instance that runs already, whose run is in the store.
    Found(Box<Instance>),
}

/// How it is launched.
pub(super) struct Attempt {
    /// The app's timers.
    pub(super) timers: Timers,
    /// Calls the launch off.
    pub(super) cancel: CancellationToken,
    /// Tells that the instance ended.
    pub(super) exited: oneshot::Receiver<Exit>,
}

/// Starts an instance and waits until all streams that show it answer. A launch ends in one of two
/// ways: it answers, or nothing of it is left and its run has ended. What cannot be removed now is an orphan.
///
/// `on_begun` is told that the store has the run, before anything is asked of the engine.
pub(super) async fn launch(
    context: &Context,
    launch: Launch,
    attempt: Attempt,
    on_begun: impl Fn(),
    on_progress: impl Fn(Progress) + Send + Sync,
) -> Result<Instance, FailReason> {
    let engine = &*context.engine;
    let Attempt {
        timers,
        cancel,
        exited,
    } = attempt;
    let mut is_first = false;
    let instance = match launch {
        Launch::New(order) => {
            let Order { record, run, spec } = *order;
            is_first = record.is_some();
            if record.is_some() {
                // One of an earlier desktop of this name, whose end no service saw.
                context.camera.forget(&run.uid).await;
            }
            context.store.begin_run(record.as_deref(), &run).await?;
            on_begun();
            start(context, &spec, timers, &cancel, on_progress).await?
        }
        Launch::Found(instance) => {
            if let Err(failure) = still_runs(engine, &instance.id).await {
                let endings = &context.endings;
                endings
                    .abandon(&instance.id, timers.stop_grace, EndCause::Exited)
                    .await;
                return Err(failure);
            }
            *instance
        }
    };
    let mut failure = match answers(&*context.probe, &instance, timers.start, &cancel, exited).await
    {
        Ok(()) => return Ok(instance),
        Err(failure) => failure,
    };
    if let FailReason::Timeout { .. } = failure
        && let Ok(Some(exit)) = engine.exit(&instance.id).await
    {
        // The event was lost, for instance because the engine was away for a moment.
        failure = FailReason::AppExited {
            exit,
            logs: String::new(),
        };
    }
    if let FailReason::Timeout { logs, .. } | FailReason::AppExited { logs, .. } = &mut failure {
        *logs = last_lines(engine, &instance.id).await;
    }
    let cause = cause_of(&failure);
    let endings = &context.endings;
    endings
        .abandon(&instance.id, timers.stop_grace, cause)
        .await;
    if is_first && instance.home_is_new {
        delete_home(context, &instance.uid).await;
    }
    Err(failure)
}

/// Deletes the home that a first start has made, after it failed. A home that was there before belongs to nobody whom this
/// service knows, and is left to `cosage prune`.
async fn delete_home(context: &Context, uid: &Uid) {
    let Ok(homes) = context.engine.homes() else {
        return;
    };
    if let Err(error) = homes.delete(uid).await {
        tracing::warn!(%uid, %error, "the home of a first start that failed is left; see: cosage prune");
    }
}

/// Has the engine start an instance whose run has begun; on an error, the run has ended.
async fn start(
    context: &Context,
    spec: &LaunchSpec,
    timers: Timers,
    cancel: &CancellationToken,
    on_progress: impl Fn(Progress) + Send + Sync,
) -> Result<Instance, FailReason> {
    let may_run = AtomicBool::new(false);
    let on_step = |step| {
        may_run.fetch_or(step == StartStep::Starting, Ordering::Relaxed);
        on_progress(Progress::Engine(step));
    };
    // Not bounded here: the engine bounds its own calls, and a pull may well take minutes.
    let error = match context.engine.start(spec, cancel, &on_step).await {
        Ok(instance) => {
            on_progress(Progress::Waiting);
            return Ok(instance);
        }
        Err(error) => error,
    };
    let (id, endings) = (&spec.instance, &context.endings);
    let is_unavailable = error.is_unavailable();
    let reason = reason_of(error);
    let cause = cause_of(&reason);
    if may_run.into_inner() && !is_unavailable {
        endings.abandon(id, timers.stop_grace, cause).await;
    } else {
        // What was made and does not run is never adopted. To ask an engine that is away once more would take as long again.
        endings.condemn(id);
        endings.end_run(id, cause).await;
    }
    Err(reason)
}

fn cause_of(failure: &FailReason) -> EndCause {
    match failure {
        FailReason::StoppedByRequest => EndCause::Stopped,
        _ => EndCause::Failed,
    }
}

/// The list that an instance was found in may be older than its end. As long as the engine does not say so, it runs.
async fn still_runs(engine: &dyn Engine, id: &InstanceId) -> Result<(), FailReason> {
    match engine.exit(id).await {
        Ok(None) => Ok(()),
        Ok(Some(exit)) => Err(FailReason::AppExited {
            exit,
            logs: last_lines(engine, id).await,
        }),
        Err(EngineError::Gone) => Err(FailReason::AppExited {
            exit: Exit::default(),
            logs: String::new(),
        }),
        Err(_) => Ok(()),
    }
}

async fn answers(
    probe: &dyn Probe,
    instance: &Instance,
    bound: Duration,
    cancel: &CancellationToken,
    exited: oneshot::Receiver<Exit>,
) -> Result<(), FailReason> {
    let all_ready = async {
        for endpoint in instance.endpoints.values() {
            if endpoint.presence == Presence::Viewer {
                probe.ready(endpoint, instance.password.as_ref()).await;
            }
        }
    };
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(FailReason::StoppedByRequest),
        Ok(exit) = exited => Err(FailReason::AppExited { exit, logs: String::new() }),
        outcome = timeout(bound, all_ready) => outcome.map_err(|_| FailReason::Timeout {
            after: bound,
            logs: String::new(),
        }),
    }
}

/// Ends an instance, however long it takes: an engine that is away comes back. `delayed` is told of
/// each try that failed. From the first of them on its run has ended, so that its end outlives the service.
pub(super) async fn end(
    context: &Context,
    id: &InstanceId,
    grace: Duration,
    why: EndCause,
    delayed: impl Fn(FailReason),
) {
    let mut pause = RETRY_FIRST;
    while let Err(error) = context.endings.end(id, grace, why).await {
        if pause == RETRY_FIRST {
            tracing::warn!(instance = %id, %error, "the stop is delayed and tried again");
            context.endings.condemn(id);
            context.endings.end_run(id, why).await;
        }
        delayed(FailReason::Engine(error));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_LAST);
    }
}

/// The last lines an instance wrote; empty when they cannot be had.
pub(super) async fn last_lines(engine: &dyn Engine, id: &InstanceId) -> String {
    let Ok(logs) = engine.logs() else {
        return String::new();
    };
    match timeout(LOGS_BOUND, logs.last(id, LAST_LINES)).await {
        Ok(Ok(logs)) => tail(logs),
        Ok(Err(_)) | Err(_) => String::new(),
    }
}

fn tail(mut logs: String) -> String {
    let cut = logs.len().saturating_sub(LAST_BYTES);
    logs.split_off(logs.ceil_char_boundary(cut))
}

fn reason_of(error: EngineError) -> FailReason {
    match error {
        EngineError::Cancelled => FailReason::StoppedByRequest,
        EngineError::Exited { exit, logs } => FailReason::AppExited {
            exit,
            logs: tail(logs),
        },
        other => FailReason::Engine(other),
    }
}
