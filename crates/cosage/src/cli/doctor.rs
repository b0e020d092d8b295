//! `cosage doctor`: looks at everything that usually goes wrong, and names the remedy.
//!
//! What is looked at is gathered first (`gather`, `socket`) and judged afterwards (`checks`, which
//! is pure), so that every verdict can be tried without the machine that deserves it.

mod checks;
mod gather;
mod socket;

use clap::Args;
use console::{Style, StyledObject};
use serde::Serialize;

use super::client::Target;
use super::failure::Failure;
use super::foreign::plain;
use super::output::{print, print_json};
use super::settings::Settings;

/// `cosage doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    #[arg(
        long,
        value_name = "URL",
        help = "The address under which browsers reach the service, such as https://desk.example.org: a WebSocket is tried through it, and so through what is in front of the service"
    )]
    public_url: Option<String>,
    #[arg(
        long,
        value_name = "ORIGIN",
        help = "A web page's origin, such as https://sage3.example.org: whether it may call and connect"
    )]
    origin: Option<String>,
    /// Start a desktop too, and hold its stream for 70 s while nothing moves: a proxy that cuts
    /// still connections shows. The desktop is deleted afterwards.
    #[arg(long)]
    long: bool,
    /// The app of that desktop.
    #[arg(long, value_name = "APP", default_value = "tiny", requires = "long")]
    app: String,
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    target: Target,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// As it should be.
    Ok,
    /// Works, and will not always.
    Warning,
    /// Does not work.
    Problem,
}

/// What one look has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// What was looked at; does not change.
    check: &'static str,
    level: Level,
    /// What is so, in one line.
    summary: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Doctor {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let client = self.target.client()?;
        let public = match &self.public_url {
            Some(url) => Some(super::client::Client::new(super::client::parse_base(url)?)?),
            None => None,
        };
        if let Some(origin) = &self.origin {
            check_origin(origin)?;
        }
        let facts = gather::gather(self, &client, public.as_ref()).await;
        let findings = checks::examine(&facts);
        if self.json {
            print_json(&serde_json::json!({ "findings": findings }))?;
        } else {
            print(&report(&findings))?;
        }
        match findings.iter().map(|finding| finding.level).max() {
            Some(Level::Problem) => Err(Failure::Told(1)),
            _ => Ok(()),
        }
    }
}

impl Finding {
    fn ok(check: &'static str, summary: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Ok,
            summary: summary.into(),
            remedy: None,
        }
    }

    fn warning(check: &'static str, summary: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Warning,
            summary: summary.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn problem(check: &'static str, summary: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            level: Level::Problem,
            ..Self::warning(check, summary, remedy)
        }
    }
}

impl Level {
    fn word(self) -> StyledObject<&'static str> {
        match self {
            Self::Ok => Style::new().green().apply_to("ok     "),
            Self::Warning => Style::new().yellow().apply_to("warning"),
            Self::Problem => Style::new().red().bold().apply_to("problem"),
        }
    }
}

/// An origin is a scheme, a host and maybe a port (RFC 6454, 6.1), and nothing behind them.
fn check_origin(text: &str) -> Result<(), Failure> {
    let url = super::client::parse_base(text)?;
    if url.origin().ascii_serialization() == text {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "'{}' is no origin; it is written as {}",
        plain(text),
        url.origin().ascii_serialization()
    )))
}

fn report(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max();
    let width = width.unwrap_or_default();
    let mut text = String::new();
    for finding in findings {
        text.push_str(&format!(
            "{}  {:width$}  {}\n",
            finding.level.word(),
            finding.check,
            plain(&finding.summary)
        ));
        if let Some(remedy) = &finding.remedy {
            text.push_str(&format!("{:7}  {:width$}  → {}\n", "", "", plain(remedy)));
        }
    }
    let count = |level| {
        findings
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    };
    text.push_str(&match (count(Level::Problem), count(Level::Warning)) {
        (0, 0) => "All is well.\n".to_owned(),
        (problems, warnings) => format!("Problems: {problems}, warnings: {warnings}.\n"),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_aligned_and_counts() {
        let findings = [
            Finding::ok("engine", "Docker 29"),
            Finding::warning("ports", "few\nare free", "choose others"),
        ];
        assert_eq!(
            report(&findings),
            "ok       engine  Docker 29\nwarning  ports   few are free\n                 → choose others\nProblems: 0, warnings: 1.\n"
        );
        assert!(report(&findings[..1]).ends_with("All is well.\n"));
    }

    #[test]
    fn an_origin_has_nothing_behind_its_host() {
        assert!(check_origin("https://sage3.example.org").is_ok());
        assert!(check_origin("http://localhost:3000").is_ok());
        for wrong in [
            "https://a/",
            "https://a/b",
            "a.example",
            "*",
            "https://a:443",
        ] {
            assert!(check_origin(wrong).is_err(), "{wrong}");
        }
    }
}
