//! What there is to choose from.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::error::{ApiError, ErrorBody};
use super::params::Name;
use crate::catalog::Variable;
use crate::desktop::error::DesktopError;

/// An app that can be asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AppBody {
    /// What `vm` says.
    name: String,
    /// A name for people.
    title: String,
    /// One sentence on what it is.
    description: String,
    /// Path of its picture on this service; empty for none.
    #[schema(example = "/api/catalog/firefox/icon?v=5f2a01bc")]
    icon: String,
    /// Further names it answers to.
    aliases: Vec<String>,
    /// Its streams by name.
    streams: Vec<String>,
    /// What `env` may hold, by name: `type` (`text`, `integer`, `boolean`, `choice`, `url`, `urls`,
    /// `host`, `timezone`, `language`) with its bounds or options, `title`, `default` and `required`.
    #[schema(value_type = BTreeMap<String, Object>)]
    env: BTreeMap<String, Variable>,
    /// Whether its desktops have a home that outlives their containers.
    home: bool,
    /// Whether its image is on the host; `null` where that is not known, or it needs none.
    #[schema(required = true)]
    available: Option<bool>,
}

/// An SVG is a document of its own when somebody opens it: it runs nothing and loads nothing.
const PICTURE_ONLY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox");

/// An app's picture.
#[utoipa::path(get, path = "/api/catalog/{name}/icon", tag = "catalogue",
    params(("name" = String, Path, description = "The app's name")),
    responses(
        (status = 200, description = "The picture", content_type = "image/*"),
        (status = 404, description = "No such app, or one without a picture", body = ErrorBody),
    ))]
pub(super) async fn icon(
    State(service): State<App>,
    Name(name): Name,
) -> Result<Response, ApiError> {
    let catalog = service.manager.catalog();
    let app = catalog
        .app(&name)
        .ok_or_else(|| DesktopError::UnknownApp(catalog.unknown(&name)))?;
    let Some(icon) = &app.icon else {
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "no_icon",
            format!("the app '{}' has no icon", app.name),
        ));
    };
    // The address in the list changes with the picture.
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static(icon.media_type),
        ),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=86400"),
        ),
        (header::CONTENT_SECURITY_POLICY, PICTURE_ONLY),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ];
    Ok((headers, icon.bytes.clone()).into_response())
}

/// The curated list.
#[utoipa::path(get, path = "/api/catalog", tag = "catalogue",
    responses((status = 200, body = Vec<AppBody>)))]
pub(super) async fn list(State(service): State<App>) -> Json<Vec<AppBody>> {
    let catalog = service.manager.catalog();
    Json(
        catalog
            .apps
            .values()
            .map(|app| AppBody {
                name: app.name.clone(),
                title: app.title.clone(),
                description: app.description.clone(),
                icon: app.icon.as_ref().map_or_else(String::new, |icon| {
                    format!("/api/catalog/{}/icon?v={}", app.name, icon.tag)
                }),
                aliases: app.aliases.clone(),
                streams: app.streams.keys().cloned().collect(),
                env: app.environment.clone(),
                home: app.has_home(),
                available: service.manager.image_is_there(app),
            })
            .collect(),
    )
}
