//! Calls on desktops: make, look up, stop.

use std::borrow::Cow;
use std::fmt;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::body::JsonObject;
use super::error::{ApiError, ErrorBody};
use super::params::{Name, Params, UidParam, UidPath};
use crate::catalog::Catalog;
use crate::desktop::Uid;
use crate::desktop::access::Takeover;
use crate::desktop::end::EndReason;
use crate::desktop::error::DesktopError;
use crate::desktop::lifecycle::StopMode;
use crate::desktop::manager::Ignored;
use crate::desktop::view::{Phase, Progress, View};
use crate::engine::StartStep;

/// What a client asks for.
#[derive(Clone, Default, Deserialize, ToSchema)]
pub(super) struct EnsureRequest {
    /// The app's name or alias; needed for a uid that was never seen, ignored for a known one.
    #[schema(example = "firefox")]
    vm: Option<String>,
    /// Values for the variables that the catalogue declares for the app; ignored for a known uid.
    #[serde(default)]
    #[schema(value_type = Option<Object>, example = json!({"FIREFOX_URLS": ["https://www.example.org/"]}))]
    env: Option<Map<String, Value>>,
}

impl fmt::Debug for EnsureRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EnsureRequest")
            .field("vm", &self.vm)
            .finish_non_exhaustive()
    }
}

/// A desktop that can be connected to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EnsuredBody {
    /// Path of its VNC stream, made from `STREAM_URL_TEMPLATE`.
    #[schema(example = "/stream/11446/vnc")]
    url: String,
    /// Its name.
    #[schema(value_type = String, example = "0984ae47-6fb9-48bd-8f48-8afd7e462762")]
    uid: Uid,
    /// What of the request was ignored, because the desktop was made with another app or environment; absent when nothing
    /// was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    ignored: Vec<IgnoredWord>,
}

/// A part of a request.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum IgnoredWord {
    /// The app.
    Vm,
    /// The environment.
    Env,
}

/// Where a desktop can be connected to, if it runs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum WhereBody {
    Running(UrlBody),
    NotRunning(NotRunningBody),
}

/// Where a running desktop can be connected to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UrlBody {
    /// Path of its VNC stream.
    #[schema(example = "/stream/11446/vnc")]
    url: String,
}

/// That a desktop does not run.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NotRunningBody {
    /// Always these words.
    #[schema(example = "container not running")]
    details: &'static str,
}

/// Where a desktop is in its life.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum StatusWord {
    Asleep,
    Starting,
    Ready,
    Stopping,
    Restarting,
    Failed,
}

/// What a start is at.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum StepWord {
    /// It waits for its turn among other starts.
    Queued,
    /// Its image is being fetched.
    Pulling,
    /// Its container is being started.
    Starting,
    /// Its container runs, and its display does not answer yet.
    Waiting,
}

/// How far a start is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProgressBody {
    /// What it is at.
    step: StepWord,
    /// How much of the image is there, 0 to 100; with `pulling` only, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    percent: Option<u8>,
}

/// Why what ran of a desktop ended.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum EndWord {
    /// Somebody asked for it.
    Stopped,
    /// Nobody looked at it.
    Idle,
    /// It reached its maximum age.
    MaximumAge,
    /// Its main process ended, or the engine lost it.
    Exited,
}

/// That control was taken from all viewers of a desktop.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TakeoverBody {
    /// The name of the client that keeps control; absent where none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "d2b1c0de")]
    except: Option<String>,
    /// The share by which that client comes; absent where it comes by the desktop's own address.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<String>,
}

