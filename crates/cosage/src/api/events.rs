//! What happens to desktops, as server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use std::collections::HashSet;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::desktops::{DesktopBody, describe};
use super::error::{ApiError, ErrorBody};
use super::params::Params;
use crate::desktop::Uid;
use crate::desktop::events::{Event, Heard, Kind, Listener};
use crate::desktop::view::Phase;

/// How long a connection may be silent; proxies give up on one that is so for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Tells nginx to pass events on as they come.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// The first event of every connection.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HelloBody<'a> {
    /// The service's version.
    version: &'static str,
    /// Changes with every start of the service.
    boot: &'a str,
}

/// One event.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventBody<'a> {
    /// What happened; also the event's name: `created`, `progress` (of its start), `ready`,
    /// `viewer_joined`, `viewer_left`, `idle` (nobody looks, and the clock runs), `stopping`, `gone`
    /// (nothing of it runs any more) or `failed`.
    #[schema(example = "ready")]
    r#type: &'static str,
    /// The desktop's name.
    #[schema(value_type = String)]
    uid: &'a Uid,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// What became of it; absent when it was forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    desktop: Option<DesktopBody<'a>>,
    /// With `gone` only: its record and home are deleted, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    forgotten: bool,
}

/// What a client wants to hear of.
struct Wanted {
    /// All desktops where it is empty.
    uids: HashSet<Uid>,
}

/// What happens to desktops, from now on.
///
/// The event `hello` comes first. A client that comes back with the `Last-Event-ID` of an event
/// that is still remembered gets everything that happened since; any other, and one that reads too
/// slowly, gets the event `reset`: what it knows has to be read again (`GET /api/vm`).
#[utoipa::path(get, path = "/api/events", tag = "desktops",
    params(
        ("uid" = Option<Vec<String>>, Query, description = "Only events of these desktops; may be repeated"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was heard"),
    ),
    responses(
        (status = 200, description = "Server-sent events: `hello`, `reset`, and those whose data is shown here", body = EventBody<'static>, content_type = "text/event-stream"),
        (status = 422, description = "Not a uid", body = ErrorBody),
    ))]
pub(super) async fn listen(
    State(app): State<App>,
    Params(query): Params<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let wanted = wanted(&query)?;
    let events = app.manager.events();
    let listener = events.listen(last_number(&headers, events.boot()));
    let hello = Sent::default()
        .id(id(&app, listener.position()))
        .event("hello")
        .json_data(HelloBody {
            version: env!("CARGO_PKG_VERSION"),
            boot: events.boot(),
        });
    let all = stream::once(async { hello }).chain(later(app, wanted, listener));
    let sent = Sse::new(all).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(([UNBUFFERED], sent).into_response())
}

fn later(
    app: App,
    wanted: Wanted,
    listener: Listener,
) -> impl Stream<Item = Result<Sent, axum::Error>> {
    stream::unfold(
        (app, wanted, listener),
        |(app, wanted, mut listener)| async {
            loop {
                let sent = match listener.next().await? {
                    Heard::Event(event) if wanted.includes(&event.view.record.uid) => {
                        encode(&app, &event)
                    }
                    Heard::Event(_) => continue,
                    Heard::Missed => Ok(Sent::default()
                        .id(id(&app, listener.position()))
                        .event("reset")
                        .data("{}")),
                };
                return Some((sent, (app, wanted, listener)));
            }
        },
    )
}

fn encode(app: &App, event: &Event) -> Result<Sent, axum::Error> {
    let word = match event.kind {
        Kind::Created => "created",
        Kind::Progress => "progress",
        Kind::Ready => "ready",
        Kind::ViewerJoined => "viewer_joined",
        Kind::ViewerLeft => "viewer_left",
        Kind::Idle => "idle",
        Kind::Stopping => "stopping",
        Kind::Gone => "gone",
        Kind::Failed => "failed",
    };
    let catalog = app.manager.catalog();
    let forgotten = event.view.phase == Phase::Forgotten;
    Sent::default()
        .id(id(app, event.number))
        .event(word)
        .json_data(EventBody {
            r#type: word,
            uid: &event.view.record.uid,
            at: event.at,
            desktop: (!forgotten).then(|| describe(app, &catalog, &event.view)),
            forgotten,
        })
}

impl Wanted {
    fn includes(&self, uid: &Uid) -> bool {
        self.uids.is_empty() || self.uids.contains(uid)
    }
}

fn wanted(query: &[(String, String)]) -> Result<Wanted, ApiError> {
    let mut wanted = Wanted {
        uids: HashSet::new(),
    };
    for (name, value) in query {
        if name == "uid" {
            wanted.uids.insert(value.parse()?);
        }
    }
    Ok(wanted)
}

fn id(app: &App, number: u64) -> String {
    format!("{}-{number}", app.manager.events().boot())
}

/// The number in `Last-Event-ID`, if it is one of this life of the service.
fn last_number(headers: &HeaderMap, boot: &str) -> Option<u64> {
    let id = headers.get(LAST_EVENT_ID)?.to_str().ok()?;
    let (of, number) = id.rsplit_once('-')?;
    number.parse().ok().filter(|_| of == boot)
}
