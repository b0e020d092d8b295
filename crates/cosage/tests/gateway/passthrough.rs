//! Instances that are WebSocket servers themselves.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::StatusCode;
use cosage::desktop::end::EndReason;
use cosage::engine::Protocol;
use cosage::gateway::{GatewaySettings, probe};
use futures_util::{SinkExt, StreamExt};
use rfb::client::{Client, Sharing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Instant, timeout};
use tokio_websockets::{CloseCode, Message, ServerBuilder, WebSocketStream};

use crate::support::{
    PATIENCE, Program, REQUEST, Service, Xvnc, accept, closed, endpoint, listener, next,
    next_payload, plain, response_head,
};

fn code(number: u16) -> CloseCode {
    number.try_into().unwrap()
}

fn websocket(address: SocketAddr) -> cosage::engine::Endpoint {
    endpoint(address, Protocol::Websocket)
}

/// A service in front of a WebSocket server of the test's own, and both ends of one connection.
async fn connected(
    settings: GatewaySettings,
) -> (Service, crate::support::Client, WebSocketStream<TcpStream>) {
    let (listener, address) = listener().await;
    let service = Service::with(websocket(address), None, settings).await;
    let (client, upstream) = tokio::join!(service.client(), async {
        let stream = accept(&listener).await;
        ServerBuilder::new().accept(stream).await.unwrap().1
    });
    (service, client, upstream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_pass_through_untouched() {
    let (_service, mut client, mut upstream) = connected(GatewaySettings::default()).await;
    for len in [1_usize, 125, 126, 65_536, 1_000_000] {
        let bytes = vec![len as u8; len];
        client.send(Message::binary(bytes.clone())).await.unwrap();
        let received = timeout(PATIENCE, upstream.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert!(received.as_payload()[..] == bytes);
        let (sent, received) = tokio::join!(
            upstream.send(Message::binary(bytes.clone())),
            next(&mut client)
        );
        sent.unwrap();
        assert!(received.as_payload()[..] == bytes);
    }
    // Text is the two ends' own business here.
    upstream.send(Message::text("hello")).await.unwrap();
    assert_eq!(next(&mut client).await.as_text(), Some("hello"));
}

#[tokio::test]
async fn a_close_is_answered_by_the_other_end() {
    let (service, mut client, mut upstream) = connected(GatewaySettings::default()).await;
    client.send(Message::binary(&b"last"[..])).await.unwrap();
    client
        .send(Message::close(Some(code(4321)), "bye"))
        .await
        .unwrap();
    assert_eq!(
        upstream.next().await.unwrap().unwrap().as_payload()[..],
        *b"last"
    );
    let close = upstream.next().await.unwrap().unwrap();
    assert_eq!(close.as_close(), Some((code(4321), "bye")));
    assert!(upstream.next().await.is_none());
    assert_eq!(closed(&mut client).await.0, code(4321));
    drop((client, upstream));
    service.leases(0).await;
}

#[tokio::test]
async fn the_instance_may_close_too() {
    let (service, mut client, mut upstream) = connected(GatewaySettings::default()).await;
    let (closing, received) = tokio::join!(
        upstream.send(Message::close(Some(code(4000)), "done")),
        closed(&mut client)
    );
    closing.unwrap();
    assert_eq!(received, (code(4000), "done".to_owned()));
    drop((client, upstream));
    service.leases(0).await;
}

#[tokio::test]
async fn an_instance_that_ends_without_a_close_frame_gets_one() {
    let (service, mut client, upstream) = connected(GatewaySettings::default()).await;
    drop(upstream);
    assert_eq!(closed(&mut client).await.0, CloseCode::NORMAL_CLOSURE);
    drop(client);
    service.leases(0).await;
}

/// Both of the gateway's own frames wait for the end of the instance's.
#[tokio::test]
async fn pings_and_the_end_go_between_two_frames() {
    let interval = Duration::from_millis(100);
    let settings = GatewaySettings {
        ping_interval: interval,
        ..GatewaySettings::default()
    };
    let (listener, address) = listener().await;
    let service = Service::with(websocket(address), None, settings).await;
    let mut client = TcpStream::connect(service.address).await.unwrap();
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    let mut upstream = accept(&listener).await;
    response_head(&mut upstream).await;
    // The frame's first half comes in the same packet as the answer.
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: binary\r\n\r\n\x82\x04ab";
    upstream.write_all(answer).await.unwrap();
    let head = response_head(&mut client).await.to_lowercase();
    assert!(head.contains("\r\nsec-websocket-accept: s3ppl"), "{head}");
    assert!(
        head.contains("\r\nsec-websocket-protocol: binary\r\n"),
        "{head}"
    );

    let mut received = [0; 4];
    client.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"\x82\x04ab");
    // A ping is due by now, twice over, and has no place to go.
    let nothing = timeout(interval * 2 + interval / 2, client.read_u8()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    upstream.write_all(b"cd\x82\x03e").await.unwrap();
    let mut received = [0; 7];
    timeout(PATIENCE, client.read_exact(&mut received))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&received, b"cd\x89\x00\x82\x03e");

    service.end(EndReason::Stopped);
    upstream.write_all(b"fg\x82\x01h").await.unwrap();
    let mut received = [0; 6];
    timeout(PATIENCE, client.read_exact(&mut received))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (&received[..3], &received[4..]),
        (&b"fg\x88"[..], &1001_u16.to_be_bytes()[..])
    );
}

#[tokio::test]
async fn a_desktop_that_ends_while_it_does_not_agree_is_unavailable() {
    let (listener, address) = listener().await;
    let service = Service::start(websocket(address)).await;
    let mut client = TcpStream::connect(service.address).await.unwrap();
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    let _upstream = accept(&listener).await;
    service.end(EndReason::Exited);
    let head = response_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    service.leases(0).await;
}

/// Held while it refuses, asked about once a second and not more often, refused in JSON at the end.
#[tokio::test]
async fn an_instance_that_never_agrees_is_a_bad_gateway() {
    let (listener, address) = listener().await;
    let settings = GatewaySettings {
        websocket_bound: Duration::from_millis(2_500),
        ..GatewaySettings::default()
    };
    let service = Service::with(websocket(address), None, settings).await;
    let mut client = TcpStream::connect(service.address).await.unwrap();
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    let refuse = async {
        let mut requests = 0;
        loop {
            let mut upstream = accept(&listener).await;
            let head = response_head(&mut upstream).await;
            assert!(head.starts_with("GET /vnc HTTP/1.1\r\n"), "{head}");
            upstream
                .write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                .await
                .unwrap();
            requests += 1;
            if requests == 3 {
                return;
            }
        }
    };
    let ((), head) = tokio::join!(refuse, response_head(&mut client));
    let status = StatusCode::BAD_GATEWAY.as_u16();
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    service.leases(0).await;
}

/// Some images answer 502 for 10 s after one request that came too early.
#[tokio::test(start_paused = true)]
async fn an_instance_that_starts_is_asked_once_a_second_from_its_port_on() {
    let (listener, address) = listener().await;
    let endpoint = websocket(address);
    let probe = probe::ready(&endpoint, None);
    let serve = async {
        // Whether the port is open is found out without a request.
        let mut first = accept(&listener).await;
        assert_eq!(first.read(&mut [0]).await.unwrap(), 0);
        let mut asked = vec![Instant::now()];
        for _ in 0..2 {
            let mut upstream = accept(&listener).await;
            asked.push(Instant::now());
            response_head(&mut upstream).await;
            upstream
                .write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                .await
                .unwrap();
        }
        let stream = accept(&listener).await;
        asked.push(Instant::now());
        let mut upstream = ServerBuilder::new().accept(stream).await.unwrap().1;
        let close = upstream.next().await.unwrap().unwrap();
        assert!(close.is_close(), "{close:?}");
        asked
    };
    let ((), asked) = timeout(PATIENCE, async { tokio::join!(probe, serve) })
        .await
        .unwrap();
    let pauses = asked.windows(2).map(|pair| pair[1] - pair[0]);
    for pause in pauses {
        assert!(pause >= Duration::from_secs(1), "{asked:?}");
    }
}

#[tokio::test]
async fn an_instance_that_never_listens_is_a_time_out() {
    let (listener, address) = listener().await;
    drop(listener);
    let settings = GatewaySettings {
        websocket_bound: Duration::from_millis(200),
        ..GatewaySettings::default()
    };
    let service = Service::with(websocket(address), None, settings).await;
    let mut client = TcpStream::connect(service.address).await.unwrap();
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    let head = response_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
}

/// Debian's websockify in front of Xvnc, as the containers of the old catalogue have it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websockify_in_front_of_a_vnc_server_is_seen() {
    let Some(xvnc) = Xvnc::start(None).await else {
        return;
    };
    let (held, address) = listener().await;
    drop(held);
    let mut command = Command::new("websockify");
    command.args([address.to_string(), xvnc.address.to_string()]);
    let Some(_websockify) = Program::start(&mut command) else {
        return;
    };
    timeout(PATIENCE, probe::ready(&websocket(address), None))
        .await
        .unwrap();

    let service = Service::start(websocket(address)).await;
    let stream = plain(service.client().await);
    let mut client = timeout(PATIENCE, Client::start(stream, None, Sharing::Shared))
        .await
        .unwrap()
        .unwrap();
    timeout(PATIENCE, client.full_picture())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(client.size(), (320, 200));
    drop(client);
    service.leases(0).await;

    let mut client = service.client().await;
    assert_eq!(next_payload(&mut client).await, b"RFB 003.008\n");
    service.end(EndReason::Stopped);
    assert_eq!(closed(&mut client).await.0, CloseCode::GOING_AWAY);
    assert!(client.next().await.is_none());
    service.leases(0).await;
}
