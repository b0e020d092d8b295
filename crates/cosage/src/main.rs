//! CoSage's one program.

use std::process::ExitCode;

use clap::Parser;
use cosage::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
