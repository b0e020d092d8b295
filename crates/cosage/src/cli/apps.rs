//! `cosage apps`: what there is to choose from.

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::client::{Client, Target, read};
use super::failure::Failure;
use super::foreign::plain;
use super::output::{print, print_json};
use super::table::{Cell, Table};
use crate::text::{did_you_mean, nearest};

/// `cosage apps`.
#[derive(Debug, Args)]
pub struct Apps {
    /// Show one app with what its environment may hold.
    #[arg(value_name = "APP")]
    app: Option<String>,
    /// Answer as JSON, as the API gives it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// An app, as far as the command line looks at it.
#[derive(Debug, Deserialize)]
pub(super) struct App {
    pub(super) name: String,
    pub(super) title: String,
    description: String,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    streams: Vec<String>,
    #[serde(default)]
    home: Option<bool>,
    #[serde(default)]
    available: Option<bool>,
    #[serde(default)]
    pub(super) env: Map<String, Value>,
}

impl Apps {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let client = self.target.client()?;
        let catalog = fetch(&client).await?;
        let apps: Vec<App> = read(&catalog)?;
        let Some(name) = &self.app else {
            return if self.json {
                print_json(&catalog)
            } else {
                print(&list(&apps))
            };
        };
        let app = find(&apps, name).ok_or_else(|| Failure::Unknown(unknown(&apps, name)))?;
        if !self.json {
            return print(&describe(app));
        }
        let value = catalog
            .as_array()
            .into_iter()
            .flatten()
            .find(|value| value.get("name").and_then(Value::as_str) == Some(&app.name));
        print_json(&value)
    }
}

/// The catalogue as the API gives it.
pub(super) async fn fetch(client: &Client) -> Result<Value, Failure> {
    Ok(client.get(["api", "catalog"]).await?)
}

/// The app that answers to a name or an alias.
pub(super) fn find<'a>(apps: &'a [App], name: &str) -> Option<&'a App> {
    apps.iter().find(|app| app.name == name).or_else(|| {
        apps.iter()
            .find(|app| app.aliases.iter().any(|alias| alias == name))
    })
}

/// Every name that leads to an app.
pub(super) fn names(apps: &[App]) -> impl Iterator<Item = &str> {
    apps.iter()
        .flat_map(|app| std::iter::once(&app.name).chain(&app.aliases))
        .map(String::as_str)
}

fn unknown(apps: &[App], name: &str) -> String {
    let known: Vec<&str> = apps.iter().map(|app| app.name.as_str()).collect();
    format!(
        "there is no app '{}'{}; there are: {}",
        plain(name),
        did_you_mean(nearest(name, names(apps))),
        known.join(", ")
    )
}

fn list(apps: &[App]) -> String {
    let mut table = Table::new(["APP", "TITLE", "IMAGE", "DESCRIPTION"]);
    for app in apps {
        table.push([
            Cell::from(&app.name),
            Cell::from(&app.title),
            Cell::from(availability(app.available)),
            Cell::from(&app.description),
        ]);
    }
    table.render()
}

fn availability(available: Option<bool>) -> &'static str {
    match available {
        Some(true) => "there",
        Some(false) => "missing",
        None => "-",
    }
}

fn describe(app: &App) -> String {
    let mut facts = vec![
        ("App", app.name.clone()),
        ("Title", app.title.clone()),
        ("Description", app.description.clone()),
        ("Also called", app.aliases.join(", ")),
        ("Streams", app.streams.join(", ")),
    ];
    if let Some(home) = app.home {
        facts.push(("Keeps a home", if home { "yes" } else { "no" }.to_owned()));
    }
    if app.available == Some(false) {
        facts.push(("Image", "missing; see: cosage images ls".to_owned()));
    }
    let mut text = super::show::facts(&facts);
    if app.env.is_empty() {
        return text;
    }
    let mut table = Table::new(["VARIABLE", "TAKES", "DEFAULT", "WHAT IT IS"]);
    for (name, variable) in &app.env {
        let word = |key| {
            variable
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let title = match variable.get("required").and_then(Value::as_bool) {
            Some(true) => format!("{} (required)", word("title")),
            _ => word("title").to_owned(),
        };
        table.push([
            Cell::from(name),
            Cell::from(takes(variable)),
            Cell::from(word("default")),
            Cell::from(title),
        ]);
    }
    text.push('\n');
    text.push_str(&table.render());
    text
}

/// What a variable may hold, in a few words.
fn takes(variable: &Value) -> String {
    let bound = |key| variable.get(key).and_then(Value::as_i64);
    match variable.get("type").and_then(Value::as_str) {
        Some("integer") => match (bound("min"), bound("max")) {
            (Some(min), Some(max)) if min > i64::MIN && max < i64::MAX => {
                format!("{min} to {max}")
            }
            _ => "a whole number".to_owned(),
        },
        Some("boolean") => "true or false".to_owned(),
        Some("choice") => {
            let options = variable.get("options").and_then(Value::as_array);
            let options = options.into_iter().flatten().filter_map(Value::as_str);
            options.collect::<Vec<_>>().join(" | ")
        }
        Some("url") => "an address".to_owned(),
        Some("urls") => "addresses, each with an --env of its own".to_owned(),
        Some("host") => "a host name or IP address".to_owned(),
        Some("timezone") => "a time zone, such as Europe/Berlin".to_owned(),
        Some("language") => "a language, such as de-DE".to_owned(),
        Some(other) => other.to_owned(),
        None => String::new(),
    }
}
