//! `cosage prune`: what takes disk and is not used any more.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use reqwest::Method;
use serde::Serialize;

use serde_json::Value;

use super::client::{Client, Pages, Target, read};
use super::desktop::Desktop;
use super::failure::Failure;
use super::homes::{Size, measure};
use super::output::{bytes, distance, print, print_json, print_line};
use super::table::{Cell, Table};
use crate::text::parse_duration;

/// `cosage prune`.
#[derive(Debug, Args)]
pub struct Prune {
    /// Desktops that were not used for this long, such as 30d; without it, no desktop.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    unused: Option<Duration>,
    /// Only desktops of this app, and no homes of deleted desktops.
    #[arg(long, requires = "unused")]
    app: Option<String>,
    /// Delete what is listed; without it, nothing is deleted.
    #[arg(long, short)]
    yes: bool,
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Something that can be deleted.
#[derive(Debug, Serialize)]
struct Row {
    kind: Kind,
    uid: String,
    /// Of a desktop.
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_at: Option<Timestamp>,
    #[serde(flatten)]
    size: Size,
    /// With --yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Desktop,
    /// It belongs to no desktop.
    Home,
}

impl Prune {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let client = self.target.client()?;
        let now = Timestamp::now();
        let mut rows = self.candidates(&client, now).await?;
        let uids: Vec<String> = rows.iter().map(|row| row.uid.clone()).collect();
        for (row, size) in rows.iter_mut().zip(measure(&client, &uids).await) {
            row.size = size;
        }
        if !self.yes {
            return match self.json {
                true => print_json(&rows),
                false => print(&list(&rows, now)),
            };
        }
        let mut outcome = Ok(());
        for row in &mut rows {
            let deleted = delete(&client, row).await;
            row.deleted = Some(deleted.is_ok());
            match deleted {
                Ok(()) if self.json => {}
                Ok(()) => print_line(&format!("deleted {}", name(row)))?,
                // The others are deleted all the same; the first failure is the command's.
                Err(failure) => outcome = outcome.and(Err(failure.told())),
            }
        }
        if self.json {
            print_json(&rows)?;
        } else {
            print_line(&sum(
                "deleted",
                rows.iter().filter(|row| row.deleted == Some(true)),
            ))?;
        }
        outcome
    }

    async fn candidates(&self, client: &Client, now: Timestamp) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        if let Some(unused) = self.unused {
            let mut query = vec![("sort", "used".to_owned())];
            query.extend(self.app.clone().map(|app| ("app", app)));
            let before = now.saturating_sub(unused).unwrap_or(Timestamp::MIN);
            let mut pages = Pages::new(client, query, None);
            while let Some(page) = pages.next().await? {
                let page: Vec<Desktop> = read(&Value::Array(page))?;
                let unused = page.into_iter().filter(|desktop| {
                    let rests = matches!(desktop.status.as_str(), "asleep" | "failed");
                    rests && desktop.used_at < before
                });
                rows.extend(unused.map(|desktop| Row {
                    kind: Kind::Desktop,
                    uid: desktop.uid,
                    app: Some(desktop.app),
                    used_at: Some(desktop.used_at),
                    size: Size::default(),
                    deleted: None,
                }));
            }
            // Those that were used last come first from the service.
            rows.reverse();
        }
        if self.app.is_none() {
            let request = client
                .request(Method::GET, ["api", "homes"])
                .query(&[("unclaimed", "true")]);
            let homes: Vec<String> = read(&client.json(request).await?)?;
            rows.extend(homes.into_iter().map(|uid| Row {
                kind: Kind::Home,
                uid,
                app: None,
                used_at: None,
                size: Size::default(),
                deleted: None,
            }));
        }
        Ok(rows)
    }
}

async fn delete(client: &Client, row: &Row) -> Result<(), Failure> {
    let request = match (row.kind, row.used_at) {
        (Kind::Home, _) => client.request(Method::DELETE, ["api", "homes", &row.uid]),
        (Kind::Desktop, used_at) => client
            .request(Method::DELETE, ["api", "vm", &row.uid])
            .query(&[("forget", "true")])
            // One that is used meanwhile stays.
            .query(&[("unused_since", used_at.map(|at| at.to_string()))]),
    };
    client.send(request).await?;
    Ok(())
}

fn name(row: &Row) -> String {
    let size = row.size.disk_use.map(|size| format!(" ({})", bytes(size)));
    let size = size.unwrap_or_default();
    match row.kind {
        Kind::Desktop => format!("desktop {}{size}", row.uid),
        Kind::Home => format!("home {}{size}", row.uid),
    }
}

fn list(rows: &[Row], now: Timestamp) -> String {
    if rows.is_empty() {
        return "nothing to delete\n".to_owned();
    }
    let mut table = Table::new(["KIND", "UID", "APP", "UNUSED FOR", "SIZE"]);
    for row in rows {
        let unused = row.used_at.map(|at| distance(at, now));
        table.push([
            Cell::from(match row.kind {
                Kind::Desktop => "desktop",
                Kind::Home => "home of no desktop",
            }),
            Cell::from(&row.uid),
            Cell::from(row.app.as_deref().unwrap_or("-")),
            Cell::from(unused.as_deref().unwrap_or("-")),
            row.size.cell(),
        ]);
    }
    let total = sum("to delete", rows.iter());
    format!("{}{total}; --yes deletes them\n", table.render())
}

fn sum<'a>(what: &str, rows: impl Iterator<Item = &'a Row> + Clone) -> String {
    let count = |kind| rows.clone().filter(|row| row.kind == kind).count();
    let size: u64 = rows.clone().filter_map(|row| row.size.disk_use).sum();
    let unknown = rows.clone().filter(|row| row.size.is_unknown()).count();
    let unknown = match unknown {
        0 => String::new(),
        unknown => format!(", {unknown} not measured"),
    };
    format!(
        "{what}: {} and {}, {}{unknown}",
        plural(count(Kind::Desktop), "desktop", "desktops"),
        plural(
            count(Kind::Home),
            "home of no desktop",
            "homes of no desktop"
        ),
        bytes(size)
    )
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: Kind, uid: &str, disk_use: Option<u64>) -> Row {
        Row {
            kind,
            uid: uid.to_owned(),
            app: (kind == Kind::Desktop).then(|| "tiny".to_owned()),
            used_at: (kind == Kind::Desktop).then_some(Timestamp::UNIX_EPOCH),
            size: Size {
                disk_use,
                problem: disk_use.is_none().then(|| "too slow".to_owned()),
            },
            deleted: None,
        }
    }

    #[test]
    fn the_list_ends_with_a_sum_and_what_to_do() {
        let rows = [
            row(Kind::Desktop, "wall", Some(3 << 20)),
            row(Kind::Desktop, "slow", None),
            row(Kind::Home, "lost", Some(1 << 20)),
        ];
        let shown = list(&rows, Timestamp::from_second(40 * 86_400).unwrap());
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[1].contains("wall  tiny  40 d"), "{shown}");
        assert!(lines[2].ends_with('?'), "{shown}");
        assert!(lines[3].contains("home of no desktop  lost  -"), "{shown}");
        assert_eq!(
            lines[4],
            "to delete: 2 desktops and 1 home of no desktop, 4.00 MiB, 1 not measured; --yes deletes them"
        );
        assert_eq!(list(&[], Timestamp::UNIX_EPOCH), "nothing to delete\n");
    }
}
