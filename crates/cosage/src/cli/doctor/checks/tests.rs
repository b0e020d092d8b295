//! Each verdict by itself.

use std::time::Duration;

use super::super::Level::{Ok as Fine, Problem, Warning};
use super::super::{Finding, Level};
use super::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn engine_info(version: &str) -> EngineInfo {
    EngineInfo {
        version: version.to_owned(),
        architecture: "amd64".to_owned(),
        data_directory: None,
        clock: None,
        memory: Some(8 * GIB),
    }
}

fn app(name: &str) -> App {
    App {
        name: name.to_owned(),
        image: format!("cosage/{name}"),
        hint: format!("build it with: images/build {name}"),
        is_pulled: false,
        found: None,
        memory: Some(2 * GIB),
        shared_memory: 512 * MIB,
        sandboxes: true,
    }
}

fn image(architecture: &str) -> Option<Option<ImageInfo>> {
    Some(Some(ImageInfo {
        size: 1,
        architecture: architecture.to_owned(),
        created_at: None,
    }))
}

/// What is wrong, and a word of what to do about it.
#[track_caller]
fn assert_found(finding: &Finding, level: Level, summary: &str, remedy: &str) {
    assert_eq!(finding.level, level, "{finding:?}");
    assert!(finding.summary.contains(summary), "{finding:?}");
    match &finding.remedy {
        Some(text) => assert!(!remedy.is_empty() && text.contains(remedy), "{finding:?}"),
        None => assert_eq!((level, remedy), (Fine, ""), "{finding:?}"),
    }
}

#[test]
fn nothing_known_is_nothing_said() {
    assert_eq!(examine(&Facts::default()), []);
}

#[test]
fn settings_and_catalogue_are_said_with_their_errors() {
    assert_found(&settings(&Ok(())), Fine, "right", "");
    let wrong = Err("COSAGE_LISTEN: 'x' is no address".to_owned());
    assert_found(
        &settings(&wrong),
        Problem,
        "'x' is no address",
        "cosage check",
    );
    let wrong = Err("catalog.toml:3:1: no".to_owned());
    assert_found(
        &catalogue(&wrong),
        Problem,
        "catalog.toml:3:1",
        "correct it",
    );
    let right = Ok((CatalogSource::Embedded, 4));
    assert_found(&catalogue(&right), Fine, "4 apps", "");
}

#[test]
fn an_engine_is_there_and_new_enough() {
    for new in ["20.10.24+dfsg1", "29.0.1", "20.10", "podman"] {
        assert_found(&engine(&Ok(engine_info(new))), Fine, new, "");
    }
    for old in ["19.03.15", "20.9.0", "1.13.1"] {
        assert_found(&engine(&Ok(engine_info(old))), Problem, "too old", "20.10");
    }
    let error = "the container engine does not answer: no right to use /x.sock; run it as root";
    assert_found(
        &engine(&Err(error.to_owned())),
        Problem,
        "no right to use /x.sock",
        "run it as root",
    );
}

#[test]
fn clocks_may_differ_a_little() {
    let finding = |engine: &str| {
        let info = EngineInfo {
            clock: Some(engine.parse().unwrap()),
            ..engine_info("29")
        };
        clock(&info, Some("2026-01-01T00:00:00Z".parse().unwrap())).unwrap()
    };
    assert_found(&finding("2026-01-01T00:00:04Z"), Fine, "", "");
    assert_found(
        &finding("2025-12-31T23:59:50Z"),
        Warning,
        "10 s",
        "timesyncd",
    );
    assert_eq!(clock(&engine_info("29"), None), None);
}

#[test]
fn images_are_there_and_for_this_machine() {
    let mut apps = [app("a"), app("b"), app("c"), app("d"), app("e")];
    apps[0].found = image("amd64");
    apps[1].found = image("arm64");
    apps[2].found = Some(None);
    apps[3].found = Some(None);
    apps[3].is_pulled = true;
    let found = images(&apps, "amd64");
    assert_found(
        &found[0],
        Problem,
        "is for arm64, and this host is amd64",
        "images/build b",
    );
    assert_found(&found[1], Problem, "'c' is missing", "images/build c");
    assert_found(&found[2], Warning, "first start", "cosage images pull d");
    assert_found(&found[3], Fine, "there: a", "");
    assert_eq!(found.len(), 4, "of 'e' nothing is known");
}

#[test]
fn containers_of_somebody_else_are_named() {
    assert_found(&unmanaged(&[]), Fine, "none", "");
    let names = ["collab-vm-a".to_owned(), "collab-vm-b".to_owned()];
    assert_found(
        &unmanaged(&names),
        Warning,
        "collab-vm-a, collab-vm-b",
        "docker rm -f collab-vm-a collab-vm-b",
    );
    assert_found(&unmanaged(&names), Warning, "", "MIGRATING.md");
}

