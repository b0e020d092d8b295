//! The command line as its user has it: the program itself, against a service that is a process of
//! its own, on the engine in memory.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail the test they are called by"
)]

#[path = "support/process.rs"]
mod process;

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use process::{PATIENCE, Scene, Service, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

#[tokio::test]
async fn a_service_with_too_few_descriptors_says_so_at_its_start() {
    let mut scene = Scene::simulated();
    let started = async |scene: &Scene| {
        let service = scene.serve().await;
        service.terminate();
        assert!(service.ended().await.success());
        std::fs::read_to_string(scene.path("service.log")).unwrap()
    };
    let warning = "too few file descriptors";
    let log = started(&scene).await;
    assert!(!log.contains(warning), "{log}");
    // Both limits, so that it cannot be raised again.
    scene.launcher = ["sh", "-c", "ulimit -n 128; exec \"$0\" \"$@\""]
        .map(str::to_owned)
        .into();
    let log = started(&scene).await;
    assert!(log.contains(warning) && log.contains("limit=128"), "{log}");
}

/// What a command has said, and how it ended.
struct Said {
    status: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    #[track_caller]
    fn assert(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "{}\n{}", self.out, self.err);
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

/// The program, in a directory without any configuration, and without this process's environment.
fn cosage(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cosage"));
    command
        .current_dir(directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", directory)
        .stdin(Stdio::null());
    command
}

fn said(output: Output) -> Said {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said {
        status: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// A service and the program beside it.
struct Stage {
    service: Service,
    /// Outlives the process that works in it.
    _scene: Scene,
    directory: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        Self::with("", &[]).await
    }

    async fn with(apps: &str, settings: &[(&'static str, &str)]) -> Self {
        let mut scene = Scene::simulated();
        scene.write_catalog(apps);
        for (name, value) in settings {
            scene.set(name, value);
        }
        Self {
            service: scene.serve().await,
            _scene: scene,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = cosage(self.directory.path());
        command
            .args(arguments)
            .env("COSAGE_URL", format!("http://{}", self.service.address));
        command
    }

    fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Said {
        said(self.command(arguments).output().unwrap())
    }
}

#[tokio::test]
async fn apps_are_listed_and_described() {
    let stage = Stage::new().await;
    let list = stage.run(&["apps"]).assert(0);
    assert!(list.out.starts_with("APP "), "{}", list.out);
    assert!(list.out.contains("\nhomely  Homely"), "{}", list.out);
    assert_eq!(list.err, "");
    let catalog = stage.service.get("/api/catalog").await.json;
    assert_eq!(stage.run(&["apps", "--json"]).assert(0).json(), catalog);

    let one = stage.run(&["apps", "tiny"]).assert(0);
    assert!(one.out.contains("NOTE      text"), "{}", one.out);
    let json = stage.run(&["apps", "tiny", "--json"]).assert(0).json();
    assert_eq!(json["name"], "tiny");
    let none = stage.run(&["apps", "tinny"]).assert(3);
    assert!(
        none.err.contains("no app 'tinny' (did you mean 'tiny'?)"),
        "{}",
        none.err
    );
}

#[tokio::test]
async fn a_desktop_is_opened_listed_shown_stopped_and_deleted() {
    let stage = Stage::new().await;
    let page = |uid: &str| format!("http://{}/view/{uid}\n", stage.service.address);
    let opened = stage
        .run(&["open", "tiny", "--name", "wall", "--env", "NOTE=a=b"])
        .assert(0);
    assert_eq!(opened.out, page("wall"));
    assert_eq!(opened.err, "", "progress is for terminals");
    let opened = stage.run(&["open", "tiny", "--json"]).assert(0).json();
    let other = opened["uid"].as_str().unwrap().to_owned();
    assert_eq!(opened["viewer"], page(&other).trim_end());
    assert!(opened["url"].as_str().unwrap().starts_with("/stream/"));

    let names = stage.run(&["ls", "-q"]).assert(0);
    assert_eq!(names.out, format!("{other}\nwall\n"), "the newest first");
    let list = stage.run(&["ls"]).assert(0);
    assert!(list.out.contains("\nwall  "), "{}", list.out);
    assert!(!list.out.contains('\u{1b}'), "no colours in a pipe");
    let all = stage.run(&["ls", "--json"]).assert(0).json();
    assert_eq!(all, stage.service.get("/api/vm").await.json);
    for (arguments, uids) in [
        (&["--search", "tiny wall"][..], json!(["wall"])),
        (
            &["--sort", "uid", "--limit", "1"],
            json!([other.as_str().min("wall")]),
        ),
        (
            &["--status", "active", "--app", "tiny", "-n", "2"],
            json!([other, "wall"]),
        ),
        (&["--status", "asleep"], json!([])),
    ] {
        let listed = stage
            .run(&[&["ls", "--json"], arguments].concat())
            .assert(0);
        let listed = listed.json();
        let listed = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|desktop| &desktop["uid"]);
        assert_eq!(json!(listed.collect::<Vec<_>>()), uids, "{arguments:?}");
    }
    stage.run(&["ls", "--limit", "0"]).assert(2);
    stage.run(&["ls", "--status", "awake"]).assert(2);

    let shown = stage.run(&["show", "wall"]).assert(0);
    assert!(
        shown.out.contains("Status           ready\n"),
        "{}",
        shown.out
    );
    assert!(shown.out.contains(page("wall").trim_end()), "{}", shown.out);
    let shown = stage.run(&["show", "wall", "--json"]).assert(0).json();
    assert_eq!(shown["app"], "tiny");

    let stopped = stage.run(&["stop", "nobody", "wall", &other]).assert(3);
    assert_eq!(stopped.out, format!("wall\n{other}\n"));
    assert!(stopped.err.contains("no desktop is called 'nobody'"));
    assert_eq!(stage.run(&["open", "wall"]).assert(0).out, page("wall"));

    let kept = stage.run(&["rm", "wall"]).assert(2);
    assert!(kept.err.contains("--yes"), "{}", kept.err);
    assert_eq!(stage.run(&["rm", "--yes", "wall"]).assert(0).out, "wall\n");
    let gone = stage.run(&["show", "wall"]).assert(3);
    assert!(
        gone.err.contains("no desktop is called 'wall'"),
        "{}",
        gone.err
    );
}

#[tokio::test]
async fn what_cannot_be_opened_is_said_with_what_was_meant() {
    let apps = r#"
[app.broken]
image = "broken"
[app.broken.stream.vnc]
port = 5900
protocol = "websocket"
"#;
    let stage = Stage::with(apps, &[]).await;
    stage.run(&["open", "tiny", "--name", "lobby"]).assert(0);
    let near = |name: &str| stage.run(&["open", name]).assert(3).err;
    assert!(
        near("tny").contains("did you mean 'tiny'?"),
        "{}",
        near("tny")
    );
    assert!(
        near("loby").contains("did you mean 'lobby'?"),
        "{}",
        near("loby")
    );
    let shown = stage.run(&["show", "loby"]).assert(3).err;
    assert!(shown.contains("did you mean 'lobby'?"), "{shown}");

    let wrong = stage.run(&["open", "tiny", "--env", "NOTES=1"]).assert(2);
    assert!(wrong.err.contains("NOTE"), "{}", wrong.err);
    stage.run(&["open", "tiny", "--env", "NOTE"]).assert(2);
    let taken = stage.run(&["open", "tiny", "--name", "lobby"]).assert(2);
    assert!(taken.err.contains("cosage open lobby"), "{}", taken.err);
    let ignored = stage.run(&["open", "lobby", "--env", "NOTE=1"]).assert(2);
    assert!(ignored.err.contains("there already"), "{}", ignored.err);
    stage.run(&["open", "tiny", "--name", "a/b"]).assert(2);

    let failed = stage.run(&["open", "broken"]).assert(1);
    assert!(
        failed.err.contains("no WebSocket desktops"),
        "{}",
        failed.err
    );
}

#[tokio::test]
async fn logs_are_followed_until_the_desktop_ends() {
    let stage = Stage::new().await;
    stage.run(&["open", "tiny", "--name", "a"]).assert(0);
    stage.run(&["logs", "a"]).assert(0);
    stage.run(&["logs", "a", "-n", "0"]).assert(2);
    let mut follower = stage.command(&["logs", "--follow", "a"]).spawn().unwrap();
    stage.run(&["stop", "a"]).assert(0);
    let status = eventually(PATIENCE, "the follower ends", async || {
        follower.try_wait().unwrap()
    })
    .await;
    // It may have come after the stop, and then there is nothing to follow.
    assert!(matches!(status.code(), Some(0 | 1)), "{status:?}");
    let asleep = stage.run(&["logs", "-f", "a"]).assert(1);
    assert!(asleep.err.contains("not running"), "{}", asleep.err);
}

#[tokio::test]
async fn a_reader_that_is_gone_is_no_failure() {
    let stage = Stage::new().await;
    for arguments in [
        &["apps"][..],
        &["ls", "--json"],
        &["man"],
        &["completions", "zsh"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = stage.command(arguments).stdout(writer).output().unwrap();
        let said = said(output).assert(0);
        assert_eq!(said.err, "", "{arguments:?}");
    }
}

#[test]
fn a_service_that_is_not_there_has_a_status_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], url: &str| {
        let mut command = cosage(directory.path());
        said(
            command
                .args(arguments)
                .env("COSAGE_URL", url)
                .output()
                .unwrap(),
        )
    };
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let url = format!("http://me:secret@{address}");
    for arguments in [
        &["ls"][..],
        &["open", "tiny"],
        &["stop", "a"],
        &["logs", "a"],
    ] {
        let said = run(arguments, &url).assert(4);
        assert!(said.err.contains("cosage serve"), "{}", said.err);
        assert!(!said.err.contains("secret"), "{}", said.err);
    }
    let wrong = run(&["ls"], "127.0.0.1:4024").assert(2);
    assert!(wrong.err.contains("http://127.0.0.1:4024"), "{}", wrong.err);

    let address = answer_always("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 4\r\n\r\noops");
    let other = run(&["ls"], &format!("http://{address}")).assert(4);
    assert!(other.err.contains("502 Bad Gateway"), "{}", other.err);
}

/// Something that answers every connection in the same way and ends it.
fn answer_always(answer: &'static str) -> SocketAddr {
    answer_and(answer, drop)
}

/// The same, with something else to do with the connection behind the answer.
fn answer_and(answer: &'static str, then: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let _ = socket.read(&mut [0; 4096]);
            let _ = socket.write_all(answer.as_bytes());
            then(socket);
        }
    });
    address
}

/// Four bytes of a file of a hundred.
const HALF_A_FILE: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: 100\r\n\r\nhalf";

#[tokio::test]
async fn half_a_file_never_stays() {
    let directory = tempfile::tempdir().unwrap();
    let copy = |address: SocketAddr| {
        let mut command = cosage(directory.path());
        command
            .args(["cp", "a:file", "."])
            .env("COSAGE_URL", format!("http://{address}"))
            .stderr(Stdio::piped());
        command
    };
    let broken = said(copy(answer_always(HALF_A_FILE)).output().unwrap()).assert(1);
    assert!(
        broken.err.contains("the connection broke"),
        "{}",
        broken.err
    );
    assert!(files_in(directory.path()).is_empty());

    // Interrupted while the rest is waited for.
    let (held, connections) = std::sync::mpsc::channel();
    let address = answer_and(HALF_A_FILE, move |socket| held.send(socket).unwrap());
    let mut child = copy(address).spawn().unwrap();
    let _connection = connections.recv().unwrap();
    eventually(PATIENCE, "the copy begins", async || {
        (!files_in(directory.path()).is_empty()).then_some(())
    })
    .await;
    process::send(child.id(), Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(files_in(directory.path()).is_empty());
}

#[test]
fn completions_and_manual_know_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        said(cosage(directory.path()).args(arguments).output().unwrap()).assert(0)
    };
    let commands = [
        "serve",
        "check",
        "apps",
        "open",
        "ls",
        "show",
        "stop",
        "rm",
        "logs",
        "screenshot",
        "cp",
        "images",
        "doctor",
        "completions",
        "man",
    ];
    let help = run(&["--help"]).out;
    assert!(help.contains("Exit status:"), "{help}");
    let scripts = ["bash", "zsh", "fish"].map(|shell| run(&["completions", shell]).out);
    let page = run(&["man"]).out;
    let pages = directory.path().join("man1");
    std::fs::create_dir(&pages).unwrap();
    run(&["man", "--directory", pages.to_str().unwrap()]);
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
        assert!(run(&[command, "--help"]).out.contains("Usage: cosage "));
        for script in &scripts {
            assert!(script.contains(command), "{command}");
        }
        assert!(
            page.contains(&format!("cosage\\-{command}(1)")),
            "{command}"
        );
        assert!(
            pages.join(format!("cosage-{command}.1")).exists(),
            "{command}"
        );
    }
}

