//! Desktops and their runs.

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{Error, QueryBuilder, Row, Sqlite};

use super::journal::{self, Entry};
use super::{decode, time};
use crate::desktop::access::Takeover;
use crate::desktop::record::{
    DesktopRecord, EndCause, Failure, JournalKind, NewRun, RunEnd, RunRecord, StoredDesktop,
};
use crate::desktop::{StreamKey, Uid};
use crate::engine::InstanceId;
use crate::store::{Cursor, ENDED_RUNS_KEPT, Note, Query, Resting, Sort};

/// How a run could not begin.
pub(super) enum BeginError {
    Exists,
    UnknownDesktop,
    DrivenElsewhere,
    Sql(Error),
}

impl From<Error> for BeginError {
    fn from(error: Error) -> Self {
        Self::Sql(error)
    }
}

const RUN_COLUMNS: &str = "r.instance, r.uid AS run_uid, r.replica, r.epoch, r.key, r.cause, r.begun_at, r.ready_at, \
     r.ended_at, r.ended_why";

/// Everything of desktops; a condition may follow.
fn select_desktops() -> QueryBuilder<Sqlite> {
    QueryBuilder::new(format!(
        "SELECT d.uid, d.app, d.environment, d.created_at, d.used_at, d.failed_at, d.failure, d.failure_logs, \
         d.announced_at, t.uid AS taken, t.except_client, {RUN_COLUMNS} \
         FROM desktops d LEFT JOIN runs r ON r.instance = d.last_run LEFT JOIN takeovers t ON t.uid = d.uid \
         WHERE TRUE"
    ))
}

pub(super) async fn one(pool: &SqlitePool, uid: &Uid) -> Result<Option<StoredDesktop>, Error> {
    let mut query = select_desktops();
    query.push(" AND d.uid = ").push_bind(uid.as_str());
    let row = query.build().fetch_optional(pool).await?;
    row.as_ref().map(read_desktop).transpose()
}

pub(super) async fn page(pool: &SqlitePool, wanted: &Query) -> Result<Vec<StoredDesktop>, Error> {
    read_all(page_query(select_desktops(), wanted), pool).await
}

/// How SQLite finds a page (sqlite.org/eqp.html).
#[cfg(test)]
pub(super) async fn plan(pool: &SqlitePool, wanted: &Query) -> Result<String, Error> {
    let explain = QueryBuilder::new(format!(
        "EXPLAIN QUERY PLAN {}",
        select_desktops().sql().as_str()
    ));
    let rows = page_query(explain, wanted).build().fetch_all(pool).await?;
    let lines = rows.iter().map(|row| row.try_get::<String, _>("detail"));
    let lines: Vec<String> = lines.collect::<Result<_, _>>()?;
    Ok(lines.join("\n") + "\n")
}

fn page_query(mut query: QueryBuilder<Sqlite>, wanted: &Query) -> QueryBuilder<Sqlite> {
    if let Some(app) = &wanted.app {
        query.push(" AND d.app = ").push_bind(app);
    }
    if let Some(text) = &wanted.text {
        // Not LIKE, in which some characters mean others. Names of desktops and apps are ASCII.
        for word in text.to_ascii_lowercase().split_whitespace() {
            query
                .push(" AND (instr(lower(d.uid), ")
                .push_bind(word.to_owned())
                .push(") OR instr(lower(d.app), ")
                .push_bind(word.to_owned())
                .push("))");
        }
    }
    if let Some(resting) = wanted.resting {
        query.push(" AND (r.instance IS NULL OR r.ended_at IS NOT NULL)");
        query.push(match resting {
            Resting::Asleep => " AND d.failed_at IS NULL",
            Resting::Failed => " AND d.failed_at IS NOT NULL",
        });
    }
    let column = match wanted.sort {
        Sort::Created => Some("d.created_at"),
        Sort::Used => Some("d.used_at"),
        Sort::Uid => None,
    };
    match (&wanted.after, column) {
        (Some(after), Some(column)) => {
            let at = time(after.at);
            // In this form, the index leads to the place.
            query
                .push(format_args!(" AND {column} <= "))
                .push_bind(at.clone());
            query.push(format_args!(" AND ({column} < ")).push_bind(at);
            query
                .push(" OR d.uid > ")
                .push_bind(after.uid.as_str())
                .push(")");
        }
        (Some(after), None) => {
            query.push(" AND d.uid > ").push_bind(after.uid.as_str());
        }
        (None, _) => {}
    }
    match column {
        Some(column) => query.push(format_args!(" ORDER BY {column} DESC, d.uid")),
        None => query.push(" ORDER BY d.uid"),
    };
    query.push(" LIMIT ").push_bind(limit(wanted.limit));
    query
}

