//! The ways into an app: `[app.NAME.stream.*]`, and `[app.NAME.remote]`.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::Problems;
use super::fields::{At, Fields, Span, is_name};
use crate::catalog::{Kind, Source, Variable};
use crate::engine::{Presence, Protocol, StreamSpec};
use crate::text::excerpt;

/// Where an app's streams are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    Container,
    Elsewhere,
}

pub(super) fn read_streams(
    app: &Fields<'_, '_>,
    table: Option<At<&DeTable<'_>>>,
    place: Where,
    problems: &mut Problems,
) -> BTreeMap<String, StreamSpec> {
    let mut streams = BTreeMap::new();
    let declared = table.as_ref().map_or(0, |(table, _)| table.len());
    for (name, value) in table.iter().flat_map(|(table, _)| table.iter()) {
        let path = format!("{}.stream.{}", app.path(), name.get_ref());
        if !is_name(name.get_ref()) {
            problems.add(
                name.span(),
                format!(
                    "a stream is not named '{}'; use lower-case letters, digits and '-'",
                    excerpt(name.get_ref())
                ),
            );
        }
        let DeValue::Table(table) = value.get_ref() else {
            problems.add(value.span(), format!("{path} must be a table: [{path}]"));
            continue;
        };
        let fields = Fields::new(path, table, name.span());
        if let Some(stream) = read_stream(name.get_ref(), fields, place, problems) {
            streams.insert(name.get_ref().to_string(), stream);
        }
    }
    if streams.len() == declared {
        let viewers = streams
            .values()
            .filter(|stream| stream.presence == Presence::Viewer)
            .count();
        if viewers == 0 {
            problems.add(
                app.span(),
                format!(
                    "{0} has no stream that a viewer can look at; add [{0}.stream.vnc]",
                    app.path()
                ),
            );
        }
        if place == Where::Elsewhere && streams.len() > 1 {
            problems.add(app.span(), format!("{} is remote and has {} streams; it can have one, because it has one host and port", app.path(), streams.len()));
        }
    }
    streams
}

fn read_stream(
    name: &str,
    mut fields: Fields<'_, '_>,
    place: Where,
    problems: &mut Problems,
) -> Option<StreamSpec> {
    let protocol_words = [
        ("display", Protocol::Display),
        ("rfb", Protocol::Rfb),
        ("tcp", Protocol::Tcp),
        ("webm", Protocol::Webm),
        ("websocket", Protocol::Websocket),
    ];
    let protocol = fields.word("protocol", &protocol_words, problems);
    if protocol.is_none() && !fields.has("protocol") {
        problems.add(
            fields.span(),
            format!(
                "{} has no protocol; it is one of \"display\", \"rfb\", \"tcp\", \"webm\", \"websocket\"",
                fields.path()
            ),
        );
    }
    let port = match place {
        Where::Container => {
            let port = fields.integer("port", 1..=65535, problems);
            if port.is_none() && !fields.has("port") {
                problems.add(
                    fields.span(),
                    format!(
                        "{} has no port; it is the TCP port in the container, such as 5900",
                        fields.path()
                    ),
                );
            }
            port.and_then(|port| u16::try_from(port).ok())
        }
        Where::Elsewhere => {
            if let Some(value) = fields.value("port") {
                problems.add(value.span(), format!("{} has a port, but a remote app's port comes from its environment; remove it", fields.path()));
            }
            if let Some(Protocol::Display | Protocol::Webm | Protocol::Websocket) = protocol {
                problems.add(
                    fields.span(),
                    format!(
                        "{} is remote, so that its protocol is \"rfb\" or \"tcp\"",
                        fields.path()
                    ),
                );
            }
            Some(0)
        }
    };
    let path = match (fields.text("path", problems), protocol) {
        (Some((path, span)), Some(Protocol::Websocket)) => {
            if !is_request_path(path) {
                problems.add(span, format!("{}.path must start with '/' and be a path as it stands in a URL, such as \"/vnc\"", fields.path()));
            }
            path.to_owned()
        }
        (Some((_, span)), Some(_)) => {
            problems.add(
                span,
                format!(
                    "{}.path is for protocol = \"websocket\" only; remove it",
                    fields.path()
                ),
            );
            String::new()
        }
        (None, Some(Protocol::Websocket)) => format!("/{name}"),
        _ => String::new(),
    };
    let presence_words = [
        ("viewer", Presence::Viewer),
        ("listener", Presence::Listener),
    ];
    let default_presence = if name == "audio" || protocol == Some(Protocol::Display) {
        Presence::Listener
    } else {
        Presence::Viewer
    };
    let presence = fields
        .word("presence", &presence_words, problems)
        .unwrap_or(default_presence);
    fields.finish(problems);
    Some(StreamSpec {
        port: port?,
        protocol: protocol?,
        path,
        presence,
    })
}

pub(super) fn read_remote(
    app: &str,
    table: &DeTable<'_>,
    span: Span,
    environment: &BTreeMap<String, Variable>,
    problems: &mut Problems,
) -> Option<Source> {
    let mut fields = Fields::new(format!("app.{app}.remote"), table, span.clone());
    let mut variable = |key: &'static str,
                        fits: fn(&Kind) -> bool,
                        declaration: &str,
                        problems: &mut Problems| {
        let given = fields.text(key, problems);
        match &given {
            Some((name, span)) => match environment.get(*name) {
                Some(variable) if !fits(&variable.kind) => problems.add(span.clone(), format!("app.{app}.remote.{key}: {name} must be declared with {declaration}")),
                Some(variable) if !variable.required && variable.default.is_none() => problems.add(span.clone(), format!("app.{app}.remote.{key}: {name} needs required = true or a default")),
                Some(_) => {}
                None => problems.add(span.clone(), format!("app.{app}.remote.{key} names the variable '{}', which is not declared; add [app.{app}.env.{0}] with {declaration}", excerpt(name))),
            },
            None if !fields.has(key) => problems.add(span.clone(), format!("app.{app}.remote has no '{key}'; name the variable it is taken from")),
            None => {}
        }
        given.map(|(name, _)| name.to_owned())
    };
    let host = variable(
        "host",
        |kind| *kind == Kind::Host,
        "type = \"host\"",
        problems,
    );
    let port = variable(
        "port",
        |kind| {
            matches!(
                kind,
                Kind::Integer {
                    min: 1..,
                    max: ..=65535
                }
            )
        },
        "type = \"integer\", min = 1 or more, max = 65535 or less",
        problems,
    );
    fields.finish(problems);
    Some(Source::Remote {
        host: host?,
        port: port?,
    })
}

fn is_request_path(path: &str) -> bool {
    path.starts_with('/')
        && path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
}
