//! What a desktop writes.

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::App;
use super::error::{ApiError, ErrorBody};
use super::params::{Params, UidParam, UidPath};
use crate::desktop::manager::LOG_LINES_MAX;

/// How much of a log.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LogsQuery {
    /// How many of the last lines, 1 to 1000.
    #[serde(default = "default_lines")]
    #[param(default = 200, minimum = 1, maximum = 1000)]
    lines: usize,
    /// Whether the answer goes on with what the desktop writes from now on, until it ends.
    #[serde(default)]
    follow: bool,
}

fn default_lines() -> usize {
    200
}

/// The last lines a desktop wrote.
///
/// With `follow`, the answer goes on until the desktop ends, or the client hangs up.
#[utoipa::path(get, path = "/api/vm/{uid}/logs", tag = "desktops",
    params(UidParam, LogsQuery),
    responses(
        (status = 200, description = "Plain text, oldest first", body = String, content_type = "text/plain"),
        (status = 404, description = "No such desktop", body = ErrorBody),
        (status = 409, description = "Nothing of it runs", body = ErrorBody),
        (status = 422, description = "Not a uid, or not a number of lines", body = ErrorBody),
    ))]
pub(super) async fn read(
    State(app): State<App>,
    UidPath(uid): UidPath,
    Params(query): Params<LogsQuery>,
) -> Result<Response, ApiError> {
    if !(1..=LOG_LINES_MAX).contains(&query.lines) {
        return Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_query",
            format!("lines is a number from 1 to {LOG_LINES_MAX}"),
        ));
    }
    if !query.follow {
        return Ok(app.manager.logs(&uid, query.lines).await?.into_response());
    }
    let written = app.manager.follow_logs(&uid, query.lines).await?;
    let text = (header::CONTENT_TYPE, "text/plain; charset=utf-8");
    // A proxy that collects an answer before it passes it on would show nothing (Nginx reads this
    // header, and no cache may keep what never ends).
    let at_once = (header::HeaderName::from_static("x-accel-buffering"), "no");
    let fresh = (header::CACHE_CONTROL, "no-store");
    Ok(([text, at_once, fresh], Body::from_stream(written)).into_response())
}
