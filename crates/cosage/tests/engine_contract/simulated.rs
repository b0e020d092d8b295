//! The simulated engine under the contract, and what only it has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cosage::desktop::{Environment, Uid};
use cosage::engine::simulated::{COLOUR, HEIGHT, WIDTH};
use cosage::engine::{
    ContainerSpec, Engine, EngineError, EngineEvent, Exit, InstanceId, LaunchSpec, Limits,
    Presence, Protocol, PullPolicy, Sandbox, StartStep, StreamSpec, VncPassword,
};
use futures_util::StreamExt;
use rfb::client::{Client, Sharing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::bare::Bare;
use super::engine::{Power, TestEngine};
use super::{Fixture, Remotes, Subject, spec_for, start};

struct SimulatedFixture {
    engine: TestEngine,
    remotes: Remotes,
    /// Whether the engine shows what only some can do.
    capabilities: bool,
}

pub(super) fn fixture() -> Subject {
    fixture_of(Remotes::Without, true)
}

/// As the service has its engine.
pub(super) fn with_remotes() -> Subject {
    fixture_of(Remotes::With, true)
}

/// With none of the capabilities.
pub(super) fn bare() -> Subject {
    fixture_of(Remotes::With, false)
}

fn fixture_of(remotes: Remotes, capabilities: bool) -> Subject {
    Arc::new(SimulatedFixture {
        engine: TestEngine::new(),
        remotes,
        capabilities,
    })
}

fn spec(uid: &Uid, protocol: Protocol) -> LaunchSpec {
    let stream = StreamSpec {
        port: 5900,
        protocol,
        path: String::new(),
        presence: Presence::Viewer,
    };
    spec_for(
        uid,
        ContainerSpec {
            name: format!("simulated-{uid}"),
            image: "tiny".to_owned(),
            pull: PullPolicy::Never,
            image_hint: "build it with images/build".to_owned(),
            environment: Environment::default(),
            password: Some(VncPassword::random()),
            streams: BTreeMap::from([("vnc".to_owned(), stream)]),
            limits: Limits {
                milli_cpus: None,
                memory: None,
                shared_memory: 1 << 20,
                processes: 100,
            },
            sandbox: Sandbox::EngineDefault,
            home: Some("/home/desktop".to_owned()),
            stop_grace: Duration::from_secs(5),
            extra_hosts: Vec::new(),
            gpu: false,
        },
    )
}

#[async_trait]
impl Fixture for SimulatedFixture {
    fn engine(&self) -> Arc<dyn Engine> {
        let engine = Arc::new(self.engine.clone());
        if self.capabilities {
            self.remotes.beside(engine)
        } else {
            self.remotes.beside(Arc::new(Bare(engine)))
        }
    }

    fn desktop(&self, uid: &Uid) -> LaunchSpec {
        spec(uid, Protocol::Rfb)
    }

    fn writer(&self, uid: &Uid, _lines: usize) -> LaunchSpec {
        spec(uid, Protocol::Tcp)
    }

    fn write(&self, instance: &InstanceId, lines: usize) {
        for line in 1..=lines {
            self.engine.write_log(instance, &format!("line {line}\n"));
        }
    }

    fn stubborn(&self, uid: &Uid) -> LaunchSpec {
        self.engine.set_stop_delay(Duration::from_secs(600));
        spec(uid, Protocol::Tcp)
    }

    fn slow_down(&self) {
        self.engine.set_start_steps([StartStep::Queued]);
        self.engine.set_start_delay(Duration::from_millis(200));
    }

    fn queue_starts(&self) {
        self.engine.set_start_steps([StartStep::Queued]);
    }

    fn lose_image(&self, spec: &mut LaunchSpec) {
        self.engine.lose_image(&super::container(spec).image);
    }

    async fn take_name(&self, spec: &LaunchSpec) {
        self.engine.take_name(&super::container(spec).name);
    }

    async fn name_is_taken(&self, spec: &LaunchSpec) -> bool {
        let error = self
            .engine
            .start(spec, &CancellationToken::new(), &|_| {})
            .await;
        matches!(error, Err(EngineError::NameTaken { .. }))
    }

    async fn end(&self, instance: &InstanceId) {
        let exit = Exit {
            code: Some(3),
            out_of_memory: false,
        };
        self.engine.write_log(instance, "the end\n");
        self.engine.end(instance, exit);
    }

    async fn has_home(&self, uid: &Uid) -> bool {
        self.engine.has_home(uid)
    }

    async fn in_home(&self, uid: &Uid, script: &str) -> String {
        let shell = Command::new("sh")
            .args(["-c", script])
            .current_dir(self.engine.home(uid).unwrap())
            .output()
            .await
            .unwrap();
        assert!(shell.status.success(), "{shell:?}");
        String::from_utf8(shell.stdout).unwrap()
    }

    async fn clean_up(&self) {}
}

#[tokio::test]
async fn the_picture_is_of_one_colour_and_needs_the_password() {
    let engine = TestEngine::new();
    let instance = start(&engine, &spec(&Uid::random(), Protocol::Rfb)).await;
    let address = instance.endpoints["vnc"].address;
    let password = instance.password.unwrap();

    let stream = TcpStream::connect(address).await.unwrap();
    let mut client = Client::start(stream, Some(password.reveal()), Sharing::Shared)
        .await
        .unwrap();
    client.full_picture().await.unwrap();
    assert_eq!(client.size(), (WIDTH, HEIGHT));
    let pixels = client.pixels();
    assert_eq!(pixels.len(), usize::from(WIDTH) * usize::from(HEIGHT) * 4);
    let [red, green, blue] = COLOUR;
    for pixel in pixels.as_chunks::<4>().0 {
        assert_eq!(pixel[..3], [blue, green, red]);
    }

    for wrong in [Some("wrong"), None] {
        let stream = TcpStream::connect(address).await.unwrap();
        let outcome = Client::start(stream, wrong, Sharing::Shared).await;
        assert!(outcome.is_err());
    }
}

#[tokio::test]
async fn a_raw_stream_is_an_echo_that_ends_with_its_instance() {
    let engine = TestEngine::new();
    let instance = start(&engine, &spec(&Uid::random(), Protocol::Tcp)).await;
    let mut stream = TcpStream::connect(instance.endpoints["vnc"].address)
        .await
        .unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"hello");
    engine.stop(&instance.id, Duration::ZERO).await.unwrap();
    assert!(!matches!(stream.read(&mut answer).await, Ok(1..)));
}

