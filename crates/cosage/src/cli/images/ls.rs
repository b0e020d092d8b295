//! `cosage images ls`.

use clap::Args;
use console::Style;
use jiff::Timestamp;
use serde::Serialize;

use super::{containers, engine_failure};
use crate::cli::failure::Failure;
use crate::cli::output::{bytes, distance, print, print_json};
use crate::cli::settings::{Settings, catalog};
use crate::cli::table::{Cell, Table};
use crate::engine::inventory::ImageInfo;
use crate::server;

/// `cosage images ls`.
#[derive(Debug, Args)]
pub(super) struct Ls {
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// What is known of an app's image.
#[derive(Debug, Serialize)]
struct Row {
    app: String,
    image: String,
    /// Absent where it is not there.
    #[serde(flatten)]
    found: Option<ImageInfo>,
    available: bool,
    /// What to do where it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Ls {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let config = self.settings.load()?;
        let (_, catalog) = catalog(&config)?;
        let operator = server::operator(&config).map_err(engine_failure)?;
        let mut rows = Vec::new();
        for container in containers(&catalog, &[])? {
            let image = &container.source.image;
            let found = operator.image(image).await.map_err(engine_failure)?;
            rows.push(Row {
                app: container.app.name.clone(),
                image: image.clone(),
                available: found.is_some(),
                hint: found.is_none().then(|| container.source.image_hint()),
                found,
            });
        }
        if self.json {
            return print_json(&rows);
        }
        print(&list(&rows, Timestamp::now()))
    }
}

fn list(rows: &[Row], now: Timestamp) -> String {
    let mut table = Table::new(["APP", "IMAGE", "STATUS", "SIZE", "RUNS ON", "BUILT"]);
    for row in rows {
        let there = row.found.as_ref();
        let status = match &row.hint {
            None => Cell::from("there").styled(Style::new().green()),
            Some(hint) => Cell::from(format!("missing; {hint}")).styled(Style::new().red()),
        };
        let built = there
            .and_then(|image| image.created_at)
            .map(|at| format!("{} ago", distance(at, now)));
        table.push([
            Cell::from(&row.app),
            Cell::from(&row.image),
            status,
            Cell::from(there.map_or_else(|| "-".to_owned(), |image| bytes(image.size))),
            Cell::from(there.map_or("-", |image| image.architecture.as_str())),
            Cell::from(built.as_deref().unwrap_or("-")),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_image_comes_with_what_to_do() {
        let rows = [
            Row {
                app: "tiny".to_owned(),
                image: "cosage/tiny:latest".to_owned(),
                found: Some(ImageInfo {
                    size: 3 << 20,
                    architecture: "amd64".to_owned(),
                    created_at: Some("2026-01-01T00:00:00Z".parse().unwrap()),
                }),
                available: true,
                hint: None,
            },
            Row {
                app: "gimp".to_owned(),
                image: "gimp:1".to_owned(),
                found: None,
                available: false,
                hint: Some("pull it with: docker pull gimp:1".to_owned()),
            },
        ];
        let shown = list(&rows, "2026-01-03T00:00:00Z".parse().unwrap());
        assert!(
            shown.contains("3.00 MiB") && shown.contains("2 d ago"),
            "{shown}"
        );
        assert!(
            shown.contains("missing; pull it with: docker pull gimp:1"),
            "{shown}"
        );
        let json = serde_json::to_value(&rows).unwrap();
        assert_eq!(json[0]["architecture"], "amd64");
        assert_eq!(json[1]["available"], false);
        assert!(json[1].get("size").is_none(), "{json}");
    }
}
