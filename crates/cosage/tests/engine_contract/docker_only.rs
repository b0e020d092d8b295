//! What only Docker can get wrong.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cosage::desktop::Uid;
use cosage::engine::docker::{Docker, DockerSettings, Reach};
use cosage::engine::{
    Engine, EngineError, EngineEvent, Exit, Found, Instance, LaunchSpec, Limits, PullPolicy,
    Sandbox,
};
use futures_util::{FutureExt, StreamExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::docker::{DockerFixture, TINY, docker, fixture, succeeds};
use super::{Fixture, KILLED, Remotes, container, container_mut, eventually, look, run, start};

macro_rules! docker_tests {
    ($($test:ident,)*) => {
        mod on_docker {
            $(#[tokio::test]
            async fn $test() {
                if let Some(fixture) = super::fixture().await {
                    super::run(fixture.clone(), super::$test(fixture)).await;
                }
            })*
        }
    };
}

docker_tests! {
    neighbours_containers_and_volumes_are_never_touched,
    desktops_cannot_reach_each_other,
    a_desktop_is_confined,
    a_published_port_is_on_loopback_only,
    files_stay_and_anonymous_volumes_go,
    an_instance_that_cannot_be_reached_runs_on_until_it_is_asked_to_end,
    an_end_for_want_of_memory_is_told,
    an_app_that_ends_at_once_leaves_its_last_words,
    an_app_that_saves_when_it_is_stopped_has_its_grace,
    a_removed_network_is_made_again,
    two_services_make_one_network,
    a_lost_connection_comes_back,
    an_image_that_cannot_be_pulled_is_missing,
    a_service_in_a_container_joins_its_desktops,
}

async fn neighbours_containers_and_volumes_are_never_touched(subject: Arc<DockerFixture>) {
    let engine = subject.engine();
    let uid = Uid::random();
    let spec = subject.desktop(&uid);
    subject.take_name(&spec).await;
    let mark = format!("cosage.contract={}", subject.run);
    let uid_label = format!("cosage.uid={uid}");
    let volume = container(&spec).name.clone();
    docker(&[
        "volume", "create", "--label", &mark, "--label", &uid_label, &volume,
    ])
    .await;

    assert_eq!(engine.list().await, Ok(vec![]));
    assert_eq!(engine.stop(&spec.instance, Duration::ZERO).await, Ok(()));
    assert_eq!(engine.homes().unwrap().delete(&uid).await, Ok(()));
    let error = engine
        .start(&spec, &CancellationToken::new(), &|_| {})
        .await;
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("does not belong") && text.contains(&volume),
        "{text}"
    );
    assert!(subject.name_is_taken(&spec).await);
    assert!(succeeds(&["volume", "inspect", &volume]).await);
}

async fn desktops_cannot_reach_each_other(subject: Arc<DockerFixture>) {
    let engine = subject.engine();
    let one = start(&*engine, &subject.desktop(&Uid::random())).await;
    let other = start(&*engine, &subject.desktop(&Uid::random())).await;
    look(&other).await;
    let id = subject.id(&one.id).await;
    let dial = |address: String| {
        let id = id.clone();
        async move {
            let script = format!("exec 3<>/dev/tcp/{address}");
            succeeds(&["exec", &id, "timeout", "2", "bash", "-c", &script]).await
        }
    };
    let other = other.endpoints["vnc"].address;
    // The test can fail: the same dial reaches the desktop's own port.
    assert!(dial("127.0.0.1/5900".to_owned()).await);
    assert!(!dial(format!("{}/{}", other.ip(), other.port())).await);
}

async fn a_desktop_is_confined(subject: Arc<DockerFixture>) {
    let engine = subject.engine();
    let status = "grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; sleep 600";
    let mut spec = subject.script(&Uid::random(), status);
    for (sandbox, capabilities) in [
        (Sandbox::UserNamespaces, 0),
        // Docker's default set without NET_RAW and MKNOD.
        (Sandbox::EngineDefault, 0xa004_05fb_u64),
    ] {
        container_mut(&mut spec).sandbox = sandbox;
        spec.instance = cosage::engine::InstanceId::random();
        let instance = start(&*engine, &spec).await;
        let expected = format!("CapBnd:\t{capabilities:016x}\nNoNewPrivs:\t1\nSeccomp:\t2\n");
        eventually(async || {
            let logs = engine.logs().unwrap().last(&instance.id, 10).await.unwrap();
            assert!(logs.len() < expected.len() || logs == expected, "{logs}");
            logs == expected
        })
        .await;
        let limits = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.PidsLimit}} {{.HostConfig.ShmSize}} {{.HostConfig.RestartPolicy.Name}} {{.Config.Hostname}} {{index .HostConfig.LogConfig.Config \"max-size\"}}";
        assert_eq!(
            subject.inspect(&instance.id, limits).await,
            "268435456 268435456 256 16777216 no tiny 1m"
        );
        // The password is no label, because those show in every list.
        let labels = subject
            .inspect(&instance.id, "{{json .Config.Labels}}")
            .await;
        assert!(!labels.contains(instance.password.unwrap().reveal()));
    }
}

