//! What every engine is held to about the files of homes.

use std::time::Duration;

use bytes::Bytes;
use cosage::desktop::Uid;
use cosage::engine::Homes;
use cosage::engine::home::{
    Content, Entry, EntryKind, Expected, Failure, FileContent, HomeError, HomePath, Time, Written,
};

use super::{PATIENCE, Subject, offered, start, wait};

/// Names that a shell, a protocol or an archive may stumble over.
const NAMES: [&str; 9] = [
    "plain",
    "tab\tand\rreturn",
    "100% ?#& %2e%2e",
    "with space",
    "ünï©ode 🗎",
    "new\nline",
    "-dash",
    "back\\slash \"quotes\" $HOME `id` *",
    "directory/inside/it",
];

fn path(text: &str) -> HomePath {
    HomePath::from_names(text.split('/').map(|name| name.as_bytes().to_vec())).unwrap()
}

async fn put(homes: &dyn Homes, uid: &Uid, at: &str, text: &str) -> Result<Written, HomeError> {
    put_where(homes, uid, at, text, None).await
}

async fn put_where(
    homes: &dyn Homes,
    uid: &Uid,
    at: &str,
    text: &str,
    expected: Option<Expected>,
) -> Result<Written, HomeError> {
    let size = Some(text.len() as u64);
    let home = homes.open(uid).await?.expecting(expected);
    let mut upload = home.write(&path(at), size, None).await?;
    upload.send(&Bytes::from(text.to_owned())).await?;
    upload.finish().await
}

async fn get(homes: &dyn Homes, uid: &Uid, at: &str) -> Result<Vec<u8>, HomeError> {
    let file = open(homes, uid, at).await?;
    let size = file.size;
    let mut parts = file.read(0..size).await?;
    let mut all = Vec::new();
    while let Some(part) = parts.next().await? {
        all.extend_from_slice(&part);
    }
    assert_eq!(all.len() as u64, size);
    Ok(all)
}

async fn open(homes: &dyn Homes, uid: &Uid, at: &str) -> Result<FileContent, HomeError> {
    match homes.open(uid).await?.open(&path(at)).await? {
        Content::File(file) => Ok(file),
        Content::Directory(_) => panic!("'{at}' is a directory"),
    }
}

async fn list(homes: &dyn Homes, uid: &Uid, at: &HomePath) -> Result<Vec<Entry>, HomeError> {
    let Content::Directory(directory) = homes.open(uid).await?.open(at).await? else {
        panic!("'{at}' is a file");
    };
    assert!(directory.free > 0);
    let mut entries = directory.list(None, 1_000).await?;
    let mut all = Vec::new();
    while let Some(some) = entries.next().await? {
        all.extend(some);
    }
    assert_eq!(entries.last(), None);
    Ok(all)
}

async fn remove(homes: &dyn Homes, uid: &Uid, at: &str) -> Result<(), HomeError> {
    homes.open(uid).await?.remove(&path(at)).await
}

fn is<T: std::fmt::Debug>(outcome: Result<T, HomeError>, failure: Failure) {
    assert_eq!(outcome.unwrap_err(), HomeError::Files(failure));
}

pub(super) async fn what_a_change_expects_has_to_be_there(subject: Subject) {
    let engine = subject.engine();
    let Some(homes) = offered(engine.homes()) else {
        return;
    };
    let uid = Uid::random();
    start(&*engine, &subject.desktop(&uid)).await;
    let absent = Some(Expected::Absent);
    let created = put_where(homes, &uid, "file", "1", absent).await;
    assert_eq!(created, Ok(Written::Created));
    let refused = put_where(homes, &uid, "file", "2", absent).await;
    is(refused, Failure::Exists);

    // One of two that replace the same version does, each in a program of its own.
    let opened = open(homes, &uid, "file").await.unwrap();
    let this_one = Some(Expected::Version(opened.version));
    Content::File(opened).close();
    let (one, other) = tokio::join!(
        put_where(homes, &uid, "file", "3", this_one),
        put_where(homes, &uid, "file", "4", this_one)
    );
    let text = if one.is_ok() { "3" } else { "4" };
    let (made, refused) = if one.is_ok() {
        (one, other)
    } else {
        (other, one)
    };
    assert_eq!(made, Ok(Written::Replaced));
    is(refused, Failure::Changed);
    assert_eq!(get(homes, &uid, "file").await, Ok(text.into()));

    let home = homes.open(&uid).await.unwrap().expecting(this_one);
    is(home.remove(&path("file")).await, Failure::Changed);
    assert_eq!(remove(homes, &uid, "file").await, Ok(()));
}