/// Everything there is to know about a desktop.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DesktopBody<'a> {
    /// Its name.
    #[schema(value_type = String)]
    uid: &'a Uid,
    /// The catalogue's name of its app.
    app: &'a str,
    /// The app's name for people; `app` where the catalogue does not have it any more.
    pub(super) title: &'a str,
    /// Its streams by name.
    pub(super) streams: Vec<&'a str>,
    /// Whether it has a home, whose files can be read and written; `true` also where the catalog does not have its app any
    /// more, and it may have one.
    home: bool,
    /// Where it is.
    pub(super) status: StatusWord,
    /// Since when it is there.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// When it was first asked for.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last started, stopped or viewed, or its files were read or written.
    #[schema(value_type = String, format = DateTime)]
    used_at: Timestamp,
    /// When it is deleted with its home unless it is used before; absent while it runs, and where its app is kept for ever
    /// (`forget_after` in the catalog).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    forgotten_at: Option<Timestamp>,
    /// When what runs of it was started; absent while nothing runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// How far its start is, while it is `starting`.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<ProgressBody>,
    /// How many viewers are connected.
    viewers: usize,
    /// How many of them came by a share: these do not keep it alive. Absent when there is none.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    guests: usize,
    /// Path of its VNC stream, while it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// When it ends by itself if nothing else happens; absent when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Why it lives until then, in words.
    #[schema(value_type = String)]
    because: Cow<'static, str>,
    /// Control was taken from its viewers; absent when it was not. `PATCH …/viewers` lifts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    takeover: Option<TakeoverBody>,
    /// When the last picture of it that is kept was taken; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    picture: Option<Timestamp>,
    /// Why what ran of it last is ending or has ended; absent while it starts or runs, and where nothing ran yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ended: Option<EndWord>,
    /// Why its last start failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a str>,
    /// The last lines it wrote then, where they may tell why.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_logs: Option<&'a str>,
}

/// How to stop.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StopQuery {
    /// Whether also its record and its home are deleted, for good.
    #[serde(default)]
    forget: bool,
    /// Only a desktop of which nothing runs, and whose `used_at` is still this time. Others stay as they are.
    unused_since: Option<String>,
}

/// Make sure that a desktop runs.
///
/// Answers once it can be connected to. `allocate` (in any case) instead of a uid makes a desktop
/// with a new name; a uid that was never seen makes one of that name. A known uid starts as it was
/// first asked for: `vm` and `env` are ignored then, and may be left out. The answer's `ignored`
/// names those that differ from what the desktop was made with.
#[utoipa::path(post, path = "/api/vm/any/{uid}", tag = "desktops",
    params(("uid" = String, Path, description = "`allocate`, or the desktop's name", example = "allocate",
        pattern = "^(?!(any|ws|list|cb)$)[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")),
    request_body = EnsureRequest,
    responses(
        (status = 200, body = EnsuredBody),
        (status = 403, description = "The target of the desktop may not be dialled, or the page's origin is not allowed", body = ErrorBody),
        (status = 404, description = "No such app, or a new uid without an app", body = ErrorBody),
        (status = 409, description = "The name is taken on the engine, the desktop was stopped meanwhile, or its app has changed", body = ErrorBody),
        (status = 422, description = "The uid or the environment is not allowed", body = ErrorBody),
        (status = 502, description = "The app ended while it started", body = ErrorBody),
        (status = 503, description = "The engine does not answer, or something is exhausted", body = ErrorBody),
        (status = 504, description = "The desktop did not answer in time", body = ErrorBody),
    ))]
pub(super) async fn ensure(
    State(app): State<App>,
    Name(name): Name,
    JsonObject(request): JsonObject<EnsureRequest>,
) -> Result<Json<EnsuredBody>, ApiError> {
    let uid = if name.eq_ignore_ascii_case("allocate") {
        None
    } else {
        Some(name.parse::<Uid>()?)
    };
    let environment = request.env.unwrap_or_default();
    let ensured = app
        .manager
        .ensure(uid, request.vm.as_deref(), &environment)
        .await?;
    Ok(Json(EnsuredBody {
        url: app.stream_url(ensured.key),
        uid: ensured.uid,
        ignored: ensured
            .ignored
            .into_iter()
            .map(|ignored| match ignored {
                Ignored::App => IgnoredWord::Vm,
                Ignored::Environment => IgnoredWord::Env,
            })
            .collect(),
    }))
}

