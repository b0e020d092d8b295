//! What happens to desktops, as server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::desktops::{DesktopBody, describe};
use super::error::{ApiError, ErrorBody};
use super::params::Params;
use crate::catalog::Catalog;
use crate::desktop::Uid;
use crate::desktop::error::DesktopError;
use crate::desktop::events::{Event, Heard, Kind, Listener};
use crate::desktop::pages::PageQuery;
use crate::desktop::usage::{self, Readings};
use crate::desktop::view::{Phase, View};
use crate::engine::Usage;
use crate::store::Cursor;

/// How long a connection may be silent; proxies give up on one that is so for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How many desktops a piece of a snapshot has at most.
const PIECE: usize = 100;

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
    /// `viewer_joined`, `viewer_left`, `idle` (no viewer, and the idle timeout runs), `stopping`, `gone`
    /// (nothing of it runs any more), `failed`, `takeover` (control was taken from all viewers, or given back), `picture` (a
    /// new last picture is kept) or `expiring` (it was not used for long, and is deleted at `desktop.forgotten_at` unless it is).
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

/// What a desktop's application reports, for webhooks. It does not show the desktop, which the events before it show as it
/// is.
#[derive(Serialize)]
struct ReportedBody<'a> {
    r#type: &'static str,
    uid: &'a Uid,
    at: Timestamp,
    report: Map<String, Value>,
}

/// What a desktop uses of its host.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsageBody {
    /// Processors, in cores: 1.0 is all of one.
    #[schema(example = 0.42)]
    cpu: f64,
    /// Memory in bytes.
    memory: u64,
    /// The most memory it may use, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_limit: Option<u64>,
    /// Bytes per second that it receives.
    received: u64,
    /// Bytes per second that it sends.
    sent: u64,
}

/// What running desktops use of their host.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsagesBody<'a> {
    /// Always `usage`.
    #[schema(example = "usage")]
    r#type: &'static str,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// By the desktop's name; one that is not measured (yet) is absent.
    #[schema(value_type = BTreeMap<String, UsageBody>)]
    desktops: BTreeMap<&'a Uid, UsageBody>,
}

/// A piece of a snapshot.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SnapshotBody<'a> {
    /// Always `snapshot`.
    #[schema(example = "snapshot")]
    r#type: &'static str,
    /// Whether the snapshot begins here: what was known before no longer counts.
    first: bool,
    /// Up to 100 desktops, the newest first.
    desktops: Vec<DesktopBody<'a>>,
}