async fn a_published_port_is_on_loopback_only(subject: Arc<DockerFixture>) {
    let settings = DockerSettings {
        reach: Reach::Published,
        ..subject.settings()
    };
    let engine = subject.connect(settings.clone());
    let instance = start(&engine, &subject.desktop(&Uid::random())).await;
    let address = instance.endpoints["vnc"].address;
    assert!(address.ip().is_loopback());
    look(&instance).await;
    let id = subject.id(&instance.id).await;
    assert_eq!(
        docker(&["port", &id]).await,
        format!("5900/tcp -> 127.0.0.1:{}", address.port())
    );
    for own in own_addresses().await {
        let dial = TcpStream::connect((own, address.port())).await;
        assert!(dial.is_err(), "{own}:{} answers", address.port());
    }
    let restarted = subject.connect(settings);
    assert_eq!(restarted.list().await, Ok(vec![Found::Running(instance)]));
}

/// This host's addresses that others can use.
async fn own_addresses() -> Vec<IpAddr> {
    let output = tokio::process::Command::new("hostname")
        .arg("--all-ip-addresses")
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace()
        .map(|address| address.parse().unwrap())
        .collect()
}

async fn files_stay_and_anonymous_volumes_go(subject: Arc<DockerFixture>) {
    let engine = subject.engine();
    let uid = Uid::random();
    let script = "cat mark; echo kept > mark; echo written; sleep 600";
    for expected in ["written\n", "kept\nwritten\n"] {
        let script = format!("cd /home/desktop; {script} 2>/dev/null");
        let script = script.replace("cat mark", "cat mark 2>/dev/null");
        let instance = start(&*engine, &subject.script(&uid, &script)).await;
        eventually(async || {
            engine.logs().unwrap().last(&instance.id, 10).await.unwrap() == expected
        })
        .await;
        let mounts = "{{range .Mounts}}{{.Destination}} {{.Name}}\n{{end}}";
        let mounts = subject.inspect(&instance.id, mounts).await;
        let anonymous = mounts
            .lines()
            .find_map(|line| line.strip_prefix("/anonymous "))
            .unwrap();
        assert!(succeeds(&["volume", "inspect", anonymous]).await);
        engine.stop(&instance.id, Duration::ZERO).await.unwrap();
        assert!(!succeeds(&["volume", "inspect", anonymous]).await);
        assert!(subject.has_home(&uid).await);
    }
}

async fn an_instance_that_cannot_be_reached_runs_on_until_it_is_asked_to_end(
    subject: Arc<DockerFixture>,
) {
    let uid = Uid::random();
    let instance = start(&*subject.engine(), &subject.desktop(&uid)).await;
    look(&instance).await;
    // It was started without a published port.
    let after = subject.connect(DockerSettings {
        reach: Reach::Published,
        ..subject.settings()
    });
    let mut events = after.events();
    assert_eq!(events.next().await, Some(EngineEvent::Connected));
    let id = instance.id.clone();
    let uid = Some(uid);
    assert_eq!(after.list().await, Ok(vec![Found::Unusable { id, uid }]));
    assert_eq!(after.exit(&instance.id).await, Ok(None));
    let grace = Duration::from_secs(10);
    assert_eq!(after.stop(&instance.id, grace).await, Ok(()));
    let Some(EngineEvent::Exited(ended, exit)) = events.next().await else {
        panic!("it did not end");
    };
    assert_eq!(ended, instance.id);
    assert_ne!(exit.code, Some(KILLED), "it was killed");
}

async fn an_end_for_want_of_memory_is_told(subject: Arc<DockerFixture>) {
    let engine = subject.engine();
    let mut events = engine.events();
    assert_eq!(events.next().await, Some(EngineEvent::Connected));
    let mut spec = subject.script(&Uid::random(), "sleep 0.3; exec tail /dev/zero");
    container_mut(&mut spec).limits = Limits {
        memory: Some(32 << 20),
        ..container(&spec).limits.clone()
    };
    let instance = start(&*engine, &spec).await;
    let exit = Exit {
        code: Some(137),
        out_of_memory: true,
    };
    assert_eq!(
        events.next().await,
        Some(EngineEvent::Exited(instance.id.clone(), exit))
    );
    assert_eq!(engine.exit(&instance.id).await, Ok(Some(exit)));
}

