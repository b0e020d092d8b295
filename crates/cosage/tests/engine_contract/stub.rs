//! An engine of containers, networks and volumes that exist only as names. It answers with the
//! status and the words of Docker Engine 20.10, names of callers included.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};
use tokio::net::UnixListener;

/// A container: its labels, and what is done to it from outside.
#[derive(Clone, Debug, Default)]
pub(super) struct Container {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) network: String,
    pub(super) running: bool,
    /// Lists still show it, and nothing else finds it.
    pub(super) vanished: bool,
    /// Another client removes it already.
    pub(super) being_removed: bool,
}

/// What there is.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) images: BTreeSet<String>,
    /// Names; two networks may have the same.
    pub(super) networks: Vec<String>,
    pub(super) containers: BTreeMap<String, Container>,
    /// Names with labels.
    pub(super) volumes: BTreeMap<String, BTreeMap<String, String>>,
    /// Whether a container has this volume in use.
    pub(super) volumes_in_use: bool,
    /// What the next start of a container is answered.
    pub(super) start_error: Option<(u16, String)>,
    /// What a pull is answered.
    pub(super) pull_error: Option<(u16, String)>,
}

/// The stub; it serves until the runtime ends.
#[derive(Clone, Default)]
pub(super) struct Stub(Arc<Mutex<World>>);

impl Stub {
    pub(super) fn listen(socket: &Path) -> Self {
        let stub = Self::default();
        let listener = UnixListener::bind(socket).unwrap();
        let router = Router::new().fallback(answer).with_state(stub.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        stub
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }
}

async fn answer(
    State(stub): State<Stub>,
    method: Method,
    uri: Uri,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    let path = percent_decode(uri.path());
    let query = percent_decode(&query.unwrap_or_default());
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && !is_version(part))
        .collect();
    let mut world = stub.world();
    let answered = match (method.as_str(), parts.as_slice()) {
        (_, ["_ping"]) => Ok(Json(json!("OK")).into_response()),
        ("GET", ["info"]) => Ok(Json(json!({ "NCPU": 64 })).into_response()),
        ("GET", ["images", name @ .., "json"]) => world.image(&name.join("/")),
        ("POST", ["images", "create"]) => world.pull(),
        ("GET", ["networks"]) => Ok(world.list_networks(&query)),
        ("POST", ["networks", "create"]) => Ok(world.create_network(&body)),
        ("DELETE", ["networks", id]) => world.remove_network(id),
        ("GET", ["volumes"]) => Ok(world.list_volumes()),
        ("GET", ["volumes", name]) => world.volume(name),
        ("DELETE", ["volumes", name]) => world.remove_volume(name),
        ("GET", ["containers", "json"]) => Ok(world.list_containers()),
        ("POST", ["containers", "create"]) => world.create_container(&query, &body),
        ("POST", ["containers", name, "start"]) => world.start(name),
        ("POST", ["containers", name, "stop"]) => world.find(name).map(|_| no_content()),
        ("POST", ["containers", name, "wait"]) => world.wait(name),
        ("GET", ["containers", name, "json"]) => world.inspect(name),
        ("GET", ["containers", name, "logs"]) => world.find(name).map(|_| no_content()),
        ("DELETE", ["containers", name]) => world.remove_container(name),
        _ => panic!("the stub has no {method} {path}"),
    };
    answered.unwrap_or_else(|(status, message)| {
        let status = StatusCode::from_u16(status).unwrap();
        (status, Json(json!({ "message": message }))).into_response()
    })
}

type Answer = Result<Response, (u16, String)>;

impl World {
    fn image(&self, name: &str) -> Answer {
        if self.images.contains(name) {
            return Ok(Json(json!({})).into_response());
        }
        Err((404, format!("no such image: {name}: No such image: {name}")))
    }

    fn pull(&self) -> Answer {
        let error = self.pull_error.clone();
        error.map_or_else(|| Ok(no_content()), Err)
    }

    fn list_networks(&self, query: &str) -> Response {
        let networks = self.networks.iter().enumerate();
        let shown: Vec<_> = networks
            .filter(|(_, name)| query.contains(&format!("[\"{name}\"]")))
            .map(|(index, name)| {
                json!({
                    "Name": name,
                    "Id": format!("{index:04}"),
                    "Created": format!("2026-01-01T00:00:{index:02}Z"),
                    "Labels": { "cosage.network": "isolated" },
                    "Options": { "com.docker.network.bridge.enable_icc": "false" },
                })
            })
            .collect();
        Json(shown).into_response()
    }

    fn create_network(&mut self, body: &Value) -> Response {
        self.networks.push(text(&body["Name"]));
        (
            StatusCode::CREATED,
            Json(json!({ "Id": "new", "Warning": "" })),
        )
            .into_response()
    }

