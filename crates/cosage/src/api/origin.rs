//! Which web pages of other origins may call the API and connect to streams.
//!
//! A browser sends a page's origin along. For calls, CORS keeps a foreign page from reading
//! answers and from sending JSON; a WebSocket has no such protection of its own (RFC 6455, 10.2), so
//! the server has to look at the origin: otherwise any page that somebody visits could look at
//! the desktops of their machine.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

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
            .allow_methods([Method::GET, Method::POST, Method::DELETE])
            .allow_headers([header::CONTENT_TYPE, header::AUTHORIZATION])
            .max_age(PREFLIGHT_MAX_AGE)
    }

    /// Whether a WebSocket may be opened: no origin (not a browser), the host's own, or a listed
    /// one. The port does not count, because the API and the streams have different ones.
    pub(super) fn allow_socket(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        if self.any || self.list.contains(origin) {
            return true;
        }
        let own = headers.get(header::HOST).and_then(host_of_authority);
        let from = origin
            .to_str()
            .ok()
            .and_then(|text| text.parse::<Uri>().ok())
            .and_then(|uri| uri.host().map(str::to_owned));
        own.is_some() && own == from
    }
}

fn host_of_authority(value: &HeaderValue) -> Option<String> {
    let authority: axum::http::uri::Authority = value.to_str().ok()?.parse().ok()?;
    Some(authority.host().to_owned())
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
    fn sockets_are_for_own_and_listed_pages_and_for_programs() {
        let own = AllowedOrigins::default();
        assert!(own.allow_socket(&headers(None)));
        assert!(own.allow_socket(&headers(Some("http://desk.example:4024"))));
        assert!(!own.allow_socket(&headers(Some("http://evil.example"))));
        assert!(!own.allow_socket(&headers(Some("http://desk.example.evil.example"))));
        assert!(!own.allow_socket(&headers(Some("null"))));
        let listed = AllowedOrigins::new(["https://sage3.example/"]);
        assert!(listed.allow_socket(&headers(Some("https://sage3.example"))));
        assert!(!listed.allow_socket(&headers(Some("http://sage3.example"))));
        assert!(AllowedOrigins::new(["*"]).allow_socket(&headers(Some("null"))));
    }
}
