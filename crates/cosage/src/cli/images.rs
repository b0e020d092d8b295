//! `cosage images`: the images of the catalogue's apps, on the engine that the service would use.

mod build;
mod ls;
mod pull;

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::foreign::plain;
use crate::catalog::{App, Catalog, ContainerSource, Source};
use crate::engine::EngineError;

/// `cosage images`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct Images {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the images, and which of them are there.
    Ls(ls::Ls),
    /// Fetch images from their registries.
    ///
    /// Without a name: of all apps whose images are not built here.
    Pull(pull::Pull),
    /// Build images from a checkout of CoSage, which is looked for beside the catalogue.
    ///
    /// Without a name: of all apps whose images are built there. What has not changed is not built
    /// again.
    Build(build::Build),
}

impl Images {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Command::Ls(ls) => ls.run().await,
            Command::Pull(pull) => pull.run().await,
            Command::Build(build) => build.run().await,
        }
    }
}

/// An app that is a container.
#[derive(Clone, Copy, Debug)]
struct Container<'a> {
    app: &'a App,
    source: &'a ContainerSource,
}

/// The apps that have images; those of the given names, where any are given.
fn containers<'a>(catalog: &'a Catalog, names: &[String]) -> Result<Vec<Container<'a>>, Failure> {
    let container = |app: &'a App| match &app.source {
        Source::Container(source) => Some(Container { app, source }),
        Source::Remote { .. } => None,
    };
    if names.is_empty() {
        return Ok(catalog
            .apps
            .values()
            .filter_map(|app| container(app))
            .collect());
    }
    let mut found = Vec::new();
    for name in names {
        let app = catalog
            .app(name)
            .ok_or_else(|| Failure::Unknown(catalog.unknown(name).to_string()))?;
        found.push(container(app).ok_or_else(|| {
            Failure::Usage(format!(
                "the app '{}' has no image: it is a server elsewhere",
                plain(name)
            ))
        })?);
    }
    Ok(found)
}

fn engine_failure(error: EngineError) -> Failure {
    Failure::Failed(error.to_string())
}
