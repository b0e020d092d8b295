//! The sizes of desktops' screens, on a real Docker Engine.

#[path = "support/process.rs"]
mod process;

use process::{PATIENCE, Scene, eventually};

/// The tiny desktop in as little memory as the catalogue gives it: 8,388,608 pixels.
const SMALL: &str = r#"
[app.small]
image = "cosage/tiny:latest"
pull = "never"
password = true
memory = "256MiB"
sandbox = "user-namespaces"

[app.small.stream.vnc]
port = 5900
protocol = "rfb"
"#;

/// rfbproto, ExtendedDesktopSize.
const PROHIBITED: u16 = 1;

#[tokio::test]
async fn a_desktop_outlives_any_size_that_is_asked_for_and_carries_its_largest() {
    let Some(scene) = Scene::new() else { return };
    scene.write_catalog(SMALL);
    let service = scene.serve().await;
    let url = service.ensure("wall", "small").await;
    let mut viewer = service.see(&url).await;
    let before = scene.containers();
    let first = viewer.size();
    for size in [
        (16384, 16384),
        (u16::MAX, u16::MAX),
        (8192, 4321),
        (3840, 2185),
    ] {
        assert_eq!(viewer.resize(size).await, Some(PROHIBITED), "{size:?}");
    }
    viewer.see().await;
    assert_eq!(viewer.size(), first);

    // From the largest one it has to come back, too, and both are seen on pictures.
    let largest = (3840, 2160);
    assert_eq!(viewer.resize(largest).await, None);
    viewer.see().await;
    eventually(PATIENCE, "a picture shows the whole screen", async || {
        let picture = service.picture("wall", "?format=png").await?;
        (picture.dimensions() == (3840, 2160)).then_some(())
    })
    .await;
    let mut smaller = service.see(&url).await;
    assert_eq!(smaller.resize((800, 600)).await, None);
    viewer.until_size((800, 600)).await;
    drop(smaller);
    viewer.until_size(largest).await;
    viewer.see().await;
    assert_eq!(scene.containers(), before);
}
