//! Files of homes on a real Docker Engine: what is left behind by a crash, a full disk and an end of
//! use, and what the container that serves them may do.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

#[path = "support/process.rs"]
mod process;

use process::{PATIENCE, Reply, Scene, Service, assert_error, eventually, reply};
use reqwest::{Body, Method};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// How many bytes the disk of the test for full ones has.
const SMALL: usize = 4 << 20;

async fn put(service: &Service, at: &str, body: impl Into<Body>) -> Reply {
    let request = service.request(Method::PUT, &format!("/api/vm/{at}"));
    reply(request.body(body)).await.unwrap()
}

/// Begins an upload of which the end never comes.
async fn begin(service: &Service, at: &str, part: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    let head = format!(
        "PUT /api/vm/{at} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(part).await.unwrap();
    stream
}

/// The containers that serve files, by the engine's name for them.
fn programs(scene: &Scene, state: &str) -> Vec<String> {
    let name = format!("name=^/?{}-", scene.name);
    let files = ["ps", "--all", "--quiet", "--filter", "label=cosage.files"];
    let which = ["--filter", &name, "--filter", state];
    let listed = scene.docker(&[&files[..], &which].concat());
    listed.lines().map(str::to_owned).collect()
}

const IN_ANY_STATE: &str = "label=cosage.files";

async fn until_none_serves(scene: &Scene) {
    eventually(PATIENCE, "no container serves files", async || {
        programs(scene, IN_ANY_STATE).is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_serves_files_may_do_nothing_else_and_goes_by_itself() {
    let Some(scene) = Scene::new() else { return };
    let service = scene.serve().await;
    service.ensure("a", "homely").await;
    let content: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_le_bytes).collect();
    assert_eq!(
        put(&service, "a/files/d/large", content.clone())
            .await
            .status,
        201
    );
    let owners = [
        "exec",
        &scene.container_name("a"),
        "stat",
        "-c",
        "%U",
        "d",
        "d/large",
    ];
    assert_eq!(scene.docker(&owners), "user\nuser");
    // While it sleeps.
    assert_eq!(service.delete("a").await.status, 204);
    let fetched = service
        .request(Method::GET, "/api/vm/a/files/d/large")
        .send();
    let fetched = fetched.await.unwrap().bytes().await.unwrap();
    assert!(fetched == content, "{} bytes", fetched.len());

    let found = programs(&scene, IN_ANY_STATE);
    assert_eq!(found.len(), 1, "the one that is there is asked again");
    let rights = "{{.HostConfig.NetworkMode}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{len .Mounts}} {{.HostConfig.AutoRemove}} {{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.PidsLimit}}";
    assert_eq!(
        scene.docker(&["inspect", "--format", rights, &found[0]]),
        "none true [ALL] [no-new-privileges] 1 true 67108864 67108864 16"
    );
    let process = scene.docker(&["inspect", "--format", "{{.State.Pid}}", &found[0]]);
    let status = std::fs::read_to_string(format!("/proc/{process}/status"));
    // The process is of another machine where the engine is.
    if let Ok(status) = status {
        for line in [
            "Uid:\t1000\t1000",
            "CapEff:\t0000000000000000",
            "CapPrm:\t0000000000000000",
        ] {
            assert!(status.contains(line), "{line}: {status}");
        }
    }
    let listed = service.get("/api/vm/list").await;
    assert_eq!(listed.json, serde_json::json!([]));
    until_none_serves(&scene).await;

    service.get("/api/vm/a/files").await;
    assert_eq!(service.delete("a?forget=true").await.status, 204);
    assert_eq!(scene.volumes(), [""; 0]);
    assert_eq!(scene.containers(), []);
}

#[tokio::test]
async fn a_service_that_is_killed_in_the_middle_leaves_neither_a_file_nor_a_container() {
    let Some(scene) = Scene::new() else { return };
    let service = scene.serve().await;
    service.ensure("a", "homely").await;
    assert_eq!(put(&service, "a/files/old", "old").await.status, 201);
    let _uploads = [
        begin(&service, "a/files/old", &[0; 1 << 20]).await,
        begin(&service, "a/files/d/new", &[0; 1 << 20]).await,
    ];
    // One that is made and not started yet has nothing that could end, and waits for the sweep.
    eventually(PATIENCE, "both have begun", async || {
        (programs(&scene, "status=running").len() == 2).then_some(())
    })
    .await;
    service.kill();
    until_none_serves(&scene).await;
    let find = [
        "exec",
        &scene.container_name("a"),
        "find",
        ".",
        "-newer",
        "old",
        "-not",
        "-name",
        ".",
    ];
    assert_eq!(scene.docker(&find), "");
    assert_eq!(
        scene.docker(&["exec", &scene.container_name("a"), "cat", "old"]),
        "old"
    );

    let service = scene.serve().await;
    assert_eq!(service.get("/api/vm/a/files/old").await.json, "old");
}

#[tokio::test]
async fn a_container_that_nobody_holds_is_swept() {
    let Some(scene) = Scene::new() else { return };
    let service = scene.serve().await;
    service.ensure("a", "homely").await;
    let owner = format!("cosage.owner={}", scene.containers()[0].owner);
    let name = format!("{}-files-left", scene.container_name("a"));
    let create = [
        "create",
        "--name",
        &name,
        "--label",
        &owner,
        "--label",
        "cosage.files=left",
        process::TINY,
    ];
    scene.docker(&create);
    service.kill();
    let _service = scene.serve().await;
    until_none_serves(&scene).await;
    assert_eq!(scene.containers().len(), 1);
}

#[tokio::test]
async fn what_does_not_fit_on_the_disk_leaves_nothing() {
    let Some(scene) = Scene::new() else { return };
    let service = scene.serve().await;
    service.ensure("other", "tiny").await;
    let owner = format!("cosage.owner={}", scene.containers()[0].owner);
    let size = format!("o=size={SMALL},uid=1000,gid=1000");
    let name = scene.container_name("a");
    let volume = [
        "volume",
        "create",
        "--label",
        &owner,
        "--label",
        "cosage.uid=a",
    ];
    let disk = [
        "--opt",
        "type=tmpfs",
        "--opt",
        "device=tmpfs",
        "--opt",
        &size,
        &name,
    ];
    scene.docker(&[&volume[..], &disk].concat());
    service.ensure("a", "homely").await;
    assert_eq!(put(&service, "a/files/old", "old").await.status, 201);

    let announced = put(&service, "a/files/old", vec![1; SMALL + 1]).await;
    assert_error(&announced, 507, "no_space");
    // Its size is not known, so it is found out on the way.
    let unannounced = unannounced_body(vec![1; SMALL + 1]);
    let unannounced = put(&service, "a/files/old", unannounced).await;
    assert_error(&unannounced, 507, "no_space");

    let listed = service.get("/api/vm/a/files").await;
    let entries = listed.json["entries"].as_array().unwrap();
    let old = entries.iter().find(|entry| entry["name"] == "old").unwrap();
    assert_eq!(old["size"], 3);
    let free = listed.json["free"].as_u64().unwrap();
    assert!(free > SMALL as u64 / 2, "{free} bytes are left");
    let fits = put(&service, "a/files/fits", vec![1; SMALL / 2]).await;
    assert_eq!(fits.status, 201, "{fits:?}");
}

#[tokio::test]
async fn a_directory_of_more_files_than_fit_into_memory_is_listed_archived_and_deleted() {
    const COUNT: usize = 300_000;
    let Some(scene) = Scene::new() else { return };
    let service = scene.serve().await;
    service.ensure("a", "homely").await;
    let make = format!("mkdir many && cd many && seq -f %095.0f {COUNT} | xargs touch");
    // This takes a while, in which the client has to see that the service closes its idle connection.
    let made = tokio::process::Command::new("docker")
        .args(["exec", &scene.container_name("a"), "sh", "-c", &make])
        .status();
    assert!(made.await.unwrap().success());

    let (mut listed, mut query) = (0, "limit=10000".to_owned());
    loop {
        let page = service.get(&format!("/api/vm/a/files/many?{query}")).await;
        assert_eq!(page.status, 200, "after {listed}: {page:?}");
        for entry in page.json["entries"].as_array().unwrap() {
            listed += 1;
            assert_eq!(entry["name"], format!("{listed:095}"));
        }
        match page.json["next"].as_str() {
            Some(next) => query = format!("limit=10000&after={next}"),
            None => break,
        }
    }
    assert_eq!(listed, COUNT);

    let archive = service
        .request(Method::GET, "/api/vm/a/files/many?archive=tar")
        .send();
    let mut archive = archive.await.unwrap();
    let mut bytes = 0;
    while let Some(part) = archive.chunk().await.unwrap() {
        bytes += part.len();
    }
    assert!(bytes > COUNT * 512, "{bytes}");

    let removed = service.delete("a/files/many").await;
    assert_eq!(removed.status, 204, "{removed:?}");
    let left = service.get("/api/vm/a/files/many").await;
    assert_error(&left, 404, "no_such_file");
}

/// A body whose length is not announced.
fn unannounced_body(bytes: Vec<u8>) -> Body {
    let parts: Vec<_> = bytes
        .chunks(64 * 1024)
        .map(|part| {
            Ok::<_, std::io::Error>(hyper::body::Frame::data(bytes::Bytes::copy_from_slice(
                part,
            )))
        })
        .collect();
    Body::wrap(http_body_util::StreamBody::new(futures_util::stream::iter(
        parts,
    )))
}
