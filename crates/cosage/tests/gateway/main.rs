//! The stream gateway as its clients see it: real sockets, a real WebSocket library as the client, and real VNC
//! servers as instances.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod audio;
mod closing;
mod keep_alive;
mod passthrough;
mod pictures;
mod relaying;
mod roles;
mod succession;
mod support;
mod vnc;
#[path = "../support/wait.rs"]
mod wait;