pub(super) async fn unused(
    pool: &SqlitePool,
    app: &str,
    before: Timestamp,
    after: Option<&Cursor>,
    most: usize,
) -> Result<Vec<StoredDesktop>, Error> {
    let mut query = select_desktops();
    query.push(" AND d.app = ").push_bind(app);
    query.push(" AND d.used_at < ").push_bind(time(before));
    if let Some(after) = after {
        let at = time(after.at);
        query.push(" AND (d.used_at, d.uid) > (").push_bind(at);
        query.push(", ").push_bind(after.uid.as_str()).push(")");
    }
    query.push(
        " AND (r.instance IS NULL OR r.ended_at IS NOT NULL) ORDER BY d.used_at, d.uid LIMIT ",
    );
    query.push_bind(limit(most));
    read_all(query, pool).await
}

pub(super) async fn count(pool: &SqlitePool, most: usize) -> Result<usize, Error> {
    let counted: i64 = sqlx::query_scalar("SELECT count(*) FROM (SELECT 1 FROM desktops LIMIT ?)")
        .bind(limit(most))
        .fetch_one(pool)
        .await?;
    Ok(usize::try_from(counted).unwrap_or_default())
}

/// As a part of a transaction, see [`crate::store::Store::begin_run`].
pub(super) async fn begin_run(
    connection: &mut SqliteConnection,
    replica: &str,
    new: Option<&DesktopRecord>,
    run: &NewRun,
) -> Result<u64, BeginError> {
    let uid = run.uid.as_str();
    if let Some(new) = new {
        create(connection, new).await?;
    }
    let live = sqlx::query("SELECT instance, replica FROM runs WHERE uid = ? AND ended_at IS NULL")
        .bind(uid)
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(live) = live {
        if live.try_get::<&str, _>("replica")? != replica {
            return Err(BeginError::DrivenElsewhere);
        }
        let instance = InstanceId(live.try_get("instance")?);
        let end = RunEnd {
            at: run.begun_at,
            why: EndCause::Lost,
        };
        end_run(connection, &instance, &end).await?;
    }
    let last: Option<i64> = sqlx::query_scalar("SELECT max(epoch) FROM runs WHERE uid = ?")
        .bind(uid)
        .fetch_one(&mut *connection)
        .await?;
    let epoch = last.unwrap_or_default() + 1;
    let updated = sqlx::query(
        "UPDATE desktops SET last_run = ?1, used_at = max(used_at, ?2), failed_at = NULL, failure = NULL, \
         failure_logs = NULL, announced_at = NULL WHERE uid = ?3",
    )
    .bind(&run.instance.0)
    .bind(time(run.begun_at))
    .bind(uid)
    .execute(&mut *connection)
    .await?;
    if updated.rows_affected() == 0 {
        return Err(BeginError::UnknownDesktop);
    }
    sqlx::query(
        "INSERT INTO runs (instance, uid, replica, epoch, key, cause, begun_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&run.instance.0)
    .bind(uid)
    .bind(replica)
    .bind(epoch)
    .bind(i64::from(run.key.0))
    .bind(run.cause.as_str())
    .bind(time(run.begun_at))
    .execute(&mut *connection)
    .await?;
    sqlx::query("DELETE FROM runs WHERE uid = ? AND ended_at IS NOT NULL AND epoch < ?")
        .bind(uid)
        .bind(epoch - i64::try_from(ENDED_RUNS_KEPT).unwrap_or(i64::MAX))
        .execute(&mut *connection)
        .await?;
    let entry = Entry {
        at: run.begun_at,
        kind: JournalKind::RunBegun,
        uid,
        detail: Some(run.cause.as_str()),
    };
    journal::add(connection, entry).await?;
    Ok(epoch.unsigned_abs())
}

async fn create(connection: &mut SqliteConnection, new: &DesktopRecord) -> Result<(), BeginError> {
    let environment =
        serde_json::to_string(&new.environment).map_err(|error| Error::Encode(error.into()))?;
    let inserted = sqlx::query(
        "INSERT INTO desktops (uid, app, environment, created_at, used_at) VALUES (?1, ?2, ?3, ?4, ?4) \
         ON CONFLICT (uid) DO NOTHING",
    )
    .bind(new.uid.as_str())
    .bind(&new.app)
    .bind(environment)
    .bind(time(new.created_at))
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() == 0 {
        return Err(BeginError::Exists);
    }
    let entry = Entry {
        at: new.created_at,
        kind: JournalKind::Created,
        uid: new.uid.as_str(),
        detail: Some(&new.app),
    };
    Ok(journal::add(connection, entry).await?)
}

/// As a part of a transaction, see [`crate::store::Store::end_run`].
pub(super) async fn end_run(
    connection: &mut SqliteConnection,
    instance: &InstanceId,
    end: &RunEnd,
) -> Result<(), Error> {
    let uid: Option<Option<String>> = sqlx::query_scalar(
        "UPDATE runs SET ended_at = ?, ended_why = ? WHERE instance = ? AND ended_at IS NULL RETURNING uid",
    )
    .bind(time(end.at))
    .bind(end.why.as_str())
    .bind(&instance.0)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(Some(uid)) = uid else { return Ok(()) };
    sqlx::query("UPDATE desktops SET used_at = max(used_at, ?) WHERE uid = ?")
        .bind(time(end.at))
        .bind(&uid)
        .execute(&mut *connection)
        .await?;
    let entry = Entry {
        at: end.at,
        kind: JournalKind::RunEnded,
        uid: &uid,
        detail: Some(end.why.as_str()),
    };
    journal::add(connection, entry).await
}

pub(super) async fn live_runs(pool: &SqlitePool) -> Result<Vec<RunRecord>, Error> {
    let mut query = QueryBuilder::<Sqlite>::new(format!(
        "SELECT {RUN_COLUMNS} FROM runs r WHERE r.ended_at IS NULL AND r.uid IS NOT NULL"
    ));
    let rows = query.build().fetch_all(pool).await?;
    rows.iter().map(read_run).collect()
}

pub(super) async fn set_failure(
    connection: &mut SqliteConnection,
    uid: &Uid,
    failure: Option<&Failure>,
) -> Result<(), Error> {
    let updated = sqlx::query(
        "UPDATE desktops SET failed_at = ?, failure = ?, failure_logs = ? WHERE uid = ?",
    )
    .bind(failure.map(|failure| time(failure.at)))
    .bind(failure.map(|failure| &failure.text))
    .bind(failure.and_then(|failure| failure.logs.as_ref()))
    .bind(uid.as_str())
    .execute(&mut *connection)
    .await?;
    let Some(failure) = failure.filter(|_| updated.rows_affected() > 0) else {
        return Ok(());
    };
    let entry = Entry {
        at: failure.at,
        kind: JournalKind::Failed,
        uid: uid.as_str(),
        detail: None,
    };
    journal::add(connection, entry).await
}

pub(super) async fn note(connection: &mut SqliteConnection, note: &Note) -> Result<(), Error> {
    let query = match note {
        Note::Used(uid, at) => sqlx::query(
            "UPDATE desktops SET used_at = max(used_at, ?), announced_at = NULL WHERE uid = ?",
        )
        .bind(time(*at))
        .bind(uid.as_str()),
        Note::Key(instance, key) => sqlx::query("UPDATE runs SET key = ? WHERE instance = ?")
            .bind(i64::from(key.0))
            .bind(&instance.0),
        Note::Ready(instance, at) => {
            sqlx::query("UPDATE runs SET ready_at = ? WHERE instance = ? AND ready_at IS NULL")
                .bind(time(*at))
                .bind(&instance.0)
        }
    };
    query.execute(connection).await?;
    Ok(())
}

pub(super) async fn delete(connection: &mut SqliteConnection, uid: &Uid) -> Result<(), Error> {
    // Its runs, shares and takeover go with it (ON DELETE CASCADE).
    let deleted = sqlx::query("DELETE FROM desktops WHERE uid = ?")
        .bind(uid.as_str())
        .execute(&mut *connection)
        .await?;
    if deleted.rows_affected() == 0 {
        return Ok(());
    }
    let entry = Entry::now(JournalKind::Deleted, uid, None);
    journal::add(connection, entry).await
}

pub(super) async fn announce_deletion(
    connection: &mut SqliteConnection,
    uid: &Uid,
    at: Timestamp,
) -> Result<(), Error> {
    let updated = sqlx::query("UPDATE desktops SET announced_at = ? WHERE uid = ?")
        .bind(time(at))
        .bind(uid.as_str())
        .execute(&mut *connection)
        .await?;
    if updated.rows_affected() == 0 {
        return Ok(());
    }
    let entry = Entry::now(JournalKind::DeletionAnnounced, uid, None);
    journal::add(connection, entry).await
}

async fn read_all(
    mut query: QueryBuilder<Sqlite>,
    pool: &SqlitePool,
) -> Result<Vec<StoredDesktop>, Error> {
    let rows = query.build().fetch_all(pool).await?;
    rows.iter().map(read_desktop).collect()
}

fn read_desktop(row: &SqliteRow) -> Result<StoredDesktop, Error> {
    let text = |column| row.try_get::<&str, _>(column);
    let takeover = match row.try_get::<Option<&str>, _>("taken")? {
        None => None,
        Some(_) => Some(Takeover {
            except: row
                .try_get::<Option<&str>, _>("except_client")?
                .map(|name| name.parse().map_err(decode))
                .transpose()?,
        }),
    };
    let last_run = match row.try_get::<Option<&str>, _>("instance")? {
        None => None,
        Some(_) => Some(read_run(row)?),
    };
    let failure = match read_time(row, "failed_at")? {
        None => None,
        Some(at) => Some(Failure {
            at,
            text: text("failure")?.to_owned(),
            logs: row.try_get("failure_logs")?,
        }),
    };
    Ok(StoredDesktop {
        record: DesktopRecord {
            uid: text("uid")?.parse().map_err(decode)?,
            app: text("app")?.to_owned(),
            environment: serde_json::from_str(text("environment")?).map_err(decode)?,
            created_at: text("created_at")?.parse().map_err(decode)?,
        },
        used_at: text("used_at")?.parse().map_err(decode)?,
        takeover,
        last_run,
        failure,
        announced_at: read_time(row, "announced_at")?,
    })
}

fn read_run(row: &SqliteRow) -> Result<RunRecord, Error> {
    let text = |column| row.try_get::<&str, _>(column);
    let end = match read_time(row, "ended_at")? {
        None => None,
        Some(at) => Some(RunEnd {
            at,
            why: text("ended_why")?.parse().map_err(decode)?,
        }),
    };
    Ok(RunRecord {
        instance: InstanceId(text("instance")?.to_owned()),
        uid: text("run_uid")?.parse().map_err(decode)?,
        replica: text("replica")?.to_owned(),
        epoch: row.try_get::<i64, _>("epoch")?.unsigned_abs(),
        key: StreamKey(u16::try_from(row.try_get::<i64, _>("key")?).map_err(decode)?),
        cause: text("cause")?.parse().map_err(decode)?,
        begun_at: text("begun_at")?.parse().map_err(decode)?,
        ready_at: read_time(row, "ready_at")?,
        end,
    })
}

fn read_time(row: &SqliteRow, column: &str) -> Result<Option<Timestamp>, Error> {
    let text: Option<&str> = row.try_get(column)?;
    text.map(|text| text.parse().map_err(decode)).transpose()
}

fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}