/// Where a running desktop can be connected to.
///
/// Never starts anything and keeps nothing alive.
#[utoipa::path(get, path = "/api/vm/ws/{uid}", tag = "desktops",
    params(UidParam),
    responses(
        (status = 200, description = "Its URL, or `details` and no URL when it does not run", body = WhereBody),
    ))]
pub(super) async fn url(State(app): State<App>, UidPath(uid): UidPath) -> Json<WhereBody> {
    Json(match app.manager.ready_key(&uid) {
        Some(key) => WhereBody::Running(UrlBody {
            url: app.stream_url(key),
        }),
        None => WhereBody::NotRunning(NotRunningBody {
            details: "container not running",
        }),
    })
}

/// The names of all desktops that have a container.
#[utoipa::path(get, path = "/api/vm/list", tag = "desktops",
    responses((status = 200, body = Vec<String>)))]
pub(super) async fn list(State(app): State<App>) -> Json<Vec<Uid>> {
    let mut uids: Vec<Uid> = app
        .manager
        .all_active()
        .iter()
        .filter(|view| view.claimed.is_some())
        .map(|view| view.record.uid.clone())
        .collect();
    uids.sort_unstable();
    Json(uids)
}

/// Everything there is to know about a desktop.
#[utoipa::path(get, path = "/api/vm/{uid}", tag = "desktops",
    params(UidParam),
    responses(
        (status = 200, body = DesktopBody<'static>),
        (status = 404, description = "No such desktop", body = ErrorBody),
    ))]
pub(super) async fn show(
    State(app): State<App>,
    UidPath(uid): UidPath,
) -> Result<Response, ApiError> {
    let view = app.manager.view(&uid).await?;
    Ok(Json(describe(&app, &app.manager.catalog(), &view)).into_response())
}

/// Stop a desktop.
///
/// Answers once nothing of it runs. Its record and its home stay, so that asking for it again
/// brings it back as it was, unless `forget` deletes them.
#[utoipa::path(delete, path = "/api/vm/{uid}", tag = "desktops",
    params(UidParam, StopQuery),
    responses(
        (status = 204, description = "Nothing of it runs"),
        (status = 404, description = "No such desktop", body = ErrorBody),
        (status = 409, description = "It was used since `unused_since`, or runs", body = ErrorBody),
        (status = 422, description = "Not a uid, or not a query", body = ErrorBody),
        (status = 503, description = "The engine does not answer; the stop is tried again", body = ErrorBody),
    ))]
