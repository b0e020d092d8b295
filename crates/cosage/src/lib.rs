//! CoSage gives people a desktop application in their browser, on demand, from a curated
//! catalogue of containers. `ARCHITECTURE.md` draws the map; the modules follow it.

pub mod api;
pub mod callback;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod console;
mod delivery;
pub mod descriptors;
pub mod desktop;
pub mod engine;
pub mod gateway;
pub mod log;
pub mod pictures;
pub mod segment;
pub mod server;
pub mod store;
mod supervise;
pub mod text;
pub mod webhook;
