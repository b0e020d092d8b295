//! What a caller asks for and gets back by its name: the words every other module speaks.

pub mod access;
mod admission;
pub mod camera;
pub mod context;
mod driver;
pub mod end;
mod endings;
pub mod error;
pub mod events;
pub mod failure;
pub mod homes;
mod housekeeping;
mod images;
pub mod keys;
mod launch;
pub mod lease;
pub mod lifecycle;
pub mod manager;
mod notes;
pub mod pages;
pub mod probe;
pub mod reconcile;
pub mod record;
mod registry;
pub mod retention;
pub mod rights;
pub mod sharing;
pub mod usage;
pub mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Names that are routes of the API, so that no desktop can be called so.
pub const RESERVED_UIDS: [&str; 4] = ["any", "ws", "list", "cb"];

/// The longest name a desktop can have, in bytes.
pub const UID_MAX_LEN: usize = 128;

/// The name of a desktop: `[A-Za-z0-9][A-Za-z0-9_.-]{0,127}`, and none of [`RESERVED_UIDS`].
///
/// It ends up in container, volume and file names, so nothing else is ever let through.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Uid(String);

impl Uid {
    /// A name nobody has used: a UUID version 4.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text cannot be the name of a desktop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UidError {
    /// Empty, too long, or with a character that is not allowed.
    #[error(
        "a uid is 1 to 128 letters, digits, '_', '.' or '-', and starts with a letter or a digit"
    )]
    Malformed,
    /// The name is a route of the API.
    #[error("the uid '{0}' is a word of the API's own routes; choose another")]
    Reserved(String),
}

impl FromStr for Uid {
    type Err = UidError;

    fn from_str(text: &str) -> Result<Self, UidError> {
        let bytes = text.as_bytes();
        let well_formed = bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.len() <= UID_MAX_LEN
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
        if !well_formed {
            return Err(UidError::Malformed);
        }
        if RESERVED_UIDS.contains(&text) {
            return Err(UidError::Reserved(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Uid {
    type Error = UidError;

    fn try_from(text: String) -> Result<Self, UidError> {
        text.parse()
    }
}

impl From<Uid> for String {
    fn from(uid: Uid) -> Self {
        uid.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What stands in a stream's URL: a port of `PORT_RANGE_START..PORT_RANGE_END` that belongs to
/// the desktop while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamKey(pub u16);

impl fmt::Display for StreamKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The environment of a desktop after the catalogue has checked it: name and text value, as the
/// container gets it.
///
/// Its `Debug` shows the names only, because values may be secret and must not reach a log.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Environment(pub BTreeMap<String, String>);

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}
