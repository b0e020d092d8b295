//! What a caller may set: `[app.NAME.env.*]`.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::Problems;
use super::fields::Fields;
use crate::catalog::locale::LANGUAGES;
use crate::catalog::{Kind, Variable};

/// Variables that the service itself sets.
const RESERVED_VARIABLES: [&str; 2] = ["CALLBACK_URL", "WS_TIMEOUT"];

pub(super) fn read_environment(
    app: &mut Fields<'_, '_>,
    problems: &mut Problems,
) -> BTreeMap<String, Variable> {
    let mut environment = BTreeMap::new();
    let table = app.table("env", problems);
    for (name, value) in table.iter().flat_map(|(table, _)| table.iter()) {
        let path = format!("{}.env.{}", app.path(), name.get_ref());
        if let Some(problem) = refuse_variable_name(name.get_ref()) {
            problems.add(name.span(), format!("{path}: {problem}"));
        }
        let DeValue::Table(table) = value.get_ref() else {
            problems.add(
                value.span(),
                format!("{path} must be a table: [{path}] with type = \"text\" or another"),
            );
            continue;
        };
        if let Some(variable) = read_variable(Fields::new(path, table, name.span()), problems) {
            environment.insert(name.get_ref().to_string(), variable);
        }
    }
    environment
}

fn read_variable(mut fields: Fields<'_, '_>, problems: &mut Problems) -> Option<Variable> {
    let type_words = [
        ("text", Type::Text),
        ("integer", Type::Integer),
        ("boolean", Type::Boolean),
        ("choice", Type::Choice),
        ("url", Type::Url),
        ("urls", Type::Urls),
        ("host", Type::Host),
        ("timezone", Type::Timezone),
        ("language", Type::Language),
    ];
    let chosen = fields.word("type", &type_words, problems);
    if chosen.is_none() && !fields.has("type") {
        let words: Vec<&str> = type_words.iter().map(|(word, _)| *word).collect();
        problems.add(
            fields.span(),
            format!(
                "{} has no type; it is one of {}",
                fields.path(),
                words.join(", ")
            ),
        );
    }
    let kind = chosen.map(|chosen| match chosen {
        Type::Text => Kind::Text,
        Type::Integer => read_integer_kind(&mut fields, problems),
        Type::Boolean => Kind::Boolean,
        Type::Choice => read_choice_kind(&mut fields, problems),
        Type::Url => Kind::Url,
        Type::Urls => Kind::Urls,
        Type::Host => Kind::Host,
        Type::Timezone => Kind::Timezone,
        Type::Language => read_language_kind(&mut fields, problems),
    });
    let name = fields
        .path()
        .rsplit('.')
        .next()
        .unwrap_or_default()
        .to_owned();
    let title = fields
        .text("title", problems)
        .map_or(name, |(title, _)| title.to_owned());
    let required = fields.boolean("required", problems);
    let default = fields.value("default").map(|value| {
        let checked = kind
            .as_ref()
            .and_then(|kind| kind.check(&json(value.get_ref())).ok().flatten());
        if let (Some(kind), None) = (&kind, &checked) {
            problems.add(
                value.span(),
                format!("{}.default must be {kind}", fields.path()),
            );
        } else if checked.as_ref().is_some_and(|text| text.contains('\0')) {
            problems.add(
                value.span(),
                format!(
                    "{}.default contains a NUL byte, which no environment can carry",
                    fields.path()
                ),
            );
        }
        if required {
            problems.add(
                value.span(),
                format!(
                    "{} is required and has a default; remove one of the two",
                    fields.path()
                ),
            );
        }
        checked
    });
    // Without a known type, which keys a variable has is not known either.
    if kind.is_some() {
        fields.finish(problems);
    }
    Some(Variable {
        kind: kind?,
        title,
        default: default.flatten(),
        required,
    })
}

#[derive(Clone, Copy)]
enum Type {
    Text,
    Integer,
    Boolean,
    Choice,
    Url,
    Urls,
    Host,
    Timezone,
    Language,
}

fn read_integer_kind(fields: &mut Fields<'_, '_>, problems: &mut Problems) -> Kind {
    let min = fields
        .integer("min", i64::MIN..=i64::MAX, problems)
        .unwrap_or(i64::MIN);
    let max = fields
        .integer("max", i64::MIN..=i64::MAX, problems)
        .unwrap_or(i64::MAX);
    if min > max {
        problems.add(
            fields.span(),
            format!(
                "{} has a min above its max, so that nothing would fit",
                fields.path()
            ),
        );
    }
    Kind::Integer { min, max }
}

fn read_choice_kind(fields: &mut Fields<'_, '_>, problems: &mut Problems) -> Kind {
    let options = read_options(fields, problems);
    if options.is_empty() {
        problems.add(
            fields.span(),
            format!(
                "{} has no options; add options = [\"one\", \"two\"]",
                fields.path()
            ),
        );
    }
    Kind::Choice { options }
}

fn read_language_kind(fields: &mut Fields<'_, '_>, problems: &mut Problems) -> Kind {
    let mut options = read_options(fields, problems);
    if options.is_empty() {
        options = LANGUAGES.lines().map(str::to_owned).collect();
    }
    Kind::Language { options }
}

fn read_options(fields: &mut Fields<'_, '_>, problems: &mut Problems) -> Vec<String> {
    let mut options: Vec<String> = Vec::new();
    for (option, span) in fields.list("options", problems) {
        if option.is_empty() || options.iter().any(|other| other == option) {
            problems.add(
                span,
                format!(
                    "{}.options: an option is empty or there twice",
                    fields.path()
                ),
            );
        } else {
            options.push(option.to_owned());
        }
    }
    options
}

/// A TOML value as the same value in JSON, so that a default is checked just like a caller's value.
fn json(value: &DeValue<'_>) -> serde_json::Value {
    match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| number.as_str().into(), Into::into),
        DeValue::Float(number) => number
            .as_str()
            .parse::<f64>()
            .map_or_else(|_| number.as_str().into(), Into::into),
        DeValue::Boolean(boolean) => (*boolean).into(),
        DeValue::Datetime(datetime) => datetime.to_string().into(),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(_) => serde_json::Value::Object(serde_json::Map::new()),
    }
}

fn refuse_variable_name(name: &str) -> Option<&'static str> {
    let well_formed = name.starts_with(|first: char| first.is_ascii_uppercase() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if !well_formed {
        Some(
            "a variable is named with upper-case letters, digits and '_', and starts with no digit",
        )
    } else if name.starts_with("COSAGE_") || RESERVED_VARIABLES.contains(&name) {
        Some("the service sets this variable itself; remove it")
    } else {
        None
    }
}
