//! Verdicts on the service and on the way to it.

use std::time::Duration;

use super::super::Finding;

/// How long a stream is held while nothing moves: longer than the 60 s after which proxies cut
/// still connections unless they are told otherwise.
pub(in super::super) const STILL: Duration = Duration::from_secs(70);

/// What a proxy needs to let WebSockets through, for the most common one.
const PROXY_REMEDY: &str = "let the proxy pass WebSockets on (Nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; and Host $host); deploy/nginx is an example";

/// How a proxy passes on the browser's Host header, for the most common ones.
const HOST_REMEDY: &str = "have the proxy pass on the browser's Host header (Nginx: proxy_set_header Host $http_host; Apache: ProxyPreserveHost On)";

/// How the service answers.
#[derive(Clone, Debug)]
pub(in super::super) enum Service {
    /// It answers and could start desktops.
    Ready { url: String },
    /// It answers and says why it could not.
    NotReady { url: String, details: String },
    /// It does not answer requests for this host.
    UnknownHost { url: String, details: String },
    /// It does not answer; whether another program has its port.
    Down {
        reason: String,
        taken: Option<String>,
    },
}

/// How a request for a WebSocket was answered.
#[derive(Clone, Debug)]
pub(in super::super) struct WebSocket {
    /// Through which address.
    pub(in super::super) url: String,
    pub(in super::super) answer: Answer,
}

/// An answer to a request that asks for a WebSocket.
#[derive(Clone, Debug)]
pub(in super::super) enum Answer {
    /// The service's own: a status, its code, and what it says.
    Service {
        status: u16,
        code: String,
        details: String,
    },
    /// Somebody else's status.
    Other(u16),
    /// None.
    Nothing(String),
}

/// What became of a stream on which nothing moved.
#[derive(Clone, Debug)]
pub(in super::super) enum Still {
    /// It was there to the end.
    Held { url: String },
    /// It was cut.
    Cut {
        url: String,
        after: Duration,
        reason: String,
    },
    /// It could not be tried.
    NotTried(String),
}

/// How a page of another origin is answered.
#[derive(Clone, Debug)]
pub(in super::super) struct Preflight {
    pub(in super::super) origin: String,
    /// The header that lets it call, or why there is no answer.
    pub(in super::super) allowed: Result<Option<String>, String>,
    /// How its WebSocket is answered.
    pub(in super::super) socket: Answer,
}

pub(super) fn service(service: &Service) -> Finding {
    const CHECK: &str = "service";
    match service {
        Service::Ready { url } => {
            Finding::ok(CHECK, format!("{url} answers and can start desktops"))
        }
        Service::NotReady { url, details } => Finding::problem(
            CHECK,
            format!("{url} answers, and cannot start desktops: {details}"),
            "put the engine right, as said above; the service goes on by itself",
        ),
        Service::UnknownHost { url, details } => unknown_host(CHECK, url, details),
        Service::Down {
            taken: Some(address),
            ..
        } => Finding::problem(
            CHECK,
            format!("another program uses {address}, where the service would listen"),
            "stop that program, or set COSAGE_LISTEN and COSAGE_STREAM_LISTEN to other addresses",
        ),
        Service::Down { reason, .. } => match reason.split_once("; ") {
            Some((summary, _)) => Finding::problem(
                CHECK,
                summary,
                "start it with './up -d' or 'cosage serve', or say with --url where it is",
            ),
            None => Finding::problem(CHECK, reason, "say with --url where it is"),
        },
    }
}

fn unknown_host(check: &'static str, url: &str, details: &str) -> Finding {
    let (summary, remedy) = details.split_once("; ").unwrap_or((details, HOST_REMEDY));
    Finding::problem(check, format!("{url}: {summary}"), remedy)
}

pub(super) fn socket(socket: &WebSocket) -> Finding {
    const CHECK: &str = "websocket";
    let url = &socket.url;
    match &socket.answer {
        // The stream that was asked for does not exist, and only the service can say so.
        Answer::Service { code, .. } if code == "unknown_stream" => {
            Finding::ok(CHECK, format!("a WebSocket gets through {url}"))
        }
        Answer::Service { code, .. } if code == "websocket_required" => Finding::problem(
            CHECK,
            format!(
                "what is in front of the service at {url} takes away what makes a request a WebSocket's"
            ),
            PROXY_REMEDY,
        ),
        Answer::Service { code, details, .. } if code == "unknown_host" => {
            unknown_host(CHECK, url, details)
        }
        // The page that was simulated is the service's own.
        Answer::Service { code, .. } if code == "origin_not_allowed" => Finding::problem(
            CHECK,
            format!(
                "the service refuses its own pages at {url}: what is in front of it changes the Host header"
            ),
            HOST_REMEDY,
        ),
        Answer::Service { status, code, .. } => Finding::problem(
            CHECK,
            format!("a WebSocket through {url} is answered with {status} ({code})"),
            PROXY_REMEDY,
        ),
        Answer::Other(status) => Finding::problem(
            CHECK,
            format!(
                "a WebSocket through {url} does not reach the service: something else answers with {status}"
            ),
            "send /stream/ to the service, too; deploy/nginx is an example",
        ),
        Answer::Nothing(reason) => Finding::problem(
            CHECK,
            format!("{url}: {reason}"),
            "look whether the name leads to this host, the port is open, and the certificate is one that browsers trust",
        ),
    }
}

pub(super) fn still(still: &Still) -> Finding {
    const CHECK: &str = "time-out";
    match still {
        Still::Held { url } => Finding::ok(
            CHECK,
            format!(
                "a stream through {url} is held for {} s while nothing moves",
                STILL.as_secs()
            ),
        ),
        Still::Cut { url, after, reason } => Finding::problem(
            CHECK,
            format!(
                "a stream through {url} was cut after {} s: {reason}",
                after.as_secs()
            ),
            "raise the proxy's time-out (Nginx: proxy_read_timeout 1h), or lower COSAGE_PING_INTERVAL below it",
        ),
        Still::NotTried(reason) => Finding::problem(
            CHECK,
            format!("no stream could be tried: {reason}"),
            "put that right, or choose another app with --app",
        ),
    }
}

pub(super) fn preflight(preflight: &Preflight) -> Finding {
    const CHECK: &str = "origin";
    let origin = &preflight.origin;
    let allow = format!(
        "COSAGE_ALLOWED_ORIGINS={origin} (a list with commas), and start the service again"
    );
    let calls = match &preflight.allowed {
        Err(reason) => {
            return Finding::problem(CHECK, reason, "put the service right, as said above");
        }
        Ok(allowed) => allowed.as_deref(),
    };
    let may_call = calls == Some("*") || calls == Some(origin);
    let refused =
        matches!(&preflight.socket, Answer::Service { code, .. } if code == "origin_not_allowed");
    match (may_call, refused) {
        (true, false) => Finding::ok(CHECK, format!("pages of {origin} may call and connect")),
        (false, true) => Finding::problem(
            CHECK,
            format!("pages of {origin} may neither call nor connect"),
            allow,
        ),
        (false, false) => Finding::problem(
            CHECK,
            format!(
                "pages of {origin} may not call; what is in front of the service may take CORS headers away"
            ),
            allow,
        ),
        (true, true) => Finding::problem(
            CHECK,
            format!(
                "pages of {origin} may call and not connect: what is in front of the service answers for it"
            ),
            allow,
        ),
    }
}
