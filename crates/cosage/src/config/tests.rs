use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// One case: flags, file and environment, resolved for an ordinary user with a home.
#[derive(Default)]
struct Case {
    flags: FlagValues,
    file: Option<&'static str>,
    environment: BTreeMap<String, String>,
}

impl Case {
    fn environment(pairs: &[(&str, &str)]) -> Self {
        let environment = pairs
            .iter()
            .map(|(name, text)| ((*name).into(), (*text).into()))
            .collect();
        Self {
            environment,
            ..Self::default()
        }
    }

    fn file(text: &'static str) -> Self {
        Self {
            file: Some(text),
            ..Self::default()
        }
    }

    fn flag(variable: &'static str, text: &str) -> Self {
        Self {
            flags: [(variable, text.to_owned())].into(),
            ..Self::default()
        }
    }

    fn resolve_as(&self, user: User) -> Result<(Config, Vec<Effective>), SettingErrors> {
        let mut environment = self.environment.clone();
        environment
            .entry("HOME".to_owned())
            .or_insert_with(|| "/home/jane".to_owned());
        resolve(&Inputs {
            flags: &self.flags,
            file: self.file.map(|text| ("cosage.toml", text)),
            environment: &environment,
            user,
        })
    }

    fn config(&self) -> Config {
        self.resolve_as(User::Ordinary)
            .expect("a good configuration")
            .0
    }

    /// The only problem.
    fn problem(&self) -> String {
        let errors = self.resolve_as(User::Ordinary).expect_err("it was taken");
        assert_eq!(errors.0.len(), 1, "more than one problem: {errors}");
        errors.to_string()
    }
}

#[test]
fn the_defaults_are_the_old_services_and_safe() {
    let config = Case::default().config();
    assert_eq!(config.listen.to_string(), "127.0.0.1:4024");
    assert_eq!(
        config.stream_listen.expect("an address").to_string(),
        "127.0.0.1:4033"
    );
    assert_eq!(
        (config.port_range_start, config.port_range_end),
        (11000, 12000)
    );
    assert_eq!(config.container_base_name, "collab-vm-");
    assert_eq!(config.idle, Some(Duration::from_secs(15)));
    assert_eq!(config.first_viewer, FirstViewer::LikeIdle);
    assert_eq!(config.max_age, None);
    assert_eq!(config.forget_after, None);
    assert_eq!(config.stream_url_template, "/stream/{port}/vnc");
    assert_eq!(config.undeclared_environment, Undeclared::Refuse);
    assert_eq!(config.memory_reserve, 256 << 20);
    assert_eq!(config.upload_max, 4 << 30);
    assert!(config.remote_networks.is_empty() && config.allowed_origins.is_empty());
    assert!(!config.api_on_stream_port && !config.docker_tls);
    assert_eq!(config.max_desktops, None);
    assert!(config.token.is_none() && config.sage3_server.is_none());
    assert_eq!(config.timers().first_viewer, Some(Duration::from_secs(15)));
}

#[test]
fn every_default_is_a_text_that_could_be_written() {
    let mut names = BTreeSet::new();
    for setting in &SETTINGS {
        assert!(
            names.insert(setting.key()),
            "{} is there twice",
            setting.key()
        );
        if let DefaultValue::Text(text) = setting.default {
            Case::environment(&[(setting.variable, text)]).config();
        }
    }
}

