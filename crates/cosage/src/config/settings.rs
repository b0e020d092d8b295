//! The one table of settings.
//!
//! More than 500 lines because it is the list of all settings.

use super::values::{
    address, address_or_off, addresses, boolean, bound, bytes, count, count_or_none, docker_host,
    docker_name, duration, forget_after, hosts, kinds, log_filter, networks, origins, path, port,
    secret, server, signer, timer, url_template, word,
};
use super::{Config, EngineKind, LogFormat, Profile, Reach};
use crate::catalog::{FirstViewer, Undeclared};
use crate::text::Malformed;

/// A setting: how it is called, what it does, and how its text becomes a part of [`Config`].
#[derive(Debug)]
pub struct Setting {
    /// Its name in the environment. The other names are made from it.
    pub variable: &'static str,
    /// What stands for its value in help texts.
    pub placeholder: &'static str,
    /// Its value when nobody sets it.
    pub default: DefaultValue,
    /// What it does, as one sentence or a few.
    pub about: &'static str,
    /// Where it is shown.
    pub presentation: Presentation,
    /// Checks a text and puts it into the configuration.
    pub(super) apply: fn(&mut Config, &str) -> Result<(), Malformed>,
}

/// The value of a setting that nobody sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// A text as anybody could write it.
    Text(&'static str),
    /// Nothing, or something that depends on the process; the words say what.
    Words(&'static str),
}

/// Where a setting is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presentation {
    /// Everywhere.
    Shown,
    /// Its value nowhere; and it has no flag, because everybody on a host can read flags.
    Secret,
}

impl Setting {
    /// Its key in `cosage.toml`: the variable in lower case, without `COSAGE_`.
    pub fn key(&self) -> String {
        let name = self
            .variable
            .strip_prefix("COSAGE_")
            .unwrap_or(self.variable);
        name.to_ascii_lowercase()
    }

    /// Its flag without the leading `--`; `None` for a secret.
    pub fn flag(&self) -> Option<String> {
        (self.presentation != Presentation::Secret).then(|| self.key().replace('_', "-"))
    }
}

const fn setting(
    variable: &'static str,
    placeholder: &'static str,
    default: DefaultValue,
    about: &'static str,
    apply: fn(&mut Config, &str) -> Result<(), Malformed>,
) -> Setting {
    Setting {
        variable,
        placeholder,
        default,
        about,
        presentation: Presentation::Shown,
        apply,
    }
}

use DefaultValue::{Text, Words};

