//! `cosage open`: a desktop, started where it does not run, and the page that shows it.

use clap::Args;
use jiff::tz::TimeZone;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::apps::{self, App};
use super::browser;
use super::client::{CallError, Client, Target, read, with_json};
use super::desktop::Desktop;
use super::events::Events;
use super::failure::Failure;
use super::foreign::plain;
use super::output::{print_json, print_line};
use super::progress::Progress;
use crate::catalog::language;
use crate::desktop::Uid;
use crate::text::{did_you_mean, nearest};

/// `cosage open`.
#[derive(Debug, Args)]
pub struct Open {
    /// An app, of which a new desktop is made, or a desktop that is there already.
    #[arg(value_name = "APP|UID")]
    what: String,
    /// A value for the new desktop's environment; again for each address of a list. 'cosage apps
    /// APP' says what there is.
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = parse_assignment)]
    env: Vec<(String, String)>,
    /// What the new desktop is called; otherwise it gets a random name.
    #[arg(long, value_name = "UID")]
    name: Option<Uid>,
    /// Do not open a web browser.
    #[arg(long)]
    no_browser: bool,
    /// Answer as JSON: the API's answer, and the page's address as 'viewer'. Opens no web browser.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// What is asked of the service.
#[derive(Debug, PartialEq)]
struct Order {
    uid: Uid,
    body: Value,
}

impl Open {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let client = self.target.client()?;
        let order = self.order(&client).await?;
        let mut answer = carry_out(&client, &order).await?;
        if let Some(note) = note(&order.uid, &answer) {
            eprintln!("{note}");
        }
        let viewer = client.shown_url(["view", order.uid.as_str()]).to_string();
        if self.json {
            if let Some(fields) = answer.as_object_mut() {
                fields.insert("viewer".to_owned(), viewer.into());
            }
            return print_json(&answer);
        }
        print_line(&viewer)?;
        if !self.no_browser {
            browser::open(&viewer);
        }
        Ok(())
    }

    /// A desktop that is there already, else an app.
    async fn order(&self, client: &Client) -> Result<Order, Failure> {
        if let (None, Ok(uid)) = (&self.name, self.what.parse::<Uid>())
            && let Some(desktop) = look_up(client, &uid).await?
        {
            if !self.env.is_empty() {
                return Err(Failure::Usage(format!(
                    "the desktop '{uid}' is there already and starts with the environment it was made with; make a new one with: cosage open {} --env …",
                    desktop.app
                )));
            }
            return Ok(Order {
                uid,
                body: json!({}),
            });
        }
        let catalog: Vec<App> = read(&apps::fetch(client).await?)?;
        let Some(app) = apps::find(&catalog, &self.what) else {
            return Err(self.unknown(client, &catalog).await);
        };
        let uid = match &self.name {
            Some(name) => {
                if look_up(client, name).await?.is_some() {
                    return Err(Failure::Usage(format!(
                        "a desktop is called '{name}' already: open it with 'cosage open {name}', or choose another name"
                    )));
                }
                name.clone()
            }
            // The service would choose in the same way, and tell it when the start is over.
            None => Uid::random(),
        };
        let mut env = environment(&self.env, app);
        add_own(&mut env, app, &Surroundings::of_caller());
        Ok(Order {
            uid,
            body: json!({ "vm": app.name, "env": env }),
        })
    }

    async fn unknown(&self, client: &Client, catalog: &[App]) -> Failure {
        let uids = client.recent_uids().await.unwrap_or_default();
        let uids = uids.iter().map(String::as_str);
        let candidates = match self.name {
            Some(_) => apps::names(catalog).collect::<Vec<_>>(),
            None => apps::names(catalog).chain(uids).collect(),
        };
        let known: Vec<&str> = catalog.iter().map(|app| app.name.as_str()).collect();
        Failure::Unknown(format!(
            "there is neither an app nor a desktop '{}'{}; the apps are: {}",
            plain(&self.what),
            did_you_mean(nearest(&self.what, candidates)),
            known.join(", ")
        ))
    }
}

