//! One `[app.NAME]` table.

use std::path::Path;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::fields::{At, Fields, is_name};
use super::streams::{Where, read_remote, read_streams};
use super::variables::read_environment;
use super::{CatalogDefaults, Named, Origin, Problems};
use crate::catalog::environment::is_host;
use crate::catalog::icon::Icon;
use crate::catalog::{App, ContainerSource, FORGET_AFTER_MIN, Source, Timers};
use crate::engine::{Limits, Protocol, PullPolicy, Sandbox};
use crate::text::{self, excerpt};

/// The least memory a container may be limited to; below it, not even an X server starts.
const LEAST_MEMORY: u64 = 64 << 20;
/// `/dev/shm` of a container whose app does not say: what Docker itself gives.
const DEFAULT_SHARED_MEMORY: u64 = 64 << 20;
/// Processes and threads of a container whose app does not say. A browser has several hundred.
const DEFAULT_PROCESSES: u32 = 2048;
/// The most CPUs that can be written; more than any host has.
const MOST_CPUS: f64 = 4096.0;

/// Keys that say something about a container and make no sense for a remote app.
const CONTAINER_KEYS: [&str; 15] = [
    "image",
    "pull",
    "build",
    "password",
    "cpus",
    "memory",
    "shared_memory",
    "processes",
    "sandbox",
    "home",
    "extra_hosts",
    "gpu",
    "legacy_environment",
    "callbacks",
    "legacy_callbacks",
];

/// Reads an app and its aliases. `None` when it is too wrong to be an app; then, as for everything
/// else that is wrong, `problems` says so.
pub(super) fn read(
    named: &Named<'_>,
    table: &DeTable<'_>,
    origin: &Origin<'_>,
    problems: &mut Problems,
) -> Option<(App, Vec<At<String>>)> {
    let name = named.name;
    if !is_name(name) {
        problems.add(
            named.span.clone(),
            format!("an app is not named '{}'; use lower-case letters, digits and '-', starting with a letter or a digit", excerpt(name)),
        );
    }
    let mut fields = Fields::new(format!("app.{}", excerpt(name)), table, named.span.clone());
    let title = fields
        .text("title", problems)
        .map_or(name, |(title, _)| title);
    let description = fields
        .text("description", problems)
        .map_or("", |(text, _)| text);
    let icon = read_icon(&mut fields, origin.directory, problems);
    let aliases = read_aliases(&mut fields, problems);
    let environment = read_environment(&mut fields, problems);
    let timers = read_timers(&mut fields, origin.defaults, problems);
    let forget_after = fields
        .timer("forget_after", FORGET_AFTER_MIN, problems)
        .unwrap_or(origin.defaults.forget_after);
    let max_size = fields
        .parsed("max_size", text::parse_screen_size, problems)
        .map(|(size, _)| size);
    let remote = fields.table("remote", problems);
    let streams_at = fields.table("stream", problems);
    let place = if fields.has("remote") {
        Where::Elsewhere
    } else {
        Where::Container
    };
    let source = match (place, remote) {
        (Where::Elsewhere, Some((remote, span))) => {
            for key in CONTAINER_KEYS {
                if let Some(value) = fields.value(key) {
                    problems.add(value.span(), format!("app.{name} is remote, so that it has no '{key}'; remove it, or remove [app.{name}.remote]"));
                }
            }
            read_remote(name, remote, span, &environment, problems)
        }
        (Where::Elsewhere, None) => None,
        (Where::Container, _) => read_container(&mut fields, problems),
    };
    let streams = read_streams(&fields, streams_at, place, problems);
    let has_rfb = streams
        .values()
        .any(|stream| stream.protocol == Protocol::Rfb);
    if let Some(Source::Container(container)) = &source
        && container.password
        && !has_rfb
    {
        problems.add(fields.span(), format!("app.{name} says password = true but has no stream with protocol = \"rfb\" that could ask for it"));
    }
    fields.finish(problems);

    let app = App {
        name: name.to_owned(),
        title: title.to_owned(),
        description: description.to_owned(),
        icon,
        aliases: aliases.iter().map(|(alias, _)| alias.clone()).collect(),
        source: source?,
        streams,
        environment,
        timers,
        forget_after,
        max_size,
    };
    Some((app, aliases))
}

