//! What a caller sets for a desktop, checked against what its app declares.
//!
//! Values may be secret, so that no message of this module ever contains one.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use super::{App, Kind, locale};
use crate::desktop::Environment;
use crate::text::{did_you_mean, excerpt, nearest};

/// The most that the names and values of one desktop's environment can have together, in bytes.
pub const ENVIRONMENT_MAX_BYTES: usize = 32 * 1024;

/// What becomes of a variable that the app does not declare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Undeclared {
    /// The request is refused.
    #[default]
    Refuse,
    /// It is left out.
    Ignore,
}

/// Why an environment was refused: everything that is wrong with it at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentError {
    /// The app whose declarations count.
    pub app: String,
    /// What is wrong; at least one.
    pub problems: Vec<EnvironmentProblem>,
}

impl std::error::Error for EnvironmentError {}

impl fmt::Display for EnvironmentError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the app '{}' does not take this env: ", self.app)?;
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                formatter.write_str("; ")?;
            }
            problem.fmt(formatter)?;
        }
        Ok(())
    }
}

/// One thing that is wrong with an environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentProblem {
    /// The app declares no such variable.
    #[error("{name} is not known{}; {}", did_you_mean(.nearest.as_deref()), known(.allowed))]
    Undeclared {
        /// The variable, shortened where it is long.
        name: String,
        /// The variable that was probably meant.
        nearest: Option<String>,
        /// The variables there are.
        allowed: Vec<String>,
    },
    /// The value is not of the variable's type.
    #[error("{name} must be {expected}")]
    IllTyped {
        /// The variable.
        name: String,
        /// What it may be, in words.
        expected: String,
    },
    /// A required variable is absent.
    #[error("{name} is required; it must be {expected}")]
    Missing {
        /// The variable.
        name: String,
        /// What it may be, in words.
        expected: String,
    },
    /// The operating system ends a variable at its first NUL byte.
    #[error("{name} contains a NUL byte, which no environment can carry")]
    NulByte {
        /// The variable.
        name: String,
    },
    /// All names and values together are too much.
    #[error("it has {bytes} bytes of names and values; {ENVIRONMENT_MAX_BYTES} are allowed")]
    TooLarge {
        /// What it has.
        bytes: usize,
    },
}

impl App {
    /// Checks what a caller sets, and gives it as it is kept: the text the container gets, without
    /// defaults, so that a default which the operator changes later also holds for old desktops.
    ///
    /// `null`, and for every type but text the empty text, is the same as absent.
    pub fn check_environment(
        &self,
        given: &Map<String, Value>,
        undeclared: Undeclared,
    ) -> Result<Environment, EnvironmentError> {
        let mut problems = Vec::new();
        let mut checked = BTreeMap::new();
        for (name, value) in given {
            let Some(variable) = self.environment.get(name) else {
                if undeclared == Undeclared::Refuse {
                    problems.push(self.undeclared(name));
                }
                continue;
            };
            match variable.kind.check(value) {
                Ok(None) => {}
                Ok(Some(text)) if text.contains('\0') => {
                    problems.push(EnvironmentProblem::NulByte { name: name.clone() });
                }
                Ok(Some(text)) => {
                    checked.insert(name.clone(), text);
                }
                Err(IllTyped) => problems.push(EnvironmentProblem::IllTyped {
                    name: name.clone(),
                    expected: variable.kind.to_string(),
                }),
            }
        }
        for (name, variable) in &self.environment {
            let refused = || problems.iter().any(|problem| problem.is_about(name));
            if variable.required && checked.get(name).is_none_or(String::is_empty) && !refused() {
                problems.push(EnvironmentProblem::Missing {
                    name: name.clone(),
                    expected: variable.kind.to_string(),
                });
            }
        }
        let bytes = checked
            .iter()
            .map(|(name, text)| name.len() + text.len())
            .sum();
        if bytes > ENVIRONMENT_MAX_BYTES {
            problems.push(EnvironmentProblem::TooLarge { bytes });
        }
        if problems.is_empty() {
            Ok(Environment(checked))
        } else {
            Err(EnvironmentError {
                app: self.name.clone(),
                problems,
            })
        }
    }

    fn undeclared(&self, name: &str) -> EnvironmentProblem {
        let allowed: Vec<String> = self.environment.keys().cloned().collect();
        EnvironmentProblem::Undeclared {
            name: excerpt(name),
            nearest: nearest(name, allowed.iter().map(String::as_str)).map(str::to_owned),
            allowed,
        }
    }
}

