//! `cosage images pull`.

use clap::Args;

use super::{containers, engine_failure};
use crate::cli::failure::Failure;
use crate::cli::output::print_line;
use crate::cli::progress::Progress;
use crate::cli::settings::{Settings, catalog};
use crate::server;

/// `cosage images pull`.
#[derive(Debug, Args)]
pub(super) struct Pull {
    /// The apps whose images are fetched.
    #[arg(value_name = "APP")]
    apps: Vec<String>,
    #[command(flatten)]
    settings: Settings,
}

impl Pull {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let config = self.settings.load()?;
        let (_, catalog) = catalog(&config)?;
        let chosen = containers(&catalog, &self.apps)?;
        let (built, fetched): (Vec<_>, Vec<_>) = chosen
            .into_iter()
            .partition(|container| container.source.build.is_some());
        if let (false, Some(container)) = (self.apps.is_empty(), built.first()) {
            let name = &container.app.name;
            return Err(Failure::Usage(format!(
                "the image of '{name}' is in no registry; build it with: cosage images build {name}"
            )));
        }
        if fetched.is_empty() {
            eprintln!(
                "nothing to fetch: all images of the catalogue are built with 'cosage images build'"
            );
            return Ok(());
        }
        let operator = server::operator(&config).map_err(engine_failure)?;
        let mut outcome = Ok(());
        for container in fetched {
            let image = &container.source.image;
            let mut progress = Progress::spinner(image.clone());
            let pulled = operator
                .pull(image, |percent| progress.show(image.clone(), percent))
                .await;
            drop(progress);
            match pulled {
                Ok(()) => print_line(image)?,
                // The others are fetched all the same; the first failure is the command's.
                Err(error) => {
                    let failure = Failure::Failed(format!("{image}: {error}"));
                    outcome = outcome.and(Err(failure.told()));
                }
            }
        }
        outcome
    }
}
