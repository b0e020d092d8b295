//! Calls on a desktop's shares: further addresses, each with a role of its own.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{KnownFormat, RefOr, Schema, SchemaFormat};

use super::App;
use super::body::JsonObject;
use super::desktops::{self, EndWord, StatusWord};
use super::error::{ApiError, ErrorBody};
use super::params::{Part, UidParam, UidPath};
use crate::desktop::access::{Change, Share, Token};
use crate::desktop::error::DesktopError;
use crate::desktop::rights::{Clipboard, Rights, Role};
use crate::desktop::sharing::SharingError;

/// The longest that a share may last; one that ends later can as well not end.
const LASTING_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// What whoever comes by an address may do.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RoleWord {
    /// Steer the desktop.
    Control,
    /// Look on.
    View,
}

/// Which way texts of the clipboard go.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ClipboardWord {
    /// Both ways.
    Both,
    /// From the desktop to the viewer only.
    Out,
}

/// What a share is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ShareRequest {
    role: RoleWord,
    /// By default `both` for `control`. For `view` it is always `out`: who looks on puts nothing into the clipboard.
    clipboard: Option<ClipboardWord>,
    /// When it ends: in so many seconds (1 to 31,622,400), or at an RFC 3339 time within a year; never by default.
    #[schema(schema_with = expires_schema)]
    expires: Option<Value>,
}

fn expires_schema() -> impl Into<RefOr<Schema>> {
    let number = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .maximum(Some(LASTING_MAX.as_secs()));
    let time = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    OneOfBuilder::new()
        .item(number)
        .item(time)
        .item(ObjectBuilder::new().schema_type(Type::Null))
}

/// A change of rights; what is absent stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeRequest {
    role: Option<RoleWord>,
    /// A change of the role alone brings that role's own clipboard along.
    clipboard: Option<ClipboardWord>,
}

/// A share.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShareBody {
    /// Its name among the desktop's shares.
    #[schema(example = "5f0e0b5c-7a3b-4a52-9a0e-0c9f0a3d2b11")]
    id: String,
    role: RoleWord,
    clipboard: ClipboardWord,
    /// Path of its VNC stream. Whoever knows it has the share's rights, so it is shown once, to whoever makes the share.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        example = "/stream/9c1185a5c5e9fc54612808977ee8f5480f3d2b119a0e5f0e0b5c7a3b4a524a52/vnc"
    )]
    url: Option<String>,
    /// Path of a page that shows that stream to people, and knows no other way to the desktop. The token is behind `#`,
    /// so that it is in no request for the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        example = "/view/#share=9c1185a5c5e9fc54612808977ee8f5480f3d2b119a0e5f0e0b5c7a3b4a524a52"
    )]
    page: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ends; absent when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires: Option<Timestamp>,
}

/// What a share's address leads to. It does not tell the desktop's name, by which there is more to be had.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SharedBody<'a> {
    /// The app's name for people.
    title: &'a str,
    /// Where the desktop is.
    status: StatusWord,
    /// Why what ran of it last is ending or has ended, as in the desktop's own description.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<EndWord>,
    /// Its streams by name.
    streams: Vec<&'a str>,
    role: RoleWord,
    clipboard: ClipboardWord,
    /// When the share ends; absent when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires: Option<Timestamp>,
}

/// Make a further address of a desktop.
///
/// It leads to the desktop while it runs, and starts nothing. It outlives restarts of desktop and service, and goes when
/// it is deleted, when it expires, or when the desktop is forgotten. What a viewer with the role `view` sends that
/// would change the desktop does not reach it, whatever its client does. `POST /api/vm/{uid}/share` is the same call.
#[utoipa::path(post, path = "/api/vm/{uid}/shares", tag = "sharing",
    params(UidParam),
    request_body = ShareRequest,
    responses(
        (status = 201, body = ShareBody),
        (status = 404, description = "No such desktop", body = ErrorBody),
        (status = 409, description = "Viewers of this app cannot be held to that, or it has 100 shares", body = ErrorBody),
        (status = 422, description = "Not a uid, a role, a clipboard direction or a time to come", body = ErrorBody),
        (status = 503, description = "The store failed", body = ErrorBody),
    ))]
pub(super) async fn create(
    State(app): State<App>,
    UidPath(uid): UidPath,
    JsonObject(request): JsonObject<ShareRequest>,
) -> Result<(StatusCode, Json<ShareBody>), ApiError> {
    let expires = request.expires.as_ref().map(expiry).transpose()?;
    let change = Change {
        role: Some(request.role.into()),
        clipboard: request.clipboard.map(Into::into),
    };
    let rights = change.apply(Rights::default());
    let (share, token) = app.manager.share(&uid, rights, expires).await?;
    let token = token.reveal();
    let body = ShareBody {
        url: Some(app.stream_url(token)),
        page: Some(format!("/view/#share={token}")),
        ..describe(&share)
    };
    Ok((StatusCode::CREATED, Json(body)))
}

/// The shares of a desktop, oldest first, without their addresses.
#[utoipa::path(get, path = "/api/vm/{uid}/shares", tag = "sharing",
    params(UidParam),
    responses(
        (status = 200, body = Vec<ShareBody>),
        (status = 404, description = "No such desktop", body = ErrorBody),
    ))]
