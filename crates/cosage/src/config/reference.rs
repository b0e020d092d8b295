//! The reference of all settings in README.md, made from the table.

use std::fmt::Write;

use super::SETTINGS;
use super::settings::DefaultValue;

/// The line before the reference.
pub const REFERENCE_START: &str = "<!-- settings -->";

/// The line after the reference.
pub const REFERENCE_END: &str = "<!-- /settings -->";

/// A Markdown table of all settings, with a line's end after each row.
pub fn reference() -> String {
    let mut table =
        "| Variable | `cosage.toml` | Flag | Default | What it does |\n|---|---|---|---|---|\n"
            .to_owned();
    for setting in &SETTINGS {
        let flag = setting
            .flag()
            .map_or_else(|| "–".to_owned(), |flag| format!("`--{flag}`"));
        let default = match setting.default {
            DefaultValue::Text(text) => format!("`{text}`"),
            DefaultValue::Words(words) => words.to_owned(),
        };
        // Writing to a text cannot fail.
        let _ = writeln!(
            table,
            "| `{}` | `{}` | {flag} | {default} | {} |",
            setting.variable,
            setting.key(),
            setting.about.replace('|', "\\|"),
        );
    }
    table
}
