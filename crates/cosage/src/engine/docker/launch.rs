//! One start: create, start, and read the address back; three calls when nothing is in the way.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, HostConfig, HostConfigLogConfig, Mount, MountType,
    MountVolumeOptions, PortBinding, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::super::{
    ContainerSpec, EngineError, Instance, LaunchSpec, Limits, OnStep, PullPolicy, Sandbox,
    StartStep, Workload,
};
use super::client::{
    BAD_REQUEST, CONFLICT, NOT_FOUND, ORDER_LIMIT, READ_LIMIT, is_not_found, limited, status,
};
use super::site::{Route, Site};
use super::{Docker, labels, whole_seconds};

/// How many lines of an instance that ended at once go into the error.
const LAST_LINES: usize = 50;

/// Where the kernel shows a host's graphics devices.
const GRAPHICS: &str = "/dev/dri";

/// How soon a name is tried again that belongs to nobody who could be seen.
const NAME_RETRY: Duration = Duration::from_millis(50);

/// The longest host name that Linux takes (`HOST_NAME_MAX`).
const HOST_NAME_MAX: usize = 64;

/// The desktop's home volume before the start.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Home {
    /// There is none to be mounted, or one with files that must not be lost.
    Kept,
    /// It is made with the container, and is empty if that fails.
    New,
}

/// What was in the way of a name.
enum Way {
    /// An earlier run of the same desktop, or what was left of one: it is removed.
    Cleared,
    /// Nothing that could be seen: it has just gone, or the engine has given the name away and is still making the container, as
    /// for a service that was killed meanwhile.
    NobodyThere,
}

impl Docker {
    pub(super) async fn launch(
        &self,
        spec: &LaunchSpec,
        cancel: &CancellationToken,
        on_step: OnStep<'_>,
    ) -> Result<Instance, EngineError> {
        let Workload::Container(container) = &spec.workload else {
            return Err(EngineError::Refused(
                "this engine runs containers, and nothing else".to_owned(),
            ));
        };
        let site = self.site().await?;
        let home = self.home(spec, container).await?;
        let outcome = self.run(spec, container, site, cancel, on_step).await;
        if outcome.is_err() {
            self.clean_up(spec, container, home).await;
        }
        outcome
    }

    async fn run(
        &self,
        spec: &LaunchSpec,
        container: &ContainerSpec,
        site: &Site,
        cancel: &CancellationToken,
        on_step: OnStep<'_>,
    ) -> Result<Instance, EngineError> {
        let id = self.create(spec, container, site, cancel, on_step).await?;
        self.start_in_turn(&id, site, cancel, on_step).await?;
        unless_cancelled(cancel)?;
        let made = self
            .call(READ_LIMIT, |docker| docker.inspect_container(&id, None))
            .await?;
        if let Some(exit) = labels::exit(made.state.as_ref()) {
            let logs = self.logs_of(&id, LAST_LINES).await.unwrap_or_default();
            return Err(EngineError::Exited { exit, logs });
        }
        labels::instance(&made, site).map_err(|reason| {
            EngineError::Refused(format!("the container was started, but {reason}"))
        })
    }

    /// Looks whether the home volume is there, and whether it is ours: another service's may have
    /// the same name, and its files are nobody else's business. In any case, the engine has answered then.
    async fn home(
        &self,
        spec: &LaunchSpec,
        container: &ContainerSpec,
    ) -> Result<Home, EngineError> {
        if container.home.is_none() {
            // An engine that hangs is found out here, and not by the first order, which has a limit
            // that is too long for whoever waits.
            self.call(READ_LIMIT, |docker| docker.ping()).await?;
            return Ok(Home::Kept);
        }
        let docker = self.client.get()?;
        match limited(READ_LIMIT, docker.inspect_volume(&container.name)).await {
            Ok(volume) => {
                let ours = volume.labels.get(labels::OWNER) == Some(&self.settings.owner)
                    && volume.labels.get(labels::UID).map(String::as_str)
                        == Some(spec.uid.as_str());
                if ours {
                    Ok(Home::Kept)
                } else {
                    Err(EngineError::Refused(format!(
                        "a volume named '{name}' that does not belong to this desktop is in the way; look at it with: docker volume inspect {name}",
                        name = container.name
                    )))
                }
            }
            Err(error) if is_not_found(&error) => Ok(Home::New),
            Err(error) => Err(self.client.explain(error)),
        }
    }

