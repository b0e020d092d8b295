use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::desktop::{Environment, StreamKey, Uid};
use crate::engine::{InstanceId, LaunchSpec, Presence, Protocol, PullPolicy, Sandbox, Workload};

fn parse(text: &str) -> Result<Catalog, CatalogErrors> {
    Catalog::parse(text, "catalog.toml", &CatalogDefaults::default())
}

/// The only problem of a text.
fn problem(text: &str) -> String {
    let errors = parse(text).expect_err("the text was taken for a catalogue");
    assert_eq!(errors.0.len(), 1, "more than the one problem: {errors}");
    errors.to_string()
}

/// A correct app called `one` with lines added to its table.
fn one_with(lines: &str) -> String {
    format!(
        "[app.one]\nimage = \"one:latest\"\n{lines}\n\n[app.one.stream.vnc]\nport = 5900\nprotocol = \"rfb\"\n"
    )
}

fn built_in() -> Catalog {
    CatalogSource::Embedded
        .load(&CatalogDefaults::default())
        .expect("the built-in catalogue is correct")
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is not an object"),
    }
}

fn spec_of(app: &App, environment: &Environment) -> Result<LaunchSpec, LaunchError> {
    let uid: Uid = "desk-1".parse().expect("a uid");
    let context = LaunchContext {
        container_base_name: "collab-vm-".to_owned(),
        callback_base: "http://host.docker.internal:4024/api/vm/cb/".to_owned(),
    };
    app.launch_spec(
        &uid,
        environment,
        InstanceId::random(),
        StreamKey(11000),
        &context,
    )
}

fn container_environment(app: &App, given: Value) -> BTreeMap<String, String> {
    let environment = app
        .check_environment(&object(given), Undeclared::Refuse)
        .expect("a good environment");
    match spec_of(app, &environment).expect("a spec").workload {
        Workload::Container(container) => container.environment.0,
        Workload::Remote(_) => panic!("a container was expected"),
    }
}

const OLD_IMAGE: &str = r#"
[app.old]
image = "registry.example/old:1"
legacy_environment = true
extra_hosts = ["host.docker.internal:host-gateway"]
[app.old.stream.vnc]
port = 2222
protocol = "websocket"
[app.old.stream.audio]
port = 2222
protocol = "websocket"
[app.old.env.CALLBACK_ID]
type = "text"
"#;

#[test]
fn the_built_in_catalogue_has_the_curated_apps_under_all_their_names() {
    let catalog = built_in();
    for (asked, name) in [
        ("firefox", "firefox"),
        ("vnc-x11-firefox", "firefox"),
        ("sage3-firefox", "firefox"),
        ("firefox-audio", "firefox"),
        ("vnc-x11-blender", "blender"),
        ("vnc-connect", "vnc-connect"),
        ("tiny", "tiny"),
    ] {
        assert_eq!(catalog.app(asked).map(|app| app.name.as_str()), Some(name));
    }
    let Source::Container(firefox) = &catalog.apps["firefox"].source else {
        panic!("Firefox is a container")
    };
    assert_eq!(firefox.sandbox, Sandbox::UserNamespaces);
    assert_eq!(firefox.home.as_deref(), Some("/home/user"));
    assert_eq!(firefox.pull, PullPolicy::Never);
    assert_eq!(firefox.limits.milli_cpus, Some(2000));
    assert_eq!(firefox.limits.memory, Some(2 << 30));
    let stream = &catalog.apps["firefox"].streams["vnc"];
    assert_eq!((stream.port, stream.protocol), (5900, Protocol::Rfb));
}

#[test]
fn an_unknown_app_gets_the_list_and_the_nearest_name() {
    let error = built_in().unknown("vnc-x11-firefx");
    assert_eq!(error.nearest.as_deref(), Some("vnc-x11-firefox"));
    assert_eq!(
        error.to_string(),
        "there is no app 'vnc-x11-firefx' (did you mean 'vnc-x11-firefox'?); \
         there are: blender, firefox, tiny, vnc-connect"
    );
}

