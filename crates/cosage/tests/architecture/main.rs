//! The invariants of ARCHITECTURE.md that the compiler does not keep: who may name what.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

mod modules;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

/// Every file below a folder whose name ends so, as a path relative to it, with its text.
fn files(root: &Path, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("node_modules") {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == ending)
            {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                found.push((name.to_owned(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(found.len() > 5, "the sources were not found");
    found
}

/// Every source file of the service.
fn sources() -> Vec<(String, String)> {
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "rs")
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

/// The folder of a crate of ours.
fn crate_directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

#[test]
fn only_the_composition_root_names_concrete_engines_and_stores() {
    let graph = modules::graph(&crate_directory("cosage"));
    let concrete = |module: &[String]| {
        let at = |top: &str, names: &[&str]| {
            module.len() > 1 && module[0] == top && names.contains(&module[1].as_str())
        };
        at("engine", &["docker", "simulated", "remote"]) || at("store", &["sqlite", "memory"])
    };
    let mut found = Vec::new();
    for (module, used) in &graph {
        if ["engine", "store", "server"].contains(&module[0].as_str()) {
            continue;
        }
        for used in used.iter().filter(|used| concrete(used)) {
            found.push(format!("{} uses {}", module.join("::"), used.join("::")));
        }
    }
    assert!(
        found.is_empty(),
        "take an engine or a store by its trait; server::compose chooses which: {found:#?}"
    );
}

#[test]
fn no_modules_use_each_other_in_a_circle() {
    for name in ["cosage", "rfb", "files"] {
        let graph = modules::graph(&crate_directory(name));
        let circles: Vec<Vec<String>> = modules::circles(&graph)
            .iter()
            .map(|circle| circle.iter().map(|module| module.join("::")).collect())
            .collect();
        assert!(
            circles.is_empty(),
            "move what both sides of a circle need into a module that uses neither: {circles:#?}"
        );
    }
}

/// What a file of more than [`LONG`] lines has in its head, with the reason.
const LONG_BECAUSE: &str = "//! More than 500 lines because ";

/// How many lines a file may have without a reason.
const LONG: usize = 500;

#[test]
fn a_long_file_says_why_it_is_long() {
    let mut found = Vec::new();
    for name in ["cosage", "rfb", "files"] {
        for (file, text) in files(&crate_directory(name).join("src"), "rs") {
            let lines = text.lines().count();
            let says_why = text.lines().any(|line| line.starts_with(LONG_BECAUSE));
            // A list of tests may be as long as it is.
            let is_list = file.ends_with("tests.rs");
            if lines > LONG && !says_why && !is_list {
                found.push(format!("{name}/src/{file}: {lines} lines"));
            }
        }
    }
    assert!(
        found.is_empty(),
        "split it by what it is about, or give the reason in its head: '{LONG_BECAUSE}…': {found:#?}"
    );
}

#[test]
fn errors_become_http_in_one_place() {
    let words = [
        "StatusCode::INTERNAL_SERVER_ERROR",
        "StatusCode::BAD_GATEWAY",
        "StatusCode::SERVICE_UNAVAILABLE",
        "StatusCode::GATEWAY_TIMEOUT",
    ];
    // The gateway answers for itself; a health check and a look at other servers' answers are no errors.
    let elsewhere = ["api/error.rs", "api/health.rs", "delivery.rs", "gateway"];
    let found = offenders(&words, &elsewhere);
    assert!(
        found.is_empty(),
        "give the error a type, and map it in api/error.rs: {found:#?}"
    );
}

#[test]
fn desktops_know_no_rfb_and_no_pictures() {
    let words = ["rfb::", "image::", "crate::pictures"];
    let allowed = [
        "api",
        "callback",
        "engine/simulated",
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

/// The lines of a file's tests without comments, each with its number: of a file of tests all, and of
/// others what is in the module for tests, moved to the left as if it were a file.
fn test_lines<'a>(name: &str, text: &'a str) -> Vec<(usize, &'a str)> {
    let whole = name.contains("/tests/") || name.ends_with("/tests.rs");
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .skip_while(|(_, line)| !whole && *line != "#[cfg(test)]")
        .map(|(number, line)| match line.strip_prefix("    ") {
            Some(moved) if !whole => (number, moved),
            _ => (number, line),
        })
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .collect()
}

/// Whether a function, of which these are the lines up to one of its own, stops the clock.
fn on_the_paused_clock(before: &[(usize, &str)]) -> bool {
    before
        .iter()
        .rev()
        .take_while(|(_, line)| *line != "}")
        .any(|(_, line)| line.contains("start_paused = true") || line.contains("time::pause()"))
}

/// The lines of tests that wait for a time, or look how much has gone by, on a clock that runs.
fn lines_that_measure_time(name: &str, text: &str) -> Vec<String> {
    let lines = test_lines(name, text);
    let attributes = || {
        lines
            .iter()
            .filter(|(_, line)| line.starts_with("#[tokio::test"))
    };
    // What all of a file's tests share runs on their clock.
    let all_paused =
        attributes().count() > 0 && attributes().all(|(_, line)| line.contains("start_paused"));
    // An engine that takes its time is what tests wait for.
    let exempt = [
        "support/wait.rs",
        "support/engine.rs",
        "tests/architecture/main.rs",
    ];
    if all_paused || exempt.iter().any(|file| name.ends_with(file)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (index, (number, line)) in lines.iter().enumerate() {
        let sleeps = line.match_indices("sleep(").any(|(at, _)| {
            let previous = line[..at].chars().next_back();
            !previous.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
        });
        if (sleeps || line.contains(".elapsed()")) && !on_the_paused_clock(&lines[..index]) {
            found.push(format!("{name}:{number}: {}", line.trim()));
        }
    }
    found
}

#[test]
fn tests_wait_for_events_and_measure_no_time() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let found: Vec<String> = files(crates, "rs")
        .iter()
        .flat_map(|(name, text)| lines_that_measure_time(name, text))
        .collect();
    assert!(
        found.is_empty(),
        "wait for the event (tests/support/wait.rs), or stop the clock (start_paused): {found:#?}"
    );
}

#[test]
fn browser_and_deployment_tests_wait_for_events() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    for (name, text) in files(&tests, "mjs") {
        for word in ["timers/promises", "waitForTimeout"] {
            assert!(
                name == "support/wait.mjs" || !text.contains(word),
                "wait for the event (tests/support/wait.mjs), not for a time: {name} has {word}"
            );
        }
    }
}

#[test]
fn a_sleep_is_found_wherever_a_test_has_it() {
    let found = |name: &str, text: &str| lines_that_measure_time(name, text).len();
    let test = "#[tokio::test]\nasync fn a() {\n    tokio::time::sleep(SECOND).await;\n}\n";
    assert_eq!(found("cosage/tests/a.rs", test), 1);
    assert_eq!(found("cosage/src/a/tests.rs", test), 1);
    let code = "async fn a() {\n    sleep(SECOND).await;\n}\n";
    assert_eq!(found("cosage/src/a.rs", code), 0);
    assert_eq!(
        found("cosage/src/a.rs", &format!("{code}#[cfg(test)]\n{test}")),
        1
    );
    assert_eq!(
        found("cosage/tests/a.rs", "assert!(begun.elapsed() < SECOND);\n"),
        1
    );
    let paused = test.replace("test]", "test(start_paused = true)]");
    assert_eq!(found("cosage/tests/a.rs", &paused), 0);
    assert_eq!(found("cosage/tests/a.rs", &format!("{paused}{test}")), 1);
    let name = "fn a() {\n    asleep(&service);\n}\n";
    assert_eq!(found("cosage/tests/a.rs", name), 0);
}
