//! One start: create, start, and read the address back; three calls when nothing is in the way.

use std::time::Duration;

use bollard::query_parameters::CreateContainerOptionsBuilder;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::super::{
    ContainerSpec, EngineError, Instance, LaunchSpec, OnStep, PullPolicy, StartStep, Workload,
};
use super::client::{
    BAD_REQUEST, CONFLICT, NOT_FOUND, ORDER_LIMIT, READ_LIMIT, is_not_found, limited, status,
};
use super::site::Site;
use super::{Docker, instance, labels};

/// How many lines of an instance that ended at once go into the error.
const LAST_LINES: usize = 50;

/// How soon a name is tried again that no container seems to have.
const NAME_RETRY: Duration = Duration::from_millis(50);

/// The desktop's home volume before the start.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HomeVolume {
    /// There is none to be mounted, or one with files that must not be lost.
    Kept,
    /// It is made with the container, and is empty if that fails.
    New,
}

/// What became of the container that had a wanted name.
enum NameHolder {
    /// It was of an earlier run of the same desktop, or what was left of one: it is removed.
    Removed,
    /// The engine shows none: it has just gone, or the engine has given the name away and is still making the
    /// container, as for a service that was killed meanwhile.
    Unseen,
}

impl Docker {
    pub(super) async fn start_workload(
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
        let home = self.home_volume(spec, container).await?;
        let outcome = self.run(spec, container, site, cancel, on_step).await;
        if outcome.is_err() {
            self.clean_up(spec, container, home).await;
        }
        outcome.map(|instance| Instance {
            home_is_new: home == HomeVolume::New,
            ..instance
        })
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
        if let Some(exit) = instance::exit(made.state.as_ref()) {
            let logs = self.logs_of(&id, LAST_LINES).await.unwrap_or_default();
            return Err(EngineError::Exited { exit, logs });
        }
        instance::read(&made, site).map_err(|reason| {
            EngineError::Refused(format!("the container was started, but {reason}"))
        })
    }

    /// Looks whether the home volume is there, and whether it is ours: another service's may have
    /// the same name, and its files are nobody else's business. In any case, the engine has answered then.
    async fn home_volume(
        &self,
        spec: &LaunchSpec,
        container: &ContainerSpec,
    ) -> Result<HomeVolume, EngineError> {
        if container.home.is_none() {
            // An engine that hangs is found out here, and not by the first order, which has a limit
            // that is too long for whoever waits.
            self.call(READ_LIMIT, |docker| docker.ping()).await?;
            return Ok(HomeVolume::Kept);
        }
        let docker = self.client.get()?;
        match limited(READ_LIMIT, docker.inspect_volume(&container.name)).await {
            Ok(volume) => {
                let ours = labels::belongs_to(&volume.labels, &self.settings.owner);
                if ours && labels::uid(&volume.labels).as_ref() == Some(&spec.uid) {
                    Ok(HomeVolume::Kept)
                } else {
                    Err(EngineError::Refused(format!(
                        "a volume named '{name}' that does not belong to this desktop is in the way; look at it with: docker volume inspect {name}",
                        name = container.name
                    )))
                }
            }
            Err(error) if is_not_found(&error) => Ok(HomeVolume::New),
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
                Some(CONFLICT) => match self.free_name(spec, container).await? {
                    NameHolder::Removed if may_replace => may_replace = false,
                    NameHolder::Unseen if begun.elapsed() < ORDER_LIMIT => sleep(NAME_RETRY).await,
                    NameHolder::Removed | NameHolder::Unseen => {
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
    async fn free_name(
        &self,
        spec: &LaunchSpec,
        container: &ContainerSpec,
    ) -> Result<NameHolder, EngineError> {
        let docker = self.client.get()?;
        let other = match limited(READ_LIMIT, docker.inspect_container(&container.name, None)).await
        {
            Ok(other) => other,
            Err(error) if is_not_found(&error) => return Ok(NameHolder::Unseen),
            Err(error) => return Err(self.client.explain(error)),
        };
        let running = other.state.and_then(|state| state.running) == Some(true);
        let found = other.config.and_then(|config| config.labels);
        let found = found.unwrap_or_default();
        let ours = labels::belongs_to(&found, &self.settings.owner);
        let same_desktop = labels::uid(&found).as_ref() == Some(&spec.uid);
        match other.id {
            Some(id) if ours && (same_desktop || !running) => {
                tracing::info!(
                    container = container.name,
                    running,
                    "removing the container of an earlier run"
                );
                self.end(&id, container.stop_grace)
                    .await
                    .map(|()| NameHolder::Removed)
            }
            _ => Err(EngineError::NameTaken {
                name: container.name.clone(),
            }),
        }
    }

    /// Removes what a failed start has left. The failure itself is what the caller has to know.
    async fn clean_up(&self, spec: &LaunchSpec, container: &ContainerSpec, home: HomeVolume) {
        let cleaned = async {
            for id in self.containers_of(&spec.instance).await? {
                self.end(&id, container.stop_grace).await?;
            }
            match home {
                HomeVolume::New => self.delete_homes(&spec.uid, Some(&container.name)).await,
                HomeVolume::Kept => Ok(()),
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
}

fn unless_cancelled(cancel: &CancellationToken) -> Result<(), EngineError> {
    if cancel.is_cancelled() {
        Err(EngineError::Cancelled)
    } else {
        Ok(())
    }
}
