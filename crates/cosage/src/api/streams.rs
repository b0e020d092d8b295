//! Stream requests: from the key in the URL to a lease, and on to the gateway.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::App;
use super::error::ApiError;
use super::origin;
use crate::desktop::StreamKey;
use crate::desktop::manager::DesktopError;
use crate::gateway::Upgrade;

/// How long a request is held while its desktop starts or ends. A start has its own, usually
/// shorter limit; this one is for what holds up the start.
const HOLD: Duration = Duration::from_secs(180);

/// Connects a WebSocket to a stream of the desktop that holds the key. A desktop that is starting
/// or on its way out is waited for: SAGE3's viewer never tries a refused socket again.
pub(super) async fn connect(
    State(app): State<App>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    // What cannot become a WebSocket is refused here: it must not wait for, let alone restart, a
    // desktop.
    upgrade: Upgrade,
) -> Response {
    if !app.origins.allow(&headers) {
        return origin::refusal().into_response();
    }
    let address = path
        .ok()
        .and_then(|Path((key, stream))| Some((StreamKey(key.parse().ok()?), stream)));
    let Some((key, stream)) = address else {
        return ApiError::new(
            StatusCode::NOT_FOUND,
            "unknown_stream",
            "a stream's address is /stream/<port>/<stream>, as the API answers it",
        )
        .into_response();
    };
    match timeout(HOLD, app.manager.acquire(key, &stream)).await {
        Ok(Ok(lease)) => app.gateway.connect(upgrade, lease).await,
        // For whoever has only the key, a desktop that does not run is one that is not there.
        Ok(Err(DesktopError::NotRunning(_))) => {
            ApiError::from(DesktopError::UnknownKey(key)).into_response()
        }
        Ok(Err(error)) => ApiError::from(error).into_response(),
        Err(_) => ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            "start_timeout",
            "the desktop did not answer in time",
        )
        .into_response(),
    }
}
