//! The catalogue in force, which can be replaced while the service runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::{Catalog, CatalogDefaults, CatalogErrors};

/// The catalogue that comes with the service.
const EMBEDDED: &str = include_str!("../../../../catalog.toml");

/// The name of a catalogue in the working directory.
const FILE_NAME: &str = "catalog.toml";

/// Where the catalogue is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogSource {
    /// The one that comes with the service.
    Embedded,
    /// A file.
    File(PathBuf),
}

impl CatalogSource {
    /// The file the operator names; else `catalog.toml` in the working directory; else the one that
    /// comes with the service.
    pub fn find(configured: Option<&Path>) -> Self {
        match configured {
            Some(path) => Self::File(path.to_owned()),
            None if Path::new(FILE_NAME).exists() => Self::File(PathBuf::from(FILE_NAME)),
            None => Self::Embedded,
        }
    }

    /// Reads and checks it.
    pub fn load(&self, defaults: &CatalogDefaults) -> Result<Catalog, CatalogLoadError> {
        match self {
            Self::Embedded => Ok(Catalog::parse(EMBEDDED, &self.to_string(), defaults)?),
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    CatalogLoadError::Unreadable {
                        path: path.clone(),
                        reason: error.to_string(),
                    }
                })?;
                let directory = path.parent().unwrap_or(Path::new(""));
                Ok(Catalog::parse_in(
                    directory,
                    &text,
                    &self.to_string(),
                    defaults,
                )?)
            }
        }
    }
}

impl fmt::Display for CatalogSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => formatter.write_str("built-in catalog.toml"),
            Self::File(path) => path.display().fmt(formatter),
        }
    }
}

/// Why a catalogue could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogLoadError {
    /// The file cannot be read.
    #[error(
        "the catalogue {} cannot be read: {reason}; set COSAGE_CATALOG to a file that can, or unset it for the built-in catalogue",
        .path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        reason: String,
    },
    /// The file is wrong.
    #[error(transparent)]
    Invalid(#[from] CatalogErrors),
}

/// The catalogue in force. Readers take it as a whole, so that a request never sees half of a
/// replacement.
#[derive(Debug)]
pub struct CatalogHandle {
    source: CatalogSource,
    defaults: CatalogDefaults,
    current: ArcSwap<Catalog>,
    replaced: Notify,
}

impl CatalogHandle {
    /// Reads the catalogue for the first time; now, and only now, a broken one is fatal.
    pub fn open(
        source: CatalogSource,
        defaults: CatalogDefaults,
    ) -> Result<Self, CatalogLoadError> {
        let catalog = source.load(&defaults)?;
        tracing::info!(source = %source, apps = catalog.apps.len(), "catalogue read");
        Ok(Self {
            source,
            defaults,
            current: ArcSwap::from_pointee(catalog),
            replaced: Notify::new(),
        })
    }

    /// A catalogue that is there already; reloading it goes back to the one that comes with the
    /// service. For tests and tools.
    pub fn fixed(catalog: Catalog) -> Self {
        Self {
            source: CatalogSource::Embedded,
            defaults: CatalogDefaults::default(),
            current: ArcSwap::from_pointee(catalog),
            replaced: Notify::new(),
        }
    }

    /// The catalogue as it is now.
    pub fn current(&self) -> Arc<Catalog> {
        self.current.load_full()
    }

    /// Returns when the catalogue has been replaced since this was last waited for. One waits at a
    /// time.
    pub async fn replaced(&self) {
        self.replaced.notified().await;
    }

    /// Where it is read from.
    pub fn source(&self) -> &CatalogSource {
        &self.source
    }

    /// Reads the file again. A broken one leaves the old one in force, and each of its problems is
    /// logged.
    pub fn reload(&self) -> Result<(), CatalogLoadError> {
        match self.source.load(&self.defaults) {
            Ok(catalog) => {
                tracing::info!(source = %self.source, apps = catalog.apps.len(), "catalogue read again");
                self.current.store(Arc::new(catalog));
                self.replaced.notify_one();
                Ok(())
            }
            Err(error) => {
                for line in error.to_string().lines() {
                    tracing::error!("{line}");
                }
                tracing::error!(source = %self.source, "the catalogue was not replaced; the old one stays in force");
                Err(error)
            }
        }
    }
}
