//! Names say nothing: whatever callers and operators call their desktops, images and networks, an
//! error of the engine means the same.

use std::time::Duration;

use cosage::desktop::Uid;
use cosage::engine::docker::{Docker, DockerSettings};
use cosage::engine::{Engine, EngineError, InstanceId, LaunchSpec, PullPolicy};
use tokio_util::sync::CancellationToken;

use super::docker::{DockerFixture, docker, fixture};
use super::stub::{Container, Stub};
use super::{Remotes, container, container_mut, look, run, start};

/// What engines write in their errors, as names can have it.
const WORDS: [&str; 14] = [
    "network",
    "volume",
    "image",
    "container",
    "no-such-image",
    "no-such-container",
    "no-such-volume",
    "conflict",
    "name-in-use",
    "removal-already-in-progress",
    "network-is-ambiguous",
    "has-active-endpoints",
    "port-is-already-allocated",
    "no-space-left-on-device",
];

/// A service with names of this word, and the engine it speaks to.
struct Named {
    stub: Stub,
    engine: Docker,
    spec: LaunchSpec,
    _directory: tempfile::TempDir,
}

impl Named {
    fn new(word: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("engine.sock");
        let stub = Stub::listen(&socket);
        let subject = DockerFixture {
            run: format!("{word}-base"),
            remotes: Remotes::Without,
        };
        let uid: Uid = format!("{word}-wall").parse().unwrap();
        let mut spec = super::spec_for(&uid, subject.container(&uid, "unset"));
        container_mut(&mut spec).image = format!("{word}/{word}:latest");
        stub.world().images.insert(container(&spec).image.clone());
        let engine = subject.connect(DockerSettings {
            host: Some(format!("unix://{}", socket.display())),
            ..subject.settings()
        });
        Self {
            stub,
            engine,
            spec,
            _directory: directory,
        }
    }

    async fn start(&self) -> Result<(), EngineError> {
        let cancel = CancellationToken::new();
        let started = self.engine.start(&self.spec, &cancel, &|_| {}).await;
        started.map(drop)
    }

    /// The outcome of a start that the engine answers with this.
    async fn start_answered(&self, status: u16, message: &str) -> Result<(), EngineError> {
        self.stub.world().start_error = Some((status, message.to_owned()));
        self.start().await
    }

    fn name(&self) -> String {
        container(&self.spec).name.clone()
    }

    fn change(&self, change: impl FnOnce(&mut Container)) {
        change(self.stub.world().containers.get_mut(&self.name()).unwrap());
    }
}

#[tokio::test]
async fn a_start_succeeds_under_any_name() {
    for word in WORDS {
        let named = Named::new(word);
        assert_eq!(named.start().await, Ok(()), "{word}: first start");
        let instance = &named.spec.instance;
        let stopped = named.engine.stop(instance, Duration::from_secs(1)).await;
        assert_eq!(stopped, Ok(()), "{word}");

        named.stub.world().networks.clear();
        assert_eq!(named.start().await, Ok(()), "{word}: network removed");
        assert_eq!(named.stub.world().networks.len(), 1, "{word}");

        // What is left of the run before is in the way of this one.
        let network = named.stub.world().networks[0].clone();
        named.stub.world().networks.push(network);
        assert_eq!(named.start().await, Ok(()), "{word}: two networks");
        assert_eq!(named.stub.world().networks.len(), 1, "{word}");
    }
}

