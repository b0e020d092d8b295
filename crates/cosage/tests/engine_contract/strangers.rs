//! Containers that the service before this one left.

use std::collections::BTreeMap;
use std::time::Duration;

use cosage::desktop::{StreamKey, Uid};
use cosage::engine::docker::{DockerSettings, Reach};
use cosage::engine::legacy::Stranger;
use cosage::engine::{
    Endpoint, Engine, EngineError, EngineEvent, Found, Instance, Presence, Protocol,
};
use futures_util::StreamExt;

use super::docker::{self, TINY, docker};
use super::{Fixture, Subject, eventually, look, run, start};

pub(super) async fn a_stranger_is_shown_and_left_alone(subject: Subject) {
    let engine = subject.engine();
    let base = subject.base_name();
    let name = format!("{base}left");
    subject.add_stranger(&name).await;
    // Beside it what only looks like one: ours, the neighbour's, and names that have ours in the middle.
    let ours = subject.desktop(&Uid::random());
    let instance = start(&*engine, &ours).await;
    subject.take_name(&subject.desktop(&Uid::random())).await;
    subject.add_stranger(&format!("x{name}")).await;
    let ended = format!("{base}ended");
    subject.add_stranger(&ended).await;
    subject.end_stranger(&ended).await;

    let strangers = engine.strangers(&base).await.unwrap();
    let names: Vec<&str> = strangers.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, [name.as_str()]);
    let stranger = &strangers[0];
    assert_eq!(stranger.environment.0["WS_TIMEOUT"], "600");
    assert!(stranger.image.contains("tiny"), "{stranger:?}");

    assert_eq!(engine.list().await, Ok(vec![Found::Running(instance)]));
    assert_eq!(engine.stop(&stranger.id, Duration::ZERO).await, Ok(()));
    assert_eq!(engine.logs(&stranger.id, 1).await, Err(EngineError::Gone));
    assert_eq!(engine.exit(&stranger.id).await, Err(EngineError::Gone));
    assert!(subject.stranger_runs(&name).await);
    look(&adopted_from(stranger)).await;
}

pub(super) async fn an_adopted_stranger_is_an_instance_until_it_is_stopped(subject: Subject) {
    let engine = subject.engine();
    let name = format!("{}left", subject.base_name());
    subject.add_stranger(&name).await;
    let instance = adopt(&*engine, &subject).await;

    assert_eq!(
        engine.list().await,
        Ok(vec![Found::Running(instance.clone())])
    );
    assert_eq!(engine.exit(&instance.id).await, Ok(None));
    look(&instance).await;
    assert!(engine.logs(&instance.id, 10).await.is_ok());
    assert!(engine.follow_logs(&instance.id, 10).await.is_ok());
    let used = engine.usage(&instance.id).next().await.unwrap();
    assert!(used.memory > 1 << 20, "{used:?}");

    // The next service knows nothing of it, and adopts it as this one did.
    let next = subject.engine();
    assert_eq!(next.list().await, Ok(vec![]));
    assert_eq!(adopt(&*next, &subject).await, instance);
    assert_eq!(
        next.list().await,
        Ok(vec![Found::Running(instance.clone())])
    );
    for _ in 0..2 {
        assert_eq!(next.stop(&instance.id, Duration::ZERO).await, Ok(()));
        assert!(!subject.stranger_runs(&name).await);
        assert_eq!(next.list().await, Ok(vec![]));
    }
    assert_eq!(next.exit(&instance.id).await, Err(EngineError::Gone));
    // Its name is free for an ordinary instance.
    assert_eq!(next.strangers(&subject.base_name()).await, Ok(vec![]));
}

pub(super) async fn the_end_of_an_adopted_stranger_is_reported(subject: Subject) {
    let engine = subject.engine();
    let mut events = engine.events();
    assert_eq!(events.next().await, Some(EngineEvent::Connected));
    let base = subject.base_name();
    // Nobody's end is reported.
    let other = format!("{base}other");
    subject.add_stranger(&other).await;
    subject.end_stranger(&other).await;
    let name = format!("{base}left");
    subject.add_stranger(&name).await;
    let instance = adopt(&*engine, &subject).await;
    subject.end_stranger(&name).await;
    let event = events.next().await;
    assert!(
        matches!(&event, Some(EngineEvent::Exited(id, _)) if *id == instance.id),
        "{event:?}"
    );
    eventually(async || matches!(engine.exit(&instance.id).await, Ok(Some(_)))).await;
    assert_eq!(
        engine.list().await,
        Ok(vec![Found::Remains(instance.id.clone())])
    );
    assert_eq!(engine.stop(&instance.id, Duration::ZERO).await, Ok(()));
    assert_eq!(engine.list().await, Ok(vec![]));
}

#[tokio::test]
async fn a_stranger_is_dialled_where_the_service_reaches_its_desktops() {
    let Some(fixture) = docker::fixture().await else {
        return;
    };
    run(fixture.clone(), async {
        let name = |word: &str| format!("{}-{word}", fixture.run);
        let mark = format!("cosage.contract={}", fixture.run);
        // Both go by themselves when they end, as containers may.
        let line = ["run", "--detach", "--rm", "--label", &mark, "--name"];
        let published = name("published");
        let publish = [&published, "--publish", "5900", TINY];
        docker(&[&line[..], &publish].concat()).await;
        let hidden = name("hidden");
        docker(&[&line[..], &[&hidden, TINY]].concat()).await;
        for reach in [Reach::Direct, Reach::Published] {
            let engine = fixture.connect(DockerSettings {
                reach,
                ..fixture.settings()
            });
            let strangers = engine.strangers(&fixture.base_name()).await.unwrap();
            assert_eq!(strangers.len(), 2, "{strangers:?}");
            let (hidden, published) = (&strangers[0], &strangers[1]);
            let address = published.reach(5900).unwrap();
            assert_eq!(address.ip().is_loopback(), reach == Reach::Published);
            assert_eq!(hidden.reach(5900).is_some(), reach == Reach::Direct);
            assert!(published.published[&5900].ip().is_loopback());
            look(&adopted_from(published)).await;
        }
        let engine = fixture.engine();
        for stranger in engine.strangers(&fixture.base_name()).await.unwrap() {
            let instance = adopted_from(&stranger);
            engine.adopt(&instance);
            let grace = Duration::from_secs(5);
            assert_eq!(engine.stop(&instance.id, grace).await, Ok(()));
        }
        assert_eq!(engine.list().await, Ok(vec![]));
        assert!(!fixture.stranger_runs(&published).await);
    })
    .await;
}

async fn adopt(engine: &dyn Engine, subject: &Subject) -> Instance {
    let strangers = engine.strangers(&subject.base_name()).await.unwrap();
    assert_eq!(strangers.len(), 1, "{strangers:?}");
    let instance = adopted_from(&strangers[0]);
    engine.adopt(&instance);
    instance
}

fn adopted_from(stranger: &Stranger) -> Instance {
    let endpoint = Endpoint {
        address: stranger.reach(5900).unwrap(),
        protocol: Protocol::Rfb,
        path: String::new(),
        presence: Presence::Viewer,
    };
    Instance {
        id: stranger.id.clone(),
        uid: "left".parse().unwrap(),
        app: "tiny".to_owned(),
        key: StreamKey(11_000),
        endpoints: BTreeMap::from([("vnc".to_owned(), endpoint)]),
        password: None,
        callback: None,
        started_at: stranger.started_at,
        own_timeout: None,
    }
}