pub(super) async fn list(
    State(app): State<App>,
    UidPath(uid): UidPath,
) -> Result<Json<Vec<ShareBody>>, ApiError> {
    let shares = app.manager.shares(&uid).await?;
    Ok(Json(shares.iter().map(describe).collect()))
}

/// What whoever has a share's address is told about it.
///
/// It starts nothing. A browser does not tell a page why a WebSocket was refused; this does.
#[utoipa::path(get, path = "/stream/{token}", tag = "sharing",
    params(("token" = String, Path, description = "The secret of the share's address", pattern = "^([0-9a-f]{64}|[0-9a-f]{32})$")),
    responses(
        (status = 200, body = SharedBody),
        (status = 404, description = "No such share: never, or not any more", body = ErrorBody),
    ))]
pub(super) async fn shown(
    State(app): State<App>,
    token: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let token = token.ok().and_then(|Path(token)| Token::parse(&token));
    let token = token.ok_or(SharingError::UnknownShare)?;
    let share = app.manager.resolve(&token).await?;
    // Forgotten at this moment, and its shares with it.
    let view = match app.manager.view(&share.uid).await {
        Err(DesktopError::UnknownDesktop(_)) => return Err(SharingError::UnknownShare.into()),
        view => view?,
    };
    let catalog = app.manager.catalog();
    let desktop = desktops::describe(&app, &catalog, &view);
    let rights = app.manager.rights_by(&share).await?;
    let body = SharedBody {
        title: desktop.title,
        status: desktop.status,
        ended: desktop.ended,
        streams: desktop.streams,
        role: rights.role.into(),
        clipboard: rights.clipboard.into(),
        expires: share.expires,
    };
    Ok(Json(body).into_response())
}

/// Change what a share gives, also to those who have come by it.
#[utoipa::path(patch, path = "/api/vm/{uid}/shares/{id}", tag = "sharing",
    params(UidParam, ("id" = String, Path, description = "The share")),
    request_body = ChangeRequest,
    responses(
        (status = 200, body = ShareBody),
        (status = 404, description = "No such desktop or share", body = ErrorBody),
        (status = 409, description = "Viewers of this app cannot be held to that", body = ErrorBody),
        (status = 422, description = "Not a uid, a role or a clipboard direction", body = ErrorBody),
        (status = 503, description = "The store failed", body = ErrorBody),
    ))]
pub(super) async fn change(
    State(app): State<App>,
    Part(uid, id): Part,
    JsonObject(request): JsonObject<ChangeRequest>,
) -> Result<Json<ShareBody>, ApiError> {
    let share = app.manager.change_share(&uid, &id, request.into()).await?;
    Ok(Json(describe(&share)))
}

/// End a share and the connections of those who came by it.
#[utoipa::path(delete, path = "/api/vm/{uid}/shares/{id}", tag = "sharing",
    params(UidParam, ("id" = String, Path, description = "The share")),
    responses(
        (status = 204, description = "Its address leads nowhere any more"),
        (status = 404, description = "No such desktop or share", body = ErrorBody),
        (status = 503, description = "The store failed", body = ErrorBody),
    ))]
pub(super) async fn revoke(
    State(app): State<App>,
    Part(uid, id): Part,
) -> Result<StatusCode, ApiError> {
    app.manager.revoke(&uid, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn describe(share: &Share) -> ShareBody {
    ShareBody {
        id: share.id.clone(),
        role: share.rights.role.into(),
        clipboard: share.rights.clipboard.into(),
        url: None,
        page: None,
        created_at: share.created_at,
        expires: share.expires,
    }
}

fn whole(number: &serde_json::Number) -> Option<u64> {
    number.as_u64().or_else(|| {
        let number = number.as_f64().filter(|number| number.fract() == 0.0)?;
        format!("{number:.0}").parse().ok()
    })
}

fn expiry(expires: &Value) -> Result<Timestamp, ApiError> {
    let now = Timestamp::now();
    let at = match expires {
        // A number such as 60.0 is an integer as well (JSON Schema, 6.1.1).
        Value::Number(seconds) => {
            whole(seconds).and_then(|seconds| now.checked_add(Duration::from_secs(seconds)).ok())
        }
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let latest = now.saturating_add(LASTING_MAX).unwrap_or(Timestamp::MAX);
    at.filter(|at| *at > now && *at <= latest).ok_or_else(|| {
        ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_expires",
            "expires is a number of seconds from 1 to 31622400, or a time to come within a year such as \
             2030-01-02T03:04:05Z; leave it out for a share that does not end",
        )
    })
}

impl From<ChangeRequest> for Change {
    fn from(request: ChangeRequest) -> Self {
        Self {
            role: request.role.map(Into::into),
            clipboard: request.clipboard.map(Into::into),
        }
    }
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Control => Self::Control,
            RoleWord::View => Self::View,
        }
    }
}

impl From<Role> for RoleWord {
    fn from(role: Role) -> Self {
        match role {
            Role::Control => Self::Control,
            Role::View => Self::View,
        }
    }
}

impl From<ClipboardWord> for Clipboard {
    fn from(word: ClipboardWord) -> Self {
        match word {
            ClipboardWord::Both => Self::Both,
            ClipboardWord::Out => Self::Out,
        }
    }
}

impl From<Clipboard> for ClipboardWord {
    fn from(clipboard: Clipboard) -> Self {
        match clipboard {
            Clipboard::Both => Self::Both,
            Clipboard::Out => Self::Out,
        }
    }
}
