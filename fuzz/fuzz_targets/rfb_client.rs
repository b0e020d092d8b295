//! Whatever a VNC server sends after its handshake: a picture or an error, without a panic and within the memory of a
//! screen. The same as a property test on stable: `any_bytes_end_in_a_picture_or_an_error`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rfb::client::{Client, Sharing, Transfer};
use tokio::io::{join, sink};

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers");
    runtime.block_on(async {
        // A server that has said all it will say.
        let server = join(bytes, sink());
        let client = Client::introduce(server, Sharing::Shared, Transfer::Compressed).await;
        if let Ok(mut client) = client {
            let _ = client.full_picture().await;
        }
    });
});
