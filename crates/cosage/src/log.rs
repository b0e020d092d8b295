//! The log: lines for people on a terminal, JSON elsewhere. It goes to standard error, so that
//! standard output is free for what a command answers.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{Config, LogFormat};

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is malformed.
    #[error("COSAGE_LOG: {0}")]
    Filter(#[from] ParseError),
    /// Something else in this process logs already.
    #[error("the log is set up already: {0}")]
    Taken(#[from] TryInitError),
}

/// Sets up the log of this process.
///
/// # Errors
/// When it is called for the second time.
pub fn init(config: &Config) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(&config.log)?;
    let terminal = io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let json = match config.log_format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    if json {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .finish()
            .try_init()?;
    } else {
        builder
            .with_ansi(terminal)
            .with_target(false)
            .finish()
            .try_init()?;
    }
    Ok(())
}
