//! `cosage ls`: all desktops.

use clap::Args;
use jiff::Timestamp;

use super::client::{Target, read};
use super::desktop::Desktop;
use super::failure::Failure;
use super::output::{distance, print, print_json};
use super::table::{Cell, Table};

/// `cosage ls`.
#[derive(Debug, Args)]
pub struct Ls {
    /// Print the names only, one a line.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    /// Answer as JSON, as the API gives it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

impl Ls {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let value = self.target.client()?.get(["api", "vm"]).await?;
        if self.json {
            return print_json(&value);
        }
        let desktops: Vec<Desktop> = read(&value)?;
        if self.quiet {
            return print(&names(&desktops));
        }
        print(&list(&desktops, Timestamp::now()))
    }
}

fn names(desktops: &[Desktop]) -> String {
    desktops
        .iter()
        .map(|desktop| format!("{}\n", desktop.uid))
        .collect()
}

fn list(desktops: &[Desktop], now: Timestamp) -> String {
    let mut table = Table::new(["UID", "APP", "STATUS", "SINCE", "VIEWERS", "ENDS IN"]);
    for desktop in desktops {
        let until = desktop.until.map(|until| distance(now, until));
        table.push([
            Cell::from(&desktop.uid),
            Cell::from(&desktop.app),
            desktop.status_cell(),
            Cell::from(distance(desktop.since, now)),
            Cell::from(desktop.viewers.to_string()),
            Cell::from(until.as_deref().unwrap_or("-")),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_where_a_desktop_is_and_when_it_ends() {
        let desktops: Vec<Desktop> = serde_json::from_str(
            r#"[{"uid": "wall", "app": "tiny", "status": "ready", "since": "2026-01-01T00:00:00Z",
                 "created_at": "2026-01-01T00:00:00Z", "viewers": 2, "until": "2026-01-01T00:12:00Z",
                 "because": "x"},
                {"uid": "b", "app": "gone\u001b[2J", "status": "starting", "since": "2026-01-01T00:01:50Z",
                 "created_at": "2026-01-01T00:00:00Z", "viewers": 0, "because": "x",
                 "progress": {"step": "pulling", "percent": 43}, "more": "than is known"}]"#,
        )
        .unwrap();
        let now = "2026-01-01T00:02:00Z".parse().unwrap();
        let shown = list(&desktops, now);
        let lines: Vec<Vec<&str>> = shown
            .lines()
            .map(|line| {
                line.split("  ")
                    .map(str::trim)
                    .filter(|word| !word.is_empty())
                    .collect()
            })
            .collect();
        assert_eq!(
            lines[0],
            ["UID", "APP", "STATUS", "SINCE", "VIEWERS", "ENDS IN"]
        );
        assert_eq!(lines[1], ["wall", "tiny", "ready", "2 min", "2", "10 min"]);
        assert_eq!(
            lines[2],
            [
                "b",
                "gone\u{fffd}[2J",
                "starting (pulling its image, 43 %)",
                "10 s",
                "0",
                "-"
            ]
        );
        assert_eq!(names(&desktops), "wall\nb\n");
    }
}
