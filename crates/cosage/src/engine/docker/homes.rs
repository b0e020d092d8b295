//! Home volumes.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bollard::models::Volume;
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptions};

use super::super::home::{HomeAccess, HomeError};
use super::super::{EngineError, Homes};
use super::client::{ORDER_LIMIT, READ_LIMIT, is_not_found, limited};
use super::{Docker, labels};
use crate::desktop::Uid;

#[async_trait]
impl Homes for Docker {
    async fn open(&self, uid: &Uid) -> Result<HomeAccess, HomeError> {
        Box::pin(self.open_home(uid)).await
    }

    async fn list(&self) -> Result<Vec<Uid>, EngineError> {
        let volumes = self.volumes(&labels::owned(&self.settings.owner)).await?;
        let uids = volumes
            .iter()
            .filter_map(|volume| labels::uid(&volume.labels));
        // An older name of the volume may be there beside a newer one.
        let uids: BTreeSet<Uid> = uids.collect();
        Ok(uids.into_iter().collect())
    }

    async fn delete(&self, uid: &Uid) -> Result<(), EngineError> {
        self.delete_homes(uid, None).await
    }
}

impl Docker {
    /// The home volumes of a desktop that are ours.
    pub(super) async fn home_volumes(&self, uid: &Uid) -> Result<Vec<Volume>, EngineError> {
        self.volumes(&labels::owned_for(&self.settings.owner, uid))
            .await
    }

    async fn volumes(&self, filter: &labels::Filter) -> Result<Vec<Volume>, EngineError> {
        let options = ListVolumesOptionsBuilder::default().filters(filter).build();
        let listed = self
            .call(READ_LIMIT, |docker| docker.list_volumes(Some(options)))
            .await?;
        Ok(listed.volumes.unwrap_or_default())
    }

    /// Deletes the home volumes of a desktop that are ours; of them only `name`, where one is
    /// given.
    pub(super) async fn delete_homes(
        &self,
        uid: &Uid,
        name: Option<&str>,
    ) -> Result<(), EngineError> {
        let _nobody_opens_it = self.end_programs(uid).await?;
        let docker = self.client.get()?;
        for volume in self.home_volumes(uid).await? {
            if name.is_some_and(|name| name != volume.name) {
                continue;
            }
            match limited(
                ORDER_LIMIT,
                docker.remove_volume(&volume.name, None::<RemoveVolumeOptions>),
            )
            .await
            {
                Ok(()) => {}
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(self.client.explain(error)),
            }
        }
        Ok(())
    }
}