#[test]
fn images_are_built_in_the_checkout_beside_the_catalogue() {
    let directory = tempfile::tempdir().unwrap();
    let checkout = directory.path().join("checkout");
    std::fs::create_dir_all(checkout.join("images")).unwrap();
    let catalog = checkout.join("catalog.toml");
    let app = |name: &str, more: &str| {
        format!(
            "[app.{name}]\nimage = \"{name}\"\n{more}\nstream.vnc = {{ port = 5900, protocol = \"rfb\" }}\n"
        )
    };
    let apps = [
        app("ours", "build = \"images/ours\""),
        app("theirs", ""),
        app("odd", "build = \"elsewhere/odd\""),
    ];
    std::fs::write(&catalog, apps.concat()).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = cosage(directory.path());
        command.args(arguments).env("COSAGE_CATALOG", &catalog);
        said(command.output().unwrap())
    };
    let nowhere = run(&["images", "build", "ours"]).assert(1);
    assert!(nowhere.err.contains("checkout"), "{}", nowhere.err);

    let program = checkout.join("images/build");
    std::fs::write(
        &program,
        "#!/bin/sh\necho \"built: $*\"\n[ \"$1\" = ours ]\n",
    )
    .unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let built = run(&["images", "build", "ours"]).assert(0);
    assert_eq!(built.err, "built: ours\n");
    let foreign = run(&["images", "build", "theirs"]).assert(2);
    assert!(
        foreign.err.contains("cosage images pull theirs"),
        "{}",
        foreign.err
    );
    let odd = run(&["images", "build", "odd"]).assert(2);
    assert!(
        odd.err.contains("docker build -t odd elsewhere/odd"),
        "{}",
        odd.err
    );
    let unknown = run(&["images", "build", "our"]).assert(3);
    assert!(
        unknown.err.contains("did you mean 'ours'?"),
        "{}",
        unknown.err
    );
    let own = run(&["images", "pull", "ours"]).assert(2);
    assert!(own.err.contains("cosage images build ours"), "{}", own.err);
}

