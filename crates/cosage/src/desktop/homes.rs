//! The homes of desktops: access to their files, how much disk they take, and those that no desktop has any more.

use tokio::time::timeout;

use super::Uid;
use super::driver::Message;
use super::error::{DesktopError, MEASUREMENT_BOUND};
use super::manager::Manager;
use crate::engine::home::{HomeAccess, HomeError};

impl Manager {
    /// Access to the files of the desktop's home for one request, whether it runs or sleeps. That is a use of the desktop.
    ///
    /// # Errors
    /// [`DesktopError::UnknownDesktop`], [`DesktopError::Files`], or the engine's.
    pub async fn home(&self, uid: &Uid) -> Result<HomeAccess, DesktopError> {
        let view = self.view(uid).await?;
        let homes = self.context.engine.homes().map_err(HomeError::from)?;
        // Before it is opened, so that nothing deletes it meanwhile for want of use.
        self.context.notes.used(uid);
        if view.unused.announced_at.is_some() {
            // It takes back what was announced, so a crash must not lose it.
            self.context.notes.flush().await?;
        }
        Ok(homes.open(uid).await?)
    }

    /// How much of its disk a home takes, in bytes. The home may belong to no desktop.
    ///
    /// # Errors
    /// [`HomeError::NoHome`] or another one of [`DesktopError::Files`]; [`DesktopError::MeasurementTimeout`] after
    /// [`MEASUREMENT_BOUND`].
    pub async fn measure_home(&self, uid: &Uid) -> Result<u64, DesktopError> {
        let homes = self.context.engine.homes().map_err(HomeError::from)?;
        let measured = timeout(MEASUREMENT_BOUND, async {
            let _turn = self.context.measurements.acquire().await;
            homes.open(uid).await?.disk_use().await
        });
        match measured.await {
            Ok(measured) => Ok(measured?),
            Err(_) => Err(DesktopError::MeasurementTimeout(uid.clone())),
        }
    }

    /// The homes on the engine that are this service's and belong to no desktop, in the order of their names.
    ///
    /// # Errors
    /// The engine's or the store's.
    pub async fn unclaimed_homes(&self) -> Result<Vec<Uid>, DesktopError> {
        let homes = self.context.engine.homes().map_err(HomeError::from)?;
        // The list first: a desktop is in the store before it has a home.
        let mut unclaimed = homes.list().await.map_err(HomeError::from)?;
        unclaimed.sort_unstable();
        let mut claimed = Vec::new();
        for uid in &unclaimed {
            let is_stored = self.context.store.desktop(uid).await?.is_some();
            claimed.push(is_stored || self.registry.view(uid).is_some());
        }
        let mut claimed = claimed.into_iter();
        unclaimed.retain(|_| claimed.next() == Some(false));
        Ok(unclaimed)
    }

    /// Deletes a home that belongs to no desktop, and a picture of that name. One that does not exist is a success.
    ///
    /// # Errors
    /// [`DesktopError::HomeClaimed`], or the engine's.
    pub async fn delete_home(&self, uid: &Uid) -> Result<(), DesktopError> {
        // Or the desktop's container may still be about to end.
        self.reconciler.compared().await?;
        self.ask(uid, Message::DeleteHome).await
    }
}
