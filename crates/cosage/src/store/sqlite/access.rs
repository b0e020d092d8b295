//! Shares and roles: who may do what.

use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Error, Row};

use super::decode;
use crate::desktop::Uid;
use crate::desktop::access::{Share, Token};
use crate::desktop::rights::{Rights, Role};

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

pub(super) async fn load_roles(pool: &SqlitePool) -> Result<Vec<(Uid, Role)>, Error> {
    let rows = sqlx::query("SELECT uid, role FROM roles ORDER BY uid")
        .fetch_all(pool)
        .await?;
    rows.iter().map(read_role).collect()
}

pub(super) async fn set_role(pool: &SqlitePool, uid: &Uid, role: Role) -> Result<(), Error> {
    let query = match role {
        Role::Control => sqlx::query("DELETE FROM roles WHERE uid = ?").bind(uid.as_str()),
        Role::View => sqlx::query(
            "INSERT INTO roles (uid, role) VALUES (?, ?) ON CONFLICT (uid) DO UPDATE SET role = excluded.role",
        )
        .bind(uid.as_str())
        .bind(role.as_str()),
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

fn read_role(row: &SqliteRow) -> Result<(Uid, Role), Error> {
    let uid: &str = row.try_get("uid")?;
    let role: &str = row.try_get("role")?;
    Ok((uid.parse().map_err(decode)?, role.parse().map_err(decode)?))
}