/// What is sent as `data`, apart from `reset` and `snapshot_end`, which have none.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(
    clippy::large_enum_variant,
    reason = "one is made at a time, to be encoded at once"
)]
pub(super) enum DataBody<'a> {
    Hello(HelloBody<'a>),
    Event(EventBody<'a>),
    Usage(UsagesBody<'a>),
    Snapshot(SnapshotBody<'a>),
}

/// What of all that happens, in the description of the call.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes; `wanted` reads")]
pub(super) struct EventsQuery {
    /// Only events of these desktops; may be repeated.
    #[param(inline)]
    uid: Option<Vec<UidText>>,
    /// Whether also what the desktops use is told.
    usage: Option<bool>,
    /// Whether the state of all desktops is sent in place of `reset`.
    snapshot: Option<bool>,
}

/// A desktop's name.
#[derive(ToSchema)]
#[schema(pattern = "^(?!(any|ws|list|cb)$)[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]
#[expect(dead_code, reason = "it describes")]
struct UidText(String);

/// What a client wants to hear of.
#[derive(Default)]
struct Wanted {
    /// All desktops where it is empty.
    uids: HashSet<Uid>,
    usage: bool,
    snapshot: bool,
}

/// The state of all desktops that a client wants to hear of, on its way in pieces.
struct Snapshot {
    rest: Rest,
    is_first: bool,
}

/// What is left of a snapshot.
enum Rest {
    /// All desktops, from a place on.
    Page(Option<Cursor>),
    /// These desktops.
    Desktops(Vec<Uid>),
}

/// A connection.
struct Listening {
    app: App,
    wanted: Wanted,
    listener: Listener,
    usage: Option<usage::Listener>,
    /// The snapshot that is being sent.
    snapshot: Option<Snapshot>,
}

/// What happens to desktops, from now on.
///
/// The event `hello` comes first. A client that comes back with the `Last-Event-ID` of an event
/// that is still remembered gets everything that happened since; any other, and one that reads too
/// slowly, gets the event `reset`: what it knows has to be read again (`GET /api/vm`). With `usage`,
/// the event `usage`, which has no id, tells every two seconds what the running desktops use.
///
/// With `snapshot`, what would have to be read again is sent in place of `reset`: events `snapshot` with up to 100 desktops
/// each, the first with `first`, and then the event `snapshot_end`. Other events come in between. A client that lets each
/// description replace the one before it knows the truth at the end. Until `snapshot_end` events have no id, so that
/// a client whose connection breaks before gets a whole snapshot again. `snapshot` may begin again at any time.
#[utoipa::path(get, path = "/api/events", tag = "desktops",
    params(
        EventsQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was heard"),
    ),
    responses(
        (status = 200, description = "Server-sent events; this is their `data`", body = DataBody<'static>, content_type = "text/event-stream"),
        (status = 422, description = "Not a uid, or not a boolean", body = ErrorBody),
    ))]
pub(super) async fn listen(
    State(app): State<App>,
    Params(query): Params<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let wanted = wanted(&query)?;
    let events = app.manager.events();
    let listener = events.listen(last_number(&headers, events.boot()));
    let mut hello = Sent::default().event("hello");
    if !(wanted.snapshot && listener.has_missed()) {
        hello = hello.id(id(&app, listener.position()));
    }
    let hello = hello.json_data(DataBody::Hello(HelloBody {
        version: env!("CARGO_PKG_VERSION"),
        boot: events.boot(),
    }));
    let listening = Listening {
        usage: wanted.usage.then(|| app.manager.usage()),
        app,
        wanted,
        listener,
        snapshot: None,
    };
    let later = stream::unfold(listening, async |mut listening| {
        Some((listening.next().await?, listening))
    });
    let all = stream::once(async { hello }).chain(later);
    let sent = Sse::new(all).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(([UNBUFFERED], sent).into_response())
}

impl Listening {
    /// What is sent next; `None` when the service ends.
    async fn next(&mut self) -> Option<Result<Sent, axum::Error>> {
        loop {
            let heard = if self.snapshot.is_some() {
                if self.listener.is_let_go() {
                    return None;
                }
                // All that has happened is told before a piece is read, and nothing between the read and the piece: so no
                // piece replaces something newer.
                match self.listener.next_known() {
                    Some(heard) => heard,
                    None => return self.next_piece().await,
                }
            } else {
                let usage = async {
                    match &mut self.usage {
                        Some(usage) => usage.next().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    heard = self.listener.next() => heard?,
                    readings = usage => match encode_usage(&self.wanted, &readings) {
                        Some(sent) => return Some(sent),
                        None => continue,
                    },
                }
            };
            match heard {
                // Reports may be large, and there would be a copy for each page that listens.
                Heard::Event(event)
                    if event.kind != Kind::Report
                        && self.wanted.includes(&event.view.record.uid) =>
                {
                    return Some(self.encode(&event));
                }
                Heard::Event(_) => {}
                Heard::Missed if self.wanted.snapshot => {
                    self.snapshot = Some(Snapshot::of(&self.wanted));
                }
                Heard::Missed => return Some(self.bare("reset")),
            }
        }
    }

    /// The next piece of the snapshot, or its end; `None` when it cannot be read: then the client comes back for another.
    async fn next_piece(&mut self) -> Option<Result<Sent, axum::Error>> {
        let snapshot = self.snapshot.as_mut()?;
        let views = match snapshot.read(&self.app).await {
            Ok(views) => views,
            Err(error) => {
                tracing::warn!(%error, "a snapshot for a listener could not be read");
                return None;
            }
        };
        let first = std::mem::take(&mut snapshot.is_first);
        if views.is_empty() && !first {
            self.snapshot = None;
            return Some(self.bare("snapshot_end"));
        }
        let catalog = self.app.manager.catalog();
        let desktops = views.iter();
        let desktops = desktops.map(|view| describe(&self.app, &catalog, view));
        let sent = Sent::default().event("snapshot");
        Some(sent.json_data(DataBody::Snapshot(SnapshotBody {
            r#type: "snapshot",
            first,
            desktops: desktops.collect(),
        })))
    }

    fn encode(&self, event: &Event) -> Result<Sent, axum::Error> {
        let catalog = self.app.manager.catalog();
        let mut sent = Sent::default().event(event.kind.word());
        if self.snapshot.is_none() {
            sent = sent.id(id(&self.app, event.number));
        }
        sent.json_data(DataBody::Event(describe_event(&self.app, &catalog, event)))
    }

    /// An event of which its name says everything.
    fn bare(&self, name: &str) -> Result<Sent, axum::Error> {
        Ok(Sent::default()
            .id(id(&self.app, self.listener.position()))
            .event(name)
            .data("{}"))
    }
}

impl Snapshot {
    fn of(wanted: &Wanted) -> Self {
        let uids: Vec<_> = wanted.uids.iter().cloned().collect();
        Self {
            rest: if uids.is_empty() {
                Rest::Page(None)
            } else {
                Rest::Desktops(uids)
            },
            is_first: true,
        }
    }

    /// The desktops of the next piece; none at the end.
    async fn read(&mut self, app: &App) -> Result<Vec<Arc<View>>, DesktopError> {
        match &mut self.rest {
            Rest::Page(after) => {
                let query = PageQuery::newest(PIECE, after.take());
                let page = app.manager.page(&query).await?;
                self.rest = match page.next {
                    Some(next) => Rest::Page(Some(next)),
                    None => Rest::Desktops(Vec::new()),
                };
                Ok(page.views)
            }
            Rest::Desktops(uids) => {
                let mut views = Vec::new();
                while views.len() < PIECE
                    && let Some(uid) = uids.pop()
                {
                    match app.manager.view(&uid).await {
                        Ok(view) => views.push(view),
                        Err(DesktopError::UnknownDesktop(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
                views.sort_by_key(|view| Reverse(view.record.created_at));
                Ok(views)
            }
        }
    }
}

/// What is posted to webhooks of an event: its `data` here, or what is reported; `None` when that is not remembered any
/// more.
pub(super) fn webhook_body(app: &App, event: &Event) -> Option<Bytes> {
    let body = if event.kind == Kind::Report {
        let report = event.report()?;
        serde_json::to_vec(&ReportedBody {
            r#type: event.kind.word(),
            uid: &event.view.record.uid,
            at: event.at,
            report: serde_json::from_slice(&report).ok()?,
        })
    } else {
        let catalog = app.manager.catalog();
        serde_json::to_vec(&describe_event(app, &catalog, event))
    };
    body.ok().map(Bytes::from)
}

fn describe_event<'a>(app: &App, catalog: &'a Catalog, event: &'a Event) -> EventBody<'a> {
    let forgotten = event.view.phase == Phase::Forgotten;
    EventBody {
        r#type: event.kind.word(),
        uid: &event.view.record.uid,
        at: event.at,
        desktop: (!forgotten).then(|| describe(app, catalog, &event.view)),
        forgotten,
    }
}

fn encode_usage(wanted: &Wanted, readings: &Readings) -> Option<Result<Sent, axum::Error>> {
    let desktops: BTreeMap<_, _> = readings
        .iter()
        .filter(|(uid, _)| wanted.includes(uid))
        .map(|(uid, usage)| (uid, describe_usage(usage)))
        .collect();
    let sent = Sent::default().event("usage");
    (!desktops.is_empty()).then(|| {
        sent.json_data(DataBody::Usage(UsagesBody {
            r#type: "usage",
            at: Timestamp::now(),
            desktops,
        }))
    })
}

fn describe_usage(usage: &Usage) -> UsageBody {
    UsageBody {
        // More digits are noise.
        cpu: (usage.cpu * 1000.0).round() / 1000.0,
        memory: usage.memory,
        memory_limit: usage.memory_limit,
        received: usage.received,
        sent: usage.sent,
    }
}

impl Wanted {
    fn includes(&self, uid: &Uid) -> bool {
        self.uids.is_empty() || self.uids.contains(uid)
    }
}

fn wanted(query: &[(String, String)]) -> Result<Wanted, ApiError> {
    let mut wanted = Wanted::default();
    for (name, value) in query {
        match name.as_str() {
            "uid" => drop(wanted.uids.insert(value.parse()?)),
            "usage" => wanted.usage = flag(name, value)?,
            "snapshot" => wanted.snapshot = flag(name, value)?,
            _ => {}
        }
    }
    Ok(wanted)
}

fn flag(name: &str, value: &str) -> Result<bool, ApiError> {
    value.parse().map_err(|_| {
        ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_query",
            format!("{name} is true or false"),
        )
    })
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
