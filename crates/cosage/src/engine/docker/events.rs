//! The engine's events, over connections that come and go.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::super::{EngineEvent, Exit, InstanceId};
use super::client::{Client, READ_LIMIT, limited};
use super::labels;

/// How long to wait before an engine that does not answer is asked again: at first, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// How often a silent connection is checked: a peer that is gone without a word, or hangs, sends
/// no event, just as one where nothing happens.
const CHECK: Duration = Duration::from_secs(15);

/// Reports events until nobody listens any more.
pub(super) async fn report(client: Arc<Client>, owner: String, sender: mpsc::Sender<EngineEvent>) {
    let mut back_off = BACK_OFF.0;
    let mut said = false;
    loop {
        let mut connected = false;
        let reason = tokio::select! {
            reason = watch(&client, &owner, &sender, &mut connected) => reason,
            () = sender.closed() => return,
        };
        if connected {
            back_off = BACK_OFF.0;
            said = false;
            if sender
                .send(EngineEvent::Disconnected(reason.clone()))
                .await
                .is_err()
            {
                return;
            }
        }
        if !said {
            said = true;
            tracing::warn!(
                reason,
                "the container engine is gone; trying again until it is back"
            );
        }
        tokio::select! {
            () = tokio::time::sleep(back_off) => {}
            () = sender.closed() => return,
        }
        back_off = (back_off * 2).min(BACK_OFF.1);
    }
}

/// Reports events over one connection; returns why it ended.
async fn watch(
    client: &Client,
    owner: &str,
    sender: &mpsc::Sender<EngineEvent>,
    connected: &mut bool,
) -> String {
    let docker = match client.get() {
        Ok(docker) => docker,
        Err(error) => return error.to_string(),
    };
    let info = match limited(READ_LIMIT, docker.info()).await {
        Ok(info) => info,
        Err(error) => return client.explain(error).to_string(),
    };
    // The engine answers a subscription a moment before it takes effect. Asking for what happened
    // since a moment earlier, by the clock of the engine, leaves no gap: it keeps recent events.
    let since = info
        .system_time
        .and_then(|time| time.parse::<Timestamp>().ok())
        .map(|time| format!("{}.{:09}", time.as_second(), time.subsec_nanosecond()));
    let mut filter = labels::owned(owner);
    filter.extend([
        ("type".to_owned(), vec!["container".to_owned()]),
        ("event".to_owned(), vec!["die".to_owned(), "oom".to_owned()]),
    ]);
    let mut options = EventsOptionsBuilder::default().filters(&filter);
    if let Some(since) = &since {
        options = options.since(since);
    }
    let mut events = pin!(docker.events(Some(options.build())));

    // A refused subscription fails at once, an accepted one is silent: so it is open when it has
    // not failed by the time that a later call is answered.
    let mut next = events.next();
    let first = tokio::select! {
        biased;
        event = &mut next => Some(event),
        answer = limited(READ_LIMIT, docker.ping()) => match answer {
            Ok(_) => None,
            Err(error) => return client.explain(error).to_string(),
        },
    };
    if let Some(event) = &first
        && !matches!(event, Some(Ok(_)))
    {
        return ended(client, first.flatten());
    }
    if sender.send(EngineEvent::Connected).await.is_err() {
        return String::new();
    }
    *connected = true;

    let mut out_of_memory = HashSet::new();
    let mut event = first.flatten();
    let mut check = tokio::time::interval_at(tokio::time::Instant::now() + CHECK, CHECK);
    loop {
        if let Some(message) = event.take() {
            let message = match message {
                Ok(message) => message,
                error => return ended(client, Some(error)),
            };
            if let Some(event) = translate(message, &mut out_of_memory)
                && sender.send(event).await.is_err()
            {
                return String::new();
            }
        }
        tokio::select! {
            message = events.next() => match message {
                Some(message) => event = Some(message),
                None => return ended(client, None),
            },
            _ = check.tick() => {
                if let Err(error) = limited(READ_LIMIT, docker.ping()).await {
                    return client.explain(error).to_string();
                }
            }
        }
    }
}

fn ended(client: &Client, last: Option<Result<EventMessage, bollard::errors::Error>>) -> String {
    match last {
        Some(Err(error)) => client.explain(error).to_string(),
        _ => "the container engine closed the connection".to_owned(),
    }
}

fn translate(
    message: EventMessage,
    out_of_memory: &mut HashSet<InstanceId>,
) -> Option<EngineEvent> {
    let attributes = message.actor?.attributes?;
    let instance = labels::instance(&attributes)?;
    match message.action?.as_str() {
        // The kernel may also kill a mere child, and the desktop go on: it is only noted, for the
        // end that may follow.
        "oom" => {
            out_of_memory.insert(instance);
            None
        }
        "die" => {
            let code = attributes
                .get("exitCode")
                .and_then(|code| code.parse().ok());
            let out_of_memory = out_of_memory.remove(&instance) && code == Some(137);
            Some(EngineEvent::Exited(
                instance,
                Exit {
                    code,
                    out_of_memory,
                },
            ))
        }
        _ => None,
    }
}
