//! `cosage completions` and `cosage man`: what is generated from the commands themselves.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::failure::Failure;
use super::file::unwritable;
use super::output::write;

/// `cosage completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell that reads them.
    shell: Shell,
}

/// `cosage man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Write the pages of all commands into this directory instead, such as
    /// /usr/local/share/man/man1.
    #[arg(long, short, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

impl Completions {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "cosage", &mut script);
        write(&script)
    }
}

impl Man {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let Some(directory) = &self.directory else {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut page)
                .map_err(|error| Failure::Failed(error.to_string()))?;
            return write(&page);
        };
        clap_mangen::generate_to(Cli::command(), directory)
            .map_err(|error| unwritable(directory, &error))
    }
}