    /// Makes the container. What is in the way is put right once, and then it is tried again.
    async fn create(
        &self,
        spec: &LaunchSpec,
        container: &ContainerSpec,
        site: &Site,
        cancel: &CancellationToken,
        on_step: OnStep<'_>,
    ) -> Result<String, EngineError> {
        let mut may_pull = match container.pull {
            PullPolicy::Never => false,
            PullPolicy::Missing => true,
            PullPolicy::Always => {
                unless_cancelled(cancel)?;
                match self.pull(container, cancel, on_step).await {
                    Err(EngineError::ImageMissing { hint, .. }) => {
                        tracing::warn!(
                            image = container.image,
                            reason = hint,
                            "not pulled; what is there is used"
                        );
                    }
                    pulled => pulled?,
                }
                false
            }
        };
        let begun = Instant::now();
        let mut may_replace = true;
        let mut may_make_network = true;
        let body = self.body(spec, container, site)?;
        let docker = self.client.get()?;
        loop {
            unless_cancelled(cancel)?;
            let options = CreateContainerOptionsBuilder::default()
                .name(&container.name)
                .build();
            let order = docker.create_container(Some(options), body.clone());
            let error = match limited(ORDER_LIMIT, order).await {
                Ok(made) => {
                    for warning in made.warnings {
                        tracing::debug!(container = container.name, warning);
                    }
                    return Ok(made.id);
                }
                Err(error) => error,
            };
            match status(&error) {
                // Either the image is missing or the network is, and the image can be looked up.
                Some(NOT_FOUND) if self.client.image(&container.image).await?.is_none() => {
                    if !may_pull {
                        return Err(EngineError::ImageMissing {
                            image: container.image.clone(),
                            hint: container.image_hint.clone(),
                        });
                    }
                    may_pull = false;
                    self.pull(container, cancel, on_step).await?;
                }
                Some(BAD_REQUEST | NOT_FOUND) if may_make_network => {
                    may_make_network = false;
                    self.ensure_network(site).await?;
                }
                Some(CONFLICT) => match self.make_way(spec, container).await? {
                    Way::Cleared if may_replace => may_replace = false,
                    Way::NobodyThere if begun.elapsed() < ORDER_LIMIT => sleep(NAME_RETRY).await,
                    Way::Cleared | Way::NobodyThere => {
                        return Err(EngineError::NameTaken {
                            name: container.name.clone(),
                        });
                    }
                },
                _ => return Err(self.client.explain(error)),
            }
        }
    }