pub(super) async fn stop(
    State(app): State<App>,
    UidPath(uid): UidPath,
    Params(query): Params<StopQuery>,
) -> Result<StatusCode, ApiError> {
    let manager = &app.manager;
    // What is no time is not when it was used last.
    let used_at = query
        .unused_since
        .map(|text| text.parse().unwrap_or(Timestamp::MIN));
    match (query.forget, used_at) {
        (false, None) => manager.stop(&uid, StopMode::Keep).await?,
        (true, None) => manager.stop(&uid, StopMode::Forget).await?,
        (true, Some(used_at)) => manager.forget_unused(&uid, used_at).await?,
        // Nothing of such a desktop runs that could be stopped.
        (false, Some(used_at)) => {
            let view = manager.view(&uid).await?;
            if view.claimed.is_some() || view.unused.since != used_at {
                return Err(DesktopError::InUse(uid).into());
            }
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A desktop as all calls and events show it.
pub(super) fn describe<'a>(app: &App, catalog: &'a Catalog, view: &'a View) -> DesktopBody<'a> {
    let entry = catalog.app(&view.record.app);
    let status = match view.phase {
        Phase::Asleep | Phase::Forgotten => StatusWord::Asleep,
        Phase::Starting => StatusWord::Starting,
        Phase::Ready => StatusWord::Ready,
        Phase::Stopping => StatusWord::Stopping,
        Phase::Restarting => StatusWord::Restarting,
        Phase::Failed => StatusWord::Failed,
    };
    DesktopBody {
        uid: &view.record.uid,
        app: &view.record.app,
        title: entry.map_or(&view.record.app, |entry| &entry.title),
        streams: match (&view.instance, entry) {
            (Some(instance), _) => instance.endpoints.keys().map(String::as_str).collect(),
            (None, Some(entry)) => entry.streams.keys().map(String::as_str).collect(),
            (None, None) => Vec::new(),
        },
        home: entry.is_none_or(|entry| entry.has_home()),
        status,
        since: view.since,
        created_at: view.record.created_at,
        used_at: view.unused.since,
        forgotten_at: entry
            .and_then(|entry| view.deleted_at(entry.forget_after?, Timestamp::now())),
        started_at: view.instance.as_ref().map(|instance| instance.started_at),
        progress: view.progress.map(progress),
        viewers: view.viewers,
        guests: view.guests,
        url: view.ready_key().map(|key| app.stream_url(key)),
        until: view.until.map(|(at, _)| at),
        because: because(view, entry.is_some()),
        takeover: app.manager.takeover_of(view).map(|Takeover { except }| {
            let (except, share) = except.map(|spared| (spared.client, spared.share)).unzip();
            TakeoverBody {
                except: except.map(|client| client.as_str().to_owned()),
                share: share.flatten(),
            }
        }),
        picture: view.picture,
        ended: view.ended.and_then(end_word),
        failure: view.failure.as_ref().map(|failure| &*failure.text),
        failure_logs: view
            .failure
            .as_ref()
            .and_then(|failure| failure.logs.as_deref()),
    }
}

/// `None` for what ends a connection and not a desktop.
fn end_word(reason: EndReason) -> Option<EndWord> {
    match reason {
        EndReason::Stopped => Some(EndWord::Stopped),
        EndReason::Idle => Some(EndWord::Idle),
        EndReason::MaximumAge => Some(EndWord::MaximumAge),
        EndReason::Exited => Some(EndWord::Exited),
        EndReason::ServiceShutdown | EndReason::ShareRevoked | EndReason::ShareExpired => None,
    }
}

fn progress(progress: Progress) -> ProgressBody {
    let (step, percent) = match progress {
        Progress::Engine(StartStep::Queued) => (StepWord::Queued, None),
        Progress::Engine(StartStep::Pulling { percent }) => (StepWord::Pulling, percent),
        Progress::Engine(StartStep::Starting) => (StepWord::Starting, None),
        Progress::Waiting => (StepWord::Waiting, None),
    };
    ProgressBody { step, percent }
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn because(view: &View, has_app: bool) -> Cow<'static, str> {
    let words = match (view.phase, view.viewers - view.guests, view.until) {
        (Phase::Asleep | Phase::Failed, _, _) if !has_app => {
            "its app is not in the catalog any more, so it cannot start; copy its files if there are any, and delete it"
        }
        (Phase::Asleep, _, _) if view.ended == Some(EndReason::Idle) => {
            "nobody looked at it, and it ended; ask for it and it starts"
        }
        (Phase::Asleep | Phase::Forgotten, _, _) => "nothing of it runs; ask for it and it starts",
        (Phase::Starting, _, _) => "it is starting",
        (Phase::Stopping, _, _) => "it is ending",
        (Phase::Restarting, _, _) => "it is ending, and starts again after",
        (Phase::Failed, _, _) => "its last start failed; asking for it tries again",
        (Phase::Ready, 0, Some((_, EndReason::Idle))) if view.guests > 0 => {
            "only guests are looking, who do not keep it alive; a viewer does"
        }
        (Phase::Ready, 0, Some((_, EndReason::Idle))) => {
            "nobody is looking; a viewer keeps it alive"
        }
        (Phase::Ready, 0, None) => "nobody is looking, and it never goes idle",
        (Phase::Ready, 0, Some(_)) => "it reaches its maximum age then",
        (Phase::Ready, 1, None) => "1 viewer is looking",
        (Phase::Ready, viewers, None) => return format!("{viewers} viewers are looking").into(),
        (Phase::Ready, viewers, Some(_)) => {
            return format!("{viewers} looking, until it reaches its maximum age").into();
        }
    };
    words.into()
}
