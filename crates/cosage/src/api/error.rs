//! Errors as clients see them: JSON with `details` and `code`, never with `url` (which the SAGE3
//! client looks for without reading the status).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::desktop::UidError;
use crate::desktop::error::DesktopError;
use crate::desktop::failure::FailReason;
use crate::desktop::sharing::{GuestError, SharingError};
use crate::engine::EngineError;
use crate::engine::home::{Failure, HomeError, HomePathError};
use crate::pictures::PictureError;
use crate::store::StoreError;

/// When a client may try again after something ran out, in seconds: about as long as an unused
/// desktop lives.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("15");

/// What a refused call gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct ErrorBody {
    /// What was wrong and what would be right, for people.
    #[schema(example = "no app is called 'firefix'; did you mean 'firefox'?")]
    details: String,
    /// The same for programs; does not change.
    #[schema(example = "unknown_app")]
    code: &'static str,
    /// The apps there are, where the app was unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    apps: Option<Vec<String>>,
    /// The last lines the desktop wrote, where they may tell why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    logs: Option<String>,
}

/// An error on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    status: StatusCode,
    body: Box<ErrorBody>,
    retry: bool,
}

impl ApiError {
    /// An error of the API itself.
    pub(super) fn new(status: StatusCode, code: &'static str, details: impl Into<String>) -> Self {
        Self {
            status,
            body: Box::new(ErrorBody {
                details: details.into(),
                code,
                apps: None,
                logs: None,
            }),
            retry: false,
        }
    }

    /// A fault of the service itself, which its log tells of.
    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "something went wrong inside; the log says what",
        )
    }

    /// A desktop was waited for longer than a connection may wait.
    pub(super) fn start_timeout() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "start_timeout",
            "the desktop did not answer in time",
        )
    }

    /// A 503 that passes: the client is told when to try again.
    pub(super) fn exhausted(code: &'static str, details: impl Into<String>) -> Self {
        Self {
            retry: true,
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, details)
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if self.retry {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

impl From<UidError> for ApiError {
    fn from(error: UidError) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_uid",
            error.to_string(),
        )
    }
}

impl From<DesktopError> for ApiError {
    fn from(error: DesktopError) -> Self {
        let details = error.to_string();
        match error {
            DesktopError::UnknownApp(unknown) => {
                let mut error = Self::new(StatusCode::NOT_FOUND, "unknown_app", details);
                error.body.apps = Some(unknown.known);
                error
            }
            DesktopError::AppRequired(_) | DesktopError::UnknownDesktop(_) => {
                Self::new(StatusCode::NOT_FOUND, "unknown_desktop", details)
            }
            DesktopError::Environment(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_env", details)
            }
            DesktopError::UnknownKey(_) => {
                Self::new(StatusCode::NOT_FOUND, "unknown_stream", details)
            }
            DesktopError::UnknownStream { .. } => {
                Self::new(StatusCode::NOT_FOUND, "unknown_stream", details)
            }
            DesktopError::NotRunning(_) => Self::new(StatusCode::CONFLICT, "not_running", details),
            DesktopError::Files(error) => error.into(),
            DesktopError::InUse(_) => Self::new(StatusCode::CONFLICT, "in_use", details),
            DesktopError::MeasurementTimeout(_) => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, "measurement_timeout", details)
            }
            DesktopError::HomeClaimed(_) => {
                Self::new(StatusCode::CONFLICT, "home_claimed", details)
            }
            DesktopError::Failed(reason) => failure(&reason),
        }
    }
}

impl From<PictureError> for ApiError {
    fn from(error: PictureError) -> Self {
        let details = error.to_string();
        match error {
            PictureError::Unreachable(_) | PictureError::Broken(_) => {
                Self::new(StatusCode::BAD_GATEWAY, "picture_failed", details)
            }
            PictureError::Timeout => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, "picture_timeout", details)
            }
            PictureError::Busy => Self::exhausted("pictures_busy", details),
            PictureError::Ended => Self::new(StatusCode::CONFLICT, "not_running", details),
            PictureError::Unpacked(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "picture_unpacked",
                details,
            ),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        DesktopError::from(error).into()
    }
}

impl From<SharingError> for ApiError {
    fn from(error: SharingError) -> Self {
        let details = error.to_string();
        match error {
            SharingError::Desktop(error) => error.into(),
            SharingError::UnknownShare => {
                Self::new(StatusCode::NOT_FOUND, "unknown_share", details)
            }
            SharingError::Guest(error) => {
                let (status, code) = match error {
                    GuestError::NotRunning => (StatusCode::CONFLICT, "not_running"),
                    GuestError::UnknownStream(_) => (StatusCode::NOT_FOUND, "unknown_stream"),
                    GuestError::Failed => (StatusCode::BAD_GATEWAY, "start_failed"),
                    GuestError::ShuttingDown => return Self::exhausted("shutting_down", details),
                };
                Self::new(status, code, details)
            }
            SharingError::UnknownViewer(_) => {
                Self::new(StatusCode::NOT_FOUND, "unknown_viewer", details)
            }
            SharingError::NotHeld(_) => {
                Self::new(StatusCode::CONFLICT, "role_unsupported", details)
            }
            SharingError::TooMany => Self::new(StatusCode::CONFLICT, "too_many_shares", details),
            SharingError::Store(_) => Self::exhausted("store_failed", details),
        }
    }
}