#[test]
fn flags_count_before_the_environment_before_the_file_before_defaults() {
    let mut case =
        Case::file("listen = \"10.0.0.1:1\"\nnetwork = \"of-the-file\"\nmax_desktops = 7\n");
    case.environment = Case::environment(&[
        ("COSAGE_LISTEN", "10.0.0.2:2"),
        ("COSAGE_NETWORK", "of-the-environment"),
    ])
    .environment;
    case.flags = Case::flag("COSAGE_LISTEN", "10.0.0.3:3").flags;
    let (config, effective) = case
        .resolve_as(User::Ordinary)
        .expect("a good configuration");
    assert_eq!(config.listen.to_string(), "10.0.0.3:3");
    assert_eq!(config.network, "of-the-environment");
    assert_eq!(config.max_desktops, Some(7));
    let origin = |variable: &str| {
        effective
            .iter()
            .find(|effective| effective.setting.variable == variable)
            .map(|effective| effective.origin.to_string())
            .expect("a setting")
    };
    assert_eq!(origin("COSAGE_LISTEN"), "flag");
    assert_eq!(origin("COSAGE_NETWORK"), "environment");
    assert_eq!(origin("COSAGE_MAX_DESKTOPS"), "cosage.toml:3");
    assert_eq!(origin("COSAGE_REACH"), "default");
}

#[test]
fn values_are_taken_in_the_forms_people_write() {
    let idle = |text: &str| {
        Case::environment(&[("CONTAINER_NO_CLIENT_TIMEOUT", text)])
            .config()
            .idle
    };
    assert_eq!(idle("30"), Some(Duration::from_secs(30)));
    assert_eq!(idle("5m"), Some(Duration::from_secs(300)));
    assert_eq!(idle("never"), None);
    assert_eq!(
        Case::file("container_no_client_timeout = 40").config().idle,
        Some(Duration::from_secs(40))
    );
    assert_eq!(
        Case::environment(&[("COSAGE_STREAM_LISTEN", "off")])
            .config()
            .stream_listen,
        None
    );
    assert_eq!(
        Case::environment(&[("COSAGE_MEMORY_RESERVE", "0")])
            .config()
            .memory_reserve,
        0
    );
    assert!(
        Case::file("api_on_stream_port = true")
            .config()
            .api_on_stream_port
    );
    let networks = Case::file("remote_networks = [\"10.1.0.0/16\", \"fd00::1\"]")
        .config()
        .remote_networks;
    assert_eq!(
        networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.1.0.0/16", "fd00::1/128"]
    );
    let origins = Case::environment(&[(
        "COSAGE_ALLOWED_ORIGINS",
        "https://a.example/, http://localhost:3000 ,*",
    )])
    .config()
    .allowed_origins;
    assert_eq!(origins, ["https://a.example", "http://localhost:3000", "*"]);
    let apart = Case::environment(&[("COSAGE_FIRST_VIEWER_TIMEOUT", "2m")]).config();
    assert_eq!(apart.timers().first_viewer, Some(Duration::from_secs(120)));
}

#[test]
fn an_empty_variable_is_one_that_is_not_set() {
    let config =
        Case::environment(&[("COSAGE_LISTEN", ""), ("TOKEN", ""), ("SAGE3_SERVER", "")]).config();
    assert_eq!(config.listen.port(), 4024);
    assert!(config.token.is_none() && config.sage3_server.is_none());
}

#[test]
fn data_is_kept_where_the_user_keeps_data() {
    let directory = |case: &Case, user| case.resolve_as(user).expect("good").0.data_dir;
    assert_eq!(
        directory(&Case::default(), User::Root),
        PathBuf::from("/var/lib/cosage")
    );
    assert_eq!(
        directory(&Case::default(), User::Ordinary),
        PathBuf::from("/home/jane/.local/share/cosage")
    );
    let moved = Case::environment(&[("XDG_DATA_HOME", "/data")]);
    assert_eq!(
        directory(&moved, User::Ordinary),
        PathBuf::from("/data/cosage")
    );
    let homeless = Case::environment(&[("HOME", "")]).problem();
    assert!(
        homeless.starts_with("COSAGE_DATA_DIR: there is no HOME"),
        "{homeless}"
    );
}

