//! The invariants of ARCHITECTURE.md that the compiler does not keep: who may name what.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Every source file of the service, as a path relative to `src`, with its text.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
                found.push((name.to_owned(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(found.len() > 20, "the sources were not found");
    found
}

/// The lines of code (no comments) outside `allowed` that contain one of `words`.
fn offenders(words: &[&str], allowed: &[&str]) -> Vec<String> {
    let mut offenders = Vec::new();
    for (name, text) in sources() {
        if allowed.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.trim_start();
            if !code.starts_with("//") && words.iter().any(|word| code.contains(word)) {
                offenders.push(format!("{name}:{}: {code}", number + 1));
            }
        }
    }
    offenders
}

#[test]
fn only_api_and_gateway_know_http() {
    let words = [
        "axum::",
        "hyper::",
        "hyper_util::",
        "tower_http::",
        "http::",
    ];
    let found = offenders(&words, &["api", "gateway", "server"]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn nothing_but_the_composition_root_imports_the_api() {
    let found = offenders(&["crate::api"], &["api", "server"]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn only_the_docker_engine_knows_the_docker_client() {
    let found = offenders(&["bollard"], &["engine/docker"]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn only_the_sqlite_store_knows_sql() {
    let found = offenders(&["sqlx"], &["store/sqlite"]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn only_the_composition_root_names_concrete_engines_and_stores() {
    let words = [
        "engine::docker",
        "engine::fake",
        "engine::remote",
        "store::sqlite",
        "store::memory",
    ];
    let found = offenders(&words, &["engine", "store", "server"]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn desktops_know_no_rfb_and_no_pictures() {
    let words = ["rfb::", "image::", "crate::pictures"];
    let allowed = [
        "api",
        "callback",
        "engine/fake",
        "gateway",
        "pictures",
        "server",
    ];
    let found = offenders(&words, &allowed);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_lifecycle_is_pure() {
    let found: Vec<_> = offenders(
        &[
            "async ",
            ".await",
            "tokio",
            "tracing",
            "Instant::now",
            "std::fs",
            "std::net",
        ],
        &[],
    )
    .into_iter()
    .filter(|line| line.starts_with("desktop/lifecycle.rs"))
    .collect();
    assert!(found.is_empty(), "{found:#?}");
}
