//! `cosage serve`: the life of the service's process.

use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Flags;
use crate::config::{self, Config};
use crate::{descriptors, log, server};

/// Exit status when the configuration or the catalogue is wrong.
const WRONG: u8 = 2;

/// `cosage serve`; its help is [`super::Command::Serve`]'s.
#[derive(Debug, Args)]
pub struct Serve {
    /// The settings that are given as flags.
    #[command(flatten)]
    pub flags: Flags,
}

impl Serve {
    /// Runs the service until it is told to end. Exit status 0: it was told to; 1: it could not
    /// run; 2: the configuration is wrong.
    pub fn run(&self) -> ExitCode {
        let config = match config::load(&self.flags.values, self.flags.config.as_deref()) {
            Ok((config, _)) => config,
            Err(errors) => {
                eprintln!("{errors}");
                return ExitCode::from(WRONG);
            }
        };
        if let Err(error) = log::init(&config) {
            eprintln!("{error}");
            return ExitCode::from(WRONG);
        }
        descriptors::raise_limit(config.most_desktops());
        let runtime = match tokio::runtime::Runtime::new() {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("the service cannot start its threads: {error}");
                return ExitCode::FAILURE;
            }
        };
        let outcome = runtime.block_on(serve(&config));
        // What is still under way (a look-up of a name, say) must not hold up the end.
        runtime.shutdown_background();
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        }
    }
}

async fn serve(config: &Config) -> Result<(), server::ComposeError> {
    let listeners = server::listen(config).await?;
    let service = server::compose(config).await?;
    let catalog = service.catalog.clone();

    let shutdown = CancellationToken::new();
    tokio::spawn(end_on_signal(shutdown.clone()));
    tokio::spawn(async move {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            return;
        };
        while hangup.recv().await.is_some() {
            // Its errors are logged, and leave the old one in force.
            let _ = catalog.reload();
        }
    });

    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        environment = config.environment,
        address = %format_args!("http://{}/", config.listen),
        "CoSage is starting"
    );
    server::run(service, listeners, shutdown).await;
    Ok(())
}

async fn end_on_signal(shutdown: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        // Without handlers, the signals end the process as they always do.
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    shutdown.cancel();
}
