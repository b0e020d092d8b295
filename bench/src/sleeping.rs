//! What desktops cost that sleep: a hundred thousand of them in the store, on the simulated engine.

use std::path::Path;
use std::time::Duration;

use cosage::store::sqlite::SqliteStore;
use futures_util::future::try_join_all;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::time::{Instant, sleep};

use crate::Failure;
use crate::report::{Outcome, Report, Verdict, median};
use crate::scene::{EngineKind, Scene};
use crate::service;

/// What the service may come to rest in.
const SETTLING: Duration = Duration::from_secs(5);

/// How many desktops run at a time while many are started and stopped.
const AT_A_TIME: usize = 20;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Desktops that sleep
    #[arg(long, default_value_t = 100_000)]
    desktops: u32,
    /// Calls of each kind
    #[arg(long, default_value_t = 20)]
    calls: usize,
    /// Desktops that are started and stopped again
    #[arg(long, default_value_t = 1_000)]
    starts: usize,
    /// Rounds of requests for a running desktop
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

#[tokio::main]
pub(crate) async fn run(arguments: &Arguments) -> Result<Report, Failure> {
    let mut report = Report::default();
    sleeping(arguments, &mut report).await?;
    afterwards(arguments, &mut report).await?;
    Ok(report)
}

async fn sleeping(arguments: &Arguments, report: &mut Report) -> Result<(), Failure> {
    let desktops = arguments.desktops;
    let directory = tempfile::tempdir()?;
    fill(&directory.path().join("data"), desktops).await?;
    let begun = Instant::now();
    let scene = Scene::start_in(EngineKind::Simulated, None, directory).await?;
    let ready = begun.elapsed();
    let process = scene.process.as_ref().ok_or("the service does not run")?;
    sleep(SETTLING).await;
    let resident = process.resident()? as f64;
    at_most(
        report,
        format!("{desktops} sleeping desktops: resident memory"),
        resident,
        40.0,
        MEBIBYTE,
    );
    at_most(
        report,
        "time until ready".to_owned(),
        ready.as_secs_f64(),
        0.3,
        SECOND,
    );

    let first_page = time_of(arguments.calls, |_| {
        scene.call("GET", "/api/vm?limit=100", "")
    })
    .await?;
    at_most(
        report,
        "first page of 100 of `GET /api/vm`".to_owned(),
        first_page,
        10.0,
        MILLISECOND,
    );
    let search = time_of(arguments.calls, |number| {
        let path = format!("/api/vm?q=desk-{}", number * 7);
        let scene = &scene;
        async move { scene.call("GET", &path, "").await }
    })
    .await?;
    report.remarks.push(format!(
        "A search through the names of all of them takes {:.1} ms, median.",
        search * 1e3
    ));
    let post = time_of(arguments.calls, |number| {
        let path = format!("/api/vm/any/desk-{}", number * 101);
        let scene = &scene;
        async move { scene.call("POST", &path, "{}").await }
    })
    .await?;
    at_most(
        report,
        "`POST` for one of them, until it answers".to_owned(),
        post,
        3.0,
        MILLISECOND,
    );

    let beside = service::rate(&scene, "desk-101", arguments.rounds).await?;
    let alone = {
        let scene = Scene::start(EngineKind::Simulated).await?;
        let (uid, _) = scene.allocate().await?;
        service::rate(&scene, &uid, arguments.rounds).await?
    };
    let ratio = beside / alone;
    report.verdicts.push(Verdict {
        measure: "`GET /api/vm/ws/{uid}` for a running desktop among them; against a service without others".to_owned(),
        ours: format!("{beside:.0}/s"),
        theirs: format!("{alone:.0}/s"),
        result: format!("{ratio:.2} ×"),
        target: "≥ 0.95 ×".to_owned(),
        outcome: Outcome::at_least(ratio, 0.95),
    });
    Ok(())
}

