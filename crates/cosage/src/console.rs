//! The console's files, as `npm run build` made them from `web/`: part of the binary, so that it
//! works wherever the binary does.
//!
//! A debug build reads them from `web/dist` when it starts instead. A build without them has no console.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::LazyLock;

use bytes::Bytes;
use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "../../web/dist"]
struct Files;

static FILES: LazyLock<BTreeMap<String, File>> = LazyLock::new(|| {
    Files::iter()
        .filter(|name| Packing::of(name).is_none())
        .filter_map(|name| Some((name.to_string(), File::read(&name)?)))
        .collect()
});

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Brotli, RFC 7932.
    Brotli,
    /// gzip, RFC 1952.
    Gzip,
}

impl Packing {
    const ALL: [Self; 2] = [Self::Brotli, Self::Gzip];

    /// What the build appends to the names of packed files.
    fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|packing| name.ends_with(packing.suffix()))
    }
}

/// A file of the console.
#[derive(Debug)]
pub struct File {
    /// As it is.
    pub plain: Bytes,
    /// Packed when it was built, where that pays.
    brotli: Option<Bytes>,
    gzip: Option<Bytes>,
    /// Its media type, for a `Content-Type`.
    pub media_type: &'static str,
    /// Something that is different when its content is: 32 hexadecimal digits.
    pub tag: String,
}

impl File {
    fn read(name: &str) -> Option<Self> {
        let plain = Files::get(name)?;
        let packed =
            |packing: Packing| Files::get(&format!("{name}{}", packing.suffix())).map(bytes);
        let tag = plain.metadata.sha256_hash()[..16]
            .iter()
            .fold(String::new(), |mut tag, byte| {
                // Writing to a `String` cannot fail.
                let _ = write!(tag, "{byte:02x}");
                tag
            });
        Some(Self {
            brotli: packed(Packing::Brotli),
            gzip: packed(Packing::Gzip),
            plain: bytes(plain),
            media_type: media_type(name),
            tag,
        })
    }

    /// The file packed that way, if it is.
    pub fn packed(&self, packing: Packing) -> Option<&Bytes> {
        match packing {
            Packing::Brotli => self.brotli.as_ref(),
            Packing::Gzip => self.gzip.as_ref(),
        }
    }
}

/// The file of that name, such as `index.html` or `assets/launcher-BxD3.js`.
pub fn file(name: &str) -> Option<&'static File> {
    FILES.get(name)
}

fn bytes(file: EmbeddedFile) -> Bytes {
    match file.data {
        Cow::Borrowed(data) => Bytes::from_static(data),
        Cow::Owned(data) => data.into(),
    }
}

/// Only what the build makes; anything else would be shown as a download.
fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "woff2" => "font/woff2",
        "json" => "application/json",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
