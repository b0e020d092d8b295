//! The engine is killed, hangs and comes back. It is one of the test's own, in namespaces of its
//! own for processes, mounts and network, so that nobody else notices and nothing of it is left
//! when the namespaces end.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

#[path = "support/process.rs"]
mod process;

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use process::{PATIENCE, Scene, Service, TINY, assert_error, eventually, run, send, skip, within};
use rustix::process::Signal;

/// How long a call may take while the engine's socket refuses connections.
const REFUSED_BOUND: Duration = Duration::from_secs(5);

/// How long a call may take while the engine takes connections and answers nothing: one read call
/// has 10 s, and the machine may be busy.
const HANGING_BOUND: Duration = Duration::from_secs(20);

/// How long a hanging engine may go unnoticed while nobody asks for anything: a check each 15 s,
/// which waits for 10 s.
const NOTICED_BOUND: Duration = Duration::from_secs(40);

/// The image of the tiny desktop, handed from one engine to the other.
const LOAD: &str = "docker save \"$1\" | docker --host \"$2\" load";

#[tokio::test]
async fn the_engine_is_killed_and_hangs_and_everything_recovers() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let Some(mut engine) = Engine::start(&mut scene).await else {
        return;
    };
    let service = scene.serve().await;
    killed(&scene, &service, &mut engine).await;
    hanging(&scene, &service, &engine).await;
    in_order(&scene, &service).await;
}

