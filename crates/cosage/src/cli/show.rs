//! `cosage show`: everything there is to know about a desktop.

use clap::Args;
use jiff::Timestamp;

use super::client::{Client, Target, read};
use super::desktop::Desktop;
use super::failure::Failure;
use super::foreign::{indented, plain};
use super::homes::{Size, measure};
use super::output::{bytes, distance, print, print_json};
use crate::desktop::Uid;

/// `cosage show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The desktop.
    uid: Uid,
    /// Answer as JSON, as the API gives it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

impl Show {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let client = self.target.client()?;
        let value = match client.get(["api", "vm", self.uid.as_str()]).await {
            Ok(value) => value,
            Err(error) => return Err(client.suggest(error, &self.uid).await),
        };
        if self.json {
            return print_json(&value);
        }
        let desktop: Desktop = read(&value)?;
        let size = match desktop.home {
            true => measure(&client, std::slice::from_ref(&desktop.uid))
                .await
                .pop(),
            false => None,
        };
        let size = size.unwrap_or_default();
        print(&describe(&desktop, &size, &client, Timestamp::now()))
    }
}

/// Names and values, one a line; what has no value is left out.
pub(super) fn facts(facts: &[(&str, String)]) -> String {
    let shown = facts.iter().filter(|(_, value)| !value.is_empty());
    let width = shown.clone().map(|(name, _)| name.len()).max();
    let width = width.unwrap_or_default();
    shown
        .map(|(name, value)| format!("{name:width$}  {}\n", plain(value)))
        .collect()
}

fn describe(desktop: &Desktop, size: &Size, client: &Client, now: Timestamp) -> String {
    let moment = |at: Timestamp| {
        let relation = if at > now { "from now" } else { "ago" };
        format!("{} {relation} ({at:.0})", distance(at, now))
    };
    let optional = |at: Option<Timestamp>| at.map(moment).unwrap_or_default();
    let app = match desktop.title.as_str() {
        "" => desktop.app.clone(),
        title => format!("{} ({title})", desktop.app),
    };
    let status = match &desktop.progress {
        Some(progress) => format!("{}: {}", desktop.status, progress.words()),
        None => desktop.status.clone(),
    };
    let home = match (desktop.home, desktop.forgotten_at) {
        (false, _) => String::new(),
        (true, None) => "kept until 'cosage rm'".to_owned(),
        (true, Some(at)) => format!("deleted {} unless the desktop is used", moment(at)),
    };
    let mut text = facts(&[
        ("Desktop", desktop.uid.clone()),
        ("App", app),
        ("Status", status),
        ("Since", moment(desktop.since)),
        ("First asked for", moment(desktop.created_at)),
        ("Started", optional(desktop.started_at)),
        ("Viewers", desktop.viewers.to_string()),
        ("Ends", optional(desktop.until)),
        ("Why", desktop.because.clone()),
        ("Failure", desktop.failure.clone().unwrap_or_default()),
        ("Streams", desktop.streams.join(", ")),
        ("Stream URL", desktop.url.clone().unwrap_or_default()),
        ("Last used", moment(desktop.used_at)),
        ("Home", home),
        ("Disk use", size.disk_use.map(bytes).unwrap_or_default()),
        ("Last picture", optional(desktop.picture)),
        (
            "Viewer",
            client.shown_url(["view", &desktop.uid]).to_string(),
        ),
    ]);
    if let Some(logs) = &desktop.failure_logs {
        text.push_str("The last it wrote:\n");
        text.push_str(&indented(logs, "  "));
    }
    text
}
