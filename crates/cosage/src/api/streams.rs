//! Stream requests: from the key in the URL to a lease, and on to the gateway.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::time::timeout;

use super::App;
use super::error::ApiError;
use super::origin;
use super::params::Params;
use crate::desktop::StreamKey;
use crate::desktop::access::{ClientName, Token};
use crate::desktop::end::EndReason;
use crate::desktop::error::DesktopError;
use crate::desktop::lease::Lease;
use crate::gateway::{Ended, Upgrade};

/// How long a request is held while its desktop starts or ends. A start has its own, usually
/// shorter limit; this one is for what holds up the start.
const HOLD: Duration = Duration::from_secs(180);

/// What stands for the desktop in a stream's address.
enum Address {
    /// The desktop's own, while it runs.
    Key(StreamKey),
    /// A share's.
    Share(Token),
}

/// A stream, and who asks for it.
struct Asked {
    address: Address,
    stream: String,
    client: Option<ClientName>,
}

/// What a client says of itself in the stream's address.
#[derive(Debug, Default, Deserialize)]
pub(super) struct StreamQuery {
    /// By which it is known again when it reconnects.
    client: Option<String>,
}

/// Connects a WebSocket to a stream of the desktop that holds the key. A desktop that is starting
/// or on its way out is waited for: SAGE3's viewer never tries a refused socket again.
pub(super) async fn connect(
    State(app): State<App>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    Params(query): Params<StreamQuery>,
    // What cannot become a WebSocket is refused here: it must not wait for, let alone restart, a
    // desktop.
    upgrade: Upgrade,
) -> Response {
    if !app.origins.allow(&headers) {
        return origin::refusal().into_response();
    }
    let client = match query.client.map(|name| name.parse()).transpose() {
        Ok(client) => client,
        Err(error) => return ApiError::from(error).into_response(),
    };
    let address = path
        .ok()
        .and_then(|Path((key, stream))| Some((Address::parse(&key)?, stream)));
    let Some((address, stream)) = address else {
        return ApiError::new(
            StatusCode::NOT_FOUND,
            "unknown_stream",
            "a stream's address is /stream/<port>/<stream>, as the API answers it",
        )
        .into_response();
    };
    let asked = Asked {
        address,
        stream,
        client,
    };
    match open(&app, &asked, upgrade).await {
        Ok(response) => response,
        // It ended by itself just when it was asked for, as old images do when idle. It is
        // started again for this viewer; one that ends once more has another reason.
        Err(Ended {
            reason: EndReason::Exited | EndReason::Idle,
            upgrade,
        }) => open(&app, &asked, upgrade)
            .await
            .unwrap_or_else(Ended::into_response),
        Err(ended) => ended.into_response(),
    }
}

async fn open(app: &App, asked: &Asked, upgrade: Upgrade) -> Result<Response, Ended> {
    match timeout(HOLD, asked.acquire(app)).await {
        Ok(Ok(lease)) => app.gateway.connect(upgrade, lease).await,
        Ok(Err(error)) => Ok(error.into_response()),
        Err(_) => Ok(ApiError::start_timeout().into_response()),
    }
}

impl Address {
    fn parse(text: &str) -> Option<Self> {
        match text.parse() {
            Ok(port) => Some(Self::Key(StreamKey(port))),
            Err(_) => Token::parse(text).map(Self::Share),
        }
    }
}

impl Asked {
    async fn acquire(&self, app: &App) -> Result<Lease, ApiError> {
        let (stream, client) = (self.stream.as_str(), self.client.clone());
        match &self.address {
            Address::Key(key) => match app.manager.acquire(*key, stream, client).await {
                Ok(lease) => Ok(lease),
                // For whoever has only the key, a desktop that does not run is one that is not there.
                Err(DesktopError::NotRunning(_)) => Err(DesktopError::UnknownKey(*key).into()),
                Err(error) => Err(error.into()),
            },
            Address::Share(token) => Ok(app.manager.acquire_shared(token, stream, client).await?),
        }
    }
}