fn read_icon(
    fields: &mut Fields<'_, '_>,
    directory: Option<&Path>,
    problems: &mut Problems,
) -> Option<Icon> {
    let (icon, span) = fields.text("icon", problems)?;
    if !icon.starts_with("data:") && !is_relative_path(icon) {
        problems.add(span, format!("{}.icon must be a file name below the catalogue's directory, or a \"data:image/…\" URL", fields.path()));
        return None;
    }
    let read = if icon.starts_with("data:") {
        Icon::from_url(icon)
    } else {
        Icon::from_file(directory, icon)
    };
    read.map_err(|error| problems.add(span, format!("{}.icon {error}", fields.path())))
        .ok()
}

fn read_aliases(fields: &mut Fields<'_, '_>, problems: &mut Problems) -> Vec<At<String>> {
    let mut aliases = Vec::new();
    for (alias, span) in fields.list("aliases", problems) {
        if is_name(alias) {
            aliases.push((alias.to_owned(), span));
        } else {
            problems.add(span, format!("{}.aliases: '{}' is not a name; use lower-case letters, digits and '-', starting with a letter or a digit", fields.path(), excerpt(alias)));
        }
    }
    aliases
}

fn read_timers(
    fields: &mut Fields<'_, '_>,
    defaults: &CatalogDefaults,
    problems: &mut Problems,
) -> Timers {
    // A desktop that gave up sooner than a page can be loaded again would never be seen.
    let second = Duration::from_secs(1);
    let idle = fields
        .timer("idle", second, problems)
        .unwrap_or(defaults.idle);
    let first_viewer = fields
        .timer("first_viewer", second, problems)
        .unwrap_or_else(|| defaults.first_viewer.after(idle));
    let max_age = fields
        .timer("max_age", second, problems)
        .unwrap_or(defaults.max_age);
    let start = match fields.parsed("start", text::parse_duration, problems) {
        Some((start, span)) if start < second => {
            problems.add(
                span,
                format!("{}.start must be \"1s\" or more", fields.path()),
            );
            start
        }
        Some((start, _)) => start,
        None => defaults.start,
    };
    let stop_grace = fields
        .parsed("stop_grace", text::parse_duration, problems)
        .map_or(defaults.stop_grace, |(grace, _)| grace);
    Timers {
        idle,
        first_viewer,
        max_age,
        start,
        stop_grace,
    }
}

fn read_container(fields: &mut Fields<'_, '_>, problems: &mut Problems) -> Option<Source> {
    let build = fields.text("build", problems);
    if let Some((directory, span)) = &build
        && !is_relative_path(directory)
    {
        problems.add(span.clone(), format!("{}.build must be a directory below the catalogue's own, such as \"images/firefox\"", fields.path()));
    }
    let image = fields.text("image", problems);
    match &image {
        Some((reference, span)) if !is_image_reference(reference) => {
            problems.add(
                span.clone(),
                format!(
                    "{}.image is not an image reference; write it as \"repository/name:tag\"",
                    fields.path()
                ),
            );
        }
        None if !fields.has("image") => {
            let span = fields.span();
            problems.add(span, format!("{0} has neither image nor remote; add image = \"repository/name:tag\", or a table [{0}.remote]", fields.path()));
        }
        _ => {}
    }
    let pull_words = [
        ("never", PullPolicy::Never),
        ("missing", PullPolicy::Missing),
        ("always", PullPolicy::Always),
    ];
    // What is built here is in no registry.
    let default_pull = if build.is_some() {
        PullPolicy::Never
    } else {
        PullPolicy::Missing
    };
    let pull = fields
        .word("pull", &pull_words, problems)
        .unwrap_or(default_pull);
    let sandbox_words = [
        ("engine-default", Sandbox::EngineDefault),
        ("user-namespaces", Sandbox::UserNamespaces),
    ];
    let sandbox = fields
        .word("sandbox", &sandbox_words, problems)
        .unwrap_or_default();
    let password = fields.boolean("password", problems);
    let limits = read_limits(fields, problems);
    let home = read_home(fields, problems);
    let extra_hosts = read_extra_hosts(fields, problems);
    let gpu = fields.boolean("gpu", problems);
    let legacy_environment = fields.boolean("legacy_environment", problems);
    let callbacks = fields.boolean("callbacks", problems);
    let legacy_callbacks = fields.boolean("legacy_callbacks", problems);
    let (image, _) = image?;
    Some(Source::Container(Box::new(ContainerSource {
        image: image.to_owned(),
        pull,
        build: build.map(|(directory, _)| directory.to_owned()),
        password,
        limits,
        sandbox,
        home,
        extra_hosts,
        gpu,
        legacy_environment,
        callbacks,
        legacy_callbacks,
    })))
}