pub(super) async fn a_file_comes_back_as_it_went(subject: Subject) {
    let engine = subject.engine();
    let Some(homes) = offered(engine.homes()) else {
        return;
    };
    let uid = Uid::random();
    assert_eq!(homes.open(&uid).await.err(), Some(HomeError::NoHome));
    let instance = start(&*engine, &subject.desktop(&uid)).await;
    for name in NAMES {
        let created = put(homes, &uid, name, name).await;
        assert_eq!(created, Ok(Written::Created), "{name:?}");
        let replaced = put(homes, &uid, name, "").await;
        assert_eq!(replaced, Ok(Written::Replaced), "{name:?}");
        assert_eq!(get(homes, &uid, name).await, Ok(Vec::new()));
    }
    // Whether it runs or not makes no difference.
    engine.stop(&instance.id, Duration::ZERO).await.unwrap();
    for name in NAMES {
        put(homes, &uid, name, name).await.unwrap();
        assert_eq!(get(homes, &uid, name).await, Ok(name.as_bytes().to_vec()));
        assert_eq!(remove(homes, &uid, name).await, Ok(()));
        is(remove(homes, &uid, name).await, Failure::NotFound);
        is(get(homes, &uid, name).await, Failure::NotFound);
    }
    is(get(homes, &uid, &"x".repeat(255)).await, Failure::NotFound);

    let modified = Time {
        seconds: 981_173_106,
        nanoseconds: 500_000_000,
    };
    let upload = homes.open(&uid).await.unwrap();
    let upload = upload.write(&path("dated"), None, Some(modified)).await;
    upload.unwrap().finish().await.unwrap();
    let listed = list(homes, &uid, &HomePath::default()).await.unwrap();
    let dated = listed.iter().find(|entry| entry.name == b"dated").unwrap();
    assert_eq!(dated.modified, modified);
}

pub(super) async fn a_large_file_comes_back_as_it_went(subject: Subject) {
    const PARTS: u32 = 300;
    let part = |number: u32| Bytes::from([number.to_le_bytes(); 50_000].concat());
    let engine = subject.engine();
    let Some(homes) = offered(engine.homes()) else {
        return;
    };
    let uid = Uid::random();
    start(&*engine, &subject.desktop(&uid)).await;
    let home = homes.open(&uid).await.unwrap();
    let mut upload = home.write(&path("large"), None, None).await.unwrap();
    for number in 0..PARTS {
        upload.send(&part(number)).await.unwrap();
    }
    assert_eq!(upload.finish().await, Ok(Written::Created));
    let all = get(homes, &uid, "large").await.unwrap();
    let expected: Vec<u8> = (0..PARTS).flat_map(part).collect();
    assert!(all == expected, "{} bytes", all.len());

    for range in [0..1, 12_345_678..23_456_789, 59_999_999..60_000_000, 7..7] {
        let file = open(homes, &uid, "large").await.unwrap();
        let mut parts = file.read(range.clone()).await.unwrap();
        let mut all = Vec::new();
        while let Some(part) = parts.next().await.unwrap() {
            all.extend_from_slice(&part);
        }
        let part = &expected[range.start as usize..range.end as usize];
        assert!(all == part, "{range:?}: {} bytes", all.len());
    }
}

