//! Containers that the service before this one left.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::super::legacy::Stranger;
use super::super::{Exit, Instance, InstanceId};
use super::{Control, Life, Record, State, server};
use crate::desktop::Environment;

/// One that is not adopted.
pub(super) struct StrangerRecord {
    stranger: Stranger,
    servers: JoinSet<()>,
}

impl Control {
    /// Starts a container that belongs to no service, with a VNC server without a password at `port`; answers where
    /// that is published.
    pub async fn add_stranger(
        &self,
        name: &str,
        image: &str,
        environment: Environment,
        port: u16,
    ) -> std::io::Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let mut state = self.shared.lock();
        let mut servers = JoinSet::new();
        servers.spawn(server::rfb(
            listener,
            None,
            state.banner_delay,
            state.painting,
            Arc::clone(&state.clients),
            state.recordings.clone(),
        ));
        let id = InstanceId(format!("stranger-{}", InstanceId::random()));
        let stranger = Stranger {
            id: id.clone(),
            name: name.to_owned(),
            image: image.to_owned(),
            environment,
            started_at: Timestamp::now(),
            address: None,
            published: BTreeMap::from([(port, address)]),
        };
        let record = StrangerRecord { stranger, servers };
        state.strangers.insert(id, record);
        Ok(address)
    }

    /// Lets the stranger of this name have been started earlier, or at this moment.
    pub fn started_stranger_at(&self, name: &str, at: Timestamp) {
        let mut state = self.shared.lock();
        for record in state.strangers.values_mut() {
            if record.stranger.name == name {
                record.stranger.started_at = at;
            }
        }
    }

    /// Ends the stranger of this name, adopted or not.
    pub fn end_stranger(&self, name: &str) {
        let mut state = self.shared.lock();
        state
            .strangers
            .retain(|_, record| record.stranger.name != name);
        let adopted = state.instances.values().find(|record| record.was(name));
        if let Some(id) = adopted.map(|record| record.instance.id.clone()) {
            self.shared.end(&mut state, &id, Exit::default());
        }
    }

    /// The names of those that run, adopted or not.
    pub fn strangers(&self) -> Vec<String> {
        let state = self.shared.lock();
        let left = state.strangers.values().map(|record| &record.stranger);
        let adopted = state.instances.values().filter_map(Record::stranger);
        let all = left.chain(adopted.map(|(stranger, _)| stranger));
        all.map(|stranger| stranger.name.clone()).collect()
    }
}

impl Record {
    /// What it was before it was adopted, and the service that did so, while it runs.
    fn stranger(&self) -> Option<(&Stranger, usize)> {
        let (stranger, service) = self.adopted.as_ref()?;
        matches!(self.life, Life::Running { .. }).then_some((stranger, *service))
    }

    fn was(&self, name: &str) -> bool {
        self.stranger().is_some_and(|(one, _)| one.name == name)
    }
}

impl State {
    pub(super) fn strangers_named(&self, base_name: &str, service: usize) -> Vec<Stranger> {
        let left = self.strangers.values().map(|record| &record.stranger);
        let adopted = self.instances.values().filter_map(Record::stranger);
        let of_others = adopted.filter(|(_, by)| *by != service);
        left.chain(of_others.map(|(stranger, _)| stranger))
            .filter(|stranger| stranger.name.starts_with(base_name))
            .cloned()
            .collect()
    }

    pub(super) fn has_stranger(&self, name: &str, service: usize) -> bool {
        let strangers = self.strangers_named(name, service);
        strangers.iter().any(|stranger| stranger.name == name)
    }

    pub(super) fn adopt(&mut self, instance: &Instance, service: usize) {
        if let Some(record) = self.instances.get_mut(&instance.id)
            && let Some((_, by)) = &mut record.adopted
        {
            *by = service;
            record.instance = instance.clone();
        }
        let Some(StrangerRecord { stranger, servers }) = self.strangers.remove(&instance.id) else {
            return;
        };
        let record = Record {
            instance: instance.clone(),
            name: stranger.name.clone(),
            environment: stranger.environment.clone(),
            logs: String::new(),
            life: Life::Running { _servers: servers },
            adopted: Some((stranger, service)),
        };
        self.instances.insert(instance.id.clone(), record);
    }
}
