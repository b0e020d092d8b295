//! The curated list of apps, its checks, and how an app, a uid and an environment become a
//! [`LaunchSpec`](crate::engine::LaunchSpec).
//!
//! - `read`: a file's text to a [`Catalog`], with every problem at its line and column;
//! - `environment`: what a caller sets, checked against what the app declares;
//! - `launch`: one run of a desktop, ordered from the engine;
//! - `handle`: the catalogue in force, which SIGHUP replaces.

mod environment;
mod handle;
mod icon;
mod launch;
mod locale;
mod read;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::engine::{Limits, PullPolicy, Sandbox, StreamSpec};
use crate::text::{SCREEN_AREA_MAX, did_you_mean, excerpt, nearest};

pub use environment::{ENVIRONMENT_MAX_BYTES, EnvironmentError, EnvironmentProblem, Undeclared};
pub use handle::{CatalogHandle, CatalogLoadError, CatalogSource};
pub use icon::Icon;
pub use launch::{LaunchContext, LaunchError};
pub(crate) use locale::language;
pub use read::{CatalogDefaults, CatalogError, CatalogErrors, FirstViewer};

/// An entry of the catalogue, checked and complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Its name; what `vm` says on the wire.
    pub name: String,
    /// A name for people.
    pub title: String,
    /// One sentence on what it is.
    pub description: String,
    /// Its picture, where it has one.
    pub icon: Option<Icon>,
    /// Further names it answers to.
    pub aliases: Vec<String>,
    /// Where it comes from.
    pub source: Source,
    /// Ways in, by name; at least one of them is a viewer's, and the first such is what readiness
    /// is probed on. The port is 0 for [`Source::Remote`], which takes it from the environment.
    pub streams: BTreeMap<String, StreamSpec>,
    /// What a caller may set, by name.
    pub environment: BTreeMap<String, Variable>,
    /// When it is given up or stopped.
    pub timers: Timers,
    /// How long a desktop may be unused until it is deleted with its home; `None` is for ever.
    pub forget_after: Option<Duration>,
    /// The largest screen its viewers may ask for, in pixels, where the catalogue says.
    pub max_size: Option<(u16, u16)>,
}

/// The shortest time that a desktop may be unused until it is deleted: nothing is deleted without an announcement, which
/// stands for an hour or more.
pub const FORGET_AFTER_MIN: Duration = Duration::from_secs(60 * 60);

/// Bytes of a container's memory that a pixel of its screen is reckoned at. Xtigervnc was measured at 8 to 10.5 bytes a
/// pixel; the application draws into buffers of its own, and half of the memory is left for everything else.
const MEMORY_PER_PIXEL: u64 = 32;

impl App {
    /// How many pixels its screen may have: as many as `max_size`, or as its memory carries; at most what pictures can be
    /// taken of.
    pub fn area_max(&self) -> u32 {
        let carried = match (&self.max_size, &self.source) {
            (Some((width, height)), _) => u32::from(*width) * u32::from(*height),
            (None, Source::Container(source)) => {
                source.limits.memory.map_or(SCREEN_AREA_MAX, |memory| {
                    u32::try_from(memory / MEMORY_PER_PIXEL).unwrap_or(SCREEN_AREA_MAX)
                })
            }
            (None, Source::Remote { .. }) => SCREEN_AREA_MAX,
        };
        carried.min(SCREEN_AREA_MAX)
    }

    /// Whether its desktops have a volume that outlives their containers.
    pub fn has_home(&self) -> bool {
        match &self.source {
            Source::Container(source) => source.home.is_some(),
            Source::Remote { .. } => false,
        }
    }
}

/// What an app is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A container.
    Container(Box<ContainerSource>),
    /// A server elsewhere whose host and port are taken from two variables of the environment.
    Remote {
        /// Variable with the host; its kind is [`Kind::Host`].
        host: String,
        /// Variable with the port; its kind is [`Kind::Integer`] within 1 to 65535.
        port: String,
    },
}

