//! A viewer stays connected while its desktop, which has ended by itself, is started again.

use std::sync::Arc;

use cosage::desktop::end::EndReason;
use cosage::desktop::rights::{Rights, Role, Standing};
use cosage::engine::Protocol;
use futures_util::SinkExt;
use rfb::client::{Client as Vnc, Message as Answer, RESIZABLE, Rectangle, Sharing, Update};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_websockets::{CloseCode, Message};

use crate::support::{
    Client, PATIENCE, Service, Xvnc, accept, closed, endpoint, listener, next_payload, plain,
    read_payload,
};

/// `PIXEL_FORMAT` of the servers here, and another one, as `SetPixelFormat`.
const FORMAT: [u8; 16] = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];
const SET_FORMAT: [u8; 20] = [
    0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 0, 8, 16, 0, 0, 0,
];
/// Tight, DesktopSize, ExtendedDesktopSize.
const ENCODINGS: [u8; 16] = [
    2, 0, 0, 3, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0x21, 0xff, 0xff, 0xfe, 0xcc,
];
const REQUEST: [u8; 10] = [3, 0, 0, 0, 0, 0, 1, 0x40, 0, 200];
const KEY: [u8; 8] = [4, 1, 0, 0, 0, 0, 0, 0x61];
const BELL: [u8; 1] = [2];

/// A server that is a script: past its `ServerInit`, with what came before it.
async fn greeted(listener: &TcpListener, (width, height): (u16, u16)) -> (TcpStream, Vec<u8>) {
    greet(accept(listener).await, (width, height)).await
}

async fn greet(mut server: TcpStream, (width, height): (u16, u16)) -> (TcpStream, Vec<u8>) {
    server.write_all(b"RFB 003.008\n").await.unwrap();
    expect(&mut server, b"RFB 003.008\n").await;
    server.write_all(&[1, 1]).await.unwrap();
    expect(&mut server, &[1]).await;
    server.write_all(&[0; 4]).await.unwrap();
    let mut said = vec![0; 1];
    server.read_exact(&mut said).await.unwrap();
    let mut init = [width.to_be_bytes(), height.to_be_bytes()].concat();
    init.extend(FORMAT);
    init.extend([0, 0, 0, 4]);
    init.extend(b"test");
    server.write_all(&init).await.unwrap();
    (server, said)
}

async fn expect(server: &mut TcpStream, bytes: &[u8]) {
    let mut received = vec![0; bytes.len()];
    timeout(PATIENCE, server.read_exact(&mut received))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(received, bytes);
}

async fn send(client: &mut Client, bytes: &[u8]) {
    client.send(Message::binary(bytes.to_vec())).await.unwrap();
}

/// A viewer that has got its first picture, by hand, and its server's end.
async fn seen(service: &Service, listener: &TcpListener) -> (Client, TcpStream) {
    let mut client = service.client().await;
    let both = async {
        tokio::join!(greeted(listener, (320, 200)), async {
            read_payload(&mut client, 12).await;
            send(&mut client, b"RFB 003.008\n").await;
            read_payload(&mut client, 2).await;
            send(&mut client, &[1]).await;
            read_payload(&mut client, 4).await;
            send(&mut client, &[1]).await;
            read_payload(&mut client, 28).await;
            send(&mut client, &SET_FORMAT).await;
            send(&mut client, &ENCODINGS).await;
            send(&mut client, &REQUEST).await;
        })
    };
    let ((mut server, _), ()) = timeout(PATIENCE, both).await.unwrap();
    expect(&mut server, &RESIZABLE).await;
    expect(&mut server, &SET_FORMAT).await;
    expect(&mut server, &ENCODINGS).await;
    expect(&mut server, &REQUEST).await;
    server.write_all(&compressed(true)).await.unwrap();
    assert_eq!(
        read_payload(&mut client, compressed(true).len()).await,
        compressed(true)
    );
    (client, server)
}

/// A service, a viewer that has got its first picture, its server's end, and where the next server is to be.
async fn scene() -> (Service, Client, TcpStream, TcpListener) {
    scene_of(Arc::default()).await
}

/// The same, whose viewer may do what `standing` says.
async fn scene_of(standing: Arc<Standing>) -> (Service, Client, TcpStream, TcpListener) {
    let (first, address) = listener().await;
    let service = Service::start(endpoint(address, Protocol::Rfb)).await;
    service.hold(standing);
    let (client, server) = seen(&service, &first).await;
    (service, client, server, listener().await.0)
}