    /// Starts a container as soon as few enough others are being started.
    async fn start_in_turn(
        &self,
        id: &str,
        site: &Site,
        cancel: &CancellationToken,
        on_step: OnStep<'_>,
    ) -> Result<(), EngineError> {
        let _turn = match self.starts.try_acquire() {
            Ok(turn) => Some(turn),
            Err(_) => {
                on_step(StartStep::Queued);
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => return Err(EngineError::Cancelled),
                    // Never closed, so that the only outcome is a turn.
                    turn = self.starts.acquire() => turn.ok(),
                }
            }
        };
        unless_cancelled(cancel)?;
        on_step(StartStep::Starting);
        self.start_made(id, site).await
    }

    async fn start_made(&self, id: &str, site: &Site) -> Result<(), EngineError> {
        let docker = self.client.get()?;
        let first = limited(ORDER_LIMIT, docker.start_container(id, None)).await;
        let error = match first {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        // A network that was removed while no desktop was on it is not found, and two of one name
        // are a bad request. An order that failed for another reason fails again.
        if !matches!(status(&error), Some(BAD_REQUEST | NOT_FOUND)) {
            return Err(self.client.explain(error));
        }
        self.ensure_network(site).await?;
        self.call(ORDER_LIMIT, |docker| docker.start_container(id, None))
            .await
    }

    /// Removes the container that has the name, if it is of an earlier run of ours. One that still runs is asked to end.
    async fn make_way(
        &self,
        spec: &LaunchSpec,
        container: &ContainerSpec,
    ) -> Result<Way, EngineError> {
        let docker = self.client.get()?;
        let other = match limited(READ_LIMIT, docker.inspect_container(&container.name, None)).await
        {
            Ok(other) => other,
            Err(error) if is_not_found(&error) => return Ok(Way::NobodyThere),
            Err(error) => return Err(self.client.explain(error)),
        };
        let running = other.state.and_then(|state| state.running) == Some(true);
        let label = |name| {
            let labels = other.config.as_ref()?.labels.as_ref()?;
            labels.get(name).map(String::as_str)
        };
        let ours = label(labels::OWNER) == Some(self.settings.owner.as_str());
        let same_desktop = label(labels::UID) == Some(spec.uid.as_str());
        match other.id {
            Some(id) if ours && (same_desktop || !running) => {
                tracing::info!(
                    container = container.name,
                    running,
                    "removing the container of an earlier run"
                );
                self.end(&id, container.stop_grace)
                    .await
                    .map(|()| Way::Cleared)
            }
            _ => Err(EngineError::NameTaken {
                name: container.name.clone(),
            }),
        }
    }

    /// Removes what a failed start has left. The failure itself is what the caller has to know.
    async fn clean_up(&self, spec: &LaunchSpec, container: &ContainerSpec, home: Home) {
        let cleaned = async {
            for id in self.containers_of(&spec.instance).await? {
                self.end(&id, container.stop_grace).await?;
            }
            match home {
                Home::New => self.delete_homes(&spec.uid, Some(&container.name)).await,
                Home::Kept => Ok(()),
            }
        };
        if let Err(error) = cleaned.await {
            tracing::warn!(
                container = container.name,
                %error,
                "what a failed start has left could not be removed"
            );
        }
    }

    fn body(
        &self,
        spec: &LaunchSpec,
        container: &ContainerSpec,
        site: &Site,
    ) -> Result<ContainerCreateBody, EngineError> {
        let labels = labels::of_container(&self.settings.owner, spec, container)
            .map_err(|error| EngineError::Refused(format!("labels cannot be written: {error}")))?;
        let password = container
            .password
            .as_ref()
            .map(|password| format!("{}={}", labels::PASSWORD_VARIABLE, password.reveal()));
        let environment = container
            .environment
            .0
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .chain(password)
            .collect();
        let ports: Vec<String> = container
            .streams
            .values()
            .map(|stream| format!("{}/tcp", stream.port))
            .collect();
        Ok(ContainerCreateBody {
            hostname: Some(spec.app.chars().take(HOST_NAME_MAX).collect()),
            image: Some(container.image.clone()),
            env: Some(environment),
            labels: Some(labels),
            exposed_ports: Some(ports.clone()),
            // For whoever else ends it, such as the engine that ends itself.
            stop_timeout: Some(whole_seconds(container.stop_grace).into()),
            host_config: Some(self.host_config(spec, container, site, &ports)),
            ..ContainerCreateBody::default()
        })
    }

    fn host_config(
        &self,
        spec: &LaunchSpec,
        container: &ContainerSpec,
        site: &Site,
        ports: &[String],
    ) -> HostConfig {
        let mut host = HostConfig {
            network_mode: Some(site.network.clone()),
            extra_hosts: Some(container.extra_hosts.clone()),
            ipc_mode: Some("private".to_owned()),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                maximum_retry_count: None,
            }),
            // What a desktop writes is for a look at its last lines, and must not fill the disk.
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(
                    [("max-size", "1m"), ("max-file", "2")]
                        .map(|(name, value)| (name.to_owned(), value.to_owned()))
                        .into(),
                ),
            }),
            mounts: container.home.as_ref().map(|target| {
                vec![Mount {
                    typ: Some(MountType::VOLUME),
                    source: Some(container.name.clone()),
                    target: Some(target.clone()),
                    volume_options: Some(MountVolumeOptions {
                        labels: Some(HashMap::from([
                            (labels::OWNER.to_owned(), self.settings.owner.clone()),
                            (labels::UID.to_owned(), spec.uid.to_string()),
                        ])),
                        ..MountVolumeOptions::default()
                    }),
                    ..Mount::default()
                }]
            }),
            ..HostConfig::default()
        };
        limit(&mut host, &container.limits, site);
        confine(&mut host, container.sandbox, &self.settings.seccomp);
        if site.route == Route::Published {
            let binding = PortBinding {
                host_ip: Some("127.0.0.1".to_owned()),
                host_port: Some(String::new()),
            };
            host.port_bindings = Some(
                ports
                    .iter()
                    .map(|port| (port.clone(), Some(vec![binding.clone()])))
                    .collect(),
            );
        }
        if container.gpu && site.same_devices {
            pass_graphics(&mut host, Path::new(GRAPHICS));
        }
        host
    }
}

