//! What the kernel says of a process (proc(5)).

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::Failure;

/// `USER_HZ`, which is 100 on every architecture that Linux has in use.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process that is killed when it is dropped, together with its children.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Result<Self, Failure> {
        let name = command.get_program().to_owned();
        let child = command
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", name.display()))?;
        Ok(Self(child))
    }

    /// The first line of its standard output.
    pub(crate) fn first_line(&mut self) -> Result<String, Failure> {
        let stdout: ChildStdout = self.0.stdout.take().ok_or("its output is not piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// CPU time of the process and all its descendants so far, those included that have ended and been waited for.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        cpu_of(self.0.id())
    }

    /// Memory of the process and all its descendants in bytes: the proportional set size, which
    /// counts a page that several share as a part for each. Of a single process it grows as the resident set does.
    pub(crate) fn memory(&self) -> Result<u64, Failure> {
        let mut kibibytes = 0;
        for pid in family_of(self.0.id())? {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            kibibytes += rollup
                .lines()
                .find_map(|line| line.strip_prefix("Pss:"))
                .and_then(|value| value.split_whitespace().next())
                .map_or(Ok(0), str::parse::<u64>)?;
        }
        Ok(kibibytes * 1024)
    }

    /// The memory that the process itself has resident, in bytes.
    pub(crate) fn resident(&self) -> Result<u64, Failure> {
        self.status("VmRSS:")
    }

    /// The most memory that the process itself has had resident, in bytes.
    pub(crate) fn peak_memory(&self) -> Result<u64, Failure> {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> Result<u64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let kibibytes: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .and_then(|value| value.split_whitespace().next())
            .ok_or("the kernel does not tell how much memory it had")?
            .parse()?;
        Ok(kibibytes * 1024)
    }
}

/// CPU time of a process and all its descendants so far, those included that have ended and been waited for.
pub(crate) fn cpu_of(ancestor: u32) -> Result<Duration, Failure> {
    let mut ticks = 0;
    for pid in family_of(ancestor)? {
        // One that has ended meanwhile is counted with its parent.
        if let Ok(stat) = Stat::read(pid) {
            ticks += stat.ticks;
        }
    }
    Ok(Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND))
}

/// A process and all its descendants.
fn family_of(ancestor: u32) -> Result<Vec<u32>, Failure> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if let Ok(stat) = Stat::read(pid) {
            parents.push((pid, stat.parent));
        }
    }
    let mut family = vec![ancestor];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    Ok(family)
}

impl Drop for Process {
    fn drop(&mut self) {
        // A master that is killed leaves its workers behind, so those are ended by their ids first.
        let family = family_of(self.0.id()).unwrap_or_default();
        for pid in family.iter().rev() {
            // Some end by themselves when the one before is gone, so a failure means nothing.
            let _ = Command::new("kill")
                .arg(pid.to_string())
                .stderr(Stdio::null())
                .status();
        }
        let _ = self.0.wait();
    }
}

struct Stat {
    parent: u32,
    /// User and system time, of the process and of its children that were waited for.
    ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in parentheses, may hold anything; the third field follows it.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| -> u64 {
            fields
                .get(number - 3)
                .and_then(|field| field.parse().ok())
                .unwrap_or_default()
        };
        Ok(Self {
            parent: u32::try_from(field(4)).unwrap_or_default(),
            ticks: field(14) + field(15) + field(16) + field(17),
        })
    }
}
