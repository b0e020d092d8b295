//! Containers that the service before this one left: found by their names, and adopted on request.
//!
//! A label cannot be added to a container. So what was adopted is remembered here for as long as the process lives,
//! and its instance is named after its container: the next service finds and adopts it as this one did.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bollard::models::{
    ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum as State, NetworkSettings,
};
use bollard::query_parameters::ListContainersOptionsBuilder;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::super::legacy::Stranger;
use super::super::{EngineError, Found, Instance, InstanceId};
use super::client::{Client, READ_LIMIT, is_not_found, limited};
use super::site::{Route, Site};
use super::{Docker, INSPECTIONS, labels};
use crate::desktop::Environment;

/// What the instance of an adopted container is called, before the engine's name for the container. Those that are
/// started here are called by a UUID.
const PREFIX: &str = "container-";

/// The instances that were adopted and are not known to be gone.
#[derive(Default)]
pub(super) struct Adopted(Mutex<BTreeMap<InstanceId, Instance>>);

impl Adopted {
    /// The engine's name for the container of an adopted instance.
    pub(super) fn container<'a>(&self, instance: &'a InstanceId) -> Option<&'a str> {
        let container = instance.0.strip_prefix(PREFIX)?;
        self.lock().contains_key(instance).then_some(container)
    }

    /// The adopted instance that a container is.
    pub(super) fn instance(&self, container: &str) -> Option<InstanceId> {
        let instance = instance_of(container);
        self.lock().contains_key(&instance).then_some(instance)
    }

    pub(super) fn forget(&self, instance: &InstanceId) {
        self.lock().remove(instance);
    }

    fn all(&self) -> Vec<Instance> {
        self.lock().values().cloned().collect()
    }

    /// Every change of the map is one step, so it is sound also after a panic elsewhere.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Instance>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The containers, running or not, that belong to no service and have a name that begins with this, each with that
/// name.
pub(super) async fn list(
    client: &Client,
    base_name: &str,
) -> Result<Vec<(String, ContainerSummary)>, EngineError> {
    let filter = HashMap::from([("name".to_owned(), vec![base_name.to_owned()])]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filter)
        .build();
    let listed = limited(READ_LIMIT, client.get()?.list_containers(Some(options)))
        .await
        .map_err(|error| client.explain(error))?;
    let mut strangers: Vec<_> = listed
        .into_iter()
        .filter(|container| {
            let labels = container.labels.as_ref();
            !labels.is_some_and(|labels| labels.contains_key(labels::OWNER))
        })
        .filter_map(|container| {
            // The engine's filter also finds names that only contain this one, and each of its names starts with a
            // slash.
            let name = container.names.iter().flatten().find_map(|name| {
                let name = name.strip_prefix('/')?;
                name.starts_with(base_name).then(|| name.to_owned())
            })?;
            Some((name, container))
        })
        .collect();
    strangers.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(strangers)
}

impl Docker {
    pub(super) async fn find_strangers(
        &self,
        base_name: &str,
    ) -> Result<Vec<Stranger>, EngineError> {
        let site = self.site().await?;
        let running = list(&self.client, base_name)
            .await?
            .into_iter()
            .filter(|(_, container)| matches!(container.state, Some(State::RUNNING)))
            .filter_map(|(name, container)| Some((name, container.id?)));
        stream::iter(running)
            .map(|(name, id)| async move {
                let container = self.inspect(&id).await?;
                Ok(container.and_then(|container| stranger(name, &id, container, site)))
            })
            .buffered(INSPECTIONS)
            .try_filter_map(|stranger| async { Ok(stranger) })
            .try_collect()
            .await
    }

    pub(super) fn take_in(&self, instance: &Instance) {
        if instance.id.0.starts_with(PREFIX) {
            let mut adopted = self.adopted.lock();
            adopted.insert(instance.id.clone(), instance.clone());
        }
    }

