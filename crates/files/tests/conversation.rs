//! The program as whoever asks it sees it, on a directory of this machine.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use files::Home;
use files::protocol::{
    Answer, DATA, END, Entry, Expected, Failure, HELLO, Mark, Request, Version, read_frame,
    write_frame,
};
use tempfile::TempDir;

struct Conversation {
    stream: UnixStream,
    program: JoinHandle<std::io::Result<()>>,
}

impl Conversation {
    fn begin(home: &Path) -> Self {
        let home = Home::new(File::open(home).unwrap().into());
        let (stream, theirs) = UnixStream::pair().unwrap();
        let program = thread::spawn(move || files::serve(&home, &theirs, &theirs));
        let mut conversation = Self { stream, program };
        assert_eq!(conversation.frame(), (HELLO, Vec::new()));
        conversation
    }

    fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut body = Vec::new();
        let kind = read_frame(&mut self.stream, &mut body).unwrap().unwrap();
        (kind, body)
    }

    fn ask(&mut self, request: &Request) -> Answer {
        request.write(&mut self.stream).unwrap();
        self.answer()
    }

    fn answer(&mut self) -> Answer {
        let (kind, body) = self.frame();
        Answer::parse(kind, &body).unwrap()
    }

    fn put(&mut self, path: &str, text: &[u8]) -> Answer {
        self.put_where(path, text, None)
    }

    fn put_where(&mut self, path: &str, text: &[u8], expected: Option<Expected>) -> Answer {
        let request = Request::Write {
            path: path.into(),
            size: None,
            modified: None,
            expected,
        };
        match self.ask(&request) {
            Answer::Ready => {
                write_frame(&mut self.stream, DATA, text).unwrap();
                write_frame(&mut self.stream, END, &[]).unwrap();
                self.answer()
            }
            answer => answer,
        }
    }

    fn parts(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let (kind, part) = self.frame();
            if kind == END {
                return all;
            }
            assert_eq!(kind, DATA);
            all.extend(part);
        }
    }

    /// Bytes of the file that was opened.
    fn read(&mut self, offset: u64, len: u64) -> Vec<u8> {
        let request = Request::Read { offset, len };
        request.write(&mut self.stream).unwrap();
        self.parts()
    }

    /// The names of a page of a directory, and the mark of the last where more follow.
    fn list(&mut self, path: &str, after: Option<Mark>, limit: u32) -> (Vec<String>, Option<Mark>) {
        let opened = self.ask(&Request::Open(path.into()));
        assert!(matches!(opened, Answer::Directory { .. }), "{opened:?}");
        let request = Request::List { after, limit };
        request.write(&mut self.stream).unwrap();
        let mut names = Vec::new();
        loop {
            let (kind, body) = self.frame();
            if kind == END {
                return (names, Mark::parse(&body));
            }
            let mut rest = &body[..];
            while let Some((entry, after)) = Entry::parse(rest) {
                names.push(String::from_utf8(entry.name).unwrap());
                rest = after;
            }
            assert!(rest.is_empty());
        }
    }

    fn end(self) -> std::io::Result<()> {
        drop(self.stream);
        self.program.join().unwrap()
    }
}

fn remove(path: &str) -> Request {
    Request::Remove {
        path: path.into(),
        expected: None,
    }
}

/// A home, and beside it what nobody may reach from there.
fn scene() -> (TempDir, PathBuf, PathBuf) {
    let scene = tempfile::tempdir().unwrap();
    let (home, outside) = (scene.path().join("home"), scene.path().join("outside"));
    for directory in [&home, &outside] {
        fs::create_dir(directory).unwrap();
    }
    fs::write(outside.join("secret"), "secret").unwrap();
    (scene, home, outside)
}

