//! The journal: what happened, in the same transaction as the change itself.

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{Error, Row};

use super::{decode, time};
use crate::desktop::Uid;
use crate::desktop::record::{JournalEntry, JournalKind};
use crate::store::JOURNAL_KEPT;

/// An entry that is about to be written.
pub(super) struct Entry<'a> {
    pub(super) at: Timestamp,
    pub(super) kind: JournalKind,
    pub(super) uid: &'a str,
    pub(super) detail: Option<&'a str>,
}

impl<'a> Entry<'a> {
    pub(super) fn now(kind: JournalKind, uid: &'a Uid, detail: Option<&'a str>) -> Self {
        Self {
            at: Timestamp::now(),
            kind,
            uid: uid.as_str(),
            detail,
        }
    }
}

pub(super) async fn add(connection: &mut SqliteConnection, entry: Entry<'_>) -> Result<(), Error> {
    sqlx::query("INSERT INTO journal (at, kind, uid, detail) VALUES (?, ?, ?, ?)")
        .bind(time(entry.at))
        .bind(entry.kind.as_str())
        .bind(entry.uid)
        .bind(entry.detail)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn read(
    pool: &SqlitePool,
    uid: Option<&Uid>,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<JournalEntry>, Error> {
    let before = before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let query = match uid {
        Some(uid) => sqlx::query(
            "SELECT * FROM journal WHERE uid = ? AND number < ? ORDER BY number DESC LIMIT ?",
        )
        .bind(uid.as_str()),
        None => sqlx::query("SELECT * FROM journal WHERE number < ? ORDER BY number DESC LIMIT ?"),
    };
    let rows = query.bind(before).bind(limit).fetch_all(pool).await?;
    rows.iter().map(read_entry).collect()
}

/// Deletes the oldest entries of a long journal.
pub(super) async fn trim(connection: &mut SqliteConnection) -> Result<(), Error> {
    sqlx::query("DELETE FROM journal WHERE number <= (SELECT max(number) FROM journal) - ?")
        .bind(i64::try_from(JOURNAL_KEPT).unwrap_or(i64::MAX))
        .execute(connection)
        .await?;
    Ok(())
}

fn read_entry(row: &SqliteRow) -> Result<JournalEntry, Error> {
    let text = |column| row.try_get::<&str, _>(column);
    Ok(JournalEntry {
        number: row.try_get::<i64, _>("number")?.unsigned_abs(),
        at: text("at")?.parse().map_err(decode)?,
        kind: text("kind")?.parse().map_err(decode)?,
        uid: text("uid")?.parse().map_err(decode)?,
        detail: row.try_get("detail")?,
    })
}