/// The server ends, and the engine says so; what is returned ends the next one, at the latest when it is dropped.
fn crash(service: &Service, server: TcpStream, next: &TcpListener) -> Ended {
    let ended = succeed(service, next);
    drop(server);
    service.end(EndReason::Exited);
    ended
}

fn succeed(service: &Service, next: &TcpListener) -> Ended {
    service.follow(endpoint(next.local_addr().unwrap(), Protocol::Rfb))
}

type Ended = watch::Sender<Option<EndReason>>;

/// An update with one rectangle in Tight, with or without the head of its zlib stream.
fn compressed(with_head: bool) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 8, 0, 8, 0, 0, 0, 7];
    let data: &[u8] = if with_head {
        &[0x78, 0x9c, 1, 2, 3, 4]
    } else {
        &[1, 2, 3, 4]
    };
    bytes.extend([0, u8::try_from(data.len()).unwrap()]);
    bytes.extend(data);
    bytes
}

#[tokio::test]
async fn another_server_goes_on_as_if_it_had_been_there_before() {
    let (service, mut client, server, second) = scene().await;
    // Of this message only the beginning ever went anywhere, of the next only a part.
    send(&mut client, &[KEY.as_slice(), &KEY[..3]].concat()).await;

    let ended = crash(&service, server, &second);
    // Somebody comes to give it the size that the viewer had, and is not let in.
    drop(accept(&second).await);
    let (mut server, shared) = greeted(&second, (1024, 768)).await;
    assert_eq!(shared, [1]);
    expect(&mut server, &SET_FORMAT).await;
    expect(&mut server, &ENCODINGS).await;
    // A whole picture, of which the viewer is told the size.
    expect(&mut server, &[3, 0, 0, 0, 0, 0, 4, 0, 3, 0]).await;
    let size = [0, 0, 0, 1, 0, 0, 0, 0, 4, 0, 3, 0, 0xff, 0xff, 0xff, 0x21];
    assert_eq!(next_payload(&mut client).await, size);
    // Compressed data, without the head of a stream: the viewer is in the middle of one.
    server.write_all(&compressed(true)).await.unwrap();
    let (whole, headless) = (compressed(true), compressed(false));
    assert!(headless.len() + 2 == whole.len());
    assert_eq!(read_payload(&mut client, headless.len()).await, headless);
    // The rest of the message that was begun goes nowhere, what follows goes on.
    send(&mut client, &[&KEY[3..], &REQUEST].concat()).await;
    expect(&mut server, &REQUEST).await;

    service.leases(1).await;
    ended.send_replace(Some(EndReason::Stopped));
    assert_eq!(closed(&mut client).await.0, CloseCode::GOING_AWAY);
    drop((client, server));
    service.leases(0).await;
}

#[tokio::test]
async fn what_is_typed_meanwhile_goes_nowhere_and_what_is_wished_counts() {
    let (service, mut client, server, second) = scene().await;
    let _lasting = crash(&service, server, &second);
    drop(accept(&second).await);
    let server = accept(&second).await;
    let fewer = [2, 0, 0, 1, 0, 0, 0, 7];
    send(&mut client, &[KEY.as_slice(), &fewer, &KEY].concat()).await;
    client.send(Message::ping(&b"there?"[..])).await.unwrap();
    let pong = crate::support::next(&mut client).await;
    assert!(pong.is_pong(), "{pong:?}");
    let (mut server, _) = greet(server, (320, 200)).await;
    expect(&mut server, &SET_FORMAT).await;
    // What it had said when the server went, and then what it said since.
    expect(&mut server, &ENCODINGS).await;
    expect(&mut server, &fewer).await;
    expect(&mut server, &REQUEST).await;
}

#[tokio::test]
async fn a_viewer_in_the_middle_of_a_picture_is_told_that_the_desktop_ended() {
    let zrle = [
        0, 0, 0, 1, 0, 0, 0, 0, 0, 8, 0, 1, 0, 0, 0, 16, 0, 0, 0, 1, 0,
    ];
    for last_words in [&compressed(true)[..20], &zrle, &[77]] {
        let (service, mut client, mut server, second) = scene().await;
        let _lasting = succeed(&service, &second);
        server.write_all(last_words).await.unwrap();
        drop(server);
        service.end(EndReason::Exited);
        assert_eq!(
            read_payload(&mut client, last_words.len()).await,
            last_words
        );
        let (code, reason) = closed(&mut client).await;
        assert_ne!(code, CloseCode::SERVICE_RESTART);
        assert!(reason.contains("desktop"), "{reason}");
        drop(second);
    }
}

