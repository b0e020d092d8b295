//! The service answers only requests for hosts that it knows.
//!
//! A page can point its own name at this service's address after it has loaded (DNS rebinding). Its browser then takes
//! the service for the page's own origin: it sends no preflight, and a GET carries no `Origin`. The page cannot change
//! the name in `Host`, which is the name that it was loaded from.
//!
//! Three kinds of hosts are always safe. A page that was loaded from an IP address has no name to rebind. `localhost` and
//! the names below it never leave the machine (RFC 6761, 6.3). `host.docker.internal` cannot be registered. An operator
//! adds all other names. Programs may send no `Host` with HTTP/1.0; browsers always send one.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::error::ApiError;

/// The host's name inside containers, which is also in `CALLBACK_URL`.
const DOCKER_HOST: &str = "host.docker.internal";

/// How many refused hosts are remembered, so that each has one line in the log. Requests for more of them have none: whoever
/// makes names up cannot fill the log.
const REFUSED_MAX: usize = 64;

/// The longest name of a host that is remembered, in bytes (RFC 1035, 3.1).
const NAME_MAX: usize = 255;

/// The hosts that an operator adds: `COSAGE_ALLOWED_HOSTS` and the hosts of `COSAGE_ALLOWED_ORIGINS`.
#[derive(Clone, Debug, Default)]
pub struct AllowedHosts {
    any: bool,
    names: Arc<[String]>,
    refused: Arc<Mutex<HashSet<String>>>,
}

impl AllowedHosts {
    /// From checked texts. `*` in either list allows every host: a page gains nothing by rebinding its name where pages of
    /// every origin may call.
    pub fn new<'a>(
        hosts: impl IntoIterator<Item = &'a str>,
        origins: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut any = false;
        let mut names = Vec::new();
        let origins = origins
            .into_iter()
            .map(|origin| host_of_origin(origin).unwrap_or(origin));
        for name in hosts.into_iter().chain(origins) {
            any |= name == "*";
            names.push(without_final_dot(name).to_owned());
        }
        Self {
            any,
            names: names.into(),
            refused: Arc::default(),
        }
    }

    fn include(&self, host: &str) -> bool {
        self.any
            || host.parse::<IpAddr>().is_ok()
            || is_localhost(host)
            || host.eq_ignore_ascii_case(DOCKER_HOST)
            || self
                .names
                .iter()
                .any(|name| name.eq_ignore_ascii_case(host))
    }

    /// Whether a host is refused for the first time, as far as that is remembered.
    fn is_first(&self, host: &str) -> bool {
        // Each change of it is sound.
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = refused.len() < REFUSED_MAX && host.len() <= NAME_MAX;
        has_room && refused.insert(host.to_ascii_lowercase())
    }

    fn check(&self, version: Version, headers: &HeaderMap) -> Result<(), ApiError> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().ok().and_then(host_of),
            (None, _) if version <= Version::HTTP_10 => return Ok(()),
            _ => None,
        };
        match host {
            Some(host) if self.include(host) => Ok(()),
            Some(host) => {
                if self.is_first(host) {
                    tracing::warn!(
                        host,
                        "requests for an unknown host are refused; if it is the service's own, add it to COSAGE_ALLOWED_HOSTS"
                    );
                }
                Err(ApiError::new(
                    StatusCode::MISDIRECTED_REQUEST,
                    "unknown_host",
                    format!(
                        "the service does not answer for the host '{host}'; add it to COSAGE_ALLOWED_HOSTS if it is the \
                         service's own, and have a proxy pass on the browser's Host header"
                    ),
                ))
            }
            // RFC 9112, 3.2.
            None => Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "invalid_host",
                "the Host header is missing, doubled or malformed; send one with a name or an address, such as localhost:4024",
            )),
        }
    }
}

/// Refuses requests for other hosts.
pub(super) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    match app.hosts.check(request.version(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Gives a request the form that routes and checks rely on: one slash at the start of the path, and the host in `Host`.
///
/// A client whose base address ends with a slash sends `//api/…`, so empty segments at the start are dropped. A target in
/// absolute form overrides the `Host` header (RFC 9112, 3.2.2).
pub fn normalize<B>(mut request: axum::http::Request<B>) -> axum::http::Request<B> {
    let uri = request.uri();
    let named = uri.authority().map(|authority| {
        // An empty value is refused as malformed.
        HeaderValue::from_str(authority.as_str()).unwrap_or(const { HeaderValue::from_static("") })
    });
    let surplus = uri.path().bytes().take_while(|byte| *byte == b'/').count();
    let surplus = surplus.saturating_sub(1);
    if named.is_some() || surplus > 0 {
        let path = uri.path_and_query().map(PathAndQuery::as_str);
        let path = path.and_then(|path| path.get(surplus..));
        if let Some(target) = path.and_then(|path| path.parse::<Uri>().ok()) {
            *request.uri_mut() = target;
        }
    }
    if let Some(named) = named {
        request.headers_mut().insert(header::HOST, named);
    }
    request
}

/// The host of `host[:port]` (RFC 9110, 7.2), without the brackets of an IPv6 address and without the final dot of a name;
/// `None` when the text is malformed.
pub(super) fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (
                host,
                port.strip_prefix(':').or(port.is_empty().then_some(""))?,
            )
        }
        None => {
            let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
            (without_final_dot(host), port)
        }
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    let is_well_formed = !host.is_empty()
        && host.bytes().all(is_name)
        && port.bytes().all(|byte| byte.is_ascii_digit());
    is_well_formed.then_some(host)
}