fn limit(host: &mut HostConfig, limits: &Limits, site: &Site) {
    let bytes = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
    host.memory = limits.memory.map(bytes);
    // Memory and swap together: as much as memory alone is no swap, so that a desktop over its
    // limit ends rather than makes the whole host slow.
    host.memory_swap = host.memory;
    // The engine refuses to promise more CPUs than there are.
    host.nano_cpus = limits.milli_cpus.map(|milli_cpus| {
        let available = site.milli_cpus.unwrap_or(milli_cpus);
        i64::from(milli_cpus.min(available)) * 1_000_000
    });
    host.pids_limit = Some(i64::from(limits.processes));
    host.shm_size = Some(bytes(limits.shared_memory));
}

/// Takes away what a desktop does not need.
///
/// Our own images run as an ordinary user and need no capability at all. A foreign image may start
/// as root and give up its rights step by step (nginx, with `CHOWN`, `SETUID`, `SETGID` and
/// `NET_BIND_SERVICE`), so it keeps the engine's defaults without two: `NET_RAW`, with which root
/// can pretend to be a neighbour on the network, and `MKNOD`. Neither may gain rights by set-user-ID
/// programs.
fn confine(host: &mut HostConfig, sandbox: Sandbox, seccomp: &str) {
    let mut options = vec!["no-new-privileges".to_owned()];
    let dropped: &[&str] = match sandbox {
        Sandbox::EngineDefault => &["NET_RAW", "MKNOD"],
        Sandbox::UserNamespaces => {
            options.push(format!("seccomp={seccomp}"));
            &["ALL"]
        }
    };
    host.security_opt = Some(options);
    host.cap_drop = Some(dropped.iter().copied().map(str::to_owned).collect());
}

/// Passes the graphics devices in, with the groups that may use them. Without any, an app renders
/// in software. A service in a container sees the host's where they are passed to it too.
fn pass_graphics(host: &mut HostConfig, directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    let mut groups: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .filter(|metadata| !metadata.is_dir())
        .map(|metadata| metadata.gid().to_string())
        .collect();
    if groups.is_empty() {
        return;
    }
    groups.sort();
    groups.dedup();
    host.devices = Some(vec![DeviceMapping {
        path_on_host: Some(directory.display().to_string()),
        path_in_container: Some(directory.display().to_string()),
        cgroup_permissions: Some("rw".to_owned()),
    }]);
    host.group_add = Some(groups);
}

fn unless_cancelled(cancel: &CancellationToken) -> Result<(), EngineError> {
    if cancel.is_cancelled() {
        Err(EngineError::Cancelled)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graphics_are_passed_with_their_groups_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let mut host = HostConfig::default();
        pass_graphics(&mut host, &directory.path().join("absent"));
        pass_graphics(&mut host, directory.path());
        assert_eq!(host, HostConfig::default());

        std::fs::create_dir(directory.path().join("by-path")).unwrap();
        for name in ["card0", "renderD128"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let gid = std::fs::metadata(directory.path().join("card0"))
            .unwrap()
            .gid();
        pass_graphics(&mut host, directory.path());
        assert_eq!(host.group_add, Some(vec![gid.to_string()]));
        assert_eq!(host.devices.unwrap().len(), 1);
    }

    #[test]
    fn no_more_cpus_are_asked_for_than_there_are() {
        let mut host = HostConfig::default();
        let limits = Limits {
            milli_cpus: Some(4000),
            memory: Some(1 << 30),
            shared_memory: 1 << 20,
            processes: 100,
        };
        let site = Site::for_tests(2000);
        limit(&mut host, &limits, &site);
        assert_eq!(host.nano_cpus, Some(2_000_000_000));
        assert_eq!(host.memory_swap, host.memory);
    }
}