/// All settings, in the order of the reference. The profile is the first, because others follow from it.
pub static SETTINGS: [Setting; 41] = [
    setting(
        "COSAGE_PROFILE",
        "none|sage3",
        Text("none"),
        "Whose client the service is set up for. sage3 sets STREAM_URL_TEMPLATE, COSAGE_API_ON_STREAM_PORT, COSAGE_UNDECLARED_ENVIRONMENT and, to the origin of SAGE3_SERVER, COSAGE_ALLOWED_ORIGINS, unless they are set by themselves.",
        |config, text| {
            config.profile = word(text, &[("none", Profile::None), ("sage3", Profile::Sage3)])?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_LISTEN",
        "ADDRESS",
        Text("127.0.0.1:4024"),
        "Where the API listens; streams are served there too. 0.0.0.0:4024 is every interface.",
        |config, text| {
            config.listen = address(text)?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_STREAM_LISTEN",
        "ADDRESS",
        Text("127.0.0.1:4033"),
        "Where streams listen, or off when a proxy sends everything to the API's address.",
        |config, text| {
            config.stream_listen = address_or_off(text)?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_API_ON_STREAM_PORT",
        "BOOLEAN",
        Text("false"),
        "Whether the API answers on the streams' address too, for clients that know one origin only.",
        |config, text| {
            config.api_on_stream_port = boolean(text)?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_CALLBACK_LISTEN",
        "ADDRESS",
        Text("off"),
        "Where the reports of desktops are taken, and nothing else, or off when containers reach the API's address. On Linux it is the address of Docker's bridge, such as 172.17.0.1:4024.",
        |config, text| {
            config.callback_listen = address_or_off(text)?;
            Ok(())
        },
    ),
    setting(
        "PORT_RANGE_START",
        "PORT",
        Text("11000"),
        "First port of the range that stream URLs are numbered from.",
        |config, text| {
            config.port_range_start = port(text)?;
            Ok(())
        },
    ),
    setting(
        "PORT_RANGE_END",
        "PORT",
        Text("12000"),
        "End of that range, itself excluded. The range bounds how many desktops run at a time.",
        |config, text| {
            config.port_range_end = port(text)?;
            Ok(())
        },
    ),
    setting(
        "CONTAINER_BASE_NAME",
        "NAME",
        Text("collab-vm-"),
        "What container names start with; the desktop's uid follows.",
        |config, text| {
            config.container_base_name = docker_name(text)?;
            Ok(())
        },
    ),
    setting(
        "CONTAINER_NO_CLIENT_TIMEOUT",
        "DURATION",
        Text("15s"),
        "How long a desktop lives after its last viewer left, or never (it is not stopped).",
        |config, text| {
            config.idle = timer(text)?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_FIRST_VIEWER_TIMEOUT",
        "DURATION",
        Words("as CONTAINER_NO_CLIENT_TIMEOUT"),
        "How long a desktop waits for its first viewer, or never (it waits for ever).",
        |config, text| {
            config.first_viewer = FirstViewer::Own(timer(text)?);
            Ok(())
        },
    ),
    setting(
        "COSAGE_MAX_AGE",
        "DURATION",
        Text("never"),
        "How long a desktop lives at most, whoever is looking.",
        |config, text| {
            config.max_age = timer(text)?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_FORGET_AFTER",
        "DURATION",
        Text("never"),
        "How long a desktop may be unused until it is deleted with its home, at least 1h.",
        |config, text| {
            config.forget_after = forget_after(text)?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_START_TIMEOUT",
        "DURATION",
        Text("60s"),
        "How long a desktop may take to answer once its container runs.",
        |config, text| {
            config.start_timeout = bound(text)?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_STOP_GRACE",
        "DURATION",
        Text("10s"),
        "How long an app may take to save and end by itself before it is killed.",
        |config, text| {
            config.stop_grace = duration(text)?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_SHUTDOWN_GRACE",
        "DURATION",
        Text("10s"),
        "How long viewers may go on when the service itself is told to end.",
        |config, text| {
            config.shutdown_grace = duration(text)?;
            Ok(())
        },
    ),
    setting(
        "STREAM_URL_TEMPLATE",
        "PATH",
        Text("/stream/{port}/vnc"),
        "What is returned as url; {port} is the desktop's port of the range. SAGE3 wants /stream/{port}.",
        |config, text| {
            config.stream_url_template = url_template(text)?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_DATA_DIR",
        "DIRECTORY",
        Words("/var/lib/cosage for root; else $XDG_DATA_HOME/cosage, else ~/.local/share/cosage"),
        "Where records and last pictures of desktops are kept.",
        |config, text| {
            config.data_dir = path(text)?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_CATALOG",
        "FILE",
        Words("./catalog.toml, else built-in"),
        "The catalogue of apps; SIGHUP reads it again. By default catalog.toml in the working directory, and the built-in one where there is none.",
        |config, text| {
            config.catalog = Some(path(text)?);
            Ok(())
        },
    ),
    setting(
        "DOCKER_HOST",
        "ADDRESS",
        Text("unix:///var/run/docker.sock"),
        "Address of the Docker Engine: unix:///path/of/the.sock or tcp://host:port.",
        |config, text| {
            config.docker_host = docker_host(text)?;
            Ok(())
        },
    ),
    setting(
        "DOCKER_TLS_VERIFY",
        "BOOLEAN",
        Text("false"),
        "Whether the Docker Engine is spoken to over TLS.",
        |config, text| {
            config.docker_tls = boolean(text)?;
            Ok(())
        },
    ),
    setting(
        "DOCKER_CERT_PATH",
        "DIRECTORY",
        Words("~/.docker where DOCKER_TLS_VERIFY is true"),
        "Where ca.pem, cert.pem and key.pem for that are.",
        |config, text| {
            config.docker_certificates = Some(path(text)?);
            Ok(())
        },
    ),
    setting(
        "COSAGE_NETWORK",
        "NAME",
        Text("cosage"),
        "Docker network of the desktops; it is made when it is not there.",
        |config, text| {
            config.network = docker_name(text)?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_REACH",
        "auto|direct|published",
        Text("auto"),
        "How the service reaches a desktop: at its container's own address, or at a port that is published on loopback.",
        |config, text| {
            config.reach = word(
                text,
                &[
                    ("auto", Reach::Auto),
                    ("direct", Reach::Direct),
                    ("published", Reach::Published),
                ],
            )?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_REMOTE_NETWORKS",
        "NETWORKS",
        Words("none"),
        "Networks in which the targets of vnc-connect may be, separated by commas, such as 10.1.0.0/16.",
        |config, text| {
            config.remote_networks = networks(text)?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_ALLOWED_HOSTS",
        "HOSTS",
        Words(
            "IP addresses, localhost, host.docker.internal and the hosts of COSAGE_ALLOWED_ORIGINS",
        ),
        "Further host names of the service, such as desk.example.org, separated by commas, or *. A request for another host gets 421, so that no web page can pass itself off as the service's own (DNS rebinding).",
        |config, text| {
            config.allowed_hosts = hosts(text)?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_ALLOWED_ORIGINS",
        "ORIGINS",
        Words("none but the service's own"),
        "Origins of other web pages that may call the API and open streams, separated by commas, or *.",
        |config, text| {
            config.allowed_origins = origins(text)?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_UPLOAD_MAX",
        "SIZE",
        Text("4GiB"),
        "How large a file may be that is uploaded to a desktop's home.",
        |config, text| {
            config.upload_max = bytes(text)?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_UNDECLARED_ENVIRONMENT",
        "refuse|ignore",
        Text("refuse"),
        "What becomes of environment names in a request that the catalogue does not declare.",
        |config, text| {
            config.undeclared_environment = word(
                text,
                &[
                    ("refuse", Undeclared::Refuse),
                    ("ignore", Undeclared::Ignore),
                ],
            )?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_MAX_DESKTOPS",
        "COUNT",
        Text("none"),
        "How many desktops may run at a time.",
        |config, text| {
            config.max_desktops = count_or_none(text)?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_MEMORY_RESERVE",
        "SIZE",
        Text("256MiB"),
        "No desktop is started when the host has less available memory than this; 0 is no such check.",
        |config, text| {
            config.memory_reserve = bytes(text)?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_PARALLEL_STARTS",
        "COUNT",
        Text("4"),
        "How many containers are started at the same moment; others wait.",
        |config, text| {
            config.parallel_starts = count(text)?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_PING_INTERVAL",
        "DURATION",
        Text("20s"),
        "A viewer whose screen stays still gets a ping this often, so that proxies keep the connection.",
        |config, text| {
            config.ping_interval = bound(text)?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_LOG",
        "FILTER",
        Text("info"),
        "What is logged: a level, or parts such as info,cosage=debug.",
        |config, text| {
            config.log = log_filter(text)?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_LOG_FORMAT",
        "auto|text|json",
        Text("auto"),
        "How the log is written; auto is text on a terminal and JSON elsewhere.",
        |config, text| {
            config.log_format = word(
                text,
                &[
                    ("auto", LogFormat::Auto),
                    ("text", LogFormat::Text),
                    ("json", LogFormat::Json),
                ],
            )?;
            Ok(())
        },
    ),
    setting(
        "COSAGE_ENGINE",
        "docker|fake",
        Text("docker"),
        "What runs desktops. fake simulates them, as a demonstration without Docker: each shows a still picture and runs no app.",
        |config, text| {
            config.engine = word(
                text,
                &[
                    ("docker", EngineKind::Docker),
                    ("fake", EngineKind::Simulated),
                ],
            )?;
            Ok(())
        },
    ),
    setting(
        "SAGE3_SERVER",
        "URL",
        Words("none"),
        "SAGE3 server that the reports of desktops are passed on to.",
        |config, text| {
            config.sage3_server = Some(server(text)?);
            Ok(())
        },
    ),
    Setting {
        presentation: Presentation::Secret,
        ..setting(
            "TOKEN",
            "TEXT",
            Words("none"),
            "Bearer token for that server. It is never shown or logged.",
            |config, text| {
                config.token = Some(secret(text)?);
                Ok(())
            },
        )
    },
    Setting {
        presentation: Presentation::Secret,
        ..setting(
            "COSAGE_WEBHOOKS",
            "URLS",
            Words("none"),
            "Addresses that events are posted to, separated by commas. They are never shown, because they may hold tokens.",
            |config, text| {
                config.webhooks = addresses(text)?;
                Ok(())
            },
        )
    },
    Setting {
        presentation: Presentation::Secret,
        ..setting(
            "COSAGE_WEBHOOK_SECRET",
            "TEXT",
            Words("none"),
            "What those are signed with: whsec_ and 24 to 64 random bytes in base64; or several, separated by commas, each of which signs. It is never shown or logged.",
            |config, text| {
                config.webhook_secret = Some(signer(text)?);
                Ok(())
            },
        )
    },
    setting(
        "COSAGE_WEBHOOK_EVENTS",
        "EVENTS",
        Text(
            "created,ready,viewer_joined,viewer_left,idle,stopping,gone,failed,takeover,picture,expiring,report",
        ),
        "Which events are posted, separated by commas; there is also progress.",
        |config, text| {
            config.webhook_events = kinds(text)?;
            Ok(())
        },
    ),
    setting(
        "ENVIRONMENT",
        "NAME",
        Text("production"),
        "What this installation is called in its log.",
        |config, text| {
            text.clone_into(&mut config.environment);
            Ok(())
        },
    ),
];
