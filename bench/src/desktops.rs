//! Desktops on a real Docker Engine, against `docker run` of the same image.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::future::try_join_all;
use rfb::client::{Client, Sharing};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::Failure;
use crate::report::{Outcome, Report, Verdict, median, milliseconds};
use crate::scene::{EngineKind, PATIENCE, Scene, docker};

const IMAGE: &str = "cosage/tiny:latest";

/// The one that the service gives to its desktops that confine themselves with user namespaces.
const SECCOMP: &str = include_str!("../../images/seccomp.json");

/// VNC authentication takes eight characters.
const PASSWORD: &str = "benchmrk";

const VNC_PORT: u16 = 5900;

/// Between two tries of somebody who waits for a container's server.
const RETRY: Duration = Duration::from_millis(5);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds of a single desktop
    #[arg(long, default_value_t = 9)]
    pub(crate) rounds: usize,
    /// Rounds of many desktops at the same moment
    #[arg(long, default_value_t = 3)]
    pub(crate) storms: usize,
    /// Desktops at the same moment
    #[arg(long, default_value_t = 20)]
    pub(crate) many: usize,
}

#[tokio::main]
pub(crate) async fn run(arguments: &Arguments) -> Result<Report, Failure> {
    docker(&["image", "inspect", "--format", "{{.Id}}", IMAGE])
        .map_err(|error| format!("{error}; build the image with: images/build tiny"))?;
    let scene = Scene::start(EngineKind::Docker).await?;
    let seccomp = scene.directory.path().join("seccomp.json");
    fs::write(&seccomp, SECCOMP)?;
    let measured = async {
        let mut report = Report::default();
        one(&scene, &seccomp, arguments.rounds, &mut report).await?;
        many(&scene, &seccomp, arguments, &mut report).await?;
        Ok(report)
    };
    // Whoever interrupts it does not want to be left with its containers.
    tokio::select! {
        report = measured => report,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    }
}

async fn one(
    scene: &Scene,
    seccomp: &Path,
    rounds: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut ours = Vec::new();
    let mut answers = Vec::new();
    let mut theirs = Vec::new();
    let mut inspections = Vec::new();
    // The first of each pays for what is there ever after: network, page cache.
    for round in 0..=rounds {
        let begun = Instant::now();
        let (uid, url) = scene.allocate().await?;
        let answered = begun.elapsed().as_secs_f64();
        scene.see(&url).await?;
        let seen = begun.elapsed().as_secs_f64();
        scene.delete(&uid).await?;

        let name = format!("{}-plain-{round}", scene.name);
        let begun = Instant::now();
        let (address, inspection) = docker_run(scene, seccomp, &name).await?;
        timeout(PATIENCE, see_directly(address)).await?;
        let seen_directly = begun.elapsed().as_secs_f64();
        docker(&["rm", "--force", "--volumes", &name])?;

        if round > 0 {
            answers.push(answered);
            ours.push(seen);
            theirs.push(seen_directly);
            inspections.push(inspection.as_secs_f64());
        }
    }
    let ratio = median(&ours) / median(&theirs);
    report.verdicts.push(Verdict {
        measure: "`POST allocate` until the first full framebuffer, tiny desktop; against `docker run -d` and a direct RFB client".to_owned(),
        ours: format!("{:.0} ms", median(&ours) * 1e3),
        theirs: format!("{:.0} ms", median(&theirs) * 1e3),
        result: format!("{ratio:.2} ×"),
        target: "≤ 1.25 ×".to_owned(),
        outcome: Outcome::at_most(ratio, 1.25),
    });
    let without = median(&theirs) - median(&inspections);
    report.remarks.push(format!(
        "One desktop, {rounds} rounds in turn after one that does not count. CoSage {} (its answer after {:.0} ms, median); `docker run` {}. \
         The latter include `docker inspect` for the address, {:.0} ms; against `docker run` without it, CoSage takes {:.2} ×.",
        milliseconds(&ours),
        median(&answers) * 1e3,
        milliseconds(&theirs),
        median(&inspections) * 1e3,
        median(&ours) / without,
    ));
    Ok(())
}