#[test]
fn images_need_an_engine_that_answers() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = cosage(directory.path());
        command
            .args(arguments)
            .env("DOCKER_HOST", "unix:///nowhere/docker.sock");
        said(command.output().unwrap())
    };
    let none = run(&["images", "ls"]).assert(1);
    assert!(none.err.contains("/nowhere/docker.sock"), "{}", none.err);
    let nothing = run(&["images", "pull"]).assert(0);
    assert!(
        nothing.err.contains("cosage images build"),
        "{}",
        nothing.err
    );
    let wrong = said(
        cosage(directory.path())
            .args(["images", "ls"])
            .env("COSAGE_LISTEN", "nowhere")
            .output()
            .unwrap(),
    );
    assert!(wrong.assert(2).err.contains("COSAGE_LISTEN"));
}

/// The finding of one check.
fn finding<'a>(report: &'a Value, check: &str) -> &'a Value {
    let findings = report["findings"].as_array().unwrap();
    findings
        .iter()
        .find(|finding| finding["check"] == check)
        .unwrap_or_else(|| panic!("nothing about {check}: {report:#}"))
}

#[tokio::test]
async fn the_doctor_looks_at_service_and_websocket() {
    let origin = "https://sage3.example";
    let stage = Stage::with("", &[("COSAGE_ALLOWED_ORIGINS", origin)]).await;
    let report = |arguments: &[&str]| {
        let mut command = stage.command(&["doctor", "--json"]);
        // Its own problems apart: this machine's engine and disks are not what is tested.
        let output = command
            .args(arguments)
            .env("COSAGE_ENGINE", "fake")
            .output();
        said(output.unwrap()).json()
    };
    let fine = report(&["--origin", origin]);
    for check in ["settings", "catalogue", "service", "websocket", "origin"] {
        assert_eq!(finding(&fine, check)["level"], "ok", "{fine:#}");
    }
    let foreign = report(&["--origin", "https://other.example"]);
    let refused = finding(&foreign, "origin");
    assert_eq!(refused["level"], "problem");
    let remedy = refused["remedy"].as_str().unwrap();
    assert!(
        remedy.contains("COSAGE_ALLOWED_ORIGINS=https://other.example"),
        "{remedy}"
    );

    // What a proxy does that knows nothing of WebSockets.
    let address = answer_always("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    let proxied = report(&["--public-url", &format!("http://{address}")]);
    assert_eq!(finding(&proxied, "service")["level"], "ok");
    assert_eq!(finding(&proxied, "websocket")["level"], "problem");
}

#[test]
fn the_doctor_fails_when_there_is_a_problem() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = cosage(directory.path());
        command
            .args(["doctor", "--url", "http://127.0.0.1:1"])
            .args(arguments)
            .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
            .env("COSAGE_LISTEN", taken.local_addr().unwrap().to_string());
        said(command.output().unwrap())
    };
    let report = run(&["--json"]).assert(1).json();
    let engine = finding(&report, "engine");
    assert_eq!(engine["level"], "problem");
    assert!(engine["remedy"].as_str().unwrap().contains("DOCKER_HOST"));
    let service = finding(&report, "service")["summary"].as_str().unwrap();
    assert!(service.contains("another program uses"), "{service}");
    let text = run(&[]).assert(1).out;
    assert!(text.contains("problem  engine "), "{text}");
    assert!(text.contains("→ "), "{text}");

    let wrong = said(
        cosage(directory.path())
            .args(["doctor", "--json", "--url", "http://127.0.0.1:1"])
            .env("COSAGE_LISTEN", "nowhere")
            .output()
            .unwrap(),
    );
    let report = wrong.assert(1).json();
    assert_eq!(finding(&report, "settings")["level"], "problem");
    assert_eq!(
        report["findings"].as_array().unwrap().len(),
        2,
        "{report:#}"
    );
    assert_eq!(finding(&report, "service")["level"], json!("problem"));
}