impl EnvironmentProblem {
    fn is_about(&self, variable: &str) -> bool {
        match self {
            Self::Undeclared { name, .. }
            | Self::IllTyped { name, .. }
            | Self::Missing { name, .. }
            | Self::NulByte { name } => name == variable,
            Self::TooLarge { .. } => false,
        }
    }
}

/// A value is not of the type it should be. It says nothing about the value on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IllTyped;

impl Kind {
    /// The text a container gets for a value; `None` when the value counts as absent.
    pub(super) fn check(&self, value: &Value) -> Result<Option<String>, IllTyped> {
        let text = match value {
            Value::Null => return Ok(None),
            Value::String(text) if text.is_empty() && *self != Self::Text => return Ok(None),
            Value::Object(_) => return Err(IllTyped),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match self {
            Self::Text => Ok(text),
            Self::Integer { min, max } => match text.parse::<i64>() {
                Ok(number) if (*min..=*max).contains(&number) => Ok(number.to_string()),
                _ => Err(IllTyped),
            },
            Self::Boolean => match text.as_str() {
                "true" | "1" => Ok("true".to_owned()),
                "false" | "0" => Ok("false".to_owned()),
                _ => Err(IllTyped),
            },
            Self::Choice { options } if options.contains(&text) => Ok(text),
            Self::Choice { .. } => Err(IllTyped),
            Self::Url => canonical_url(&text).ok_or(IllTyped),
            Self::Timezone => locale::timezone(&text).ok_or(IllTyped),
            Self::Language { options } => {
                let options = options.iter().map(String::as_str);
                locale::language(&text, options).ok_or(IllTyped)
            }
            Self::Host if is_host(&text) => Ok(text),
            Self::Host => Err(IllTyped),
            Self::Urls => match serde_json::from_str::<Vec<String>>(&text) {
                Ok(urls) => urls
                    .iter()
                    .map(|url| canonical_url(url))
                    .collect::<Option<Vec<_>>>()
                    .map(|urls| Value::from(urls).to_string())
                    .ok_or(IllTyped),
                Err(_) => Err(IllTyped),
            },
        }
        .map(Some)
    }
}

/// What a value may be, in words for a sentence that starts with `FIREFOX_THEME must be …`.
impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => formatter.write_str("a text, number, boolean or list"),
            Self::Integer {
                min: i64::MIN,
                max: i64::MAX,
            } => formatter.write_str("a whole number"),
            Self::Integer { min, max: i64::MAX } => {
                write!(formatter, "a whole number, {min} or more")
            }
            Self::Integer { min: i64::MIN, max } => {
                write!(formatter, "a whole number, {max} or less")
            }
            Self::Integer { min, max } => {
                write!(formatter, "a whole number from {min} to {max}")
            }
            Self::Boolean => formatter.write_str("true or false"),
            Self::Choice { options } => write!(formatter, "one of: {}", options.join(", ")),
            Self::Url => formatter.write_str("an address that starts with http:, https: or about:"),
            Self::Host => formatter.write_str("a host name or an IP address"),
            Self::Timezone => {
                formatter.write_str("a time zone of the IANA database, such as Europe/Berlin")
            }
            Self::Language { options } => {
                write!(formatter, "one of the languages: {}", options.join(", "))
            }
            Self::Urls => formatter.write_str(
                "a list of addresses, each of which starts with http:, https: or about:",
            ),
        }
    }
}

/// An address that a browser may be sent to, as the URL standard writes it: the scheme in lower case, the host in
/// ASCII. Other schemes (`file:`, `javascript:`, `data:`) would show it the container's files or run what the caller
/// wrote.
fn canonical_url(text: &str) -> Option<String> {
    // The parser leaves some of these out, at whatever place.
    if text
        .chars()
        .any(|character| character.is_control() || character.is_whitespace())
    {
        return None;
    }
    let url = reqwest::Url::parse(text).ok()?;
    let (_, rest) = text.split_once(':')?;
    let is_opened = match url.scheme() {
        // The parser would also find a host in `https:path` and `https:///path`.
        "http" | "https" => rest
            .strip_prefix("//")
            .is_some_and(|rest| !rest.starts_with(['/', '\\'])),
        "about" => rest.starts_with(|first: char| first.is_ascii_alphabetic()),
        _ => false,
    };
    is_opened.then(|| url.into())
}

/// A host name (RFC 1123, and `_` as container networks have it) or an IP address: what can stand
/// before a port, and nothing else.
pub(super) fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.parse::<std::net::IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(is_label))
}

fn known(allowed: &[String]) -> String {
    if allowed.is_empty() {
        "it takes no variable at all".to_owned()
    } else {
        format!("it takes: {}", allowed.join(", "))
    }
}