#[test]
fn each_mistake_is_named_at_its_place_with_what_would_be_right() {
    for (lines, expected) in [
        (
            "memroy = \"2GiB\"",
            "catalog.toml:3:1: app.one has no key 'memroy' (did you mean 'memory'?)",
        ),
        (
            "memory = \"2 GB\"",
            "catalog.toml:3:10: app.one.memory: '2 GB' is not a size; write a whole number and KiB, MiB, GiB or TiB, such as \"2GiB\"",
        ),
        ("memory = \"2 GB\"", "such as \"2GiB\""),
        (
            "memory = 2048",
            "catalog.toml:3:10: app.one.memory must be a text in quotes",
        ),
        ("memory = \"63MiB\"", "give it \"64MiB\" or more"),
        (
            "memory = \"128MiB\"\nshared_memory = \"256MiB\"",
            "catalog.toml:4:17: app.one.shared_memory is part of app.one.memory and cannot be more than its 128MiB",
        ),
        ("shared_memory = \"0KiB\"", "\"1KiB\" or more"),
        ("cpus = 0", "from 0.01 to 4096"),
        ("cpus = nan", "from 0.01 to 4096"),
        (
            "processes = 0",
            "app.one.processes must be a whole number from 1 to",
        ),
        ("idle = 15", "app.one.idle must be a text in quotes"),
        ("idle = \"15\"", "such as \"15s\", or \"never\""),
        ("idle = \"0s\"", "must be \"1s\" or more, or \"never\""),
        (
            "start = \"never\"",
            "app.one.start: 'never' is not a span of time",
        ),
        (
            "pull = \"alwys\"",
            "catalog.toml:3:8: app.one.pull cannot be \"alwys\" (did you mean 'always'?); it is one of \"never\", \"missing\", \"always\"",
        ),
        (
            "sandbox = \"none\"",
            "it is one of \"engine-default\", \"user-namespaces\"",
        ),
        ("home = \"home/user\"", "such as \"/home/user\", or false"),
        ("home = \"/home:rw\"", "such as \"/home/user\", or false"),
        ("home = true", "such as \"/home/user\", or false"),
        ("gpu = \"yes\"", "app.one.gpu must be true or false"),
        ("build = \"../elsewhere\"", "below the catalogue's own"),
        ("icon = \"/etc/passwd\"", "below the catalogue's directory"),
        ("icon = \"one.txt\"", "name ends in one of: svg, png"),
        ("icon = \"one.svg\"", "this catalogue has no directory"),
        (
            "icon = \"data:text/html,x\"",
            "app.one.icon is not a \"data:\" URL of a picture",
        ),
        (
            "icon = \"data:image/png;base64,%\"",
            "is not a \"data:\" URL of a picture",
        ),
        ("extra_hosts = [\"db\"]", "'db' is not \"name:address\""),
        (
            "extra_hosts = [\"db:nowhere\"]",
            "IP address or host-gateway",
        ),
        ("aliases = [\"Two\"]", "'Two' is not a name"),
        (
            "aliases = [\"one\"]",
            "catalog.toml:3:12: the alias 'one' of 'one' is the name of an app",
        ),
        (
            "aliases = [\"two\", \"two\"]",
            "catalog.toml:3:19: the alias 'two' of 'one' is already an alias of 'one'",
        ),
        (
            "[app.one.env.lower]\ntype = \"text\"",
            "catalog.toml:3:14: app.one.env.lower: a variable is named with upper-case letters",
        ),
        (
            "[app.one.env.COSAGE_X]\ntype = \"text\"",
            "the service sets this variable itself",
        ),
        (
            "[app.one.env.WS_TIMEOUT]\ntype = \"text\"",
            "the service sets this variable itself",
        ),
        (
            "[app.one.env.A]\ntype = \"string\"",
            "app.one.env.A.type cannot be \"string\"",
        ),
        (
            "[app.one.env.A]\ntitle = \"no type\"",
            "app.one.env.A has no type; it is one of text, integer",
        ),
        (
            "[app.one.env.A]\ntype = \"text\"\nmin = 1",
            "app.one.env.A has no key 'min'",
        ),
        (
            "[app.one.env.A]\ntype = \"integer\"\nmin = 3\nmax = 2",
            "a min above its max",
        ),
        (
            "[app.one.env.A]\ntype = \"integer\"\nmax = 2\ndefault = 3",
            "catalog.toml:6:11: app.one.env.A.default must be a whole number, 2 or less",
        ),
        (
            "[app.one.env.A]\ntype = \"urls\"\ndefault = [\"file:///etc\"]",
            "app.one.env.A.default must be a list of addresses",
        ),
        (
            "[app.one.env.A]\ntype = \"text\"\nrequired = true\ndefault = \"x\"",
            "is required and has a default",
        ),
        (
            "[app.one.env.A]\ntype = \"choice\"",
            "app.one.env.A has no options",
        ),
        (
            "[app.one.stream.other]\nport = 0\nprotocol = \"rfb\"",
            "app.one.stream.other.port must be a whole number from 1 to 65535",
        ),
        (
            "[app.one.stream.other]\nport = 1\nprotocol = \"vnc\"",
            "it is one of \"display\", \"rfb\", \"tcp\", \"webm\", \"websocket\"",
        ),
        (
            "[app.one.stream.other]\nport = 1",
            "app.one.stream.other has no protocol",
        ),
        (
            "[app.one.stream.other]\nprotocol = \"tcp\"",
            "app.one.stream.other has no port",
        ),
        (
            "[app.one.stream.other]\nport = 1\nprotocol = \"tcp\"\npath = \"/x\"",
            "for protocol = \"websocket\" only",
        ),
        (
            "[app.one.stream.other]\nport = 1\nprotocol = \"websocket\"\npath = \"x\"",
            "must start with '/'",
        ),
    ] {
        let message = problem(&one_with(lines));
        assert!(
            message.contains(expected),
            "{lines}\n gave {message}\n  not {expected}"
        );
    }
}

