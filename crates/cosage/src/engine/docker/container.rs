//! What a container is made of: its variables, its limits, what it is kept from, and its home.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, HostConfig, HostConfigLogConfig, Mount, MountType,
    MountVolumeOptions, PortBinding, RestartPolicy, RestartPolicyNameEnum,
};

use super::super::{ContainerSpec, EngineError, LaunchSpec, Limits, Sandbox};
use super::instance::PASSWORD_VARIABLE;
use super::site::{Route, Site};
use super::{Docker, labels, whole_seconds};

/// Where the kernel shows a host's graphics devices.
const GRAPHICS: &str = "/dev/dri";

/// The longest host name that Linux takes (`HOST_NAME_MAX`).
const HOST_NAME_MAX: usize = 64;

impl Docker {
    /// The order to make the container of a start.
    pub(super) fn body(
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
            .map(|password| format!("{}={}", PASSWORD_VARIABLE, password.reveal()));
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
                        labels: Some(labels::of_home(&self.settings.owner, &spec.uid)),
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
