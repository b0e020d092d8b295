//! Verdicts on the host: its kernel, ports and disks.

use std::ops::Range;

use super::super::Finding;
use super::App;
use crate::cli::output::bytes;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What sandboxes its content and may use less than this is no browser.
const BROWSER_MEMORY: u64 = 512 * MIB;

/// A browser with less than this as `/dev/shm` loses tabs.
const BROWSER_SHARED_MEMORY: u64 = 256 * MIB;

/// What X servers share with their clients in one piece at most: two 4K pictures.
const SEGMENT: u64 = 64 * MIB;

/// User namespaces that a few browsers take.
const NAMESPACES: u64 = 1_000;

/// What the kernel allows; absent where it has no such setting, or is not Linux.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Kernel {
    /// `user.max_user_namespaces`.
    pub(in super::super) user_namespaces: Option<u64>,
    /// Debian's `kernel.unprivileged_userns_clone`: 0 forbids them.
    pub(in super::super) unprivileged_namespaces: Option<u64>,
    /// `kernel.shmmax`, in bytes.
    pub(in super::super) largest_segment: Option<u64>,
}

/// The stream keys' range.
#[derive(Clone, Debug)]
pub(in super::super) struct Ports {
    pub(in super::super) range: Range<u16>,
    /// How many can be bound now.
    pub(in super::super) free: usize,
    /// How many the running desktops hold.
    pub(in super::super) held: usize,
    /// How many the system does not let this user bind.
    pub(in super::super) forbidden: usize,
    /// First and last port that the kernel gives to connections of its own choice.
    pub(in super::super) ephemeral: Option<(u16, u16)>,
}

/// What is there of file descriptors.
#[derive(Clone, Debug)]
pub(in super::super) struct Descriptors {
    /// How many a process that is started from here may have; `None` is no limit.
    pub(in super::super) limit: Option<u64>,
    /// How many desktops may run at a time.
    pub(in super::super) desktops: usize,
    /// How many they need, with a viewer each.
    pub(in super::super) needed: u64,
}

/// A file system.
#[derive(Clone, Debug)]
pub(in super::super) struct Disk {
    /// What is kept there.
    pub(in super::super) what: &'static str,
    pub(in super::super) path: String,
    /// In bytes, for whoever may not use the reserve.
    pub(in super::super) free: u64,
    pub(in super::super) total: u64,
}

pub(super) fn shared_memory(apps: &[App], memory: Option<u64>, kernel: Option<&Kernel>) -> Finding {
    const CHECK: &str = "shared memory";
    if let Some(largest) = kernel.and_then(|kernel| kernel.largest_segment)
        && largest < SEGMENT
    {
        return Finding::problem(
            CHECK,
            format!(
                "the kernel shares {} in one piece at most, too little for a large screen",
                bytes(largest)
            ),
            format!("sysctl kernel.shmmax={}", u64::MAX >> 1),
        );
    }
    if let Some((app, memory)) = memory.and_then(|memory| {
        let app = apps.iter().find(|app| app.shared_memory > memory)?;
        Some((app, memory))
    }) {
        return Finding::problem(
            CHECK,
            format!(
                "'{}' may share {}, and the engine's host has {} of memory",
                app.name,
                bytes(app.shared_memory),
                bytes(memory)
            ),
            "lower its shared_memory in the catalogue",
        );
    }
    let small = |app: &&App| {
        let is_browser = app.sandboxes && app.memory.is_none_or(|memory| memory >= BROWSER_MEMORY);
        is_browser && app.shared_memory < BROWSER_SHARED_MEMORY
    };
    match apps.iter().find(small) {
        Some(app) => Finding::warning(
            CHECK,
            format!(
                "'{}' has {}, which is little for a browser",
                app.name,
                bytes(app.shared_memory)
            ),
            "set its shared_memory in the catalogue to 512MiB",
        ),
        None => Finding::ok(CHECK, "enough for the catalogue's apps"),
    }
}

