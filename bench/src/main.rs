//! Side-by-side measurements: CoSage and what it replaces, in the same run, on the same machine.
//!
//! Every sub-command prints a Markdown table. What is measured runs in processes of its own, so that
//! its CPU time and memory are its alone.

mod all;
mod contestant;
mod desktops;
mod files;
mod filter;
mod pictures;
mod process;
mod relay;
mod report;
mod scene;
mod serve;
mod service;
mod sleeping;
mod sound;
mod stream;

use clap::{Parser, Subcommand};

/// What can go wrong in a measurement ends it; there is nothing to recover.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(about = "Side-by-side measurements of CoSage against what it replaces")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The stream gateway against a plain TCP relay and against nginx in front of websockify
    Relay(relay::Arguments),
    /// The stream gateway with and without a look at the messages of viewers
    Filter(filter::Arguments),
    /// Desktops on a Docker Engine, one and many at a time, against `docker run`
    Desktops(desktops::Arguments),
    /// Requests per second and memory of the service on the fake engine
    Service(service::Arguments),
    /// A hundred thousand desktops that sleep, on the simulated engine
    Sleeping(sleeping::Arguments),
    /// A large file into a desktop's home and out again, against `docker cp`
    Files(files::Arguments),
    /// Pictures of a large desktop, and what they leave in the service's memory
    Pictures(pictures::Arguments),
    /// A desktop's sound: how late it is, and what listeners cost
    Sound(sound::Arguments),
    /// Everything, written to bench/RESULTS.md
    All(all::Arguments),
    /// A relay to be measured; started by the other sub-commands
    #[command(hide = true)]
    Serve(serve::Arguments),
}

fn main() -> Result<(), Failure> {
    match Arguments::parse().command {
        Command::Relay(arguments) => relay::run(&arguments),
        Command::Filter(arguments) => filter::run(&arguments),
        Command::Desktops(arguments) => report::print(&desktops::run(&arguments)?),
        Command::Service(arguments) => report::print(&service::run(&arguments)?),
        Command::Sleeping(arguments) => report::print(&sleeping::run(&arguments)?),
        Command::Files(arguments) => report::print(&files::run(&arguments)?),
        Command::Pictures(arguments) => report::print(&pictures::run(&arguments)?),
        Command::Sound(arguments) => report::print(&sound::run(&arguments)?),
        Command::All(arguments) => all::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
    }
}