/// How an app's container is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerSource {
    /// Image reference.
    pub image: String,
    /// When to pull it.
    pub pull: PullPolicy,
    /// Directory it is built from, relative to the catalogue; `None` for a foreign image.
    pub build: Option<String>,
    /// Whether the image understands `COSAGE_VNC_PASSWORD`.
    pub password: bool,
    /// What it may use.
    pub limits: Limits,
    /// System calls it may use.
    pub sandbox: Sandbox,
    /// Where the home volume is mounted; `None` is no volume.
    pub home: Option<String>,
    /// Further lines of `/etc/hosts`.
    pub extra_hosts: Vec<String>,
    /// Whether GPUs are passed in.
    pub gpu: bool,
    /// Whether the image was built after the old service's contract, and so reads `WS_TIMEOUT`,
    /// `CALLBACK_URL` and `CALLBACK_ID`.
    pub legacy_environment: bool,
    /// Whether the image reports to the address in `CALLBACK_URL`.
    pub callbacks: bool,
    /// Whether callbacks are taken without the instance's secret, and by whomever: for old images that make up the
    /// address by themselves.
    pub legacy_callbacks: bool,
}

/// The type of a variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Kind {
    /// Any text.
    Text,
    /// A whole number.
    Integer {
        /// The smallest allowed.
        min: i64,
        /// The largest allowed.
        max: i64,
    },
    /// True or false.
    Boolean,
    /// One of a few texts.
    Choice {
        /// The texts.
        options: Vec<String>,
    },
    /// An `http`, `https` or `about:` address.
    Url,
    /// A host name or an IP address, without a port.
    Host,
    /// A time zone of the IANA database, such as `Europe/Berlin`.
    Timezone,
    /// A language; reaches the container as the name of a locale, such as `de_DE.UTF-8`.
    Language {
        /// The locales there are, such as `de_DE`; the first of a language is the one for its other regions.
        options: Vec<String>,
    },
    /// A list of `http`, `https` or `about:` addresses; reaches the container as JSON text.
    Urls,
}

/// A variable of an app's environment that a caller may set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Variable {
    /// What it may hold.
    #[serde(flatten)]
    pub kind: Kind,
    /// A name for people.
    pub title: String,
    /// What it holds when the caller does not say, as the container gets it; `None` is absent.
    pub default: Option<String>,
    /// Whether a start without it is refused.
    pub required: bool,
}

/// When a desktop is given up or stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// After the last viewer left; `None` is never.
    pub idle: Option<Duration>,
    /// After the start when no viewer ever came; `None` is never.
    pub first_viewer: Option<Duration>,
    /// After the start, whoever is looking; `None` is never.
    pub max_age: Option<Duration>,
    /// From the order to start until the desktop answers.
    pub start: Duration,
    /// From the polite request to end until it is killed.
    pub stop_grace: Duration,
}

/// The whole list, as it was read from one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// The apps by name. Use [`Catalog::app`] to look up a name that may be an alias.
    pub apps: BTreeMap<String, Arc<App>>,
    /// From alias to name.
    aliases: BTreeMap<String, String>,
}

impl Catalog {
    /// The app that answers to a name or an alias.
    pub fn app(&self, name: &str) -> Option<&Arc<App>> {
        let name = self.aliases.get(name).map_or(name, String::as_str);
        self.apps.get(name)
    }

    /// What to say about a name that nothing answers to.
    pub fn unknown(&self, name: &str) -> UnknownApp {
        let names = self.apps.keys().chain(self.aliases.keys());
        UnknownApp {
            name: excerpt(name),
            nearest: nearest(name, names.map(String::as_str)).map(str::to_owned),
            known: self.apps.keys().cloned().collect(),
        }
    }
}

/// An app was asked for that is not in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no app '{name}'{}; there are: {}",
    did_you_mean(.nearest.as_deref()),
    .known.join(", ")
)]
pub struct UnknownApp {
    /// What was asked for, shortened where it is long.
    pub name: String,
    /// The name or alias that was probably meant.
    pub nearest: Option<String>,
    /// The names there are, in order, aliases apart.
    pub known: Vec<String>,
}

#[cfg(test)]
mod tests;
