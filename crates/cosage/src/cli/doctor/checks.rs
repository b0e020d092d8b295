//! From what was gathered to verdicts. Nothing here looks at the machine.

mod host;
mod network;

use jiff::Timestamp;

use super::Finding;
use crate::catalog::CatalogSource;
use crate::engine::inventory::{EngineInfo, ImageInfo};

pub(super) use host::{Descriptors, Disk, Kernel, Ports};
pub(super) use network::{Answer, Preflight, STILL, Service, Still, WebSocket};

/// The oldest engine that is supported.
const ENGINE_OLDEST: (u32, u32) = (20, 10);

/// How far the engine's clock may be from this host's, in seconds.
const CLOCK_TOLERANCE: u64 = 5;

/// Everything that was found out; what could not be is absent.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The settings, or all that is wrong with them.
    pub(super) settings: Option<Result<(), String>>,
    /// The catalogue and its number of apps, or what is wrong with it.
    pub(super) catalogue: Option<Result<(CatalogSource, usize), String>>,
    /// The engine, or why it does not answer.
    pub(super) engine: Option<Result<EngineInfo, String>>,
    /// The time when the engine's clock was read.
    pub(super) now: Option<Timestamp>,
    /// The apps with containers.
    pub(super) apps: Vec<App>,
    /// Unmanaged containers with a desktop's name.
    pub(super) unmanaged: Vec<String>,
    pub(super) kernel: Option<Kernel>,
    pub(super) ports: Option<Ports>,
    pub(super) descriptors: Option<Descriptors>,
    pub(super) disks: Vec<Disk>,
    pub(super) service: Option<Service>,
    pub(super) socket: Option<WebSocket>,
    pub(super) still: Option<Still>,
    pub(super) preflight: Option<Preflight>,
}

/// What matters of an app.
#[derive(Debug)]
pub(super) struct App {
    pub(super) name: String,
    pub(super) image: String,
    /// What to do when it is missing.
    pub(super) hint: String,
    /// Whether the service fetches it by itself.
    pub(super) is_pulled: bool,
    /// The image; `None` where it is missing, absent where that is not known.
    pub(super) found: Option<Option<ImageInfo>>,
    /// What it may use in bytes; `None` is no limit.
    pub(super) memory: Option<u64>,
    /// Size of its `/dev/shm` in bytes.
    pub(super) shared_memory: u64,
    /// Whether it sandboxes its own content, as browsers do.
    pub(super) sandboxes: bool,
}

/// All verdicts, in the order in which one would put things right.
pub(super) fn examine(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(facts.settings.as_ref().map(settings));
    findings.extend(facts.catalogue.as_ref().map(catalogue));
    findings.extend(facts.engine.as_ref().map(engine));
    if let Some(Ok(info)) = &facts.engine {
        findings.extend(clock(info, facts.now));
        findings.extend(images(&facts.apps, &info.architecture));
        findings.push(unmanaged(&facts.unmanaged));
        findings.push(host::shared_memory(
            &facts.apps,
            info.memory,
            facts.kernel.as_ref(),
        ));
    }
    findings.extend(
        facts
            .kernel
            .as_ref()
            .and_then(|kernel| host::namespaces(kernel, &facts.apps)),
    );
    findings.extend(facts.ports.as_ref().map(host::ports));
    findings.extend(facts.descriptors.as_ref().map(host::descriptors));
    findings.extend(facts.disks.iter().map(host::disk));
    findings.extend(facts.service.as_ref().map(network::service));
    findings.extend(facts.socket.as_ref().map(network::socket));
    findings.extend(facts.still.as_ref().map(network::still));
    findings.extend(facts.preflight.as_ref().map(network::preflight));
    findings
}

fn settings(outcome: &Result<(), String>) -> Finding {
    match outcome {
        Ok(()) => Finding::ok("settings", "the settings are right"),
        Err(errors) => {
            Finding::problem("settings", errors, "'cosage check' shows where each is set")
        }
    }
}

fn catalogue(outcome: &Result<(CatalogSource, usize), String>) -> Finding {
    match outcome {
        Ok((source, count)) => Finding::ok("catalogue", format!("{source} with {count} apps")),
        Err(errors) => Finding::problem(
            "catalogue",
            errors,
            "correct it; a running service goes on with the last one that was right",
        ),
    }
}

fn engine(outcome: &Result<EngineInfo, String>) -> Finding {
    match outcome {
        // The engine's errors name the next step behind a semicolon.
        Err(error) => match error.split_once("; ") {
            Some((summary, remedy)) => Finding::problem("engine", summary, remedy),
            None => Finding::problem("engine", error, "look at: systemctl status docker"),
        },
        Ok(info) => match version(&info.version) {
            Some(version) if version < ENGINE_OLDEST => Finding::problem(
                "engine",
                format!("Docker Engine {} is too old", info.version),
                format!("install {}.{} or newer", ENGINE_OLDEST.0, ENGINE_OLDEST.1),
            ),
            _ => Finding::ok(
                "engine",
                format!(
                    "Docker Engine {} on {} answers",
                    info.version, info.architecture
                ),
            ),
        },
    }
}

/// Major and minor number; what does not start with them (such as another engine's version) is
/// not judged.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn clock(info: &EngineInfo, now: Option<Timestamp>) -> Option<Finding> {
    let seconds = now?.duration_since(info.clock?).as_secs().unsigned_abs();
    Some(if seconds <= CLOCK_TOLERANCE {
        Finding::ok("clock", "the engine's clock is this host's")
    } else {
        Finding::warning(
            "clock",
            format!("the engine's clock is {seconds} s away from this host's, so ages are wrong"),
            "let both hosts take their time from the network, such as with systemd-timesyncd",
        )
    })
}

fn images(apps: &[App], architecture: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut right = Vec::new();
    for app in apps {
        let Some(found) = &app.found else { continue };
        match found {
            None if app.is_pulled => findings.push(Finding::warning(
                "images",
                format!(
                    "{} of '{}' is fetched at its first start, which takes long",
                    app.image, app.name
                ),
                format!("fetch it now: cosage images pull {}", app.name),
            )),
            None => findings.push(Finding::problem(
                "images",
                format!("{} of '{}' is missing", app.image, app.name),
                app.hint.clone(),
            )),
            Some(image) if image.architecture != architecture => findings.push(Finding::problem(
                "images",
                format!(
                    "{} of '{}' is for {}, and this host is {architecture}",
                    app.image, app.name, image.architecture
                ),
                format!("have it for {architecture}: {}", app.hint),
            )),
            Some(_) => right.push(app.name.as_str()),
        }
    }
    if !right.is_empty() {
        findings.push(Finding::ok(
            "images",
            format!("there: {}", right.join(", ")),
        ));
    }
    findings
}

fn unmanaged(names: &[String]) -> Finding {
    if names.is_empty() {
        return Finding::ok("containers", "none is in the way of a desktop's name");
    }
    Finding::warning(
        "containers",
        format!(
            "named like desktops but not managed by this service: {}",
            names.join(", ")
        ),
        format!(
            "if the old service left them, stop it and wait until they end (deploy/MIGRATING.md); to remove them now: docker rm -f {}; to keep them, set CONTAINER_BASE_NAME to another name",
            names.join(" ")
        ),
    )
}

#[cfg(test)]
mod tests;
