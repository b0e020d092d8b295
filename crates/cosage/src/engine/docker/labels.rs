//! What is written on containers and volumes, and how an instance is read back from it.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bollard::models::{ContainerInspectResponse, ContainerState, NetworkSettings};
use jiff::Timestamp;

use super::super::callback::CallbackSecret;
use super::super::legacy::own_timeout;
use super::super::{
    ContainerSpec, Endpoint, Exit, Instance, InstanceId, LaunchSpec, StreamSpec, VncPassword,
};
use super::site::{Route, Site};
use crate::desktop::{StreamKey, Uid};

pub(super) const OWNER: &str = "cosage.owner";
pub(super) const UID: &str = "cosage.uid";
pub(super) const INSTANCE: &str = "cosage.instance";
pub(super) const NETWORK: &str = "cosage.network";
/// On a container that only serves a home's files; its value is another one each time.
pub(super) const FILES: &str = "cosage.files";
const APP: &str = "cosage.app";
const KEY: &str = "cosage.key";
const STREAMS: &str = "cosage.streams";

/// The variable that carries the password into the container, and out of it again on adoption.
/// It is no label because those show in `docker ps`.
pub(super) const PASSWORD_VARIABLE: &str = "COSAGE_VNC_PASSWORD";

/// The labels of a container: everything an adopting service needs, so that it needs no catalogue.
pub(super) fn of_container(
    owner: &str,
    spec: &LaunchSpec,
    container: &ContainerSpec,
) -> Result<HashMap<String, String>, serde_json::Error> {
    Ok([
        (OWNER, owner.to_owned()),
        (UID, spec.uid.to_string()),
        (INSTANCE, spec.instance.to_string()),
        (APP, spec.app.clone()),
        (KEY, spec.key.to_string()),
        (STREAMS, serde_json::to_string(&container.streams)?),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into())
}

/// A filter by exact labels, as the engine's lists take it.
pub(super) fn filter(labels: &[(&str, &str)]) -> HashMap<String, Vec<String>> {
    let labels = labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    HashMap::from([("label".to_owned(), labels)])
}

/// The instance that a running container is, or why it cannot be one. The start and the adoption
/// both come here, so that they cannot disagree.
pub(super) fn instance(
    container: &ContainerInspectResponse,
    site: &Site,
) -> Result<Instance, &'static str> {
    let config = container.config.as_ref().ok_or("it has no configuration")?;
    let labels = config.labels.as_ref().ok_or("it has no labels")?;
    let label = |name| labels.get(name).ok_or("a label is missing");
    let streams: BTreeMap<String, StreamSpec> = serde_json::from_str(label(STREAMS)?)
        .map_err(|_| "its label of the streams cannot be read")?;
    let settings = container
        .network_settings
        .as_ref()
        .ok_or("it has no network")?;
    let endpoints = streams
        .into_iter()
        .map(|(name, stream)| {
            let endpoint = Endpoint {
                address: address(settings, stream.port, site)?,
                protocol: stream.protocol,
                path: stream.path,
                presence: stream.presence,
            };
            Ok((name, endpoint))
        })
        .collect::<Result<_, &'static str>>()?;
    let variables = || {
        let all = config.env.iter().flatten();
        all.filter_map(|variable| variable.split_once('='))
    };
    Ok(Instance {
        id: InstanceId(label(INSTANCE)?.clone()),
        uid: label(UID)?
            .parse()
            .map_err(|_| "its label of the uid cannot be read")?,
        app: label(APP)?.clone(),
        key: StreamKey(
            label(KEY)?
                .parse()
                .map_err(|_| "its label of the stream key cannot be read")?,
        ),
        endpoints,
        password: variables()
            .find(|(name, _)| *name == PASSWORD_VARIABLE)
            .map(|(_, value)| VncPassword::new(value)),
        callback: CallbackSecret::among(variables()),
        started_at: started_at(container).ok_or("when it was started cannot be read")?,
        own_timeout: own_timeout(variables()),
    })
}

/// The desktop that a container was made for.
pub(super) fn uid(container: &ContainerInspectResponse) -> Option<Uid> {
    let labels = container.config.as_ref()?.labels.as_ref()?;
    labels.get(UID)?.parse().ok()
}

/// When a container was started last.
pub(super) fn started_at(container: &ContainerInspectResponse) -> Option<Timestamp> {
    let state = container.state.as_ref()?;
    state.started_at.as_ref()?.parse().ok()
}

/// How a container ended; `None` while it runs.
pub(super) fn exit(state: Option<&ContainerState>) -> Option<Exit> {
    use bollard::models::ContainerStateStatusEnum::{CREATED, EMPTY};

    let Some(state) = state else {
        return Some(Exit::default());
    };
    if state.running == Some(true) {
        return None;
    }
    let never_ran = matches!(state.status, None | Some(CREATED | EMPTY));
    Some(Exit {
        code: state.exit_code.filter(|_| !never_ran),
        out_of_memory: state.oom_killed == Some(true),
    })
}

fn address(settings: &NetworkSettings, port: u16, site: &Site) -> Result<SocketAddr, &'static str> {
    match site.route {
        Route::Direct => {
            let networks = settings.networks.as_ref().ok_or("it has no network")?;
            // A container from before the setting was changed is on another network, and reachable
            // all the same.
            networks
                .get(&site.network)
                .into_iter()
                .chain(networks.values())
                .find_map(|endpoint| endpoint.ip_address.as_ref()?.parse::<IpAddr>().ok())
                .map(|address| SocketAddr::new(address, port))
                .ok_or("it has no address")
        }
        Route::Published => settings
            .ports
            .as_ref()
            .and_then(|ports| ports.get(&format!("{port}/tcp"))?.as_ref())
            .into_iter()
            .flatten()
            .find_map(|binding| binding.host_port.as_ref()?.parse().ok())
            .map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))
            .ok_or("its port is not published"),
    }
}