#[tokio::test]
async fn a_screenshot_is_a_whole_file_of_the_kind_its_name_says() {
    let stage = Stage::new().await;
    stage.run(&["open", "tiny", "--name", "a"]).assert(0);
    let path = |name: &str| stage.directory.path().join(name);
    assert_eq!(stage.run(&["screenshot", "a"]).assert(0).out, "a.png\n");
    assert!(
        std::fs::read(path("a.png"))
            .unwrap()
            .starts_with(b"\x89PNG")
    );
    stage
        .run(&["screenshot", "a", "b.jpg", "--width", "16"])
        .assert(0);
    assert!(
        std::fs::read(path("b.jpg"))
            .unwrap()
            .starts_with(b"\xff\xd8")
    );
    let piped = stage.command(&["screenshot", "a", "-"]).output().unwrap();
    assert!(piped.stdout.starts_with(b"\x89PNG"));

    stage
        .run(&["screenshot", "a", "b.jpg", "--width", "1"])
        .assert(2);
    let nowhere = stage.run(&["screenshot", "a", "no/where.png"]).assert(1);
    assert!(
        nowhere.err.contains("no/where.png cannot be written"),
        "{}",
        nowhere.err
    );
    stage.run(&["screenshot", "nobody"]).assert(3);
    assert_eq!(files_in(stage.directory.path()), ["a.png", "b.jpg"]);
}

