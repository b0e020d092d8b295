//! Profiles: values of several settings at once, below everything that somebody sets by name.

use std::fmt;

use super::values::server;

/// Whose client the service is set up for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Nobody's in particular.
    #[default]
    None,
    /// SAGE3's, which knows one origin for calls and streams, appends the stream's name by itself, comes from its own
    /// server's pages, and sends variables that not every app declares.
    Sage3,
}

impl Profile {
    /// Its value of a setting, where it has one. `sage3_server` is what is set as `SAGE3_SERVER`.
    pub(super) fn value(
        self,
        variable: &str,
        sage3_server: impl FnOnce() -> Option<String>,
    ) -> Option<String> {
        if self == Self::None {
            return None;
        }
        match variable {
            "STREAM_URL_TEMPLATE" => Some("/stream/{port}".to_owned()),
            "COSAGE_API_ON_STREAM_PORT" => Some("true".to_owned()),
            "COSAGE_UNDECLARED_ENVIRONMENT" => Some("ignore".to_owned()),
            "COSAGE_ALLOWED_ORIGINS" => {
                let server = server(&sage3_server()?).ok()?;
                Some(server.origin().ascii_serialization())
            }
            _ => None,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "none",
            Self::Sage3 => "sage3",
        })
    }
}
