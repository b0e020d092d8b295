//! A catalogue's text to a [`Catalog`]: every problem is reported, each at its line and column.

mod app;
mod fields;
mod streams;
mod variables;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Catalog, Timers};
use crate::text::position;
use fields::{Fields, Span};

/// The timers of an app that says nothing about them: the service's own settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatalogDefaults {
    /// After the last viewer left; `None` is never.
    pub idle: Option<Duration>,
    /// After the start when no viewer ever came.
    pub first_viewer: FirstViewer,
    /// After the start, whoever is looking; `None` is never.
    pub max_age: Option<Duration>,
    /// From the order to start until the desktop answers.
    pub start: Duration,
    /// From the polite request to end until it is killed.
    pub stop_grace: Duration,
    /// How long a desktop may be unused until it is deleted; `None` is for ever.
    pub forget_after: Option<Duration>,
}

impl CatalogDefaults {
    /// The timers of an app that says nothing about them.
    pub fn timers(&self) -> Timers {
        Timers {
            idle: self.idle,
            first_viewer: self.first_viewer.after(self.idle),
            max_age: self.max_age,
            start: self.start,
            stop_grace: self.stop_grace,
        }
    }
}

impl Default for CatalogDefaults {
    fn default() -> Self {
        Self {
            idle: Some(Duration::from_secs(15)),
            first_viewer: FirstViewer::LikeIdle,
            max_age: None,
            start: Duration::from_secs(60),
            stop_grace: Duration::from_secs(10),
            forget_after: None,
        }
    }
}

/// How long a desktop waits for its first viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstViewer {
    /// As long as after the last one.
    LikeIdle,
    /// A time of its own; `None` is for ever.
    Own(Option<Duration>),
}

impl FirstViewer {
    /// The time itself, for an app with this idle timer.
    pub fn after(self, idle: Option<Duration>) -> Option<Duration> {
        match self {
            Self::LikeIdle => idle,
            Self::Own(timer) => timer,
        }
    }
}

/// What is wrong with a catalogue: everything that could be found at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogErrors(pub Vec<CatalogError>);

impl std::error::Error for CatalogErrors {}

impl fmt::Display for CatalogErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            error.fmt(formatter)?;
        }
        Ok(())
    }
}

/// One thing that is wrong with a catalogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}:{line}:{column}: {message}")]
pub struct CatalogError {
    /// The file, as the reader of the message knows it.
    pub origin: String,
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Catalog {
    /// Reads a catalogue. `origin` is what messages call the file, such as `catalog.toml`.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the file.
    pub fn parse(
        text: &str,
        origin: &str,
        defaults: &CatalogDefaults,
    ) -> Result<Self, CatalogErrors> {
        let place = Origin {
            directory: None,
            defaults,
        };
        Self::read(text, origin, &place)
    }

    /// The same of a file in `directory`, below which its apps' icons may be.
    ///
    /// # Errors
    /// As [`Catalog::parse`]; an icon that cannot be read is one of them.
    pub fn parse_in(
        directory: &Path,
        text: &str,
        origin: &str,
        defaults: &CatalogDefaults,
    ) -> Result<Self, CatalogErrors> {
        let place = Origin {
            directory: Some(directory),
            defaults,
        };
        Self::read(text, origin, &place)
    }

    fn read(text: &str, origin: &str, place: &Origin<'_>) -> Result<Self, CatalogErrors> {
        let mut problems = Problems { found: Vec::new() };
        let (document, syntax_errors) = DeTable::parse_recoverable(text);
        for error in &syntax_errors {
            problems.add(error.span().unwrap_or(0..0), error.message());
        }
        // What was recovered from broken syntax would only give errors that are not there.
        let catalog = if syntax_errors.is_empty() {
            read_catalog(&document, place, &mut problems)
        } else {
            Self::default()
        };
        if problems.found.is_empty() {
            Ok(catalog)
        } else {
            Err(problems.locate(text, origin))
        }
    }
}

fn read_catalog(
    document: &Spanned<DeTable<'_>>,
    origin: &Origin<'_>,
    problems: &mut Problems,
) -> Catalog {
    let mut root = Fields::new("the catalogue", document.get_ref(), document.span());
    let apps_table = root.table("app", problems);
    root.finish(problems);
    let Some((apps_table, _)) = apps_table.filter(|(table, _)| !table.is_empty()) else {
        problems.add(
            0..0,
            "the catalogue has no app; add a table such as [app.firefox]",
        );
        return Catalog::default();
    };

    let mut catalog = Catalog::default();
    let mut aliases = Vec::new();
    for (name, value) in apps_table {
        let DeValue::Table(table) = value.get_ref() else {
            problems.add(
                value.span(),
                format!(
                    "app.{} must be a table: [app.{}]",
                    name.get_ref(),
                    name.get_ref()
                ),
            );
            continue;
        };
        let named = Named {
            name: name.get_ref(),
            span: name.span(),
        };
        if let Some((app, app_aliases)) = app::read(&named, table, origin, problems) {
            aliases.extend(
                app_aliases
                    .into_iter()
                    .map(|alias| (alias, app.name.clone())),
            );
            catalog.apps.insert(app.name.clone(), Arc::new(app));
        }
    }
    catalog.aliases = unique_aliases(aliases, apps_table, problems);
    catalog
}

/// An alias that is a name, or another app's alias, would make one of the two unreachable.
fn unique_aliases(
    mut aliases: Vec<((String, Span), String)>,
    apps: &DeTable<'_>,
    problems: &mut Problems,
) -> BTreeMap<String, String> {
    aliases.sort_by_key(|((_, span), _)| span.start);
    let mut unique: BTreeMap<String, String> = BTreeMap::new();
    for ((alias, span), app) in aliases {
        if apps.contains_key(alias.as_str()) {
            problems.add(
                span,
                format!("the alias '{alias}' of '{app}' is the name of an app; remove the alias"),
            );
        } else if let Some(other) = unique.get(&alias) {
            problems.add(
                span,
                format!("the alias '{alias}' of '{app}' is already an alias of '{other}'; remove one of the two"),
            );
        } else {
            unique.insert(alias, app);
        }
    }
    unique
}

/// What a catalogue's text does not say.
struct Origin<'a> {
    /// Where the files are that it names; `None` for one that is not in a file itself.
    directory: Option<&'a Path>,
    defaults: &'a CatalogDefaults,
}

/// A table's name and where it stands.
struct Named<'a> {
    name: &'a str,
    span: Span,
}

/// What was found to be wrong so far, by position in the text.
struct Problems {
    found: Vec<(Span, String)>,
}

impl Problems {
    fn add(&mut self, span: Span, message: impl Into<String>) {
        self.found.push((span, message.into()));
    }

    fn locate(mut self, text: &str, origin: &str) -> CatalogErrors {
        self.found.sort_by_key(|(span, _)| span.start);
        let errors = self.found.into_iter().map(|(span, message)| {
            let (line, column) = position(text, span.start);
            CatalogError {
                origin: origin.to_owned(),
                line,
                column,
                message,
            }
        });
        CatalogErrors(errors.collect())
    }
}
