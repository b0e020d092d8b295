//! Where settings come from, and how they become one [`Config`].
//!
//! More than 500 lines because every setting is read here, one after the other.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::settings::DefaultValue;
use super::{Config, EngineKind, LogFormat, Presentation, Profile, Reach, SETTINGS, Setting};
use crate::catalog::{FirstViewer, Undeclared};
use crate::text::{did_you_mean, excerpt, nearest, position};

/// The configuration's file in the working directory.
pub const CONFIG_FILE: &str = "cosage.toml";

/// The variable that names another file.
pub const CONFIG_VARIABLE: &str = "COSAGE_CONFIG";

/// Variables that start like this service's but are read by the command line, and by the project's
/// compose file and tests, which hand their whole environment on.
const NEIGHBOURS: [&str; 6] = [
    "COSAGE_BINARY",
    "COSAGE_PUBLISH",
    "COSAGE_REQUIRE_DOCKER",
    "COSAGE_STREAM_PUBLISH",
    "COSAGE_TEST_RUN",
    "COSAGE_URL",
];

/// The flags that were given: texts by the setting's variable.
pub type FlagValues = BTreeMap<&'static str, String>;

/// Everything a configuration depends on.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// The flags that were given.
    pub flags: &'a FlagValues,
    /// Name and text of `cosage.toml`, where there is one.
    pub file: Option<(&'a str, &'a str)>,
    /// The process's environment.
    pub environment: &'a BTreeMap<String, String>,
    /// Whom the process runs as.
    pub user: User,
}

/// Whom the process runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// The superuser.
    Root,
    /// Anybody else.
    Ordinary,
}

/// Who set a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody.
    Default,
    /// The profile that is chosen.
    Profile(Profile),
    /// A file, and where in it.
    File {
        /// Its name.
        name: String,
        /// The line, from 1.
        line: usize,
        /// The character in the line, from 1.
        column: usize,
    },
    /// A variable of the environment.
    Environment,
    /// A flag.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::Profile(profile) => write!(formatter, "profile {profile}"),
            Self::File { name, line, .. } => write!(formatter, "{name}:{line}"),
            Self::Environment => formatter.write_str("environment"),
            Self::Flag => formatter.write_str("flag"),
        }
    }
}

/// A setting's value and who set it.
#[derive(Clone, Debug)]
pub struct Effective {
    /// The setting.
    pub setting: &'static Setting,
    /// Its value as text; masked for a secret, and `None` when there is none.
    pub value: Option<String>,
    /// Who set it.
    pub origin: Origin,
}

/// What is wrong with a configuration: everything that could be found at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingErrors(pub Vec<SettingError>);

impl std::error::Error for SettingErrors {}

impl fmt::Display for SettingErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            error.fmt(formatter)?;
        }
        Ok(())
    }
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct SettingError {
    /// The setting as its origin calls it, such as `cosage.toml:3:10: listen`.
    pub place: String,
    /// What was wrong and what would be right.
    pub message: String,
}

/// The configuration of this process, and where each of its settings comes from.
///
/// `config_file` is the file that a flag names.
///
/// # Errors
/// A file that is named cannot be read, or something in one of the sources is wrong.
pub fn load(
    flags: &FlagValues,
    config_file: Option<&Path>,
) -> Result<(Config, Vec<Effective>), SettingErrors> {
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .collect();
    let file = read_file(config_file, &environment).map_err(|error| SettingErrors(vec![error]))?;
    let user = if rustix::process::geteuid().is_root() {
        User::Root
    } else {
        User::Ordinary
    };
    resolve(&Inputs {
        flags,
        file: file
            .as_ref()
            .map(|(name, text)| (name.as_str(), text.as_str())),
        environment: &environment,
        user,
    })
}

fn read_file(
    flag: Option<&Path>,
    environment: &BTreeMap<String, String>,
) -> Result<Option<(String, String)>, SettingError> {
    let variable = environment
        .get(CONFIG_VARIABLE)
        .filter(|value| !value.is_empty());
    let (place, path) = match (flag, variable) {
        (Some(path), _) => ("--config", path),
        (None, Some(path)) => (CONFIG_VARIABLE, Path::new(path)),
        (None, None) if Path::new(CONFIG_FILE).exists() => (CONFIG_FILE, Path::new(CONFIG_FILE)),
        (None, None) => return Ok(None),
    };
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.display().to_string(), text))),
        Err(error) => Err(SettingError {
            place: place.to_owned(),
            message: format!(
                "{} cannot be read: {error}; make it readable, or name another file with --config",
                path.display()
            ),
        }),
    }
}

