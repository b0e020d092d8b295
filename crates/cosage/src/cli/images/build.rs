//! `cosage images build`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::Args;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::{Container, containers};
use crate::catalog::CatalogSource;
use crate::cli::failure::Failure;
use crate::cli::foreign::plain;
use crate::cli::progress::Progress;
use crate::cli::settings::{Settings, catalog};

/// The program that builds images, in a checkout.
const PROGRAM: &str = "images/build";

/// `cosage images build`.
#[derive(Debug, Args)]
pub(super) struct Build {
    /// The apps whose images are built.
    #[arg(value_name = "APP")]
    apps: Vec<String>,
    #[command(flatten)]
    settings: Settings,
}

impl Build {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let config = self.settings.load()?;
        let (source, catalog) = catalog(&config)?;
        let mut chosen = containers(&catalog, &self.apps)?;
        if self.apps.is_empty() {
            chosen.retain(|container| container.source.build.is_some());
        }
        let names = chosen
            .iter()
            .map(directory)
            .collect::<Result<Vec<_>, _>>()?;
        let checkout = checkout(&source, Path::is_file).ok_or_else(|| {
            Failure::Failed(format!(
                "there is no {PROGRAM} beside the catalogue ({source}): images are built in a checkout of CoSage; go into one, or name its catalog.toml with COSAGE_CATALOG"
            ))
        })?;
        build(&checkout, &names, &config.docker_host).await
    }
}

/// What the program calls an app's image.
fn directory<'a>(container: &Container<'a>) -> Result<&'a str, Failure> {
    let name = &container.app.name;
    let Some(build) = &container.source.build else {
        return Err(Failure::Usage(format!(
            "the image of '{name}' is not built here; fetch it with: cosage images pull {name}"
        )));
    };
    build.strip_prefix("images/").ok_or_else(|| {
        Failure::Usage(format!(
            "the image of '{name}' is not one of this project's; {}",
            container.source.image_hint()
        ))
    })
}

/// The directory with `images/build` in it: the catalogue's, else the working directory.
fn checkout(source: &CatalogSource, is_file: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let beside = match source {
        CatalogSource::File(path) => path.parent().map(Path::to_owned),
        CatalogSource::Embedded => None,
    };
    beside
        .into_iter()
        .map(|directory| Path::new(".").join(directory))
        .chain([PathBuf::from(".")])
        .find(|directory| is_file(&directory.join(PROGRAM)))
}

/// Runs the program, each of whose lines is news of one image.
async fn build(checkout: &Path, names: &[&str], docker_host: &str) -> Result<(), Failure> {
    let program = checkout.join(PROGRAM);
    let cannot = |error| Failure::Failed(format!("{}: {error}", program.display()));
    let mut child = Command::new(&program)
        .args(names)
        .env("DOCKER_HOST", docker_host)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(cannot)?;
    let progress = Progress::spinner("looking at what has changed");
    if let Some(output) = child.stdout.take() {
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next_line().await.map_err(cannot)? {
            let line = plain(&line);
            progress.line(&line);
            progress.say(line);
        }
    }
    let status = child.wait().await.map_err(cannot)?;
    drop(progress);
    if status.success() {
        Ok(())
    } else {
        // The program has said why.
        Err(Failure::Told(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkout_is_looked_for_beside_the_catalogue() {
        let found = |source: CatalogSource, there: &'static str| {
            checkout(&source, |path| path == Path::new(there))
        };
        let file = |path: &str| CatalogSource::File(path.into());
        assert_eq!(
            found(file("/srv/cosage/catalog.toml"), "/srv/cosage/images/build"),
            Some("/srv/cosage".into())
        );
        assert_eq!(
            found(file("catalog.toml"), "./images/build"),
            Some("./".into())
        );
        assert_eq!(
            found(CatalogSource::Embedded, "./images/build"),
            Some(".".into())
        );
        assert_eq!(found(file("/etc/catalog.toml"), "/x/images/build"), None);
    }
}
