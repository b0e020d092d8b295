//! Shares and takeovers: who may do what.

use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Error, Row};

use super::decode;
use crate::desktop::Uid;
use crate::desktop::access::{Share, Takeover, Token};
use crate::desktop::rights::Rights;

pub(super) async fn load_shares(pool: &SqlitePool) -> Result<Vec<Share>, Error> {
    let query =
        "SELECT id, uid, token, role, clipboard, created_at, expires_at FROM shares ORDER BY id";
    let rows = sqlx::query(query).fetch_all(pool).await?;
    rows.iter().map(read_share).collect()
}

pub(super) async fn put_share(pool: &SqlitePool, share: &Share) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO shares (id, uid, token, role, clipboard, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (id) DO UPDATE SET role = excluded.role, clipboard = excluded.clipboard, \
         expires_at = excluded.expires_at",
    )
    .bind(&share.id)
    .bind(share.uid.as_str())
    .bind(share.token.reveal())
    .bind(share.rights.role.as_str())
    .bind(share.rights.clipboard.as_str())
    .bind(share.created_at.to_string())
    .bind(share.expires.map(|at| at.to_string()))
    .execute(pool)
    .await?;
    Ok(())
}

pub(super) async fn delete_share(pool: &SqlitePool, id: &str) -> Result<(), Error> {
    sqlx::query("DELETE FROM shares WHERE id = ?")
        .bind(id)
        .execute(pool)
        .await?;
    Ok(())
}

pub(super) async fn load_takeovers(pool: &SqlitePool) -> Result<Vec<(Uid, Takeover)>, Error> {
    let rows = sqlx::query("SELECT uid, except_client FROM takeovers ORDER BY uid")
        .fetch_all(pool)
        .await?;
    rows.iter().map(read_takeover).collect()
}

pub(super) async fn set_takeover(
    pool: &SqlitePool,
    uid: &Uid,
    takeover: Option<&Takeover>,
) -> Result<(), Error> {
    let query = match takeover {
        None => sqlx::query("DELETE FROM takeovers WHERE uid = ?").bind(uid.as_str()),
        Some(takeover) => sqlx::query(
            "INSERT INTO takeovers (uid, except_client) VALUES (?, ?) \
             ON CONFLICT (uid) DO UPDATE SET except_client = excluded.except_client",
        )
        .bind(uid.as_str())
        .bind(takeover.except.as_ref().map(ToString::to_string)),
    };
    query.execute(pool).await?;
    Ok(())
}

fn read_share(row: &SqliteRow) -> Result<Share, Error> {
    let text = |column| row.try_get::<&str, _>(column);
    let token = Token::parse(text("token")?)
        .ok_or_else(|| Error::Decode("a share's token is malformed".into()))?;
    Ok(Share {
        id: text("id")?.to_owned(),
        uid: text("uid")?.parse().map_err(decode)?,
        token,
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

fn read_takeover(row: &SqliteRow) -> Result<(Uid, Takeover), Error> {
    let uid: &str = row.try_get("uid")?;
    let except: Option<&str> = row.try_get("except_client")?;
    let takeover = Takeover {
        except: except
            .map(|spared| spared.parse().map_err(decode))
            .transpose()?,
    };
    Ok((uid.parse().map_err(decode)?, takeover))
}
