//! What an operator wants to know of an engine before desktops run on it: itself, its images, and
//! what is in the way.

use jiff::Timestamp;
use serde::Serialize;

/// An engine and the host it runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its version, such as `20.10.24+dfsg1`.
    pub version: String,
    /// The host's architecture as images call it, such as `amd64`.
    pub architecture: String,
    /// The directory it keeps images and volumes in, where this process shares its file system.
    pub data_directory: Option<String>,
    /// What its clock showed when it answered.
    pub clock: Option<Timestamp>,
    /// Memory of its host in bytes.
    pub memory: Option<u64>,
}

/// An image that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageInfo {
    /// Size in bytes, with all its layers.
    pub size: u64,
    /// What it runs on, such as `amd64`.
    pub architecture: String,
    /// When it was built.
    pub created_at: Option<Timestamp>,
}

/// The name that images have for an architecture which the kernel calls otherwise.
pub fn image_architecture(kernel: &str) -> &str {
    match kernel {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "armv7l" | "armv6l" => "arm",
        "i386" | "i686" => "386",
        other => other,
    }
}
