//! The engine as its operator uses it, on the command line: it looks, and fetches images.

use std::collections::HashMap;
use std::path::Path;

use bollard::query_parameters::ListContainersOptionsBuilder;

use super::super::EngineError;
use super::super::inventory::{EngineInfo, ImageInfo, image_architecture};
use super::client::{Client, Location, READ_LIMIT, limited};
use super::labels;
use super::pull::fetch;

/// A Docker Engine that no desktop is started on.
pub struct Operator {
    client: Client,
}

impl Operator {
    /// Gets ready to speak to an engine, as [`super::Docker::connect`] does: `host` is a value of
    /// `DOCKER_HOST`, `certificates` the directory of those for an engine over TLS.
    ///
    /// # Errors
    /// When the address cannot work whatever the engine does.
    pub fn connect(host: &str, certificates: Option<&Path>) -> Result<Self, EngineError> {
        let client = Client::new(Some(host), certificates)?;
        Ok(Self { client })
    }

    /// What the engine and its host are.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn info(&self) -> Result<EngineInfo, EngineError> {
        let docker = self.client.get()?;
        let info = limited(READ_LIMIT, docker.info())
            .await
            .map_err(|error| self.client.explain(error))?;
        let is_local = self.client.location() == Location::Socket;
        Ok(EngineInfo {
            version: info.server_version.unwrap_or_default(),
            architecture: image_architecture(&info.architecture.unwrap_or_default()).to_owned(),
            data_directory: info.docker_root_dir.filter(|_| is_local),
            clock: info.system_time.and_then(|time| time.parse().ok()),
            memory: info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()),
        })
    }

    /// The image, where it is there.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn image(&self, reference: &str) -> Result<Option<ImageInfo>, EngineError> {
        let image = self.client.image(reference).await?;
        Ok(image.map(|image| ImageInfo {
            size: image
                .size
                .and_then(|size| u64::try_from(size).ok())
                .unwrap_or_default(),
            architecture: image.architecture.unwrap_or_default(),
            created_at: image.created.and_then(|created| created.parse().ok()),
        }))
    }

    /// Fetches an image from its registry, and tells how much of it is there (0 to 100, where that
    /// is known) as often as that changes.
    ///
    /// # Errors
    /// When the engine does not answer, or the image cannot be had.
    pub async fn pull(
        &self,
        reference: &str,
        on_percent: impl FnMut(Option<u8>),
    ) -> Result<(), EngineError> {
        // The client's futures are large.
        Box::pin(fetch(&self.client, reference, on_percent)).await
    }

    /// The names of the unmanaged containers, running or not, whose name begins with `base_name` as a desktop's does.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn unmanaged(&self, base_name: &str) -> Result<Vec<String>, EngineError> {
        let filter = HashMap::from([("name".to_owned(), vec![base_name.to_owned()])]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filter)
            .build();
        let docker = self.client.get()?;
        let listed = limited(READ_LIMIT, docker.list_containers(Some(options)))
            .await
            .map_err(|error| self.client.explain(error))?;
        let mut names: Vec<String> = listed
            .into_iter()
            .filter(|container| {
                let labels = container.labels.as_ref();
                !labels.is_some_and(labels::is_managed)
            })
            .filter_map(|container| {
                // The engine's filter also finds names that only contain this one, and each of its names starts with a
                // slash.
                container.names.iter().flatten().find_map(|name| {
                    let name = name.strip_prefix('/')?;
                    name.starts_with(base_name).then(|| name.to_owned())
                })
            })
            .collect();
        names.sort_unstable();
        Ok(names)
    }
}
