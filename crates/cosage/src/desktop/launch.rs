//! The two long ways of a run: from the order to start until it answers, and to its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::failure::FailReason;
use super::manager::Shared;
use super::view::Progress;
use crate::catalog::Timers;
use crate::engine::{
    Endpoint, Engine, EngineError, Exit, Instance, InstanceId, LaunchSpec, Presence, StartStep,
    VncPassword,
};

/// How many of the last lines a failure carries.
const LAST_LINES: usize = 20;

/// How many bytes of them at most: a failure is kept for as long as its desktop is known.
const LAST_BYTES: usize = 8 * 1024;

/// How long the engine may take to tell them.
const LOGS_BOUND: Duration = Duration::from_secs(3);

const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LAST: Duration = Duration::from_secs(10);

/// Finds out whether a stream of an instance answers.
#[async_trait]
pub trait Probe: Send + Sync + 'static {
    /// Returns when it does. Never fails: the caller gives up on it by dropping the future.
    async fn ready(&self, endpoint: &Endpoint, password: Option<&VncPassword>);
}

/// What is launched.
pub(super) enum Launch {
    /// A new instance.
    New(Box<LaunchSpec>),
    /// An instance that runs already.
    Found(Box<Instance>),
}

impl Launch {
    /// Where it begins.
    pub(super) fn progress(&self) -> Progress {
        match self {
            Self::New(_) => Progress::Engine(StartStep::Queued),
            Self::Found(_) => Progress::Waiting,
        }
    }
}

/// Starts an instance and waits until all streams that show it answer. A launch ends in one of two
/// ways: it answers, or nothing of it is left. What cannot be removed now is an orphan.
pub(super) async fn launch(
    shared: &Shared,
    launch: Launch,
    timers: Timers,
    cancel: CancellationToken,
    exited: oneshot::Receiver<Exit>,
    on_progress: impl Fn(Progress) + Send + Sync,
) -> Result<Instance, FailReason> {
    let engine = &*shared.engine;
    let grace = timers.stop_grace;
    let instance = match launch {
        // Not bounded here: the engine bounds its own calls, and a pull may well take minutes.
        Launch::New(spec) => {
            let may_run = AtomicBool::new(false);
            let on_step = |step| {
                may_run.fetch_or(step == StartStep::Starting, Ordering::Relaxed);
                on_progress(Progress::Engine(step));
            };
            match engine.start(&spec, &cancel, &on_step).await {
                Ok(instance) => {
                    on_progress(Progress::Waiting);
                    instance
                }
                Err(error) => {
                    match (may_run.into_inner(), error.is_unavailable()) {
                        // What was made and does not run is never adopted.
                        (false, _) => {}
                        // Asking once more would take as long again.
                        (true, true) => shared.add_orphan(&spec.instance).await,
                        (true, false) => shared.abandon(&spec.instance, grace).await,
                    }
                    return Err(reason_of(error));
                }
            }
        }
        Launch::Found(instance) => {
            still_runs(engine, &instance.id).await?;
            *instance
        }
    };
    let mut failure = match answers(&*shared.probe, &instance, timers.start, &cancel, exited).await
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
    shared.abandon(&instance.id, grace).await;
    Err(failure)
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
/// each try that failed. From the first of them on it is an orphan, so that its end outlives the service.
pub(super) async fn end(
    shared: &Shared,
    id: &InstanceId,
    grace: Duration,
    delayed: impl Fn(FailReason),
) {
    let mut pause = RETRY_FIRST;
    while let Err(error) = shared.end(id, grace).await {
        if pause == RETRY_FIRST {
            tracing::warn!(instance = %id, %error, "the stop is delayed and tried again");
            shared.add_orphan(id).await;
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