async fn an_app_that_ends_at_once_leaves_its_last_words(subject: Arc<DockerFixture>) {
    let engine = subject.engine();
    let spec = subject.script(&Uid::random(), "echo no display; exit 7");
    let exit = Exit {
        code: Some(7),
        out_of_memory: false,
    };
    match engine
        .start(&spec, &CancellationToken::new(), &|_| {})
        .await
    {
        Err(error) => {
            let logs = "no display\n".to_owned();
            assert_eq!(error, EngineError::Exited { exit, logs });
            assert_eq!(engine.list().await, Ok(vec![]));
            assert!(!subject.has_home(&spec.uid).await);
        }
        // It lived long enough to have an address.
        Ok(instance) => {
            eventually(async || engine.exit(&instance.id).await == Ok(Some(exit))).await;
            let logs = engine.logs().unwrap().last(&instance.id, 5).await;
            assert_eq!(logs, Ok("no display\n".to_owned()));
        }
    }
}

async fn an_app_that_saves_when_it_is_stopped_has_its_grace(subject: Arc<DockerFixture>) {
    let engine = subject.engine();
    let uid = Uid::random();
    let save = "trap 'sleep 0.5; echo saved >/home/desktop/mark; exit 0' TERM";
    let spec = subject.script(
        &uid,
        &format!("{save}; echo ready; while :; do sleep 600 & wait $!; done"),
    );
    let instance = start(&*engine, &spec).await;
    eventually(async || {
        engine.logs().unwrap().last(&instance.id, 1).await == Ok("ready\n".to_owned())
    })
    .await;
    assert_eq!(engine.stop(&instance.id, super::PATIENCE).await, Ok(()));
    assert_eq!(subject.in_home(&uid, "cat mark").await, "saved");
}

async fn a_removed_network_is_made_again(subject: Arc<DockerFixture>) {
    let engine = subject.engine();
    let first = start(&*engine, &subject.desktop(&Uid::random())).await;
    engine.stop(&first.id, Duration::ZERO).await.unwrap();
    docker(&["network", "rm", &subject.run]).await;
    let specs = [0, 1].map(|_| subject.desktop(&Uid::random()));
    let (one, other) = tokio::join!(start(&*engine, &specs[0]), start(&*engine, &specs[1]));
    look(&one).await;
    look(&other).await;
}

async fn two_services_make_one_network(subject: Arc<DockerFixture>) {
    let services: Vec<_> = (0..4).map(|_| subject.engine()).collect();
    let specs: Vec<_> = (0..4).map(|_| subject.desktop(&Uid::random())).collect();
    let starts = services.iter().zip(&specs);
    let instances: Vec<Instance> =
        futures_util::future::join_all(starts.map(|(service, spec)| start(&**service, spec))).await;
    for instance in &instances {
        look(instance).await;
    }
    let name = format!("name=^{}$", subject.run);
    let networks = docker(&["network", "ls", "--quiet", "--filter", &name]).await;
    assert_eq!(networks.lines().count(), 1, "{networks}");
}

async fn a_lost_connection_comes_back(subject: Arc<DockerFixture>) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("engine.sock");
    let engine = connect_to(&subject, &socket);
    let mut events = engine.events();

    let forwarder = forward(socket.clone());
    assert_eq!(events.next().await, Some(EngineEvent::Connected));
    let instance = start(&engine, &subject.writer(&Uid::random(), 0)).await;
    forwarder.abort();
    assert!(forwarder.await.unwrap_err().is_cancelled());
    assert!(matches!(
        events.next().await,
        Some(EngineEvent::Disconnected(_))
    ));
    let error = engine.list().await.unwrap_err();
    assert!(matches!(error, EngineError::Unavailable(_)), "{error}");
    subject.end(&instance.id).await;

    // Further attempts come to nothing, and the outage is reported once only.
    std::fs::remove_file(&socket).unwrap();
    let deaf = UnixListener::bind(&socket).unwrap();
    for _ in 0..3 {
        drop(deaf.accept().await.unwrap());
    }
    drop(deaf);
    assert_eq!(events.next().now_or_never(), None);
    std::fs::remove_file(&socket).unwrap();
    let _forwarder = forward(socket);
    assert_eq!(events.next().await, Some(EngineEvent::Connected));
    assert_eq!(
        engine.list().await,
        Ok(vec![Found::Remains(instance.id.clone())])
    );
    let next = start(&engine, &subject.writer(&Uid::random(), 0)).await;
    subject.end(&next.id).await;
    assert!(matches!(
        events.next().await,
        Some(EngineEvent::Exited(id, Exit { code: Some(3), .. })) if id == next.id
    ));
}

