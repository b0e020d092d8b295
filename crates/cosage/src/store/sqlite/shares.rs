//! Shares and takeovers: who may do what.

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{Error, Row};

use super::journal::{self, Entry};
use super::{decode, time};
use crate::desktop::Uid;
use crate::desktop::access::{Share, Takeover, Token, TokenHash};
use crate::desktop::record::JournalKind;
use crate::desktop::rights::Rights;

pub(super) async fn of_desktop(pool: &SqlitePool, uid: &Uid) -> Result<Vec<Share>, Error> {
    let query = "SELECT id, uid, role, clipboard, created_at, expires_at FROM shares WHERE uid = ? ORDER BY created_at, id";
    let rows = sqlx::query(query)
        .bind(uid.as_str())
        .fetch_all(pool)
        .await?;
    rows.iter().map(read).collect()
}

pub(super) async fn by_token(pool: &SqlitePool, token: &TokenHash) -> Result<Option<Share>, Error> {
    let query =
        "SELECT id, uid, role, clipboard, created_at, expires_at FROM shares WHERE token_hash = ?";
    let row = sqlx::query(query)
        .bind(&token.0[..])
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn add(
    connection: &mut SqliteConnection,
    share: &Share,
    token: &TokenHash,
) -> Result<(), Error> {
    insert(connection, share, token).await?;
    let entry = Entry::now(JournalKind::ShareCreated, &share.uid, Some(&share.id));
    journal::add(connection, entry).await
}

async fn insert(
    connection: &mut SqliteConnection,
    share: &Share,
    token: &TokenHash,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO shares (id, uid, token_hash, role, clipboard, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&share.id)
    .bind(share.uid.as_str())
    .bind(&token.0[..])
    .bind(share.rights.role.as_str())
    .bind(share.rights.clipboard.as_str())
    .bind(time(share.created_at))
    .bind(share.expires.map(time))
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn change(connection: &mut SqliteConnection, share: &Share) -> Result<(), Error> {
    let updated = sqlx::query("UPDATE shares SET role = ?, clipboard = ? WHERE id = ?")
        .bind(share.rights.role.as_str())
        .bind(share.rights.clipboard.as_str())
        .bind(&share.id)
        .execute(&mut *connection)
        .await?;
    if updated.rows_affected() == 0 {
        return Ok(());
    }
    let entry = Entry::now(JournalKind::ShareChanged, &share.uid, Some(&share.id));
    journal::add(connection, entry).await
}

pub(super) async fn delete(
    connection: &mut SqliteConnection,
    uid: &Uid,
    id: &str,
) -> Result<bool, Error> {
    let deleted = sqlx::query("DELETE FROM shares WHERE uid = ? AND id = ?")
        .bind(uid.as_str())
        .bind(id)
        .execute(&mut *connection)
        .await?;
    if deleted.rows_affected() == 0 {
        return Ok(false);
    }
    let entry = Entry::now(JournalKind::ShareRevoked, uid, Some(id));
    journal::add(connection, entry).await?;
    Ok(true)
}

pub(super) async fn delete_expired(
    connection: &mut SqliteConnection,
    now: Timestamp,
) -> Result<(), Error> {
    let query = "DELETE FROM shares WHERE expires_at <= ? \
        RETURNING id, uid, role, clipboard, created_at, expires_at";
    let rows = sqlx::query(query)
        .bind(time(now))
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
        let share = read(row)?;
        let entry = Entry::now(JournalKind::ShareExpired, &share.uid, Some(&share.id));
        journal::add(connection, entry).await?;
    }
    Ok(())
}

pub(super) async fn set_takeover(
    connection: &mut SqliteConnection,
    uid: &Uid,
    takeover: Option<&Takeover>,
) -> Result<(), Error> {
    let (query, kind) = match takeover {
        None => (
            sqlx::query("DELETE FROM takeovers WHERE uid = ?").bind(uid.as_str()),
            JournalKind::ControlReturned,
        ),
        Some(takeover) => (
            sqlx::query(
                "INSERT INTO takeovers (uid, except_client) VALUES (?, ?) \
                 ON CONFLICT (uid) DO UPDATE SET except_client = excluded.except_client \
                 WHERE except_client IS NOT excluded.except_client",
            )
            .bind(uid.as_str())
            .bind(takeover.except.as_ref().map(ToString::to_string)),
            JournalKind::ControlTaken,
        ),
    };
    if query.execute(&mut *connection).await?.rows_affected() == 0 {
        // Nothing changes, unless there is no such desktop.
        let known = sqlx::query("SELECT 1 FROM desktops WHERE uid = ?").bind(uid.as_str());
        known.fetch_one(connection).await?;
        return Ok(());
    }
    journal::add(connection, Entry::now(kind, uid, None)).await
}

/// Replaces the tokens that earlier versions kept by their hashes. They are gone from the files with the next checkpoint.
pub(super) async fn hash_tokens(connection: &mut SqliteConnection) -> Result<(), Error> {
    let in_clear =
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'shares_in_clear'";
    let name: Option<String> = sqlx::query_scalar(in_clear)
        .fetch_optional(&mut *connection)
        .await?;
    if name.is_none() {
        return Ok(());
    }
    let rows = sqlx::query("SELECT * FROM shares_in_clear")
        .fetch_all(&mut *connection)
        .await?;
    // Overwrites what is deleted, here and in the pages that are freed.
    sqlx::query("PRAGMA secure_delete = ON")
        .execute(&mut *connection)
        .await?;
    let mut transaction = sqlx::Connection::begin(&mut *connection).await?;
    for row in &rows {
        let share = read(row)?;
        let token = Token::parse(row.try_get("token")?)
            .ok_or_else(|| Error::Decode("a share's token is malformed".into()))?;
        insert(&mut transaction, &share, &token.hash()).await?;
    }
    sqlx::query("DELETE FROM shares_in_clear")
        .execute(&mut *transaction)
        .await?;
    sqlx::query("DROP TABLE shares_in_clear")
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    sqlx::query("PRAGMA secure_delete = OFF")
        .execute(connection)
        .await?;
    Ok(())
}

fn read(row: &SqliteRow) -> Result<Share, Error> {
    let text = |column| row.try_get::<&str, _>(column);
    Ok(Share {
        id: text("id")?.to_owned(),
        uid: text("uid")?.parse().map_err(decode)?,
        rights: Rights {
            role: text("role")?.parse().map_err(decode)?,
            clipboard: text("clipboard")?.parse().map_err(decode)?,
        },
        created_at: text("created_at")?.parse().map_err(decode)?,
        expires: row
            .try_get::<Option<&str>, _>("expires_at")?
            .map(|text| text.parse().map_err(decode))
            .transpose()?,
    })
}
