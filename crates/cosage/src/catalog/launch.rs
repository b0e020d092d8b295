//! One run of a desktop, as it is ordered from the engine.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{App, ContainerSource, Source};
use crate::desktop::{Environment, StreamKey, Uid};
use crate::engine::callback::{CALLBACK_VARIABLE, CallbackSecret};
use crate::engine::legacy::TIMEOUT_VARIABLE;
use crate::engine::{
    ContainerSpec, InstanceId, LaunchSpec, PullPolicy, RemoteSpec, VncPassword, Workload,
};
use crate::text::LONGEST;

/// By how much an old image's own time-out is longer than the service's timers together. A desktop
/// outlives a restart of the service in it, too.
const LEGACY_SLACK: Duration = Duration::from_secs(60);

/// What a launch needs beside app, uid and environment: the service's own settings.
#[derive(Clone, Debug)]
pub struct LaunchContext {
    /// What container names start with.
    pub container_base_name: String,
    /// Base of the address that containers call back to, such as
    /// `http://host.docker.internal:4024/api/vm/cb/`.
    pub callback_base: String,
}

/// Why a desktop that is kept cannot be started as its app is declared today. The app may have
/// been changed since the desktop was first asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// A variable that the app requires has no value.
    #[error(
        "the app '{app}' requires {name}, which this desktop was created without; delete the desktop and ask for a new one that sets it"
    )]
    Missing {
        /// The app.
        app: String,
        /// The variable.
        name: String,
    },
    /// A variable's value is not of the type that the app declares.
    #[error(
        "the app '{app}' takes {expected} as {name}, and this desktop was created with something else; delete the desktop and ask for a new one"
    )]
    IllTyped {
        /// The app.
        app: String,
        /// The variable.
        name: String,
        /// What it may be, in words.
        expected: String,
    },
}

impl App {
    /// What to order from the engine for one run of a desktop.
    ///
    /// The environment is checked once more, because the catalogue may have been made stricter
    /// since it was kept; variables that the app does not declare any more are left out, and
    /// defaults are filled in.
    ///
    /// # Errors
    /// A required variable is missing, or one does not fit its type any more.
    pub fn launch_spec(
        &self,
        uid: &Uid,
        environment: &Environment,
        instance: InstanceId,
        key: StreamKey,
        context: &LaunchContext,
    ) -> Result<LaunchSpec, LaunchError> {
        let environment = self.complete(environment)?;
        let workload = match &self.source {
            Source::Container(source) => Workload::Container(Box::new(self.container(
                source,
                uid,
                environment,
                context,
            )?)),
            Source::Remote { host, port } => {
                Workload::Remote(self.remote(&environment, host, port)?)
            }
        };
        Ok(LaunchSpec {
            uid: uid.clone(),
            app: self.name.clone(),
            instance,
            key,
            workload,
        })
    }

    fn complete(&self, kept: &Environment) -> Result<BTreeMap<String, String>, LaunchError> {
        let mut complete = BTreeMap::new();
        for (name, variable) in &self.environment {
            let value = match kept.0.get(name) {
                Some(text) => variable
                    .kind
                    .check(&Value::from(text.as_str()))
                    .map_err(|_| self.ill_typed(name, variable.kind.to_string()))?,
                None => None,
            };
            match value.or_else(|| variable.default.clone()) {
                Some(value) => {
                    complete.insert(name.clone(), value);
                }
                None if variable.required => return Err(self.missing(name)),
                None => {}
            }
        }
        Ok(complete)
    }

