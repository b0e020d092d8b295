//! A still screen lives, a dead client does not. Real sockets and short intervals; what counts as which is
//! decided by a pure function with tests of its own.

use std::time::Duration;

use cosage::engine::Protocol;
use cosage::gateway::GatewaySettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::support::{PATIENCE, Service, accept, client_frame, endpoint, listener};

const INTERVAL: Duration = Duration::from_millis(100);

fn settings() -> GatewaySettings {
    GatewaySettings {
        ping_interval: INTERVAL,
        ..GatewaySettings::default()
    }
}

#[tokio::test]
async fn a_client_that_answers_pings_stays() {
    let (listener, address) = listener().await;
    let service = Service::with(endpoint(address, Protocol::Tcp), None, settings()).await;
    let mut client = service.raw_client().await;
    let mut upstream = accept(&listener).await;
    for _ in 0..6 {
        let mut ping = [0; 2];
        timeout(PATIENCE, client.read_exact(&mut ping))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(ping, [0x89, 0]);
        client.write_all(&client_frame(0x8a, b"")).await.unwrap();
    }
    upstream.write_all(b"x").await.unwrap();
    let mut rest = Vec::new();
    while !rest.ends_with(&[0x82, 1, b'x']) {
        rest.push(timeout(PATIENCE, client.read_u8()).await.unwrap().unwrap());
    }
}

#[tokio::test]
async fn a_client_that_answers_nothing_is_given_up() {
    let (listener, address) = listener().await;
    let service = Service::with(endpoint(address, Protocol::Tcp), None, settings()).await;
    let mut client = service.raw_client().await;
    let mut upstream = accept(&listener).await;
    let mut received = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut received))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(received, [0x89, 0, 0x89, 0], "two pings and the end");
    assert_eq!(upstream.read(&mut [0]).await.unwrap(), 0);
    service.leases(0).await;
}

#[tokio::test]
async fn a_ping_of_the_client_is_answered_between_two_frames() {
    let (listener, address) = listener().await;
    let service = Service::start(endpoint(address, Protocol::Tcp)).await;
    let mut client = service.raw_client().await;
    let _upstream = accept(&listener).await;
    // In the middle of a fragmented message.
    client.write_all(&client_frame(0x02, b"a")).await.unwrap();
    client
        .write_all(&client_frame(0x89, b"are you there"))
        .await
        .unwrap();
    let mut pong = [0; 15];
    timeout(PATIENCE, client.read_exact(&mut pong))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&pong, b"\x8a\x0dare you there");
}
