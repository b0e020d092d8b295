//! A database of the last version without runs becomes one of this version.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cosage::desktop::access::Token;
use cosage::desktop::record::Cause;
use cosage::engine::InstanceId;
use cosage::store::sqlite::SqliteStore;
use cosage::store::{Query, Sort, Store};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqlSafeStr};

use super::{names, new_run, uid};

const STEPS: [(i64, &str, &str); 5] = [
    (
        1,
        "desktops",
        include_str!("../../migrations/0001_desktops.sql"),
    ),
    (
        2,
        "access",
        include_str!("../../migrations/0002_access.sql"),
    ),
    (
        3,
        "takeovers",
        include_str!("../../migrations/0003_takeovers.sql"),
    ),
    (
        4,
        "orphans",
        include_str!("../../migrations/0004_orphans.sql"),
    ),
    (5, "runs", include_str!("../../migrations/0005_runs.sql")),
];

/// Addresses of shares, as they were and are made.
const TOKENS: [&str; 2] = [
    "0123456789abcdef0123456789abcdef",
    "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210",
];

const ORPHAN: &str = "orphan-1";

pub(crate) async fn connect(directory: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(directory.join("desktops.db"));
    options.create_if_missing(true).connect().await.unwrap()
}

/// Brings a database to one of the schemas, as the service does.
async fn migrate(connection: &mut SqliteConnection, schema: usize) {
    let steps = STEPS[..schema]
        .iter()
        .map(|(version, description, statements)| {
            let statements = (*statements).into_sql_str();
            Migration::new(
                *version,
                (*description).into(),
                MigrationType::Simple,
                statements,
                false,
            )
        });
    let migrator = Migrator::with_migrations(steps.collect());
    migrator.run(connection).await.unwrap();
}

/// A database of schema 4 with desktops of which times have 0 to 9 digits behind the point.
async fn old_database(directory: &Path) -> SqliteConnection {
    let mut connection = connect(directory).await;
    migrate(&mut connection, 4).await;
    let mut statements = vec!["INSERT INTO meta VALUES ('owner', 'the-owner')".to_owned()];
    for digits in 0..10 {
        let fraction = match digits {
            0 => String::new(),
            _ => format!(".{}", &"123456789"[..digits]),
        };
        statements.push(format!(
            "INSERT INTO desktops VALUES ('d{digits}', 'firefox', '{{\"A\":\"日本\"}}', '2026-01-02T03:04:05{fraction}Z')"
        ));
    }
    for (number, token) in TOKENS.iter().enumerate() {
        statements.push(format!(
            "INSERT INTO shares VALUES ('s{number}', 'd{number}', '{token}', 'view', 'out', \
             '2026-01-02T03:04:05.5Z', {})",
            if number == 0 {
                "NULL"
            } else {
                "'2126-01-02T03:04:05Z'"
            },
        ));
    }
    statements.push("INSERT INTO takeovers VALUES ('d1', 'page@s1'), ('d2', NULL)".to_owned());
    statements.push(format!("INSERT INTO orphans VALUES ('{ORPHAN}')"));
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut connection)
            .await
            .unwrap();
    }
    connection
}

/// Whether one of the tokens is in a file.
fn has_token(path: &Path) -> bool {
    let bytes = std::fs::read(path).unwrap_or_default();
    let within = |token: &&str| {
        bytes
            .windows(token.len())
            .any(|part| part == token.as_bytes())
    };
    TOKENS.iter().any(within)
}

