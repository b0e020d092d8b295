//! Every way a connection can end.

use cosage::desktop::end::EndReason;
use cosage::engine::Protocol;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_websockets::{CloseCode, Message};

use crate::support::{
    PATIENCE, Service, accept, client_frame, closed, connected, endpoint, listener, next_payload,
    response_head,
};

#[tokio::test]
async fn an_instance_that_ends_is_a_normal_close_after_its_last_bytes() {
    let (service, mut client, mut upstream) = connected().await;
    upstream.write_all(b"last words").await.unwrap();
    drop(upstream);
    assert_eq!(next_payload(&mut client).await, b"last words");
    let (code, reason) = closed(&mut client).await;
    assert_eq!(code, CloseCode::NORMAL_CLOSURE);
    assert_eq!(reason, "the desktop closed the connection");
    assert!(
        client.next().await.is_none(),
        "a clean end, without an error"
    );
    service.leases(0).await;
}

#[tokio::test]
async fn an_instance_that_breaks_is_an_internal_error() {
    let (service, mut client, mut upstream) = connected().await;
    upstream.write_all(b"before").await.unwrap();
    assert_eq!(next_payload(&mut client).await, b"before");
    upstream.set_zero_linger().unwrap();
    drop(upstream);
    let (code, reason) = closed(&mut client).await;
    assert_eq!(code, CloseCode::INTERNAL_SERVER_ERROR);
    assert_eq!(reason, "the connection to the desktop broke");
    drop(client);
    service.leases(0).await;
}

#[tokio::test]
async fn an_instance_that_is_not_there_is_an_internal_error() {
    let (listener, address) = listener().await;
    drop(listener);
    let service = Service::start(endpoint(address, Protocol::Tcp)).await;
    let mut client = service.client().await;
    let (code, reason) = closed(&mut client).await;
    assert_eq!(code, CloseCode::INTERNAL_SERVER_ERROR);
    assert_eq!(reason, "the desktop took no connection within 5 s");
    drop(client);
    service.leases(0).await;
}

#[tokio::test]
async fn each_end_of_a_desktop_has_its_code_and_reason() {
    for (end, code, text) in [
        (EndReason::Stopped, 1001, "stopped"),
        (EndReason::MaximumAge, 1001, "maximum age"),
        (EndReason::Idle, 1001, "nobody"),
        (EndReason::Exited, 1001, "by itself"),
        (EndReason::ServiceShutdown, 1012, "connect again"),
    ] {
        let (service, mut client, mut upstream) = connected().await;
        upstream.write_all(b"before").await.unwrap();
        assert_eq!(next_payload(&mut client).await, b"before");
        service.end(end);
        let (received, reason) = closed(&mut client).await;
        assert_eq!(u16::from(received), code);
        assert!(reason.contains(text), "{reason}");
        assert!(client.next().await.is_none());
        service.leases(0).await;
        timeout(PATIENCE, service.gateway.drained()).await.unwrap();
    }
}

#[tokio::test]
async fn a_desktop_that_ends_while_it_is_dialled_says_so() {
    let (listener, address) = listener().await;
    drop(listener);
    let service = Service::start(endpoint(address, Protocol::Tcp)).await;
    let mut client = service.client().await;
    service.end(EndReason::Exited);
    assert_eq!(closed(&mut client).await.0, CloseCode::GOING_AWAY);
    drop(client);
    service.leases(0).await;
}

#[tokio::test]
async fn a_client_that_closes_is_answered_and_its_last_bytes_arrive() {
    let (service, mut client, mut upstream) = connected().await;
    client
        .send(Message::binary(&b"last words"[..]))
        .await
        .unwrap();
    client
        .send(Message::close(Some(CloseCode::GOING_AWAY), "bye"))
        .await
        .unwrap();
    assert_eq!(closed(&mut client).await.0, CloseCode::GOING_AWAY);
    let mut received = Vec::new();
    timeout(PATIENCE, upstream.read_to_end(&mut received))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(received, b"last words");
    drop((client, upstream));
    service.leases(0).await;
}

