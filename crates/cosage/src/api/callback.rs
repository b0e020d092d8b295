//! What applications inside desktops report.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::App;
use super::body::{read_json, require_object};
use super::error::{ApiError, ErrorBody};
use super::params::UidPath;
use crate::callback::Taken;
use crate::desktop::manager::DesktopError;

/// The largest report in bytes; it may have a picture in it.
const REPORT_MAX: usize = 4 * 1024 * 1024;

/// What became of a report.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReportBody {
    /// `queued`, or `ignored` where no SAGE3 is configured.
    status: &'static str,
}

/// Pass a report of a desktop's application on to SAGE3.
#[utoipa::path(post, path = "/api/vm/cb/{uid}", tag = "desktops",
    params(("uid" = String, Path, description = "The desktop's name")),
    request_body(content = Object, description = "Any JSON object of at most 4 MiB"),
    responses(
        (status = 202, body = ReportBody),
        (status = 404, description = "No such desktop", body = ErrorBody),
        (status = 413, description = "Larger than 4 MiB", body = ErrorBody),
        (status = 415, description = "Not declared as application/json", body = ErrorBody),
        (status = 503, description = "Too many reports wait for SAGE3", body = ErrorBody),
    ))]
pub(super) async fn report(
    State(app): State<App>,
    UidPath(uid): UidPath,
    request: Request,
) -> Result<(StatusCode, Json<ReportBody>), ApiError> {
    if app.manager.view(&uid).is_none() {
        return Err(DesktopError::UnknownDesktop(uid).into());
    }
    let body = read_json(request, REPORT_MAX).await?;
    require_object::<Map<String, Value>>(&body)?;
    let status = match app.callbacks.take(uid, body) {
        Taken::Queued => "queued",
        Taken::NobodyListens => "ignored",
        Taken::Full => {
            return Err(ApiError::exhausted(
                "callbacks_full",
                "too many reports wait for SAGE3; report again later",
            ));
        }
    };
    Ok((StatusCode::ACCEPTED, Json(ReportBody { status })))
}