#[tokio::test]
async fn a_power_cut_is_reported_and_keeps_instances() {
    let engine = TestEngine::new();
    let mut events = engine.events();
    let instance = start(&engine, &spec(&Uid::random(), Protocol::Rfb)).await;

    engine.set_power(Power::Down);
    assert!(matches!(
        engine.list().await,
        Err(EngineError::Unavailable(_))
    ));
    // What ends meanwhile is not reported, as with any engine that is down.
    engine.end(&instance.id, Exit::default());
    engine.set_power(Power::Up);
    assert_eq!(engine.exit(&instance.id).await, Ok(Some(Exit::default())));

    assert_eq!(events.next().await, Some(EngineEvent::Connected));
    assert!(matches!(
        events.next().await,
        Some(EngineEvent::Disconnected(_))
    ));
    assert_eq!(events.next().await, Some(EngineEvent::Connected));
}

#[tokio::test]
async fn starts_and_stops_fail_on_demand() {
    let engine = TestEngine::new();
    let spec = spec(&Uid::random(), Protocol::Rfb);
    let error = EngineError::OutOfDisk("full".to_owned());
    engine.set_start_error(Some(error.clone()));
    let cancel = CancellationToken::new();
    assert_eq!(
        engine.start(&spec, &cancel, &|_| {}).await,
        Err(error.clone())
    );
    assert_eq!(engine.running(), vec![]);

    engine.set_start_error(None);
    let instance = start(&engine, &spec).await;
    assert_eq!(engine.starts(), 2);
    engine.set_stop_error(Some(error.clone()));
    assert_eq!(engine.stop(&instance.id, Duration::ZERO).await, Err(error));
    assert_eq!(engine.running(), vec![instance.id.clone()]);

    let mut events = engine.events();
    assert_eq!(events.next().await, Some(EngineEvent::Connected));
    engine.remove(&instance.id);
    assert!(matches!(
        events.next().await,
        Some(EngineEvent::Exited(id, _)) if id == instance.id
    ));
    assert_eq!(engine.list().await, Ok(vec![]));
}