/// Everything of the old database is there, and no token.
async fn assert_migrated(directory: &Path, store: &SqliteStore) {
    assert_eq!(store.owner(), "the-owner");
    let by_name = Query {
        sort: Sort::Uid,
        ..Query::newest(100)
    };
    let expected: Vec<_> = (0..10).map(|digits| format!("d{digits}")).collect();
    assert_eq!(names(store, &by_name).await, expected);
    // The more digits, the later.
    let newest: Vec<_> = expected.iter().rev().cloned().collect();
    assert_eq!(names(store, &Query::newest(100)).await, newest);
    for digits in 0..10 {
        let desktop = store
            .desktop(&uid(&format!("d{digits}")))
            .await
            .unwrap()
            .unwrap();
        let nanoseconds: i32 = format!("{:0<9}", &"123456789"[..digits]).parse().unwrap();
        assert_eq!(desktop.record.created_at.subsec_nanosecond(), nanoseconds);
        assert_eq!(desktop.record.environment.0["A"], "日本");
        assert_eq!(desktop.last_run, None);
        let takeover = desktop
            .takeover
            .map(|it| it.except.map(|spared| spared.to_string()));
        let expected = match digits {
            1 => Some(Some("page@s1".to_owned())),
            2 => Some(None),
            _ => None,
        };
        assert_eq!(takeover, expected);
    }
    for (number, token) in TOKENS.iter().enumerate() {
        let hash = Token::parse(token).unwrap().hash();
        let share = store.share_by_token(&hash).await.unwrap().unwrap();
        assert_eq!(
            (share.id, share.uid),
            (format!("s{number}"), uid(&format!("d{number}")))
        );
        assert_eq!(share.expires.is_some(), number == 1);
        assert_eq!(share.created_at.subsec_millisecond(), 500);
    }
    for name in ["desktops.db", "desktops.db-wal"] {
        assert!(!has_token(&directory.join(name)), "{name}");
    }
}

#[tokio::test]
async fn everything_of_an_old_database_is_found_again() {
    let directory = tempfile::tempdir().unwrap();
    old_database(directory.path()).await.close().await.unwrap();
    assert!(
        has_token(&directory.path().join("desktops.db")),
        "the test looks for nothing"
    );
    for _ in 0..2 {
        let store = SqliteStore::open(directory.path()).await.unwrap();
        assert_migrated(directory.path(), &store).await;
        assert_eq!(store.live_runs().await.unwrap(), []);
        assert_eq!(
            store.is_from_before(&InstanceId(ORPHAN.to_owned())).await,
            Ok(false)
        );
        assert_eq!(store.is_from_before(&InstanceId::random()).await, Ok(true));
    }

    // Each instance is taken over once.
    let store = SqliteStore::open(directory.path()).await.unwrap();
    let mut run = new_run("d0", jiff::Timestamp::now());
    run.cause = Cause::Upgrade;
    assert_eq!(store.begin_run(None, &run).await, Ok(1));
    assert_eq!(store.is_from_before(&run.instance).await, Ok(false));
    store.end_upgrade().await.unwrap();
    assert_eq!(store.is_from_before(&InstanceId::random()).await, Ok(false));
    assert_eq!(store.live_runs().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_copy_of_the_old_database_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    // One from an upgrade that was undone by hand.
    let copy = directory.path().join("desktops.before-5.db");
    std::fs::write(&copy, "an earlier copy").unwrap();
    old_database(directory.path()).await.close().await.unwrap();
    drop(SqliteStore::open(directory.path()).await.unwrap());
    assert_eq!(
        std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let back = tempfile::tempdir().unwrap();
    std::fs::copy(&copy, back.path().join("desktops.db")).unwrap();
    let mut connection = connect(back.path()).await;
    let tokens: Vec<String> = sqlx::query_scalar("SELECT token FROM shares ORDER BY id")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(tokens, TOKENS);
    connection.close().await.unwrap();
    let store = SqliteStore::open(back.path()).await.unwrap();
    assert_migrated(back.path(), &store).await;
}

#[tokio::test]
async fn a_migration_that_was_interrupted_is_finished() {
    let directory = tempfile::tempdir().unwrap();
    let mut connection = old_database(directory.path()).await;
    // As far as the statements of the last step go: the tokens are still in the clear.
    migrate(&mut connection, 5).await;
    connection.close().await.unwrap();
    let store = SqliteStore::open(directory.path()).await.unwrap();
    assert_migrated(directory.path(), &store).await;
}

#[tokio::test]
async fn a_new_store_is_no_upgrade() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).await.unwrap();
    assert_eq!(store.is_from_before(&InstanceId::random()).await, Ok(false));
    assert!(!directory.path().join("desktops.before-5.db").exists());
}
