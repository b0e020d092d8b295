//! The command line. Each sub-command has a file of its own.

mod check;
mod flags;
mod serve;

use clap::{Parser, Subcommand};

pub use check::Check;
pub use flags::Flags;
pub use serve::Serve;

/// Desktop applications in the browser, on demand, from a curated catalogue of containers.
#[derive(Debug, Parser)]
#[command(
    name = "cosage",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service in the foreground, until SIGTERM or SIGINT.
    ///
    /// A setting is taken from its flag, else from its variable in the environment, else from
    /// cosage.toml (where its key is the flag's name with '_' for '-'), else it has its default. An
    /// empty variable counts as not set.
    ///
    /// A DURATION is written as 500ms, 15s, 5m, 2h, 1d or a number of seconds; a SIZE as 256MiB or
    /// 2GiB; what is plural as a list with commas.
    ///
    /// SIGHUP reads the catalogue again. SIGTERM and SIGINT end the service; desktops go on running,
    /// and the next start adopts them.
    Serve(Serve),
    /// Show the configuration with where each setting comes from, and check the catalogue.
    ///
    /// Exit status 0: all is well. 2: something is wrong, and standard error says what.
    Check(Check),
}
