//! Calls on desktops: make, look up, stop.

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
use super::params::{Name, Params, UidPath};
use crate::desktop::lease::EndReason;
use crate::desktop::lifecycle::StopMode;
use crate::desktop::manager::{DesktopError, LOG_LINES_MAX};
use crate::desktop::view::{Phase, View};
use crate::desktop::{StreamKey, Uid};

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
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum StatusWord {
    Asleep,
    Starting,
    Ready,
    Stopping,
    Restarting,
    Failed,
}

/// Everything there is to know about a desktop.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DesktopBody {
    /// Its name.
    #[schema(value_type = String)]
    uid: Uid,
    /// The catalogue's name of its app.
    app: String,
    /// Where it is.
    status: StatusWord,
    /// Since when it is there.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// When it was first asked for.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// How many viewers are connected.
    viewers: usize,
    /// Path of its VNC stream, while it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// When it ends by itself if nothing else happens; absent when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Why it lives until then, in words.
    because: String,
    /// Why its last start failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

/// How to stop.
#[derive(Debug, Default, Deserialize, IntoParams)]
pub(super) struct StopQuery {
    /// Whether also its record and its home are deleted, for good.
    #[serde(default)]
    forget: bool,
}

/// How much of a log.
#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct LogsQuery {
    /// How many of the last lines, 1 to 1000.
    #[serde(default = "default_lines")]
    #[param(default = 200)]
    lines: usize,
}

fn default_lines() -> usize {
    200
}

/// Make sure that a desktop runs.
///
/// Answers once it can be connected to. `allocate` (in any case) instead of a uid makes a desktop
/// with a new name; a uid that was never seen makes one of that name. A known uid starts as it was
/// first asked for: `vm` and `env` are ignored then, and may be left out.
#[utoipa::path(post, path = "/api/vm/any/{uid}", tag = "desktops",
    params(("uid" = String, Path, description = "`allocate`, or the desktop's name", example = "allocate")),
    request_body = EnsureRequest,
    responses(
        (status = 200, body = EnsuredBody),
        (status = 400, description = "The body is not JSON", body = ErrorBody),
        (status = 404, description = "No such app, or a new uid without an app", body = ErrorBody),
        (status = 413, description = "The body is larger than 64 KiB", body = ErrorBody),
        (status = 415, description = "The body is not declared as application/json", body = ErrorBody),
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
    }))
}

/// Where a running desktop can be connected to.
///
/// Never starts anything and keeps nothing alive.
#[utoipa::path(get, path = "/api/vm/ws/{uid}", tag = "desktops",
    params(("uid" = String, Path, description = "The desktop's name")),
    responses(
        (status = 200, description = "Its URL, or `details` and no URL when it does not run", body = UrlBody),
        (status = 422, description = "Not a uid", body = ErrorBody),
    ))]
pub(super) async fn url(
    State(app): State<App>,
    UidPath(uid): UidPath,
) -> Result<Response, ApiError> {
    Ok(match app.manager.ready_key(&uid) {
        Some(key) => Json(UrlBody {
            url: app.stream_url(key),
        })
        .into_response(),
        None => Json(NotRunningBody {
            details: "container not running",
        })
        .into_response(),
    })
}

/// The names of all desktops that have a container.
#[utoipa::path(get, path = "/api/vm/list", tag = "desktops",
    responses((status = 200, body = Vec<String>)))]
pub(super) async fn list(State(app): State<App>) -> Json<Vec<Uid>> {
    let mut uids: Vec<Uid> = app
        .manager
        .views()
        .iter()
        .filter(|view| view.claimed.is_some())
        .map(|view| view.record.uid.clone())
        .collect();
    uids.sort_unstable();
    Json(uids)
}

/// Everything there is to know about a desktop.
#[utoipa::path(get, path = "/api/vm/{uid}", tag = "desktops",
    params(("uid" = String, Path, description = "The desktop's name")),
    responses(
        (status = 200, body = DesktopBody),
        (status = 404, description = "No such desktop", body = ErrorBody),
        (status = 422, description = "Not a uid", body = ErrorBody),
    ))]