#[test]
fn shared_memory_is_enough_for_screens_and_browsers() {
    let found = |app: App, memory, kernel: Option<u64>| {
        let kernel = kernel.map(|largest| Kernel {
            largest_segment: Some(largest),
            ..Kernel::default()
        });
        host::shared_memory(&[app], memory, kernel.as_ref())
    };
    assert_found(&found(app("a"), Some(GIB), None), Fine, "", "");
    assert_found(&found(app("a"), None, Some(u64::MAX)), Fine, "", "");
    let kernel = found(app("a"), None, Some(32 * MIB));
    assert_found(&kernel, Problem, "32.00 MiB in one piece", "kernel.shmmax");
    let memory = found(app("a"), Some(256 * MIB), None);
    assert_found(&memory, Problem, "'a' may share 512.00 MiB", "catalogue");
    let mut small = app("a");
    small.shared_memory = 64 * MIB;
    assert_found(&found(small, None, None), Warning, "64.00 MiB", "512MiB");
    let mut bare = app("a");
    (bare.shared_memory, bare.sandboxes) = (64 * MIB, false);
    assert_found(&found(bare, None, None), Fine, "", "");
    let mut tiny = app("tiny");
    (tiny.shared_memory, tiny.memory) = (64 * MIB, Some(256 * MIB));
    assert_found(&found(tiny, None, None), Fine, "", "");
}

#[test]
fn browsers_need_user_namespaces() {
    let found = |unprivileged, most| {
        let kernel = Kernel {
            user_namespaces: most,
            unprivileged_namespaces: unprivileged,
            largest_segment: None,
        };
        host::namespaces(&kernel, &[app("firefox")])
    };
    assert_found(&found(None, Some(96_365)).unwrap(), Fine, "", "");
    assert_found(
        &found(Some(1), Some(0)).unwrap(),
        Problem,
        "'firefox'",
        "max_user_namespaces",
    );
    assert_found(
        &found(Some(0), Some(9_999)).unwrap(),
        Problem,
        "forbids",
        "userns_clone=1",
    );
    assert_found(
        &found(None, Some(10)).unwrap(),
        Warning,
        "10",
        "max_user_namespaces",
    );
    assert_eq!(found(None, None), None);
    let mut bare = app("a");
    bare.sandboxes = false;
    assert_eq!(host::namespaces(&Kernel::default(), &[bare]), None);
}

#[test]
fn ports_that_may_not_be_used_are_not_in_use() {
    let found = host::ports(&Ports {
        range: 1000..1100,
        free: 76,
        held: 0,
        forbidden: 24,
        ephemeral: None,
    });
    assert_found(
        &found,
        Warning,
        "may not use 24 of the 100",
        "PORT_RANGE_START",
    );
}

#[test]
fn file_descriptors_are_enough_for_the_desktops_or_not() {
    let found = |limit| {
        host::descriptors(&Descriptors {
            limit,
            desktops: 1000,
            needed: 4064,
        })
    };
    assert_found(&found(Some(4063)), Warning, "may have 4063", "LimitNOFILE");
    assert_found(&found(Some(4064)), Fine, "enough for 1000 desktops", "");
    assert_found(&found(None), Fine, "enough", "");
}

#[test]
fn ports_are_free_and_the_kernels_own_are_others() {
    let found = |free, held, ephemeral| {
        host::ports(&Ports {
            range: 11_000..12_000,
            free,
            held,
            forbidden: 0,
            ephemeral,
        })
    };
    let usual = Some((32_768, 60_999));
    assert_found(&found(990, 10, usual), Fine, "990 of 1000", "");
    assert_found(&found(0, 1000, usual), Fine, "0 of 1000", "");
    assert_found(
        &found(0, 0, usual),
        Problem,
        "all ports from 11000 to 11999",
        "PORT_RANGE_START",
    );
    assert_found(
        &found(300, 100, usual),
        Warning,
        "use 600 of the 1000",
        "PORT_RANGE_START",
    );
    assert_found(
        &found(1000, 0, Some((11_999, 60_999))),
        Warning,
        "overlap",
        "below 11999",
    );
    assert_found(&found(1000, 0, Some((12_000, 60_999))), Fine, "", "");
    assert_found(
        &found(1000, 0, Some((10_000, 11_000))),
        Warning,
        "overlap",
        "12000 65535",
    );
}

