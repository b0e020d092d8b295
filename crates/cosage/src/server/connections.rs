//! The loop that serves connections of one listener.

use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::util::MapRequest;

use crate::api;

use crate::descriptors;

/// How long a client may take to send a request's head. It ends connections that send nothing.
const HEAD_BOUND: Duration = Duration::from_secs(30);

/// The pause after an `accept` that failed for want of resources, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Normalize = fn(Request<Incoming>) -> Request<Incoming>;

/// Before the routes, which would not match otherwise.
const NORMALIZE: Normalize = api::normalize;

/// Serves a router on a listener until `shutdown`, then lets running requests finish. Upgraded
/// connections are not waited for here: the gateway knows them.
pub(super) async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let service = TowerToHyperService::new(MapRequest::new(router, NORMALIZE));
    let connections = TaskTracker::new();
    let mut failing = false;
    loop {
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    failing = false;
                    stream
                }
                // A connection that was reset before it was accepted concerns nobody.
                Err(error) if is_the_clients(&error) => continue,
                Err(error) => {
                    if !failing {
                        failing = true;
                        tracing::error!(error = descriptors::explain(&error), "connections cannot be accepted");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        // Frames are small and must not wait for each other (Nagle's algorithm). When this fails,
        // the peer is gone already.
        if stream.set_nodelay(true).is_ok() {
            connections.spawn(serve_connection(stream, service.clone(), shutdown.clone()));
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn serve_connection(
    stream: TcpStream,
    service: TowerToHyperService<MapRequest<Router, Normalize>>,
    shutdown: CancellationToken,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_BOUND)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // An error is the client's: it hung up, or it spoke something else than HTTP.
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection ended early");
    }
}

fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted
    )
}
