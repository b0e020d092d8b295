//! The way to the service's API.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use clap::Args;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::failure::Failure;
use super::foreign::{indented, plain};
use crate::delivery::cause;
use crate::desktop::Uid;
use crate::segment::below;
use crate::text::{did_you_mean, nearest};

/// Where the service is when nobody says.
const DEFAULT_URL: &str = "http://127.0.0.1:4024";

/// How long a connection may take to come about.
const CONNECT_BOUND: Duration = Duration::from_secs(10);

/// How long a call may take that only reads what the service has in memory.
const READ_BOUND: Duration = Duration::from_secs(30);

/// How many desktops are read at a time, at most as many as the service gives.
const PAGE: usize = 1_000;

/// A peer that is gone without a word is noticed this soon, also while a call waits.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Which service a command talks to.
#[derive(Debug, Args)]
pub(super) struct Target {
    #[arg(
        long,
        env = "COSAGE_URL",
        hide_env_values = true,
        value_name = "URL",
        help = format!("Address of the service [default: {DEFAULT_URL}]")
    )]
    url: Option<String>,
}

/// A service at an address.
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
}

/// What the service answers instead of what was asked for.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ErrorAnswer {
    /// Its status code.
    #[serde(skip)]
    pub(super) status: u16,
    /// For people.
    pub(super) details: String,
    /// For programs.
    #[serde(default)]
    pub(super) code: String,
    /// The last lines of a desktop that did not start.
    logs: Option<String>,
}

/// Why a call has no answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// The service said no.
    Refused(Box<ErrorAnswer>),
    /// There is no service.
    Unreachable(String),
    /// The connection broke while the answer was on its way.
    Broken(String),
}

impl Target {
    /// The service, which is not asked anything yet.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let url = self.url.as_deref().filter(|url| !url.is_empty());
        Client::new(parse_base(url.unwrap_or(DEFAULT_URL))?)
    }
}

impl Client {
    pub(super) fn new(base: Url) -> Result<Self, Failure> {
        // Only the first call of a process sets it; what a second one finds is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_BOUND)
            .tcp_keepalive(KEEP_ALIVE)
            .user_agent(concat!("cosage/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&base) {
            // No proxy can know what this host's loopback is.
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| Failure::Failed(format!("TLS cannot be set up: {error}")))?;
        Ok(Self { http, base })
    }

    /// The address of a place below the service's own.
    pub(super) fn url<S: AsRef<[u8]>>(&self, path: impl IntoIterator<Item = S>) -> Url {
        below(&self.base, path)
    }

    /// The same for people: without a password that stands in the address.
    pub(super) fn shown_url<S: AsRef<[u8]>>(&self, path: impl IntoIterator<Item = S>) -> Url {
        without_credentials(self.url(path))
    }

    /// The origin of the service's own pages.
    pub(super) fn origin(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    pub(super) fn request<S: AsRef<[u8]>>(
        &self,
        method: Method,
        path: impl IntoIterator<Item = S>,
    ) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    /// Carries a request out. Its answer is one of success.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, CallError> {
        let response = self.send_any(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = response.text().await.map_err(broken)?;
        match serde_json::from_str::<ErrorAnswer>(&text) {
            Ok(refusal) => Err(CallError::Refused(Box::new(ErrorAnswer {
                status: status.as_u16(),
                ..refusal
            }))),
            Err(_) => Err(CallError::Unreachable(format!(
                "{} answers {status}, and not as CoSage does: is this its address?",
                self.shown_base()
            ))),
        }
    }

    /// Carries a request out, whatever the status of its answer.
    pub(super) async fn send_any(&self, request: RequestBuilder) -> Result<Response, CallError> {
        request.send().await.map_err(|error| {
            // Such as an upload that the service has refused before all of it was sent.
            if error.is_body() || was_cut(&error) {
                return CallError::Broken(cause(&error));
            }
            CallError::Unreachable(format!(
                "no answer from {}: {}; is the service up (./up -d, or cosage serve), and is this its address (--url, COSAGE_URL)?",
                self.shown_base(),
                cause(&error)
            ))
        })
    }

    /// Reads what the service has in memory.
    pub(super) async fn get<'a>(
        &self,
        path: impl IntoIterator<Item = &'a str>,
    ) -> Result<Value, CallError> {
        let request = self.request(Method::GET, path).timeout(READ_BOUND);
        self.json(request).await
    }

    /// Carries a request out whose answer is JSON.
    pub(super) async fn json(&self, request: RequestBuilder) -> Result<Value, CallError> {
        let response = self.send(request).await?;
        let text = response.text().await.map_err(broken)?;
        serde_json::from_str(&text).map_err(|_| {
            CallError::Unreachable(format!(
                "what {} answers is no JSON: is this CoSage's address?",
                self.shown_base()
            ))
        })
    }

    /// Says of a refusal about a desktop which one was probably meant.
    pub(super) async fn suggest(&self, error: CallError, uid: &Uid) -> Failure {
        match &error {
            CallError::Refused(refusal) if refusal.code == "unknown_desktop" => {
                let known = self.recent_uids().await.unwrap_or_default();
                let meant = did_you_mean(nearest(uid.as_str(), known.iter().map(String::as_str)));
                Failure::Unknown(format!(
                    "no desktop is called '{uid}'{meant}; 'cosage ls' lists those there are"
                ))
            }
            _ => error.into(),
        }
    }

    /// The names of the desktops that were used last, one page of them: among these is what is meant.
    pub(super) async fn recent_uids(&self) -> Result<Vec<String>, CallError> {
        let query = vec![("sort", "used".to_owned())];
        let desktops = Pages::new(self, query, None).next().await?;
        Ok(desktops
            .into_iter()
            .flatten()
            .filter_map(|desktop| Some(desktop.get("uid")?.as_str()?.to_owned()))
            .collect())
    }

    /// The service's own address for people.
    pub(super) fn shown_base(&self) -> Url {
        without_credentials(self.base.clone())
    }
}

/// Desktops, a page at a time.
pub(super) struct Pages<'a> {
    client: &'a Client,
    query: Vec<(&'static str, String)>,
    after: Option<String>,
    /// How many are still wanted; `None` is all.
    left: Option<usize>,
    is_over: bool,
}

/// A page, as the API gives it.
#[derive(Deserialize)]
struct Page {
    desktops: Vec<Value>,
    next: Option<String>,
}

impl<'a> Pages<'a> {
    /// `query` is what `GET /api/vm` takes beside `limit` and `after`; `most` is how many desktops are wanted.
    pub(super) fn new(
        client: &'a Client,
        query: Vec<(&'static str, String)>,
        most: Option<usize>,
    ) -> Self {
        Self {
            client,
            query,
            after: None,
            left: most,
            is_over: false,
        }
    }

    /// The desktops of the next page; `None` after the last one.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Value>>, CallError> {
        if self.is_over || self.left == Some(0) {
            return Ok(None);
        }
        let limit = self.left.map_or(PAGE, |left| left.min(PAGE));
        let request = self
            .client
            .request(Method::GET, ["api", "vm"])
            .timeout(READ_BOUND)
            .query(&self.query)
            .query(&[("limit", limit.to_string())])
            .query(
                &self
                    .after
                    .iter()
                    .map(|after| ("after", after))
                    .collect::<Vec<_>>(),
            );
        let value = self.client.json(request).await?;
        let page = Page::deserialize(&value).map_err(|_| {
            CallError::Unreachable(format!(
                "{} does not answer pages of desktops: have the service and this program the same version?",
                self.client.shown_base()
            ))
        })?;
        self.is_over = page.next.is_none();
        self.after = page.next;
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(page.desktops.len());
        }
        Ok(Some(page.desktops))
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unreachable(text) => Self::Unreachable(text),
            CallError::Broken(text) => Self::Failed(format!("the connection broke: {text}")),
            CallError::Refused(refusal) => refusal.into_failure(),
        }
    }
}

