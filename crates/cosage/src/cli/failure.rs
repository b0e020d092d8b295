//! Why a command did not do what it was asked, and the exit status that says so to programs.

use std::io;
use std::process::ExitCode;

use console::style;

use super::foreign::indented;

/// What `cosage --help` says about exit statuses.
pub(super) const EXIT_STATUS: &str = "\
Exit status:
  0  it is done
  1  it failed; standard error says why
  2  it was called wrongly, or what it was given (a setting, a value, a path) is wrong
  3  no such app, desktop or file
  4  the service cannot be reached

Environment:
  COSAGE_URL  address of the service that a command talks to, as --url gives it
  NO_COLOR    no colours, also on a terminal";

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It was tried.
    #[error("{0}")]
    Failed(String),
    /// It cannot be meant so.
    #[error("{0}")]
    Usage(String),
    /// The app, desktop or file is not there.
    #[error("{0}")]
    Unknown(String),
    /// The service does not answer, or something else answers in its place.
    #[error("{0}")]
    Unreachable(String),
    /// The user was told already; this is the exit status.
    #[error("exit status {0}")]
    Told(u8),
    /// Standard output takes nothing.
    #[error("standard output cannot be written: {0}")]
    Output(io::Error),
}

impl Failure {
    /// Tells the user, and gives the exit status.
    pub(super) fn report(&self) -> ExitCode {
        match self {
            // Whoever read the output has seen enough, such as `head`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return ExitCode::SUCCESS;
            }
            Self::Told(_) => {}
            _ => self.tell(),
        }
        ExitCode::from(self.status())
    }

    /// Tells the user of a failure after which the command goes on; what is left is the status.
    pub(super) fn told(self) -> Self {
        self.tell();
        Self::Told(self.status())
    }

    fn tell(&self) {
        // What failed may be called after somebody else's file.
        let text = indented(&self.to_string(), "");
        let name = style("cosage:").for_stderr().red().bold();
        eprintln!("{name} {}", text.trim_end());
    }

    fn status(&self) -> u8 {
        match self {
            Self::Told(status) => *status,
            Self::Failed(_) | Self::Output(_) => 1,
            Self::Usage(_) => 2,
            Self::Unknown(_) => 3,
            Self::Unreachable(_) => 4,
        }
    }
}
