//! The files of a desktop's home, seen from outside, on the simulated engine.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

mod support;

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use cosage::desktop::Uid;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use reqwest::{Body, Method};
use serde_json::{Value, json};
use support::{Options, Reply, Running, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A service with a desktop `a`, and the directory that is its home.
async fn desktop(options: Options) -> (World, Running, PathBuf) {
    let world = World::new();
    let service = world.serve(options).await;
    service.ensure("a", "desk").await;
    let home = world.control().home(&"a".parse::<Uid>().unwrap()).unwrap();
    (world, service, home)
}

fn assert_error(reply: &Reply, status: u16, code: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.json["code"], code, "{reply:?}");
    assert!(reply.json["details"].is_string(), "{reply:?}");
    assert!(reply.json.get("url").is_none(), "{reply:?}");
}

async fn put(service: &Running, path: &str, body: impl Into<Body>) -> Reply {
    let request = service.request(Method::PUT, &format!("/api/vm/a/files/{path}"));
    Running::reply(request.body(body)).await
}

fn names(listing: &Value) -> Vec<&str> {
    let entries = listing["entries"].as_array().unwrap();
    entries
        .iter()
        .map(|entry| entry["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_file_goes_up_and_comes_back_whether_the_desktop_runs_or_sleeps() {
    let (_world, service, home) = desktop(Options::default()).await;
    for status in [201, 204] {
        let reply = put(
            &service,
            "Documents/a%20b/…?modified=2001-02-03T04:05:06.5Z",
            "text",
        )
        .await;
        assert_eq!(reply.status, status, "{reply:?}");
        assert_eq!(service.delete("/api/vm/a").await.status, 204);
    }
    let text = std::fs::read_to_string(home.join("Documents/a b/…")).unwrap();
    assert_eq!(text, "text");

    let reply = service
        .get("/api/vm/a/files/Documents/a%20b/%E2%80%A6")
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json, "text");
    for (name, value) in [
        ("content-length", "4"),
        ("content-type", "application/octet-stream"),
        (
            "content-disposition",
            "attachment; filename*=UTF-8''%E2%80%A6",
        ),
        ("x-content-type-options", "nosniff"),
        ("last-modified", "Sat, 03 Feb 2001 04:05:06 GMT"),
    ] {
        assert_eq!(reply.headers[name], value);
    }

    let listing = service.get("/api/vm/a/files/Documents/a%20b/").await;
    assert_eq!(listing.headers["content-type"], "application/json");
    assert_eq!(listing.json["path"], "Documents/a b");
    assert!(listing.json["free"].as_u64().unwrap() > 0);
    assert_eq!(listing.json["upload_max"], 1_u64 << 32);
    assert_eq!(
        listing.json["entries"],
        json!([{ "name": "…", "type": "file", "size": 4, "modified": "2001-02-03T04:05:06.5Z" }])
    );
}

#[tokio::test]
async fn directories_are_made_listed_and_deleted_with_all_in_them() {
    let (_world, service, home) = desktop(Options::default()).await;
    for (path, status) in [
        ("b/deep/er/?directory=true", 201),
        ("b/deep?directory=true", 204),
    ] {
        assert_eq!(put(&service, path, "").await.status, status);
    }
    for name in ["z", "a", "b/file"] {
        assert_eq!(put(&service, name, "").await.status, 201);
    }
    std::os::unix::fs::symlink("nowhere", home.join("link")).unwrap();
    for path in ["/api/vm/a/files", "/api/vm/a/files/"] {
        let listing = service.get(path).await;
        assert_eq!(names(&listing.json), ["b", "a", "link", "z"]);
        assert_eq!(listing.json["entries"][0]["type"], "directory");
        assert_eq!(listing.json["entries"][2]["type"], "link");
    }

    assert_eq!(service.delete("/api/vm/a/files/b").await.status, 204);
    assert_eq!(service.delete("/api/vm/a/files/link").await.status, 204);
    let listing = service.get("/api/vm/a/files").await;
    assert_eq!(names(&listing.json), ["a", "z"]);
    assert_error(
        &service.delete("/api/vm/a/files/b").await,
        404,
        "no_such_file",
    );
    let whole = service.delete("/api/vm/a/files/").await;
    assert_eq!(whole.status, 405, "{whole:?}");
}

#[tokio::test]
async fn a_long_list_is_whole_and_in_order() {
    let (_world, service, home) = desktop(Options::default()).await;
    let mut expected: Vec<String> = (0..5_000)
        .map(|number| format!("{number} {}", "x".repeat(100)))
        .collect();
    for name in &expected {
        std::fs::write(home.join(name), "").unwrap();
    }
    expected.sort();
    assert_eq!(names(&service.get("/api/vm/a/files").await.json), expected);
}

#[tokio::test]
async fn a_directory_is_listed_in_pages() {
    let (_world, service, home) = desktop(Options::default()).await;
    let latin = std::ffi::OsStr::from_bytes(b"caf\xe9");
    for name in ["b", "a", "c 1", "d"]
        .map(std::ffi::OsStr::new)
        .into_iter()
        .chain([latin])
    {
        std::fs::write(home.join(name), "").unwrap();
    }
    std::fs::create_dir(home.join("z")).unwrap();
    let (mut pages, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let page = service.get(&format!("/api/vm/a/files/?{query}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        pages.push(names(&page.json).join(" | "));
        match page.json["next"].as_str() {
            Some(next) => query = format!("limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(pages, ["z | a", "b | c 1", "caf\u{fffd} | d"]);
    for wrong in [
        "limit=0",
        "limit=10001",
        "limit=-1",
        "limit=all",
        "after=",
        "after=a%00",
        "after=ZA",
    ] {
        let refused = service.get(&format!("/api/vm/a/files?{wrong}")).await;
        assert_error(&refused, 422, "invalid_query");
    }
}

#[tokio::test]
async fn a_part_of_a_file_is_fetched_where_it_is_still_the_same() {
    let (_world, service, _home) = desktop(Options::default()).await;
    let text: String = (0..100_000).map(|number| format!("{number:06}")).collect();
    put(&service, "file", text.clone()).await;
    let get = async |headers: &[(&str, &str)]| {
        let mut request = service.request(Method::GET, "/api/vm/a/files/file");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    };
    let whole = get(&[]).await;
    let tag = whole.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(whole.headers()["accept-ranges"], "bytes");
    assert_eq!(whole.text().await.unwrap(), text);
    for (range, from, to) in [
        ("bytes=0-5", 0, 6),
        ("bytes=300001-599998", 300_001, 599_999),
        ("bytes=599999-", 599_999, 600_000),
        ("bytes=-7", 599_993, 600_000),
    ] {
        let part = get(&[("range", range), ("if-range", &tag)]).await;
        assert_eq!(part.status(), 206, "{range}");
        let headers = part.headers();
        assert_eq!(
            headers["content-range"],
            format!("bytes {from}-{}/600000", to - 1)
        );
        assert_eq!(headers["content-length"], (to - from).to_string());
        assert_eq!(headers["etag"], tag);
        assert_eq!(part.text().await.unwrap(), text[from..to]);
    }
    let beyond = get(&[("range", "bytes=600000-")]).await;
    assert_eq!(beyond.headers()["content-range"], "bytes */600000");
    let beyond: Value = serde_json::from_str(&beyond.text().await.unwrap()).unwrap();
    assert_eq!(beyond["code"], "range_not_satisfiable");
    let known = get(&[("if-none-match", &tag)]).await;
    assert_eq!(
        (known.status().as_u16(), known.text().await.unwrap()),
        (304, String::new())
    );

    let head = service
        .request(Method::HEAD, "/api/vm/a/files/file")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-length"]),
        (200, &"600000".parse().unwrap())
    );
    let head = service
        .request(Method::HEAD, "/api/vm/a/files/none")
        .send()
        .await
        .unwrap();
    assert_eq!(head.status(), 404);

    // It is replaced by one that is as long and as old.
    let modified = "2001-02-03T04:05:06Z";
    for text in ["old", "new"] {
        put(&service, &format!("file?modified={modified}"), text).await;
    }
    let resumed = get(&[("range", "bytes=1-"), ("if-range", &tag)]).await;
    assert_eq!(resumed.status(), 200);
    assert_eq!(resumed.text().await.unwrap(), "new");
    let resumed = get(&[("range", "bytes=1-"), ("if-match", &tag)]).await;
    assert_eq!(resumed.status(), 412);
}

/// Puts or deletes with conditions; status and code.
async fn change(
    service: &Running,
    method: Method,
    path: &str,
    conditions: &[(&str, &str)],
) -> (u16, Value) {
    let path = format!("/api/vm/a/files/{path}");
    let mut request = service.request(method, &path).body("new");
    for (name, value) in conditions {
        request = request.header(*name, *value);
    }
    let reply = Running::reply(request).await;
    (reply.status.as_u16(), reply.json["code"].clone())
}

#[tokio::test]
async fn a_change_is_made_only_where_its_conditions_are_met() {
    let (_world, service, home) = desktop(Options::default()).await;
    let changed = || (412, json!("file_changed"));
    let exists = || (412, json!("file_exists"));
    type Conditions<'a> = &'a [(&'a str, &'a str)];
    let put = async |path: &str, conditions: Conditions<'_>| {
        change(&service, Method::PUT, path, conditions).await
    };
    let delete = async |path: &str, conditions: Conditions<'_>| {
        change(&service, Method::DELETE, path, conditions).await
    };
    let only_new: Conditions<'_> = &[("if-none-match", "*")];
    let done = |status: u16| (status, Value::Null);

    assert_eq!(put("file", &[("if-match", "*")]).await, changed());
    assert_eq!(put("file", only_new).await, done(201));
    assert_eq!(put("file", only_new).await, exists());
    let tag = async || {
        let reply = service.get("/api/vm/a/files/file").await;
        reply.headers["etag"].to_str().unwrap().to_owned()
    };
    let first = tag().await;
    let first: Conditions<'_> = &[("if-match", &first)];
    assert_eq!(put("file", first).await, done(204));
    for refused in [first, &[("if-match", "\"x\"")]] {
        assert_eq!(put("file", refused).await, changed());
        assert_eq!(delete("file", refused).await, changed());
    }
    let long_ago = "Sat, 03 Feb 2001 04:05:06 GMT";
    let unmodified: Conditions<'_> = &[("if-unmodified-since", long_ago)];
    assert_eq!(put("file", unmodified).await, changed());
    assert_eq!(delete("file", unmodified).await, changed());
    assert_eq!(std::fs::read_to_string(home.join("file")).unwrap(), "new");

    assert_eq!(put("d?directory=true", only_new).await, done(201));
    assert_eq!(put("d?directory=true", only_new).await, exists());
    assert_eq!(
        put("d?directory=true", &[("if-match", "*")]).await,
        done(204)
    );
    // What cannot be in any case is told as without a condition.
    assert_eq!(put("d", first).await, (409, json!("is_directory")));
    assert_eq!(delete("none", first).await, (404, json!("no_such_file")));

    let last = tag().await;
    assert_eq!(delete("file", &[("if-match", &last)]).await, done(204));
    assert_eq!(delete("d", &[("if-match", "*")]).await, done(204));
    assert_eq!(std::fs::read_dir(&home).unwrap().count(), 0);
}

/// A file that appears or changes while another one is on its way up is not replaced.
#[tokio::test]
async fn the_conditions_of_an_upload_count_when_it_is_put_in_place() {
    let (_world, service, home) = desktop(Options::default()).await;
    std::fs::write(home.join("old"), "old").unwrap();
    let reply = service.get("/api/vm/a/files/old").await;
    let tag = reply.headers["etag"].to_str().unwrap().to_owned();
    for (name, condition, code) in [
        ("new", ("if-none-match", "*"), "file_exists"),
        ("old", ("if-match", tag.as_str()), "file_changed"),
    ] {
        let (parts, body) = tokio::sync::mpsc::channel::<std::io::Result<Bytes>>(1);
        let body = stream::unfold(body, async |mut body| Some((body.recv().await?, body)));
        let request = service.request(Method::PUT, &format!("/api/vm/a/files/{name}"));
        let request = request.header(condition.0, condition.1);
        let uploaded = Running::reply(request.body(Body::wrap_stream(body)));
        let meanwhile = async {
            // More than connections hold: once it is taken, the upload has begun.
            for _ in 0..512 {
                parts.send(Ok(vec![0; 64 << 10].into())).await.unwrap();
            }
            std::fs::write(home.join(name), "its own").unwrap();
            drop(parts);
        };
        let (reply, ()) = tokio::join!(uploaded, meanwhile);
        assert_error(&reply, 412, code);
        let there = std::fs::read_to_string(home.join(name)).unwrap();
        assert_eq!(there, "its own");
    }
}

#[tokio::test]
async fn a_name_that_is_no_text_can_be_listed_and_fetched() {
    let (_world, service, home) = desktop(Options::default()).await;
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    std::fs::write(home.join(name), "latin").unwrap();
    let listing = service.get("/api/vm/a/files").await;
    let encoded = listing.json["entries"][0]["encoded_name"].as_str().unwrap();
    assert_eq!(encoded, "caf%E9");
    let reply = service.get(&format!("/api/vm/a/files/{encoded}")).await;
    assert_eq!(reply.json, "latin");
}

#[tokio::test]
async fn a_directory_comes_as_an_archive() {
    let (_world, service, home) = desktop(Options::default()).await;
    put(&service, "d/e/file", "text").await;
    std::os::unix::fs::symlink("/etc/passwd", home.join("d/link")).unwrap();
    let response = service
        .request(Method::GET, "/api/vm/a/files/d?archive=tar")
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-tar");
    assert_eq!(
        response.headers()["content-disposition"],
        "attachment; filename*=UTF-8''d.tar"
    );
    let bytes = response.bytes().await.unwrap();
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut found: Vec<(String, Option<String>)> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let text = |path: &std::path::Path| path.display().to_string();
            let target = entry.link_name().unwrap().map(|target| text(&target));
            (text(&entry.path().unwrap()), target)
        })
        .collect();
    found.sort();
    let expected = [
        ("d", None),
        ("d/e", None),
        ("d/e/file", None),
        ("d/link", Some("/etc/passwd".to_owned())),
    ];
    assert_eq!(
        found,
        expected.map(|(path, target)| (path.to_owned(), target))
    );
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_its_reason() {
    let (_world, service, home) = desktop(Options::default()).await;
    std::fs::create_dir(home.join("directory")).unwrap();
    std::fs::write(home.join("file"), "").unwrap();
    std::os::unix::fs::symlink("/etc", home.join("out")).unwrap();
    for (path, status, code) in [
        ("/api/vm/a/files/none", 404, "no_such_file"),
        ("/api/vm/a/files/file/none", 404, "no_such_file"),
        ("/api/vm/a/files/a//b", 422, "invalid_path"),
        ("/api/vm/a/files/a%2Fb", 422, "invalid_path"),
        ("/api/vm/a/files/a%00", 422, "invalid_path"),
        ("/api/vm/a/files/out", 403, "outside_home"),
        ("/api/vm/a/files/out/passwd", 403, "outside_home"),
        ("/api/vm/a/files/?archive=zip", 422, "invalid_query"),
        ("/api/vm/b/files", 404, "unknown_desktop"),
        ("/api/vm/-/files", 422, "invalid_uid"),
        ("/api/vm/%ff/files", 422, "invalid_uid"),
    ] {
        assert_error(&service.get(path).await, status, code);
    }
    // The client of the other calls would resolve it by itself.
    let upwards = exchange(
        &service,
        "GET /api/vm/a/files/../../b HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    .await;
    assert!(
        upwards.contains("422 ") && upwards.contains("invalid_path"),
        "{upwards}"
    );
    let part = exchange(
        &service,
        "PUT /api/vm/a/files/file HTTP/1.1\r\nHost: localhost\r\nContent-Range: bytes 0-2/10\r\n\
         Content-Length: 3\r\n\r\nabc",
    )
    .await;
    assert!(
        part.contains("400 ") && part.contains("partial_upload"),
        "{part}"
    );
    for (path, status, code) in [
        ("directory", 409, "is_directory"),
        ("file/inside", 409, "not_a_directory"),
        ("file?directory=true", 409, "not_a_directory"),
        ("out/file", 403, "outside_home"),
        ("out", 403, "outside_home"),
        ("a?modified=yesterday", 422, "invalid_query"),
    ] {
        assert_error(&put(&service, path, "text").await, status, code);
    }
    let listing = service.get("/api/vm/a/files").await;
    assert_eq!(names(&listing.json), ["directory", "file", "out"]);

    service.ensure("homeless", "brief").await;
    let homeless = service.get("/api/vm/homeless/files").await;
    assert_error(&homeless, 409, "no_home");
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_read_where_its_size_is_known() {
    let options = Options {
        upload_max: 1000,
        ..Options::default()
    };
    let (_world, service, _home) = desktop(options).await;
    assert_eq!(put(&service, "most", vec![0; 1000]).await.status, 201);
    let part = || Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"0123456789")));
    let unannounced = StreamBody::new(stream::iter(std::iter::repeat_with(part).take(101)));
    let reply = put(&service, "streamed", Body::wrap(unannounced)).await;
    assert_error(&reply, 413, "file_too_large");
    // Nobody sends the body: the answer comes without it.
    for (len, answer, code) in [
        (1001, "413 Payload Too Large", "file_too_large"),
        (1 << 60, "413 Payload Too Large", "file_too_large"),
    ] {
        let reply = announce(&service, len).await;
        assert!(reply.contains(answer) && reply.contains(code), "{reply}");
    }
    assert_eq!(names(&service.get("/api/vm/a/files").await.json), ["most"]);

    let options = Options {
        upload_max: u64::MAX,
        ..Options::default()
    };
    let (_world, service, _home) = desktop(options).await;
    let reply = announce(&service, 1 << 60).await;
    assert!(
        reply.contains("507 Insufficient Storage") && reply.contains("no_space"),
        "{reply}"
    );
}

/// What is answered to the announcement of an upload of `len` bytes, of which none is sent.
async fn announce(service: &Running, len: u64) -> String {
    exchange(service, &announcement("announced", len)).await
}

fn announcement(name: &str, len: u64) -> String {
    format!(
        "PUT /api/vm/a/files/{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n\r\n"
    )
}

/// The error that is answered to `request`.
async fn exchange(service: &Running, request: &str) -> String {
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = async {
        while !answer.contains("\"code\"") {
            let mut part = [0; 1024];
            let len = stream.read(&mut part).await.unwrap();
            assert!(len > 0, "no answer: {answer}");
            answer.push_str(&String::from_utf8_lossy(&part[..len]));
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(30), read);
    read.await.unwrap();
    answer
}

async fn begin_upload(service: &Running, name: &str, len: u64) -> TcpStream {
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    let head = announcement(name, len);
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn an_upload_that_ends_early_leaves_the_old_file_or_nothing() {
    let (_world, service, home) = desktop(Options::default()).await;
    put(&service, "old", "old").await;
    for name in ["old", "parent/new"] {
        let mut stream = begin_upload(&service, name, 1_000_000).await;
        stream.write_all(&[b'x'; 500_000]).await.unwrap();
        drop(stream);
    }
    // What follows the two on the same files is answered as if they had never been.
    assert_eq!(service.get("/api/vm/a/files/old").await.json, "old");
    assert_eq!(names(&service.get("/api/vm/a/files").await.json), ["old"]);
    assert_eq!(std::fs::read_dir(&home).unwrap().count(), 1);
}

#[tokio::test]
async fn to_forget_a_desktop_ends_what_is_being_done_to_its_files() {
    let (_world, service, home) = desktop(Options::default()).await;
    std::fs::write(home.join("large"), vec![0; 64 << 20]).unwrap();
    let mut upload = begin_upload(&service, "new", 1_000_000).await;
    upload.write_all(b"x").await.unwrap();
    let mut download = service
        .request(Method::GET, "/api/vm/a/files/large")
        .send()
        .await
        .unwrap();
    assert!(download.chunk().await.unwrap().is_some());
    // Its answer says that the other one has begun, too.
    service.get("/api/vm/a/files").await;

    assert_eq!(service.delete("/api/vm/a?forget=true").await.status, 204);
    let rest = async { while let Ok(Some(_)) = download.chunk().await {} };
    let ended = async {
        let mut answer = Vec::new();
        let _ = upload.write_all(&[b'x'; 500_000]).await;
        let _ = upload.read_to_end(&mut answer).await;
    };
    tokio::time::timeout(Duration::from_secs(30), async { tokio::join!(rest, ended) })
        .await
        .unwrap();
    assert!(!home.exists());
    assert_error(
        &service.get("/api/vm/a/files").await,
        404,
        "unknown_desktop",
    );
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_write() {
    let options = Options {
        origins: vec!["https://listed.example".to_owned()],
        ..Options::default()
    };
    let (_world, service, _home) = desktop(options).await;
    for (origin, method, allowed) in [
        ("https://listed.example", "PUT", true),
        ("https://listed.example", "DELETE", true),
        ("https://evil.example", "PUT", false),
        ("https://evil.example", "DELETE", false),
        ("null", "PUT", false),
    ] {
        // Every page has to ask before it puts or deletes; there is no form that does either.
        let preflight = service
            .request(Method::OPTIONS, "/api/vm/a/files/x")
            .header("origin", origin)
            .header("access-control-request-method", method);
        let reply = Running::reply(preflight).await;
        let allow = reply.headers.get("access-control-allow-origin");
        assert_eq!(
            allow.is_some_and(|value| value == origin),
            allowed,
            "{origin} {reply:?}"
        );
        // Nor does the service rely on the page's browser.
        let method: Method = method.parse().unwrap();
        let call = service
            .request(method.clone(), "/api/vm/a/files/x")
            .header("origin", origin);
        let called = Running::reply(call).await;
        let refused = called.json["code"] == "origin_not_allowed";
        assert_eq!(refused, !allowed, "{origin} {called:?}");
        if allowed {
            let methods = reply.headers["access-control-allow-methods"]
                .to_str()
                .unwrap();
            assert!(methods.contains(method.as_str()), "{methods}");
        }
    }
}

#[tokio::test]
async fn the_description_has_the_routes_as_openapi_writes_them() {
    let (_world, service, _home) = desktop(Options::default()).await;
    let description = service.get("/openapi.json").await.json;
    let path = &description["paths"]["/api/vm/{uid}/files/{path}"];
    for method in ["get", "put", "delete"] {
        assert!(path[method].is_object(), "{method}");
    }
}
