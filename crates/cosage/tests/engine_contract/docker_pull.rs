//! What Docker tells of a pull. No registry is needed: one has been recorded.

use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use cosage::desktop::Uid;
use cosage::engine::{Engine, EngineError, PullPolicy, StartStep};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::docker::{DockerFixture, fixture};
use super::docker_only::connect_to;
use super::{Fixture, container_mut, run};

#[tokio::test]
async fn a_pull_says_how_much_is_there() {
    if let Some(fixture) = fixture().await {
        run(fixture.clone(), pull(fixture)).await;
    }
}

async fn pull(subject: Arc<DockerFixture>) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("engine.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let engine = axum::Router::new().fallback(answer_pulls);
    let serving = tokio::spawn(axum::serve(listener, engine).into_future());

    let mut spec = subject.desktop(&Uid::random());
    container_mut(&mut spec).image = "cosage/no-such-image:latest".to_owned();
    container_mut(&mut spec).pull = PullPolicy::Missing;
    let steps = Mutex::new(Vec::new());
    let on_step = |step| steps.lock().unwrap().push(step);
    let cancel = CancellationToken::new();
    let outcome = connect_to(&subject, &socket)
        .start(&spec, &cancel, &on_step)
        .await;
    serving.abort();
    assert!(
        matches!(outcome, Err(EngineError::ImageMissing { .. })),
        "{outcome:?}"
    );
    let steps = steps.into_inner().unwrap();
    let percentages: Vec<_> = steps
        .iter()
        .map(|step| match step {
            StartStep::Pulling { percent } => *percent,
            StartStep::Queued | StartStep::Starting => panic!("not in its turn: {steps:?}"),
        })
        .collect();
    assert_eq!(percentages[..2], [None, Some(0)], "{percentages:?}");
    assert_eq!(percentages.last(), Some(&Some(100)), "{percentages:?}");
}

/// Answers for the real engine, but as a registry did once where an image is pulled.
async fn answer_pulls(request: Request) -> Response {
    if request.uri().path().ends_with("/images/create") {
        let recorded = include_str!("../../src/engine/docker/pull/engine-20.10.jsonl");
        return recorded.into_response();
    }
    let engine = UnixStream::connect("/var/run/docker.sock").await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(engine))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await.unwrap().into_response()
}
