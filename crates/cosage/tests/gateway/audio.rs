//! Sound: one connection to the instance, any number of listeners.

use std::net::SocketAddr;
use std::time::Duration;

use cosage::desktop::end::EndReason;
use cosage::engine::{Endpoint, Presence, Protocol, VncPassword};
use cosage::gateway::GatewaySettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_websockets::CloseCode;

use crate::support::{
    Client, PATIENCE, Service, accept, client_frame, closed, endpoint, listener, next, next_payload,
};

/// An EBML header and the beginning of a segment of unknown size (RFC 8794, RFC 9559).
const HEADER: &[u8] = b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm\x18\x53\x80\x67\xff";

/// A cluster with this timestamp, and an element of zeros of this length.
fn cluster(timestamp: u16, padding: usize) -> Vec<u8> {
    let element = |id: &[u8], content: &[u8]| {
        let size = 0x1000_0000 | u32::try_from(content.len()).unwrap();
        [id, &size.to_be_bytes(), content].concat()
    };
    let timestamp = element(&[0xe7], &timestamp.to_be_bytes());
    let void = element(&[0xec], &vec![0; padding]);
    element(&[0x1f, 0x43, 0xb6, 0x75], &[timestamp, void].concat())
}

fn audio(address: SocketAddr) -> Endpoint {
    Endpoint {
        presence: Presence::Listener,
        ..endpoint(address, Protocol::Webm)
    }
}

/// A service, a listener that has had the header and the first cluster, and the instance's end.
async fn listening() -> (Service, Client, TcpStream, TcpListener) {
    let (listener, address) = listener().await;
    let service = Service::start(audio(address)).await;
    let mut client = service.client().await;
    let mut upstream = accept(&listener).await;
    upstream.write_all(HEADER).await.unwrap();
    upstream.write_all(&cluster(1, 0)).await.unwrap();
    assert_eq!(next_payload(&mut client).await, HEADER);
    // The first one may have come before the listener did.
    upstream.write_all(&cluster(2, 0)).await.unwrap();
    while next_payload(&mut client).await != cluster(2, 0) {}
    (service, client, upstream, listener)
}

