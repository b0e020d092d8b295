//! Which hosts and which forms of a path are answered, on every listener.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

mod support;

use std::net::SocketAddr;

use serde_json::Value;
use support::{Options, Running, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const EVIL: &str = "evil.example.com";

const JSON: &str = "Content-Type: application/json\r\nContent-Length: 2\r\n";

const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Sends the head of a request as it is written here and the body `{}`; the status and the JSON of the answer.
async fn ask(address: SocketAddr, head: &str) -> (u16, Value) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("{head}\r\n{{}}");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        let (status, rest) = split(&answer);
        if let (Some(status), Some(rest)) = (status, rest) {
            return (status, rest);
        }
        let len = socket.read_buf(&mut answer).await.unwrap();
        if len == 0 {
            return (status.unwrap(), Value::Null);
        }
    }
}

/// The status, and the body once it is complete JSON or the protocol has changed.
fn split(answer: &[u8]) -> (Option<u16>, Option<Value>) {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return (None, None);
    };
    let status: Option<u16> = head.get(9..12).and_then(|status| status.parse().ok());
    if status == Some(101) {
        return (status, Some(Value::Null));
    }
    // Where a request has no body, `{}` is a request of its own, which is refused.
    let mut values = serde_json::Deserializer::from_str(body).into_iter();
    (status, values.next().and_then(Result::ok))
}

fn assert_refused((status, json): &(u16, Value), expected: u16, code: &str, case: &str) {
    assert_eq!(
        (*status, &json["code"]),
        (expected, &Value::from(code)),
        "{case}"
    );
    assert!(
        json["details"].is_string() && json.get("url").is_none(),
        "{case}: {json}"
    );
}

fn listeners(service: &Running) -> [SocketAddr; 3] {
    [
        service.address,
        service.stream_address,
        service.callback_address,
    ]
}

#[tokio::test]
async fn requests_for_unknown_hosts_are_refused_on_every_listener_and_route() {
    let (_world, service) = serve(Options::default()).await;
    service.ensure("wall", "desk").await;
    for address in listeners(&service) {
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/view/wall"),
            ("GET", "/assets/none.js"),
            ("GET", "/docs/"),
            ("GET", "/openapi.json"),
            ("GET", "/healthz"),
            ("GET", "/readyz"),
            ("GET", "/api/vm"),
            ("GET", "/api/vm/wall/files/"),
            ("GET", "/api/events"),
            ("GET", "/stream/22000/vnc"),
            ("GET", "/nowhere"),
            ("POST", "/api/vm/any/allocate"),
            ("POST", "/api/vm/cb/wall"),
            ("DELETE", "/api/vm/wall?forget=true"),
            ("PATCH", "/healthz"),
        ] {
            // A page that has rebound its name is of the same origin as what it asks for.
            for origin in ["", "Origin: http://evil.example.com\r\n"] {
                for more in [JSON, WEBSOCKET] {
                    let head =
                        format!("{method} {path} HTTP/1.1\r\nHost: {EVIL}\r\n{origin}{more}");
                    let answer = ask(address, &head).await;
                    assert_refused(&answer, 421, "unknown_host", &head);
                    let details = answer.1["details"].as_str().unwrap();
                    assert!(details.contains(EVIL) && details.contains("COSAGE_ALLOWED_HOSTS"));
                }
            }
        }
    }
    assert_eq!(service.get("/api/vm/wall").await.json["status"], "ready");
}

