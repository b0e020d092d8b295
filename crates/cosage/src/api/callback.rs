//! What applications inside desktops report.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::App;
use super::body::{read_json, require_object};
use super::error::{ApiError, ErrorBody};
use super::params::{Params, UidParam, UidPath};
use crate::callback::Taken;
use crate::catalog::Source;
use crate::desktop::view::View;

/// The largest report in bytes; it may have a picture in it.
const REPORT_MAX: usize = 4 * 1024 * 1024;

/// What became of a report.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReportBody {
    /// `queued`, or `ignored` where neither SAGE3 nor a webhook for reports is configured.
    status: &'static str,
}

/// What shows that a report comes from the desktop itself.
#[derive(Debug, Deserialize)]
pub(super) struct Proof {
    secret: Option<String>,
}

/// Pass a report of a desktop's application on to SAGE3 and to webhooks.
#[utoipa::path(post, path = "/api/vm/cb/{uid}", tag = "desktops",
    params(
        UidParam,
        ("secret" = Option<String>, Query, description = "The secret that its container got as part of CALLBACK_URL"),
    ),
    request_body(content = Object, description = "Any JSON object of at most 4 MiB"),
    responses(
        (status = 202, body = ReportBody),
        (status = 403, description = "Not the secret of the desktop's container", body = ErrorBody),
        (status = 404, description = "No such desktop", body = ErrorBody),
        (status = 413, description = "Larger than 4 MiB", body = ErrorBody),
        (status = 503, description = "Too many reports wait, or it is not known yet what the desktop's secret is", body = ErrorBody),
    ))]
pub(super) async fn report(
    State(app): State<App>,
    UidPath(uid): UidPath,
    Params(proof): Params<Proof>,
    request: Request,
) -> Result<(StatusCode, Json<ReportBody>), ApiError> {
    let view = app.manager.view(&uid).await?;
    if !may_do_without_secret(&app, &view) {
        require_secret(&app, &view, proof.secret.as_deref())?;
    }
    let body = read_json(request, REPORT_MAX).await?;
    require_object::<Map<String, Value>>(&body)?;
    let status = match app.callbacks.take(&uid, &body) {
        Taken::Queued => "queued",
        Taken::NobodyListens => "ignored",
        Taken::Full => {
            return Err(ApiError::exhausted(
                "callbacks_full",
                "too many reports wait to be passed on; report again later",
            ));
        }
    };
    Ok((StatusCode::ACCEPTED, Json(ReportBody { status })))
}

/// Whether the app's reports are taken from anybody.
fn may_do_without_secret(app: &App, view: &View) -> bool {
    let catalog = app.manager.catalog();
    match catalog.apps.get(&view.record.app).map(|app| &app.source) {
        Some(Source::Container(source)) => source.legacy_callbacks,
        Some(Source::Remote { .. }) | None => false,
    }
}

/// Checks that a report comes from the desktop's own container.
fn require_secret(app: &App, view: &View, secret: Option<&str>) -> Result<(), ApiError> {
    let Some(instance) = &view.instance else {
        return Err(nobody_to_report(app, view));
    };
    let own = instance.callback.as_ref();
    if own.zip(secret).is_some_and(|(own, secret)| own.is(secret)) {
        return Ok(());
    }
    Err(wrong_secret())
}

/// What is answered while there is no instance whose secret could be compared: a container that has only just begun, or
/// that a service which has only just begun does not know yet, is to try again.
fn nobody_to_report(app: &App, view: &View) -> ApiError {
    if view.claimed.is_none() && app.manager.knows_what_runs() {
        return wrong_secret();
    }
    ApiError::exhausted(
        "not_known_yet",
        "the desktop is starting, or it is not known yet whether it runs; report again later",
    )
}

fn wrong_secret() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "wrong_secret",
        "only the desktop's own container may report for it, with all of its CALLBACK_URL; an operator allows an old image to do without by legacy_callbacks = true in the catalogue",
    )
}