#[test]
fn a_disk_is_measured_by_its_size() {
    let found = |free, total| {
        host::disk(&Disk {
            what: "the engine",
            path: "/var/lib/docker".to_owned(),
            free,
            total,
        })
    };
    assert_found(
        &found(50 * GIB, 500 * GIB),
        Fine,
        "50.00 GiB free of 500.00 GiB",
        "",
    );
    assert_found(
        &found(4 * GIB, 500 * GIB),
        Warning,
        "/var/lib/docker",
        "make room",
    );
    assert_found(&found(GIB / 2, 500 * GIB), Problem, "", "make room");
    assert_found(&found(GIB, 5 * GIB), Fine, "", "");
    assert_found(&found(GIB / 5, 5 * GIB), Problem, "", "make room");
}

#[test]
fn a_service_answers_or_it_is_said_why_not() {
    let url = "http://127.0.0.1:4024/".to_owned();
    let ready = Service::Ready { url: url.clone() };
    assert_found(&network::service(&ready), Fine, &url, "");
    let details = "no engine".to_owned();
    let not_ready = Service::NotReady { url, details };
    assert_found(
        &network::service(&not_ready),
        Problem,
        "no engine",
        "engine",
    );
    let down = |taken: Option<&str>| Service::Down {
        reason: "no answer: refused; is it up?".to_owned(),
        taken: taken.map(str::to_owned),
    };
    assert_found(
        &network::service(&down(None)),
        Problem,
        "no answer: refused",
        "./up -d",
    );
    let taken = network::service(&down(Some("127.0.0.1:4024")));
    assert_found(
        &taken,
        Problem,
        "another program uses 127.0.0.1:4024",
        "COSAGE_LISTEN",
    );
}

fn said(code: &str) -> Answer {
    Answer::Service {
        status: 404,
        code: code.to_owned(),
        details: "it said no; put it right".to_owned(),
    }
}

#[test]
fn a_websocket_gets_through_when_the_service_itself_answers() {
    let found = |answer| {
        network::socket(&WebSocket {
            url: "https://desk.example/".to_owned(),
            answer,
        })
    };
    assert_found(
        &found(said("unknown_stream")),
        Fine,
        "https://desk.example/",
        "",
    );
    assert_found(
        &found(said("websocket_required")),
        Problem,
        "takes away",
        "Upgrade",
    );
    assert_found(
        &found(said("no_such_route")),
        Problem,
        "no_such_route",
        "proxy",
    );
    assert_found(
        &found(said("unknown_host")),
        Problem,
        "said no",
        "put it right",
    );
    assert_found(
        &found(said("origin_not_allowed")),
        Problem,
        "changes the Host header",
        "proxy_set_header Host $http_host",
    );
    assert_found(&found(Answer::Other(502)), Problem, "502", "/stream/");
    assert_found(
        &found(Answer::Nothing("refused".to_owned())),
        Problem,
        "refused",
        "port",
    );
}

#[test]
fn a_stream_that_is_cut_is_told_with_when() {
    let url = "https://desk.example/".to_owned();
    let held = Still::Held { url: url.clone() };
    assert_found(&network::still(&held), Fine, "70 s", "");
    let cut = Still::Cut {
        url,
        after: Duration::from_secs(60),
        reason: "it ended".to_owned(),
    };
    assert_found(
        &network::still(&cut),
        Problem,
        "after 60 s: it ended",
        "proxy_read_timeout",
    );
    let not_tried = Still::NotTried("no app 'tiny'".to_owned());
    assert_found(
        &network::still(&not_tried),
        Problem,
        "no app 'tiny'",
        "--app",
    );
}

#[test]
fn an_origin_may_call_and_connect_or_the_setting_is_named() {
    let origin = "https://sage3.example";
    let found = |allowed: Option<&str>, code: &str| {
        network::preflight(&Preflight {
            origin: origin.to_owned(),
            allowed: Ok(allowed.map(str::to_owned)),
            socket: said(code),
        })
    };
    let setting = "COSAGE_ALLOWED_ORIGINS=https://sage3.example";
    let (through, refused) = ("unknown_stream", "origin_not_allowed");
    assert_found(&found(Some(origin), through), Fine, origin, "");
    assert_found(&found(Some("*"), through), Fine, origin, "");
    assert_found(&found(None, refused), Problem, "neither", setting);
    assert_found(
        &found(Some("https://other.example"), refused),
        Problem,
        "neither",
        setting,
    );
    assert_found(&found(None, through), Problem, "may not call", setting);
    assert_found(
        &found(Some(origin), refused),
        Problem,
        "not connect",
        setting,
    );
    let nothing = Preflight {
        origin: origin.to_owned(),
        allowed: Err("no answer".to_owned()),
        socket: Answer::Nothing(String::new()),
    };
    assert_found(
        &network::preflight(&nothing),
        Problem,
        "no answer",
        "service",
    );
}
