//! What a stream costs: throughput, CPU time, latency and memory of a relay.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::contestant::Contestant;
use crate::stream::{Client, Upstream};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds; in each, every contestant has its turn
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Seconds of each throughput measurement
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Round trips of each latency measurement
    #[arg(long, default_value_t = 5000)]
    echoes: usize,
    /// Idle viewers of the memory measurement
    #[arg(long, default_value_t = 1000)]
    viewers: usize,
}

/// websockify is a process for each viewer, so it is measured with fewer.
const WEBSOCKIFY_VIEWERS: usize = 50;

/// Viewers before memory is first looked at, so that what is there only once is not counted.
const FIRST_VIEWERS: usize = 20;

/// The medians of one contestant.
struct Row {
    name: &'static str,
    /// Bytes per second.
    throughput: f64,
    /// CPU-seconds per 10⁹ bytes.
    cpu: f64,
    p50: f64,
    p99: f64,
    /// Bytes per idle viewer.
    memory: Option<f64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let flooded = contestants(Upstream::Flood)?;
    let mut throughput = samples(flooded.len());
    let mut cpu = samples(flooded.len());
    for _ in 0..arguments.rounds {
        for (index, contestant) in flooded.iter().enumerate() {
            let (bytes_per_second, seconds_per_gigabyte) =
                flood(contestant, Duration::from_secs(arguments.seconds))?;
            throughput[index].push(bytes_per_second);
            cpu[index].push(seconds_per_gigabyte);
        }
    }
    drop(flooded);

    stay_on_one_core()?;
    let echoing = contestants(Upstream::Echo)?;
    let mut p50 = samples(echoing.len());
    let mut p99 = samples(echoing.len());
    for _ in 0..arguments.rounds {
        for (index, contestant) in echoing.iter().enumerate() {
            let mut microseconds = echo(contestant, arguments.echoes)?;
            p50[index].push(quantile(&mut microseconds, 0.5));
            p99[index].push(quantile(&mut microseconds, 0.99));
        }
    }

    let mut rows = Vec::new();
    for (index, contestant) in echoing.iter().enumerate() {
        let viewers = match index {
            0 => Some(arguments.viewers),
            2 => Some(WEBSOCKIFY_VIEWERS),
            _ => None,
        };
        rows.push(Row {
            name: contestant.name,
            throughput: quantile(&mut throughput[index], 0.5),
            cpu: quantile(&mut cpu[index], 0.5),
            p50: quantile(&mut p50[index], 0.5),
            p99: quantile(&mut p99[index], 0.5),
            memory: viewers
                .map(|viewers| idle(contestant, viewers))
                .transpose()?,
        });
    }
    print(arguments, &rows);
    Ok(())
}

fn contestants(upstream: Upstream) -> Result<[Contestant; 5], Failure> {
    let upstream = upstream.start()?;
    Ok([
        Contestant::gateway(upstream)?,
        Contestant::plain(upstream)?,
        Contestant::nginx_and_websockify(upstream)?,
        Contestant::nginx_and_gateway(upstream)?,
        Contestant::direct(upstream),
    ])
}

/// From now on this process, and those it starts, have one core. What a round trip takes on several depends more on
/// which of them the processes happen to meet on, and on how long an idle one takes to wake up, than on what they do.
fn stay_on_one_core() -> Result<(), Failure> {
    let mut one = rustix::thread::CpuSet::new();
    let mine = rustix::thread::sched_getaffinity(None)?;
    let first = (0..rustix::thread::CpuSet::MAX_CPU).find(|&core| mine.is_set(core));
    one.set(first.ok_or("this process may run on no core")?);
    Ok(rustix::thread::sched_setaffinity(None, &one)?)
}

fn samples(contestants: usize) -> Vec<Vec<f64>> {
    vec![Vec::new(); contestants]
}

/// One connection, as fast as it goes: bytes per second, and CPU-seconds of the relay per 10⁹ bytes.
fn flood(contestant: &Contestant, time: Duration) -> Result<(f64, f64), Failure> {
    let mut client = Client::connect(contestant.address, contestant.dialect)?;
    let mut buffer = vec![0; 256 * 1024];
    let warm = Instant::now();
    while warm.elapsed() < Duration::from_millis(300) {
        client.take(&mut buffer)?;
    }
    let cpu = contestant.cpu()?;
    let begun = Instant::now();
    let mut bytes = 0;
    while begun.elapsed() < time {
        bytes += client.take(&mut buffer)?;
    }
    let elapsed = begun.elapsed();
    let cpu = contestant.cpu()?.saturating_sub(cpu);
    let bytes = bytes as f64;
    Ok((
        bytes / elapsed.as_secs_f64(),
        cpu.as_secs_f64() / (bytes / 1e9),
    ))
}

/// Round trips of ten bytes, in microseconds.
fn echo(contestant: &Contestant, count: usize) -> Result<Vec<f64>, Failure> {
    let mut client = Client::connect(contestant.address, contestant.dialect)?;
    for _ in 0..count / 10 {
        client.echo()?;
    }
    let mut microseconds = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        client.echo()?;
        microseconds.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok(microseconds)
}

/// Growth of the relay's memory for each viewer that has sent and got something once, in bytes.
fn idle(contestant: &Contestant, viewers: usize) -> Result<f64, Failure> {
    let viewer = || -> Result<Client, Failure> {
        let mut client = Client::connect(contestant.address, contestant.dialect)?;
        client.echo()?;
        Ok(client)
    };
    let _first = (0..FIRST_VIEWERS)
        .map(|_| viewer())
        .collect::<Result<Vec<_>, _>>()?;
    let before = contestant.memory()?;
    let _viewers = (0..viewers)
        .map(|_| viewer())
        .collect::<Result<Vec<_>, _>>()?;
    let after = contestant.memory()?;
    Ok(after.saturating_sub(before) as f64 / viewers as f64)
}

pub(crate) fn quantile(samples: &mut [f64], quantile: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let index = (samples.len().saturating_sub(1)) as f64 * quantile;
    samples
        .get(index.round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

fn print(arguments: &Arguments, rows: &[Row]) {
    println!(
        "| relay | down, one connection | CPU-s/GB | echo of 10 bytes p50 / p99 | memory per idle viewer |"
    );
    println!("|---|---|---|---|---|");
    for row in rows {
        println!(
            "| {} | {:.0} MB/s | {:.2} | {:.0} µs / {:.0} µs | {} |",
            row.name,
            row.throughput / 1e6,
            row.cpu,
            row.p50,
            row.p99,
            row.memory.map_or("–".to_owned(), |bytes| format!(
                "{:.1} KiB",
                bytes / 1024.0
            )),
        );
    }
    let [gateway, others @ .., direct] = rows else {
        return;
    };
    println!();
    for other in others {
        println!(
            "- against {}: {:.2} × the throughput, {:.2} × the CPU per GB, {:.2} × the added latency (p50)",
            other.name,
            gateway.throughput / other.throughput,
            gateway.cpu / other.cpu,
            (gateway.p50 - direct.p50) / (other.p50 - direct.p50),
        );
    }
    println!(
        "- medians of {} rounds in turn; {} s and {} round trips each; memory of {} idle viewers ({} of websockify). Round trips with all on one core",
        arguments.rounds,
        arguments.seconds,
        arguments.echoes,
        arguments.viewers,
        WEBSOCKIFY_VIEWERS,
    );
}
