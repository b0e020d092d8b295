//! Calls on those who are connected to a desktop.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{
    AdditionalProperties, ObjectBuilder, OneOfBuilder, SchemaType, Type,
};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::App;
use super::body::JsonObject;
use super::error::{ApiError, ErrorBody};
use super::params::{Part, UidParam, UidPath};
use super::shares::{ChangeRequest, ClipboardWord, RoleWord};
use crate::desktop::access::{ClientNameError, Spared, Takeover, Viewer};

/// One connection.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ViewerBody {
    /// Its number.
    id: u64,
    role: RoleWord,
    clipboard: ClipboardWord,
    /// The stream it is connected to.
    #[schema(example = "vnc")]
    stream: String,
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// The share it came by; absent when it came by the desktop's own address.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<String>,
    /// What its client calls itself by `?client=` in its stream's address; absent where it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "d2b1c0de")]
    client: Option<String>,
    /// Where its connection comes from: a proxy's address where one is in front.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "192.0.2.7")]
    address: Option<String>,
}

/// What all viewers may do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EverybodyRequest {
    role: RoleWord,
    except: Option<String>,
    share: Option<String>,
}

/// What cannot be derived: `except` goes with `view` only, and `share` with `except`.
impl PartialSchema for EverybodyRequest {
    fn schema() -> RefOr<Schema> {
        let request = |role: &str, except: ObjectBuilder, share: ObjectBuilder| {
            let role = ObjectBuilder::new()
                .schema_type(Type::String)
                .enum_values(Some([role]));
            ObjectBuilder::new()
                .property("role", role)
                .required("role")
                .property("except", except)
                .property("share", share)
                .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
        };
        let none = || ObjectBuilder::new().schema_type(Type::Null);
        let client = |types: SchemaType| {
            ObjectBuilder::new()
                .schema_type(types)
                .pattern(Some("^[A-Za-z0-9_-]{1,64}$"))
                .description(Some(
                    "The name of the client that keeps what its address gives, as it has it in its stream's address: \
                     `/stream/11446/vnc?client=d2b1c0de`.",
                ))
        };
        let share = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(
                "The id of the share by which that client comes. Without it, the client comes by the desktop's own \
                 address, and a guest of the same name is another client.",
            ));
        let owner = client(SchemaType::from_iter([Type::String, Type::Null]));
        let guest = request("view", client(Type::String.into()), share).required("except");
        OneOfBuilder::new()
            .description(Some("What all viewers may do."))
            .item(request("view", owner, none()))
            .item(guest.required("share"))
            .item(request("control", none(), none()))
            .into()
    }
}

impl ToSchema for EverybodyRequest {}

/// Who is connected to a desktop, in the order in which they came.
#[utoipa::path(get, path = "/api/vm/{uid}/viewers", tag = "sharing",
    params(UidParam),
    responses(
        (status = 200, body = Vec<ViewerBody>),
        (status = 404, description = "No such desktop", body = ErrorBody),
    ))]
pub(super) async fn list(
    State(app): State<App>,
    UidPath(uid): UidPath,
) -> Result<Json<Vec<ViewerBody>>, ApiError> {
    let viewers = app.manager.viewers(&uid).await?;
    Ok(Json(viewers.into_iter().map(describe).collect()))
}

/// Take control from all viewers at once, or give it back.
///
/// With `view`, all viewers may only watch from this moment, those who connect later by any address included, also after a
/// restart of the service. The client that `except` names keeps control; a client of the same name that comes by another
/// address does not. It holds until a call with `control` lifts it:
/// then each viewer may do again what its address gives. `GET /api/vm/{uid}` shows it as `takeover`, and an event of
/// that name tells it. Answers who is connected.
#[utoipa::path(patch, path = "/api/vm/{uid}/viewers", tag = "sharing",
    params(UidParam),
    request_body = EverybodyRequest,
    responses(
        (status = 200, body = Vec<ViewerBody>),
        (status = 404, description = "No such desktop or share", body = ErrorBody),
        (status = 422, description = "Not a uid, a role or a client's name", body = ErrorBody),
        (status = 503, description = "The store failed; it is in force until the service restarts", body = ErrorBody),
    ))]
pub(super) async fn change_all(
    State(app): State<App>,
    UidPath(uid): UidPath,
    JsonObject(request): JsonObject<EverybodyRequest>,
) -> Result<Json<Vec<ViewerBody>>, ApiError> {
    let refuse =
        |details| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_except", details);
    let takeover = match (request.role, request.except, request.share) {
        (RoleWord::View, Some(client), share) => {
            let client = client.parse()?;
            let except = Some(Spared { client, share });
            Some(Takeover { except })
        }
        (RoleWord::View, None, None) => Some(Takeover::default()),
        (RoleWord::Control, None, None) => None,
        (RoleWord::View, None, Some(_)) => {
            return Err(refuse(
                "share says by which share the client in 'except' comes; name that client as well",
            ));
        }
        (RoleWord::Control, ..) => {
            return Err(refuse(
                "except and share go with the role 'view' only; leave them out to give control back",
            ));
        }
    };
    let viewers = app.manager.set_takeover(&uid, takeover).await?;
    Ok(Json(viewers.into_iter().map(describe).collect()))
}

/// Change what one viewer may do, from this moment until it leaves.
#[utoipa::path(patch, path = "/api/vm/{uid}/viewers/{id}", tag = "sharing",
    params(UidParam, ("id" = u64, Path, description = "The viewer")),
    request_body = ChangeRequest,
    responses(
        (status = 200, body = ViewerBody),
        (status = 404, description = "No such desktop or viewer", body = ErrorBody),
        (status = 422, description = "Not a uid, a role or a clipboard direction", body = ErrorBody),
    ))]
pub(super) async fn change(
    State(app): State<App>,
    Part(uid, id): Part,
    JsonObject(request): JsonObject<ChangeRequest>,
) -> Result<Json<ViewerBody>, ApiError> {
    // What is no number is nobody's.
    let id = id.parse().unwrap_or(0);
    let viewer = app.manager.change_viewer(&uid, id, request.into()).await?;
    Ok(Json(describe(viewer)))
}

fn describe(viewer: Viewer) -> ViewerBody {
    ViewerBody {
        id: viewer.id,
        role: viewer.rights.role.into(),
        clipboard: viewer.rights.clipboard.into(),
        stream: viewer.stream,
        since: viewer.since,
        share: viewer.share,
        client: viewer.client.map(|client| client.as_str().to_owned()),
        address: viewer.address.map(|address| address.to_string()),
    }
}

impl From<ClientNameError> for ApiError {
    fn from(error: ClientNameError) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_client",
            error.to_string(),
        )
    }
}
