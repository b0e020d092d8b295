//! The command line on a real Docker Engine.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at what it does not expect"
)]

#[path = "support/process.rs"]
mod process;

use std::process::Command;

use process::{Scene, TINY};
use serde_json::Value;

/// What the program answers as JSON, with the settings of the scene's service; and whether it is
/// content.
fn ask(scene: &Scene, arguments: &[&str]) -> (bool, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cosage"));
    command
        .args(arguments)
        .arg("--json")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("COSAGE_URL", format!("http://{}", scene.address))
        .env("COSAGE_CATALOG", scene.path("catalog.toml"))
        .env("COSAGE_DATA_DIR", scene.path("data"))
        .env("CONTAINER_BASE_NAME", format!("{}-", scene.name))
        .env("PORT_RANGE_START", scene.ports.start.to_string())
        .env("PORT_RANGE_END", scene.ports.end.to_string());
    let output = command.output().unwrap();
    let json = serde_json::from_slice(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    (
        output.status.success(),
        json.unwrap_or_else(|_| panic!("{arguments:?}: {complaint}")),
    )
}

#[tokio::test]
async fn images_and_what_is_in_the_way_are_found_on_the_engine() {
    let Some(scene) = Scene::new() else { return };
    scene.write_catalog(
        "[app.missing]\nimage = \"cosage/no-such-image:1\"\nbuild = \"images/none\"\n\
         stream.vnc = { port = 5900, protocol = \"rfb\" }\n",
    );
    let (_, images) = ask(&scene, &["images", "ls"]);
    let image = |app: &str| {
        let mut images = images.as_array().unwrap().iter();
        images.find(|image| image["app"] == app).unwrap()
    };
    assert_eq!(image("tiny")["image"], TINY);
    assert_eq!(image("tiny")["available"], true);
    assert!(image("tiny")["size"].as_u64() > Some(1 << 20), "{images:#}");
    assert!(image("tiny")["created_at"].is_string(), "{images:#}");
    assert_eq!(image("missing")["available"], false);

    // In the way of a desktop's name.
    let unmanaged = scene.container_name("unmanaged");
    scene.docker(&["create", "--name", &unmanaged, TINY]);
    let service = scene.serve().await;
    service.ensure("own", "tiny").await;
    let (healthy, report) = ask(&scene, &["doctor"]);
    assert!(!healthy, "an image is missing: {report:#}");
    let found = |check: &str, level: &str, part: &str| {
        let mut findings = report["findings"].as_array().unwrap().iter();
        findings.any(|finding| {
            finding["check"] == check
                && finding["level"] == level
                && finding["summary"].as_str().unwrap().contains(part)
        })
    };
    assert!(found("engine", "ok", "Docker Engine"), "{report:#}");
    assert!(found("clock", "ok", ""), "{report:#}");
    assert!(found("images", "ok", "tiny"), "{report:#}");
    assert!(
        found("images", "problem", "cosage/no-such-image:1"),
        "{report:#}"
    );
    assert!(found("containers", "warning", &unmanaged), "{report:#}");
    assert!(
        !found("containers", "warning", &scene.container_name("own")),
        "{report:#}"
    );
    assert!(found("service", "ok", ""), "{report:#}");
    assert!(found("websocket", "ok", ""), "{report:#}");
}
