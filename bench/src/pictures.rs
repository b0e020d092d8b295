//! What pictures of a large desktop leave in the service's memory.

use std::time::Duration;

use rfb::client::{Message, Rectangle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::Failure;
use crate::report::{Outcome, Report, Verdict};
use crate::scene::{EngineKind, Scene};

/// A desktop that may have a large screen.
const CATALOG: &str = r#"
[app.tiny]
title = "Tiny"
description = "A test picture."
image = "cosage/tiny:latest"
pull = "never"
password = true
sandbox = "user-namespaces"
memory = "1GiB"

[app.tiny.stream.vnc]
port = 5900
protocol = "rfb"
"#;

/// The screen, in pixels.
const SIZE: (u16, u16) = (3840, 2160);

/// What is asked for in turn.
const QUERIES: [&str; 4] = ["", "?format=jpeg", "?width=640", "?format=jpeg&width=1920"];

/// A frame is shared for a second, so the next picture is of a new one.
const SHARED_FOR: Duration = Duration::from_millis(1100);

/// What the service may come to rest in after the last picture.
const SETTLING: Duration = Duration::from_secs(10);

/// What may be resident then, in bytes.
const MEMORY: f64 = 40.0 * 1024.0 * 1024.0;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Pictures, each of a new frame
    #[arg(long, default_value_t = 20)]
    pictures: usize,
}

#[tokio::main]
pub(crate) async fn run(arguments: &Arguments) -> Result<Report, Failure> {
    let scene = Scene::start_with(EngineKind::Docker, Some(CATALOG)).await?;
    let process = scene.process.as_ref().ok_or("the service does not run")?;
    let (uid, stream) = scene.allocate().await?;
    let before = process.resident()? as f64;
    let mut sizes = Vec::new();
    let looked = scene.look(&stream, async |client| {
        client.set_desktop_size(SIZE.0, SIZE.1).await?;
        while client.size() != SIZE {
            if let Message::Update(rectangles) = client.message().await?
                && rectangles
                    .iter()
                    .any(|rectangle| matches!(rectangle, Rectangle::ResizeRefused { .. }))
            {
                return Err("the desktop does not take this size".into());
            }
        }
        for query in QUERIES.iter().cycle().take(arguments.pictures) {
            sleep(SHARED_FOR).await;
            sizes.push(picture(&scene, &format!("/api/vm/{uid}/screenshot{query}")).await?);
        }
        Ok(())
    });
    looked.await?;
    sleep(SETTLING).await;
    let after = process.resident()? as f64;
    let peak = process.peak_memory()? as f64;
    scene.delete(&uid).await?;

    let mebibytes = |bytes: f64| format!("{:.1} MiB", bytes / f64::from(1 << 20));
    let mut report = Report::default();
    report.verdicts.push(Verdict {
        measure: format!(
            "memory {} s after {} pictures of {} × {} pixels",
            SETTLING.as_secs(),
            arguments.pictures,
            SIZE.0,
            SIZE.1
        ),
        ours: mebibytes(after),
        theirs: "–".to_owned(),
        result: mebibytes(after),
        target: "≤ 40 MiB".to_owned(),
        outcome: Outcome::at_most(after, MEMORY),
    });
    report.remarks.push(format!(
        "Pictures: resident (`VmRSS`) {} before, {} at the peak (`VmHWM`), {} afterwards. In turn PNG, JPEG, PNG of 640 and JPEG of 1920 pixels' width, each of a new frame; {} KiB of files at the most.",
        mebibytes(before),
        mebibytes(peak),
        mebibytes(after),
        sizes.iter().max().unwrap_or(&0) / 1024,
    ));
    Ok(report)
}

/// Takes a picture; how many bytes its answer has.
async fn picture(scene: &Scene, path: &str) -> Result<usize, Failure> {
    let mut stream = TcpStream::connect(scene.address).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        scene.address
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    if answer.starts_with(b"HTTP/1.1 200 ") {
        Ok(answer.len())
    } else {
        Err(String::from_utf8_lossy(&answer).into_owned().into())
    }
}
