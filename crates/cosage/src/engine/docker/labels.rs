//! Labels: how this service finds its containers, volumes and networks again. Everything that is written on them, and
//! read from them, is here.

use std::collections::{BTreeMap, HashMap};

use super::super::{ContainerSpec, InstanceId, LaunchSpec, StreamSpec};
use crate::desktop::{StreamKey, Uid};

const OWNER: &str = "cosage.owner";
const UID: &str = "cosage.uid";
const INSTANCE: &str = "cosage.instance";
const APP: &str = "cosage.app";
const KEY: &str = "cosage.key";
const STREAMS: &str = "cosage.streams";
const NETWORK: &str = "cosage.network";
/// On a container that only serves a home's files; its value is another one each time.
const FILES: &str = "cosage.files";

/// Labels of one thing, by name.
pub(super) type Labels = HashMap<String, String>;

/// A filter, as the engine's lists take it.
pub(super) type Filter = HashMap<String, Vec<String>>;

/// What the labels of an instance's container say: everything an adopting service needs, so that it needs no catalog.
pub(super) struct Run {
    pub(super) id: InstanceId,
    pub(super) uid: Uid,
    pub(super) app: String,
    pub(super) key: StreamKey,
    pub(super) streams: BTreeMap<String, StreamSpec>,
}

/// The labels of an instance's container, which [`run`] reads.
pub(super) fn of_container(
    owner: &str,
    spec: &LaunchSpec,
    container: &ContainerSpec,
) -> Result<Labels, serde_json::Error> {
    let mut labels = of_home(owner, &spec.uid);
    labels.extend(named([
        (INSTANCE, spec.instance.to_string()),
        (APP, spec.app.clone()),
        (KEY, spec.key.to_string()),
        (STREAMS, serde_json::to_string(&container.streams)?),
    ]));
    Ok(labels)
}

/// The labels of a desktop's home volume.
pub(super) fn of_home(owner: &str, uid: &Uid) -> Labels {
    named([(OWNER, owner.to_owned()), (UID, uid.to_string())])
}

/// The labels of a container that serves a home's files; `mark` tells it from others.
pub(super) fn of_program(owner: &str, uid: &Uid, mark: &str) -> Labels {
    let mut labels = of_home(owner, uid);
    labels.insert(FILES.to_owned(), mark.to_owned());
    labels
}

/// The labels of the desktops' network.
pub(super) fn of_network(kind: &str) -> Labels {
    named([(NETWORK, kind.to_owned())])
}

/// Finds everything of an owner.
pub(super) fn owned(owner: &str) -> Filter {
    filter(&[(OWNER, owner)])
}

/// Finds the containers and the home volumes of a desktop.
pub(super) fn owned_for(owner: &str, uid: &Uid) -> Filter {
    filter(&[(OWNER, owner), (UID, uid.as_str())])
}

/// Finds the container of one run.
pub(super) fn owned_run(owner: &str, instance: &InstanceId) -> Filter {
    filter(&[(OWNER, owner), (INSTANCE, &instance.0)])
}

/// Whether a container is managed, by this service or by another one.
pub(super) fn is_managed(labels: &Labels) -> bool {
    labels.contains_key(OWNER)
}

/// Whether a network was made by this service or by another one.
pub(super) fn is_network(labels: &Labels) -> bool {
    labels.contains_key(NETWORK)
}

/// Whether something belongs to an owner.
pub(super) fn belongs_to(labels: &Labels, owner: &str) -> bool {
    labels.get(OWNER).is_some_and(|found| found == owner)
}

/// The desktop that something was made for.
pub(super) fn uid(labels: &Labels) -> Option<Uid> {
    labels.get(UID)?.parse().ok()
}

/// The run that a container is; `None` for a container that is no instance.
pub(super) fn instance(labels: &Labels) -> Option<InstanceId> {
    labels.get(INSTANCE).cloned().map(InstanceId)
}

/// What tells a container that serves a home's files from others; `None` for other containers.
pub(super) fn mark(labels: &Labels) -> Option<&str> {
    labels.get(FILES).map(String::as_str)
}

/// Reads what [`of_container`] has written, or says what cannot be read.
pub(super) fn run(labels: &Labels) -> Result<Run, &'static str> {
    let label = |name| labels.get(name).ok_or("a label is missing");
    Ok(Run {
        id: InstanceId(label(INSTANCE)?.clone()),
        uid: label(UID)?
            .parse()
            .map_err(|_| "its label of the uid cannot be read")?,
        app: label(APP)?.clone(),
        key: label(KEY)?
            .parse()
            .map(StreamKey)
            .map_err(|_| "its label of the stream key cannot be read")?,
        streams: serde_json::from_str(label(STREAMS)?)
            .map_err(|_| "its label of the streams cannot be read")?,
    })
}

fn named<const N: usize>(labels: [(&str, String); N]) -> Labels {
    labels.map(|(name, value)| (name.to_owned(), value)).into()
}

fn filter(labels: &[(&str, &str)]) -> Filter {
    let labels = labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    HashMap::from([("label".to_owned(), labels)])
}