pub(super) async fn directories_are_listed_archived_and_deleted(subject: Subject) {
    let engine = subject.engine();
    let Some(homes) = offered(engine.homes()) else {
        return;
    };
    let uid = Uid::random();
    start(&*engine, &subject.desktop(&uid)).await;
    subject
        .in_home(&uid, "mkdir -p d/z/deep d/a && echo -n four > d/file && ln -s file d/b-link && mkfifo d/c-fifo")
        .await;
    let listed = list(homes, &uid, &path("d")).await.unwrap();
    let short: Vec<_> = listed
        .iter()
        .map(|entry| {
            (
                std::str::from_utf8(&entry.name).unwrap(),
                entry.kind,
                entry.size,
            )
        })
        .collect();
    assert_eq!(
        short,
        [
            ("a", EntryKind::Directory, 0),
            ("z", EntryKind::Directory, 0),
            ("b-link", EntryKind::Link, 0),
            ("c-fifo", EntryKind::Other, 0),
            ("file", EntryKind::File, 4),
        ]
    );
    let age = jiff::Timestamp::now().as_second() - listed[4].modified.seconds;
    assert!(age.abs() < 60, "modified {age} s ago");
    assert_eq!(get(homes, &uid, "d/b-link").await, Ok(b"four".to_vec()));
    is(get(homes, &uid, "d/c-fifo").await, Failure::NotFile);

    let home = homes.open(&uid).await.unwrap();
    let mut parts = home.archive(&path("d")).await.unwrap();
    let mut archive = Vec::new();
    while let Some(part) = parts.next().await.unwrap() {
        archive.extend_from_slice(&part);
    }
    let mut archive = tar::Archive::new(&archive[..]);
    let mut names: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    names.sort();
    let expected = ["d", "d/a", "d/b-link", "d/file", "d/z", "d/z/deep"];
    assert_eq!(names, expected);

    let made = async |at: &str| {
        let home = homes.open(&uid).await.unwrap();
        home.make_directory(&path(at)).await
    };
    assert_eq!(made("new/in/it").await, Ok(Written::Created));
    assert_eq!(made("new/in").await, Ok(Written::Replaced));
    is(made("d/file").await, Failure::NotDirectory);
    is(made("d/file/x").await, Failure::NotDirectory);
    is(put(homes, &uid, "d", "").await, Failure::IsDirectory);
    is(
        put(homes, &uid, "d/file/x", "").await,
        Failure::NotDirectory,
    );
    is(
        list(homes, &uid, &path("d/file/x")).await,
        Failure::NotFound,
    );
    assert_eq!(remove(homes, &uid, "d").await, Ok(()));
    assert_eq!(subject.in_home(&uid, "ls").await.trim(), "new");
}

pub(super) async fn links_that_lead_out_lead_nowhere(subject: Subject) {
    let engine = subject.engine();
    let Some(homes) = offered(engine.homes()) else {
        return;
    };
    let uid = Uid::random();
    start(&*engine, &subject.desktop(&uid)).await;
    subject
        .in_home(
            &uid,
            "ln -s /etc/passwd absolute; ln -s ../../etc/passwd relative; ln -s /etc directory; \
             ln -s /proc/self/root root; mkdir d; ln -s .. d/up; ln -s ../../.. d/over; \
             echo -n in > d/file; ln -s d/file within; ln -s nowhere dangling",
        )
        .await;
    for out in [
        "absolute",
        "relative",
        "directory/passwd",
        "root/etc/passwd",
        "d/over/etc/passwd",
    ] {
        is(get(homes, &uid, out).await, Failure::OutsideHome);
        is(put(homes, &uid, out, "").await, Failure::OutsideHome);
        let home = homes.open(&uid).await.unwrap();
        assert_eq!(
            home.archive(&path(out)).await.err(),
            Some(HomeError::Files(Failure::OutsideHome))
        );
    }
    is(
        list(homes, &uid, &path("directory")).await,
        Failure::OutsideHome,
    );
    is(
        remove(homes, &uid, "directory/passwd").await,
        Failure::OutsideHome,
    );
    let home = homes.open(&uid).await.unwrap();
    is(
        home.make_directory(&path("directory/x")).await,
        Failure::OutsideHome,
    );
    assert_eq!(get(homes, &uid, "within").await, Ok(b"in".to_vec()));
    assert_eq!(get(homes, &uid, "d/up/within").await, Ok(b"in".to_vec()));
    is(get(homes, &uid, "dangling").await, Failure::NotFound);
    assert_eq!(
        put(homes, &uid, "dangling", "x").await,
        Ok(Written::Replaced)
    );
    // A link is deleted itself, wherever it leads.
    assert_eq!(remove(homes, &uid, "directory").await, Ok(()));
    assert_eq!(remove(homes, &uid, "d").await, Ok(()));
    let left = subject.in_home(&uid, "ls").await;
    assert_eq!(left.trim(), "absolute\ndangling\nrelative\nroot\nwithin");
}

