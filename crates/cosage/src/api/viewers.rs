//! Calls on those who are connected to a desktop.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::body::JsonObject;
use super::error::{ApiError, ErrorBody};
use super::params::{Part, UidPath};
use super::shares::{ChangeRequest, ClipboardWord, RoleWord};
use crate::desktop::access::Viewer;

/// One connection.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ViewerBody {
    /// Its number.
    id: u64,
    role: RoleWord,
    clipboard: ClipboardWord,
    /// The stream it is connected to.
    #[schema(example = "vnc")]
    stream: String,
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// The share it came by; absent when it came by the desktop's own address.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<String>,
    /// Where its connection comes from: a proxy's address where one is in front.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "192.0.2.7")]
    address: Option<String>,
}

/// What everybody may do.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EverybodyRequest {
    role: RoleWord,
}

/// Who is connected to a desktop, in the order in which they came.
#[utoipa::path(get, path = "/api/vm/{uid}/viewers", tag = "sharing",
    params(("uid" = String, Path, description = "The desktop's name")),
    responses(
        (status = 200, body = Vec<ViewerBody>),
        (status = 404, description = "No such desktop", body = ErrorBody),
    ))]
pub(super) async fn list(
    State(app): State<App>,
    UidPath(uid): UidPath,
) -> Result<Json<Vec<ViewerBody>>, ApiError> {
    let viewers = app.manager.viewers(&uid)?;
    Ok(Json(viewers.into_iter().map(describe).collect()))
}

/// Take control away from everybody at once, or give it back.
///
/// With `view`, everybody who is connected only looks on from this moment, and so does whoever comes by the desktop's
/// own address later, also after a restart of the service; whoever comes later by a share has the share's role. With
/// `control`, everybody may do again what their address gives. Answers who is connected.
#[utoipa::path(patch, path = "/api/vm/{uid}/viewers", tag = "sharing",
    params(("uid" = String, Path, description = "The desktop's name")),
    request_body = EverybodyRequest,
    responses(
        (status = 200, body = Vec<ViewerBody>),
        (status = 404, description = "No such desktop", body = ErrorBody),
        (status = 422, description = "Not a role", body = ErrorBody),
        (status = 503, description = "The store failed; it is in force until the service restarts", body = ErrorBody),
    ))]
pub(super) async fn change_all(
    State(app): State<App>,
    UidPath(uid): UidPath,
    JsonObject(request): JsonObject<EverybodyRequest>,
) -> Result<Json<Vec<ViewerBody>>, ApiError> {
    let viewers = app.manager.set_role(&uid, request.role.into()).await?;
    Ok(Json(viewers.into_iter().map(describe).collect()))
}

/// Change what one viewer may do, from this moment until it leaves.
#[utoipa::path(patch, path = "/api/vm/{uid}/viewers/{id}", tag = "sharing",
    params(("uid" = String, Path, description = "The desktop's name"), ("id" = u64, Path, description = "The viewer")),
    request_body = ChangeRequest,
    responses(
        (status = 200, body = ViewerBody),
        (status = 404, description = "No such desktop or viewer", body = ErrorBody),
        (status = 422, description = "Not a role or a clipboard direction", body = ErrorBody),
    ))]
pub(super) async fn change(
    State(app): State<App>,
    Part(uid, id): Part,
    JsonObject(request): JsonObject<ChangeRequest>,
) -> Result<Json<ViewerBody>, ApiError> {
    // What is no number is nobody's.
    let id = id.parse().unwrap_or(0);
    let viewer = app.manager.change_viewer(&uid, id, request.into())?;
    Ok(Json(describe(viewer)))
}

fn describe(viewer: Viewer) -> ViewerBody {
    ViewerBody {
        id: viewer.id,
        role: viewer.rights.role.into(),
        clipboard: viewer.rights.clipboard.into(),
        stream: viewer.stream,
        since: viewer.since,
        share: viewer.share,
        address: viewer.address.map(|address| address.to_string()),
    }
}
