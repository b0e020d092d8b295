//! CoSage's one program.

use std::process::ExitCode;

use clap::Parser;
use cosage::cli::{Cli, Command};

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(serve) => serve.run(),
        // Its answer could not be written: whoever reads it is gone.
        Command::Check(check) => check.run().unwrap_or(ExitCode::FAILURE),
    }
}