#[tokio::test]
async fn a_missing_image_is_one_under_any_name() {
    for word in WORDS {
        let mut named = Named::new(word);
        named.stub.world().images.clear();
        let image = container(&named.spec).image.clone();
        assert_eq!(
            named.engine.images().unwrap().is_present(&image).await,
            Ok(false),
            "{word}"
        );
        for (pull, status, message) in [
            (PullPolicy::Never, 500, "not asked"),
            (PullPolicy::Missing, 404, "manifest for {} not found"),
            (PullPolicy::Missing, 500, "Get \"{}\": connection refused"),
            // The registry's, and not the engine's.
            (
                PullPolicy::Missing,
                503,
                "received unexpected HTTP status: 503 {}",
            ),
        ] {
            container_mut(&mut named.spec).pull = pull;
            named.stub.world().pull_error = Some((status, message.replace("{}", &image)));
            let outcome = named.start().await;
            assert!(
                matches!(&outcome, Err(EngineError::ImageMissing { image: missing, .. }) if *missing == image),
                "{word}: {outcome:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_name_that_is_taken_is_one_under_any_name() {
    for word in WORDS {
        let named = Named::new(word);
        let name = named.name();
        let foreign = Container {
            running: true,
            ..Container::default()
        };
        named.stub.world().containers.insert(name.clone(), foreign);
        assert_eq!(
            named.start().await,
            Err(EngineError::NameTaken { name }),
            "{word}"
        );
    }
}

#[tokio::test]
async fn an_answer_to_a_start_means_the_same_under_any_name() {
    for word in WORDS {
        let named = Named::new(word);
        let name = named.name();
        let refused = format!("failed to start {name}: exec: \"{word}\": not found");
        assert_eq!(
            named.start_answered(500, &refused).await,
            Err(EngineError::Refused(refused)),
        );
        let short = format!(
            "driver failed programming external connectivity on endpoint {name} (0123): Bind for 127.0.0.1:0 failed: port is already allocated"
        );
        assert_eq!(
            named.start_answered(500, &short).await,
            Err(EngineError::OutOfResources(short)),
        );
        let full = format!("mkdir /var/lib/docker/{name}: no space left on device");
        assert_eq!(
            named.start_answered(500, &full).await,
            Err(EngineError::OutOfDisk(full)),
        );
    }
}

#[tokio::test]
async fn what_is_gone_is_gone_under_any_name() {
    for word in WORDS {
        let named = Named::new(word);
        let instance = &named.spec.instance;
        named.start().await.unwrap();
        named.change(|container| container.being_removed = true);
        let stopped = named.engine.stop(instance, Duration::ZERO).await;
        assert_eq!(stopped, Ok(()), "{word}: being removed");

        named.start().await.unwrap();
        named.change(|container| container.vanished = true);
        let gone = Some(EngineError::Gone);
        assert_eq!(
            named.engine.logs().unwrap().last(instance, 1).await.err(),
            gone,
            "{word}"
        );
        assert_eq!(named.engine.exit(instance).await.err(), gone, "{word}");
        assert_eq!(named.engine.list().await, Ok(vec![]), "{word}");
        let stopped = named.engine.stop(instance, Duration::from_secs(1)).await;
        assert_eq!(stopped, Ok(()), "{word}: vanished");
    }
}

#[tokio::test]
async fn a_home_is_deleted_under_any_name() {
    for word in WORDS {
        let named = Named::new(word);
        named.start().await.unwrap();
        let uid = &named.spec.uid;
        named.stub.world().volumes_in_use = true;
        let error = named.engine.homes().unwrap().delete(uid).await.unwrap_err();
        assert!(matches!(error, EngineError::Refused(_)), "{word}: {error}");
        named.stub.world().volumes_in_use = false;
        // It is removed by another client at the same moment.
        assert_eq!(
            named.engine.homes().unwrap().delete(uid).await,
            Ok(()),
            "{word}"
        );
    }
}

#[tokio::test]
async fn docker_means_the_same_under_any_name() {
    let Some(subject) = fixture().await else {
        return;
    };
    run(subject.clone(), async move {
        let engine = subject.connect(subject.settings());
        for word in ["network", "no-such-image", "conflict.name.in.use"] {
            let uid: Uid = format!("{word}-wall").parse().unwrap();
            let mut spec = super::Fixture::desktop(&*subject, &uid);
            look(&start(&engine, &spec).await).await;
            assert_eq!(engine.stop(&spec.instance, Duration::ZERO).await, Ok(()));

            docker(&["network", "rm", &subject.run]).await;
            spec.instance = InstanceId::random();
            look(&start(&engine, &spec).await).await;
            assert_eq!(engine.stop(&spec.instance, Duration::ZERO).await, Ok(()));
            assert_eq!(engine.homes().unwrap().delete(&uid).await, Ok(()));

            spec.instance = InstanceId::random();
            container_mut(&mut spec).image = format!("{word}-network/{word}:latest");
            let cancel = CancellationToken::new();
            let outcome = engine.start(&spec, &cancel, &|_| {}).await;
            assert!(
                matches!(outcome, Err(EngineError::ImageMissing { .. })),
                "{word}: {outcome:?}"
            );
        }
    })
    .await;
}