/// Does something again and again on another thread while something is tried on this one.
fn meanwhile(again: impl Fn() + Sync, tried: impl FnOnce()) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                again();
            }
        });
        // Also when it panics, or the other thread would go on for ever.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(tried));
        over.store(true, Ordering::Relaxed);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn nothing_outside_is_reached_while_a_directory_is_swapped_for_a_link() {
    let (_scene, home, outside) = scene();
    let swap = || {
        let (swapped, aside) = (home.join("d"), home.join("aside"));
        // Any of these may come in the middle of a request, and fail because of it.
        let _ = fs::create_dir(&swapped);
        // Never cut short in place: the program ends where a file has less than it said.
        let _ =
            File::create_new(swapped.join("secret")).and_then(|mut file| file.write_all(b"own"));
        let _ = fs::rename(&swapped, &aside);
        let _ = symlink(&outside, &swapped);
        let _ = fs::remove_file(&swapped);
        let _ = fs::remove_dir_all(&aside);
    };
    meanwhile(swap, || {
        let mut conversation = Conversation::begin(&home);
        for _ in 0..2_000 {
            conversation.put("d/new", b"new");
            let opened = conversation.ask(&Request::Open(b"d/secret".to_vec()));
            if let Answer::File { size, .. } = opened {
                assert_ne!(conversation.read(0, size), b"secret");
            }
            conversation.ask(&remove("d/secret"));
            conversation.ask(&Request::MakeDirectory {
                path: b"d/e/f".to_vec(),
                expected: None,
            });
            conversation.ask(&remove("d/e"));
        }
        conversation.end().unwrap();
    });
    let left: Vec<_> = fs::read_dir(&outside).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
}

#[test]
fn a_part_of_a_file_is_read_and_nothing_else_of_it() {
    let (_scene, home, _) = scene();
    fs::write(home.join("file"), "0123456789").unwrap();
    let mut conversation = Conversation::begin(&home);
    let mut read = |offset, len| {
        let opened = conversation.ask(&Request::Open(b"file".to_vec()));
        assert!(
            matches!(opened, Answer::File { size: 10, .. }),
            "{opened:?}"
        );
        conversation.read(offset, len)
    };
    assert_eq!(read(0, 10), b"0123456789");
    assert_eq!(read(3, 4), b"3456");
    assert_eq!(read(10, 0), b"");
    // Its place is in the file that was opened, whatever has its name meanwhile.
    let opened = conversation.ask(&Request::Open(b"file".to_vec()));
    fs::remove_file(home.join("file")).unwrap();
    fs::write(home.join("file"), "another").unwrap();
    assert_eq!(conversation.read(8, 2), b"89");
    assert_ne!(conversation.ask(&Request::Open(b"file".to_vec())), opened);
    // What was opened is so for one request.
    assert_eq!(conversation.ask(&Request::Ping), Answer::Done);
    let request = Request::Read { offset: 0, len: 1 };
    request.write(&mut conversation.stream).unwrap();
    assert!(conversation.end().is_err());
}

#[test]
fn a_directory_is_listed_in_pages_in_one_order_whatever_changes_meanwhile() {
    let (_scene, home, _) = scene();
    for name in ["d2", "d1"] {
        fs::create_dir(home.join(name)).unwrap();
    }
    for number in 0..1_000 {
        fs::write(home.join(format!("{number:03}")), "").unwrap();
    }
    let mut expected: Vec<String> = (0..1_000).map(|number| format!("{number:03}")).collect();
    expected.splice(0..0, ["d1", "d2"].map(str::to_owned));
    let mut conversation = Conversation::begin(&home);
    for limit in [1_002, 5_000] {
        assert_eq!(conversation.list("", None, limit), (expected.clone(), None));
    }
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let (names, last) = conversation.list("", after, 100);
        assert!(names.len() <= 100);
        // What was listed already may go without moving the rest.
        if names[0] != "d1" {
            fs::remove_file(home.join(&names[0])).unwrap();
        }
        all.extend(names);
        match last {
            Some(last) => after = Some(last),
            None => break,
        }
    }
    assert_eq!(all, expected);
}

#[test]
fn a_tree_is_deleted_without_what_its_links_lead_to() {
    let (_scene, home, outside) = scene();
    let deep = |depth: usize| home.join("tree/").join("d/".repeat(depth));
    fs::create_dir_all(deep(150)).unwrap();
    symlink(&outside, deep(150).join("link")).unwrap();
    let mut conversation = Conversation::begin(&home);
    assert_eq!(conversation.ask(&remove("tree")), Answer::Done);
    assert!(!home.join("tree").exists());
    assert!(outside.join("secret").exists());

    fs::create_dir_all(deep(250)).unwrap();
    let answer = conversation.ask(&remove("tree"));
    assert!(
        matches!(answer, Answer::Failed(Failure::System(_))),
        "{answer:?}"
    );
    let home_itself = conversation.ask(&remove(""));
    assert_eq!(home_itself, Answer::Failed(Failure::NotPermitted));
}

