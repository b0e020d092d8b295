use std::pin::Pin;
use std::task::{Context, Poll};

use proptest::prelude::*;
use tokio::io::{DuplexStream, ReadBuf, duplex};

use super::*;

/// A peer that has said `input` already and takes whatever it is told.
struct Scripted<'a> {
    input: &'a [u8],
    output: Vec<u8>,
}

impl<'a> Scripted<'a> {
    fn new(input: &'a [u8]) -> Self {
        Self {
            input,
            output: Vec::new(),
        }
    }
}

impl AsyncRead for Scripted<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_read(context, buffer)
    }
}

impl AsyncWrite for Scripted<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.output.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn client(
    input: &[u8],
    password: Option<&str>,
) -> (Result<Version, HandshakeError>, Vec<u8>, Vec<u8>) {
    let mut server = Scripted::new(input);
    let result = connect(&mut server, password).await;
    (result, server.output, server.input.to_vec())
}

const CHALLENGE: &[u8; CHALLENGE_LEN] = b"0123456789abcdef";

#[tokio::test]
async fn each_version_without_a_password() {
    for (version, server, said) in [
        (
            Version::V3_3,
            &b"RFB 003.003\n\0\0\0\x01REST"[..],
            &b"RFB 003.003\n"[..],
        ),
        (
            Version::V3_7,
            b"RFB 003.007\n\x02\x02\x01REST",
            b"RFB 003.007\n\x01",
        ),
        (
            Version::V3_8,
            b"RFB 003.008\n\x01\x01\0\0\0\0REST",
            b"RFB 003.008\n\x01",
        ),
    ] {
        let (result, output, rest) = client(server, Some("unused")).await;
        assert_eq!(result.unwrap(), version);
        assert_eq!(output, said);
        assert_eq!(rest, b"REST", "nothing beyond the handshake may be read");
    }
}

#[tokio::test]
async fn each_version_with_a_password() {
    for (version, before, choice) in [
        (Version::V3_3, &b"RFB 003.003\n\0\0\0\x02"[..], &b""[..]),
        (Version::V3_7, b"RFB 003.007\n\x01\x02", b"\x02"),
        (Version::V3_8, b"RFB 003.889\n\x02\x13\x02", b"\x02"),
    ] {
        let input = [before, CHALLENGE, b"\0\0\0\0REST"].concat();
        let (result, output, rest) = client(&input, Some("secret")).await;
        assert_eq!(result.unwrap(), version);
        let response = authentication::respond(CHALLENGE, "secret");
        assert_eq!(output, [&version.banner()[..], choice, &response].concat());
        assert_eq!(rest, b"REST");
    }
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let refused = b"RFB 003.008\n\0\0\0\0\x04b\x1bsy";
    assert!(
        matches!(client(refused, None).await.0, Err(HandshakeError::Refused(reason)) if reason == "bsy")
    );
    let refused = b"RFB 003.003\n\0\0\0\0\0\0\0\x04busy";
    assert!(
        matches!(client(refused, None).await.0, Err(HandshakeError::Refused(reason)) if reason == "busy")
    );

    let only_tls = b"RFB 003.008\n\x01\x13";
    assert!(
        matches!(client(only_tls, None).await.0, Err(HandshakeError::UnsupportedSecurity(types)) if types == [19])
    );

    let (result, output, _) = client(b"RFB 003.008\n\x01\x02", None).await;
    assert!(matches!(result, Err(HandshakeError::PasswordRequired)));
    assert_eq!(output, b"RFB 003.008\n", "nothing was begun");

    let wrong = [
        &b"RFB 003.008\n\x01\x02"[..],
        CHALLENGE,
        b"\0\0\0\x01\0\0\0\x05wrong",
    ]
    .concat();
    assert!(
        matches!(client(&wrong, Some("x")).await.0, Err(HandshakeError::AuthenticationFailed(reason)) if reason == "wrong")
    );
    let wrong = [&b"RFB 003.007\n\x01\x02"[..], CHALLENGE, b"\0\0\0\x01"].concat();
    assert!(matches!(
        client(&wrong, Some("x")).await.0,
        Err(HandshakeError::AuthenticationFailed(_))
    ));

    let endless = b"RFB 003.008\n\0\xff\xff\xff\xff";
    assert!(matches!(
        client(endless, None).await.0,
        Err(HandshakeError::ReasonTooLong(u32::MAX))
    ));
    assert!(matches!(
        client(b"HTTP/1.1 400 ", None).await.0,
        Err(HandshakeError::Version(VersionError::NotRfb))
    ));
    assert!(matches!(
        client(b"RFB 00", None).await.0,
        Err(HandshakeError::Io(_))
    ));
}

#[tokio::test]
async fn each_viewer_is_let_in_without_a_password() {
    for (viewer, said, version) in [
        (
            &b"RFB 003.003\nREST"[..],
            &b"RFB 003.008\n\0\0\0\x01"[..],
            Version::V3_3,
        ),
        (
            b"RFB 003.005\nREST",
            b"RFB 003.008\n\0\0\0\x01",
            Version::V3_3,
        ),
        (
            b"RFB 003.007\n\x01REST",
            b"RFB 003.008\n\x01\x01",
            Version::V3_7,
        ),
        (
            b"RFB 003.008\n\x01REST",
            b"RFB 003.008\n\x01\x01\0\0\0\0",
            Version::V3_8,
        ),
        (
            b"RFB 003.889\n\x01REST",
            b"RFB 003.008\n\x01\x01\0\0\0\0",
            Version::V3_8,
        ),
    ] {
        let mut viewer = Scripted::new(viewer);
        assert_eq!(accept(&mut viewer).await.unwrap(), version);
        assert_eq!(viewer.output, said);
        assert_eq!(viewer.input, b"REST");
    }
}

#[tokio::test]
async fn a_viewer_may_not_choose_what_was_not_offered() {
    let mut viewer = Scripted::new(b"RFB 003.008\n\x02");
    assert!(matches!(
        accept(&mut viewer).await,
        Err(HandshakeError::NotOffered(2))
    ));
}

#[tokio::test]
async fn both_sides_understand_each_other() {
    let (mut viewer, mut server): (DuplexStream, DuplexStream) = duplex(3);
    let (connected, accepted) = tokio::join!(connect(&mut viewer, None), accept(&mut server));
    assert_eq!(connected.unwrap(), Version::V3_8);
    assert_eq!(accepted.unwrap(), Version::V3_8);
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

proptest! {
    /// Whatever a server or a viewer says: an end, no panic, and little memory.
    #[test]
    fn any_bytes_end_the_handshake(
        banner in proptest::sample::select(vec![
            &b"RFB 003.003\n"[..], b"RFB 003.007\n", b"RFB 003.008\n", b"",
        ]),
        noise in proptest::collection::vec(any::<u8>(), 0..64),
        password in proptest::option::of("[a-z]{0,12}"),
    ) {
        let input = [banner, &noise].concat();
        run(async {
            let _ = connect(&mut Scripted::new(&input), password.as_deref()).await;
            let _ = accept(&mut Scripted::new(&input)).await;
        });
    }
}
