//! Looks at the machine, the engine and the service. Whatever cannot be looked at is left out, or
//! is itself what was found.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, ORIGIN};
use rustix::fs::statvfs;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::checks::{
    App, Descriptors, Disk, Facts, Kernel, Ports, Preflight, STILL, Service, Still, WebSocket,
};
use super::{Doctor, socket};
use crate::catalog::{Catalog, Source};
use crate::cli::client::{CallError, Client, with_json};
use crate::cli::failure::Failure;
use crate::cli::progress::Progress;
use crate::cli::settings::catalog;
use crate::config::{Config, EngineKind};
use crate::descriptors;
use crate::desktop::Uid;
use crate::engine::Sandbox;
use crate::server::{self, Operator};

/// How long the service may take to say how it is.
const ANSWER_BOUND: Duration = Duration::from_secs(10);

/// Finds out everything that can be.
pub(super) async fn gather(doctor: &Doctor, client: &Client, public: Option<&Client>) -> Facts {
    let progress = Progress::spinner("looking at the settings");
    let mut facts = Facts::default();
    let config = match doctor.settings.load() {
        Ok(config) => {
            facts.settings = Some(Ok(()));
            Some(config)
        }
        Err(failure) => {
            facts.settings = Some(Err(failure.to_string()));
            None
        }
    };
    if let Some(config) = &config {
        look_at_apps(config, &mut facts);
        progress.say("asking the engine");
        if config.engine == EngineKind::Docker {
            ask_engine(config, &mut facts).await;
        }
        facts
            .disks
            .extend(disk("the records of desktops", &config.data_dir));
    }
    facts.kernel = Some(kernel());
    progress.say("asking the service");
    let held = ask_service(config.as_ref(), client, &mut facts).await;
    if let Some(config) = &config {
        facts.ports = Some(ports(config, held));
        let desktops = config.most_desktops();
        facts.descriptors = Some(Descriptors {
            limit: descriptors::most(),
            desktops,
            needed: descriptors::needed(desktops),
        });
    }
    if !matches!(facts.service, Some(Service::Down { .. })) || public.is_some() {
        progress.say("opening a WebSocket");
        let through = public.unwrap_or(client);
        facts.socket = Some(WebSocket {
            url: through.shown_base().to_string(),
            // As the service's own page does it.
            answer: socket::knock(through, Some(&through.origin())).await,
        });
        if let Some(origin) = &doctor.origin {
            facts.preflight = Some(preflight(through, origin).await);
        }
        if doctor.long {
            progress.say(format!("holding a stream for {} s", STILL.as_secs()));
            facts.still = Some(hold(client, through, &doctor.app).await);
        }
    }
    facts
}

fn look_at_apps(config: &Config, facts: &mut Facts) {
    match catalog(config) {
        Ok((source, catalog)) => {
            facts.apps = apps(&catalog);
            facts.catalogue = Some(Ok((source, catalog.apps.len())));
        }
        Err(failure) => facts.catalogue = Some(Err(failure.to_string())),
    }
}

fn apps(catalog: &Catalog) -> Vec<App> {
    let containers = catalog.apps.values().filter_map(|app| match &app.source {
        Source::Container(container) => Some((app, container)),
        Source::Remote { .. } => None,
    });
    containers
        .map(|(app, container)| App {
            name: app.name.clone(),
            image: container.image.clone(),
            hint: container.image_hint(),
            is_pulled: container.pull != crate::engine::PullPolicy::Never,
            found: None,
            memory: container.limits.memory,
            shared_memory: container.limits.shared_memory,
            sandboxes: container.sandbox == Sandbox::UserNamespaces,
        })
        .collect()
}

async fn ask_engine(config: &Config, facts: &mut Facts) {
    let operator: Operator = match server::operator(config) {
        Ok(operator) => operator,
        Err(error) => {
            facts.engine = Some(Err(error.to_string()));
            return;
        }
    };
    let info = operator.info().await;
    facts.now = Some(Timestamp::now());
    if let Ok(info) = &info {
        for app in &mut facts.apps {
            app.found = operator.image(&app.image).await.ok();
        }
        facts.unmanaged = operator
            .unmanaged(&config.container_base_name)
            .await
            .unwrap_or_default();
        let directory = info.data_directory.as_deref().map(Path::new);
        facts
            .disks
            .extend(directory.and_then(|path| disk("the engine", path)));
    }
    facts.engine = Some(info.map_err(|error| error.to_string()));
}