    fn container(
        &self,
        source: &ContainerSource,
        uid: &Uid,
        mut environment: BTreeMap<String, String>,
        context: &LaunchContext,
    ) -> Result<ContainerSpec, LaunchError> {
        // An address of its own, whatever a caller may have set.
        environment.remove(CALLBACK_VARIABLE);
        let called_back = if source.legacy_environment {
            self.add_legacy_environment(&mut environment)?
        } else {
            source.callbacks.then(|| uid.clone())
        };
        let mut extra_hosts = source.extra_hosts.clone();
        if let Some(name) = called_back {
            let address = format!("{}{name}", context.callback_base);
            let address = if source.legacy_callbacks {
                address
            } else {
                CallbackSecret::random().within(&address)
            };
            environment.insert(CALLBACK_VARIABLE.to_owned(), address);
            if !extra_hosts
                .iter()
                .any(|line| line.starts_with("host.docker.internal:"))
            {
                extra_hosts.push("host.docker.internal:host-gateway".to_owned());
            }
        }
        if source.password {
            let grace = whole_seconds(self.timers.stop_grace);
            environment.insert("COSAGE_STOP_GRACE".to_owned(), grace.to_string());
        }
        Ok(ContainerSpec {
            name: format!("{}{uid}", context.container_base_name),
            image: source.image.clone(),
            pull: source.pull,
            image_hint: source.image_hint(),
            environment: Environment(environment),
            password: source.password.then(VncPassword::random),
            streams: self.streams.clone(),
            limits: source.limits.clone(),
            sandbox: source.sandbox,
            home: source.home.clone(),
            stop_grace: self.timers.stop_grace,
            extra_hosts,
            gpu: source.gpu,
        })
    }

    /// Adds what an old image reads, and says which desktop it calls back for.
    fn add_legacy_environment(
        &self,
        environment: &mut BTreeMap<String, String>,
    ) -> Result<Option<Uid>, LaunchError> {
        // The image counts by itself, and not what the service counts: a URL that is handed out once
        // more, the time until it answers, the last picture. It is the second line behind the
        // service's own timers, for when there is no service, and must not come before them.
        let own_timeout = self.timers.idle.zip(self.timers.first_viewer).map_or(
            LONGEST,
            |(idle, first_viewer)| {
                idle.saturating_add(first_viewer)
                    .saturating_add(LEGACY_SLACK)
                    .min(LONGEST)
            },
        );
        environment.insert(
            TIMEOUT_VARIABLE.to_owned(),
            whole_seconds(own_timeout).to_string(),
        );
        match environment.get("CALLBACK_ID").map(String::as_str) {
            // An old image takes an empty CALLBACK_ID for one and would call back to nowhere.
            None | Some("") => {
                environment.remove("CALLBACK_ID");
                Ok(None)
            }
            // It becomes part of an address of this service's own API, so that anything but a
            // uid could reach another route than the one for callbacks.
            Some(id) => match id.parse() {
                Ok(uid) => Ok(Some(uid)),
                Err(_) => Err(self.ill_typed("CALLBACK_ID", "the uid of a desktop")),
            },
        }
    }

    fn remote(
        &self,
        environment: &BTreeMap<String, String>,
        host_variable: &str,
        port_variable: &str,
    ) -> Result<RemoteSpec, LaunchError> {
        let value = |name: &str| environment.get(name).ok_or_else(|| self.missing(name));
        let host = value(host_variable)?;
        let port = value(port_variable)?
            .parse()
            .map_err(|_| self.ill_typed(port_variable, "a port from 1 to 65535"))?;
        // The reader of the catalogue lets a remote app have exactly one stream.
        let Some((stream, spec)) = self.streams.first_key_value() else {
            return Err(self.ill_typed("its streams", "exactly one stream"));
        };
        Ok(RemoteSpec {
            host: host.clone(),
            port,
            stream: (stream.clone(), spec.protocol),
        })
    }

    fn ill_typed(&self, name: &str, expected: impl Into<String>) -> LaunchError {
        LaunchError::IllTyped {
            app: self.name.clone(),
            name: name.to_owned(),
            expected: expected.into(),
        }
    }

    fn missing(&self, name: &str) -> LaunchError {
        LaunchError::Missing {
            app: self.name.clone(),
            name: name.to_owned(),
        }
    }
}

impl ContainerSource {
    /// What to do when the image is not there, as one sentence for people.
    pub fn image_hint(&self) -> String {
        match &self.build {
            Some(directory) => match directory.strip_prefix("images/") {
                Some(name) => format!("build it with: images/build {name}"),
                None => format!("build it with: docker build -t {} {directory}", self.image),
            },
            None if self.pull == PullPolicy::Never => format!(
                "pull it with: docker pull {} (its app says pull = \"never\")",
                self.image
            ),
            None => format!("pull it with: docker pull {}", self.image),
        }
    }
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