pub(super) async fn an_upload_that_is_given_up_leaves_nothing(subject: Subject) {
    let engine = subject.engine();
    let Some(homes) = offered(engine.homes()) else {
        return;
    };
    let uid = Uid::random();
    start(&*engine, &subject.desktop(&uid)).await;
    put(homes, &uid, "old", "old").await.unwrap();
    for at in ["old", "parent/new"] {
        let home = homes.open(&uid).await.unwrap();
        let mut upload = home.write(&path(at), None, None).await.unwrap();
        upload.send(&Bytes::from(vec![0; 3 << 20])).await.unwrap();
        drop(upload);
    }
    assert_eq!(get(homes, &uid, "old").await, Ok(b"old".to_vec()));
    assert_eq!(
        subject.in_home(&uid, "find . -type f").await.trim(),
        "./old"
    );
    assert_eq!(
        subject
            .in_home(&uid, "ls -A | grep -v '^\\.[a-z]' || true")
            .await
            .trim(),
        "old"
    );
    let home = homes.open(&uid).await.unwrap();
    assert_eq!(
        home.write(&path("huge"), Some(1 << 60), None).await.err(),
        Some(HomeError::Files(Failure::NoSpace))
    );
}

pub(super) async fn what_is_put_belongs_to_the_homes_owner(subject: Subject) {
    let engine = subject.engine();
    let Some(homes) = offered(engine.homes()) else {
        return;
    };
    let uid = Uid::random();
    start(&*engine, &subject.desktop(&uid)).await;
    put(homes, &uid, "d/file", "").await.unwrap();
    let owners = subject.in_home(&uid, "stat -c %u:%g . d d/file").await;
    let owners: Vec<_> = owners.lines().collect();
    assert!(
        owners.len() == 3 && owners.iter().all(|owner| *owner == owners[0]),
        "{owners:?}"
    );
    let modes = async || subject.in_home(&uid, "stat -c %a d d/file").await;
    assert_eq!(modes().await.trim(), "755\n644");
    subject.in_home(&uid, "chmod 700 d/file").await;
    put(homes, &uid, "d/file", "new").await.unwrap();
    assert_eq!(modes().await.trim(), "755\n700");
}

pub(super) async fn a_transfer_and_a_start_do_not_wait_for_each_other(subject: Subject) {
    let engine = subject.engine();
    let Some(homes) = offered(engine.homes()) else {
        return;
    };
    let uid = Uid::random();
    let first = start(&*engine, &subject.desktop(&uid)).await;
    let home = homes.open(&uid).await.unwrap();
    let mut upload = home.write(&path("file"), None, None).await.unwrap();
    upload.send(&Bytes::from_static(b"before, ")).await.unwrap();
    engine.stop(&first.id, Duration::ZERO).await.unwrap();
    upload
        .send(&Bytes::from_static(b"between, "))
        .await
        .unwrap();
    let second = start(&*engine, &subject.desktop(&uid)).await;
    // What serves files is no instance.
    assert_eq!(engine.list().await.unwrap().len(), 1);
    upload.send(&Bytes::from_static(b"after")).await.unwrap();
    assert_eq!(upload.finish().await, Ok(Written::Created));
    assert_eq!(
        get(homes, &uid, "file").await,
        Ok(b"before, between, after".to_vec())
    );
    engine.stop(&second.id, Duration::ZERO).await.unwrap();
}