/// The configuration that follows from its inputs, and where each of its settings comes from.
///
/// # Errors
/// Everything that is wrong in any of the inputs.
pub fn resolve(inputs: &Inputs<'_>) -> Result<(Config, Vec<Effective>), SettingErrors> {
    let mut errors = Vec::new();
    let from_file = match inputs.file {
        Some((name, text)) => read_keys(name, text, &mut errors),
        None => BTreeMap::new(),
    };
    refuse_unknown_variables(inputs.environment, &mut errors);

    let mut config = blank();
    let mut effective = Vec::with_capacity(SETTINGS.len());
    for setting in &SETTINGS {
        let (text, origin) = choose(setting, inputs, &from_file, config.profile);
        if let Some(text) = &text
            && let Err(malformed) = (setting.apply)(&mut config, text)
        {
            errors.push(SettingError {
                place: place(setting, &origin),
                message: malformed.to_string(),
            });
        }
        let value = text.map(|text| match setting.presentation {
            Presentation::Secret => "(set, not shown)".to_owned(),
            Presentation::Shown => text,
        });
        effective.push(Effective {
            setting,
            value,
            origin,
        });
    }
    // What could not be read would only be compared with what it is not.
    if errors.is_empty() {
        compare(&config, &effective, &mut errors);
    }
    if errors.is_empty() {
        Ok((config, effective))
    } else {
        Err(SettingErrors(errors))
    }
}

/// The text that counts for a setting. An empty variable counts as not set, because that is how
/// compose files and units hand on what is not there.
fn choose(
    setting: &Setting,
    inputs: &Inputs<'_>,
    from_file: &BTreeMap<String, (String, Origin)>,
    profile: Profile,
) -> (Option<String>, Origin) {
    if let Some((text, origin)) = set(setting, inputs, from_file) {
        return (Some(text), origin);
    }
    let of_profile = profile.value(setting.variable, || {
        let server = SETTINGS.iter().find(|one| one.variable == "SAGE3_SERVER")?;
        set(server, inputs, from_file).map(|(text, _)| text)
    });
    if let Some(text) = of_profile {
        return (Some(text), Origin::Profile(profile));
    }
    let text = match (setting.default, setting.variable) {
        (DefaultValue::Text(text), _) => Some(text.to_owned()),
        (DefaultValue::Words(_), "COSAGE_DATA_DIR") => default_data_directory(inputs),
        (DefaultValue::Words(_), "DOCKER_CERT_PATH") => {
            variable(inputs, "HOME").map(|home| format!("{home}/.docker"))
        }
        (DefaultValue::Words(_), _) => None,
    };
    (text, Origin::Default)
}

/// The text that somebody has set.
fn set(
    setting: &Setting,
    inputs: &Inputs<'_>,
    from_file: &BTreeMap<String, (String, Origin)>,
) -> Option<(String, Origin)> {
    if let Some(text) = inputs.flags.get(setting.variable) {
        return Some((text.clone(), Origin::Flag));
    }
    if let Some(text) = variable(inputs, setting.variable) {
        return Some((text.to_owned(), Origin::Environment));
    }
    from_file.get(&setting.key()).cloned()
}

fn variable<'a>(inputs: &Inputs<'a>, name: &str) -> Option<&'a str> {
    inputs
        .environment
        .get(name)
        .map(String::as_str)
        .filter(|text| !text.is_empty())
}

fn default_data_directory(inputs: &Inputs<'_>) -> Option<String> {
    match inputs.user {
        User::Root => Some("/var/lib/cosage".to_owned()),
        User::Ordinary => variable(inputs, "XDG_DATA_HOME")
            .map(|data| format!("{data}/cosage"))
            .or_else(|| variable(inputs, "HOME").map(|home| format!("{home}/.local/share/cosage"))),
    }
}

fn place(setting: &Setting, origin: &Origin) -> String {
    match origin {
        Origin::Default | Origin::Profile(_) | Origin::Environment => setting.variable.to_owned(),
        Origin::File { name, line, column } => format!("{name}:{line}:{column}: {}", setting.key()),
        Origin::Flag => format!("--{}", setting.flag().unwrap_or_default()),
    }
}

/// The file's values as texts by key: a list is joined with commas, as the environment has it.
fn read_keys(
    name: &str,
    text: &str,
    errors: &mut Vec<SettingError>,
) -> BTreeMap<String, (String, Origin)> {
    let mut values = BTreeMap::new();
    let mut problem = |start: usize, key: &str, message: String| {
        let (line, column) = position(text, start);
        let key = if key.is_empty() {
            String::new()
        } else {
            format!(": {key}")
        };
        errors.push(SettingError {
            place: format!("{name}:{line}:{column}{key}"),
            message,
        });
    };
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    for error in &syntax_errors {
        let start = error.span().map_or(0, |span| span.start);
        problem(start, "", error.message().to_owned());
    }
    if !syntax_errors.is_empty() {
        return values;
    }
    let keys: Vec<String> = SETTINGS.iter().map(Setting::key).collect();
    for (key, value) in document.get_ref() {
        let key_text = key.get_ref().as_ref();
        if !keys.iter().any(|known| known == key_text) {
            let meant = did_you_mean(nearest(key_text, keys.iter().map(String::as_str)));
            problem(
                key.span().start,
                "",
                format!(
                    "there is no setting '{}'{meant}; see cosage serve --help",
                    excerpt(key_text)
                ),
            );
            continue;
        }
        let (line, column) = position(text, value.span().start);
        let origin = Origin::File {
            name: name.to_owned(),
            line,
            column,
        };
        match text_of(value.get_ref()) {
            Some(text) => {
                values.insert(key_text.to_owned(), (text, origin));
            }
            None => problem(
                value.span().start,
                key_text,
                "a setting is a text, a number, true, false or a list of texts".to_owned(),
            ),
        }
    }
    values
}

fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Boolean(boolean) => Some(boolean.to_string()),
        DeValue::Array(items) => {
            let texts: Option<Vec<&str>> = items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) => Some(text.as_ref()),
                    _ => None,
                })
                .collect();
            texts.map(|texts| texts.join(","))
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

fn refuse_unknown_variables(
    environment: &BTreeMap<String, String>,
    errors: &mut Vec<SettingError>,
) {
    let known = || {
        SETTINGS
            .iter()
            .map(|setting| setting.variable)
            .chain([CONFIG_VARIABLE])
    };
    for name in environment
        .keys()
        .filter(|name| name.starts_with("COSAGE_"))
    {
        if known().any(|known| known == name) || NEIGHBOURS.contains(&name.as_str()) {
            continue;
        }
        let meant = did_you_mean(nearest(name, known()));
        errors.push(SettingError {
            place: excerpt(name),
            message: format!("there is no such setting{meant}; see cosage serve --help"),
        });
    }
}

/// What must hold between settings.
fn compare(config: &Config, effective: &[Effective], errors: &mut Vec<SettingError>) {
    let mut problem = |variable: &str, message: String| {
        let origin = effective
            .iter()
            .find(|effective| effective.setting.variable == variable);
        let place = origin.map_or_else(
            || variable.to_owned(),
            |effective| place(effective.setting, &effective.origin),
        );
        errors.push(SettingError { place, message });
    };
    if config.port_range_start >= config.port_range_end {
        problem(
            "PORT_RANGE_END",
            format!(
                "{} leaves no port in the range, which starts at {} (PORT_RANGE_START); give it a larger one",
                config.port_range_end, config.port_range_start
            ),
        );
    }
    if config.stream_listen == Some(config.listen) && config.listen.port() != 0 {
        problem(
            "COSAGE_STREAM_LISTEN",
            format!(
                "{} is the API's address too; choose another, or off: the API's address serves streams as well",
                config.listen
            ),
        );
    }
    let others = [Some(config.listen), config.stream_listen];
    if let Some(address) = config.callback_listen
        && others.contains(&Some(address))
        && address.port() != 0
    {
        problem(
            "COSAGE_CALLBACK_LISTEN",
            format!(
                "{address} is taken by the API or the streams; choose another, or off: the API's address takes callbacks as well"
            ),
        );
    }
    if config.data_dir.as_os_str().is_empty() {
        problem(
            "COSAGE_DATA_DIR",
            "there is no HOME to keep data in; set COSAGE_DATA_DIR to a directory".to_owned(),
        );
    }
    if config.docker_tls && config.docker_certificates.is_none() {
        problem(
            "DOCKER_CERT_PATH",
            "DOCKER_TLS_VERIFY needs certificates; set DOCKER_CERT_PATH to their directory"
                .to_owned(),
        );
    }
    if !config.webhooks.is_empty() && config.webhook_secret.is_none() {
        problem(
            "COSAGE_WEBHOOK_SECRET",
            "COSAGE_WEBHOOKS needs a secret to sign with; set COSAGE_WEBHOOK_SECRET to what `echo whsec_$(openssl rand -base64 32)` prints"
                .to_owned(),
        );
    }
}

/// What the table's defaults are written over; settings without one stay as they are here.
fn blank() -> Config {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Config {
        profile: Profile::None,
        listen: nowhere,
        stream_listen: None,
        api_on_stream_port: false,
        callback_listen: None,
        port_range_start: 0,
        port_range_end: 0,
        container_base_name: String::new(),
        idle: None,
        first_viewer: FirstViewer::LikeIdle,
        max_age: None,
        forget_after: None,
        start_timeout: Duration::ZERO,
        stop_grace: Duration::ZERO,
        shutdown_grace: Duration::ZERO,
        stream_url_template: String::new(),
        data_dir: PathBuf::new(),
        catalog: None,
        engine: EngineKind::Docker,
        docker_host: String::new(),
        docker_tls: false,
        docker_certificates: None,
        network: String::new(),
        reach: Reach::Auto,
        remote_networks: Vec::new(),
        allowed_hosts: Vec::new(),
        allowed_origins: Vec::new(),
        undeclared_environment: Undeclared::Refuse,
        max_desktops: None,
        memory_reserve: 0,
        upload_max: 0,
        parallel_starts: 0,
        ping_interval: Duration::ZERO,
        log: String::new(),
        log_format: LogFormat::Auto,
        sage3_server: None,
        token: None,
        webhooks: Vec::new(),
        webhook_secret: None,
        webhook_events: Vec::new(),
        environment: String::new(),
    }
}
