//! `cosage ls`: all desktops, or some of them.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use jiff::Timestamp;
use serde_json::Value;

use super::client::{Pages, Target, read};
use super::desktop::Desktop;
use super::failure::Failure;
use super::homes::{Size, measure};
use super::output::{distance, print, print_line};
use super::table::{Cell, Table};

/// `cosage ls`.
#[derive(Debug, Args)]
pub struct Ls {
    /// Print the names only, one a line.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    /// Print a JSON array of desktops, as the API describes them.
    #[arg(long)]
    json: bool,
    /// List at most this many desktops.
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// List only desktops with this status; active is any but asleep and failed.
    #[arg(long, value_parser = ["active", "asleep", "starting", "ready", "stopping", "restarting", "failed"])]
    status: Option<String>,
    /// List only desktops of this app.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    app: Option<String>,
    /// List only desktops whose name or app contains each word of this text.
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// List the newest first, the one that was used last first, or by name.
    #[arg(long, value_parser = ["created", "used", "uid"], default_value = "created")]
    sort: String,
    /// Also how much disk each home takes, which is measured now.
    #[arg(long, conflicts_with_all = ["quiet", "json"])]
    size: bool,
    #[command(flatten)]
    target: Target,
}

impl Ls {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let client = self.target.client()?;
        let most = self
            .limit
            .map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let mut pages = Pages::new(&client, self.query(), most);
        let mut table = Table::new(HEAD);
        let mut sized = sized_table();
        let mut array = Array::default();
        // Each page is printed before the next one is read.
        while let Some(page) = pages.next().await? {
            if self.json {
                array.print(&page)?;
                continue;
            }
            let desktops: Vec<Desktop> = read(&Value::Array(page))?;
            let rows = desktops
                .iter()
                .map(|desktop| row(desktop, Timestamp::now()));
            if self.quiet {
                print(&names(&desktops))?;
            } else if self.size {
                let uids: Vec<String> =
                    desktops.iter().map(|desktop| desktop.uid.clone()).collect();
                add_sized(&mut sized, rows, &measure(&client, &uids).await);
                print(&sized.drain())?;
            } else {
                rows.for_each(|row| table.push(row));
                print(&table.drain())?;
            }
        }
        if self.json {
            array.end()?;
        }
        Ok(())
    }

    fn query(&self) -> Vec<(&'static str, String)> {
        let given = [
            ("status", &self.status),
            ("app", &self.app),
            ("q", &self.search),
        ];
        given
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.clone()?)))
            .chain([("sort", self.sort.clone())])
            .collect()
    }
}

/// A JSON array that is printed in pieces.
#[derive(Default)]
struct Array {
    has_begun: bool,
}

impl Array {
    fn print(&mut self, values: &[Value]) -> Result<(), Failure> {
        let mut text = String::new();
        for value in values {
            let begun = std::mem::replace(&mut self.has_begun, true);
            text.push_str(if begun { ",\n" } else { "[\n" });
            text.push_str("  ");
            text.push_str(&format!("{value:#}").replace('\n', "\n  "));
        }
        print(&text)
    }

    fn end(&self) -> Result<(), Failure> {
        print_line(if self.has_begun { "\n]" } else { "[]" })
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

fn sized_table() -> Table<7> {
    let [uid, app, status, since, viewers, ends] = HEAD;
    Table::new([uid, app, status, since, viewers, ends, "SIZE"])
}

fn add_sized(table: &mut Table<7>, rows: impl Iterator<Item = [Cell; 6]>, sizes: &[Size]) {
    for ([uid, app, status, since, viewers, ends], size) in rows.zip(sizes) {
        table.push([uid, app, status, since, viewers, ends, size.cell()]);
    }
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
        let mut table = Table::new(HEAD);
        for desktop in &desktops {
            table.push(row(desktop, now));
        }
        let shown = table.drain();
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
        let mut table = sized_table();
        add_sized(&mut table, [row(&desktops[2], now)].into_iter(), &[size]);
        let sized = table.drain();
        assert!(
            sized.contains("SIZE") && sized.contains("3.00 MiB"),
            "{sized}"
        );
    }
}
