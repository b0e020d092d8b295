//! The service by itself, on the fake engine: how many questions it answers, and how much memory it has.

use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::Failure;
use crate::report::{Outcome, Report, Verdict, median};
use crate::scene::{EngineKind, Scene};

/// What the service may come to rest in after its last desktop.
const SETTLING: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds of requests
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each round
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Connections, each with one request at a time
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Desktops of the memory measurement
    #[arg(long, default_value_t = 50)]
    desktops: usize,
}

#[tokio::main]
pub(crate) async fn run(arguments: &Arguments) -> Result<Report, Failure> {
    let mut report = Report::default();
    rest(arguments, &mut report).await?;
    reads(arguments, &mut report).await?;
    Ok(report)
}

async fn reads(arguments: &Arguments, report: &mut Report) -> Result<(), Failure> {
    let scene = Scene::start(EngineKind::Simulated).await?;
    let (uid, _) = scene.allocate().await?;
    let rates = rates(
        &scene,
        &uid,
        arguments.rounds,
        Duration::from_secs(arguments.seconds),
        arguments.connections,
    )
    .await?;
    let rate = median(&rates);
    report.verdicts.push(Verdict {
        measure: "`GET /api/vm/ws/{uid}`, load generator on the same cores".to_owned(),
        ours: format!("{rate:.0}/s"),
        theirs: "–".to_owned(),
        result: format!("{rate:.0}/s"),
        target: "≥ 30,000/s".to_owned(),
        outcome: Outcome::at_least(rate, 30_000.0),
    });
    let each: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
    report.remarks.push(format!(
        "Requests: {} rounds of {} s over {} kept connections, one request at a time on each, after a round that does not count: {} per second.",
        arguments.rounds, arguments.seconds, arguments.connections, each.join(", ")
    ));
    Ok(())
}

/// Requests per second for a running desktop's address: the median of rounds of three seconds on 32 connections.
pub(crate) async fn rate(scene: &Scene, uid: &str, rounds: usize) -> Result<f64, Failure> {
    Ok(median(
        &rates(scene, uid, rounds, Duration::from_secs(3), 32).await?,
    ))
}

/// Requests per second of each round.
async fn rates(
    scene: &Scene,
    uid: &str,
    rounds: usize,
    seconds: Duration,
    connections: usize,
) -> Result<Vec<f64>, Failure> {
    let mut rates = Vec::new();
    // The first round warms up.
    for round in 0..=rounds {
        let begun = Instant::now();
        let end = begun + seconds;
        let asking = (0..connections).map(|_| {
            let (address, uid) = (scene.address, uid.to_owned());
            // A task of its own each, so that the load is made on all cores.
            let task = tokio::spawn(async move {
                let stream = TcpStream::connect(address).await?;
                ask(stream, &uid, end).await
            });
            async { task.await? }
        });
        let answers: u64 = try_join_all(asking).await?.iter().sum();
        if round > 0 {
            rates.push(answers as f64 / begun.elapsed().as_secs_f64());
        }
    }
    Ok(rates)
}

/// Asks again and again until the end; how many good answers came.
async fn ask(mut stream: TcpStream, uid: &str, end: Instant) -> Result<u64, Failure> {
    stream.set_nodelay(true)?;
    let request = format!("GET /api/vm/ws/{uid} HTTP/1.1\r\nHost: bench\r\n\r\n");
    let mut buffer = vec![0; 4096];
    let mut answers = 0;
    while Instant::now() < end {
        stream.write_all(request.as_bytes()).await?;
        let mut filled = 0;
        while !is_complete(&buffer[..filled])? {
            match stream.read(&mut buffer[filled..]).await? {
                0 => return Err("the service hung up between two requests".into()),
                len => filled += len,
            }
        }
        answers += 1;
    }
    Ok(answers)
}

/// Whether an answer is all there, which has to be the one with a URL.
fn is_complete(answer: &[u8]) -> Result<bool, Failure> {
    let answer = std::str::from_utf8(answer)?;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return Ok(false);
    };
    let len: usize = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .ok_or("an answer does not say how long it is")?
        .1
        .parse()?;
    if body.len() < len {
        return Ok(false);
    }
    if head.starts_with("HTTP/1.1 200 ") && body.contains("\"url\"") {
        Ok(true)
    } else {
        Err(format!("the service answered: {answer}").into())
    }
}

async fn rest(arguments: &Arguments, report: &mut Report) -> Result<(), Failure> {
    let scene = Scene::start(EngineKind::Simulated).await?;
    let process = scene.process.as_ref().ok_or("the service does not run")?;
    let empty = process.memory()? as f64;
    try_join_all((0..arguments.desktops).map(|_| scene.allocate())).await?;
    sleep(SETTLING).await;
    let resident = process.memory()? as f64;
    let mebibytes = |bytes: f64| format!("{:.1} MiB", bytes / f64::from(1 << 20));
    report.verdicts.push(Verdict {
        measure: format!(
            "memory at rest with {} desktops on the fake engine",
            arguments.desktops
        ),
        ours: mebibytes(resident),
        theirs: "–".to_owned(),
        result: mebibytes(resident),
        target: "≤ 30 MiB".to_owned(),
        outcome: Outcome::at_most(resident, 30.0 * f64::from(1 << 20)),
    });
    report.remarks.push(format!(
        "Memory: resident (`VmRSS`) {} s after the last desktop, the fake engine included, which lives in the same process; {} when the service had just become ready.",
        SETTLING.as_secs(),
        mebibytes(empty)
    ));
    Ok(())
}
