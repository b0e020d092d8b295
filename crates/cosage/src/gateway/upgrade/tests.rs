use axum::body::{Body, to_bytes};
use axum::http::Request;

use super::*;

fn request() -> axum::http::request::Builder {
    Request::get("/stream/11000/vnc")
        .header("Upgrade", "websocket")
        .header("Connection", "Upgrade")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

/// Refused for one thing only: no connection is behind a request that a test makes up.
const LAST_CHECK: &str = "this connection cannot change over to WebSocket";

fn check(request: axum::http::request::Builder) -> Refusal {
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    Upgrade::from_parts(&mut parts).unwrap_err()
}

#[test]
fn the_example_of_the_standard_is_answered_as_it_says() {
    assert_eq!(
        accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="),
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
}

#[test]
fn tokens_may_be_in_any_case_and_in_lists() {
    assert_eq!(check(request()).details, LAST_CHECK);
    let listed = Request::get("/")
        .header("Upgrade", "h2c, WebSocket")
        .header("Connection", "keep-alive")
        .header("Connection", "foo ,UPGRADE")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(check(listed).details, LAST_CHECK);
}

#[test]
fn everything_else_is_refused() {
    let without = |name: &str| {
        let mut builder = request();
        builder.headers_mut().unwrap().remove(name);
        builder
    };
    for (builder, status) in [
        (without("upgrade"), 426),
        (without("connection"), 426),
        (without("sec-websocket-version"), 426),
        (without("sec-websocket-key"), 400),
        (request().method("POST"), 426),
        (request().version(Version::HTTP_10), 426),
        (without("upgrade").header("Upgrade", "h2c"), 426),
        (without("connection").header("Connection", "upgraded"), 426),
        (
            without("sec-websocket-version").header("Sec-WebSocket-Version", "8"),
            426,
        ),
        (
            without("sec-websocket-key").header("Sec-WebSocket-Key", "c2hvcnQ="),
            400,
        ),
        (
            without("sec-websocket-key").header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ!!"),
            400,
        ),
    ] {
        assert_eq!(check(builder).status.as_u16(), status);
    }
}

#[tokio::test]
async fn a_refusal_is_json_that_says_what_is_spoken() {
    let refusal = check(Request::get("/"));
    let response = refusal.into_response();
    assert_eq!(response.status(), StatusCode::UPGRADE_REQUIRED);
    assert_eq!(response.headers()["upgrade"], "websocket");
    assert_eq!(response.headers()["sec-websocket-version"], "13");
    let body = to_bytes(Body::new(response.into_body()), 4096)
        .await
        .unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["code"], "websocket_required");
    assert!(body["details"].is_string() && body.get("url").is_none());
}