#[test]
fn each_mistake_is_one_line_with_its_place_and_what_would_be_right() {
    for (variable, text, expected) in [
        (
            "COSAGE_LISTEN",
            "localhost",
            "'localhost' is not an IP address and a port",
        ),
        ("COSAGE_STREAM_LISTEN", "no", ", or off"),
        (
            "COSAGE_STREAM_LISTEN",
            "127.0.0.1:4024",
            "is the API's address too",
        ),
        ("COSAGE_API_ON_STREAM_PORT", "maybe", "true or false"),
        ("PORT_RANGE_START", "0", "a port from 1 to 65535"),
        (
            "PORT_RANGE_END",
            "11000",
            "leaves no port in the range, which starts at 11000",
        ),
        ("CONTAINER_BASE_NAME", "-x", "a name for Docker"),
        ("CONTAINER_BASE_NAME", "a/b", "a name for Docker"),
        (
            "CONTAINER_NO_CLIENT_TIMEOUT",
            "0",
            "it must be 1s or more, or never",
        ),
        (
            "CONTAINER_NO_CLIENT_TIMEOUT",
            "soon",
            "such as \"15s\", or never",
        ),
        ("COSAGE_START_TIMEOUT", "never", "is not a span of time"),
        ("STREAM_URL_TEMPLATE", "/stream/vnc", "has {port} once"),
        ("STREAM_URL_TEMPLATE", "stream/{port}", "starts with /"),
        ("COSAGE_DATA_DIR", "~/data", "only a shell understands"),
        (
            "DOCKER_HOST",
            "ssh://host",
            "unix:///path/of/the.sock or tcp://host:port",
        ),
        (
            "COSAGE_REACH",
            "publishd",
            "(did you mean 'published'?) is not one of: auto, direct, published",
        ),
        (
            "COSAGE_REMOTE_NETWORKS",
            "10.0.0.0/33",
            "a network such as 10.1.0.0/16",
        ),
        (
            "COSAGE_ALLOWED_ORIGINS",
            "https://a.example/path",
            "an origin as browsers write it",
        ),
        (
            "COSAGE_ALLOWED_ORIGINS",
            "a.example",
            "an origin as browsers write it",
        ),
        ("COSAGE_UNDECLARED_ENVIRONMENT", "drop", "refuse, ignore"),
        (
            "COSAGE_MAX_DESKTOPS",
            "0",
            "a whole number, 1 or more, or none",
        ),
        ("COSAGE_MEMORY_RESERVE", "256", "KiB, MiB, GiB or TiB"),
        ("COSAGE_LOG", "cosage=loud", "is not a log filter"),
        (
            "SAGE3_SERVER",
            "sage3.example.org",
            "the address of a server",
        ),
        (
            "COSAGE_WEBHOOKS",
            "https://a.example, b.example/token",
            "number 2 of the list is not the address of a web server, such as https://",
        ),
        (
            "COSAGE_WEBHOOKS",
            "https://a.example",
            "set COSAGE_WEBHOOK_SECRET to what `echo whsec_",
        ),
        (
            "COSAGE_WEBHOOK_SECRET",
            "s3cret",
            "number 1 of the list does not start with whsec_; write what",
        ),
        (
            "COSAGE_WEBHOOK_SECRET",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw,whsec_c2hvcnQ=",
            "number 2 of the list has 5 bytes, and must have 24 to 64; write what",
        ),
        (
            "COSAGE_WEBHOOK_SECRET",
            ",",
            "number 1 of the list is missing",
        ),
        (
            "COSAGE_WEBHOOK_EVENTS",
            "created,redy",
            "'redy' (did you mean 'ready'?) is not one of: created, progress, ready",
        ),
        (
            "COSAGE_WEBHOOK_EVENTS",
            ", ,",
            "there is no event in the list; name some of: created",
        ),
    ] {
        let message = Case::environment(&[(variable, text)]).problem();
        // What has to be set with it is the place to put that right.
        let place = match (variable, text) {
            ("COSAGE_WEBHOOKS", "https://a.example") => "COSAGE_WEBHOOK_SECRET",
            _ => variable,
        };
        assert!(message.starts_with(&format!("{place}: ")), "{message}");
        assert!(
            message.contains(expected),
            "{variable}={text} gave {message}"
        );
        assert_eq!(message.lines().count(), 1);
    }
    let flag = Case::flag("PORT_RANGE_END", "70000").problem();
    assert!(
        flag.starts_with("--port-range-end: '70000' is not a port"),
        "{flag}"
    );
    let file = Case::file("\nport_range_end = 70000").problem();
    assert!(
        file.starts_with("cosage.toml:2:18: port_range_end: '70000' is not a port"),
        "{file}"
    );
    let table = Case::file("[listen]\naddress = \"x\"").problem();
    assert!(
        table.contains("a text, a number, true, false or a list of texts"),
        "{table}"
    );
}

