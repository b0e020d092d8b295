//! The user's web browser, where there is one.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Opens a page, and waits for nothing. Whether there was something to open it with.
pub(super) fn open(url: &str) -> bool {
    let Some(program) = opener(|name| std::env::var_os(name), Path::is_file) else {
        return false;
    };
    Command::new(program)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A browser that is started by it must not end with this terminal's Ctrl-C.
        .process_group(0)
        .spawn()
        .is_ok()
}

/// The desktop environment's own way to open a page: macOS has it always, others where there is a
/// display.
fn opener(
    variable: impl Fn(&str) -> Option<OsString>,
    exists: impl Fn(&Path) -> bool,
) -> Option<PathBuf> {
    let set = |name| variable(name).is_some_and(|value| !value.is_empty());
    if cfg!(target_os = "macos") {
        return Some(PathBuf::from("/usr/bin/open"));
    }
    if !set("DISPLAY") && !set("WAYLAND_DISPLAY") {
        return None;
    }
    std::env::split_paths(&variable("PATH")?)
        .map(|directory| directory.join("xdg-open"))
        .find(|program| exists(program))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_browser_needs_a_display_and_something_that_opens_it() {
        let found = |variables: &'static [(&str, &str)], there: &'static str| {
            opener(
                |name| {
                    let found = variables.iter().find(|(known, _)| *known == name);
                    found.map(|(_, value)| OsString::from(value))
                },
                |path| path == Path::new(there),
            )
        };
        const PATH: (&str, &str) = ("PATH", "/sbin:/usr/bin");
        let program = "/usr/bin/xdg-open";
        assert_eq!(
            found(&[PATH, ("DISPLAY", ":0")], program),
            Some(program.into())
        );
        assert_eq!(
            found(&[PATH, ("WAYLAND_DISPLAY", "wayland-0")], program),
            Some(program.into())
        );
        assert_eq!(found(&[PATH, ("DISPLAY", "")], program), None);
        assert_eq!(found(&[PATH], program), None);
        assert_eq!(found(&[PATH, ("DISPLAY", ":0")], "/opt/xdg-open"), None);
    }
}