#[tokio::test]
async fn the_host_that_counts_is_the_one_that_the_request_is_for() {
    let (_world, service) = serve(Options::default()).await;
    for address in listeners(&service) {
        for head in [
            "GET /healthz HTTP/1.1\r\nHost: evil.example.com\r\nX-Forwarded-Host: localhost\r\n",
            "GET /healthz HTTP/1.1\r\nHost: evil.example.com\r\nForwarded: host=localhost\r\n",
            "GET http://evil.example.com/healthz HTTP/1.1\r\nHost: localhost\r\n",
            "GET /healthz HTTP/1.0\r\nHost: evil.example.com\r\n",
        ] {
            assert_refused(&ask(address, head).await, 421, "unknown_host", head);
        }
        for head in [
            "GET /healthz HTTP/1.1\r\n",
            "GET /healthz HTTP/1.1\r\nHost:\r\n",
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n",
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example.com\r\n",
            "GET /healthz HTTP/1.1\r\nHost: localhost, evil.example.com\r\n",
            "GET http://localhost@evil.example.com/healthz HTTP/1.1\r\nHost: localhost\r\n",
        ] {
            assert_refused(&ask(address, head).await, 400, "invalid_host", head);
        }
    }
    for head in [
        "GET /healthz HTTP/1.0\r\n",
        "GET http://localhost/healthz HTTP/1.1\r\nHost: evil.example.com\r\n",
        "GET /healthz HTTP/1.1\r\nHost: host.docker.internal:4024\r\n",
        "GET /healthz HTTP/1.1\r\nHost: [::1]:4024\r\nX-Forwarded-Host: evil.example.com\r\n",
    ] {
        assert_eq!(ask(service.address, head).await.0, 200, "{head}");
    }
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_reads_why_its_host_is_refused() {
    let options = Options {
        origins: vec!["https://sage3.example.org".to_owned()],
        hosts: vec!["desk.example.org".to_owned()],
        ..Options::default()
    };
    let (_world, service) = serve(options).await;
    for known in ["desk.example.org", "sage3.example.org"] {
        let head = format!("GET /api/vm HTTP/1.1\r\nHost: {known}\r\n");
        assert_eq!(ask(service.address, &head).await.0, 200);
    }
    let request = service.request(reqwest::Method::POST, "/api/vm/any/allocate");
    let request = request
        .header("host", EVIL)
        .header("origin", "https://sage3.example.org");
    let reply = Running::reply(request).await;
    assert_eq!(reply.status, 421);
    assert_eq!(
        reply.headers["access-control-allow-origin"],
        "https://sage3.example.org"
    );
}

#[tokio::test]
async fn empty_segments_at_the_start_of_a_path_are_dropped() {
    let (_world, service) = serve(Options::default()).await;
    let url = service.ensure("wall", "desk").await;
    for slashes in ["/", "//", "///"] {
        let found = service.get(&format!("{slashes}api/vm/ws/wall")).await;
        assert_eq!(
            (found.status.as_u16(), &found.json["url"]),
            (200, &url.as_str().into())
        );
        let path = format!("{slashes}api/vm/any/wall");
        let ensured = service.call(reqwest::Method::POST, &path, Some("{}")).await;
        assert_eq!(
            (ensured.status.as_u16(), &ensured.json["url"]),
            (200, &url.as_str().into())
        );
        let home = service.get(&format!("{slashes}api/vm/wall/files/")).await;
        assert_eq!(home.status, 200, "{home:?}");
        for address in [service.address, service.stream_address] {
            let head = format!(
                "GET {slashes}{} HTTP/1.1\r\nHost: localhost\r\n{WEBSOCKET}",
                &url[1..]
            );
            assert_eq!(ask(address, &head).await.0, 101, "{head}");
        }
        let page = service.get(&format!("{slashes}docs/")).await;
        assert_eq!(page.status, 200);
    }
    // Only at the start: what is in a path means something.
    assert_eq!(service.get("/api//vm").await.status, 404);
}

#[tokio::test]
async fn checks_see_the_path_without_empty_segments() {
    let (_world, service) = serve(Options::default()).await;
    service.ensure("wall", "desk").await;
    for (head, status, code) in [
        (
            format!("DELETE //api/vm/wall HTTP/1.1\r\nHost: localhost\r\nOrigin: http://{EVIL}\r\n"),
            403,
            "origin_not_allowed",
        ),
        (
            format!("GET //stream/22000/vnc HTTP/1.1\r\nHost: localhost\r\nOrigin: http://{EVIL}\r\n{WEBSOCKET}"),
            403,
            "origin_not_allowed",
        ),
        (
            "POST //api/vm/any/new HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n".to_owned(),
            415,
            "json_required",
        ),
        (
            format!("GET //api/vm HTTP/1.1\r\nHost: {EVIL}\r\n"),
            421,
            "unknown_host",
        ),
    ] {
        assert_refused(&ask(service.address, &head).await, status, code, &head);
    }
    // What is on no other listener is there under no other name, either.
    for (address, path) in [
        (service.stream_address, "//api/vm"),
        (service.callback_address, "//api/vm"),
        (service.callback_address, "//stream/22000/vnc"),
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n");
        assert_refused(&ask(address, &head).await, 404, "no_such_route", &head);
    }
}

async fn serve(options: Options) -> (World, Running) {
    let world = World::new();
    let service = world.serve(options).await;
    (world, service)
}