#[tokio::test]
async fn last_words_arrive_before_the_next_server_goes_on() {
    let (service, mut client, mut server, second) = scene().await;
    let _lasting = succeed(&service, &second);
    // The engine is faster than the connection, which ends later.
    service.end(EndReason::Exited);
    server.write_all(&BELL).await.unwrap();
    drop(server);
    assert_eq!(next_payload(&mut client).await, BELL);
    // One that has the right size already is left alone.
    let (mut looked_at, _) = greeted(&second, (320, 200)).await;
    expect(&mut looked_at, &RESIZABLE).await;
    let mut rest = Vec::new();
    looked_at.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest.len(), SET_FORMAT.len(), "{rest:?}");
    let (mut server, _) = greeted(&second, (320, 200)).await;
    server.write_all(&BELL).await.unwrap();
    assert_eq!(next_payload(&mut client).await, BELL);
}

#[tokio::test]
async fn a_desktop_that_is_not_started_again_ends_its_viewers() {
    let (service, mut client, server, _) = scene().await;
    drop(server);
    service.end(EndReason::Exited);
    let (code, reason) = closed(&mut client).await;
    assert_eq!(code, CloseCode::GOING_AWAY);
    assert_eq!(reason, "the desktop ended by itself");
    service.leases(0).await;
}

#[tokio::test]
async fn a_viewer_who_has_just_come_gets_the_next_server() {
    let (first, address) = listener().await;
    let (second, _) = listener().await;
    let service = Service::start(endpoint(address, Protocol::Rfb)).await;
    let mut client = service.client().await;
    // It is in the middle of its handshake, and so is the gateway.
    read_payload(&mut client, 12).await;
    let server = accept(&first).await;
    let _lasting = succeed(&service, &second);
    service.end(EndReason::Exited);
    let story = async {
        tokio::join!(greeted(&second, (320, 200)), async {
            send(&mut client, b"RFB 003.008\n").await;
            read_payload(&mut client, 2).await;
            send(&mut client, &[1]).await;
            read_payload(&mut client, 4).await;
            send(&mut client, &[0]).await;
            read_payload(&mut client, 28).await;
        })
    };
    let ((mut next, said), ()) = timeout(PATIENCE, story).await.unwrap();
    // Not to be shared, as it said itself.
    assert_eq!(said, [0]);
    expect(&mut next, &RESIZABLE).await;
    service.leases(1).await;
    drop(server);
}

#[tokio::test]
async fn a_size_that_nobody_can_answer_any_more_is_refused_and_not_asked_for_again() {
    let (service, mut client, mut server, second) = scene().await;
    let resize = resize_to((324, 210));
    let enable = [150, 1, 0, 0, 0, 0, 1, 0x40, 0, 200];
    send(&mut client, &[resize.as_slice(), &enable].concat()).await;
    expect(&mut server, &enable).await;
    expect(&mut server, &resize).await;
    let _lasting = crash(&service, server, &second);
    // Out of resources: noVNC asks for no other size before it has an answer.
    let answer = refusal(2);
    assert_eq!(read_payload(&mut client, answer.len()).await, answer);
    drop(accept(&second).await);
    let (mut server, _) = greeted(&second, (320, 200)).await;
    for said in [&SET_FORMAT[..], &ENCODINGS, &REQUEST, &enable] {
        expect(&mut server, said).await;
    }
    // What it asks for now is passed on.
    let other = resize_to((400, 300));
    send(&mut client, &[other.as_slice(), &REQUEST].concat()).await;
    expect(&mut server, &REQUEST).await;
    expect(&mut server, &other).await;
}

/// `SetDesktopSize` with one screen.
fn resize_to(size: (u16, u16)) -> Vec<u8> {
    let (width, height) = (size.0.to_be_bytes(), size.1.to_be_bytes());
    let mut screen = vec![0; 8];
    screen.extend([width, height].concat());
    screen.extend([0; 4]);
    rfb::client::set_desktop_size(size, &screen)
}

/// That the screen keeps its 320 by 200 pixels, and why.
fn refusal(status: u8) -> Vec<u8> {
    let mut message = vec![
        0, 0, 0, 1, 0, 1, 0, status, 1, 0x40, 0, 200, 0xff, 0xff, 0xfe, 0xcc, 1, 0, 0, 0,
    ];
    message.extend([0; 8]);
    message.extend([1, 0x40, 0, 200, 0, 0, 0, 0]);
    message
}