    fn remove_network(&mut self, id: &str) -> Answer {
        let index: usize = id.parse().unwrap();
        let Some(name) = self.networks.get(index).cloned() else {
            return Err((404, format!("network {id} not found")));
        };
        // The first of two is the one that containers are on.
        let used = self
            .containers
            .values()
            .any(|one| one.running && one.network == name);
        if used && index == 0 {
            return Err((
                403,
                format!(
                    "error while removing network: network {name} id {id} has active endpoints"
                ),
            ));
        }
        self.networks.remove(index);
        Ok(no_content())
    }

    fn list_volumes(&self) -> Response {
        let volumes: Vec<_> = self.volumes.iter().map(volume).collect();
        Json(json!({ "Volumes": volumes })).into_response()
    }

    fn volume(&self, name: &str) -> Answer {
        let found = self.volumes.get_key_value(name);
        found
            .map(|found| Json(volume(found)).into_response())
            .ok_or_else(|| (404, format!("get {name}: no such volume")))
    }

    fn remove_volume(&mut self, name: &str) -> Answer {
        if self.volumes_in_use {
            return Err((
                409,
                format!("remove {name}: volume is in use - [0123456789abcdef]"),
            ));
        }
        self.volumes.remove(name);
        Err((404, format!("get {name}: no such volume")))
    }

    fn list_containers(&self) -> Response {
        let containers = self.containers.iter().map(|(name, container)| {
            json!({
                "Id": name,
                "Names": [format!("/{name}")],
                "Labels": container.labels,
                "State": if container.running { "running" } else { "exited" },
            })
        });
        Json(containers.collect::<Vec<_>>()).into_response()
    }

    fn create_container(&mut self, query: &str, body: &Value) -> Answer {
        let name = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("name="))
            .unwrap()
            .to_owned();
        let image = text(&body["Image"]);
        if !self.images.contains(&image) {
            return Err((404, format!("No such image: {image}")));
        }
        if self.containers.contains_key(&name) {
            return Err((
                409,
                format!(
                    "Conflict. The container name \"/{name}\" is already in use by container \"0123456789abcdef\". You have to remove (or rename) that container to be able to reuse that name."
                ),
            ));
        }
        let mount = &body["HostConfig"]["Mounts"][0];
        if mount.is_object() {
            let labels = labels(&mount["VolumeOptions"]["Labels"]);
            self.volumes.insert(text(&mount["Source"]), labels);
        }
        let container = Container {
            labels: labels(&body["Labels"]),
            network: text(&body["HostConfig"]["NetworkMode"]),
            ..Container::default()
        };
        self.containers.insert(name.clone(), container);
        let made = json!({ "Id": name, "Warnings": [] });
        Ok((StatusCode::CREATED, Json(made)).into_response())
    }

    fn start(&mut self, name: &str) -> Answer {
        if let Some(error) = self.start_error.take() {
            return Err(error);
        }
        let network = self.find(name)?.network.clone();
        match self.networks.iter().filter(|one| **one == network).count() {
            0 => return Err((404, format!("network {network} not found"))),
            1 => {}
            found => {
                return Err((
                    400,
                    format!("network {network} is ambiguous ({found} matches found on name)"),
                ));
            }
        }
        let container = self.containers.get_mut(name).unwrap();
        container.running = true;
        Ok(no_content())
    }

    fn wait(&mut self, name: &str) -> Answer {
        self.find(name)?;
        self.containers.remove(name);
        Ok(Json(json!({ "StatusCode": 137 })).into_response())
    }

    fn inspect(&self, name: &str) -> Answer {
        let container = self.find(name)?;
        let state = json!({
            "Running": container.running,
            "Status": if container.running { "running" } else { "exited" },
            "StartedAt": "2026-01-01T00:00:00Z",
        });
        let networks = json!({ container.network.clone(): { "IPAddress": "192.0.2.1" } });
        Ok(Json(json!({
            "Id": name,
            "Config": { "Labels": container.labels, "Env": [] },
            "State": state,
            "NetworkSettings": { "Networks": networks },
        }))
        .into_response())
    }

    fn remove_container(&mut self, name: &str) -> Answer {
        if self.find(name)?.being_removed {
            return Err((
                409,
                format!("removal of container {name} is already in progress"),
            ));
        }
        self.containers.remove(name);
        Ok(no_content())
    }

    fn find(&self, name: &str) -> Result<&Container, (u16, String)> {
        let found = self.containers.get(name).filter(|found| !found.vanished);
        found.ok_or_else(|| (404, format!("No such container: {name}")))
    }
}

fn volume((name, labels): (&String, &BTreeMap<String, String>)) -> Value {
    json!({
        "Name": name,
        "Driver": "local",
        "Mountpoint": "",
        "Labels": labels,
        "Scope": "local",
        "Options": {},
    })
}

fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn labels(value: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(value.clone()).unwrap()
}

fn is_version(part: &str) -> bool {
    part.strip_prefix('v').is_some_and(|rest| {
        rest.starts_with(|first: char| first.is_ascii_digit()) && rest.contains('.')
    })
}

fn percent_decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .unwrap()
        .into_owned()
}