/// The file system of a directory, or of where it will be made.
fn disk(what: &'static str, path: &Path) -> Option<Disk> {
    let existing = path.ancestors().find(|path| path.exists())?;
    let found = statvfs(existing).ok()?;
    Some(Disk {
        what,
        path: path.display().to_string(),
        free: found.f_bavail.saturating_mul(found.f_frsize),
        total: found.f_blocks.saturating_mul(found.f_frsize),
    })
}

fn kernel() -> Kernel {
    let number = |name: &str| {
        let text = fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
        text.trim().parse().ok()
    };
    Kernel {
        user_namespaces: number("user/max_user_namespaces"),
        unprivileged_namespaces: number("kernel/unprivileged_userns_clone"),
        largest_segment: number("kernel/shmmax"),
    }
}

fn ports(config: &Config, held: usize) -> Ports {
    let range = config.port_range_start..config.port_range_end;
    let ephemeral = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    let ephemeral = ephemeral.and_then(|text| {
        let mut numbers = text.split_whitespace().map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    let (mut free, mut forbidden) = (0, 0);
    for port in range.clone() {
        match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) {
            Ok(_) => free += 1,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => forbidden += 1,
            Err(_) => {}
        }
    }
    Ports {
        free,
        range,
        held,
        forbidden,
        ephemeral,
    }
}

/// How the service is; how many stream keys its desktops hold.
async fn ask_service(config: Option<&Config>, client: &Client, facts: &mut Facts) -> usize {
    let url = client.shown_base().to_string();
    let ready = client
        .request(Method::GET, ["readyz"])
        .timeout(ANSWER_BOUND);
    let service = match client.json(ready).await {
        Ok(_) => Service::Ready { url },
        Err(CallError::Refused(refusal)) if refusal.code == "unknown_host" => {
            Service::UnknownHost {
                url,
                details: refusal.details,
            }
        }
        Err(CallError::Refused(refusal)) => Service::NotReady {
            url,
            details: refusal.details,
        },
        Err(CallError::Unreachable(reason) | CallError::Broken(reason)) => Service::Down {
            reason,
            taken: config.and_then(taken),
        },
    };
    let is_up = !matches!(service, Service::Down { .. });
    facts.service = Some(service);
    if !is_up {
        return 0;
    }
    let list = client.get(["api", "vm", "list"]).await.ok();
    list.as_ref().and_then(Value::as_array).map_or(0, Vec::len)
}

/// The address of the service's own that another program listens on.
fn taken(config: &Config) -> Option<String> {
    [Some(config.listen), config.stream_listen]
        .into_iter()
        .flatten()
        .find(|address: &SocketAddr| {
            TcpListener::bind(address)
                .is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
        })
        .map(|address| address.to_string())
}

async fn preflight(client: &Client, origin: &str) -> Preflight {
    let request = client
        .request(Method::OPTIONS, ["api", "vm", "any", "allocate"])
        .header(ORIGIN, origin)
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", CONTENT_TYPE.as_str())
        .timeout(ANSWER_BOUND);
    let allowed = match client.send_any(request).await {
        Ok(response) => Ok(response
            .headers()
            .get(ACCESS_CONTROL_ALLOW_ORIGIN)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)),
        Err(error) => Err(Failure::from(error).to_string()),
    };
    Preflight {
        origin: origin.to_owned(),
        allowed,
        socket: socket::knock(client, Some(origin)).await,
    }
}

/// Starts a desktop, holds its stream, and deletes the desktop.
async fn hold(client: &Client, through: &Client, app: &str) -> Still {
    let uid = format!("doctor-{}", Uid::random());
    let request = client.request(Method::POST, ["api", "vm", "any", uid.as_str()]);
    let answer = client.json(with_json(request, &json!({ "vm": app }))).await;
    let still = match answer {
        Err(error) => Still::NotTried(Failure::from(error).to_string()),
        Ok(answer) => {
            let path = answer
                .get("url")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
            let url = through.shown_base().to_string();
            match socket::hold(through, path, STILL).await {
                Ok(()) => Still::Held { url },
                Err((after, reason)) => Still::Cut { url, after, reason },
            }
        }
    };
    let forget = client
        .request(Method::DELETE, ["api", "vm", uid.as_str()])
        .query(&[("forget", "true")]);
    // What could not be deleted is stopped by the service when idle.
    let _ = timeout(ANSWER_BOUND * 3, client.send(forget)).await;
    still
}
