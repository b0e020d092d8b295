//! All measurements, one after the other, and the file that tells of them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread::available_parallelism;

use crate::Failure;
use crate::desktops;
use crate::report::{Outcome, Report, Verdict};
use crate::scene::docker;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The file that is written
    #[arg(long, default_value = "bench/RESULTS.md")]
    output: PathBuf,
    #[command(flatten)]
    desktops: desktops::Arguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let machine = machine()?;
    let before = load()?;
    let desktops = desktops::run(&arguments.desktops)?;
    let service = own_section("service")?;
    let sleeping = own_section("sleeping")?;
    let files = own_section("files")?;
    let pictures = own_section("pictures")?;
    let sound = own_section("sound")?;
    let console = printed("console.mjs", Command::new("node").arg("bench/console.mjs"))?;
    let relay = own("relay")?;
    let verdicts = Report {
        verdicts: relay_verdicts(&relay)?,
        remarks: Vec::new(),
    };
    let words = std::env::args()
        .skip(1)
        .map(|word| format!(" {word}"))
        .collect::<String>();
    let text = format!(
        "# Results\n\n\
         Written by `cargo run --release -p cosage-bench --{words}`, after `cargo build --release -p cosage`. \
         Medians; both sides of a comparison in turn in the same run.\n\n\
         {machine}; load average before the first measurement {before}.\n\n\
         ## Desktops on Docker\n\n{}\n## The service by itself\n\n{service}\n\
         ## Desktops that sleep\n\n{sleeping}\n\
         ## Files of a home\n\n{files}\n\
         ## Pictures\n\n{pictures}\n\
         ## Sound\n\n{sound}\n\
         ## The console\n\n{console}\n\
         ## The relay\n\n{}\n{relay}",
        desktops.markdown(),
        verdicts.markdown().trim_end().to_owned() + "\n",
    );
    fs::write(&arguments.output, text)
        .map_err(|error| format!("{}: {error}", arguments.output.display()))?;
    println!("{}", arguments.output.display());
    Ok(())
}

fn own_section(command: &str) -> Result<String, Failure> {
    Ok(own(command)?.trim_end().to_owned() + "\n")
}

/// What a sub-command prints, run in a process of its own as by hand.
fn own(command: &str) -> Result<String, Failure> {
    printed(command, Command::new(std::env::current_exe()?).arg(command))
}

fn printed(name: &str, command: &mut Command) -> Result<String, Failure> {
    let output = command.output()?;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)?)
    } else {
        let complaint = String::from_utf8_lossy(&output.stderr);
        Err(format!("{name}: {}", complaint.trim()).into())
    }
}

fn machine() -> Result<String, Failure> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(": "))
        .map_or("unknown", |(_, model)| model);
    Ok(format!(
        "Machine: {} cores ({model}), Linux {}, Docker Engine {}",
        available_parallelism()?,
        fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
        docker(&["version", "--format", "{{.Server.Version}}"])?,
    ))
}

/// The load averages of the last 1, 5 and 15 minutes.
fn load() -> Result<String, Failure> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let words: Vec<&str> = text.split(' ').take(3).collect();
    Ok(words.join(", "))
}

/// The numbers of one line of the relay's table.
struct Line {
    name: String,
    megabytes_per_second: f64,
    cpu: f64,
    p50: f64,
    /// KiB per idle viewer.
    resident: Option<f64>,
}

/// Reads the table that `relay` prints.
fn lines(table: &str) -> Result<Vec<Line>, Failure> {
    let number = |cell: &str| -> Option<f64> { cell.split_whitespace().next()?.parse().ok() };
    table
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [name, throughput, cpu, latency, resident] = cells[..] else {
                return Err(format!("not a line of the relay's table: {line}").into());
            };
            let needed = |cell| number(cell).ok_or_else(|| format!("not a number: {cell}"));
            Ok(Line {
                name: name.to_owned(),
                megabytes_per_second: needed(throughput)?,
                cpu: needed(cpu)?,
                p50: needed(latency)?,
                resident: number(resident),
            })
        })
        .collect()
}

fn relay_verdicts(table: &str) -> Result<Vec<Verdict>, Failure> {
    let lines = lines(table)?;
    let [ours, plain, nginx, behind_nginx, direct] = &lines[..] else {
        return Err("the relay's table has not five lines".into());
    };
    let throughput = |of: &Line, other: &Line, bound: f64| {
        let ratio = of.megabytes_per_second / other.megabytes_per_second;
        Verdict {
            measure: format!(
                "throughput of {}, one connection; against {}",
                of.name, other.name
            ),
            ours: format!("{:.0} MB/s", of.megabytes_per_second),
            theirs: format!("{:.0} MB/s", other.megabytes_per_second),
            result: format!("{ratio:.2} ×"),
            target: format!("≥ {bound} ×"),
            outcome: Outcome::at_least(ratio, bound),
        }
    };
    let cpu = ours.cpu / nginx.cpu;
    // What a relay adds to the same round trip without one.
    let (added, added_by_nginx) = (ours.p50 - direct.p50, nginx.p50 - direct.p50);
    let latency = added / added_by_nginx;
    let whole = behind_nginx.p50 / nginx.p50;
    let resident = ours.resident.ok_or("no memory of the gateway's viewers")?;
    Ok(vec![
        throughput(ours, plain, 0.85),
        throughput(ours, nginx, 2.0),
        throughput(behind_nginx, nginx, 0.95),
        Verdict {
            measure: format!(
                "round trip of 10 bytes through {}, p50; against {}",
                behind_nginx.name, nginx.name
            ),
            ours: format!("{:.0} µs", behind_nginx.p50),
            theirs: format!("{:.0} µs", nginx.p50),
            result: format!("{whole:.2} ×"),
            target: "≤ 0.99 ×".to_owned(),
            outcome: Outcome::at_most(whole, 0.99),
        },
        Verdict {
            measure: format!("CPU per GB; against {}", nginx.name),
            ours: format!("{:.2} s", ours.cpu),
            theirs: format!("{:.2} s", nginx.cpu),
            result: format!("{cpu:.2} ×"),
            target: "≤ 0.33 ×".to_owned(),
            outcome: Outcome::at_most(cpu, 1.0 / 3.0),
        },
        Verdict {
            measure: format!(
                "added round-trip latency of 10 bytes, p50; against {}",
                nginx.name
            ),
            ours: format!("{added:.0} µs"),
            theirs: format!("{added_by_nginx:.0} µs"),
            result: format!("{latency:.2} ×"),
            target: "≤ 0.5 ×".to_owned(),
            outcome: Outcome::at_most(latency, 0.5),
        },
        Verdict {
            measure: "memory per idle viewer".to_owned(),
            ours: format!("{resident:.1} KiB"),
            theirs: "–".to_owned(),
            result: format!("{resident:.1} KiB"),
            target: "≤ 12 KiB".to_owned(),
            outcome: Outcome::at_most(resident, 12.0),
        },
    ])
}