/// Passes connections on to the engine until it is aborted, and cuts them then.
fn forward(socket: PathBuf) -> JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            connections.spawn(async move {
                let mut far = UnixStream::connect("/var/run/docker.sock").await.unwrap();
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    })
}

async fn an_image_that_cannot_be_pulled_is_missing(subject: Arc<DockerFixture>) {
    let engine = subject.engine();
    for pull in [PullPolicy::Missing, PullPolicy::Always] {
        let mut spec = subject.desktop(&Uid::random());
        // A registry that refuses connections at once.
        container_mut(&mut spec).image = "127.0.0.1:1/no/such:image".to_owned();
        container_mut(&mut spec).pull = pull;
        let error = engine
            .start(&spec, &CancellationToken::new(), &|_| {})
            .await;
        assert!(
            matches!(error, Err(EngineError::ImageMissing { .. })),
            "{error:?}"
        );
    }
    // What is there is used when the registry does not answer.
    docker(&["tag", TINY, "127.0.0.1:1/no/such:image"]).await;
    let mut spec = subject.desktop(&Uid::random());
    container_mut(&mut spec).image = "127.0.0.1:1/no/such:image".to_owned();
    container_mut(&mut spec).pull = PullPolicy::Always;
    let outcome = engine
        .start(&spec, &CancellationToken::new(), &|_| {})
        .await;
    docker(&["rmi", "127.0.0.1:1/no/such:image"]).await;
    look(&outcome.unwrap()).await;
}

/// Runs this very program in a container, as a service would, with one of the contract's tests.
async fn a_service_in_a_container_joins_its_desktops(subject: Arc<DockerFixture>) {
    let program = std::env::current_exe().unwrap();
    let program = format!("{}:/contract:ro", program.display());
    let path = std::env::var_os("PATH").unwrap();
    let command = std::env::split_paths(&path)
        .map(|directory| directory.join("docker"))
        .find(|command| command.exists())
        .unwrap();
    let command = format!("{}:/usr/bin/docker:ro", command.display());
    let mark = format!("cosage.contract={}", subject.run);
    let output = docker(&[
        "run",
        "--rm",
        "--user",
        "root",
        "--label",
        &mark,
        "--volume",
        "/var/run/docker.sock:/var/run/docker.sock",
        "--volume",
        &program,
        "--volume",
        &command,
        "--env",
        "COSAGE_REQUIRE_DOCKER=1",
        "--entrypoint",
        "/contract",
        TINY,
        "--exact",
        "on_docker::a_restarted_service_finds_the_same_instance",
    ])
    .await;
    assert!(output.contains("1 passed"), "{output}");
}

#[tokio::test]
async fn no_socket_is_said_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let engine = unreachable_engine(&directory.path().join("absent.sock"));
    let text = engine.list().await.unwrap_err().to_string();
    assert!(
        text.contains("absent.sock") && text.contains("DOCKER_HOST"),
        "{text}"
    );

    // A file that nobody listens on: what a stopped engine leaves.
    let stale = directory.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let text = unreachable_engine(&stale).list().await.unwrap_err();
    assert!(text.to_string().contains("nobody listens"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_makes_nobody_wait_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("hung.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    });
    let engine = unreachable_engine(&socket);
    let nobody = cosage::engine::InstanceId::random();
    let spec = unreachable_desktop();
    let asked = tokio::time::Instant::now();
    let cancel = CancellationToken::new();
    let errors = [
        engine.list().await.err(),
        engine.stop(&nobody, Duration::from_secs(5)).await.err(),
        engine.logs().unwrap().last(&nobody, 1).await.err(),
        engine.exit(&nobody).await.err(),
        engine.homes().unwrap().delete(&spec.uid).await.err(),
        engine.start(&spec, &cancel, &|_| {}).await.err(),
    ];
    for error in errors {
        assert!(
            matches!(error, Some(EngineError::Unavailable(_))),
            "{error:?}"
        );
    }
    assert!(asked.elapsed() <= Duration::from_secs(6 * 10 + 5));
}

fn unreachable_engine(socket: &std::path::Path) -> Docker {
    let nobody = DockerFixture {
        run: "cosage-contract-unreachable".to_owned(),
        remotes: Remotes::Without,
    };
    connect_to(&nobody, socket)
}

fn unreachable_desktop() -> LaunchSpec {
    DockerFixture {
        run: "cosage-contract-unreachable".to_owned(),
        remotes: Remotes::Without,
    }
    .desktop(&Uid::random())
}

pub(super) fn connect_to(subject: &DockerFixture, socket: &std::path::Path) -> Docker {
    subject.connect(DockerSettings {
        host: Some(format!("unix://{}", socket.display())),
        ..subject.settings()
    })
}