#[test]
fn names_that_are_no_settings_are_refused_with_the_nearest() {
    let variable = Case::environment(&[("COSAGE_LISTN", "x")]).problem();
    assert!(
        variable
            .starts_with("COSAGE_LISTN: there is no such setting (did you mean 'COSAGE_LISTEN'?)"),
        "{variable}"
    );
    let key = Case::file("lissten = \"127.0.0.1:1\"").problem();
    assert!(
        key.starts_with("cosage.toml:1:1: there is no setting 'lissten' (did you mean 'listen'?)"),
        "{key}"
    );
    // Those of the compose file and the tests, and anything that is not ours.
    Case::environment(&[
        ("COSAGE_PUBLISH", "x"),
        ("COSAGE_CONFIG", "x"),
        ("PATH", "/bin"),
    ])
    .config();
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let mut case = Case::file("listen = 1\nnonsense = 2\n");
    case.environment =
        Case::environment(&[("COSAGE_REACH", "x"), ("COSAGE_OTHER", "y")]).environment;
    let errors = case.resolve_as(User::Ordinary).expect_err("it was taken");
    assert_eq!(errors.0.len(), 4, "{errors}");
}

#[test]
fn broken_syntax_is_reported_with_its_place() {
    let message = Case::file("listen = \"127.0.0.1:1\"\nreach = \n")
        .resolve_as(User::Ordinary)
        .expect_err("it was taken")
        .to_string();
    assert!(message.starts_with("cosage.toml:2:"), "{message}");
}

#[test]
fn tls_without_certificates_is_refused() {
    let case = Case::environment(&[("DOCKER_TLS_VERIFY", "1"), ("HOME", "")]);
    let errors = case
        .resolve_as(User::Root)
        .expect_err("it was taken")
        .to_string();
    assert!(errors.contains("set DOCKER_CERT_PATH"), "{errors}");
    let config = Case::environment(&[("DOCKER_TLS_VERIFY", "1")]).config();
    assert_eq!(
        config.docker_certificates,
        Some(PathBuf::from("/home/jane/.docker"))
    );
}

#[test]
fn the_token_is_never_shown() {
    let case = Case::environment(&[("TOKEN", "s3cret")]);
    let (config, effective) = case.resolve_as(User::Ordinary).expect("good");
    assert_eq!(config.token.as_ref().map(Secret::reveal), Some("s3cret"));
    assert!(!format!("{config:?}").contains("s3cret"));
    assert!(!format!("{effective:?}").contains("s3cret"));
    let problem = Case::environment(&[("TOKEN", "s3cret\n")]).problem();
    assert!(
        !problem.contains("s3cret") && problem.starts_with("TOKEN: "),
        "{problem}"
    );
    let token = SETTINGS
        .iter()
        .find(|setting| setting.variable == "TOKEN")
        .expect("a setting");
    assert_eq!(token.flag(), None);
}