#[tokio::test]
async fn a_size_that_is_too_large_is_refused_and_everything_else_goes_on() {
    let (_service, mut client, mut server, _second) = scene().await;
    let large = resize_to((16384, 16384));
    for piece in [&large[..1], &large[1..20], &large[20..]] {
        send(&mut client, piece).await;
    }
    assert_eq!(read_payload(&mut client, 36).await, refusal(1));
    send(&mut client, &KEY).await;
    expect(&mut server, &KEY).await;
    // Between two messages only: the server is in the middle of a picture.
    let picture = compressed(true);
    server.write_all(&picture[..20]).await.unwrap();
    assert_eq!(read_payload(&mut client, 20).await, picture[..20]);
    send(&mut client, &[large.as_slice(), &REQUEST].concat()).await;
    expect(&mut server, &REQUEST).await;
    server.write_all(&picture[20..]).await.unwrap();
    let rest = read_payload(&mut client, picture.len() - 20 + 36).await;
    assert_eq!(rest, [&picture[20..], &refusal(1)].concat());
}

#[tokio::test]
async fn who_loses_control_or_leaves_has_let_go_of_what_was_held_down() {
    const KEY_UP: [u8; 8] = [4, 0, 0, 0, 0, 0, 0, 0x61];
    const QEMU: [u8; 12] = [255, 0, 0, 1, 0, 0, 0xff, 0xe3, 0, 0, 0, 0x1d];
    const QEMU_UP: [u8; 12] = [255, 0, 0, 0, 0, 0, 0xff, 0xe3, 0, 0, 0, 0x1d];
    const DRAG: [u8; 6] = [5, 1, 0, 9, 0, 8];
    const DROP: [u8; 6] = [5, 0, 0, 9, 0, 8];
    let pressed = [&QEMU[..], &KEY, &DRAG].concat();
    let released = [&KEY_UP[..], &QEMU_UP, &DROP].concat();
    type Way = fn(&Standing);
    let revoked: Way = |standing| standing.end(EndReason::ShareRevoked);
    let expired: Way = |standing| standing.end(EndReason::ShareExpired);
    let restart: Way = |standing| standing.end(EndReason::ServiceShutdown);
    let taken: Way = |standing| standing.set(Rights::of(Role::View));
    for way in [revoked, expired, restart, taken] {
        let standing = Arc::new(Standing::default());
        let (_service, mut client, mut server, _second) = scene_of(Arc::clone(&standing)).await;
        send(&mut client, &pressed).await;
        expect(&mut server, &pressed).await;
        // The viewer says nothing more.
        way(&standing);
        expect(&mut server, &released).await;
        drop(client);
        let mut rest = Vec::new();
        timeout(PATIENCE, server.read_to_end(&mut rest))
            .await
            .unwrap()
            .unwrap();
        assert!(rest.is_empty(), "released once: {rest:?}");
    }
    for close in [true, false] {
        let (_service, mut client, mut server, _second) = scene().await;
        // Half a message that the server never gets the beginning of.
        send(&mut client, &[pressed.as_slice(), &KEY[..5]].concat()).await;
        expect(&mut server, &pressed).await;
        if close {
            let going = Message::close(Some(CloseCode::NORMAL_CLOSURE), "");
            client.send(going).await.unwrap();
        }
        drop(client);
        expect(&mut server, &released).await;
    }
}

/// A smaller viewer comes, resizes and leaves: who stays gets back what it asked for.
#[tokio::test]
async fn the_size_of_the_viewer_that_stays_comes_back() {
    let (listener, address) = listener().await;
    let service = Service::start(endpoint(address, Protocol::Rfb)).await;
    let (mut staying, mut server) = seen(&service, &listener).await;
    let large = resize_to((1024, 768));
    send(&mut staying, &large).await;
    expect(&mut server, &large).await;
    let told = |x: u8, size: &[u8]| {
        let head = [&[0, 0, 0, 1, 0, x, 0, 0], &size[2..6]].concat();
        [
            head,
            vec![0xff, 0xff, 0xfe, 0xcc, 1, 0, 0, 0],
            size[8..].to_vec(),
        ]
        .concat()
    };
    server.write_all(&told(1, &large)).await.unwrap();
    read_payload(&mut staying, 36).await;

    service.hold(Arc::new(Standing::default()));
    let (mut passing, mut other) = seen(&service, &listener).await;
    let small = resize_to((400, 300));
    send(&mut passing, &small).await;
    expect(&mut other, &small).await;
    other.write_all(&told(1, &small)).await.unwrap();
    server.write_all(&told(2, &small)).await.unwrap();
    read_payload(&mut passing, 36).await;
    read_payload(&mut staying, 36).await;
    drop(passing);
    // The one who stays has said nothing.
    expect(&mut server, &large).await;
    server.write_all(&told(1, &large)).await.unwrap();
    assert_eq!(read_payload(&mut staying, 36).await, told(1, &large));
    send(&mut staying, &KEY).await;
    expect(&mut server, &KEY).await;
}

