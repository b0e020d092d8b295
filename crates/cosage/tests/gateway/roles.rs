//! Those who only look on, in front of a real VNC server.

use std::sync::Arc;

use cosage::desktop::rights::{Rights, Role, Standing};
use cosage::engine::Protocol;
use futures_util::{SinkExt, StreamExt};
use rfb::client::{Client, KeyState, Message, Rectangle, Sharing, Update};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_websockets::{CloseCode, Message as Frame, ServerBuilder};

use crate::support::{
    PATIENCE, REQUEST, Service, Xvnc, accept, closed, endpoint, listener, plain, response_head,
};

type Viewer = Client<DuplexStream>;

async fn viewer(service: &Service) -> Viewer {
    let stream = plain(service.client().await);
    // Not shared: without the gateway, the server would send the others away.
    let start = Client::start(stream, None, Sharing::Exclusive);
    let mut viewer = timeout(PATIENCE, start).await.unwrap().unwrap();
    whole_picture(&mut viewer).await;
    viewer
}

async fn whole_picture(viewer: &mut Viewer) {
    timeout(PATIENCE, viewer.full_picture())
        .await
        .unwrap()
        .unwrap();
}

/// What the viewer is told next, once it has asked.
async fn told(viewer: &mut Viewer) -> Vec<Message> {
    let mut messages = Vec::new();
    timeout(PATIENCE, async {
        viewer.request_update(Update::Full).await.unwrap();
        loop {
            let message = viewer.message().await.unwrap();
            let drawn = matches!(&message, Message::Update(rectangles)
                if rectangles.iter().any(|rectangle| matches!(rectangle, Rectangle::Pixels { .. })));
            let update = matches!(message, Message::Update(_));
            messages.push(message);
            if drawn {
                return messages;
            }
            if update {
                // The answer to a request may be the screen's size alone.
                viewer.request_update(Update::Incremental).await.unwrap();
            }
        }
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_looks_on_changes_nothing_and_goes_on_seeing() {
    let Some(xvnc) = Xvnc::start(None).await else {
        return;
    };
    let service = Service::start(endpoint(xvnc.address, Protocol::Rfb)).await;
    let standing = Arc::new(Standing::new(Rights::of(Role::View)));
    let mut steering = viewer(&service).await;
    service.hold(Arc::clone(&standing));
    let mut looking = viewer(&service).await;
    // It asked for the desktop for itself alone; the other one is still there.
    whole_picture(&mut steering).await;

    looking.key(0x61, KeyState::Down).await.unwrap();
    looking.pointer(5, 5, 1).await.unwrap();
    looking
        .cut_text(b"from the one who looks on")
        .await
        .unwrap();
    looking.set_desktop_size(401, 303).await.unwrap();
    let answers = told(&mut looking).await;
    assert_eq!(looking.size(), (320, 200), "{answers:?}");
    let cut = |message: &Message| matches!(message, Message::CutText(_));
    assert!(!told(&mut steering).await.iter().any(cut));

    steering.cut_text(b"from the one who steers").await.unwrap();
    steering.set_desktop_size(401, 303).await.unwrap();
    let seen = async {
        while looking.size() != (401, 303) {
            looking.full_picture().await.unwrap();
        }
    };
    timeout(PATIENCE, seen).await.unwrap();

    standing.set(Rights::of(Role::Control));
    looking.set_desktop_size(320, 200).await.unwrap();
    let resized = async {
        while looking.size() != (320, 200) {
            looking.full_picture().await.unwrap();
        }
    };
    timeout(PATIENCE, resized).await.unwrap();
}

/// What passes through untouched has nothing kept out of it.
#[tokio::test]
async fn a_stream_that_is_not_understood_is_not_for_those_who_look_on() {
    let (_listener, address) = listener().await;
    for protocol in [Protocol::Websocket, Protocol::Tcp] {
        let service = Service::start(endpoint(address, protocol)).await;
        service.hold(Arc::new(Standing::new(Rights::of(Role::View))));
        let mut stream = TcpStream::connect(service.address).await.unwrap();
        stream.write_all(REQUEST.as_bytes()).await.unwrap();
        let head = response_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 409 "), "{head}");
    }
}

#[tokio::test]
async fn who_loses_control_of_what_cannot_be_held_is_sent_away() {
    let (listener, address) = listener().await;
    let service = Service::start(endpoint(address, Protocol::Websocket)).await;
    let standing = Arc::new(Standing::default());
    service.hold(Arc::clone(&standing));
    let (mut client, mut upstream) = tokio::join!(service.client(), async {
        let stream = accept(&listener).await;
        ServerBuilder::new().accept(stream).await.unwrap().1
    });
    client.send(Frame::binary("while it may")).await.unwrap();
    let message = timeout(PATIENCE, upstream.next()).await.unwrap();
    assert_eq!(message.unwrap().unwrap().as_payload()[..], *b"while it may");
    // It says nothing, and may hold something down.
    standing.set(Rights::of(Role::View));
    let (code, reason) = closed(&mut client).await;
    assert_eq!(code, CloseCode::POLICY_VIOLATION);
    assert!(reason.starts_with("you may only look on now"), "{reason}");
    let more = timeout(PATIENCE, upstream.next()).await.unwrap();
    assert!(!matches!(more, Some(Ok(_))), "{more:?}");
}
