//! Desktops as the API describes them, for the commands that show them to people.

use console::Style;
use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, read};
use super::failure::Failure;
use super::table::Cell;

/// A desktop, as far as the command line looks at it.
#[derive(Debug, Deserialize)]
pub(super) struct Desktop {
    pub(super) uid: String,
    pub(super) app: String,
    #[serde(default)]
    pub(super) title: String,
    pub(super) status: String,
    pub(super) since: Timestamp,
    pub(super) created_at: Timestamp,
    pub(super) used_at: Timestamp,
    pub(super) forgotten_at: Option<Timestamp>,
    pub(super) started_at: Option<Timestamp>,
    #[serde(default)]
    pub(super) viewers: usize,
    pub(super) url: Option<String>,
    pub(super) until: Option<Timestamp>,
    #[serde(default)]
    pub(super) because: String,
    pub(super) progress: Option<Progress>,
    pub(super) failure: Option<String>,
    pub(super) failure_logs: Option<String>,
    #[serde(default)]
    pub(super) streams: Vec<String>,
    #[serde(default)]
    pub(super) home: bool,
    pub(super) picture: Option<Timestamp>,
}

/// How many desktops are read at a time, the most there can be.
const PAGE: usize = 1_000;

#[derive(Deserialize)]
struct Page {
    desktops: Vec<Value>,
    next: Option<String>,
}

/// Where a start is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Progress {
    step: String,
    pub(super) percent: Option<u8>,
}

/// All desktops that a query of `GET /api/vm` selects, page by page.
pub(super) async fn desktops(
    client: &Client,
    query: &[(&str, &str)],
) -> Result<Vec<Value>, Failure> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let request = client
            .request(Method::GET, ["api", "vm"])
            .query(&[("limit", PAGE)])
            .query(query)
            .query(&[("after", after)]);
        let page: Page = read(&client.json(request).await?)?;
        all.extend(page.desktops);
        after = page.next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

impl Desktop {
    /// Where it is in its life, in the colour of how well that is.
    pub(super) fn status_cell(&self) -> Cell {
        let style = match self.status.as_str() {
            "ready" => Style::new().green(),
            "failed" => Style::new().red(),
            "asleep" => Style::new().dim(),
            _ => Style::new().yellow(),
        };
        let text = match &self.progress {
            Some(progress) => format!("{} ({})", self.status, progress.words()),
            None => self.status.clone(),
        };
        Cell::from(text).styled(style)
    }
}

impl Progress {
    /// What is being waited for.
    pub(super) fn words(&self) -> String {
        let words = match self.step.as_str() {
            "queued" => "waiting for its turn",
            "pulling" => "pulling its image",
            "starting" => "starting its container",
            "waiting" => "waiting for its display",
            other => other,
        };
        match self.percent {
            Some(percent) => format!("{words}, {percent} %"),
            None => words.to_owned(),
        }
    }
}
