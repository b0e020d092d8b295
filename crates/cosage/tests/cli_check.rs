//! The command line as its user sees it, and the reference of settings in README.md.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test they are called by"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cosage::config::{Presentation, REFERENCE_END, REFERENCE_START, SETTINGS, reference};
use tempfile::TempDir;

/// Set to have the reference in README.md written instead of compared.
const UPDATE: &str = "UPDATE";

/// The program in an empty directory, without this process's environment.
fn cosage(directory: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cosage"));
    command
        .current_dir(directory.path())
        .env_clear()
        .env("HOME", directory.path());
    command
}

fn empty() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn text(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).unwrap()
}

fn status(output: &Output) -> Option<i32> {
    output.status.code()
}

#[test]
fn the_reference_in_the_readme_is_the_tables() {
    let readme: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let whole = std::fs::read_to_string(&readme).unwrap();
    let start = whole
        .find(REFERENCE_START)
        .expect("the line before the reference")
        + REFERENCE_START.len();
    let end = whole
        .find(REFERENCE_END)
        .expect("the line after the reference");
    let wanted = format!("\n{}", reference());
    if std::env::var_os(UPDATE).is_some() {
        let updated = format!("{}{wanted}{}", &whole[..start], &whole[end..]);
        std::fs::write(&readme, updated).unwrap();
        return;
    }
    assert_eq!(
        &whole[start..end],
        wanted,
        "README.md is behind the table of settings; run: {UPDATE}=1 cargo test -p cosage --test cli_check"
    );
}