async fn many(
    scene: &Scene,
    seccomp: &Path,
    arguments: &Arguments,
    report: &mut Report,
) -> Result<(), Failure> {
    let many = arguments.many;
    let mut answers = Vec::new();
    let mut pictures = Vec::new();
    let mut theirs = Vec::new();
    for round in 0..arguments.storms {
        let begun = Instant::now();
        let desktops = try_join_all((0..many).map(|_| async {
            let (uid, url) = scene.allocate().await?;
            let answered = begun.elapsed();
            scene.see(&url).await?;
            Ok::<_, Failure>((uid, answered))
        }))
        .await?;
        pictures.push(begun.elapsed().as_secs_f64());
        let last_answer = desktops.iter().map(|(_, answered)| *answered).max();
        answers.push(last_answer.unwrap_or_default().as_secs_f64());
        try_join_all(desktops.iter().map(|(uid, _)| scene.delete(uid))).await?;

        let names: Vec<String> = (0..many)
            .map(|index| format!("{}-storm-{round}-{index}", scene.name))
            .collect();
        let begun = Instant::now();
        try_join_all(names.iter().map(|name| async move {
            let (address, _) = docker_run(scene, seccomp, name).await?;
            Ok::<_, Failure>(timeout(PATIENCE, banner(address)).await?)
        }))
        .await?;
        theirs.push(begun.elapsed().as_secs_f64());
        let mut words = vec!["rm", "--force", "--volumes"];
        words.extend(names.iter().map(String::as_str));
        docker(&words)?;
    }
    let ratio = median(&pictures) / median(&theirs);
    report.verdicts.push(Verdict {
        measure: format!("{many} allocations at the same moment until all have their first full framebuffer; against {many} `docker run -d` in parallel until all RFB banners"),
        ours: format!("{:.2} s", median(&pictures)),
        theirs: format!("{:.2} s", median(&theirs)),
        result: format!("{ratio:.2} ×, all succeeded"),
        target: "≤ 1.3 ×, all succeed".to_owned(),
        outcome: Outcome::at_most(ratio, 1.3),
    });
    report.remarks.push(format!(
        "{many} desktops, {} rounds in turn. CoSage {}, its last answer after {}; `docker run` {}. \
         An answer says that the RFB banner was read, so like against like is {:.2} ×.",
        arguments.storms,
        milliseconds(&pictures),
        milliseconds(&answers),
        milliseconds(&theirs),
        median(&answers) / median(&theirs),
    ));
    Ok(())
}

/// Runs a container as the service would; its address, and how long it took to ask for that.
async fn docker_run(
    scene: &Scene,
    seccomp: &Path,
    name: &str,
) -> Result<(IpAddr, Duration), Failure> {
    let seccomp = format!("seccomp={}", seccomp.display());
    let password = format!("COSAGE_VNC_PASSWORD={PASSWORD}");
    #[rustfmt::skip]
    let words = [
        "run", "--detach", "--name", name, "--hostname", "tiny", "--network", &scene.name,
        "--security-opt", "no-new-privileges", "--security-opt", &seccomp, "--cap-drop", "ALL",
        "--memory", "256m", "--memory-swap", "256m", "--cpus", "1", "--pids-limit", "128",
        "--shm-size", "64m", "--ipc", "private", "--expose", "5900/tcp", "--log-driver", "json-file",
        "--log-opt", "max-size=1m", "--log-opt", "max-file=2", "--env", &password, IMAGE,
    ];
    let id = cli(&words).await?;
    let begun = Instant::now();
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = cli(&["inspect", "--format", format, &id]).await?;
    Ok((address.parse()?, begun.elapsed()))
}

/// What a `docker` command prints, while others go on.
async fn cli(words: &[&str]) -> Result<String, Failure> {
    let output = Command::new("docker").args(words).output().await?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        // The words hold a password, though only a measurement's; the complaint is enough.
        Err(String::from_utf8_lossy(&output.stderr).trim().into())
    }
}

/// Tries until the whole first picture has come.
async fn see_directly(address: IpAddr) {
    let attempt = async || {
        let stream = TcpStream::connect((address, VNC_PORT)).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let client = Client::start(stream, Some(PASSWORD), Sharing::Shared).await;
        client.ok()?.full_picture().await.ok()
    };
    while attempt().await.is_none() {
        sleep(RETRY).await;
    }
}

/// Tries until the server says which version it speaks (RFC 6143, 7.1.1).
async fn banner(address: IpAddr) {
    let attempt = async || {
        let mut banner = [0; 12];
        let mut stream = TcpStream::connect((address, VNC_PORT)).await.ok()?;
        stream.read_exact(&mut banner).await.ok()?;
        banner.starts_with(b"RFB ").then_some(())
    };
    while attempt().await.is_none() {
        sleep(RETRY).await;
    }
}
