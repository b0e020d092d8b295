//! Which home, and where in it.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::super::error::ApiError;
use crate::desktop::{Uid, UidError};
use crate::engine::home::HomePath;

/// `{uid}` and what follows `…/files/`. It is taken from the URL as it came: names of files may be
/// any bytes, and a '/' that is encoded is not one that parts names.
pub(in crate::api) struct Location(pub(super) Uid, pub(super) HomePath);

impl<S: Send + Sync> FromRequestParts<S> for Location {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        // /api/vm/{uid}/files/{path}
        let mut names = parts.uri.path().splitn(6, '/').skip(3);
        let uid = names.next().unwrap_or_default();
        let path = names.nth(1).unwrap_or_default();
        let uid = percent_decode_str(uid).decode_utf8();
        let uid: Uid = uid.map_err(|_| UidError::Malformed)?.parse()?;
        Ok(Self(uid, HomePath::from_url(path)?))
    }
}
