//! Why a desktop could not be had, asked or stopped.

use std::time::Duration;

use super::failure::FailReason;
use super::{StreamKey, Uid};
use crate::catalog::{EnvironmentError, UnknownApp};
use crate::engine::home::HomeError;
use crate::store::StoreError;

/// How long the measurement of a home may take, with the wait for others.
pub const MEASUREMENT_BOUND: Duration = Duration::from_secs(60);

/// Why a desktop could not be had, asked or stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DesktopError {
    /// The catalogue does not have the app.
    #[error(transparent)]
    UnknownApp(#[from] UnknownApp),
    /// A new uid without an app.
    #[error("no desktop is called '{0}' yet; name an app to make it: {{\"vm\": \"<app>\"}}")]
    AppRequired(Uid),
    /// The environment is not what the app allows.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// No such desktop.
    #[error("no desktop is called '{0}'")]
    UnknownDesktop(Uid),
    /// The stream key belongs to no desktop.
    #[error("no desktop holds the stream '{0}'; it may have ended: ask for it again by its uid")]
    UnknownKey(StreamKey),
    /// Nothing of it runs.
    #[error("the desktop '{0}' is not running")]
    NotRunning(Uid),
    /// It has no such stream.
    #[error("the desktop has no stream '{name}'; it has: {}", .known.join(", "))]
    UnknownStream {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// It could not be done with the files of its home.
    #[error(transparent)]
    Files(#[from] HomeError),
    /// It is to be deleted only if it is not used, and is.
    #[error("the desktop '{0}' is in use or was used meanwhile; it was not deleted")]
    InUse(Uid),
    /// Its home took too long to measure.
    #[error(
        "the home of '{uid}' was not measured within {seconds} s; try again when its disk is less busy",
        uid = .0,
        seconds = MEASUREMENT_BOUND.as_secs()
    )]
    MeasurementTimeout(Uid),
    /// A home that is to be deleted alone belongs to a desktop.
    #[error("the home of '{0}' belongs to a desktop; delete the desktop to delete its home")]
    HomeClaimed(Uid),
    /// It could not be done.
    #[error(transparent)]
    Failed(#[from] FailReason),
}

impl From<StoreError> for DesktopError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::UnknownDesktop(uid) => Self::UnknownDesktop(uid),
            error => Self::Failed(error.into()),
        }
    }
}
