//! Docker under the contract. What the engine itself does not offer, the `docker` command does.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cosage::desktop::{Environment, Uid};
use cosage::engine::docker::{Docker, DockerSettings, Reach};
use cosage::engine::{
    ContainerSpec, Engine, InstanceId, LaunchSpec, Limits, Presence, Protocol, PullPolicy, Sandbox,
    StreamSpec, VncPassword,
};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::{Fixture, Remotes, container, container_mut, spec_for};

/// A `DOCKER_HOST` for the code under test alone, such as a proxy that lets through no more than it needs.
const ENGINE_VARIABLE: &str = "COSAGE_TEST_DOCKER_HOST";

/// The desktop that the images' build makes for tests.
pub(super) const TINY: &str = "cosage/tiny:latest";

/// What does in a container whatever `SCRIPT` says; a thin layer on the tiny desktop.
const SCRIPTED: &str = "cosage/contract-test:latest";

const SCRIPTED_DOCKERFILE: &str = "\
FROM cosage/tiny:latest
USER root
VOLUME /anonymous
ENTRYPOINT [\"/bin/bash\", \"-c\", \"eval \\\"$SCRIPT\\\"\"]
CMD []
";

/// Ends with code 3 when it gets the signal USR1.
const WAIT: &str = "trap 'echo the end; exit 3' USR1; while :; do sleep 600 & wait $!; done";

/// One test's share of the engine: an owner, a prefix of names and a network of its own.
pub(super) struct DockerFixture {
    pub(super) run: String,
    pub(super) remotes: Remotes,
}

/// A fixture, or `None` where there is no engine and none is required.
pub(super) async fn fixture() -> Option<Arc<DockerFixture>> {
    static READY: OnceCell<bool> = OnceCell::const_new();
    let ready = READY.get_or_init(|| async {
        if !succeeds(&["version"]).await {
            assert!(
                std::env::var_os("COSAGE_REQUIRE_DOCKER").is_none(),
                "no container engine answers, and COSAGE_REQUIRE_DOCKER is set"
            );
            eprintln!("SKIPPED: no container engine answers; start one to run the tests on Docker");
            return false;
        }
        assert!(
            succeeds(&["image", "inspect", TINY]).await,
            "image {TINY} is missing; build it with images/build"
        );
        build_scripted().await;
        true
    });
    ready.await.then(|| {
        Arc::new(DockerFixture {
            run: format!("cosage-contract-{}", &Uid::random().as_str()[..8]),
            remotes: Remotes::Without,
        })
    })
}

/// As the service has its engine.
pub(super) async fn with_remotes() -> Option<Arc<DockerFixture>> {
    let fixture = fixture().await?;
    Some(Arc::new(DockerFixture {
        run: fixture.run.clone(),
        remotes: Remotes::With,
    }))
}

async fn build_scripted() {
    let mut build = Command::new("docker")
        .args(["build", "--quiet", "--tag", SCRIPTED, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = build.stdin.take().unwrap();
    input
        .write_all(SCRIPTED_DOCKERFILE.as_bytes())
        .await
        .unwrap();
    drop(input);
    assert!(build.wait().await.unwrap().success());
}

/// What a `docker` command prints, without the last line's end. Panics when it fails.
pub(super) async fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker")
        .args(arguments)
        .output()
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "docker {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

pub(super) async fn succeeds(arguments: &[&str]) -> bool {
    let status = Command::new("docker")
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.await.is_ok_and(|status| status.success())
}

impl DockerFixture {
    pub(super) fn settings(&self) -> DockerSettings {
        DockerSettings {
            host: std::env::var(ENGINE_VARIABLE).ok(),
            certificates: None,
            owner: self.run.clone(),
            network: self.run.clone(),
            reach: Reach::Auto,
            parallel_starts: 4,
            seccomp: include_str!("../../../../images/seccomp.json").to_owned(),
        }
    }

    pub(super) fn connect(&self, settings: DockerSettings) -> Docker {
        Docker::connect(settings).unwrap()
    }

    pub(super) fn container(&self, uid: &Uid, image: &str) -> ContainerSpec {
        let stream = StreamSpec {
            port: 5900,
            protocol: Protocol::Rfb,
            path: String::new(),
            presence: Presence::Viewer,
        };
        ContainerSpec {
            name: format!("{}-{uid}", self.run),
            image: image.to_owned(),
            pull: PullPolicy::Never,
            image_hint: "build it with images/build".to_owned(),
            environment: Environment::default(),
            password: Some(VncPassword::random()),
            streams: BTreeMap::from([("vnc".to_owned(), stream)]),
            limits: Limits {
                milli_cpus: Some(64_000),
                memory: Some(256 << 20),
                shared_memory: 16 << 20,
                processes: 256,
            },
            sandbox: Sandbox::UserNamespaces,
            home: Some("/home/desktop".to_owned()),
            stop_grace: Duration::from_secs(5),
            extra_hosts: vec!["host.docker.internal:host-gateway".to_owned()],
            gpu: true,
        }
    }

    pub(super) fn script(&self, uid: &Uid, script: &str) -> LaunchSpec {
        let mut container = self.container(uid, SCRIPTED);
        container
            .environment
            .0
            .insert("SCRIPT".to_owned(), script.to_owned());
        spec_for(uid, container)
    }

    /// The engine's name for the container of a run.
    pub(super) async fn id(&self, instance: &InstanceId) -> String {
        let filter = format!("label=cosage.instance={instance}");
        docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]).await
    }

    pub(super) async fn inspect(&self, instance: &InstanceId, format: &str) -> String {
        let id = self.id(instance).await;
        docker(&["inspect", "--format", format, &id]).await
    }
}

#[async_trait]
impl Fixture for DockerFixture {
    fn engine(&self) -> Arc<dyn Engine> {
        self.remotes.beside(Arc::new(self.connect(self.settings())))
    }

    fn desktop(&self, uid: &Uid) -> LaunchSpec {
        let mut spec = spec_for(uid, self.container(uid, TINY));
        // The one that belongs to the image's user.
        container_mut(&mut spec).home = Some("/home/user".to_owned());
        spec
    }

    fn writer(&self, uid: &Uid, lines: usize) -> LaunchSpec {
        let script = format!("for ((n = 1; n <= {lines}; n++)); do echo line $n; done; {WAIT}");
        self.script(uid, &script)
    }

    fn write(&self, _instance: &InstanceId, _lines: usize) {}

    fn stubborn(&self, uid: &Uid) -> LaunchSpec {
        self.script(uid, "trap '' TERM; while :; do sleep 600; done")
    }

    /// Starting a container takes long enough.
    fn slow_down(&self) {}

    /// Its settings say so.
    fn queue_starts(&self) {}

    fn lose_image(&self, spec: &mut LaunchSpec) {
        container_mut(spec).image = "cosage/no-such-image:latest".to_owned();
    }

    async fn take_name(&self, spec: &LaunchSpec) {
        let owner = format!("cosage.owner={}-neighbour", self.run);
        let mark = format!("cosage.contract={}", self.run);
        let uid = format!("cosage.uid={}", spec.uid);
        let instance = format!("cosage.instance={}", spec.instance);
        let name = &container(spec).name;
        docker(&[
            "run",
            "--detach",
            "--name",
            name,
            "--label",
            &owner,
            "--label",
            &mark,
            "--label",
            &uid,
            "--label",
            &instance,
            "--env",
            "SCRIPT=sleep 600",
            SCRIPTED,
        ])
        .await;
    }

    async fn name_is_taken(&self, spec: &LaunchSpec) -> bool {
        let name = &container(spec).name;
        docker(&["inspect", "--format", "{{.State.Running}}", name]).await == "true"
    }

    async fn end(&self, instance: &InstanceId) {
        let id = self.id(instance).await;
        // A signal that comes before the trap is set ends it with another code.
        let trap_is_set = "until grep -q 'SigCgt:.*2..$' /proc/1/status; do sleep 0.02; done";
        docker(&["exec", &id, "sh", "-c", trap_is_set]).await;
        docker(&["kill", "--signal", "USR1", &id]).await;
    }

    async fn has_home(&self, uid: &Uid) -> bool {
        let owner = format!("label=cosage.owner={}", self.run);
        let uid = format!("label=cosage.uid={uid}");
        let list = [
            "volume", "ls", "--quiet", "--filter", &owner, "--filter", &uid,
        ];
        !docker(&list).await.is_empty()
    }

    async fn in_home(&self, uid: &Uid, script: &str) -> String {
        let mount = format!("{}-{uid}:/home/user", self.run);
        let run = ["run", "--rm", "--network", "none", "--volume", &mount];
        let shell = [
            "--workdir",
            "/home/user",
            "--entrypoint",
            "sh",
            TINY,
            "-c",
            script,
        ];
        docker(&[&run[..], &shell].concat()).await
    }

    async fn clean_up(&self) {
        let owner = format!("label=cosage.owner={}", self.run);
        let mark = format!("label=cosage.contract={}", self.run);
        for filter in [&owner, &mark] {
            for id in docker(&["ps", "--all", "--quiet", "--filter", filter])
                .await
                .lines()
            {
                docker(&["rm", "--force", "--volumes", id]).await;
            }
            for name in docker(&["volume", "ls", "--quiet", "--filter", filter])
                .await
                .lines()
            {
                docker(&["volume", "rm", name]).await;
            }
        }
        let name = format!("name={}", self.run);
        for id in docker(&["network", "ls", "--quiet", "--filter", &name])
            .await
            .lines()
        {
            // A service that runs in a container is on it, too.
            let attached = "{{range $id, $_ := .Containers}}{{$id}} {{end}}";
            for other in docker(&["network", "inspect", "--format", attached, id])
                .await
                .split_whitespace()
            {
                docker(&["network", "disconnect", "--force", id, other]).await;
            }
            docker(&["network", "rm", id]).await;
        }
    }
}
