//! The sizes of desktops' screens, on a real Docker Engine.

#[path = "support/process.rs"]
mod process;

use process::viewer::connect;
use process::{PATIENCE, Scene, eventually, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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

/// Takes Raw pictures and nothing else, asks for a size nevertheless, and for a picture behind that.
const RAW_ONLY: [&[u8]; 3] = [
    &[2, 0, 0, 1, 0, 0, 0, 0],
    &[
        251, 0, 4, 0, 3, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 3, 0, 0, 0, 0, 0,
    ],
    &[3, 0, 0, 0, 0, 0, 0, 64, 0, 64],
];

/// Xvnc closes such a client while it handles the request, and ends by that.
#[tokio::test]
async fn a_client_that_takes_no_sizes_and_asks_for_one_gets_its_picture_and_harms_nobody() {
    let Some(scene) = Scene::new() else { return };
    scene.write_catalog(SMALL);
    let service = scene.serve().await;
    let url = service.ensure("wall", "small").await;
    let mut other = service.see(&url).await;
    let (size, before) = (other.size(), scene.containers());
    let (mut stream, _ended) = connect(service.stream_address, &url).await.unwrap();
    let conversation = async {
        // The handshake without a password (RFC 6143, 7.1 to 7.3), shared.
        stream.read_exact(&mut [0; 12]).await.unwrap();
        stream.write_all(b"RFB 003.008\n").await.unwrap();
        stream.read_exact(&mut [0; 2]).await.unwrap();
        stream.write_all(&[1]).await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
        stream.write_all(&[1]).await.unwrap();
        let mut init = [0; 24];
        stream.read_exact(&mut init).await.unwrap();
        stream
            .read_exact(&mut vec![0; init[23].into()])
            .await
            .unwrap();
        stream.write_all(&RAW_ONLY.concat()).await.unwrap();
        let mut area = 0;
        while area < 64 * 64 {
            let mut update = [0; 4];
            stream.read_exact(&mut update).await.unwrap();
            assert_eq!(update[0], 0, "a picture and nothing about sizes");
            for _ in 0..u16::from_be_bytes([update[2], update[3]]) {
                let mut head = [0; 12];
                stream.read_exact(&mut head).await.unwrap();
                assert_eq!(head[8..], [0; 4], "Raw");
                let side = |at| usize::from(u16::from_be_bytes([head[at], head[at + 1]]));
                let pixels = side(4) * side(6);
                stream.read_exact(&mut vec![0; pixels * 4]).await.unwrap();
                area += pixels;
            }
        }
    };
    within(PATIENCE, "the picture comes", conversation).await;
    other.see().await;
    assert_eq!((other.size(), scene.containers()), (size, before));
}