#[test]
fn an_app_is_either_an_image_or_remote_and_can_be_seen() {
    let neither = problem("[app.one]\n[app.one.stream.vnc]\nport = 1\nprotocol = \"rfb\"\n");
    assert!(
        neither.contains("has neither image nor remote"),
        "{neither}"
    );
    let both = problem(
        "[app.one]\nimage = \"x\"\nremote = { host = \"H\", port = \"P\" }\n\
         stream.vnc = { protocol = \"tcp\" }\nenv.H = { type = \"host\", required = true }\n\
         env.P = { type = \"integer\", min = 1, max = 65535, default = 5900 }\n",
    );
    assert!(
        both.starts_with("catalog.toml:2:9: app.one is remote"),
        "{both}"
    );
    let unseen = problem("[app.one]\nimage = \"x\"\n");
    assert!(unseen.contains("add [app.one.stream.vnc]"), "{unseen}");
    let heard =
        problem("[app.one]\nimage = \"x\"\n[app.one.stream.audio]\nport = 1\nprotocol = \"tcp\"\n");
    assert!(
        heard.contains("no stream that a viewer can look at"),
        "{heard}"
    );
    let passwordless = problem(
        "[app.one]\nimage = \"x\"\npassword = true\n[app.one.stream.vnc]\nport = 1\nprotocol = \"tcp\"\n",
    );
    assert!(
        passwordless.contains("no stream with protocol = \"rfb\""),
        "{passwordless}"
    );
}

