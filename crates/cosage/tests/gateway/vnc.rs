//! Real VNC servers behind the gateway.

use std::time::Duration;

use cosage::engine::{Protocol, VncPassword};
use cosage::gateway::{GatewaySettings, probe};
use rfb::HandshakeError;
use rfb::client::{self, Rectangle, Sharing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_websockets::CloseCode;

use crate::support::{PATIENCE, Service, Xvnc, closed, endpoint, plain};

async fn picture(service: &Service) {
    let stream = plain(service.client().await);
    let start = client::Client::start(stream, None, Sharing::Shared);
    let mut client = timeout(PATIENCE, start).await.unwrap().unwrap();
    assert_eq!(client.size(), (320, 200));
    timeout(PATIENCE, client.full_picture())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(client.pixels().len(), 320 * 200 * 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_desktop_without_a_password_is_seen() {
    let Some(xvnc) = Xvnc::start(None).await else {
        return;
    };
    // No wait: the gateway dials until it answers.
    let service = Service::start(endpoint(xvnc.address, Protocol::Rfb)).await;
    picture(&service).await;
    service.leases(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_desktop_with_a_password_is_seen_without_one_and_resized() {
    let Some(xvnc) = Xvnc::start(Some("secret12")).await else {
        return;
    };
    let service = Service::with(
        endpoint(xvnc.address, Protocol::Rfb),
        Some(VncPassword::new("secret12")),
        GatewaySettings::default(),
    )
    .await;
    picture(&service).await;

    let stream = plain(service.client().await);
    let mut client = client::Client::start(stream, None, Sharing::Shared)
        .await
        .unwrap();
    client.full_picture().await.unwrap();
    client.set_desktop_size(401, 303).await.unwrap();
    let resized = async {
        loop {
            client
                .request_update(client::Update::Incremental)
                .await
                .unwrap();
            if let client::Message::Update(rectangles) = client.message().await.unwrap()
                && rectangles.contains(&Rectangle::Resized {
                    width: 401,
                    height: 303,
                })
            {
                return;
            }
        }
    };
    timeout(PATIENCE, resized).await.unwrap();
    client.full_picture().await.unwrap();
    assert_eq!(client.size(), (401, 303));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_is_wrong_or_missing_is_told() {
    let Some(xvnc) = Xvnc::start(Some("secret12")).await else {
        return;
    };
    for (password, text) in [
        (None, "none is known"),
        (
            Some(VncPassword::new("wrong")),
            "did not accept the password",
        ),
    ] {
        let service = Service::with(
            endpoint(xvnc.address, Protocol::Rfb),
            password,
            GatewaySettings::default(),
        )
        .await;
        let mut client = service.client().await;
        // The viewer's own handshake may have begun: its first bytes come before the close frame.
        let (code, reason) = loop {
            let message = crate::support::next(&mut client).await;
            if let Some((code, reason)) = message.as_close() {
                break (code, reason.to_owned());
            }
        };
        assert_eq!(code, CloseCode::INTERNAL_SERVER_ERROR);
        assert!(reason.contains(text), "{reason}");
        drop(client);
        service.leases(0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_that_come_at_the_same_moment_are_all_let_in() {
    let Some(xvnc) = Xvnc::start(Some("secret12")).await else {
        return;
    };
    let service = Service::with(
        endpoint(xvnc.address, Protocol::Rfb),
        Some(VncPassword::new("secret12")),
        GatewaySettings::default(),
    )
    .await;
    let viewers = (0..20).map(|_| picture(&service));
    futures_util::future::join_all(viewers).await;
}

/// TigerVNC drops a client that has not sent its `SetEncodings` when the screen is resized.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_that_has_just_come_survives_that_another_one_resizes() {
    let Some(xvnc) = Xvnc::start(None).await else {
        return;
    };
    let service = Service::start(endpoint(xvnc.address, Protocol::Rfb)).await;
    let mut new = plain(service.client().await);
    timeout(PATIENCE, rfb::connect(&mut new, None))
        .await
        .unwrap()
        .unwrap();
    new.write_all(&[1]).await.unwrap();
    new.flush().await.unwrap();
    // The width and height of its ServerInit: the server has taken it in.
    let mut size = [0; 4];
    timeout(PATIENCE, new.read_exact(&mut size))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(size, [1, 64, 0, 200]);

    let stream = plain(service.client().await);
    let mut other = client::Client::start(stream, None, Sharing::Shared)
        .await
        .unwrap();
    other.full_picture().await.unwrap();
    other.set_desktop_size(401, 303).await.unwrap();
    let resized = async {
        while other.size() != (401, 303) {
            other.full_picture().await.unwrap();
        }
    };
    timeout(PATIENCE, resized).await.unwrap();

    // The rest of its ServerInit: pixel format, length of the name; then, asked for, a picture.
    let mut rest = [0; 20];
    new.read_exact(&mut rest).await.unwrap();
    let length = u32::from_be_bytes([rest[16], rest[17], rest[18], rest[19]]);
    let mut name = vec![0; length as usize];
    new.read_exact(&mut name).await.unwrap();
    new.write_all(&client::RESIZABLE).await.unwrap();
    new.write_all(&[3, 0, 0, 0, 0, 0, 0, 1, 0, 1])
        .await
        .unwrap();
    new.flush().await.unwrap();
    let message = timeout(PATIENCE, new.read_u8()).await.unwrap().unwrap();
    assert_eq!(message, 0, "FramebufferUpdate");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_desktop_that_hangs_in_its_handshake_is_given_up() {
    let Some(xvnc) = Xvnc::start(None).await else {
        return;
    };
    let endpoint = endpoint(xvnc.address, Protocol::Rfb);
    timeout(PATIENCE, probe::ready(&endpoint, None))
        .await
        .unwrap();
    xvnc.process.signal(rustix::process::Signal::STOP);
    let service = Service::start(endpoint).await;
    let mut client = service.client().await;
    assert!(crate::support::next(&mut client).await.is_binary());
    let (code, reason) = closed(&mut client).await;
    assert_eq!(code, CloseCode::INTERNAL_SERVER_ERROR);
    assert_eq!(reason, "the RFB handshake took longer than 10 s");
}

/// The readiness probe is resolved by a real answer only, and any number of them does no harm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_probes_do_no_harm() {
    for password in [None, Some("secret12")] {
        let Some(xvnc) = Xvnc::start(password).await else {
            return;
        };
        let password = password.map(VncPassword::new);
        let endpoint = endpoint(xvnc.address, Protocol::Rfb);
        let probes = async {
            for _ in 0..2_000 {
                probe::ready(&endpoint, password.as_ref()).await;
            }
        };
        timeout(Duration::from_secs(60), probes).await.unwrap();
        let mut stream = TcpStream::connect(xvnc.address).await.unwrap();
        rfb::connect(&mut stream, password.as_ref().map(VncPassword::reveal))
            .await
            .unwrap();
    }
}

/// Why the probe completes the handshake: hanging up after the banner is held against the address.
#[tokio::test]
async fn hanging_up_after_the_banner_is_counted_by_the_server() {
    let Some(xvnc) = Xvnc::start(None).await else {
        return;
    };
    probe::ready(&endpoint(xvnc.address, Protocol::Rfb), None).await;
    for _ in 0..10 {
        let mut stream = TcpStream::connect(xvnc.address).await.unwrap();
        rfb::probe(&mut stream).await.unwrap();
    }
    let mut stream = TcpStream::connect(xvnc.address).await.unwrap();
    let refused = rfb::connect(&mut stream, None).await;
    assert!(
        matches!(refused, Err(HandshakeError::Refused(_))),
        "{refused:?}"
    );
}
