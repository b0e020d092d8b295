//! The console's pages and files, and what the catalogue tells them, as a browser gets them.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

mod support;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use support::{Options, Running, World};

async fn service() -> (World, Running) {
    let world = World::new();
    let service = world.serve(Options::default()).await;
    (world, service)
}

async fn get(service: &Running, path: &str, headers: &[(&'static str, &str)]) -> Response {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect();
    service
        .request(Method::GET, path)
        .headers(headers)
        .send()
        .await
        .unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

/// The console is built by `npm run build`; a checkout may be without.
fn is_built() -> bool {
    let built = cosage::console::file("index.html").is_some();
    if !built {
        eprintln!("SKIPPED: the console is not built; run: cd web && npm ci && npm run build");
    }
    built
}

#[tokio::test]
async fn pages_are_asked_for_each_time_and_their_files_are_kept() {
    let (_world, service) = service().await;
    if !is_built() {
        let page = get(&service, "/", &[]).await;
        assert_eq!(page.status(), StatusCode::NOT_FOUND);
        assert!(page.text().await.unwrap().contains("npm run build"));
        return;
    }
    for path in ["/", "/operations", "/view/nobody-knows-it", "/view/"] {
        let page = get(&service, path, &[("accept-encoding", "gzip;q=0.5, br")]).await;
        assert_eq!(page.status(), 200, "{path}");
        assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
        assert_eq!(header(&page, "content-encoding"), "br");
        assert_eq!(header(&page, "vary"), "accept-encoding");
        assert_eq!(header(&page, "cache-control"), "no-cache");
        assert_eq!(header(&page, "x-content-type-options"), "nosniff");
        assert_eq!(header(&page, "referrer-policy"), "no-referrer");
        let policy = header(&page, "content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; "),
            "{policy}"
        );
        assert!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{policy}"
        );
        let tag = header(&page, "etag").to_owned();
        let again = get(
            &service,
            path,
            &[("if-none-match", &format!("\"other\", {tag}"))],
        )
        .await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(header(&again, "etag"), tag);
        assert_eq!(again.bytes().await.unwrap(), "");
    }
    let page = get(&service, "/", &[]).await;
    assert_eq!(header(&page, "content-encoding"), "");
    let html = page.text().await.unwrap();
    assert!(!html.contains("://"), "the page names another host: {html}");
    let script = html
        .split('"')
        .find(|part| part.starts_with("assets/") && part.ends_with(".js"))
        .unwrap();
    let refused = [("accept-encoding", "br;q=0, gzip")];
    let file = get(&service, &format!("/{script}"), &refused).await;
    assert_eq!(file.status(), 200);
    assert_eq!(
        header(&file, "content-type"),
        "text/javascript; charset=utf-8"
    );
    assert_eq!(header(&file, "content-encoding"), "gzip");
    assert_eq!(
        header(&file, "cache-control"),
        "public, max-age=31536000, immutable"
    );
    for outside in ["/assets/none.js", "/assets/..%2findex.html", "/index.html"] {
        let response = get(&service, outside, &[]).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{outside}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_page_for_people_and_json_for_programs() {
    let (_world, service) = service().await;
    let people = [("accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    if is_built() {
        let page = get(&service, "/some/where/else", &people).await;
        assert_eq!(page.status(), StatusCode::NOT_FOUND);
        assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
        assert!(header(&page, "content-security-policy").contains("base-uri 'self'"));
        let html = page.text().await.unwrap();
        assert!(html.contains("<base href=\"./../../\">"), "{html}");
    }
    for (path, headers) in [
        ("/some/where/else", &[][..]),
        ("/some/where/else", &[("accept", "application/json")]),
        ("/api/nothing", &people),
    ] {
        let reply = Running::reply(headers.iter().fold(
            service.request(Method::GET, path),
            |request, (name, value)| request.header(*name, *value),
        ))
        .await;
        assert_eq!(reply.status, 404);
        assert_eq!(reply.json["code"], "no_such_route");
    }
}

#[tokio::test]
async fn the_catalogue_says_which_images_are_there() {
    let (world, service) = service().await;
    world.control().lose_image("test/brief:latest");
    let available = async |app: &str| {
        let apps = service.get("/api/catalog").await.json;
        let apps = apps.as_array().unwrap().clone();
        apps.into_iter().find(|entry| entry["name"] == app).unwrap()["available"].clone()
    };
    // A start finds out by itself, whatever was seen before.
    let reply = service.post("a", r#"{"vm": "brief"}"#).await;
    assert_eq!(reply.json["code"], "image_missing");
    assert_eq!(available("brief").await, false);
    assert_eq!(service.post("b", r#"{"vm": "desk"}"#).await.status, 200);
    assert_eq!(available("desk").await, true);
    let apps = service.get("/api/catalog").await.json;
    let desk = apps
        .as_array()
        .unwrap()
        .iter()
        .find(|app| app["name"] == "desk")
        .unwrap();
    assert_eq!(desk["home"], true);
    assert_eq!(desk["icon"], "");
}

#[tokio::test]
async fn icons_are_served_here_and_run_nothing() {
    let (_world, service) = service().await;
    let apps = service.get("/api/catalog").await.json;
    let apps = apps.as_array().unwrap();
    let path = apps.iter().find(|app| app["name"] == "brief").unwrap()["icon"]
        .as_str()
        .unwrap();
    assert!(path.starts_with("/api/catalog/brief/icon?v="), "{path}");
    let icon = get(&service, path, &[]).await;
    assert_eq!(icon.status(), 200);
    assert_eq!(header(&icon, "content-type"), "image/svg+xml");
    assert!(header(&icon, "content-security-policy").contains("sandbox"));
    assert_eq!(icon.text().await.unwrap(), "<svg/>");
    let reply = service.get("/api/catalog/desk/icon").await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json["code"]),
        (404, &"no_icon".into())
    );
    let reply = service.get("/api/catalog/desc/icon").await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json["code"]),
        (404, &"unknown_app".into())
    );
}
