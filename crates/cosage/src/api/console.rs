//! The console: pages for people, and the files that they load.

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::no_such_route;
use crate::console::{self, File, Packing};

/// What a page may do: load and run what this service has, speak to it, and nothing else. `blob:`
/// is what a page itself has made: pictures to download, and sound.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
     media-src blob:; connect-src 'self'; base-uri 'self'; form-action 'none'; \
     frame-ancestors 'self'",
);

/// A page is asked for each time, and sent only when it has changed.
const ASK: HeaderValue = HeaderValue::from_static("no-cache");
/// A file with a hash in its name never changes.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

const NOT_BUILT: &str = "CoSage runs, and this build has no console.\n\n\
    Build it and then the service again:  (cd web && npm ci && npm run build) && cargo build --release\n\
    The API works without: see docs.\n";

pub(super) async fn launcher(headers: HeaderMap) -> Response {
    page("index.html", &headers)
}

pub(super) async fn operations(headers: HeaderMap) -> Response {
    page("operations.html", &headers)
}

/// The same page for every desktop, known or not, and for every share: it asks for itself.
pub(super) async fn viewer(headers: HeaderMap) -> Response {
    page("view.html", &headers)
}

pub(super) async fn asset(Path(name): Path<String>, uri: Uri, headers: HeaderMap) -> Response {
    match console::file(&format!("assets/{name}")) {
        Some(file) => send(file, &headers, FOR_EVER),
        None => no_such_route(uri).await.into_response(),
    }
}

/// Nothing is there: a page that says so for people, JSON for programs.
pub(super) async fn missing(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let for_people = matches!(method, Method::GET | Method::HEAD)
        && !uri.path().starts_with("/api/")
        && headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|accepted| accepted.contains("text/html"));
    let page = console::file("missing.html")
        .filter(|_| for_people)
        .and_then(|file| std::str::from_utf8(&file.plain).ok());
    let Some(page) = page else {
        return no_such_route(uri).await.into_response();
    };
    // It is shown at any depth, and its files are where the console begins.
    let depth = uri.path().matches('/').count().saturating_sub(1);
    let base = format!("<head><base href=\"./{}\">", "../".repeat(depth));
    let text = page.replacen("<head>", &base, 1);
    let mut response = (StatusCode::NOT_FOUND, text).into_response();
    let to = response.headers_mut();
    to.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    to.insert(header::CACHE_CONTROL, ASK);
    protect(to);
    response
}

fn page(name: &str, headers: &HeaderMap) -> Response {
    match console::file(name) {
        Some(file) => {
            let mut response = send(file, headers, ASK);
            protect(response.headers_mut());
            response
        }
        None => (StatusCode::NOT_FOUND, NOT_BUILT).into_response(),
    }
}

/// A file in the best packing that the browser takes, or only the word that it has it already.
fn send(file: &'static File, headers: &HeaderMap, caching: HeaderValue) -> Response {
    // Weak: the packed forms of a file have one tag.
    let tag = format!("W/\"{}\"", file.tag);
    let mut response = if has(headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let (body, packing) = pack(file, headers);
        let mut response = body.into_response();
        let to = response.headers_mut();
        to.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(file.media_type),
        );
        if let Some(packing) = packing {
            to.insert(header::CONTENT_ENCODING, HeaderValue::from_static(packing));
        }
        response
    };
    let to = response.headers_mut();
    to.insert(header::CACHE_CONTROL, caching);
    to.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    to.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        to.insert(header::ETAG, tag);
    }
    response
}

fn pack(file: &'static File, headers: &HeaderMap) -> (Bytes, Option<&'static str>) {
    for (packing, name) in [(Packing::Brotli, "br"), (Packing::Gzip, "gzip")] {
        if let Some(packed) = file.packed(packing)
            && takes(headers, name)
        {
            return (packed.clone(), Some(name));
        }
    }
    (file.plain.clone(), None)
}

/// Whether a coding is in `Accept-Encoding` with a weight above zero (RFC 9110, 12.5.3).
fn takes(headers: &HeaderMap, coding: &str) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|entry| {
            let mut parts = entry.split(';').map(str::trim);
            let named = parts
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case(coding));
            let refused = parts
                .filter_map(|parameter| parameter.strip_prefix("q="))
                .any(|weight| weight.parse() == Ok(0.0));
            named && !refused
        })
}

fn has(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|entry| matches!(entry.trim(), known if known == tag || known == "*"))
}

fn protect(headers: &mut HeaderMap) {
    let values: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        // A desktop's address is what lets people at it; it is nobody else's business.
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
    ];
    headers.extend(values);
}
