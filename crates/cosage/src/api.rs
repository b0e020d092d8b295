//! The whole HTTP interface: one table of routes, the same on both ports.

mod body;
mod callback;
mod catalog;
mod console;
mod description;
mod desktops;
mod error;
mod events;
mod files;
mod health;
mod homes;
mod host;
mod logs;
mod origin;
mod pages;
mod params;
mod screenshot;
mod shares;
mod streams;
mod viewers;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware;
use axum::routing::{get, post};
use bytes::Bytes;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::callback::Callbacks;
use crate::desktop::events::Event;
use crate::desktop::manager::Manager;
use crate::gateway::Gateway;
use crate::pictures::Pictures;

use self::error::ApiError;
pub use self::host::{AllowedHosts, normalize};
pub use self::origin::AllowedOrigins;

/// What every handler can reach. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// All desktops.
    pub manager: Manager,
    /// The data path of streams.
    pub gateway: Gateway,
    /// Pictures of desktops.
    pub pictures: Pictures,
    /// The ways of reports to whoever wants them.
    pub callbacks: Callbacks,
    /// `STREAM_URL_TEMPLATE`, with `{port}` where the key goes.
    pub stream_url_template: Arc<str>,
    /// Which hosts requests may be for.
    pub hosts: AllowedHosts,
    /// Which web pages of other origins may call and connect.
    pub origins: AllowedOrigins,
    /// `COSAGE_UPLOAD_MAX`, in bytes.
    pub upload_max: u64,
}

impl App {
    /// `key` is what stands in the address: a stream key, or a share's token.
    fn stream_url(&self, key: impl ToString) -> String {
        self.stream_url_template.replace("{port}", &key.to_string())
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "CoSage",
        description = "Desktop applications in the browser, on demand, from a curated catalogue of containers."
    ),
    tags(
        (name = "desktops", description = "Ask for desktops, look at them, stop them"),
        (name = "files", description = "The files of a desktop's home, whether it runs or sleeps"),
        (name = "sharing", description = "Who may do what at a desktop"),
        (name = "catalogue", description = "What there is to choose from"),
        (name = "health", description = "For whoever watches over the service"),
    )
)]
struct Description;

/// Which routes a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routes {
    /// API and streams.
    All,
    /// Streams, what shares lead to, and health only.
    Streams,
    /// Callbacks of desktops only.
    Callbacks,
}

/// What is posted to webhooks of an event, JSON; `None` when it is not remembered any more.
pub fn webhook_body(app: &App, event: &Event) -> Option<Bytes> {
    events::webhook_body(app, event)
}

/// The router of one listener, for requests that were [normalized](normalize).
pub fn router(app: App, which: Routes) -> Router {
    let health = OpenApiRouter::new()
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz));
    // For whoever has nothing but a share's address, which is on both ports.
    let shared = OpenApiRouter::new().routes(routes!(shares::shown));
    let api = OpenApiRouter::with_openapi(Description::openapi())
        .merge(health.clone())
        .merge(shared.clone())
        .routes(routes!(desktops::ensure))
        .routes(routes!(desktops::url))
        .routes(routes!(desktops::list))
        .routes(routes!(pages::all))
        .routes(routes!(events::listen))
        .routes(routes!(desktops::show, desktops::stop))
        .routes(routes!(logs::read))
        .routes(routes!(screenshot::screenshot))
        .routes(routes!(files::read, files::write, files::remove))
        .routes(routes!(homes::list))
        .routes(routes!(homes::measure, homes::delete))
        .routes(routes!(shares::create, shares::list))
        .routes(routes!(shares::change, shares::revoke))
        .routes(routes!(viewers::list, viewers::change_all))
        .routes(routes!(viewers::change))
        // The name that the call had first; the description has the other one.
        .route("/api/vm/{uid}/share", post(shares::create))
        .routes(routes!(callback::report))
        .routes(routes!(catalog::list))
        .routes(routes!(catalog::icon));
    let router = match which {
        Routes::All => {
            let (router, mut description) = api.split_for_parts();
            files::describe(&mut description);
            description::complete(&mut description);
            // The home itself, which has no path.
            let router = router
                .route(files::HOME, get(files::read))
                .route(files::HOME_SLASH, get(files::read));
            // The page's files are part of the binary: it works without the internet.
            router
                .merge(SwaggerUi::new("/docs").url("/openapi.json", description))
                .route("/", get(console::launcher))
                .route("/operations", get(console::operations))
                .route("/view/{uid}", get(console::viewer))
                // For who comes by a share and is not told the name.
                .route("/view/", get(console::viewer))
                .route("/assets/{name}", get(console::asset))
                .fallback(console::missing)
        }
        Routes::Streams => {
            let router = health.merge(shared).split_for_parts().0;
            router.fallback(no_such_route)
        }
        Routes::Callbacks => {
            let callbacks = OpenApiRouter::new().routes(routes!(callback::report));
            callbacks.split_for_parts().0.fallback(no_such_route)
        }
    };
    let router = match which {
        Routes::All | Routes::Streams => router
            .route("/stream/{key}/{stream}", get(streams::connect))
            // The prefix that SAGE3's development server used.
            .route("/api/vmstream/{key}/{stream}", get(streams::connect)),
        Routes::Callbacks => router,
    };
    let cors = app.origins.cors();
    router
        .method_not_allowed_fallback(no_such_method)
        .layer(CatchPanicLayer::custom(
            |_: Box<dyn std::any::Any + Send>| {
                // The panic itself is in the log, by the panic hook.
                axum::response::IntoResponse::into_response(ApiError::internal())
            },
        ))
        .layer(middleware::from_fn_with_state(app.clone(), origin::guard))
        .layer(middleware::from_fn_with_state(app.clone(), host::guard))
        // Outermost, so that a page can also read the errors. It answers preflights for every host: they only tell which
        // origins may call.
        .layer(cors)
        .with_state(app)
}

async fn no_such_route(uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "no_such_route",
        format!("nothing is at '{}'; /docs shows what there is", uri.path()),
    )
}

async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "no_such_method",
        format!(
            "'{}' takes no {method}; /docs shows what it takes",
            uri.path()
        ),
    )
}