pub(super) fn namespaces(kernel: &Kernel, apps: &[App]) -> Option<Finding> {
    const CHECK: &str = "namespaces";
    let app = apps.iter().find(|app| app.sandboxes)?;
    if kernel.unprivileged_namespaces == Some(0) {
        return Some(Finding::problem(
            CHECK,
            format!(
                "the kernel forbids user namespaces, so '{}' cannot sandbox web pages",
                app.name
            ),
            "sysctl kernel.unprivileged_userns_clone=1",
        ));
    }
    let most = kernel.user_namespaces?;
    Some(match most {
        0 => Finding::problem(
            CHECK,
            format!(
                "the kernel gives no user namespaces, so '{}' cannot sandbox web pages",
                app.name
            ),
            "sysctl user.max_user_namespaces=15000",
        ),
        1..NAMESPACES => Finding::warning(
            CHECK,
            format!("the kernel gives {most} user namespaces in all, few for browsers"),
            "sysctl user.max_user_namespaces=15000",
        ),
        _ => Finding::ok(CHECK, "browsers can sandbox web pages"),
    })
}

pub(super) fn ports(ports: &Ports) -> Finding {
    const CHECK: &str = "ports";
    let Range { start, end } = ports.range;
    let all = usize::from(end.saturating_sub(start));
    let others = all.saturating_sub(ports.free + ports.held + ports.forbidden);
    let shown = format!("{start} to {}", end.saturating_sub(1));
    let elsewhere = "set PORT_RANGE_START and PORT_RANGE_END to ports that nobody uses";
    if others == all {
        return Finding::problem(
            CHECK,
            format!("other programs use all ports from {shown}"),
            elsewhere,
        );
    }
    if ports.forbidden > 0 {
        return Finding::warning(
            CHECK,
            format!(
                "this user may not use {} of the {all} ports from {shown}",
                ports.forbidden
            ),
            "set PORT_RANGE_START to 1024 or more, or run the service as a user who may",
        );
    }
    if let Some((first, last)) = ports.ephemeral
        && first < end
        && start <= last
    {
        return Finding::warning(
            CHECK,
            format!(
                "{shown} overlap with {first} to {last}, which the kernel gives to outgoing connections"
            ),
            format!(
                "keep the range below {first}, or: sysctl net.ipv4.ip_local_port_range='{end} 65535'"
            ),
        );
    }
    if others * 2 > all {
        return Finding::warning(
            CHECK,
            format!("other programs use {others} of the {all} ports from {shown}"),
            elsewhere,
        );
    }
    Finding::ok(
        CHECK,
        format!("{} of {all} are free, from {shown}", ports.free),
    )
}

pub(super) fn descriptors(descriptors: &Descriptors) -> Finding {
    const CHECK: &str = "descriptors";
    let Descriptors {
        limit,
        desktops,
        needed,
    } = descriptors;
    match limit {
        Some(limit) if limit < needed => Finding::warning(
            CHECK,
            format!(
                "a service started from here may have {limit} file descriptors, and {desktops} desktops with a viewer each need {needed}"
            ),
            "raise the limit (LimitNOFILE= of a systemd unit, --ulimit nofile= of a container), or set COSAGE_MAX_DESKTOPS",
        ),
        _ => Finding::ok(
            CHECK,
            format!("a service started from here has enough for {desktops} desktops"),
        ),
    }
}

pub(super) fn disk(disk: &Disk) -> Finding {
    const CHECK: &str = "disk";
    let summary = format!(
        "{} free of {} for {} ({})",
        bytes(disk.free),
        bytes(disk.total),
        disk.what,
        disk.path
    );
    let remedy = "make room, such as with: docker image prune";
    // On a disk that is small as a whole, its size is the measure.
    match disk.free {
        free if free < GIB.min(disk.total / 20) => Finding::problem(CHECK, summary, remedy),
        free if free < (5 * GIB).min(disk.total / 10) => Finding::warning(CHECK, summary, remedy),
        _ => Finding::ok(CHECK, summary),
    }
}
