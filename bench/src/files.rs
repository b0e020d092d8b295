//! A large file into a desktop's home and out of it again, against `docker cp`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::Failure;
use crate::report::{Outcome, Report, Verdict, median, milliseconds};
use crate::scene::{EngineKind, Scene, docker};

/// A tiny desktop with a home.
const CATALOG: &str = r#"
[app.tiny]
title = "Tiny"
description = "A test picture, and a home."
image = "cosage/tiny:latest"
pull = "never"
password = true
sandbox = "user-namespaces"
home = "/home/user"

[app.tiny.stream.vnc]
port = 5900
protocol = "rfb"
"#;

/// What the service may have in memory at most.
const MEMORY: f64 = 64.0 * 1024.0 * 1024.0;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds, each with both sides in turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Size of the file in MiB
    #[arg(long, default_value_t = 1024)]
    size: u64,
}

#[tokio::main]
pub(crate) async fn run(arguments: &Arguments) -> Result<Report, Failure> {
    let scene = Scene::start_with(EngineKind::Docker, Some(CATALOG)).await?;
    let (uid, _) = scene.allocate().await?;
    let bytes = arguments.size << 20;
    let container = format!("{}-{uid}", scene.name);
    let file = scene.directory.path().join("file");
    make(&file, bytes)?;
    let copy = scene.directory.path().join("copy");
    let path = format!("/api/vm/{uid}/files/ours");
    let inside = format!("{container}:/home/user/theirs");
    let outside = file.display().to_string();
    let fetched = copy.display().to_string();

    let mut samples = [const { Vec::new() }; 4];
    // The first round warms up.
    for round in 0..=arguments.rounds {
        let times = [
            timed(|| put(scene.address, &path, &file, bytes))?,
            timed(|| docker(&["cp", &outside, &inside]).map(drop))?,
            timed(|| get(scene.address, &path, &copy, bytes))?,
            timed(|| docker(&["cp", &inside, &fetched]).map(drop))?,
        ];
        if round > 0 {
            for (samples, time) in samples.iter_mut().zip(times) {
                samples.push(time);
            }
        }
    }
    let process = scene.process.as_ref().ok_or("the service does not run")?;
    let peak = process.peak_memory()? as f64;
    scene.delete(&uid).await?;

    let [up, their_up, down, their_down] = &samples;
    let mut report = Report::default();
    let mib = arguments.size;
    for (what, ours, theirs) in [
        (
            format!("upload of {mib} MiB to a home; against `docker cp`"),
            up,
            their_up,
        ),
        (
            format!("download of {mib} MiB; against `docker cp`"),
            down,
            their_down,
        ),
    ] {
        let speed = |samples| mib as f64 / median(samples);
        let ratio = speed(ours) / speed(theirs);
        report.verdicts.push(Verdict {
            measure: what,
            ours: format!("{:.0} MiB/s", speed(ours)),
            theirs: format!("{:.0} MiB/s", speed(theirs)),
            result: format!("{ratio:.2} ×"),
            target: "≥ 0.5 ×".to_owned(),
            outcome: Outcome::at_least(ratio, 0.5),
        });
    }
    let peak_text = format!("{:.1} MiB", peak / f64::from(1 << 20));
    report.verdicts.push(Verdict {
        measure: "the service's peak memory meanwhile".to_owned(),
        ours: peak_text.clone(),
        theirs: "–".to_owned(),
        result: peak_text,
        target: "< 64 MiB".to_owned(),
        outcome: Outcome::at_most(peak, MEMORY),
    });
    report.remarks.push(format!(
        "Files: {} rounds in turn after one that does not count; what was written before is on the disk before each. Up: CoSage {}, `docker cp` {}. Down, into a file: CoSage {}, `docker cp` {}. Peak memory: `VmHWM`.",
        arguments.rounds,
        milliseconds(up),
        milliseconds(their_up),
        milliseconds(down),
        milliseconds(their_down),
    ));
    Ok(report)
}

/// How long it takes, in seconds, begun when nothing waits to be written to the disk.
fn timed(transfer: impl FnOnce() -> Result<(), Failure>) -> Result<f64, Failure> {
    Command::new("sync").status()?;
    let begun = Instant::now();
    transfer()?;
    Ok(begun.elapsed().as_secs_f64())
}

/// A file that no file system stores in less than its size.
fn make(path: &Path, len: u64) -> io::Result<()> {
    let mut random = File::open("/dev/urandom")?.take(len);
    io::copy(&mut random, &mut File::create(path)?).map(drop)
}

fn put(address: SocketAddr, path: &str, file: &Path, len: u64) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "PUT {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n"
    )?;
    io::copy(&mut File::open(file)?, &mut stream)?;
    let head = head(&mut BufReader::new(stream))?;
    if head.starts_with("HTTP/1.1 20") {
        Ok(())
    } else {
        Err(format!("the upload failed: {head}").into())
    }
}

fn get(address: SocketAddr, path: &str, file: &Path, len: u64) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
    )?;
    let mut stream = BufReader::new(stream);
    let head = head(&mut stream)?;
    let mut file = File::create(file)?;
    let early = stream.buffer().to_vec();
    file.write_all(&early)?;
    // Past the buffer, so that the kernel does the copying, as it does for whom this is compared with.
    let copied = io::copy(&mut stream.into_inner(), &mut file)? + early.len() as u64;
    if copied == len {
        Ok(())
    } else {
        Err(format!("{copied} bytes came of {len}: {head}").into())
    }
}

/// The head of an answer.
fn head(stream: &mut impl BufRead) -> Result<String, Failure> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(format!("the service hung up: {head}").into());
        }
    }
    Ok(head)
}
