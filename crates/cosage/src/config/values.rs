//! How the values of settings are written.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::Secret;
use crate::catalog::FORGET_AFTER_MIN;
use crate::desktop::events::Kind;
use crate::text::{self, Malformed, did_you_mean, excerpt, nearest};
use crate::webhook::{Address, Signer};

fn malformed<T>(text: &str, right: &str) -> Result<T, Malformed> {
    Err(Malformed(format!("'{}' is not {right}", excerpt(text))))
}

pub(super) fn address(text: &str) -> Result<SocketAddr, Malformed> {
    text.parse().or_else(|_| {
        malformed(
            text,
            "an IP address and a port, such as 127.0.0.1:4024, 0.0.0.0:4024 or [::1]:4024",
        )
    })
}

pub(super) fn address_or_off(text: &str) -> Result<Option<SocketAddr>, Malformed> {
    if text == "off" {
        return Ok(None);
    }
    address(text)
        .map(Some)
        .map_err(|Malformed(message)| Malformed(format!("{message}, or off")))
}

pub(super) fn boolean(text: &str) -> Result<bool, Malformed> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => malformed(text, "true or false"),
    }
}

pub(super) fn port(text: &str) -> Result<u16, Malformed> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => malformed(text, "a port from 1 to 65535"),
    }
}

pub(super) fn count(text: &str) -> Result<usize, Malformed> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => malformed(text, "a whole number, 1 or more"),
    }
}

pub(super) fn count_or_none(text: &str) -> Result<Option<usize>, Malformed> {
    if text == "none" {
        return Ok(None);
    }
    count(text)
        .map(Some)
        .map_err(|Malformed(message)| Malformed(format!("{message}, or none")))
}

/// A size, or 0, which needs no unit.
pub(super) fn bytes(text: &str) -> Result<u64, Malformed> {
    if text == "0" {
        Ok(0)
    } else {
        text::parse_bytes(text)
    }
}

/// A span of time with its unit, or a number of seconds, as the old service took it.
pub(super) fn duration(text: &str) -> Result<Duration, Malformed> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text::parse_duration(&format!("{text}s"));
    }
    text::parse_duration(text)
}

/// A span of time of a second or more: below it, nothing that waits for people or programs works.
pub(super) fn bound(text: &str) -> Result<Duration, Malformed> {
    match duration(text)? {
        duration if duration >= Duration::from_secs(1) => Ok(duration),
        _ => Err(Malformed(format!(
            "'{}' is too short; it must be 1s or more",
            excerpt(text)
        ))),
    }
}

pub(super) fn timer(text: &str) -> Result<Option<Duration>, Malformed> {
    if text == "never" {
        return Ok(None);
    }
    bound(text)
        .map(Some)
        .map_err(|Malformed(message)| Malformed(format!("{message}, or never")))
}

/// A timer of [`FORGET_AFTER_MIN`] or more.
pub(super) fn forget_after(text: &str) -> Result<Option<Duration>, Malformed> {
    match timer(text)? {
        Some(timer) if timer < FORGET_AFTER_MIN => Err(Malformed(format!(
            "'{}' is too short; it must be {} or more, or never",
            excerpt(text),
            text::format_duration(FORGET_AFTER_MIN)
        ))),
        timer => Ok(timer),
    }
}

pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Malformed> {
    words
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, meaning)| *meaning)
        .ok_or_else(|| {
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let meant = did_you_mean(nearest(text, names.iter().copied()));
            Malformed(format!(
                "'{}'{meant} is not one of: {}",
                excerpt(text),
                names.join(", ")
            ))
        })
}

pub(super) fn path(text: &str) -> Result<PathBuf, Malformed> {
    if text.starts_with('~') {
        return Err(Malformed(format!(
            "'{}' starts with '~', which only a shell understands; write the directory out",
            excerpt(text)
        )));
    }
    Ok(PathBuf::from(text))
}

/// The start of a name as Docker has it: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`.
pub(super) fn docker_name(text: &str) -> Result<String, Malformed> {
    let well_formed = text.len() <= 64
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if well_formed {
        return Ok(text.to_owned());
    }
    malformed(
        text,
        "a name for Docker: at most 64 letters, digits, '_', '.' and '-', starting with a letter or a digit",
    )
}

