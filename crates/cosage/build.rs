//! What the service carries inside itself: `cosage-files`, and the console.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

/// Where `npm run build` leaves the console.
const CONSOLE: &str = "../../web/dist";

fn main() -> Result<(), Box<dyn Error>> {
    take_console()?;
    build_files()
}

/// Lets a release contain the console as it was built last. A debug build reads it when it starts.
fn take_console() -> Result<(), Box<dyn Error>> {
    // Cargo would take a directory that is not there for changed each time.
    std::fs::create_dir_all(CONSOLE)?;
    if env::var("PROFILE")? == "release" {
        println!("cargo::rerun-if-changed={CONSOLE}");
    }
    Ok(())
}

/// Builds `cosage-files`, which is given to the engine: static, because it runs in a container that
/// has nothing but it.
fn build_files() -> Result<(), Box<dyn Error>> {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let workspace = manifest.join("../..");
    for source in ["crates/files/src", "crates/files/Cargo.toml", "Cargo.lock"] {
        println!(
            "cargo::rerun-if-changed={}",
            workspace.join(source).display()
        );
    }
    let target = env::var("TARGET")?;
    // A directory of its own, because the build that runs this holds the lock of the usual one. It lies beside those of
    // the profiles (OUT_DIR is <profile>/build/<package>/out), which all want the same program: the first one builds it.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let profiles = out.ancestors().nth(4).ok_or("OUT_DIR is too short")?;
    let output = profiles.join("cosage-files");
    let status = Command::new(env::var("CARGO")?)
        .args(["build", "--package", "files", "--bin", "cosage-files"])
        .args(["--release", "--locked", "--quiet", "--target", &target])
        .arg("--target-dir")
        .arg(&output)
        .current_dir(&workspace)
        // What the outer build is told about its own crates: flags, and a linter as compiler.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env(
            "RUSTFLAGS",
            "-C target-feature=+crt-static -C relocation-model=static",
        )
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .status()?;
    if !status.success() {
        return Err(
            "cosage-files could not be built; a static libc is in Debian's libc6-dev".into(),
        );
    }
    let program = output.join(target).join("release/cosage-files");
    println!("cargo::rustc-env=COSAGE_FILES={}", program.display());
    Ok(())
}