/// The names in a directory, in order.
fn files_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn files_go_to_a_home_and_come_back() {
    let stage = Stage::new().await;
    stage.run(&["open", "homely", "--name", "a"]).assert(0);
    let here = stage.directory.path();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|byte| (byte % 251) as u8).collect();
    std::fs::write(here.join("big one"), &bytes).unwrap();

    // Under its own name into a directory, under another name, over what is there; also asleep.
    stage.run(&["cp", "big one", "a:"]).assert(0);
    stage.run(&["stop", "a"]).assert(0);
    stage.run(&["cp", "big one", "a:new/"]).assert(0);
    stage.run(&["cp", "big one", "a:new/ä b"]).assert(0);
    for (from, to) in [
        ("a:big one", "x"),
        ("a:new/big one", "y"),
        ("a:new/ä b", "z"),
    ] {
        let said = stage.run(&["cp", from, to]).assert(0);
        assert_eq!((said.out.as_str(), said.err.as_str()), ("", ""));
        assert_eq!(std::fs::read(here.join(to)).unwrap(), bytes, "{from}");
    }

    let mut input = stage
        .command(&["cp", "-", "a:piped"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    input
        .stdin
        .take()
        .unwrap()
        .write_all(b"from a pipe")
        .unwrap();
    said(input.wait_with_output().unwrap()).assert(0);
    assert_eq!(
        stage.run(&["cp", "a:piped", "-"]).assert(0).out,
        "from a pipe"
    );
    assert_eq!(
        files_in(here),
        ["big one", "x", "y", "z"],
        "and nothing half made"
    );
}

#[tokio::test]
async fn directories_go_to_a_home_and_come_back() {
    let stage = Stage::new().await;
    stage.run(&["open", "homely", "--name", "a"]).assert(0);
    let tree = stage.directory.path().join("tree");
    std::fs::create_dir_all(tree.join("deep/empty")).unwrap();
    std::fs::write(tree.join("deep/file"), "inside").unwrap();
    std::fs::write(tree.join("top"), "").unwrap();

    stage.run(&["cp", "tree", "a:"]).assert(0);
    stage.run(&["cp", "a:tree", "back"]).assert(0);
    stage.run(&["cp", "a:", "whole"]).assert(0);
    for root in ["back", "whole/tree"] {
        let root = stage.directory.path().join(root);
        assert_eq!(files_in(&root), ["deep", "top"]);
        assert_eq!(files_in(&root.join("deep")), ["empty", "file"]);
        assert_eq!(
            std::fs::read_to_string(root.join("deep/file")).unwrap(),
            "inside"
        );
    }
    let archive = stage
        .command(&["cp", "a:tree", "-"])
        .output()
        .unwrap()
        .stdout;
    let mut archive = tar::Archive::new(archive.as_slice());
    assert_eq!(archive.entries().unwrap().count(), 5);

    let taken = stage.run(&["cp", "a:tree", "."]).assert(2);
    assert!(taken.err.contains("there already"), "{}", taken.err);
    let file = stage.run(&["cp", "tree", "a:tree/top"]).assert(2);
    assert!(file.err.contains("is a file"), "{}", file.err);
}

#[tokio::test]
async fn every_name_that_linux_allows_survives_a_copy() {
    let long = "x".repeat(255);
    let names: [&[u8]; 16] = [
        b"report.txt",
        b"rep\tort.txt",
        b"rep\nort.txt",
        b"rep\rort.txt",
        b"100%",
        b"%2e%2e",
        b"%09",
        b"a?b#c\\d:e",
        b" spaces ",
        b"-",
        b"--help",
        "caf\u{e9}".as_bytes(),
        "cafe\u{301}".as_bytes(),
        "\u{1f5ce} \u{202e}".as_bytes(),
        b"caf\xe9\xff",
        long.as_bytes(),
    ];
    let stage = Stage::new().await;
    stage.run(&["open", "homely", "--name", "a"]).assert(0);
    let here = stage.directory.path();
    fn name(bytes: &[u8]) -> &OsStr {
        OsStr::from_bytes(bytes)
    }
    std::fs::create_dir(here.join("d")).unwrap();
    for text in names {
        std::fs::write(here.join("d").join(name(text)), text).unwrap();
    }
    stage.run(&["cp", "d", "a:"]).assert(0);
    stage.run(&["cp", "a:d", "back"]).assert(0);
    assert_eq!(
        std::fs::read_dir(here.join("back")).unwrap().count(),
        names.len()
    );
    std::fs::create_dir(here.join("one by one")).unwrap();
    for text in names {
        let at = [b"a:d/", text].concat();
        let (cp, at) = (name(b"cp"), name(&at));
        let printed = stage.command(&[cp, at, name(b"-")]).output().unwrap();
        assert_eq!(printed.stdout, text, "{at:?}");
        let into = stage.command(&[cp, at, name(b"one by one")]).output();
        assert_eq!(into.unwrap().status.code(), Some(0), "{at:?}");
        for copy in ["back", "one by one"] {
            let copy = here.join(copy).join(name(text));
            assert_eq!(std::fs::read(&copy).unwrap(), text, "{copy:?}");
        }
    }
    let dots = stage.run(&["cp", "d/report.txt", "a:d/.."]).assert(2);
    assert!(dots.err.contains("'..'"), "{}", dots.err);
    // What is said of a name orders nothing of a terminal.
    let none = stage.run(&["cp", "a:\u{1b}[31m\nred", "x"]).assert(3);
    assert!(
        !none.err.contains('\u{1b}') && none.err.lines().count() == 1,
        "{:?}",
        none.err
    );
}

#[tokio::test]
async fn a_copy_that_cannot_be_is_said() {
    let stage = Stage::with("", &[("COSAGE_UPLOAD_MAX", "1MiB")]).await;
    stage.run(&["open", "homely", "--name", "a"]).assert(0);
    stage.run(&["open", "tiny", "--name", "b"]).assert(0);
    std::fs::write(stage.directory.path().join("big"), vec![0; 8 << 20]).unwrap();
    let error = |status, from: &str, to: &str| stage.run(&["cp", from, to]).assert(status).err;
    assert!(error(2, "big", "a:").contains("COSAGE_UPLOAD_MAX"));
    assert!(error(3, "a:nothing", ".").contains("no 'nothing' in the home of 'a'"));
    assert!(error(3, "nothing", "a:").contains("nothing cannot be read"));
    assert!(error(3, "nobody:x", ".").contains("nobody"));
    assert!(error(1, "b:x", ".").contains("home"));
    assert!(error(2, "a:x", "b:x").contains("by way of a file"));
    assert!(error(2, "big", "there").contains("UID:PATH"));
    assert!(error(2, "a:../x", ".").contains("'..'"));
    assert!(error(2, "-", "a:").contains("name the file"));
    assert_eq!(files_in(stage.directory.path()), ["big"]);
    assert_eq!(stage.run(&["cp", "a:", "home"]).assert(0).err, "");
    let home = stage.directory.path().join("home");
    assert!(files_in(&home).is_empty(), "no half file there");
}

#[tokio::test]
async fn what_is_not_used_is_listed_and_deleted_only_on_request() {
    let stage = Stage::new().await;
    for name in ["a", "b", "runs"] {
        stage.run(&["open", "homely", "--name", name]).assert(0);
    }
    stage.run(&["stop", "a", "b"]).assert(0);
    let sized = stage.run(&["ls", "--size"]).assert(0).out;
    assert!(sized.lines().next().unwrap().ends_with("SIZE"), "{sized}");
    let shown = stage.run(&["show", "a"]).assert(0).out;
    assert!(shown.contains("Disk use"), "{shown}");

    assert_eq!(stage.run(&["prune"]).assert(0).out, "nothing to delete\n");
    let none = stage.run(&["prune", "--unused", "1h"]).assert(0).out;
    assert_eq!(none, "nothing to delete\n");
    assert!(
        stage
            .run(&["prune", "--unused", "x"])
            .assert(2)
            .err
            .contains("span of time")
    );
    stage.run(&["prune", "--app", "homely"]).assert(2);

    let list = ["prune", "--unused", "0s", "--app", "homely"];
    let listed = stage.run(&list).assert(0).out;
    assert!(
        listed.contains("to delete: 2 desktops and 0 homes"),
        "{listed}"
    );
    assert!(!listed.contains("runs"), "{listed}");
    let json = stage
        .run(&["prune", "--unused", "0s", "--json"])
        .assert(0)
        .json();
    assert_eq!(json[0]["uid"], "a", "{json}");
    assert!(json[0]["disk_use"].is_u64(), "{json}");
    let deleted = stage
        .run(&["prune", "--unused", "0s", "--yes"])
        .assert(0)
        .out;
    assert!(deleted.starts_with("deleted desktop a ("), "{deleted}");
    assert!(
        deleted.contains("\ndeleted: 2 desktops and 0 homes"),
        "{deleted}"
    );
    assert_eq!(stage.run(&["ls", "-q"]).assert(0).out, "runs\n");
}