pub(super) async fn a_forgotten_home_takes_its_transfers_along(subject: Subject) {
    let engine = subject.engine();
    let Some(homes) = offered(engine.homes()) else {
        return;
    };
    let uid = Uid::random();
    let instance = start(&*engine, &subject.desktop(&uid)).await;
    put(homes, &uid, "large", &"x".repeat(8 << 20))
        .await
        .unwrap();
    engine.stop(&instance.id, Duration::ZERO).await.unwrap();

    let home = homes.open(&uid).await.unwrap();
    let mut upload = home.write(&path("new"), None, None).await.unwrap();
    let file = open(homes, &uid, "large").await.unwrap();
    let mut parts = file.read(0..8 << 20).await.unwrap();
    assert!(parts.next().await.unwrap().is_some());
    assert_eq!(homes.delete(&uid).await, Ok(()));
    assert!(!subject.has_home(&uid).await);
    let ended = loop {
        match parts.next().await {
            Ok(Some(_)) => {}
            other => break other.err(),
        }
    };
    assert_eq!(ended, Some(HomeError::Ended));
    let part = Bytes::from(vec![0; 1 << 20]);
    let ended = loop {
        if let Err(error) = upload.send(&part).await {
            break error;
        }
    };
    assert_eq!(ended, HomeError::Ended);
    assert_eq!(homes.open(&uid).await.err(), Some(HomeError::NoHome));
    assert!(!subject.has_home(&uid).await);

    // The name is free for a new home.
    start(&*engine, &subject.desktop(&uid)).await;
    is(get(homes, &uid, "large").await, Failure::NotFound);
}

pub(super) async fn disk_use_is_what_the_blocks_of_a_home_take(subject: Subject) {
    let engine = subject.engine();
    let Some(homes) = offered(engine.homes()) else {
        return;
    };
    let uid = Uid::random();
    let instance = start(&*engine, &subject.desktop(&uid)).await;
    let same = async || {
        let counted = subject
            .in_home(&uid, "du --summarize --block-size=1 .")
            .await;
        let counted = counted.split_whitespace().next().unwrap().parse().unwrap();
        let home = homes.open(&uid).await.unwrap();
        (home.disk_use().await == Ok(counted)).then_some(counted)
    };
    let settled = async || wait::eventually(PATIENCE / 2, "the same disk use", &same).await;
    let before: u64 = settled().await;

    subject
        .in_home(
            &uid,
            "mkdir -p d/e && dd if=/dev/zero of=d/e/file bs=1M count=3 conv=fsync && ln d/e/file d/again \
             && ln d/e/file more && truncate --size=1G sparse && ln -s d/e/file link && mkfifo fifo",
        )
        .await;
    engine.stop(&instance.id, Duration::ZERO).await.unwrap();
    let after = settled().await;
    let added = after - before;
    assert!((3 << 20..4 << 20).contains(&added), "{added} bytes more");

    // What cannot be read is no reason to say nothing.
    for mode in ["chmod 0 d/e", "chmod 400 d"] {
        subject.in_home(&uid, mode).await;
        let home = homes.open(&uid).await.unwrap();
        let counted = home.disk_use().await.unwrap();
        assert!(
            counted >= before,
            "{mode}: {counted} bytes, {before} before"
        );
    }
    let nobody = homes.open(&Uid::random()).await;
    assert_eq!(nobody.err(), Some(HomeError::NoHome));
}

pub(super) async fn homes_are_listed_until_they_are_deleted(subject: Subject) {
    let engine = subject.engine();
    let Some(homes) = offered(engine.homes()) else {
        return;
    };
    let (uid, other) = (Uid::random(), Uid::random());
    assert!(!homes.list().await.unwrap().contains(&uid));
    let instance = start(&*engine, &subject.desktop(&uid)).await;
    start(&*engine, &subject.desktop(&other)).await;
    let listed = homes.list().await.unwrap();
    for uid in [&uid, &other] {
        let count = listed.iter().filter(|listed| *listed == uid).count();
        assert_eq!(count, 1, "{listed:?}");
    }
    engine.stop(&instance.id, Duration::ZERO).await.unwrap();
    assert!(homes.list().await.unwrap().contains(&uid));
    homes.delete(&uid).await.unwrap();
    let listed = homes.list().await.unwrap();
    assert!(!listed.contains(&uid) && listed.contains(&other));
}
