//! Where the service stands towards its engine: how it reaches the containers, and the network
//! that they are on.

use std::collections::HashMap;

use bollard::models::{Network, NetworkConnectRequest, NetworkCreateRequest, SystemInfo};
use bollard::query_parameters::ListNetworksOptionsBuilder;
use jiff::Timestamp;

use super::super::EngineError;
use super::client::{
    CONFLICT, FORBIDDEN, Location, NOT_FOUND, ORDER_LIMIT, READ_LIMIT, is_not_found, limited,
    status,
};
use super::{Docker, Reach, labels};

/// The option of Docker's bridge networks that lets their containers reach each other.
const INTER_CONTAINER: &str = "com.docker.network.bridge.enable_icc";

/// How the gateway reaches a container's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// At the container's own address.
    Direct,
    /// At a port of the host's loopback.
    Published,
}

/// What is found out about the engine once, when it is first needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) route: Route,
    /// The network that containers are put on.
    pub(super) network: String,
    /// The service's own container, if it has one on this engine and is reached by its network.
    own_container: Option<String>,
    /// CPUs of the engine's host, in thousandths; more than these cannot be promised.
    pub(super) milli_cpus: Option<u32>,
    /// Whether the engine's host has the devices that the service sees.
    pub(super) same_devices: bool,
}

#[cfg(test)]
impl Site {
    pub(super) fn for_tests(milli_cpus: u32) -> Self {
        Self {
            route: Route::Direct,
            network: "network".to_owned(),
            own_container: None,
            milli_cpus: Some(milli_cpus),
            same_devices: true,
        }
    }
}

/// What decides on the route.
struct Place {
    location: Location,
    /// Containers' addresses mean nothing on the engine's host: rootless, or in a virtual machine.
    hidden_network: bool,
    /// The service is itself a container of this engine, on a network of its own.
    sibling: bool,
}

impl Docker {
    /// What is known of the engine; asks it the first time.
    pub(super) async fn site(&self) -> Result<&Site, EngineError> {
        self.site
            .get_or_try_init(|| async {
                let site = self.survey().await?;
                self.ensure_network(&site).await?;
                tracing::info!(
                    route = ?site.route,
                    network = site.network,
                    in_container = site.own_container.is_some(),
                    "the container engine answers"
                );
                Ok(site)
            })
            .await
    }

    async fn survey(&self) -> Result<Site, EngineError> {
        let info = self.call(READ_LIMIT, |docker| docker.info()).await?;
        let own_container = self.own_container().await?;
        let place = Place {
            location: self.client.location(),
            hidden_network: has_hidden_network(&info),
            sibling: own_container.is_some(),
        };
        let route = route(self.settings.reach, &place)?;
        // One that is not reached over its own network has no business on the desktops'.
        let own_container = own_container.filter(|_| route == Route::Direct);
        let network = match own_container {
            Some(_) => format!("{}-shared", self.settings.network),
            None => self.settings.network.clone(),
        };
        Ok(Site {
            route,
            network,
            own_container,
            milli_cpus: info
                .ncpu
                .and_then(|cpus| u32::try_from(cpus).ok()?.checked_mul(1000))
                .filter(|cpus| *cpus > 0),
            same_devices: place.location == Location::Socket,
        })
    }

    /// The container that this process runs in, if it is one of this engine's and has a network
    /// of its own.
    async fn own_container(&self) -> Result<Option<String>, EngineError> {
        let Ok(mounts) = std::fs::read_to_string("/proc/self/mountinfo") else {
            return Ok(None);
        };
        let Some(id) = container_id(&mounts) else {
            return Ok(None);
        };
        let docker = self.client.get()?;
        match limited(READ_LIMIT, docker.inspect_container(id, None)).await {
            Ok(container) => {
                let mode = container.host_config.and_then(|host| host.network_mode);
                Ok((mode.as_deref() != Some("host")).then(|| id.to_owned()))
            }
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(self.client.explain(error)),
        }
    }