impl From<HomePathError> for ApiError {
    fn from(error: HomePathError) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_path",
            error.to_string(),
        )
    }
}

impl From<HomeError> for ApiError {
    fn from(error: HomeError) -> Self {
        let details = error.to_string();
        let (status, code) = match error {
            HomeError::Engine(error) => return engine(&error, details),
            HomeError::Ended => return Self::exhausted("transfer_ended", details),
            HomeError::NoHome => (StatusCode::CONFLICT, "no_home"),
            HomeError::Files(failure) => match failure {
                Failure::NotFound => (StatusCode::NOT_FOUND, "no_such_file"),
                Failure::OutsideHome => (StatusCode::FORBIDDEN, "outside_home"),
                Failure::NotPermitted => (StatusCode::FORBIDDEN, "not_permitted"),
                Failure::IsDirectory => (StatusCode::CONFLICT, "is_directory"),
                Failure::NotDirectory => (StatusCode::CONFLICT, "not_a_directory"),
                Failure::NotFile => (StatusCode::CONFLICT, "not_a_file"),
                Failure::NoSpace => (StatusCode::INSUFFICIENT_STORAGE, "no_space"),
                Failure::NameTooLong => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_path"),
                Failure::Exists => (StatusCode::PRECONDITION_FAILED, "file_exists"),
                Failure::Changed => (StatusCode::PRECONDITION_FAILED, "file_changed"),
                Failure::System(_) => (StatusCode::BAD_GATEWAY, "files_failed"),
            },
        };
        Self::new(status, code, details)
    }
}

fn failure(reason: &FailReason) -> ApiError {
    let details = reason.to_string();
    let mut error = match reason {
        FailReason::Engine(error) => return engine(error, details),
        FailReason::PortsExhausted(_) => ApiError::exhausted("ports_exhausted", details),
        FailReason::PortsForbidden(_) => {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "ports_forbidden", details)
        }
        FailReason::Descriptors(_) => ApiError::exhausted("descriptors_exhausted", details),
        FailReason::MemoryExhausted { .. } => ApiError::exhausted("memory_exhausted", details),
        FailReason::TooManyDesktops(_) => ApiError::exhausted("too_many_desktops", details),
        FailReason::Timeout { .. } => {
            ApiError::new(StatusCode::GATEWAY_TIMEOUT, "start_timeout", details)
        }
        FailReason::AppExited { .. } => {
            ApiError::new(StatusCode::BAD_GATEWAY, "app_exited", details)
        }
        FailReason::StoppedByRequest => ApiError::new(StatusCode::CONFLICT, "stopped", details),
        FailReason::Catalogue(_) => ApiError::new(StatusCode::CONFLICT, "app_changed", details),
        FailReason::Store(_) => ApiError::exhausted("store_failed", details),
        FailReason::Internal | FailReason::Earlier { .. } => {
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", details)
        }
        FailReason::ShuttingDown => ApiError::exhausted("shutting_down", details),
    };
    error.body.logs = reason.logs().map(str::to_owned);
    error
}

fn engine(error: &EngineError, details: String) -> ApiError {
    match error {
        EngineError::Unavailable(_) => ApiError::exhausted("engine_unavailable", details),
        EngineError::ImageMissing { .. } => {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "image_missing", details)
        }
        EngineError::NameTaken { .. } => ApiError::new(StatusCode::CONFLICT, "name_taken", details),
        EngineError::OutOfDisk(_) => ApiError::exhausted("out_of_disk", details),
        EngineError::OutOfResources(_) => ApiError::exhausted("out_of_resources", details),
        EngineError::TargetRefused(_) => {
            ApiError::new(StatusCode::FORBIDDEN, "target_refused", details)
        }
        EngineError::Exited { .. } => ApiError::new(StatusCode::BAD_GATEWAY, "app_exited", details),
        EngineError::Gone | EngineError::Cancelled => {
            ApiError::new(StatusCode::CONFLICT, "stopped", details)
        }
        EngineError::Unsupported(_) => {
            ApiError::new(StatusCode::NOT_IMPLEMENTED, "engine_unsupported", details)
        }
        EngineError::Refused(_) => {
            ApiError::new(StatusCode::BAD_GATEWAY, "engine_refused", details)
        }
    }
}