pub(super) fn docker_host(text: &str) -> Result<String, Malformed> {
    let rest = text
        .strip_prefix("unix:///")
        .or_else(|| text.strip_prefix("tcp://"));
    if rest.is_some_and(|rest| !rest.is_empty()) {
        return Ok(text.to_owned());
    }
    malformed(text, "unix:///path/of/the.sock or tcp://host:port")
}

pub(super) fn url_template(text: &str) -> Result<String, Malformed> {
    let well_formed = text.starts_with('/')
        && text.matches("{port}").count() == 1
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    if well_formed {
        return Ok(text.to_owned());
    }
    malformed(
        text,
        "a path that starts with / and has {port} once, such as /stream/{port}",
    )
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, Malformed> {
    items(text)
        .map(|item| {
            let single = || item.parse::<IpAddr>().map(IpNet::from).ok();
            item.parse().ok().or_else(single).map_or_else(
                || {
                    malformed(
                        item,
                        "a network such as 10.1.0.0/16 or fd00::/8, or an IP address",
                    )
                },
                Ok,
            )
        })
        .collect()
}

/// Host names, in the form that browsers send.
pub(super) fn hosts(text: &str) -> Result<Vec<String>, Malformed> {
    items(text)
        .map(|item| {
            let url = reqwest::Url::parse(&format!("http://{item}/"));
            let name = url.as_ref().ok().and_then(reqwest::Url::host_str);
            let is_host_alone = item.ends_with(']') || !item.contains([':', '/', '?', '#', '@', '\\', '*']);
            match name {
                _ if item == "*" => Ok(item.to_owned()),
                Some(name) if is_host_alone => Ok(name.to_owned()),
                _ => malformed(item, "the name of a host without scheme and port, such as desk.example.org, or * for all"),
            }
        })
        .collect()
}

pub(super) fn origins(text: &str) -> Result<Vec<String>, Malformed> {
    items(text)
        .map(|item| {
            let is_origin = |url: &reqwest::Url| {
                matches!(url.scheme(), "http" | "https")
                    && url.origin().ascii_serialization() == item.trim_end_matches('/')
            };
            if item == "*" || reqwest::Url::parse(item).as_ref().is_ok_and(is_origin) {
                Ok(item.trim_end_matches('/').to_owned())
            } else {
                malformed(item, "an origin as browsers write it, such as https://sage3.example.org or http://localhost:3000, or * for all")
            }
        })
        .collect()
}

pub(super) fn server(text: &str) -> Result<reqwest::Url, Malformed> {
    match reqwest::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        _ => malformed(
            text,
            "the address of a server, such as https://sage3.example.org",
        ),
    }
}

/// What can stand in an HTTP header. The message does not repeat it.
pub(super) fn secret(text: &str) -> Result<Secret, Malformed> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Secret::new(text));
    }
    Err(Malformed(
        "it has a character that no HTTP header can carry, such as a space or a line's end"
            .to_owned(),
    ))
}

/// The message names an address by its place in the list, because it may hold a token.
pub(super) fn addresses(text: &str) -> Result<Vec<Address>, Malformed> {
    (1..)
        .zip(items(text))
        .map(|(number, item)| {
            item.parse().map_err(|_| {
                Malformed(format!(
                    "number {number} of the list is not the address of a web server, such as https://hooks.example.org/cosage (a comma within is written %2C)"
                ))
            })
        })
        .collect()
}

/// The message names a secret by its place in the list.
pub(super) fn signer(text: &str) -> Result<Signer, Malformed> {
    Signer::new(items(text)).map_err(|(number, wrong)| {
        Malformed(format!(
            "number {number} of the list {wrong}; write what `echo whsec_$(openssl rand -base64 32)` prints"
        ))
    })
}

pub(super) fn kinds(text: &str) -> Result<Vec<Kind>, Malformed> {
    let words = Kind::ALL.map(|kind| (kind.word(), kind));
    let kinds: Vec<Kind> = items(text)
        .map(|item| word(item, &words))
        .collect::<Result<_, _>>()?;
    if kinds.is_empty() {
        let names = words.map(|(name, _)| name).join(", ");
        return Err(Malformed(format!(
            "there is no event in the list; name some of: {names}"
        )));
    }
    Ok(kinds)
}

pub(super) fn log_filter(text: &str) -> Result<String, Malformed> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(Malformed(format!(
            "'{}' is not a log filter ({error}); write a level such as info or debug, or parts such as info,cosage=debug",
            excerpt(text)
        ))),
    }
}