/// The desktop, where there is one of this name.
async fn look_up(client: &Client, uid: &Uid) -> Result<Option<Desktop>, Failure> {
    match client.get(["api", "vm", uid.as_str()]).await {
        Ok(value) => read(&value).map(Some),
        Err(CallError::Refused(refusal)) if refusal.code == "unknown_desktop" => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What to say of an order that was carried out in part only, because another one made the desktop first.
fn note(uid: &Uid, answer: &Value) -> Option<String> {
    let ignored = answer.get("ignored")?.as_array()?;
    let words = ignored.iter().filter_map(|word| match word.as_str()? {
        "vm" => Some("app"),
        "env" => Some("environment"),
        _ => None,
    });
    let words: Vec<&str> = words.collect();
    (!words.is_empty()).then(|| {
        format!(
            "cosage: the desktop '{uid}' was made by another request and keeps its own {}; choose another --name for a new one",
            words.join(" and ")
        )
    })
}

/// Asks for the desktop and shows meanwhile where its start is.
async fn carry_out(client: &Client, order: &Order) -> Result<Value, Failure> {
    let mut progress = Progress::spinner("starting");
    // Before the order, so that none of it is missed.
    let mut events = Events::of(client, &order.uid).await;
    let request = client.request(Method::POST, ["api", "vm", "any", order.uid.as_str()]);
    let mut answer = std::pin::pin!(client.json(with_json(request, &order.body)));
    loop {
        let next = async {
            match &mut events {
                Some(events) => events.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            answer = answer.as_mut() => return Ok(answer?),
            notice = next => match notice {
                Some(notice) => {
                    if let Some(step) = notice.desktop.and_then(|desktop| desktop.progress) {
                        progress.show(step.words(), step.percent);
                    }
                }
                None => events = None,
            },
        }
    }
}

/// What the API takes as `env`: a list where the app wants one, or where a name is given again.
fn environment(given: &[(String, String)], app: &App) -> Map<String, Value> {
    let mut environment: Map<String, Value> = Map::new();
    for (name, value) in given {
        let is_list = app.env.get(name).and_then(|variable| variable.get("type"))
            == Some(&Value::from("urls"));
        // A list may also be written as the API takes it.
        let written =
            serde_json::from_str::<Vec<String>>(value).unwrap_or_else(|_| vec![value.clone()]);
        match environment.get_mut(name) {
            Some(Value::Array(list)) => list.extend(written.into_iter().map(Value::from)),
            _ if is_list => {
                environment.insert(name.clone(), written.into());
            }
            _ => {
                environment.insert(name.clone(), value.clone().into());
            }
        }
    }
    environment
}

/// Where and in which language the caller works.
struct Surroundings {
    timezone: Option<String>,
    language: Option<String>,
}

impl Surroundings {
    fn of_caller() -> Self {
        let timezone = TimeZone::try_system().ok();
        let languages = ["LC_ALL", "LC_MESSAGES", "LANG"].map(|name| std::env::var(name).ok());
        Self {
            timezone: timezone.and_then(|zone| zone.iana_name().map(str::to_owned)),
            // An empty variable counts as absent (POSIX, 8.2).
            language: languages
                .into_iter()
                .flatten()
                .find(|text| !text.is_empty()),
        }
    }
}

/// Adds the caller's time zone and language where the app takes them and the caller said nothing else.
fn add_own(environment: &mut Map<String, Value>, app: &App, own: &Surroundings) {
    for (name, variable) in &app.env {
        let options = variable.get("options").and_then(Value::as_array);
        let options = options.into_iter().flatten().filter_map(Value::as_str);
        let value = match variable.get("type").and_then(Value::as_str) {
            Some("timezone") => own.timezone.clone(),
            // One that the app does not have is no reason to refuse the start.
            Some("language") => own
                .language
                .as_deref()
                .and_then(|text| language(text, options)),
            _ => None,
        };
        if let Some(value) = value {
            environment.entry(name).or_insert(value.into());
        }
    }
}

fn parse_assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it is written as NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_desktop_gets_the_callers_time_zone_and_language() {
        let app: App = serde_json::from_value(json!({
            "name": "a", "title": "A", "description": "",
            "env": {
                "TZ": {"type": "timezone"},
                "LANG": {"type": "language", "options": ["en_US", "de_DE"]},
                "A": {"type": "text"},
            },
        }))
        .unwrap();
        let added = |given: &[(&str, &str)], timezone: &str, language: &str| {
            let given: Vec<_> = given
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let mut environment = environment(&given, &app);
            let own = Surroundings {
                timezone: Some(timezone.to_owned()),
                language: Some(language.to_owned()),
            };
            add_own(&mut environment, &app, &own);
            Value::from(environment)
        };
        assert_eq!(
            added(&[], "Asia/Tokyo", "de_AT.UTF-8"),
            json!({"TZ": "Asia/Tokyo", "LANG": "de_DE.UTF-8"})
        );
        assert_eq!(
            added(
                &[("TZ", "UTC"), ("LANG", "en")],
                "Asia/Tokyo",
                "de_AT.UTF-8"
            ),
            json!({"TZ": "UTC", "LANG": "en"})
        );
        assert_eq!(added(&[], "UTC", "tlh"), json!({"TZ": "UTC"}));
    }

    #[test]
    fn what_was_ignored_is_said_in_one_line() {
        let uid: Uid = "wall".parse().unwrap();
        let note = |answer| note(&uid, &answer);
        assert_eq!(note(json!({"url": "/stream/1/vnc", "uid": "wall"})), None);
        let said = note(json!({"ignored": ["vm", "env"]})).unwrap();
        assert!(
            said.contains("'wall'") && said.contains("app and environment"),
            "{said}"
        );
        assert!(
            note(json!({"ignored": ["env"]}))
                .unwrap()
                .contains("own environment;")
        );
    }

    #[test]
    fn the_environment_has_lists_where_the_app_wants_them() {
        let app: App = serde_json::from_value(json!({
            "name": "a", "title": "A", "description": "",
            "env": {"URLS": {"type": "urls"}, "THEME": {"type": "integer"}},
        }))
        .unwrap();
        let given = |pairs: &[&str]| {
            let pairs: Vec<_> = pairs
                .iter()
                .map(|pair| parse_assignment(pair).unwrap())
                .collect();
            Value::from(environment(&pairs, &app))
        };
        assert_eq!(
            given(&["THEME=1", "X=a=b"]),
            json!({"THEME": "1", "X": "a=b"})
        );
        assert_eq!(given(&["URLS=http://a"]), json!({"URLS": ["http://a"]}));
        assert_eq!(
            given(&["URLS=http://a", "URLS=[\"http://b\",\"http://c\"]"]),
            json!({"URLS": ["http://a", "http://b", "http://c"]})
        );
        // As with a shell's own assignments, the last one counts.
        assert_eq!(given(&["THEME=1", "THEME=2"]), json!({"THEME": "2"}));
        assert!(parse_assignment("THEME").is_err() && parse_assignment("=1").is_err());
    }
}
