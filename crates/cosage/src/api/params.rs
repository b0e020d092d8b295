//! What stands in the URL, with errors like all others.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::error::ApiError;
use crate::desktop::{Uid, UidError};

/// `{uid}` in the description of a call: the pattern is that of [`Uid`], less the words that are routes.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes; the extractors below read")]
pub(super) struct UidParam {
    /// The desktop's name.
    #[param(
        pattern = "^(?!(any|ws|list|cb)$)[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$",
        example = "my-wall"
    )]
    uid: String,
}

/// `{uid}` as text that may be anything; a text that is not UTF-8 is no uid.
pub(super) struct Name(pub(super) String);

/// `{uid}`, checked.
pub(super) struct UidPath(pub(super) Uid);

/// `{uid}`, checked, and the name of one of the desktop's parts, as text that may be anything.
pub(super) struct Part(pub(super) Uid, pub(super) String);

/// The query, checked.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(_) => Err(UidError::Malformed.into()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for UidPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Name(name) = Name::from_request_parts(parts, state).await?;
        Ok(Self(name.parse()?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Part {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<(String, String)>::from_request_parts(parts, state).await {
            Ok(Path((uid, part))) => Ok(Self(uid.parse()?, part)),
            Err(_) => Err(UidError::Malformed.into()),
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => Err(ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_query",
                format!(
                    "the query is not what this call takes: {}",
                    error.body_text()
                ),
            )),
        }
    }
}
