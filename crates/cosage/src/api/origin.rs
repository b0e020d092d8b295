//! Which web pages of other origins may call the API and connect to streams.
//!
//! A browser sends a page's origin along. CORS keeps a foreign page from reading answers, and a
//! preflight from sending what changes something; a WebSocket has no such protection of its own
//! (RFC 6455, 10.2), so the server has to look at the origin: otherwise any page that somebody
//! visits could look at the desktops of their machine. It looks at the origin of every call that
//! changes something as well, rather than rely on the browser alone.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::App;
use super::error::ApiError;
use super::host::{host_of, host_of_origin};

/// How long a browser may remember a preflight's answer.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// `COSAGE_ALLOWED_ORIGINS`: origins such as `https://sage3.example.org`, or `*` for all.
#[derive(Clone, Debug, Default)]
pub struct AllowedOrigins {
    any: bool,
    list: Arc<[HeaderValue]>,
}

impl AllowedOrigins {
    /// From checked texts; one that cannot be a header's value never matches.
    pub fn new<'a>(origins: impl IntoIterator<Item = &'a str>) -> Self {
        let mut any = false;
        let mut list = Vec::new();
        for origin in origins {
            if origin == "*" {
                any = true;
            } else if let Ok(value) = HeaderValue::from_str(origin.trim_end_matches('/')) {
                list.push(value);
            }
        }
        Self {
            any,
            list: list.into(),
        }
    }

    pub(super) fn cors(&self) -> CorsLayer {
        let origins = if self.any {
            AllowOrigin::any()
        } else {
            AllowOrigin::list(self.list.iter().cloned())
        };
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([
                Method::GET,
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
            ])
            .allow_headers([
                header::CONTENT_TYPE,
                header::AUTHORIZATION,
                HeaderName::from_static("last-event-id"),
                header::RANGE,
                header::IF_RANGE,
                header::IF_MATCH,
                header::IF_NONE_MATCH,
            ])
            .expose_headers([
                header::ACCEPT_RANGES,
                header::CONTENT_DISPOSITION,
                header::CONTENT_RANGE,
                header::ETAG,
            ])
            .max_age(PREFLIGHT_MAX_AGE)
    }

    /// Whether whoever sends these headers may open a WebSocket or change something: no origin (not
    /// a browser), the host's own, or a listed one. The port does not count, because the API and
    /// the streams have different ones.
    pub(super) fn allow(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        if self.any || self.list.contains(origin) {
            return true;
        }
        let own = headers.get(header::HOST);
        let own = own.and_then(|host| host_of(host.to_str().ok()?));
        let from = origin.to_str().ok().and_then(host_of_origin);
        own.zip(from)
            .is_some_and(|(own, from)| own.eq_ignore_ascii_case(from))
    }
}

/// Refuses calls of foreign pages that may change something.
pub(super) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.method().is_safe() || app.origins.allow(request.headers()) {
        next.run(request).await
    } else {
        refusal().into_response()
    }
}

/// What a page of an origin that is not allowed gets.
pub(super) fn refusal() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "origin_not_allowed",
        "pages of this origin may neither change anything nor connect; an operator allows it with COSAGE_ALLOWED_ORIGINS",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(origin: Option<&'static str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("desk.example:4033"));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        }
        headers
    }

    #[test]
    fn own_and_listed_pages_and_programs_are_allowed() {
        let own = AllowedOrigins::default();
        assert!(own.allow(&headers(None)));
        assert!(own.allow(&headers(Some("http://desk.example:4024"))));
        assert!(!own.allow(&headers(Some("http://evil.example"))));
        assert!(!own.allow(&headers(Some("http://desk.example.evil.example"))));
        assert!(!own.allow(&headers(Some("null"))));
        let listed = AllowedOrigins::new(["https://sage3.example/"]);
        assert!(listed.allow(&headers(Some("https://sage3.example"))));
        assert!(!listed.allow(&headers(Some("http://sage3.example"))));
        assert!(AllowedOrigins::new(["*"]).allow(&headers(Some("null"))));
    }
}