/// Memory after many desktops were started and stopped again. The first ones fill what is remembered in any case, such as the
/// newest events.
async fn afterwards(arguments: &Arguments, report: &mut Report) -> Result<(), Failure> {
    let scene = Scene::start(EngineKind::Simulated).await?;
    let process = scene.process.as_ref().ok_or("the service does not run")?;
    start_and_stop(&scene, arguments.starts).await?;
    sleep(SETTLING).await;
    let before = process.resident()? as f64;
    start_and_stop(&scene, arguments.starts).await?;
    sleep(SETTLING).await;
    let grown = process.resident()? as f64 - before;
    at_most(
        report,
        format!(
            "memory that {} desktops leave which were started and stopped",
            arguments.starts
        ),
        grown.max(0.0),
        3.0,
        MEBIBYTE,
    );
    report.remarks.push(format!(
        "Started and stopped: {} desktops, {AT_A_TIME} at a time, after as many that do not count and fill what is remembered in any case; {:.1} MiB resident before.",
        arguments.starts,
        before / MEBIBYTE.0
    ));
    Ok(())
}

async fn start_and_stop(scene: &Scene, desktops: usize) -> Result<(), Failure> {
    for begun in (0..desktops).step_by(AT_A_TIME) {
        let at_a_time = AT_A_TIME.min(desktops - begun);
        try_join_all((0..at_a_time).map(|_| async {
            let (uid, _) = scene.allocate().await?;
            let path = format!("/api/vm/{uid}");
            match scene.call("DELETE", &path, "").await? {
                (204, _) => Ok::<_, Failure>(()),
                (status, answer) => Err(format!("{uid} was not stopped: {status} {answer}").into()),
            }
        }))
        .await?;
    }
    Ok(())
}

/// The median time of a call in seconds, after one that does not count.
async fn time_of<F>(calls: usize, call: impl Fn(usize) -> F) -> Result<f64, Failure>
where
    F: Future<Output = Result<(u16, serde_json::Value), Failure>>,
{
    let mut times = Vec::new();
    for number in 0..=calls {
        let begun = Instant::now();
        match call(number).await? {
            (200, _) => {}
            (status, answer) => {
                return Err(format!("the service answered {status}: {answer}").into());
            }
        }
        if number > 0 {
            times.push(begun.elapsed().as_secs_f64());
        }
    }
    Ok(median(&times))
}

/// How much of what is measured is one of the unit, and its name.
type Unit = (f64, &'static str);
const MEBIBYTE: Unit = (1_048_576.0, "MiB");
const SECOND: Unit = (1.0, "s");
const MILLISECOND: Unit = (1e-3, "ms");

fn at_most(report: &mut Report, measure: String, value: f64, most: f64, (one, unit): Unit) {
    let shown = format!("{:.2} {unit}", value / one);
    report.verdicts.push(Verdict {
        measure,
        ours: shown.clone(),
        theirs: "–".to_owned(),
        result: shown,
        target: format!("≤ {most} {unit}"),
        outcome: Outcome::at_most(value, most * one),
    });
}

/// Makes a data directory with desktops that ran once and sleep.
async fn fill(data: &Path, desktops: u32) -> Result<(), Failure> {
    drop(SqliteStore::open(data).await?);
    let mut database = SqliteConnectOptions::new()
        .filename(data.join("desktops.db"))
        .connect()
        .await?;
    for statement in [
        "BEGIN",
        "CREATE TEMP TABLE numbers AS WITH RECURSIVE n (number) AS (VALUES (0) UNION ALL SELECT number + 1 FROM n WHERE number + 1 < ?) \
         SELECT number, strftime('%Y-%m-%dT%H:%M:%S', 1767225600 + number, 'unixepoch') || '.000000000Z' AS at FROM n",
        "INSERT INTO desktops (uid, app, environment, created_at, used_at, last_run) \
         SELECT 'desk-' || number, 'tiny', '{}', at, at, 'run-' || number FROM numbers",
        "INSERT INTO runs (instance, uid, replica, epoch, key, cause, begun_at, ready_at, ended_at, ended_why) \
         SELECT 'run-' || number, 'desk-' || number, 'local', 1, 13100, 'request', at, at, at, 'idle' FROM numbers",
        "COMMIT",
    ] {
        let query = sqlx::query(statement);
        let query = if statement.contains('?') {
            query.bind(desktops)
        } else {
            query
        };
        query.execute(&mut database).await?;
    }
    sqlx::Connection::close(database).await?;
    Ok(())
}
