//! The project's terms: what has one is called by it, in the code and in every text.

use std::fs;
use std::path::{Path, PathBuf};

/// What must not be written, and what the term is.
const TERMS: [(&str, &str); 9] = [
    ("compare_aside", "spawn_reconcile"),
    ("for want of viewers", "idle"),
    ("hear_last_words", "drain_upstream"),
    ("one run of it", "a run"),
    (
        "own clock",
        "idle timeout, first-viewer timeout, maximum age, stop grace or start timeout",
    ),
    ("put_in_force", "activate"),
    ("stranger", "unmanaged container"),
    ("what it wrote", "log, log line"),
    ("who may everything", "owner, admin"),
];

/// Where texts are, from the root of the repository.
const PLACES: [&str; 9] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "catalog.toml",
    "bench",
    "crates",
    "deploy",
    "docs",
    "web/src",
];

#[test]
fn texts_and_names_use_the_terms() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    let mut ahead: Vec<PathBuf> = PLACES.iter().map(|place| root.join(place)).collect();
    while let Some(path) = ahead.pop() {
        if path.is_dir() {
            // Tests say what must not be.
            let is_skipped = path.ends_with("tests")
                || path.ends_with("target")
                || path.ends_with("node_modules");
            if !is_skipped {
                ahead.extend(
                    fs::read_dir(&path)
                        .unwrap()
                        .map(|entry| entry.unwrap().path()),
                );
            }
            continue;
        }
        // What is no text has no words.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            let line = line.to_lowercase();
            for (word, term) in TERMS.iter().filter(|(word, _)| line.contains(word)) {
                let name = path.strip_prefix(&root).unwrap().display();
                found.push(format!("{name}:{}: '{word}'; write: {term}", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