async fn killed(scene: &Scene, service: &Service, engine: &mut Engine) {
    let seen_url = service.ensure("seen", "tiny").await;
    let mut viewer = service.see(&seen_url).await;
    let other_url = service.ensure("other", "homely").await;
    engine.kill();

    let refused = service.post("new", r#"{"vm": "homely"}"#);
    let refused = within(REFUSED_BOUND, "a start is refused", refused).await;
    assert_error(&refused, 503, "engine_unavailable");
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    let stopped = within(REFUSED_BOUND, "a stop is put off", service.delete("other")).await;
    assert_error(&stopped, 503, "engine_unavailable");
    assert_outage_is_shown(service, REFUSED_BOUND).await;

    // What is known is answered, and whoever looks goes on looking: the desktops live on.
    assert_eq!(service.get("/api/vm/seen").await.json["status"], "ready");
    let ws = service.get("/api/vm/ws/seen").await;
    assert_eq!(ws.json["url"], seen_url.as_str());
    assert_eq!(service.get("/api/catalog").await.status, 200);
    assert_eq!(
        service.post("seen", "{}").await.json["url"],
        seen_url.as_str()
    );
    viewer.see().await;
    drop(service.see(&seen_url).await);
    assert_eq!(service.get("/api/vm/new").await.status, 404);

    engine.run().await;
    service.wait_until_ready().await;
    // An engine that comes back ends the containers of its earlier life.
    assert!(viewer.closed().await.is_some(), "the viewer is told");
    service
        .until("other", "the stop that was delayed is done", |desktop| {
            desktop["status"] == "asleep"
        })
        .await;
    let again = service.ensure("seen", "tiny").await;
    drop(service.see(&again).await);
    assert_ne!(other_url, again);
    in_order(scene, service).await;
}

async fn hanging(scene: &Scene, service: &Service, engine: &Engine) {
    let url = service.ensure("seen", "tiny").await;
    service.ensure("other", "homely").await;
    let mut viewer = service.see(&url).await;

    // A moment is waited for.
    engine.signal(Signal::STOP);
    let (reply, ()) = futures_util::join!(service.post("brief", r#"{"vm": "tiny"}"#), async {
        service
            .until("brief", "the start waits", |desktop| {
                desktop["status"] == "starting"
            })
            .await;
        engine.signal(Signal::CONT);
    });
    assert_eq!(reply.status, 200, "{reply:?}");
    drop(service.see(reply.json["url"].as_str().unwrap()).await);

    // More than that is an error, soon enough for a person.
    engine.signal(Signal::STOP);
    let calls = async {
        futures_util::join!(
            service.post("new-tiny", r#"{"vm": "tiny"}"#),
            service.post("new-homely", r#"{"vm": "homely"}"#),
            service.delete("other"),
        )
    };
    let (without_home, with_home, stopped) =
        within(HANGING_BOUND, "all three calls are refused", calls).await;
    for reply in [&without_home, &with_home, &stopped] {
        assert_error(reply, 503, "engine_unavailable");
        assert!(reply.headers.contains_key("retry-after"), "{reply:?}");
    }
    assert_outage_is_shown(service, NOTICED_BOUND).await;
    assert_eq!(service.get("/api/vm/seen").await.json["status"], "ready");
    viewer.see().await;

    engine.signal(Signal::CONT);
    service.wait_until_ready().await;
    viewer.see().await;
    assert_eq!(
        service.get("/api/vm/ws/seen").await.json["url"],
        url.as_str()
    );
    service
        .until("other", "the stop that was delayed is done", |desktop| {
            desktop["status"] == "asleep"
        })
        .await;
    let again = service.ensure("new-tiny", "tiny").await;
    drop(service.see(&again).await);
    in_order(scene, service).await;
}

async fn assert_outage_is_shown(service: &Service, bound: Duration) {
    assert_eq!(service.get("/healthz").await.status, 200);
    let shown = eventually(bound, "the outage is shown", async || {
        let reply = service.get("/readyz").await;
        (reply.status != 200).then_some(reply)
    })
    .await;
    assert_error(&shown, 503, "engine_unavailable");
}

/// Every container runs and is a ready desktop's, and every volume is a known desktop's.
async fn in_order(scene: &Scene, service: &Service) {
    eventually(PATIENCE, "nothing is orphaned", async || {
        let containers = scene.containers();
        let contained: Vec<&str> = containers.iter().map(|c| c.uid.as_str()).collect();
        let listed = service.get("/api/vm/list").await.json;
        let running = containers
            .iter()
            .all(|container| container.state == "running");
        (running && listed == serde_json::json!(contained)).then_some(())
    })
    .await;
    for volume in scene.volumes() {
        let uid = volume.strip_prefix(&scene.container_name("")).unwrap();
        let known = service.get(&format!("/api/vm/{uid}")).await;
        assert_eq!(known.status, 200, "{volume} belongs to nobody");
    }
}

/// A Docker Engine in namespaces of its own. All of them end with the holder, and so does every
/// process, mount and network device in them.
struct Engine {
    holder: Child,
    enter: Vec<String>,
    directory: String,
    socket: String,
    cgroup: String,
    containerd: Option<Member>,
    dockerd: Option<Member>,
}

/// A process in the namespaces, below the one that entered them for it.
struct Member(Child);

impl Member {
    fn pid(&self) -> u32 {
        only_child(self.0.id()).unwrap()
    }

    fn kill(mut self) {
        send(self.pid(), Signal::KILL);
        self.0.wait().unwrap();
    }
}

impl Engine {
    /// Makes the namespaces, lets the service of `scene` run in that network, and starts the
    /// engine with the tiny desktop's image. `None`, loudly, where the rights or programs for it
    /// are missing.
    async fn start(scene: &mut Scene) -> Option<Self> {
        for program in [
            "dockerd",
            "containerd",
            "ip",
            "nsenter",
            "unshare",
            "setpriv",
        ] {
            if !run(Command::new("sh").args(["-c", "command -v \"$1\"", "sh", program])).0 {
                skip(&format!(
                    "{program} is not there, for an engine of the test's own"
                ));
                return None;
            }
        }
        if !rustix::process::geteuid().is_root() {
            skip("only root can start an engine of the test's own");
            return None;
        }
        let directory = scene.path("engine");
        std::fs::create_dir(&directory).unwrap();
        // The shell reaps whatever is left without a parent. It ends with this thread, however that ends.
        let holder = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--fork", "--kill-child"])
            .args(["--net", "--mount", "--pid", "--mount-proc"])
            .args(["sh", "-c", "sleep infinity & wait"])
            .stdin(Stdio::null())
            .stderr(log_in(&directory))
            .spawn()
            .unwrap();
        let inside = eventually(PATIENCE, "the namespaces are there", async || {
            let pid = only_child(holder.id())?;
            // It is the shell only when everything before it is done.
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            line.starts_with(b"sh\0").then(|| pid.to_string())
        })
        .await;
        let words = ["nsenter", "--target", &inside, "--net", "--mount", "--pid"];
        let mut engine = Self {
            holder,
            enter: words.map(str::to_owned).into(),
            directory,
            socket: scene.path("engine/docker.sock"),
            cgroup: scene.name.clone(),
            containerd: None,
            dockerd: None,
        };
        engine.connect(scene, &inside);
        scene.docker_host = Some(format!("unix://{}", engine.socket));
        engine.run().await;
        let line = ["-c", LOAD, "sh", TINY, scene.docker_host.as_ref().unwrap()];
        let (loaded, complaint) = run(Command::new("sh").args(line));
        assert!(loaded, "{complaint}");
        Some(engine)
    }

    /// A cable into the engine's network, at whose far end the service runs and listens. The addresses
    /// are of the network that RFC 2544 keeps for tests, chosen by the process's number.
    fn connect(&self, scene: &mut Scene, inside: &str) {
        let number = std::process::id() % (1 << 15);
        let [high, low] = u16::try_from(4 * (number % (1 << 14)))
            .unwrap()
            .to_be_bytes();
        let net = 18 + u8::try_from(number >> 14).unwrap();
        let address = |host| format!("198.{net}.{high}.{}", low + host);
        let (near, far) = (format!("cs{number}a"), format!("cs{number}b"));
        let mut script = String::new();
        for (line, enter) in [
            (
                format!("ip link add {near} type veth peer name {far} netns {inside}"),
                false,
            ),
            (format!("ip addr add {}/30 dev {near}", address(1)), false),
            (format!("ip link set {near} up"), false),
            ("ip link set lo up".to_owned(), true),
            (format!("ip addr add {}/30 dev {far}", address(2)), true),
            (format!("ip link set {far} up"), true),
        ] {
            let prefix = if enter {
                format!("nsenter --target {inside} --net ")
            } else {
                String::new()
            };
            writeln!(script, "{prefix}{line}").unwrap();
        }
        let (connected, complaint) = run(Command::new("sh").args(["-e", "-c", &script]));
        assert!(connected, "{complaint}");
        scene.address = format!("{}:4024", address(2)).parse().unwrap();
        scene.stream_address = format!("{}:4033", address(2)).parse().unwrap();
        scene.launcher = ["nsenter", "--target", inside, "--net"]
            .map(str::to_owned)
            .into();
    }

    /// Starts containerd and dockerd, and waits until they answer.
    async fn run(&mut self) {
        let directory = &self.directory;
        let path = |name: &str| format!("{directory}/{name}");
        let configuration = format!(
            "version = 2\nroot = '{}'\nstate = '{}'\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n[grpc]\naddress = '{}'\n",
            path("containerd"),
            path("containerd-state"),
            path("containerd.sock"),
        );
        std::fs::write(path("containerd.toml"), configuration).unwrap();
        // The machine's own configuration is none of this engine's business.
        std::fs::write(path("daemon.json"), "{}").unwrap();
        // What was killed could not remove them, and a new process may get the old one's number.
        let _ = std::fs::remove_file(path("docker.pid"));
        let _ = std::fs::remove_file(path("containerd.sock"));
        self.containerd = Some(self.member(&["containerd", "--config", &path("containerd.toml")]));
        eventually(PATIENCE, "containerd listens", async || {
            Path::new(&path("containerd.sock")).exists().then_some(())
        })
        .await;
        self.dockerd = Some(self.member(&[
            "dockerd",
            "--config-file",
            &path("daemon.json"),
            "--containerd",
            &path("containerd.sock"),
            "--data-root",
            &path("data"),
            "--exec-root",
            &path("exec"),
            "--pidfile",
            &path("docker.pid"),
            "--host",
            &format!("unix://{}", self.socket),
            "--cgroup-parent",
            &self.cgroup,
            "--bridge",
            "none",
        ]));
        eventually(PATIENCE, "the engine answers", async || {
            let host = format!("unix://{}", self.socket);
            let (answers, _) = run(Command::new("docker").args(["--host", &host, "version"]));
            answers.then_some(())
        })
        .await;
    }

    fn member(&self, line: &[&str]) -> Member {
        let log = log_in(&self.directory);
        let child = Command::new(&self.enter[0])
            .args(&self.enter[1..])
            .args(line)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Member(child)
    }

    /// Kills the engine, not its containers.
    fn kill(&mut self) {
        self.dockerd.take().unwrap().kill();
        self.containerd.take().unwrap().kill();
    }

    /// To dockerd, and to the process that waits for it, which stops and goes on with it.
    fn signal(&self, signal: Signal) {
        let dockerd = self.dockerd.as_ref().unwrap();
        let pid = dockerd.pid();
        send(dockerd.0.id(), signal);
        send(pid, signal);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(format!("{}/log", self.directory));
            eprintln!("the engine's log:\n{}", log.unwrap_or_default());
        }
        // First those that entered the namespaces, because one that was stopped with its engine reaps nothing,
        // and the namespaces end only when all in them is reaped.
        for mut member in [self.dockerd.take(), self.containerd.take()]
            .into_iter()
            .flatten()
        {
            let _ = member.0.kill();
            let _ = member.0.wait();
        }
        // Their first process takes all others with it.
        if let Some(pid) = only_child(self.holder.id()) {
            send(pid, Signal::KILL);
        }
        let _ = self.holder.wait();
        // Control groups outlive their processes, and can be removed when those are gone.
        let groups = "for try in 1 2 3 4 5; do find /sys/fs/cgroup -depth -type d -path \"*/$1*\" -exec rmdir {} + && exit; sleep 0.2; done";
        let _ = run(Command::new("sh").args(["-c", groups, "sh", &self.cgroup]));
    }
}

fn log_in(directory: &str) -> File {
    let mut options = File::options();
    let log = options.create(true).append(true);
    log.open(format!("{directory}/log")).unwrap()
}

/// The child of a process that has one.
fn only_child(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}
