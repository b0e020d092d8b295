//! What there is to choose from.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use crate::catalog::Variable;

/// An app that can be asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AppBody {
    /// What `vm` says.
    name: String,
    /// A name for people.
    title: String,
    /// One sentence on what it is.
    description: String,
    /// A picture; empty for none.
    icon: String,
    /// Further names it answers to.
    aliases: Vec<String>,
    /// Its streams by name.
    streams: Vec<String>,
    /// What `env` may hold, by name: `type` (`text`, `integer`, `boolean`, `choice`, `url`,
    /// `urls`) with its bounds, `title`, `default` and `required`.
    #[schema(value_type = BTreeMap<String, Object>)]
    env: BTreeMap<String, Variable>,
}

/// The curated list.
#[utoipa::path(get, path = "/api/catalog", tag = "catalogue",
    responses((status = 200, body = Vec<AppBody>)))]
pub(super) async fn list(State(app): State<App>) -> Json<Vec<AppBody>> {
    let catalog = app.manager.catalog();
    Json(
        catalog
            .apps
            .values()
            .map(|app| AppBody {
                name: app.name.clone(),
                title: app.title.clone(),
                description: app.description.clone(),
                icon: app.icon.clone(),
                aliases: app.aliases.clone(),
                streams: app.streams.keys().cloned().collect(),
                env: app.environment.clone(),
            })
            .collect(),
    )
}