fn read_limits(fields: &mut Fields<'_, '_>, problems: &mut Problems) -> Limits {
    let memory = fields.parsed("memory", text::parse_bytes, problems);
    if let Some((bytes, span)) = &memory
        && *bytes < LEAST_MEMORY
    {
        problems.add(
            span.clone(),
            format!(
                "{}.memory is too small for any desktop; give it \"64MiB\" or more",
                fields.path()
            ),
        );
    }
    let shared_memory = fields.parsed("shared_memory", text::parse_bytes, problems);
    if let (Some((memory, _)), Some((shared, span))) = (&memory, &shared_memory)
        && shared > memory
    {
        problems.add(
            span.clone(),
            format!(
                "{0}.shared_memory is part of {0}.memory and cannot be more than its {1}",
                fields.path(),
                text::format_bytes(*memory)
            ),
        );
    }
    if let Some((0, span)) = &shared_memory {
        problems.add(
            span.clone(),
            format!("{}.shared_memory must be \"1KiB\" or more", fields.path()),
        );
    }
    let processes = fields
        .integer("processes", 1..=4_194_304, problems)
        .and_then(|processes| u32::try_from(processes).ok());
    Limits {
        milli_cpus: read_cpus(fields, problems),
        memory: memory.map(|(bytes, _)| bytes),
        shared_memory: shared_memory.map_or(DEFAULT_SHARED_MEMORY, |(bytes, _)| bytes),
        processes: processes.unwrap_or(DEFAULT_PROCESSES),
    }
}

fn read_cpus(fields: &mut Fields<'_, '_>, problems: &mut Problems) -> Option<u32> {
    let value = fields.value("cpus")?;
    let cpus = match value.get_ref() {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse::<f64>().ok(),
        DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
        _ => None,
    };
    match cpus {
        Some(cpus) if (0.01..=MOST_CPUS).contains(&cpus) =>
        {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the range was checked, and 4096 CPUs are 4 million thousandths"
            )]
            Some((cpus * 1000.0).round() as u32)
        }
        _ => {
            problems.add(
                value.span(),
                format!(
                    "{}.cpus must be a number of CPUs from 0.01 to 4096, such as 2.0",
                    fields.path()
                ),
            );
            None
        }
    }
}

fn read_home(fields: &mut Fields<'_, '_>, problems: &mut Problems) -> Option<String> {
    let value = fields.value("home")?;
    match value.get_ref() {
        DeValue::Boolean(false) => None,
        DeValue::String(path) if is_mount_point(path) => Some(path.to_string()),
        _ => {
            problems.add(value.span(), format!("{}.home must be the directory the home volume is mounted at, such as \"/home/user\", or false", fields.path()));
            None
        }
    }
}

fn read_extra_hosts(fields: &mut Fields<'_, '_>, problems: &mut Problems) -> Vec<String> {
    let mut extra_hosts = Vec::new();
    for (line, span) in fields.list("extra_hosts", problems) {
        let well_formed = line.split_once(':').is_some_and(|(host, address)| {
            is_host(host)
                && (address == "host-gateway" || address.parse::<std::net::IpAddr>().is_ok())
        });
        if well_formed {
            extra_hosts.push(line.to_owned());
        } else {
            problems.add(span, format!("{}.extra_hosts: '{}' is not \"name:address\"; the address is an IP address or host-gateway", fields.path(), excerpt(line)));
        }
    }
    extra_hosts
}

fn is_image_reference(reference: &str) -> bool {
    reference.starts_with(|first: char| first.is_ascii_alphanumeric())
        && reference
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte))
}

fn is_relative_path(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with(['/', '-'])
        && !path.contains(|character: char| character.is_control())
        && path.split('/').all(|part| part != "..")
}

/// A `:` would end the path in a mount as Docker writes it, and `/` would hide the whole image.
fn is_mount_point(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|rest| {
        !rest.is_empty()
            && rest
                .split('/')
                .all(|part| !part.is_empty() && part != "." && part != "..")
            && !rest.contains(|character: char| character == ':' || character.is_control())
    })
}
