//! The command line. Each sub-command has a file of its own.
//!
//! `serve` is the service; all others are programs of a moment: most talk to a service through its
//! API, `images` and `doctor` also to the engine.

mod apps;
mod browser;
mod check;
mod client;
mod completions;
mod cp;
mod desktop;
mod doctor;
mod events;
mod failure;
mod file;
mod flags;
mod foreign;
mod homes;
mod images;
mod logs;
mod ls;
mod open;
mod output;
mod progress;
mod prune;
mod screenshot;
mod serve;
mod settings;
mod show;
mod stop;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

pub use apps::Apps;
pub use check::Check;
pub use completions::{Completions, Man};
pub use cp::Cp;
pub use doctor::Doctor;
pub use flags::Flags;
pub use images::Images;
pub use logs::Logs;
pub use ls::Ls;
pub use open::Open;
pub use prune::Prune;
pub use screenshot::Screenshot;
pub use serve::Serve;
pub use show::Show;
pub use stop::{Rm, Stop};

use self::failure::{EXIT_STATUS, Failure};

/// Desktop applications in the browser, on demand, from a curated catalogue of containers.
#[derive(Debug, Parser)]
#[command(
    name = "cosage",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = EXIT_STATUS
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
    /// List the apps there are, or describe one.
    Apps(Apps),
    /// Open a desktop: a new one of an app, or one that is there, and the page that shows it.
    ///
    /// Waits until it can be looked at, prints the address of its page, which can be shared, and
    /// opens it in the web browser where there is one.
    Open(Open),
    /// List all desktops, the newest first.
    Ls(Ls),
    /// Show everything there is to know about a desktop.
    Show(Show),
    /// Stop desktops. They come back as they were when they are opened again.
    ///
    /// Returns when nothing of them runs, and prints the name of each that was stopped.
    Stop(Stop),
    /// Delete desktops for good, with the files in their homes.
    ///
    /// Asks first on a terminal, and elsewhere wants --yes. Prints the name of each that is gone.
    Rm(Rm),
    /// List what takes disk and is not used any more; delete it with --yes.
    ///
    /// These are desktops that were not used for the time of --unused, with their homes, and homes that belong to no desktop.
    /// A desktop that is used meanwhile is not deleted.
    #[command(after_help = "\
Examples:
  cosage prune                              homes that belong to no desktop
  cosage prune --unused 90d                 also desktops that were not used for 90 days
  cosage prune --unused 90d --app firefox --yes")]
    Prune(Prune),
    /// Print what a desktop wrote last, or follow what it writes.
    Logs(Logs),
    /// Save what a desktop shows, or showed last, as a picture. Prints the file's name.
    Screenshot(Screenshot),
    /// Copy files and directories between this machine and the home of a desktop.
    ///
    /// The desktop may run or sleep. A file that is replaced is the old one until the new one is
    /// complete. Links within a directory are not copied to a home.
    #[command(after_help = "\
Examples:
  cosage cp notes.txt wall:            into the home of the desktop 'wall'
  cosage cp wall:Downloads/a.pdf .     out of it
  cosage cp wall:Downloads copies      a whole directory
  tar c src | cosage cp - wall:src.tar
  cosage cp wall:Downloads - | tar x   a directory becomes a tar archive")]
    Cp(Cp),
    /// List, fetch and build the images of the catalogue's apps.
    ///
    /// Works on the engine that the service would use (DOCKER_HOST), whether the service runs or not.
    Images(Images),
    /// Look at everything that usually goes wrong, and name the remedy.
    ///
    /// Engine, images, kernel, ports, disks, the service, and a WebSocket to it. Each line is ok, a
    /// warning or a problem; the exit status is 1 when there is a problem.
    Doctor(Doctor),
    /// Print the completions of a shell.
    #[command(after_help = "\
Examples:
  cosage completions bash > /etc/bash_completion.d/cosage
  cosage completions zsh > \"${fpath[1]}/_cosage\"
  cosage completions fish > ~/.config/fish/completions/cosage.fish")]
    Completions(Completions),
    /// Print the manual page: cosage man | man -l -
    Man(Man),
}

impl Cli {
    /// Carries the command out; the exit status says what became of it.
    pub fn run(self) -> ExitCode {
        let outcome = match self.command {
            Command::Serve(serve) => return serve.run(),
            // Its answer could not be written: whoever reads it is gone.
            Command::Check(check) => return check.run().unwrap_or(ExitCode::FAILURE),
            Command::Apps(apps) => within_runtime(apps.run()),
            Command::Open(open) => within_runtime(open.run()),
            Command::Ls(ls) => within_runtime(ls.run()),
            Command::Show(show) => within_runtime(show.run()),
            Command::Stop(stop) => within_runtime(stop.run()),
            Command::Rm(rm) => within_runtime(rm.run()),
            Command::Prune(prune) => within_runtime(prune.run()),
            Command::Logs(logs) => within_runtime(logs.run()),
            Command::Screenshot(screenshot) => within_runtime(screenshot.run()),
            Command::Cp(cp) => within_runtime(cp.run()),
            Command::Images(images) => within_runtime(images.run()),
            Command::Doctor(doctor) => within_runtime(doctor.run()),
            Command::Completions(completions) => completions.run(),
            Command::Man(man) => man.run(),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(),
        }
    }
}

/// Runs a command of a moment. A signal drops it, so that what it has half made goes with it, and
/// the exit status is what shells give a program that a signal ended: 128 and its number.
fn within_runtime(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("no thread can be started: {error}")))?;
    let outcome = runtime.block_on(async {
        let interrupted = async {
            let ended = async |kind| match signal(kind) {
                Ok(mut signal) => signal.recv().await,
                // Without a handler, the signal ends the process as it always does.
                Err(_) => std::future::pending().await,
            };
            tokio::select! {
                _ = ended(SignalKind::interrupt()) => 130,
                _ = ended(SignalKind::terminate()) => 143,
            }
        };
        tokio::select! {
            outcome = command => outcome,
            status = interrupted => Err(Failure::Told(status)),
        }
    });
    // A read of standard input that is under way would hold up the end.
    runtime.shutdown_background();
    outcome
}
