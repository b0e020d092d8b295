//! Bytes arrive, all of them and in order, whatever the receiver's pace.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cosage::desktop::end::EndReason;
use cosage::engine::{Protocol, VncPassword};
use cosage::gateway::{Gateway, GatewaySettings};
use futures_util::SinkExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_websockets::Message;

use crate::support::{
    PATIENCE, REQUEST, Service, accept, client_frame, connected, endpoint, listener, next_payload,
    read_payload, response_head,
};
use crate::wait::pass;

fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|index| (index * 7 + index / 251) as u8)
        .collect()
}

#[tokio::test]
async fn a_display_is_told_the_instances_password_before_anything_else() {
    let (listener, address) = listener().await;
    let password = Some(VncPassword::new("pa55w0rd"));
    let display = endpoint(address, Protocol::Display);
    let service = Service::with(display, password, GatewaySettings::default()).await;
    let mut client = service.client().await;
    client.send(Message::binary("scale 2\n")).await.unwrap();
    let mut upstream = accept(&listener).await;
    let mut given = [0; 16];
    let read = upstream.read_exact(&mut given);
    timeout(PATIENCE, read).await.unwrap().unwrap();
    assert_eq!(&given, b"pa55w0rdscale 2\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_any_size_arrive_both_ways() {
    let (service, mut client, mut upstream) = connected().await;
    let mut sent = 0;
    for len in [1, 5, 125, 126, 127, 65_535, 65_536, 300_000, 3_000_000] {
        let bytes = pattern(len);
        client.send(Message::binary(bytes.clone())).await.unwrap();
        let mut received = vec![0; len];
        timeout(PATIENCE, upstream.read_exact(&mut received))
            .await
            .unwrap()
            .unwrap();
        assert!(received == bytes, "{len} bytes upwards");

        let (written, received) =
            tokio::join!(upstream.write_all(&bytes), read_payload(&mut client, len));
        written.unwrap();
        assert!(received == bytes, "{len} bytes downwards");
        sent += len as u64;
    }
    let counters = service.gateway.counters();
    assert_eq!(counters.bytes_to_upstream.load(Ordering::Relaxed), sent);
    assert_eq!(counters.bytes_to_client.load(Ordering::Relaxed), sent);
    assert_eq!(counters.connected.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn one_write_of_the_instance_is_one_message() {
    let (_service, mut client, mut upstream) = connected().await;
    upstream.write_all(b"0123456789").await.unwrap();
    assert_eq!(next_payload(&mut client).await, b"0123456789");
}

#[tokio::test]
async fn what_comes_right_behind_the_request_is_not_lost() {
    let (listener, address) = listener().await;
    let service = Service::start(endpoint(address, Protocol::Tcp)).await;
    let mut client = TcpStream::connect(service.address).await.unwrap();
    let eager = [REQUEST.as_bytes(), &client_frame(0x82, b"early")].concat();
    client.write_all(&eager).await.unwrap();
    response_head(&mut client).await;
    let mut upstream = accept(&listener).await;
    let mut received = [0; 5];
    upstream.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"early");
}

#[tokio::test]
async fn an_instance_that_is_a_moment_late_is_waited_for() {
    let (listener, address) = listener().await;
    drop(listener);
    let service = Service::start(endpoint(address, Protocol::Tcp)).await;
    let mut client = service.client().await;
    // The client is connected, and the gateway finds nobody there.
    pass(Duration::from_millis(100)).await;
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let mut upstream = accept(&listener).await;
    upstream.write_all(b"here").await.unwrap();
    assert_eq!(next_payload(&mut client).await, b"here");
}

/// The instance is held back by a client that does not read, and nobody else notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_makes_its_instance_wait() {
    let (listener, address) = listener().await;
    let service = Service::start(endpoint(address, Protocol::Tcp)).await;
    let mut slow = service.raw_client().await;
    let mut slow_upstream = accept(&listener).await;

    let bytes = pattern(1 << 20);
    let mut taken = 0_usize;
    // What the gateway and the sockets' buffers take, until they take no more for a while.
    while let Ok(written) = timeout(
        Duration::from_millis(500),
        slow_upstream.write(&bytes[taken % bytes.len()..]),
    )
    .await
    {
        taken += written.unwrap();
        assert!(taken < 64 << 20, "there is a queue that grows");
    }
    let relayed = service
        .gateway
        .counters()
        .bytes_to_client
        .load(Ordering::Relaxed);
    assert!(relayed <= taken as u64);

    let mut client = service.client().await;
    let mut upstream = accept(&listener).await;
    upstream.write_all(b"quick").await.unwrap();
    assert_eq!(next_payload(&mut client).await, b"quick");

    // Once it reads, everything is there.
    let frames = tokio::spawn(async move {
        let mut received = 0;
        while received < taken {
            assert_eq!(slow.read_u8().await.unwrap(), 0x82);
            let len = match slow.read_u8().await.unwrap() {
                126 => u64::from(slow.read_u16().await.unwrap()),
                127 => slow.read_u64().await.unwrap(),
                len => u64::from(len),
            };
            let mut payload = vec![0; usize::try_from(len).unwrap()];
            slow.read_exact(&mut payload).await.unwrap();
            for (index, byte) in payload.iter().enumerate() {
                assert_eq!(*byte, bytes[(received + index) % bytes.len()]);
            }
            received += payload.len();
        }
        received
    });
    assert_eq!(timeout(PATIENCE, frames).await.unwrap().unwrap(), taken);
}

/// An instance that takes nothing holds back its own client, whose way back stays open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_does_not_read_makes_its_client_wait() {
    let (_service, mut client, mut upstream) = connected().await;
    let bytes = pattern(1 << 20);
    let mut sent = 0_usize;
    while timeout(
        Duration::from_millis(500),
        client.send(Message::binary(bytes.clone())),
    )
    .await
    .is_ok()
    {
        sent += 1;
        assert!(sent < 64, "there is a queue that grows");
    }
    upstream.write_all(b"still open").await.unwrap();
    assert_eq!(next_payload(&mut client).await, b"still open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_clients_come_and_go() {
    const CLIENTS: usize = 1000;
    let (listener, address) = listener().await;
    let service = Service::start(endpoint(address, Protocol::Tcp)).await;
    let mut clients = Vec::new();
    let mut upstreams = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(service.raw_client().await);
        upstreams.push(accept(&listener).await);
    }
    service.leases(CLIENTS).await;
    service.end(EndReason::ServiceShutdown);
    for client in &mut clients {
        let mut head = [0; 4];
        client.read_exact(&mut head).await.unwrap();
        assert_eq!((head[0], &head[2..]), (0x88, &1012_u16.to_be_bytes()[..]));
    }
    drop(clients);
    service.leases(0).await;
    timeout(PATIENCE, service.gateway.drained()).await.unwrap();
}

#[tokio::test]
async fn a_gateway_without_connections_is_drained() {
    let gateway = Gateway::new(GatewaySettings::default());
    timeout(PATIENCE, gateway.drained()).await.unwrap();
}