#[test]
fn webhooks_are_lists_and_never_shown() {
    let case = Case {
        environment: Case::environment(&[(
            "COSAGE_WEBHOOK_SECRET",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        )])
        .environment,
        ..Case::file(
            "webhooks = [\"https://name:s3cret@a.example/s3cret?s3cret\", \"http://b.example:8080\"]\nwebhook_events = [\"progress\", \"report\"]",
        )
    };
    let (config, effective) = case.resolve_as(User::Ordinary).expect("good");
    let shown: Vec<_> = config.webhooks.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["https://a.example", "http://b.example:8080"]);
    assert_eq!(config.webhook_events, [Kind::Progress, Kind::Report]);
    assert!(config.webhook_secret.is_some());
    for shown in [format!("{config:?}"), format!("{effective:?}")] {
        assert!(
            !shown.contains("s3cret") && !shown.contains("MfKQ9r8"),
            "{shown}"
        );
    }
    for wrong in [
        ("COSAGE_WEBHOOKS", "name:s3cret@a.example/s3cret"),
        ("COSAGE_WEBHOOK_SECRET", "whsec_s3cret"),
    ] {
        let problem = Case::environment(&[wrong]).problem();
        assert!(!problem.contains("s3cret"), "{problem}");
    }
    // Everything there is, without what comes several times a second.
    let quiet = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Progress);
    assert_eq!(
        Case::default().config().webhook_events,
        quiet.collect::<Vec<_>>()
    );
}

proptest! {
    #[test]
    fn no_value_makes_the_reader_panic(
        index in 0..SETTINGS.len(),
        text in prop_oneof![any::<String>(), "[0-9a-z:/.,{}~*-]{0,20}"],
    ) {
        let case = Case::environment(&[(SETTINGS[index].variable, &text)]);
        if let Err(errors) = case.resolve_as(User::Ordinary) {
            prop_assert!(errors.0.iter().all(|error| error.to_string().lines().count() <= 1));
        }
    }

    #[test]
    fn no_file_makes_the_reader_panic(text in any::<String>()) {
        let environment = BTreeMap::new();
        let flags = FlagValues::new();
        let _ = resolve(&Inputs {
            flags: &flags,
            file: Some(("cosage.toml", &text)),
            environment: &environment,
            user: User::Root,
        });
    }
}

#[test]
fn a_profile_is_above_the_defaults_and_below_everything_else() {
    let case = Case {
        file: Some("profile = \"sage3\"\nsage3_server = \"https://sage3.example.org/base/\""),
        ..Case::environment(&[("COSAGE_UNDECLARED_ENVIRONMENT", "refuse")])
    };
    let (config, effective) = case.resolve_as(User::Ordinary).expect("a configuration");
    assert_eq!(config.stream_url_template, "/stream/{port}");
    assert!(config.api_on_stream_port);
    assert_eq!(config.allowed_origins, ["https://sage3.example.org"]);
    assert_eq!(config.undeclared_environment, Undeclared::Refuse);
    let origin = |variable| {
        let found = effective
            .iter()
            .find(|one| one.setting.variable == variable);
        found.expect("a setting").origin.to_string()
    };
    assert_eq!(origin("STREAM_URL_TEMPLATE"), "profile sage3");
    assert_eq!(origin("COSAGE_ALLOWED_ORIGINS"), "profile sage3");
    assert_eq!(origin("COSAGE_UNDECLARED_ENVIRONMENT"), "environment");
    assert_eq!(origin("PORT_RANGE_START"), "default");

    let alone = Case::environment(&[("COSAGE_PROFILE", "sage3")]).config();
    assert!(alone.allowed_origins.is_empty());
    assert_eq!(alone.undeclared_environment, Undeclared::Ignore);
}

#[test]
fn unused_desktops_are_kept_for_an_hour_at_least() {
    let case = |text| Case::environment(&[("COSAGE_FORGET_AFTER", text)]);
    let days = case("90d").config().forget_after;
    assert_eq!(days, Some(Duration::from_secs(90 * 24 * 3600)));
    assert_eq!(case("never").config().forget_after, None);
}