/// The host of an origin as browsers write it (RFC 6454, 6.2).
pub(super) fn host_of_origin(origin: &str) -> Option<&str> {
    host_of(origin.split_once("://")?.1)
}

/// A complete name may end with a dot (RFC 1034, 3.1).
fn without_final_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether a name is `localhost` or below it.
fn is_localhost(name: &str) -> bool {
    let last = name.rsplit('.').next();
    last.is_some_and(|last| last.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn status(hosts: &AllowedHosts, version: Version, sent: &[&'static str]) -> Option<StatusCode> {
        let mut headers = HeaderMap::new();
        for host in sent {
            headers.append(header::HOST, HeaderValue::from_static(host));
        }
        let error = hosts.check(version, &headers).err()?;
        Some(error.into_response().status())
    }

    #[test]
    fn names_that_only_the_machine_can_mean_addresses_and_listed_hosts_are_answered() {
        let hosts = AllowedHosts::new(
            ["desk.example.org", "Wall."],
            ["https://sage3.example.org", "http://[2001:db8::1]:3000"],
        );
        for known in [
            "localhost",
            "LocalHost:4024",
            "localhost.",
            "site.localhost:80",
            "127.0.0.1:4024",
            "192.0.2.7",
            "[::1]",
            "[::1]:4024",
            "[2001:db8::2]:1",
            "host.docker.internal:4024",
            "desk.example.org",
            "DESK.example.org.:443",
            "desk.example.org:",
            "wall",
            "sage3.example.org:8080",
        ] {
            assert_eq!(status(&hosts, Version::HTTP_11, &[known]), None, "{known}");
        }
        for unknown in [
            "evil.example.com",
            "evil.example.com:4024",
            "desk.example.org.evil.example.com",
            "evil-desk.example.org",
            "notlocalhost",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "2130706433",
            "cosage",
        ] {
            let refused = status(&hosts, Version::HTTP_11, &[unknown]);
            assert_eq!(refused, Some(StatusCode::MISDIRECTED_REQUEST), "{unknown}");
        }
    }

    #[test]
    fn each_refused_host_is_told_once_and_not_without_end() {
        let hosts = AllowedHosts::default();
        assert!(hosts.is_first("wall.example.org"));
        // Of all clones, which are those of one service.
        assert!(!hosts.clone().is_first("Wall.example.org"));
        assert!(!hosts.is_first(&"a".repeat(NAME_MAX + 1)));
        let told = (0..1000).filter(|number| hosts.is_first(&format!("host-{number}")));
        assert_eq!(told.count(), REFUSED_MAX - 1);
    }

    #[test]
    fn a_host_is_named_once_and_as_a_host_is_written() {
        let hosts = AllowedHosts::default();
        let twice: &[&str] = &["localhost", "localhost"];
        let malformed = [&[""], &["."], &["user@localhost"], &["[::1"], &["[::1]x"]];
        let malformed = malformed.map(|host| host.as_slice());
        let more = [&["localhost:http"], &["local host"], &["localhost/"]];
        let more = more.map(|host| host.as_slice());
        for sent in [&malformed[..], &more, &[twice]].concat() {
            for version in [Version::HTTP_10, Version::HTTP_11] {
                let refused = status(&hosts, version, sent);
                assert_eq!(refused, Some(StatusCode::BAD_REQUEST), "{sent:?}");
            }
        }
        assert_eq!(
            status(&hosts, Version::HTTP_11, &[]),
            Some(StatusCode::BAD_REQUEST)
        );
        // A program that asks whether the service is well; no browser speaks so.
        assert_eq!(status(&hosts, Version::HTTP_10, &[]), None);
    }

    #[test]
    fn where_every_origin_or_every_host_is_allowed_every_name_is_answered() {
        for hosts in [
            AllowedHosts::new(["*"], []),
            AllowedHosts::new([], ["https://sage3.example.org", "*"]),
        ] {
            let evil = status(&hosts, Version::HTTP_11, &["evil.example.com"]);
            assert_eq!(evil, None);
        }
    }

    #[test]
    fn requests_get_one_slash_in_front_and_the_host_of_their_target() {
        for (target, path, host) in [
            ("/api/vm", "/api/vm", "sent"),
            ("//api/vm/ws/x?a=//b", "/api/vm/ws/x?a=//b", "sent"),
            ("///", "/", "sent"),
            ("//evil.example.com/api", "/evil.example.com/api", "sent"),
            ("/api//vm", "/api//vm", "sent"),
            ("http://named:80/api/vm?a=b", "/api/vm?a=b", "named:80"),
            ("http://named//api", "/api", "named"),
            ("*", "*", "sent"),
        ] {
            let request = Request::builder().uri(target).header("host", "sent");
            let request = normalize(request.body(()).unwrap());
            assert_eq!(request.uri().to_string(), path, "{target}");
            assert_eq!(request.headers()["host"], host, "{target}");
        }
    }
}