#[test]
fn disk_use_follows_no_link_and_has_a_depth() {
    let (_scene, home, outside) = scene();
    fs::write(outside.join("large"), vec![1; 1 << 20]).unwrap();
    symlink(&outside, home.join("link")).unwrap();
    let mut conversation = Conversation::begin(&home);
    let mut measure = || conversation.ask(&Request::Measure);
    let Answer::DiskUse(before) = measure() else {
        panic!("it is not measured");
    };
    assert!(before < 1 << 20, "{before} bytes");
    fs::create_dir_all(home.join("d/".repeat(150))).unwrap();
    assert!(matches!(measure(), Answer::DiskUse(bytes) if bytes >= before));
    fs::create_dir_all(home.join("d/".repeat(250))).unwrap();
    let answer = measure();
    assert!(
        matches!(answer, Answer::Failed(Failure::System(_))),
        "{answer:?}"
    );
}

#[test]
fn whoever_looks_sees_the_old_file_or_all_of_the_new_one() {
    let (_scene, home, _) = scene();
    let mut conversation = Conversation::begin(&home);
    let texts = ["a", "b"].map(|letter| letter.repeat(100_000));
    conversation.put("file", texts[0].as_bytes());
    let look = || {
        let seen = fs::read_to_string(home.join("file")).unwrap();
        assert!(texts.contains(&seen), "{} bytes", seen.len());
    };
    meanwhile(look, || {
        for number in 0..500 {
            let text = texts[number % 2].as_bytes();
            assert_eq!(conversation.put("file", text), Answer::Replaced);
        }
    });
    assert_eq!(fs::read_dir(&home).unwrap().count(), 1);
}

/// The version of the file at a path, as a conversation sees it.
fn version(conversation: &mut Conversation, path: &str) -> Version {
    let opened = conversation.ask(&Request::Open(path.into()));
    let Answer::File { version, .. } = opened else {
        unreachable!("{path}: {opened:?}");
    };
    version
}

#[test]
fn a_change_is_made_only_where_what_it_expects_is_there() {
    let (_scene, home, _) = scene();
    let mut conversation = Conversation::begin(&home);
    let changed = Answer::Failed(Failure::Changed);
    let exists = Answer::Failed(Failure::Exists);
    let other = Expected::Version(Version::default());
    for expected in [Expected::Present, other] {
        let answer = conversation.put_where("d/file", b"new", Some(expected));
        assert_eq!(answer, changed);
    }
    assert_eq!(
        fs::read_dir(&home).unwrap().count(),
        0,
        "no directory either"
    );
    let absent = Some(Expected::Absent);
    let answer = conversation.put_where("file", b"one", absent);
    assert_eq!(answer, Answer::Created);
    assert_eq!(conversation.put_where("file", b"two", absent), exists);
    symlink("nowhere", home.join("link")).unwrap();
    assert_eq!(conversation.put_where("link", b"two", absent), exists);

    let one = Some(Expected::Version(version(&mut conversation, "file")));
    let answer = conversation.put_where("file", b"two", one);
    assert_eq!(answer, Answer::Replaced);
    assert_eq!(conversation.put_where("file", b"three", one), changed);
    let remove = |expected| Request::Remove {
        path: b"file".to_vec(),
        expected,
    };
    assert_eq!(conversation.ask(&remove(one)), changed);
    // What an application writes in place is another version as well.
    let two = Some(Expected::Version(version(&mut conversation, "file")));
    fs::write(home.join("file"), "its own").unwrap();
    assert_eq!(conversation.ask(&remove(two)), changed);
    assert_eq!(fs::read(home.join("file")).unwrap(), b"its own");
    let now = Some(Expected::Version(version(&mut conversation, "file")));
    assert_eq!(conversation.ask(&remove(now)), Answer::Done);
    assert_eq!(conversation.ask(&remove(Some(Expected::Present))), changed);

    let make = |expected| Request::MakeDirectory {
        path: b"a/b".to_vec(),
        expected,
    };
    assert_eq!(conversation.ask(&make(absent)), Answer::Created);
    assert_eq!(conversation.ask(&make(absent)), exists);
    assert_eq!(
        conversation.ask(&make(Some(Expected::Present))),
        Answer::Replaced
    );
    assert_eq!(conversation.ask(&make(Some(other))), changed);
    conversation.end().unwrap();
}

