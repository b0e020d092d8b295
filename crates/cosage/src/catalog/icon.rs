//! Pictures of apps, which the service serves itself: a page that shows them needs no other host.

use std::fmt;
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use sha1::{Digest, Sha1};

/// The largest picture there may be, in bytes.
const MAX_BYTES: u64 = 256 * 1024;

/// The kinds of pictures, by the ending of a file's name.
const KINDS: [(&str, &str); 6] = [
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("webp", "image/webp"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
];

/// A picture of an app. Its `Debug` shows its size.
#[derive(Clone, PartialEq, Eq)]
pub struct Icon {
    /// Its media type, such as `image/svg+xml`.
    pub media_type: &'static str,
    /// The picture itself.
    pub bytes: Bytes,
    /// Something that is different when the picture is: 8 hexadecimal digits.
    pub tag: String,
}

impl fmt::Debug for Icon {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Icon({}, {} bytes)",
            self.media_type,
            self.bytes.len()
        )
    }
}

/// Why a picture cannot be had; follows the name of the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum IconError {
    #[error(
        "is not a \"data:\" URL of a picture; write \"data:image/svg+xml,…\", percent-encoded, or \"data:image/png;base64,…\""
    )]
    Malformed,
    #[error("must be a picture whose name ends in one of: {}", endings())]
    UnknownKind,
    #[error("is a file, and this catalogue has no directory; use a \"data:image/…\" URL")]
    NoDirectory,
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error("is larger than {} KiB", MAX_BYTES / 1024)]
    TooLarge,
}

fn endings() -> String {
    KINDS.map(|(ending, _)| ending).join(", ")
}

impl Icon {
    /// From a `data:` URL (RFC 2397).
    pub(super) fn from_url(url: &str) -> Result<Self, IconError> {
        let (head, data) = url
            .strip_prefix("data:")
            .and_then(|rest| rest.split_once(','))
            .ok_or(IconError::Malformed)?;
        let mut parameters = head.split(';');
        let named = parameters.next().unwrap_or_default();
        let (_, media_type) = KINDS
            .into_iter()
            .find(|(_, media_type)| *media_type == named)
            .ok_or(IconError::Malformed)?;
        let decoded: Vec<u8> = percent_decode_str(data).collect();
        let bytes = if parameters.next_back() == Some("base64") {
            STANDARD.decode(decoded).map_err(|_| IconError::Malformed)?
        } else {
            decoded
        };
        Ok(Self::new(media_type, bytes))
    }

    /// From a file below the catalogue's directory.
    pub(super) fn from_file(directory: Option<&Path>, name: &str) -> Result<Self, IconError> {
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        let (_, media_type) = KINDS
            .into_iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(ending))
            .ok_or(IconError::UnknownKind)?;
        let path = directory.ok_or(IconError::NoDirectory)?.join(name);
        let unreadable = |error: std::io::Error| IconError::Unreadable(error.to_string());
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
            .map_err(unreadable)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(IconError::TooLarge);
        }
        Ok(Self::new(media_type, bytes))
    }

    fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        let tag = Sha1::digest(&bytes)[..4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            media_type,
            bytes: bytes.into(),
            tag,
        }
    }
}