#[test]
fn check_shows_every_setting_with_its_origin_and_the_catalogue() {
    let directory = empty();
    std::fs::write(
        directory.path().join("cosage.toml"),
        "# first\nmax_age = \"8h\"\n",
    )
    .unwrap();
    let output = cosage(&directory)
        .args(["check", "--network", "other"])
        .env("PORT_RANGE_START", "11500")
        .output()
        .unwrap();
    let shown = text(&output.stdout);
    assert_eq!(status(&output), Some(0), "{}", text(&output.stderr));
    let row = |variable: &str| -> Vec<String> {
        let line = shown
            .lines()
            .find(|line| line.split(' ').next() == Some(variable));
        let line = line.unwrap_or_else(|| panic!("{variable} is not in:\n{shown}"));
        line.split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(
        row("COSAGE_MAX_AGE"),
        ["COSAGE_MAX_AGE", "8h", "cosage.toml:2"]
    );
    assert_eq!(
        row("PORT_RANGE_START"),
        ["PORT_RANGE_START", "11500", "environment"]
    );
    assert_eq!(row("COSAGE_NETWORK"), ["COSAGE_NETWORK", "other", "flag"]);
    assert_eq!(row("COSAGE_REACH"), ["COSAGE_REACH", "auto", "default"]);
    assert!(
        shown.contains(
            "Catalogue: built-in catalog.toml, 4 apps: blender, firefox, tiny, vnc-connect"
        ),
        "{shown}"
    );
    for setting in &SETTINGS {
        row(setting.variable);
    }
    let columns: Vec<usize> = shown
        .lines()
        .filter_map(|line| line.strip_suffix("  default"))
        .map(|row| row.chars().count())
        .collect();
    assert!(columns.len() > 20, "{shown}");
    assert!(
        columns.windows(2).all(|pair| pair[0] == pair[1]),
        "not aligned:\n{shown}"
    );
}

#[test]
fn check_says_what_is_wrong_and_fails() {
    let directory = empty();
    let output = cosage(&directory)
        .args(["check", "--listen", "nowhere"])
        .env("COSAGE_LISTN", "x")
        .output()
        .unwrap();
    let errors = text(&output.stderr);
    assert_eq!(status(&output), Some(2));
    assert!(
        errors.contains("--listen: 'nowhere' is not an IP address and a port"),
        "{errors}"
    );
    assert!(
        errors.contains("COSAGE_LISTN: there is no such setting (did you mean 'COSAGE_LISTEN'?)"),
        "{errors}"
    );
}

#[test]
fn check_reads_the_catalogue_in_the_working_directory_and_checks_it() {
    let directory = empty();
    let catalog = directory.path().join("catalog.toml");
    std::fs::write(&catalog, "[app.one]\nimage = \"one\"\ngppu = true\nstream.vnc = { port = 5900, protocol = \"rfb\" }\n").unwrap();
    let output = cosage(&directory).arg("check").output().unwrap();
    let errors = text(&output.stderr);
    assert_eq!(status(&output), Some(2));
    assert!(
        errors.contains("catalog.toml:3:1: app.one has no key 'gppu' (did you mean 'gpu'?)"),
        "{errors}"
    );

    let output = cosage(&directory)
        .arg("check")
        .env("COSAGE_CATALOG", "missing.toml")
        .output()
        .unwrap();
    let errors = text(&output.stderr);
    assert_eq!(status(&output), Some(2));
    assert!(errors.contains("missing.toml cannot be read"), "{errors}");
}

#[test]
fn a_configuration_file_that_is_named_must_be_there() {
    let directory = empty();
    for (arguments, place) in [
        (["check", "--config=other.toml"], "--config"),
        (["check", "--json"], ""),
    ] {
        let mut command = cosage(&directory);
        command.args(arguments);
        if place.is_empty() {
            command.env("COSAGE_CONFIG", "other.toml");
        }
        let output = command.output().unwrap();
        let all = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(status(&output), Some(2));
        assert!(
            all.contains(place) && all.contains("other.toml cannot be read"),
            "{all}"
        );
    }
}

#[test]
fn check_as_json_is_one_object_and_never_has_the_token() {
    let directory = empty();
    let output = cosage(&directory)
        .args(["check", "--json"])
        .env("TOKEN", "s3cret")
        .output()
        .unwrap();
    let shown = text(&output.stdout);
    assert_eq!(status(&output), Some(0));
    assert!(!shown.contains("s3cret"), "{shown}");
    let value: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(value["errors"], serde_json::json!([]));
    assert_eq!(value["catalog"]["apps"][1], "firefox");
    let settings = value["settings"].as_array().unwrap();
    let token = settings
        .iter()
        .find(|setting| setting["name"] == "TOKEN")
        .unwrap();
    assert_eq!(token["value"], "(set, not shown)");
    assert_eq!(token["origin"], "environment");

    let table = cosage(&directory)
        .arg("check")
        .env("TOKEN", "s3cret")
        .output()
        .unwrap();
    assert!(!text(&table.stdout).contains("s3cret"));
}

#[test]
fn help_names_the_flag_variable_and_default_of_every_setting() {
    let output = cosage(&empty()).args(["serve", "--help"]).output().unwrap();
    let help = text(&output.stdout);
    assert_eq!(status(&output), Some(0));
    for setting in &SETTINGS {
        let variable = format!("[env: {}]", setting.variable);
        let expected = setting.presentation == Presentation::Shown;
        assert_eq!(help.contains(&variable), expected, "{variable}");
        if let Some(flag) = setting.flag() {
            assert_eq!(help.contains(&format!("--{flag} ")), expected, "--{flag}");
        }
    }
    assert!(
        help.contains("A setting is taken from its flag, else"),
        "{help}"
    );
    assert!(
        help.contains("--listen <ADDRESS>") && help.contains("[default: 127.0.0.1:4024]"),
        "{help}"
    );
}

#[test]
fn a_flag_that_says_yes_or_no_says_yes_by_itself() {
    let value = |arguments: &[&str]| {
        let output = cosage(&empty())
            .args(["check", "--json"])
            .args(arguments)
            .output()
            .unwrap();
        let value: serde_json::Value = serde_json::from_str(&text(&output.stdout)).unwrap();
        let of = |name: &str| {
            let settings = value["settings"].as_array().unwrap();
            let setting = settings.iter().find(|setting| setting["name"] == name);
            setting.unwrap()["value"].as_str().unwrap().to_owned()
        };
        (of("COSAGE_API_ON_STREAM_PORT"), of("COSAGE_MAX_DESKTOPS"))
    };
    let expected = |one: &str, other: &str| (one.to_owned(), other.to_owned());
    assert_eq!(value(&[]), expected("false", "none"));
    // Another flag behind it is not its value.
    assert_eq!(
        value(&["--api-on-stream-port", "--max-desktops", "3"]),
        expected("true", "3")
    );
    assert_eq!(
        value(&["--api-on-stream-port", "false"]),
        expected("false", "none")
    );
}

#[test]
fn without_a_command_the_help_is_shown_and_the_version_is_the_packages() {
    let output = cosage(&empty()).output().unwrap();
    assert_eq!(status(&output), Some(2));
    assert!(
        text(&output.stderr).contains("Usage: cosage <COMMAND>"),
        "{}",
        text(&output.stderr)
    );
    let output = cosage(&empty()).arg("--version").output().unwrap();
    assert_eq!(
        text(&output.stdout),
        format!("cosage {}\n", env!("CARGO_PKG_VERSION"))
    );
}