#[test]
fn a_remote_app_takes_its_address_from_declared_variables() {
    let text = |environment: &str| {
        format!(
            "[app.r.remote]\nhost = \"H\"\nport = \"P\"\n[app.r.stream.vnc]\nprotocol = \"tcp\"\n[app.r.env]\n{environment}"
        )
    };
    let host = "H = { type = \"host\", required = true }\n";
    let port = "P = { type = \"integer\", min = 1, max = 65535, default = 5900 }\n";
    parse(&text(&format!("{host}{port}"))).expect("a good remote app");
    for (environment, expected) in [
        (
            port.to_owned(),
            "'H', which is not declared; add [app.r.env.H]",
        ),
        (
            format!("H.type = \"text\"\n{port}"),
            "H must be declared with type = \"host\"",
        ),
        (
            format!("H.type = \"host\"\n{port}"),
            "H needs required = true or a default",
        ),
        (
            format!("{host}P = {{ type = \"integer\", min = 0, max = 65535, default = 1 }}\n"),
            "P must be declared with type = \"integer\"",
        ),
    ] {
        let message = problem(&text(&environment));
        assert!(message.contains(expected), "{environment}\n gave {message}");
    }
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_file() {
    let errors = parse(
        "[app.UPPER]\nimage = \"x\"\ngppu = true\n[app.UPPER.stream.vnc]\nport = 70000\nprotocol = \"rfb\"\n\
         [app.b]\nimage = \"x\"\naliases = [\"z\"]\nstream.vnc = { port = 1, protocol = \"rfb\" }\n\
         [app.c]\nimage = \"x\"\naliases = [\"z\", \"b\"]\nstream.vnc = { port = 1, protocol = \"rfb\" }\n",
    )
    .expect_err("a wrong catalogue");
    let lines: Vec<usize> = errors.0.iter().map(|error| error.line).collect();
    assert_eq!(lines, [1, 3, 5, 13, 13], "{errors}");
    assert_eq!(errors.to_string().lines().count(), 5);
}

#[test]
fn broken_syntax_is_reported_with_its_place() {
    let errors = parse("[app.one]\nimage = \"x\nmemory = \n").expect_err("broken syntax");
    assert!(errors.0.iter().any(|error| error.line == 2), "{errors}");
    assert!(errors.0.iter().any(|error| error.line == 3), "{errors}");
    assert!(
        parse("")
            .expect_err("no app")
            .to_string()
            .contains("the catalogue has no app")
    );
}

#[test]
fn timers_come_from_the_app_else_from_the_service() {
    let seconds = |number| Some(Duration::from_secs(number));
    let timers = |lines: &str, defaults: &CatalogDefaults| {
        Catalog::parse(&one_with(lines), "c", defaults)
            .expect("a catalogue")
            .apps["one"]
            .timers
    };
    let plain = CatalogDefaults {
        idle: seconds(20),
        ..CatalogDefaults::default()
    };
    assert_eq!(timers("", &plain).first_viewer, seconds(20));
    assert_eq!(timers("idle = \"5m\"", &plain).first_viewer, seconds(300));
    assert_eq!(timers("idle = \"never\"", &plain).first_viewer, None);
    let apart = CatalogDefaults {
        first_viewer: FirstViewer::Own(seconds(90)),
        ..plain
    };
    assert_eq!(timers("idle = \"5m\"", &apart).first_viewer, seconds(90));
    assert_eq!(
        timers("first_viewer = \"7s\"", &apart).first_viewer,
        seconds(7)
    );
    assert_eq!(timers("max_age = \"8h\"", &apart).max_age, seconds(28_800));
}

#[test]
fn desktops_are_kept_for_ever_unless_app_or_service_say_otherwise() {
    let hours = |number: u64| Some(Duration::from_secs(number * 3600));
    let read = |lines: &str, defaults: &CatalogDefaults| {
        Catalog::parse(&one_with(lines), "c", defaults)
            .map(|catalog| catalog.apps["one"].forget_after)
            .map_err(|errors| errors.to_string())
    };
    let plain = CatalogDefaults::default();
    assert_eq!(read("", &plain), Ok(None));
    assert_eq!(read("forget_after = \"90d\"", &plain), Ok(hours(90 * 24)));
    let monthly = CatalogDefaults {
        forget_after: hours(30 * 24),
        ..plain
    };
    assert_eq!(read("", &monthly), Ok(hours(30 * 24)));
    assert_eq!(read("forget_after = \"never\"", &monthly), Ok(None));
    assert_eq!(read("forget_after = \"1h\"", &plain), Ok(hours(1)));
    let error = read("forget_after = \"59m\"", &plain).unwrap_err();
    assert!(
        error.contains("app.one.forget_after must be \"1h\" or more, or \"never\""),
        "{error}"
    );
}

#[test]
fn streams_have_the_presence_and_path_their_name_suggests() {
    let catalog = parse(OLD_IMAGE).expect("a catalogue");
    let streams = &catalog.apps["old"].streams;
    assert_eq!(
        (streams["vnc"].presence, streams["vnc"].path.as_str()),
        (Presence::Viewer, "/vnc")
    );
    assert_eq!(
        (streams["audio"].presence, streams["audio"].path.as_str()),
        (Presence::Listener, "/audio")
    );
}

#[test]
fn values_are_taken_in_every_form_clients_send_and_kept_as_the_container_gets_them() {
    let catalog = built_in();
    let firefox = &catalog.apps["firefox"];
    for (given, kept) in [
        (json!({"FIREFOX_THEME": 1}), vec![("FIREFOX_THEME", "1")]),
        (json!({"FIREFOX_THEME": "1"}), vec![("FIREFOX_THEME", "1")]),
        (json!({"FIREFOX_THEME": "+1"}), vec![("FIREFOX_THEME", "1")]),
        (json!({"FIREFOX_THEME": null}), vec![]),
        (json!({"FIREFOX_STARTPAGE": ""}), vec![]),
        (json!({"CALLBACK_ID": 5}), vec![("CALLBACK_ID", "5")]),
        (json!({"CALLBACK_ID": true}), vec![("CALLBACK_ID", "true")]),
        (
            json!({"CALLBACK_ID": ["a", 1]}),
            vec![("CALLBACK_ID", "[\"a\",1]")],
        ),
        (
            json!({"FIREFOX_URLS": ["https://a.example", "about:blank"]}),
            vec![("FIREFOX_URLS", "[\"https://a.example/\",\"about:blank\"]")],
        ),
        (
            json!({"FIREFOX_URLS": "[\"https://a.example\"]"}),
            vec![("FIREFOX_URLS", "[\"https://a.example/\"]")],
        ),
        (
            json!({"TZ": "asia/tokyo", "LANG": "de-AT"}),
            vec![("LANG", "de_DE.UTF-8"), ("TZ", "Asia/Tokyo")],
        ),
    ] {
        let environment = firefox
            .check_environment(&object(given.clone()), Undeclared::Refuse)
            .unwrap_or_else(|error| panic!("{given}: {error}"));
        let pairs: Vec<(&str, &str)> = environment
            .0
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        assert_eq!(pairs, kept);
    }
}

#[test]
fn an_address_is_kept_as_every_browser_opens_it() {
    let kept = |text: &str| Kind::Url.check(&Value::from(text));
    for (given, url) in [
        ("https://a.example", "https://a.example/"),
        ("HTTPS://A.Example/B", "https://a.example/B"),
        ("Http://a.example/?q=1#f", "http://a.example/?q=1#f"),
        ("ABOUT:license", "about:license"),
        ("about:blank", "about:blank"),
        (
            "https://müller.example/ä",
            "https://xn--mller-kva.example/%C3%A4",
        ),
        (
            "http://user:pass@a.example:8080/",
            "http://user:pass@a.example:8080/",
        ),
        ("http://localhost:65535", "http://localhost:65535/"),
        ("http://[::1]:80/x", "http://[::1]/x"),
        ("http://10.0.0.1/", "http://10.0.0.1/"),
    ] {
        assert_eq!(kept(given), Ok(Some(url.to_owned())), "{given}");
        assert_eq!(kept(url), Ok(Some(url.to_owned())), "{url} again");
    }
    let long = format!("https://a.example/{}", "x".repeat(20_000));
    assert_eq!(kept(&long), Ok(Some(long.clone())));
    for wrong in [
        "a.example",
        "a.example:80",
        "//a.example",
        "http:a.example",
        "https:/a.example",
        "https:///a.example",
        "https://",
        "https://?q",
        "https://#f",
        "https:\\\\a.example",
        "https://\\a.example",
        "https://user@",
        "https://a.example:65536",
        "https://a.example:x",
        "https://a b.example",
        "https://a<b.example",
        "https://[::1",
        "https://xn--",
        " https://a.example",
        "https://a.example ",
        "https://a.exa\tmple",
        "about:",
        "about: blank",
        "about:?",
        "data:text/html,x",
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "view-source:https://a.example",
        "blob:https://a.example/1",
        "chrome://browser/content",
        "moz-extension://1/",
        "ftp://a.example",
        "ws://a.example",
        "-new-window",
    ] {
        assert_eq!(kept(wrong), Err(environment::IllTyped), "{wrong:?}");
    }
    assert_eq!(
        Kind::Urls.check(&json!([])),
        Ok(Some("[]".to_owned())),
        "an empty list"
    );
    for wrong in [json!([""]), json!(["https://a.example", "x"]), json!([1])] {
        assert!(Kind::Urls.check(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_refused_environment_names_the_key_and_what_is_allowed_but_never_the_value() {
    let catalog = built_in();
    let firefox = &catalog.apps["firefox"];
    for (given, expected) in [
        (
            json!({"FIREFOX_THEME": "1; s3cret()"}),
            "FIREFOX_THEME must be a whole number from 0 to 2",
        ),
        (
            json!({"FIREFOX_THEME": 3}),
            "FIREFOX_THEME must be a whole number from 0 to 2",
        ),
        (json!({"FIREFOX_THEME": 1.5}), "FIREFOX_THEME must be"),
        (json!({"FIREFOX_THEME": true}), "FIREFOX_THEME must be"),
        (
            json!({"FIREFOX_STARTPAGE": "javascript:s3cret"}),
            "FIREFOX_STARTPAGE must be an address",
        ),
        (
            json!({"FIREFOX_STARTPAGE": "file:///s3cret"}),
            "must be an address",
        ),
        (
            json!({"FIREFOX_STARTPAGE": "https://a b/s3cret"}),
            "must be an address",
        ),
        (
            json!({"FIREFOX_STARTPAGE": "https:///s3cret"}),
            "must be an address",
        ),
        (
            json!({"FIREFOX_URLS": ["https://a", "file:///s3cret"]}),
            "FIREFOX_URLS must be a list",
        ),
        (
            json!({"FIREFOX_URLS": "https://s3cret"}),
            "FIREFOX_URLS must be a list",
        ),
        (
            json!({"FIREFOX_URLS": {"a": "s3cret"}}),
            "FIREFOX_URLS must be a list",
        ),
        (
            json!({"CALLBACK_ID": "s3cret\0"}),
            "CALLBACK_ID contains a NUL byte",
        ),
        (
            json!({"FIREFOX_THEMES": "s3cret"}),
            "FIREFOX_THEMES is not known (did you mean 'FIREFOX_THEME'?); it takes: CALLBACK_ID, FIREFOX_STARTPAGE, FIREFOX_THEME, FIREFOX_URLS, LANG, TZ",
        ),
    ] {
        let error = firefox
            .check_environment(&object(given.clone()), Undeclared::Refuse)
            .expect_err("it was taken")
            .to_string();
        assert!(error.contains(expected), "{given} gave {error}");
        assert!(!error.contains("s3cret"), "the value is in: {error}");
    }
}

#[test]
fn undeclared_variables_are_left_out_where_the_operator_says_so() {
    let catalog = built_in();
    let given = object(json!({"ANYTHING": "x", "FIREFOX_THEME": 0}));
    let environment = catalog.apps["firefox"]
        .check_environment(&given, Undeclared::Ignore)
        .expect("it is taken");
    assert_eq!(environment.0.keys().collect::<Vec<_>>(), ["FIREFOX_THEME"]);
}

#[test]
fn an_environment_has_a_bounded_size() {
    let catalog = built_in();
    let firefox = &catalog.apps["firefox"];
    let largest = ENVIRONMENT_MAX_BYTES - "CALLBACK_ID".len();
    let given = |length: usize| object(json!({"CALLBACK_ID": "x".repeat(length)}));
    assert!(
        firefox
            .check_environment(&given(largest), Undeclared::Refuse)
            .is_ok()
    );
    let error = firefox
        .check_environment(&given(largest + 1), Undeclared::Refuse)
        .expect_err("it was taken");
    assert_eq!(
        error.problems,
        [EnvironmentProblem::TooLarge {
            bytes: ENVIRONMENT_MAX_BYTES + 1
        }]
    );
}

#[test]
fn a_remote_desktop_needs_its_target() {
    let catalog = built_in();
    let app = &catalog.apps["vnc-connect"];
    for given in [
        json!({}),
        json!({"TARGET_IP": ""}),
        json!({"TARGET_IP": null}),
    ] {
        let error = app
            .check_environment(&object(given), Undeclared::Refuse)
            .expect_err("taken");
        assert_eq!(
            error.to_string(),
            "the app 'vnc-connect' does not take this env: TARGET_IP is required; it must be a host name or an IP address"
        );
    }
    for wrong in ["a b", "host:5900", "-x", "a..b", "http://host", "::1]"] {
        let given = object(json!({"TARGET_IP": wrong}));
        assert!(
            app.check_environment(&given, Undeclared::Refuse).is_err(),
            "{wrong} was taken"
        );
    }
    let given = object(json!({"TARGET_IP": "desk.example", "TARGET_PORT": "5901"}));
    let environment = app
        .check_environment(&given, Undeclared::Refuse)
        .expect("taken");
    let Workload::Remote(remote) = spec_of(app, &environment).expect("a spec").workload else {
        panic!("a remote workload was expected")
    };
    assert_eq!((remote.host.as_str(), remote.port), ("desk.example", 5901));
    assert_eq!(remote.stream, ("vnc".to_owned(), Protocol::Tcp));

    // A record from before the variable was required.
    let error = spec_of(app, &Environment::default()).expect_err("nothing to dial");
    assert!(error.to_string().contains("requires TARGET_IP"), "{error}");
}

#[test]
fn a_launch_fills_in_defaults_and_drops_what_is_not_declared_any_more() {
    let catalog = parse(&one_with(
        "env.A = { type = \"text\", default = \"a\" }\nenv.B = { type = \"urls\", default = [\"about:blank\"] }\nenv.C = { type = \"integer\" }",
    ))
    .expect("a catalogue");
    let app = &catalog.apps["one"];
    let kept = Environment(BTreeMap::from([
        ("A".to_owned(), "mine".to_owned()),
        ("GONE".to_owned(), "x".to_owned()),
    ]));
    let spec = spec_of(app, &kept).expect("a spec");
    let Workload::Container(container) = spec.workload else {
        panic!("a container")
    };
    assert_eq!(container.name, "collab-vm-desk-1");
    assert_eq!(
        container.environment.0,
        BTreeMap::from([
            ("A".to_owned(), "mine".to_owned()),
            ("B".to_owned(), "[\"about:blank\"]".to_owned()),
        ])
    );
    let stricter = Environment(BTreeMap::from([("C".to_owned(), "s3cret".to_owned())]));
    let error = spec_of(app, &stricter)
        .expect_err("C does not fit")
        .to_string();
    assert!(error.contains("takes a whole number as C"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
}

#[test]
fn our_images_get_a_password_and_the_grace_they_have() {
    let catalog = built_in();
    let spec = spec_of(&catalog.apps["firefox"], &Environment::default()).expect("a spec");
    let Workload::Container(container) = spec.workload else {
        panic!("a container")
    };
    assert!(container.password.is_some());
    assert_eq!(container.environment.0["COSAGE_STOP_GRACE"], "10");
    let address = &container.environment.0["CALLBACK_URL"];
    assert!(address.contains("/api/vm/cb/desk") && address.contains("?secret="));
    assert_eq!(container.environment.0.len(), 2);
    assert_eq!(container.extra_hosts, ["host.docker.internal:host-gateway"]);
    assert_eq!(container.image_hint, "build it with: images/build firefox");
    let old = parse(OLD_IMAGE).expect("a catalogue");
    let spec = spec_of(&old.apps["old"], &Environment::default()).expect("a spec");
    let Workload::Container(container) = spec.workload else {
        panic!("a container")
    };
    assert_eq!(
        container.image_hint,
        "pull it with: docker pull registry.example/old:1"
    );
    assert!(container.password.is_none());
}

#[test]
fn old_images_get_the_old_variables() {
    let catalog = parse(OLD_IMAGE).expect("a catalogue");
    let app = &catalog.apps["old"];
    assert_eq!(
        container_environment(app, json!({})),
        BTreeMap::from([("WS_TIMEOUT".to_owned(), "90".to_owned())])
    );
    assert_eq!(
        container_environment(app, json!({"CALLBACK_ID": ""})),
        BTreeMap::from([("WS_TIMEOUT".to_owned(), "90".to_owned())])
    );
    let called_back = container_environment(app, json!({"CALLBACK_ID": "desk-1"}));
    assert_eq!(called_back["CALLBACK_ID"], "desk-1");
    let plain = "http://host.docker.internal:4024/api/vm/cb/desk-1";
    let address = &called_back["CALLBACK_URL"];
    assert!(
        address.starts_with(&format!("{plain}?secret=")),
        "{address}"
    );
    let allowed = format!("{OLD_IMAGE}\n").replacen(
        "legacy_environment = true",
        "legacy_environment = true\nlegacy_callbacks = true",
        1,
    );
    let allowed = parse(&allowed).expect("a catalogue");
    let called_back = container_environment(&allowed.apps["old"], json!({"CALLBACK_ID": "desk-1"}));
    assert_eq!(called_back["CALLBACK_URL"], plain);
    let elsewhere = Environment(BTreeMap::from([(
        "CALLBACK_ID".to_owned(),
        "../any/x".to_owned(),
    )]));
    assert!(spec_of(app, &elsewhere).is_err());
}

#[test]
fn an_old_image_never_ends_before_the_services_own_timers_one_after_the_other() {
    let timeout = |lines: &str| {
        let text = OLD_IMAGE.replacen("legacy", &format!("{lines}\nlegacy"), 1);
        let catalog = parse(&text).expect("a catalogue");
        container_environment(&catalog.apps["old"], json!({}))["WS_TIMEOUT"].clone()
    };
    assert_eq!(timeout("idle = \"1500ms\""), "63");
    assert_eq!(timeout("idle = \"30s\"\nfirst_viewer = \"2m\""), "210");
    assert_eq!(
        timeout("idle = \"never\""),
        crate::text::LONGEST.as_secs().to_string()
    );
}

#[test]
fn a_broken_file_leaves_the_old_catalogue_in_force() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("catalog.toml");
    std::fs::write(&path, one_with("")).expect("written");
    let source = CatalogSource::find(Some(&path));
    let handle = CatalogHandle::open(source, CatalogDefaults::default()).expect("opened");
    let before = handle.current();

    std::fs::write(&path, one_with("idel = \"5s\"")).expect("written");
    let error = handle.reload().expect_err("it is broken").to_string();
    assert!(
        error.contains("catalog.toml:3:1: app.one has no key 'idel' (did you mean 'idle'?)"),
        "{error}"
    );
    assert_eq!(handle.current(), before);

    std::fs::remove_file(&path).expect("removed");
    let error = handle.reload().expect_err("it is gone").to_string();
    assert!(
        error.contains("cannot be read") && error.contains("COSAGE_CATALOG"),
        "{error}"
    );
    assert_eq!(handle.current(), before);

    std::fs::write(&path, one_with("idle = \"5s\"")).expect("written");
    handle.reload().expect("it is good again");
    assert_eq!(
        handle.current().apps["one"].timers.idle,
        Some(Duration::from_secs(5))
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3i64..6).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "(https?|about|file|javascript):(//)?[a-z./ ]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,4}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_environment() -> impl Strategy<Value = Map<String, Value>> {
    let name = prop_oneof![
        Just("FIREFOX_URLS".to_owned()),
        Just("FIREFOX_THEME".to_owned()),
        Just("FIREFOX_STARTPAGE".to_owned()),
        Just("CALLBACK_ID".to_owned()),
        Just("TZ".to_owned()),
        Just("LANG".to_owned()),
        "[A-Z_]{1,12}",
    ];
    prop::collection::btree_map(name, any_json(), 0..5).prop_map(|map| map.into_iter().collect())
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>()) {
        let _ = parse(&text);
    }

    /// Lines of a correct catalogue in any order, some of them cut, reach deeper than random text.
    #[test]
    fn no_shuffled_catalogue_makes_the_reader_panic(
        picks in prop::collection::vec((any::<prop::sample::Index>(), 0usize..60), 1..40),
    ) {
        let lines: Vec<&str> = include_str!("../../../../catalog.toml").lines().collect();
        let text: Vec<String> = picks
            .iter()
            .map(|(index, cut)| index.get(&lines).chars().take(*cut).collect())
            .collect();
        if let Err(errors) = parse(&text.join("\n")) {
            prop_assert!(!errors.0.is_empty());
            prop_assert!(errors.0.iter().all(|error| error.line <= text.len() && error.column >= 1));
        }
    }

    /// Whatever passes is declared, has no NUL, fits, and passes again unchanged: so what is kept
    /// can always be launched.
    #[test]
    fn what_passes_the_check_can_be_kept_and_launched(given in any_environment()) {
        let catalog = built_in();
        let firefox = &catalog.apps["firefox"];
        if let Ok(environment) = firefox.check_environment(&given, Undeclared::Ignore) {
            for (name, text) in &environment.0 {
                prop_assert!(firefox.environment.contains_key(name));
                prop_assert!(!text.contains('\0'));
            }
            let again: Map<String, Value> = environment
                .0
                .iter()
                .map(|(name, text)| (name.clone(), Value::from(text.as_str())))
                .collect();
            let again = firefox.check_environment(&again, Undeclared::Refuse);
            prop_assert_eq!(again.as_ref(), Ok(&environment));
            prop_assert!(spec_of(firefox, &environment).is_ok());
        }
        if let Ok(environment) = firefox.check_environment(&given, Undeclared::Refuse) {
            prop_assert!(
                given.iter().all(|(name, _)| firefox.environment.contains_key(name)),
                "undeclared but taken: {:?}", environment
            );
        }
    }
}

#[test]
fn icons_are_part_of_the_catalogue_or_files_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("icons")).unwrap();
    std::fs::write(directory.path().join("icons/one.PNG"), "picture").unwrap();
    let parse = |lines: &str| {
        let defaults = CatalogDefaults::default();
        Catalog::parse_in(directory.path(), &one_with(lines), "c", &defaults)
            .map(|catalog| catalog.apps["one"].icon.clone())
            .map_err(|errors| errors.to_string())
    };
    let bytes = |icon: Result<Option<Icon>, String>| icon.unwrap().unwrap().bytes;
    assert_eq!(parse(""), Ok(None));
    let file = parse("icon = \"icons/one.PNG\"").unwrap().unwrap();
    assert_eq!(
        (file.media_type, &*file.bytes),
        ("image/png", &b"picture"[..])
    );
    assert_eq!(
        bytes(parse("icon = \"data:image/svg+xml,%3Csvg/%3E\"")),
        "<svg/>"
    );
    assert_eq!(
        bytes(parse("icon = \"data:image/png;base64,cGljdHVyZQ==\"")),
        file.bytes
    );
    let missing = parse("icon = \"icons/none.svg\"").unwrap_err();
    assert!(
        missing.starts_with("c:3:8: app.one.icon cannot be read: "),
        "{missing}"
    );
    std::fs::write(directory.path().join("large.svg"), vec![b' '; 300 << 10]).unwrap();
    let large = parse("icon = \"large.svg\"").unwrap_err();
    assert!(large.contains("is larger than 256 KiB"), "{large}");
    for app in built_in().apps.values() {
        assert!(app.icon.is_some(), "{} has no icon", app.name);
    }
}

#[test]
fn a_screen_is_bounded_by_what_the_catalogue_or_the_memory_says() {
    let area = |lines: &str| {
        let catalog = parse(&one_with(lines)).expect("a good catalogue");
        catalog.app("one").expect("the app").area_max()
    };
    let most = 8192 * 4320;
    assert_eq!(area(""), most);
    assert_eq!(area("memory = \"256MiB\""), (256 << 20) / 32);
    assert_eq!(area("memory = \"16GiB\""), most);
    assert_eq!(area("memory = \"1TiB\""), most);
    assert_eq!(
        area("memory = \"256MiB\"\nmax_size = \"1920x1080\""),
        1920 * 1080
    );
    // Every desktop of the built-in apps has room for a screen of 4K.
    for app in built_in().apps.values() {
        assert!(app.area_max() >= 3840 * 2160, "{}", app.name);
    }
    let message = problem(&one_with("max_size = \"16384x16384\""));
    assert!(message.contains("app.one.max_size"), "{message}");
}