    /// What became of those that were adopted.
    pub(super) async fn list_adopted(&self) -> Result<Vec<Found>, EngineError> {
        let adopted = stream::iter(self.adopted.all());
        adopted
            .map(|instance| async move {
                let Some(id) = self.adopted.container(&instance.id) else {
                    return Ok(None);
                };
                let Some(container) = self.inspect(id).await? else {
                    self.adopted.forget(&instance.id);
                    return Ok(None);
                };
                Ok(Some(match labels::exit(container.state.as_ref()) {
                    None => Found::Running(instance),
                    Some(_) => Found::Remains(instance.id),
                }))
            })
            .buffered(INSPECTIONS)
            .try_filter_map(|found| async { Ok(found) })
            .try_collect()
            .await
    }

    /// `None` where it is not there.
    async fn inspect(&self, id: &str) -> Result<Option<ContainerInspectResponse>, EngineError> {
        let docker = self.client.get()?;
        match limited(READ_LIMIT, docker.inspect_container(id, None)).await {
            Ok(container) => Ok(Some(container)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(self.client.explain(error)),
        }
    }
}

fn instance_of(container: &str) -> InstanceId {
    InstanceId(format!("{PREFIX}{container}"))
}

/// `None` for one that has ended meanwhile.
fn stranger(
    name: String,
    id: &str,
    container: ContainerInspectResponse,
    site: &Site,
) -> Option<Stranger> {
    if labels::exit(container.state.as_ref()).is_some() {
        return None;
    }
    let started_at = labels::started_at(&container)?;
    let config = container.config?;
    let variables = config.env.unwrap_or_default();
    let settings = container.network_settings?;
    Some(Stranger {
        id: instance_of(id),
        name,
        image: config.image?,
        environment: Environment(
            variables
                .iter()
                .filter_map(|variable| variable.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        ),
        started_at,
        address: match site.route {
            Route::Direct => own_address(&settings, site),
            Route::Published => None,
        },
        published: published(&settings),
    })
}

fn own_address(settings: &NetworkSettings, site: &Site) -> Option<IpAddr> {
    let networks = settings.networks.as_ref()?;
    let ours = networks.get(&site.network).into_iter();
    ours.chain(networks.values())
        .find_map(|endpoint| endpoint.ip_address.as_ref()?.parse().ok())
}

/// A port that is open on all addresses is dialled on loopback, where nothing is in between.
fn published(settings: &NetworkSettings) -> BTreeMap<u16, SocketAddr> {
    let ports = settings.ports.iter().flatten();
    ports
        .filter_map(|(port, bindings)| {
            let port = port.strip_suffix("/tcp")?.parse().ok()?;
            let address = bindings.iter().flatten().find_map(|binding| {
                let host: IpAddr = match binding.host_ip.as_deref() {
                    None | Some("") => Ipv4Addr::UNSPECIFIED.into(),
                    Some(text) => text.parse().ok()?,
                };
                let host = if host.is_unspecified() {
                    Ipv4Addr::LOCALHOST.into()
                } else {
                    host
                };
                Some(SocketAddr::new(
                    host,
                    binding.host_port.as_ref()?.parse().ok()?,
                ))
            })?;
            Some((port, address))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_ports_are_dialled_where_they_are_open() {
        let settings: NetworkSettings = serde_json::from_str(
            r#"{"Ports": {
                "2222/tcp": [{"HostIp": "0.0.0.0", "HostPort": "11042"}, {"HostIp": "::", "HostPort": "11042"}],
                "80/tcp": [{"HostIp": "192.0.2.1", "HostPort": "8080"}],
                "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "53"}],
                "5900/tcp": null
            }}"#,
        )
        .unwrap();
        let expected = [
            (80, "192.0.2.1:8080".parse().unwrap()),
            (2222, "127.0.0.1:11042".parse().unwrap()),
        ];
        assert_eq!(published(&settings), BTreeMap::from(expected));
    }
}