#[tokio::test]
async fn a_client_that_hangs_up_is_the_end_for_the_instance() {
    let (service, mut client, mut upstream) = connected().await;
    client
        .send(Message::binary(&b"last words"[..]))
        .await
        .unwrap();
    drop(client);
    let mut received = Vec::new();
    timeout(PATIENCE, upstream.read_to_end(&mut received))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(received, b"last words");
    drop(upstream);
    service.leases(0).await;
}

/// An instance that takes nothing cannot hide that the client has left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_behind_a_full_instance_is_answered() {
    let (service, mut client, upstream) = connected().await;
    // As much as one read of the gateway takes, so that the close frame comes with the last bytes.
    let (sent, ()) = tokio::join!(
        async {
            let mut sent = 0;
            while timeout(
                std::time::Duration::from_millis(300),
                client.send(Message::binary(vec![0; 1 << 20])),
            )
            .await
            .is_ok()
            {
                sent += 1;
            }
            sent
        },
        async {}
    );
    assert!(sent > 0);
    // The upstream resumes, so that the close frame gets through behind the data.
    let drained = tokio::spawn(async move {
        let mut upstream = upstream;
        tokio::io::copy(&mut upstream, &mut tokio::io::sink()).await
    });
    timeout(PATIENCE, client.close()).await.unwrap().unwrap();
    timeout(PATIENCE, drained).await.unwrap().unwrap().unwrap();
    service.leases(0).await;
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_is_told_how() {
    for (frame, code) in [
        // unmasked
        (vec![0x82, 1, 0], 1002_u16),
        // reserved bit, reserved opcode, fragmented ping, fragment of nothing
        (client_frame(0xc2, b"x"), 1002),
        (client_frame(0x83, b"x"), 1002),
        (client_frame(0x09, b"x"), 1002),
        (client_frame(0x80, b"x"), 1002),
        // a close code that may not be sent, and a reason that is no text
        (client_frame(0x88, &1005_u16.to_be_bytes()), 1002),
        (client_frame(0x88, b"\x03\xe8\xff"), 1007),
        // text
        (client_frame(0x81, b"x"), 1003),
    ] {
        let (listener, address) = listener().await;
        let service = Service::start(endpoint(address, Protocol::Tcp)).await;
        let mut client = service.raw_client().await;
        let upstream = accept(&listener).await;
        client.write_all(&frame).await.unwrap();
        let mut answer = Vec::new();
        // To the end without an error: no reset has overtaken the close frame.
        client.write_all(&[0; 1000]).await.unwrap();
        let reading = async {
            let mut head = [0; 2];
            client.read_exact(&mut head).await.unwrap();
            answer.resize(usize::from(head[1]), 0);
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(head[0], 0x88);
            let mut nothing = Vec::new();
            client.read_to_end(&mut nothing).await.unwrap();
            assert_eq!(nothing, b"");
        };
        timeout(PATIENCE, reading).await.unwrap();
        assert_eq!(answer[..2], code.to_be_bytes(), "{frame:x?}");
        drop((client, upstream));
        service.leases(0).await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_answer_is_not_waited_for() {
    let (listener, address) = listener().await;
    let service = Service::start(endpoint(address, Protocol::Tcp)).await;
    let mut client = service.raw_client().await;
    let _upstream = accept(&listener).await;
    service.end(EndReason::Stopped);
    let mut received = Vec::new();
    let _ = timeout(PATIENCE, client.read_to_end(&mut received))
        .await
        .unwrap();
    assert_eq!(received[0], 0x88);
    service.leases(0).await;
}

#[tokio::test]
async fn a_request_that_is_no_websocket_is_told_so() {
    let (_listener, address) = listener().await;
    let service = Service::start(endpoint(address, Protocol::Tcp)).await;
    let mut client = TcpStream::connect(service.address).await.unwrap();
    client
        .write_all(b"GET /stream/11000/vnc HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let head = response_head(&mut client).await.to_lowercase();
    assert!(head.starts_with("http/1.1 426 "), "{head}");
    assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
    assert!(head.contains("\r\nsec-websocket-version: 13\r\n"), "{head}");
    let mut body = String::new();
    client.read_to_string(&mut body).await.unwrap();
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["code"], "websocket_required");
    assert!(body["details"].is_string());
    service.leases(0).await;
}
