//! Desktops as the API describes them, for the commands that show them to people.

use console::Style;
use jiff::Timestamp;
use serde::Deserialize;

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

/// Where a start is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Progress {
    step: String,
    pub(super) percent: Option<u8>,
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
