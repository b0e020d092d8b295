//! The service's own settings, for commands that look at what it would use.

use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use crate::catalog::{Catalog, CatalogSource};
use crate::config::{self, CONFIG_FILE, CONFIG_VARIABLE, Config, FlagValues};

/// Where the settings are read from: as the service does it, with its environment and file.
#[derive(Debug, Args)]
pub(super) struct Settings {
    #[arg(
        long,
        value_name = "FILE",
        help = format!("The service's configuration file.\n[env: {CONFIG_VARIABLE}] [default: {CONFIG_FILE} in the working directory, where there is one]")
    )]
    config: Option<PathBuf>,
}

impl Settings {
    /// The configuration; what is wrong with it where it cannot be had.
    pub(super) fn load(&self) -> Result<Config, Failure> {
        config::load(&FlagValues::new(), self.config.as_deref())
            .map(|(config, _)| config)
            .map_err(|errors| Failure::Usage(errors.to_string()))
    }
}

/// The catalogue that the service would use, and where it is.
pub(super) fn catalog(config: &Config) -> Result<(CatalogSource, Catalog), Failure> {
    let source = CatalogSource::find(config.catalog.as_deref());
    match source.load(&config.catalog_defaults()) {
        Ok(catalog) => Ok((source, catalog)),
        Err(error) => Err(Failure::Usage(error.to_string())),
    }
}