    /// Makes the network if it is not there, once for all who find it missing at the same time.
    pub(super) async fn ensure_network(&self, site: &Site) -> Result<(), EngineError> {
        let _one_at_a_time = self.network_lock.lock().await;
        let there = self.networks(&site.network).await?;
        if there.is_empty() {
            self.create_network(site).await?;
        } else if site.own_container.is_none() && !there.iter().all(is_isolated) {
            return Err(EngineError::Refused(format!(
                "the network '{name}' was made by somebody else and lets desktops reach each other; remove it with 'docker network rm {name}', or set COSAGE_NETWORK to another name",
                name = site.network
            )));
        }
        self.remove_duplicates(&site.network).await?;
        let Some(own) = &site.own_container else {
            return Ok(());
        };
        let docker = self.client.get()?;
        let request = NetworkConnectRequest {
            container: own.clone(),
            endpoint_config: None,
        };
        match limited(ORDER_LIMIT, docker.connect_network(&site.network, request)).await {
            Ok(()) => Ok(()),
            // The same status as for what is never allowed, so the container says which it is.
            Err(error) if status(&error) == Some(FORBIDDEN) && self.is_on(own, site).await? => {
                Ok(())
            }
            Err(error) => Err(self.client.explain(error)),
        }
    }

    /// Whether a container is on the desktops' network.
    async fn is_on(&self, container: &str, site: &Site) -> Result<bool, EngineError> {
        let inspected = self
            .call(READ_LIMIT, |docker| {
                docker.inspect_container(container, None)
            })
            .await?;
        let networks = inspected
            .network_settings
            .and_then(|settings| settings.networks);
        Ok(networks.is_some_and(|networks| networks.contains_key(&site.network)))
    }

    async fn create_network(&self, site: &Site) -> Result<(), EngineError> {
        let (kind, inter_container) = match site.own_container {
            Some(_) => ("shared", "true"),
            None => ("isolated", "false"),
        };
        let request = NetworkCreateRequest {
            name: site.network.clone(),
            driver: Some("bridge".to_owned()),
            options: Some(HashMap::from([(
                INTER_CONTAINER.to_owned(),
                inter_container.to_owned(),
            )])),
            labels: Some(labels::of_network(kind)),
            ..NetworkCreateRequest::default()
        };
        let docker = self.client.get()?;
        match limited(ORDER_LIMIT, docker.create_network(request)).await {
            Ok(_) => {
                tracing::info!(network = site.network, kind, "made the desktops' network");
                Ok(())
            }
            // Another service on this engine was quicker.
            Err(error) if status(&error) == Some(CONFLICT) => Ok(()),
            Err(error) => Err(self.client.explain(error)),
        }
    }

    /// Engines before 25 give two networks the same name when two services ask at the same
    /// moment, and then refuse every container on it. Both services see the same oldest one here,
    /// and remove the other.
    async fn remove_duplicates(&self, name: &str) -> Result<(), EngineError> {
        let mut networks = self.networks(name).await?;
        if networks.len() < 2 {
            return Ok(());
        }
        networks.sort_by_key(|network| {
            let created = network
                .created
                .as_ref()
                .and_then(|created| created.parse::<Timestamp>().ok());
            (created, network.id.clone())
        });
        let mut ids = networks.iter().filter_map(|network| {
            let labels = network.labels.as_ref();
            let ours = labels.is_some_and(labels::is_network);
            Some((network.id.as_deref()?, ours))
        });
        let Some((mut kept, mut kept_is_ours)) = ids.next() else {
            return Ok(());
        };
        for (id, ours) in ids.filter(|(_, ours)| *ours) {
            if self.remove_network(id).await? == Removal::InUse {
                // A service that did not see the older one yet has a desktop on it already.
                if kept_is_ours {
                    self.remove_network(kept).await?;
                }
                (kept, kept_is_ours) = (id, ours);
            }
        }
        Ok(())
    }

    async fn remove_network(&self, id: &str) -> Result<Removal, EngineError> {
        let docker = self.client.get()?;
        match limited(ORDER_LIMIT, docker.remove_network(id)).await {
            Ok(()) => Ok(Removal::Done),
            Err(error) => match status(&error) {
                Some(NOT_FOUND) => Ok(Removal::Done),
                // Also for the engine's own networks, none of which has our label.
                Some(FORBIDDEN) => Ok(Removal::InUse),
                _ => Err(self.client.explain(error)),
            },
        }
    }