pub(super) async fn show(
    State(app): State<App>,
    UidPath(uid): UidPath,
) -> Result<Json<DesktopBody>, ApiError> {
    let view = app
        .manager
        .view(&uid)
        .ok_or(DesktopError::UnknownDesktop(uid))?;
    Ok(Json(describe(&app, &view)))
}

/// Stop a desktop.
///
/// Answers once nothing of it runs. Its record and its home stay, so that asking for it again
/// brings it back as it was, unless `forget` deletes them.
#[utoipa::path(delete, path = "/api/vm/{uid}", tag = "desktops",
    params(("uid" = String, Path, description = "The desktop's name"), StopQuery),
    responses(
        (status = 204, description = "Nothing of it runs"),
        (status = 404, description = "No such desktop", body = ErrorBody),
        (status = 422, description = "Not a uid", body = ErrorBody),
        (status = 503, description = "The engine does not answer; the stop is tried again", body = ErrorBody),
    ))]
pub(super) async fn stop(
    State(app): State<App>,
    UidPath(uid): UidPath,
    Params(query): Params<StopQuery>,
) -> Result<StatusCode, ApiError> {
    let mode = if query.forget {
        StopMode::Forget
    } else {
        StopMode::Keep
    };
    app.manager.stop(&uid, mode).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The last lines a desktop wrote.
#[utoipa::path(get, path = "/api/vm/{uid}/logs", tag = "desktops",
    params(("uid" = String, Path, description = "The desktop's name"), LogsQuery),
    responses(
        (status = 200, description = "Plain text, oldest first", body = String, content_type = "text/plain"),
        (status = 404, description = "No such desktop", body = ErrorBody),
        (status = 409, description = "Nothing of it runs", body = ErrorBody),
        (status = 422, description = "Not a uid, or not a number of lines", body = ErrorBody),
    ))]
pub(super) async fn logs(
    State(app): State<App>,
    UidPath(uid): UidPath,
    Params(query): Params<LogsQuery>,
) -> Result<String, ApiError> {
    if !(1..=LOG_LINES_MAX).contains(&query.lines) {
        return Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_query",
            format!("lines is a number from 1 to {LOG_LINES_MAX}"),
        ));
    }
    Ok(app.manager.logs(&uid, query.lines).await?)
}

fn describe(app: &App, view: &View) -> DesktopBody {
    let status = match view.phase {
        Phase::Asleep => StatusWord::Asleep,
        Phase::Starting => StatusWord::Starting,
        Phase::Ready => StatusWord::Ready,
        Phase::Stopping => StatusWord::Stopping,
        Phase::Restarting => StatusWord::Restarting,
        Phase::Failed => StatusWord::Failed,
    };
    DesktopBody {
        uid: view.record.uid.clone(),
        app: view.record.app.clone(),
        status,
        since: view.since,
        created_at: view.record.created_at,
        viewers: view.viewers,
        url: view.ready_key().map(|key: StreamKey| app.stream_url(key)),
        until: view.until.map(|(at, _)| at),
        because: because(view),
        failure: view.failure.as_ref().map(ToString::to_string),
    }
}

fn because(view: &View) -> String {
    match (view.phase, view.viewers, view.until) {
        (Phase::Asleep, _, _) => "nothing of it runs; ask for it and it starts".to_owned(),
        (Phase::Starting, _, _) => "it is starting".to_owned(),
        (Phase::Stopping, _, _) => "it is ending".to_owned(),
        (Phase::Restarting, _, _) => "it is ending, and starts again after".to_owned(),
        (Phase::Failed, _, _) => "its last start failed; asking for it tries again".to_owned(),
        (Phase::Ready, 0, Some((_, EndReason::Idle))) => {
            "nobody is looking; a viewer keeps it alive".to_owned()
        }
        (Phase::Ready, 0, None) => "nobody is looking, and it never goes idle".to_owned(),
        (Phase::Ready, 0, Some(_)) => "it reaches its maximum age then".to_owned(),
        (Phase::Ready, 1, None) => "1 viewer is looking".to_owned(),
        (Phase::Ready, viewers, None) => format!("{viewers} viewers are looking"),
        (Phase::Ready, viewers, Some(_)) => {
            format!("{viewers} looking, until it reaches its maximum age")
        }
    }
}
