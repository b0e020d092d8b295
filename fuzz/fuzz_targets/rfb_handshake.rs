//! Whatever a VNC server or a viewer says: the handshake ends, without a panic and without much memory.
//! The same as a property test on stable: `any_bytes_end_the_handshake`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tokio::io::{join, sink};

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers");
    runtime.block_on(async {
        // A peer that has said all it will say.
        let peer = || join(bytes, sink());
        let _ = rfb::connect(&mut peer(), None).await;
        let _ = rfb::connect(&mut peer(), Some("password")).await;
        let _ = rfb::accept(&mut peer()).await;
    });
});
