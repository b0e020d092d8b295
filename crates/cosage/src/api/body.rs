//! JSON bodies, with errors that say where.

use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::time::timeout;

use super::error::ApiError;

/// The largest body of a call, in bytes.
const BODY_MAX: usize = 64 * 1024;

/// How long a body may take to arrive.
const BODY_BOUND: Duration = Duration::from_secs(30);

/// A JSON object of at most 64 KiB; an empty body is an empty object.
pub(super) struct JsonObject<T>(pub(super) T);

impl<T, S> FromRequest<S> for JsonObject<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let bytes = read_json(request, BODY_MAX).await?;
        if bytes.trim_ascii().is_empty() {
            return require_object(b"{}").map(Self);
        }
        require_object(&bytes).map(Self)
    }
}

/// Reads a body that is declared as JSON.
///
/// One that is not is refused: a web page can send any other type to any address without asking
/// first (a CORS preflight), and could so start desktops.
pub(super) async fn read_json(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    if !declares_json(request.headers()) {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "json_required",
            "the body has to be declared with the header 'Content-Type: application/json'",
        ));
    }
    let whole = timeout(BODY_BOUND, to_bytes(request.into_body(), limit)).await;
    let whole = whole.map_err(|_| {
        ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            "the body did not arrive in time",
        )
    })?;
    whole.map_err(|error| {
        let too_large = std::error::Error::source(&error)
            .is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        if too_large {
            ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                format!("the body may have {limit} bytes at most"),
            )
        } else {
            ApiError::new(
                StatusCode::BAD_REQUEST,
                "incomplete_body",
                "the body ended early",
            )
        }
    })
}

/// Reads a JSON object.
pub(super) fn require_object<T: DeserializeOwned>(text: &[u8]) -> Result<T, ApiError> {
    // Serde would take a list for a struct, too.
    let is_object = text.trim_ascii_start().starts_with(b"{");
    serde_json::from_slice(text)
        .map_err(|error| {
            // Where it expects a word, serde takes any other value for a mistake in the syntax.
            let is_json = serde_json::from_slice::<IgnoredAny>(text).is_ok();
            if is_json {
                ApiError::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "invalid_body",
                    format!("the body is not what this call takes: {error}"),
                )
            } else {
                ApiError::new(
                    StatusCode::BAD_REQUEST,
                    "invalid_json",
                    format!("the body is not JSON: {error}"),
                )
            }
        })
        .and_then(|value| {
            if is_object {
                Ok(value)
            } else {
                Err(ApiError::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "invalid_body",
                    "the body has to be a JSON object, such as {\"vm\": \"firefox\", \"env\": {}}",
                ))
            }
        })
}

fn declares_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}