/// Several programs have one home, as transfers go on side by side.
#[test]
fn of_changes_that_expect_the_same_at_once_one_is_made() {
    let (_scene, home, _) = scene();
    fs::write(home.join("count"), "0").unwrap();
    let made: usize = thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut conversation = Conversation::begin(&home);
                    let mut made = 0;
                    while made < 100 {
                        let path = Request::Open(b"count".to_vec());
                        let Answer::File { size, version, .. } = conversation.ask(&path) else {
                            unreachable!("the file is gone");
                        };
                        let text = String::from_utf8(conversation.read(0, size)).unwrap();
                        let next = (text.parse::<usize>().unwrap() + 1).to_string();
                        let expected = Some(Expected::Version(version));
                        let answer = conversation.put_where("count", next.as_bytes(), expected);
                        made += usize::from(answer == Answer::Replaced);
                    }
                    made
                })
            })
            .collect();
        writers.into_iter().map(|it| it.join().unwrap()).sum()
    });
    let counted = fs::read_to_string(home.join("count")).unwrap();
    assert_eq!(counted, made.to_string());
}

#[test]
fn no_two_versions_of_a_path_are_the_same() {
    let (_scene, home, _) = scene();
    let mut conversation = Conversation::begin(&home);
    let mut seen = Vec::new();
    for _ in 0..100 {
        conversation.put("file", b"text");
        let version = version(&mut conversation, "file");
        assert!(!seen.contains(&version), "{version:?}");
        seen.push(version);
    }
}

#[test]
fn what_nobody_asks_ends_it_and_what_has_begun_is_given_up() {
    let (_scene, home, _) = scene();
    let mut conversation = Conversation::begin(&home);
    write_frame(&mut conversation.stream, b'?', b"").unwrap();
    assert!(conversation.end().is_err());

    let mut conversation = Conversation::begin(&home);
    let too_long = [b'R', 0xff, 0xff, 0xff, 0xff];
    conversation.stream.write_all(&too_long).unwrap();
    assert!(conversation.end().is_err());

    let mut conversation = Conversation::begin(&home);
    let request = Request::Write {
        path: b"d/file".to_vec(),
        size: Some(3),
        modified: None,
        expected: None,
    };
    assert_eq!(conversation.ask(&request), Answer::Ready);
    write_frame(&mut conversation.stream, DATA, b"new").unwrap();
    assert!(conversation.end().is_err());
    assert_eq!(fs::read_dir(&home).unwrap().count(), 0);

    let mut conversation = Conversation::begin(&home);
    let stream = &mut conversation.stream;
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    conversation.end().unwrap();
}

#[test]
fn an_archive_has_the_lengths_that_it_says_whoever_writes_meanwhile() {
    let (_scene, home, _) = scene();
    let path = home.join("d/file");
    fs::create_dir(home.join("d")).unwrap();
    fs::write(&path, vec![1; 1 << 20]).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    let change = || {
        [1 << 20, 10]
            .into_iter()
            .for_each(|len| file.set_len(len).unwrap())
    };
    meanwhile(change, || {
        let mut conversation = Conversation::begin(&home);
        for _ in 0..100 {
            let request = Request::Archive(b"d".to_vec());
            assert_eq!(conversation.ask(&request), Answer::Archive);
            let bytes = conversation.parts();
            let mut archive = tar::Archive::new(&bytes[..]);
            let entries = archive.entries().unwrap();
            let names: Vec<PathBuf> = entries
                .map(|entry| entry.unwrap().path().unwrap().into_owned())
                .collect();
            assert_eq!(names, [Path::new("d"), Path::new("d/file")]);
        }
    });
}
