//! Homes apart from their files: how much disk they take, and those that belong to no desktop.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::error::{ApiError, ErrorBody};
use super::params::{Params, UidParam, UidPath};
use crate::desktop::Uid;

/// Which homes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct HomesParams {
    /// Always `true`: only homes that belong to no desktop are listed.
    #[param(inline)]
    unclaimed: Unclaimed,
}

/// The one choice that there is.
#[derive(Debug, Deserialize, ToSchema)]
enum Unclaimed {
    #[serde(rename = "true")]
    True,
}

/// How much disk a home takes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HomeBody {
    /// All blocks of its files and directories, in bytes. A file with several names counts once.
    #[schema(example = 734_003_200)]
    disk_use: u64,
}

/// Homes that belong to no desktop.
///
/// They are left where a backup was restored that does not know their desktops, or a desktop was deleted while the engine did
/// not answer. The answer is their names. The service never deletes such a home by itself.
#[utoipa::path(get, path = "/api/homes", tag = "files",
    params(HomesParams),
    responses(
        (status = 200, body = Vec<String>),
        (status = 422, description = "unclaimed=true is missing", body = ErrorBody),
        (status = 501, description = "The engine has no homes", body = ErrorBody),
        (status = 503, description = "The engine does not answer, or the store failed", body = ErrorBody),
    ))]
pub(super) async fn list(
    State(app): State<App>,
    Params(HomesParams {
        unclaimed: Unclaimed::True,
    }): Params<HomesParams>,
) -> Result<Json<Vec<Uid>>, ApiError> {
    Ok(Json(app.manager.unclaimed_homes().await?))
}

/// How much disk a home takes.
///
/// All its files are looked at, which takes a while for a large home. Two homes are measured at the same time; others wait.
/// A measurement is no use of the desktop.
#[utoipa::path(get, path = "/api/homes/{uid}", tag = "files",
    params(UidParam),
    responses(
        (status = 200, body = HomeBody),
        (status = 409, description = "There is no home of this name", body = ErrorBody),
        (status = 501, description = "The engine has no homes", body = ErrorBody),
        (status = 503, description = "The engine does not answer, or files are busy", body = ErrorBody),
        (status = 504, description = "It was not measured within 60 s", body = ErrorBody),
    ))]
pub(super) async fn measure(
    State(app): State<App>,
    UidPath(uid): UidPath,
) -> Result<Json<HomeBody>, ApiError> {
    let disk_use = app.manager.measure_home(&uid).await?;
    Ok(Json(HomeBody { disk_use }))
}

/// Delete a home that belongs to no desktop.
///
/// A home that does not exist is a success. `DELETE /api/vm/{uid}?forget=true` deletes a desktop with its home.
#[utoipa::path(delete, path = "/api/homes/{uid}", tag = "files",
    params(UidParam),
    responses(
        (status = 204, description = "There is no home of this name"),
        (status = 409, description = "The home belongs to a desktop", body = ErrorBody),
        (status = 501, description = "The engine has no homes", body = ErrorBody),
        (status = 502, description = "The engine refuses, such as for a home in use", body = ErrorBody),
        (status = 503, description = "The engine does not answer", body = ErrorBody),
    ))]
pub(super) async fn delete(
    State(app): State<App>,
    UidPath(uid): UidPath,
) -> Result<StatusCode, ApiError> {
    app.manager.delete_home(&uid).await?;
    Ok(StatusCode::NO_CONTENT)
}