impl ErrorAnswer {
    fn into_failure(self) -> Failure {
        let mut text = plain(&self.details);
        if let Some(logs) = self.logs.filter(|logs| !logs.trim().is_empty()) {
            text.push_str("; the last it wrote:\n");
            text.push_str(indented(&logs, "  ").trim_end());
        }
        match self.status {
            404 => Failure::Unknown(text),
            400 | 413 | 415 | 422 => Failure::Usage(text),
            _ => Failure::Failed(text),
        }
    }
}

/// JSON of a known shape.
pub(super) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Failure> {
    T::deserialize(value).map_err(|error| {
        Failure::Unreachable(format!(
            "the service answers in a way that this program does not know ({error}): have both the same version?"
        ))
    })
}

/// A request with JSON in it.
pub(super) fn with_json(request: RequestBuilder, body: &Value) -> RequestBuilder {
    request
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .body(body.to_string())
}

/// Reads the address of a service.
pub(super) fn parse_base(text: &str) -> Result<Url, Failure> {
    let wrong = |what: &str| {
        Failure::Usage(format!(
            "'{}' is not the address of a service: {what}; it is written as {DEFAULT_URL}",
            plain(text)
        ))
    };
    let url: Url = text.parse().map_err(|_| wrong("it is no URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it starts with neither http:// nor https://"));
    }
    if url.host().is_none() {
        return Err(wrong("it names no host"));
    }
    Ok(url)
}

pub(super) fn broken(error: reqwest::Error) -> CallError {
    CallError::Broken(cause(&error))
}

/// Whether the other side ended a connection that there was.
fn was_cut(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(error) = inner.downcast_ref::<io::Error>() {
            return matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            );
        }
        source = inner.source();
    }
    false
}

fn without_credentials(mut url: Url) -> Url {
    // An address without a host has none to remove.
    let _ = (url.set_password(None), url.set_username(""));
    url
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(base: &str) -> Client {
        Client::new(parse_base(base).unwrap()).unwrap()
    }

    #[test]
    fn a_password_in_the_address_is_not_shown() {
        let client = client("https://me:secret@desk.example/");
        assert_eq!(
            client.shown_url(["view", "a"]).as_str(),
            "https://desk.example/view/a"
        );
        assert!(client.url(["view"]).as_str().contains("me:secret@"));
    }

    #[test]
    fn an_address_that_is_none_is_said() {
        for wrong in ["desk.example:4024", "4024", "", "ftp://desk", "file:///x"] {
            let error = parse_base(wrong).unwrap_err();
            assert!(matches!(error, Failure::Usage(_)), "{wrong}");
        }
    }

    #[test]
    fn only_loopback_goes_past_a_proxy() {
        for (url, loopback) in [
            ("http://127.0.0.1:4024", true),
            ("http://[::1]:4024", true),
            ("http://localhost", true),
            ("http://desk.example", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), loopback, "{url}");
        }
    }
}