#[tokio::test]
async fn a_next_server_that_says_nothing_is_given_up() {
    let (service, mut client, server, second) = scene().await;
    let _lasting = crash(&service, server, &second);
    let silent = async {
        let mut connections = Vec::new();
        loop {
            connections.push(accept(&second).await);
        }
    };
    let told = tokio::select! {
        () = silent => None,
        told = closed(&mut client) => Some(told),
    };
    let (code, reason) = told.unwrap();
    assert_eq!(code, CloseCode::INTERNAL_SERVER_ERROR);
    assert_eq!(reason, "the RFB handshake took longer than 10 s");
    drop(client);
    service.leases(0).await;
}

#[tokio::test]
async fn pictures_that_cannot_be_told_from_those_before_end_the_viewer() {
    let (service, mut client, server, second) = scene().await;
    let _lasting = crash(&service, server, &second);
    drop(accept(&second).await);
    let (mut server, _) = greeted(&second, (320, 200)).await;
    // Hextile, after which nobody knows where Tight's next stream begins.
    let hextile = [0, 0, 0, 1, 0, 0, 0, 0, 0, 16, 0, 16, 0, 0, 0, 5, 0];
    server.write_all(&hextile).await.unwrap();
    let (code, reason) = closed(&mut client).await;
    assert_eq!(code, CloseCode::INTERNAL_SERVER_ERROR);
    assert!(reason.contains("connect again"), "{reason}");
}

#[tokio::test]
async fn a_viewer_who_leaves_meanwhile_holds_nothing() {
    let (service, client, server, second) = scene().await;
    let _lasting = crash(&service, server, &second);
    // It is greeted by nobody, and the viewer goes.
    let silent = accept(&second).await;
    drop(client);
    service.leases(0).await;
    drop(silent);
}

#[tokio::test]
async fn who_only_looked_on_goes_on_looking_only() {
    let standing = Arc::new(Standing::new(Rights::of(Role::View)));
    let (service, mut client, server, second) = scene_of(Arc::clone(&standing)).await;
    let _lasting = crash(&service, server, &second);
    let (mut server, _) = greeted(&second, (640, 480)).await;
    expect(&mut server, &SET_FORMAT).await;
    expect(&mut server, &ENCODINGS).await;
    // No resizing: it is told of the size.
    expect(&mut server, &[3, 0, 0, 0, 0, 0, 2, 0x80, 1, 0xe0]).await;
    let size = [
        0, 0, 0, 1, 0, 0, 0, 0, 2, 0x80, 1, 0xe0, 0xff, 0xff, 0xff, 0x21,
    ];
    assert_eq!(next_payload(&mut client).await, size);
    send(&mut client, &[KEY.as_slice(), &REQUEST].concat()).await;
    expect(&mut server, &REQUEST).await;
    standing.set(Rights::of(Role::Control));
    send(&mut client, &KEY).await;
    expect(&mut server, &KEY).await;
    standing.end(EndReason::ShareRevoked);
    loop {
        let message = crate::support::next(&mut client).await;
        if let Some((code, _)) = message.as_close() {
            assert_eq!(code, CloseCode::POLICY_VIOLATION);
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_servers_take_the_place_of_each_other() {
    let (Some(first), Some(second)) = (Xvnc::start(None).await, Xvnc::start(None).await) else {
        return;
    };
    let service = Service::start(endpoint(first.address, Protocol::Rfb)).await;
    let stream = plain(service.client().await);
    let start = Vnc::start(stream, None, Sharing::Shared);
    let mut viewer = timeout(PATIENCE, start).await.unwrap().unwrap();
    let story = async {
        viewer.full_picture().await.unwrap();
        viewer.set_desktop_size(401, 303).await.unwrap();
        resized(&mut viewer, (401, 303)).await;
        viewer.full_picture().await.unwrap();

        let _lasting = service.follow(endpoint(second.address, Protocol::Rfb));
        first.process.signal(Signal::KILL);
        service.end(EndReason::Exited);
        // Its own size is another one.
        viewer.full_picture().await.unwrap();
        assert_eq!(viewer.size(), (401, 303));
    };
    timeout(PATIENCE, story).await.unwrap();
}

/// Reads until the screen has this size.
async fn resized<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    viewer: &mut Vnc<S>,
    (width, height): (u16, u16),
) {
    while viewer.size() != (width, height) {
        viewer.request_update(Update::Incremental).await.unwrap();
        if let Answer::Update(rectangles) = viewer.message().await.unwrap()
            && rectangles.contains(&Rectangle::Resized { width, height })
        {
            return;
        }
    }
}