#[tokio::test]
async fn listeners_share_one_connection_that_ends_with_the_last_of_them() {
    let (service, mut first, mut upstream, listener) = listening().await;
    let mut second = service.client().await;
    // At once: the instance sends nothing meanwhile.
    assert_eq!(next_payload(&mut second).await, HEADER);

    // Whole clusters, however they come.
    let three = cluster(3, 100);
    upstream.write_all(&three[..9]).await.unwrap();
    tokio::task::yield_now().await;
    upstream.write_all(&three[9..]).await.unwrap();
    assert_eq!(next_payload(&mut first).await, three);
    assert_eq!(next_payload(&mut second).await, three);

    drop(first);
    service.leases(1).await;
    upstream.write_all(&cluster(4, 0)).await.unwrap();
    assert_eq!(next_payload(&mut second).await, cluster(4, 0));
    drop(second);
    let mut rest = Vec::new();
    timeout(PATIENCE, upstream.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(rest.is_empty(), "nothing is ever sent to the instance");

    let mut third = service.client().await;
    let mut upstream = accept(&listener).await;
    upstream.write_all(HEADER).await.unwrap();
    upstream.write_all(&cluster(0, 0)).await.unwrap();
    assert_eq!(next_payload(&mut third).await, HEADER);
}

#[tokio::test]
async fn the_instance_gets_its_password_first() {
    let (listener, address) = listener().await;
    let password = Some(VncPassword::new("pa55w0rd"));
    let service = Service::with(audio(address), password, GatewaySettings::default()).await;
    let _client = service.client().await;
    let mut upstream = accept(&listener).await;
    let mut given = [0; 8];
    upstream.read_exact(&mut given).await.unwrap();
    assert_eq!(&given, b"pa55w0rd");
}

/// An instance that was held up for a second sends what is due at once.
#[tokio::test]
async fn a_burst_of_clusters_reaches_a_listener_that_keeps_up() {
    let (_service, mut client, mut upstream, _listener) = listening().await;
    let burst: Vec<_> = (3..28).map(|number| cluster(number, 480)).collect();
    upstream.write_all(&burst.concat()).await.unwrap();
    for expected in burst {
        assert_eq!(next_payload(&mut client).await, expected);
    }
}

/// One that takes nothing misses clusters, holds up nobody, and goes on with a whole, recent one.
#[tokio::test]
async fn a_listener_that_is_slow_misses_clusters() {
    let (service, mut quick, mut upstream, _listener) = listening().await;
    let mut slow = service.client().await;
    assert_eq!(next_payload(&mut slow).await, HEADER);
    // More than all buffers on the way to a client on loopback hold.
    let count = 400;
    for number in 0..count {
        upstream.write_all(&cluster(number, 60_000)).await.unwrap();
        assert_eq!(next_payload(&mut quick).await, cluster(number, 60_000));
    }
    let last = cluster(count, 0);
    let mut seen = 0;
    loop {
        // What the slow one has no room for is not kept: more is needed until it takes one again.
        upstream.write_all(&last).await.unwrap();
        assert_eq!(next_payload(&mut quick).await, last);
        let message = next_payload(&mut slow).await;
        assert_eq!(&message[..4], &cluster(0, 0)[..4]);
        if message == last {
            break;
        }
        seen += 1;
    }
    assert!(seen < count, "nothing was missed");
}

#[tokio::test]
async fn what_is_no_sound_is_said_and_the_next_listener_tries_again() {
    let (listener, address) = listener().await;
    let service = Service::start(audio(address)).await;
    for (sent, reason) in [
        (
            &b"RFB 003.008\n"[..],
            "the desktop's sound cannot be used: it is not WebM",
        ),
        (b"", "the desktop closed the connection before any sound"),
    ] {
        let mut client = service.client().await;
        let mut upstream = accept(&listener).await;
        upstream.write_all(sent).await.unwrap();
        upstream.shutdown().await.unwrap();
        let (code, said) = closed(&mut client).await;
        assert_eq!(
            (code, said.as_str()),
            (CloseCode::INTERNAL_SERVER_ERROR, reason)
        );
    }
}

#[tokio::test]
async fn the_end_of_the_sound_and_of_the_desktop_are_told() {
    let (service, mut client, upstream, listener) = listening().await;
    drop(upstream);
    let (code, _) = closed(&mut client).await;
    assert_eq!(code, CloseCode::NORMAL_CLOSURE);

    // One that still holds what is over does not keep others from a new beginning.
    let mut again = service.client().await;
    let mut upstream = accept(&listener).await;
    upstream.write_all(HEADER).await.unwrap();
    upstream.write_all(&cluster(0, 0)).await.unwrap();
    assert_eq!(next_payload(&mut again).await, HEADER);
    service.end(EndReason::Stopped);
    let ended = async {
        loop {
            let message = next(&mut again).await;
            if let Some((code, _)) = message.as_close() {
                return code;
            }
        }
    };
    assert_eq!(ended.await, CloseCode::GOING_AWAY);
}

#[tokio::test]
async fn a_listener_is_answered_and_asked_whether_it_is_there() {
    let (listener, address) = listener().await;
    let settings = GatewaySettings {
        ping_interval: Duration::from_millis(50),
        ..GatewaySettings::default()
    };
    let service = Service::with(audio(address), None, settings).await;
    let mut silent = service.raw_client().await;
    let mut upstream = accept(&listener).await;
    silent
        .write_all(&client_frame(0x89, b"hello"))
        .await
        .unwrap();
    let mut pong = [0; 7];
    // Pings of the service's own may come first.
    loop {
        timeout(PATIENCE, silent.read_exact(&mut pong[..2]))
            .await
            .unwrap()
            .unwrap();
        if pong[0] == 0x8a {
            break;
        }
        assert_eq!(pong[..2], [0x89, 0]);
    }
    silent.read_exact(&mut pong[2..]).await.unwrap();
    assert_eq!(&pong, b"\x8a\x05hello");
    // It answers no ping, and so the instance's connection ends with it.
    let mut rest = Vec::new();
    timeout(PATIENCE, upstream.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    service.leases(0).await;
}
