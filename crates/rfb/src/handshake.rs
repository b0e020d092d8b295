//! From the first byte to just before `ClientInit` (RFC 6143, 7.1 and 7.2, appendix A for 3.3).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::authentication::{self, CHALLENGE_LEN};
use crate::version::{BANNER_LEN, Version, VersionError};

/// The longest reason that is read from a server, in bytes; a longer one is an error.
pub const REASON_MAX_LEN: u32 = 4096;

/// Security types (RFC 6143, 7.2).
const INVALID: u8 = 0;
const NONE: u8 = 1;
const VNC_AUTHENTICATION: u8 = 2;

/// `SecurityResult` (RFC 6143, 7.1.3): anything but this is a failure.
const RESULT_OK: u32 = 0;

/// Why a handshake did not come to its end. Texts of the peer are shown without control
/// characters; passwords never appear.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The connection broke or ended.
    #[error("the connection broke during the RFB handshake: {0}")]
    Io(#[from] io::Error),
    /// The peer's `ProtocolVersion` is none that can be talked to.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// The server refuses connections at present.
    #[error("the VNC server refused the connection: {0}")]
    Refused(String),
    /// The server offers only security types that are not spoken here.
    #[error(
        "the VNC server offers only the security types {0:?}; None (1) or VNC Authentication (2) is needed"
    )]
    UnsupportedSecurity(Vec<u8>),
    /// The server asks for a password and there is none.
    #[error("the VNC server asks for a password, and none is known")]
    PasswordRequired,
    /// The server did not accept the password.
    #[error("the VNC server did not accept the password: {0}")]
    AuthenticationFailed(String),
    /// The server's reason is longer than [`REASON_MAX_LEN`].
    #[error("the VNC server sent a reason of {0} bytes, which is too long to be one")]
    ReasonTooLong(u32),
    /// The viewer chose a security type that was not offered.
    #[error("the viewer chose security type {0}, which was not offered")]
    NotOffered(u8),
}

/// Reads the 12 bytes that every RFB server says first: whether there is one, and which.
/// Nothing is written.
///
/// # Errors
/// [`HandshakeError::Io`] when the peer hangs up before, [`HandshakeError::Version`] when it says something else.
pub async fn probe<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Version, HandshakeError> {
    let mut banner = [0; BANNER_LEN];
    stream.read_exact(&mut banner).await?;
    Ok(Version::parse(&banner)?)
}

/// The handshake as a client towards a VNC server. Takes the security type None where it is offered,
/// else VNC Authentication with `password`.
///
/// # Errors
/// See [`HandshakeError`]; the stream is of no use any more then.
pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    password: Option<&str>,
) -> Result<Version, HandshakeError> {
    // No version beyond 3.8 is answered, so the smaller one is always the server's.
    let version = probe(stream).await?;
    write(stream, version.banner()).await?;

    let security_type = match version {
        Version::V3_3 => decided_by_server(stream).await?,
        Version::V3_7 | Version::V3_8 => choose(stream, password).await?,
    };
    match (security_type, password) {
        (NONE, _) if version == Version::V3_8 => result(stream, version).await?,
        (NONE, _) => {}
        (_, Some(password)) => {
            let mut challenge = [0; CHALLENGE_LEN];
            stream.read_exact(&mut challenge).await?;
            write(stream, &authentication::respond(&challenge, password)).await?;
            result(stream, version).await?;
        }
        (_, None) => return Err(HandshakeError::PasswordRequired),
    }
    Ok(version)
}

/// The handshake as a server towards a viewer: offers 3.8 and exactly the security type None.
///
/// # Errors
/// See [`HandshakeError`]; the stream is of no use any more then.
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
) -> Result<Version, HandshakeError> {
    write(stream, Version::V3_8.banner()).await?;
    let version = probe(stream).await?;
    match version {
        Version::V3_3 => write(stream, &u32::from(NONE).to_be_bytes()).await?,
        Version::V3_7 | Version::V3_8 => {
            write(stream, &[1, NONE]).await?;
            let chosen = stream.read_u8().await?;
            if chosen != NONE {
                return Err(HandshakeError::NotOffered(chosen));
            }
            if version == Version::V3_8 {
                write(stream, &RESULT_OK.to_be_bytes()).await?;
            }
        }
    }
    Ok(version)
}

/// 3.3: a single word, the type or 0 with a reason.
async fn decided_by_server<S: AsyncRead + Unpin>(stream: &mut S) -> Result<u8, HandshakeError> {
    match u8::try_from(stream.read_u32().await?) {
        Ok(INVALID) => Err(HandshakeError::Refused(reason(stream).await?)),
        Ok(security_type @ (NONE | VNC_AUTHENTICATION)) => Ok(security_type),
        Ok(other) => Err(HandshakeError::UnsupportedSecurity(vec![other])),
        Err(_) => Err(HandshakeError::UnsupportedSecurity(Vec::new())),
    }
}

/// 3.7 and 3.8: a list to choose from, empty with a reason.
async fn choose<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    password: Option<&str>,
) -> Result<u8, HandshakeError> {
    let count = stream.read_u8().await?;
    if count == 0 {
        return Err(HandshakeError::Refused(reason(stream).await?));
    }
    let mut offered = vec![0; usize::from(count)];
    stream.read_exact(&mut offered).await?;
    let chosen = if offered.contains(&NONE) {
        NONE
    } else if !offered.contains(&VNC_AUTHENTICATION) {
        return Err(HandshakeError::UnsupportedSecurity(offered));
    } else if password.is_none() {
        // Told before the choice is sent: a server may count a begun authentication as a failed one.
        return Err(HandshakeError::PasswordRequired);
    } else {
        VNC_AUTHENTICATION
    };
    write(stream, &[chosen]).await?;
    Ok(chosen)
}

async fn result<S: AsyncRead + Unpin>(
    stream: &mut S,
    version: Version,
) -> Result<(), HandshakeError> {
    if stream.read_u32().await? == RESULT_OK {
        return Ok(());
    }
    let reason = match version {
        Version::V3_8 => reason(stream).await?,
        Version::V3_3 | Version::V3_7 => "it gave no reason".to_owned(),
    };
    Err(HandshakeError::AuthenticationFailed(reason))
}

async fn reason<S: AsyncRead + Unpin>(stream: &mut S) -> Result<String, HandshakeError> {
    let len = stream.read_u32().await?;
    if len > REASON_MAX_LEN {
        return Err(HandshakeError::ReasonTooLong(len));
    }
    let mut text = vec![0; len as usize];
    stream.read_exact(&mut text).await?;
    Ok(String::from_utf8_lossy(&text)
        .chars()
        .filter(|character| !character.is_control())
        .collect())
}

/// Flushes too, because a stream may hold back what it is given.
async fn write<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests;
