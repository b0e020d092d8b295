//! For whoever watches over the service.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::error::{ApiError, ErrorBody};
use crate::desktop::error::DesktopError;
use crate::desktop::failure::FailReason;

/// That all is well.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HealthBody {
    /// Always `ok`.
    status: &'static str,
}

/// Whether the process works.
#[utoipa::path(get, path = "/healthz", tag = "health",
    responses((status = 200, body = HealthBody)))]
pub(super) async fn healthz() -> Json<HealthBody> {
    Json(HealthBody { status: "ok" })
}

/// Whether desktops can be had: the container engine and the store answer.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses(
        (status = 200, body = HealthBody),
        (status = 503, description = "The engine or the store does not answer", body = ErrorBody),
    ))]
pub(super) async fn readyz(State(app): State<App>) -> Result<Json<HealthBody>, ApiError> {
    match app.manager.outage() {
        None => Ok(Json(HealthBody { status: "ok" })),
        Some(reason) => Err(DesktopError::Failed(FailReason::clone(&reason)).into()),
    }
}