    async fn networks(&self, name: &str) -> Result<Vec<Network>, EngineError> {
        // The engine's filter also finds names that only contain this one.
        let filter = HashMap::from([("name".to_owned(), vec![name.to_owned()])]);
        let options = ListNetworksOptionsBuilder::default()
            .filters(&filter)
            .build();
        let mut networks = self
            .call(READ_LIMIT, |docker| docker.list_networks(Some(options)))
            .await?;
        networks.retain(|network| network.name.as_deref() == Some(name));
        Ok(networks)
    }
}

/// What came of removing a network.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Removal {
    /// It is not there.
    Done,
    /// A container is on it.
    InUse,
}

fn is_isolated(network: &Network) -> bool {
    let option = network
        .options
        .as_ref()
        .and_then(|options| options.get(INTER_CONTAINER));
    option.map(String::as_str) == Some("false")
}

fn has_hidden_network(info: &SystemInfo) -> bool {
    let rootless = info
        .security_options
        .iter()
        .flatten()
        .any(|option| option.contains("name=rootless"));
    let desktop = info.operating_system.as_deref() == Some("Docker Desktop");
    // Off Linux, an engine for Linux containers is always in a virtual machine.
    rootless || desktop || cfg!(not(target_os = "linux"))
}

fn route(reach: Reach, place: &Place) -> Result<Route, EngineError> {
    let refused = |text: &str| Err(EngineError::Refused(text.to_owned()));
    match reach {
        Reach::Direct => Ok(Route::Direct),
        Reach::Published | Reach::Auto
            if place.location == Location::Elsewhere && !place.sibling =>
        {
            refused(
                "the engine is on another host, and ports that it publishes on its loopback cannot be reached from here; run the service beside the engine, or set COSAGE_REACH=direct where this host has a route to the engine's containers",
            )
        }
        Reach::Published if place.sibling => refused(
            "the service runs in a container, whose loopback is not the engine's; set COSAGE_REACH=auto, or run its container with network_mode host",
        ),
        Reach::Published => Ok(Route::Published),
        Reach::Auto if place.sibling => Ok(Route::Direct),
        Reach::Auto if place.hidden_network => Ok(Route::Published),
        Reach::Auto => Ok(match place.location {
            Location::Socket => Route::Direct,
            Location::Loopback | Location::Elsewhere => Route::Published,
        }),
    }
}

/// The container a process is in, by the files that Docker mounts from the container's directory:
/// the one place that shows it whatever the cgroup version and the host name.
fn container_id(mountinfo: &str) -> Option<&str> {
    mountinfo
        .split_ascii_whitespace()
        .filter(|field| field.ends_with("/hostname"))
        .flat_map(|path| path.split('/'))
        .find(|part| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_recognised_by_its_mounts() {
        let id = "0123456789abcdef".repeat(4);
        let inside = format!(
            "630 612 254:1 /var/lib/docker/containers/{id}/resolv.conf /etc/resolv.conf rw - ext4 /dev/vda1 rw\n\
             631 612 254:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/vda1 rw\n"
        );
        assert_eq!(container_id(&inside), Some(id.as_str()));
        assert_eq!(
            container_id("22 1 254:1 / / rw - ext4 /dev/vda1 rw\n"),
            None
        );
    }

    #[test]
    fn the_route_follows_from_where_engine_and_service_are() {
        let route = |reach, location, hidden_network, sibling| {
            super::route(
                reach,
                &Place {
                    location,
                    hidden_network,
                    sibling,
                },
            )
            .ok()
        };
        use Location::{Elsewhere, Loopback, Socket};
        let direct = Some(Route::Direct);
        let published = Some(Route::Published);
        assert_eq!(route(Reach::Auto, Socket, false, false), direct);
        assert_eq!(route(Reach::Auto, Socket, true, false), published);
        assert_eq!(route(Reach::Auto, Loopback, false, false), published);
        // A service in a container shares a network with the desktops, wherever the engine's API is.
        assert_eq!(route(Reach::Auto, Socket, true, true), direct);
        assert_eq!(route(Reach::Auto, Elsewhere, false, true), direct);
        assert_eq!(route(Reach::Published, Socket, false, false), published);
        assert_eq!(route(Reach::Direct, Elsewhere, false, false), direct);
        // Loopback of another host or of another container leads nowhere.
        assert_eq!(route(Reach::Auto, Elsewhere, false, false), None);
        assert_eq!(route(Reach::Published, Elsewhere, false, false), None);
        assert_eq!(route(Reach::Published, Socket, false, true), None);
    }
}
