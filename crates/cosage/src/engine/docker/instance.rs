//! How an instance is read back from its container.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bollard::models::{ContainerInspectResponse, ContainerState, NetworkSettings};
use jiff::Timestamp;

use super::super::callback::CallbackSecret;
use super::super::legacy::own_timeout;
use super::super::{Endpoint, Exit, Instance, VncPassword};
use super::labels;
use super::site::{Route, Site};
use crate::desktop::Uid;

/// The variable that carries the password into the container, and out of it again on adoption.
/// It is no label because those show in `docker ps`.
pub(super) const PASSWORD_VARIABLE: &str = "COSAGE_VNC_PASSWORD";

/// The instance that a running container is, or why it cannot be one. The start and the adoption
/// both come here, so that they cannot disagree.
pub(super) fn read(
    container: &ContainerInspectResponse,
    site: &Site,
) -> Result<Instance, &'static str> {
    let config = container.config.as_ref().ok_or("it has no configuration")?;
    let labels = config.labels.as_ref().ok_or("it has no labels")?;
    let run = labels::run(labels)?;
    let settings = container
        .network_settings
        .as_ref()
        .ok_or("it has no network")?;
    let endpoints = run
        .streams
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
        id: run.id,
        uid: run.uid,
        app: run.app,
        key: run.key,
        endpoints,
        password: variables()
            .find(|(name, _)| *name == PASSWORD_VARIABLE)
            .map(|(_, value)| VncPassword::new(value)),
        callback: CallbackSecret::among(variables()),
        home_is_new: false,
        started_at: started_at(container).ok_or("when it was started cannot be read")?,
        own_timeout: own_timeout(variables()),
    })
}

/// The desktop that a container was made for.
pub(super) fn uid(container: &ContainerInspectResponse) -> Option<Uid> {
    labels::uid(container.config.as_ref()?.labels.as_ref()?)
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
