//! `cosage check`: the effective configuration with origins, and the catalogue checked.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::Flags;
use crate::catalog::{Catalog, CatalogSource};
use crate::config::{self, DefaultValue, Effective};

/// Exit status when something is wrong.
const WRONG: u8 = 2;

/// `cosage check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The settings that are given as flags.
    #[command(flatten)]
    pub flags: Flags,
    /// Answer as JSON.
    #[arg(long)]
    pub json: bool,
    /// Print the reference of all settings as Markdown.
    #[arg(long, hide = true)]
    pub markdown: bool,
}

/// What a check found.
#[derive(Debug, Default)]
struct Findings {
    settings: Vec<Effective>,
    catalog: Option<(CatalogSource, Catalog)>,
    errors: Vec<String>,
}

impl Check {
    /// Carries it out.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn run(&self) -> io::Result<ExitCode> {
        let mut out = io::stdout().lock();
        if self.markdown {
            out.write_all(config::reference().as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        let findings = self.find();
        if self.json {
            serde_json::to_writer_pretty(&mut out, &findings.json())?;
            writeln!(out)?;
        } else {
            out.write_all(findings.table().as_bytes())?;
            for error in &findings.errors {
                writeln!(io::stderr(), "{error}")?;
            }
        }
        Ok(if findings.errors.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(WRONG)
        })
    }

    fn find(&self) -> Findings {
        let mut findings = Findings::default();
        let config = match config::load(&self.flags.values, self.flags.config.as_deref()) {
            Ok((config, settings)) => {
                findings.settings = settings;
                config
            }
            Err(errors) => {
                findings.errors = errors.0.iter().map(ToString::to_string).collect();
                return findings;
            }
        };
        let source = CatalogSource::find(config.catalog.as_deref());
        match source.load(&config.catalog_defaults()) {
            Ok(catalog) => findings.catalog = Some((source, catalog)),
            Err(error) => findings.errors = error.to_string().lines().map(str::to_owned).collect(),
        }
        findings
    }
}

impl Findings {
    fn json(&self) -> Value {
        let settings: Vec<Value> = self
            .settings
            .iter()
            .map(|effective| {
                json!({
                    "name": effective.setting.variable,
                    "key": effective.setting.key(),
                    "value": effective.value,
                    "origin": effective.origin.to_string(),
                })
            })
            .collect();
        let catalog = self.catalog.as_ref().map(|(source, catalog)| {
            json!({
                "source": source.to_string(),
                "apps": catalog.apps.keys().collect::<Vec<_>>(),
            })
        });
        json!({ "settings": settings, "catalog": catalog, "errors": self.errors })
    }

    fn table(&self) -> String {
        let mut rows = vec![["SETTING".to_owned(), "VALUE".to_owned(), "FROM".to_owned()]];
        rows.extend(self.settings.iter().map(|effective| {
            [
                effective.setting.variable.to_owned(),
                shown_value(effective),
                effective.origin.to_string(),
            ]
        }));
        let width = |column: usize| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or_default()
        };
        let (first, second) = (width(0), width(1));
        let mut table = String::new();
        if !self.settings.is_empty() {
            for [name, value, origin] in &rows {
                table.push_str(&format!("{name:first$}  {value:second$}  {origin}\n"));
            }
        }
        if let Some((source, catalog)) = &self.catalog {
            let names: Vec<&str> = catalog.apps.keys().map(String::as_str).collect();
            table.push_str(&format!(
                "\nCatalogue: {source}, {} apps: {}\n",
                names.len(),
                names.join(", ")
            ));
        }
        table
    }
}

/// The value, or in words what having none means.
fn shown_value(effective: &Effective) -> String {
    let default = match effective.setting.default {
        DefaultValue::Text(text) | DefaultValue::Words(text) => text,
    };
    effective
        .value
        .clone()
        .unwrap_or_else(|| default.to_owned())
}
