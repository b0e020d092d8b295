//! The sound of a desktop: how late it is at the WebSocket, and what ten listeners cost against one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_websockets::{ClientBuilder, MaybeTlsStream, WebSocketStream};

use crate::Failure;
use crate::process::cpu_of;
use crate::report::{Outcome, Report, Verdict, median, milliseconds};
use crate::scene::{EngineKind, PATIENCE, Scene, docker};

/// What scenes allocate, sounding: see `images/tone`, whose tone begins with each second of the clock.
const CATALOG: &str = r#"
[app.tiny]
title = "Tone"
description = "Sounds for a part of each second."
image = "cosage/tone-test:latest"
pull = "never"
password = true
sandbox = "user-namespaces"

[app.tiny.stream.vnc]
port = 5900
protocol = "rfb"

[app.tiny.stream.audio]
port = 5901
protocol = "webm"
"#;

const IMAGE: &str = "cosage/tone-test:latest";

/// More than a cluster of silence has, and less than one with the tone in it.
const SOUND: usize = 150;

/// How long a tone must have been silent before its next beginning counts.
const SILENT_CLUSTERS: u32 = 3;

/// What sound may take from the application to the WebSocket, in seconds.
const LATENCY: f64 = 0.150;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds of each number of listeners
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each round
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Tones whose latency is measured
    #[arg(long, default_value_t = 15)]
    tones: usize,
}

#[tokio::main]
pub(crate) async fn run(arguments: &Arguments) -> Result<Report, Failure> {
    docker(&["image", "inspect", "--format", "{{.Id}}", IMAGE])
        .map_err(|error| format!("{error}; build the image with: images/build tone"))?;
    let scene = Scene::start_with(EngineKind::Docker, Some(CATALOG)).await?;
    let (uid, url) = scene.allocate().await?;
    let stream = format!("ws://{}{}", scene.address, url.replace("/vnc", "/audio"));
    let mut report = Report::default();
    late(&stream, arguments, &mut report).await?;
    cost(&scene, &uid, &stream, arguments, &mut report).await?;
    scene.delete(&uid).await?;
    Ok(report)
}

async fn late(stream: &str, arguments: &Arguments, report: &mut Report) -> Result<(), Failure> {
    let mut socket = listen(stream).await?;
    let mut latencies = Vec::new();
    let mut silent = 0;
    while latencies.len() < arguments.tones {
        let part = next(&mut socket).await?;
        if part < SOUND {
            silent += 1;
        } else {
            if silent >= SILENT_CLUSTERS {
                let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
                latencies.push(f64::from(now.subsec_micros()) / 1e6);
            }
            silent = 0;
        }
    }
    let latency = median(&latencies);
    report.verdicts.push(Verdict {
        measure: "from a sound in the desktop to its bytes at the WebSocket".to_owned(),
        ours: format!("{:.0} ms", latency * 1e3),
        theirs: "–".to_owned(),
        result: format!("{:.0} ms", latency * 1e3),
        target: format!("< {:.0} ms", LATENCY * 1e3),
        outcome: Outcome::at_most(latency, LATENCY),
    });
    report.remarks.push(format!(
        "Sound: an application hands 440 Hz to the sound server at each whole second; the first cluster with it came after {}. \
         20 ms of that are the application's own buffer, and 40 ms a cluster.",
        milliseconds(&latencies)
    ));
    Ok(())
}

async fn cost(
    scene: &Scene,
    uid: &str,
    stream: &str,
    arguments: &Arguments,
    report: &mut Report,
) -> Result<(), Failure> {
    let container = format!("{}-{uid}", scene.name);
    let init: u32 = docker(&["inspect", "--format", "{{.State.Pid}}", &container])?.parse()?;
    let service = scene.process.as_ref().ok_or("the service does not run")?;
    let listeners = [0, 1, 10];
    let mut cores = [const { Vec::new() }; 3];
    let mut of_service = [const { Vec::new() }; 3];
    for _ in 0..arguments.rounds {
        for (index, count) in listeners.into_iter().enumerate() {
            let mut tasks = JoinSet::new();
            for _ in 0..count {
                let mut socket = listen(stream).await?;
                next(&mut socket).await?;
                tasks.spawn(async move { while next(&mut socket).await.is_ok() {} });
            }
            // What begins and ends is not what listening costs.
            sleep(Duration::from_secs(1)).await;
            let before = (service.cpu()?, cpu_of(init)?);
            sleep(Duration::from_secs(arguments.seconds)).await;
            let used = (service.cpu()? - before.0, cpu_of(init)? - before.1);
            let seconds = arguments.seconds as f64;
            of_service[index].push(used.0.as_secs_f64() / seconds);
            cores[index].push((used.0 + used.1).as_secs_f64() / seconds);
        }
    }
    let [none, one, ten] = cores.each_ref().map(|samples| median(samples));
    let ratio = ten / one;
    let percent = |cores: f64| format!("{:.1} % of a core", cores * 100.0);
    report.verdicts.push(Verdict {
        measure:
            "10 listeners of one desktop, CPU of service and container together; against 1 listener"
                .to_owned(),
        ours: percent(ten),
        theirs: percent(one),
        result: format!("{ratio:.2} ×"),
        target: "≤ 1.5 ×".to_owned(),
        outcome: Outcome::at_most(ratio, 1.5),
    });
    let [_, service_one, service_ten] = of_service.each_ref().map(|samples| median(samples));
    report.remarks.push(format!(
        "Listeners: {} rounds of {} s for each number in turn. Without one, while the application sounds: {}; of the others the service \
         took {} with one and {} with ten.",
        arguments.rounds,
        arguments.seconds,
        percent(none),
        percent(service_one),
        percent(service_ten),
    ));
    Ok(())
}

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

async fn listen(stream: &str) -> Result<Socket, Failure> {
    let builder = ClientBuilder::new().uri(stream)?;
    Ok(timeout(PATIENCE, builder.connect()).await??.0)
}

/// The length of the next part in bytes.
async fn next(socket: &mut Socket) -> Result<usize, Failure> {
    loop {
        let message = timeout(PATIENCE, socket.next())
            .await?
            .ok_or("the sound ended")??;
        if message.is_close() {
            return Err("the service closed the sound".into());
        }
        if message.is_binary() {
            return Ok(message.as_payload().len());
        }
    }
}
