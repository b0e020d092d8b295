//! `cosage ls`: all desktops.

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::client::{Target, read};
use super::desktop::{Desktop, desktops};
use super::failure::Failure;
use super::homes::{Size, measure};
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
    /// Also how much disk each home takes, which is measured now.
    #[arg(long, conflicts_with_all = ["quiet", "json"])]
    size: bool,
    #[command(flatten)]
    target: Target,
}

impl Ls {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let client = self.target.client()?;
        let values = desktops(&client, &[]).await?;
        if self.json {
            return print_json(&values);
        }
        let desktops: Vec<Desktop> = read(&Value::Array(values))?;
        if self.quiet {
            return print(&names(&desktops));
        }
        let rows: Vec<_> = desktops
            .iter()
            .map(|desktop| row(desktop, Timestamp::now()))
            .collect();
        if !self.size {
            return print(&list(rows));
        }
        let uids: Vec<String> = desktops.into_iter().map(|desktop| desktop.uid).collect();
        print(&list_with_sizes(rows, &measure(&client, &uids).await))
    }
}

fn names(desktops: &[Desktop]) -> String {
    desktops
        .iter()
        .map(|desktop| format!("{}\n", desktop.uid))
        .collect()
}

const HEAD: [&str; 6] = ["UID", "APP", "STATUS", "SINCE", "VIEWERS", "ENDS IN"];

fn row(desktop: &Desktop, now: Timestamp) -> [Cell; 6] {
    let ends = match (desktop.until, desktop.forgotten_at) {
        (Some(until), _) => distance(now, until),
        (None, Some(at)) => format!("deleted in {}", distance(now, at)),
        (None, None) => "-".to_owned(),
    };
    [
        Cell::from(&desktop.uid),
        Cell::from(&desktop.app),
        desktop.status_cell(),
        Cell::from(distance(desktop.since, now)),
        Cell::from(desktop.viewers.to_string()),
        Cell::from(ends),
    ]
}

fn list(rows: Vec<[Cell; 6]>) -> String {
    let mut table = Table::new(HEAD);
    for row in rows {
        table.push(row);
    }
    table.render()
}

fn list_with_sizes(rows: Vec<[Cell; 6]>, sizes: &[Size]) -> String {
    let [uid, app, status, since, viewers, ends] = HEAD;
    let mut table = Table::new([uid, app, status, since, viewers, ends, "SIZE"]);
    for ([uid, app, status, since, viewers, ends], size) in rows.into_iter().zip(sizes) {
        table.push([uid, app, status, since, viewers, ends, size.cell()]);
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
                 "created_at": "2026-01-01T00:00:00Z", "used_at": "2026-01-01T00:00:00Z", "viewers": 2, "until": "2026-01-01T00:12:00Z",
                 "because": "x"},
                {"uid": "b", "app": "gone\u001b[2J", "status": "starting", "since": "2026-01-01T00:01:50Z",
                 "created_at": "2026-01-01T00:00:00Z", "used_at": "2026-01-01T00:00:00Z", "viewers": 0, "because": "x",
                 "progress": {"step": "pulling", "percent": 43}, "more": "than is known"},
                {"uid": "c", "app": "tiny", "status": "asleep", "since": "2026-01-01T00:01:50Z",
                 "created_at": "2026-01-01T00:00:00Z", "used_at": "2026-01-01T00:00:00Z",
                 "because": "x", "forgotten_at": "2026-01-06T00:02:00Z"}]"#,
        )
        .unwrap();
        let now = "2026-01-01T00:02:00Z".parse().unwrap();
        let shown = list(desktops.iter().map(|desktop| row(desktop, now)).collect());
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
        assert_eq!(
            lines[3],
            ["c", "tiny", "asleep", "10 s", "0", "deleted in 5 d"]
        );
        assert_eq!(names(&desktops), "wall\nb\nc\n");
        let size = Size {
            disk_use: Some(3 << 20),
            problem: None,
        };
        let sized = list_with_sizes(vec![row(&desktops[2], now)], &[size]);
        assert!(
            sized.contains("SIZE") && sized.contains("3.00 MiB"),
            "{sized}"
        );
    }
}
