//! The files of a home volume, by way of a container that has the volume and our program in it, and
//! nothing else: no network, no other file, and no rights but those of the home's owner.
//!
//! The program's image is made from what this binary carries, when it is first needed. It is asked
//! over the container's standard input and output, one request after the other; a container is kept
//! for some seconds after the last one, because it takes longer to start than to ask.
//!
//! **What a crash leaves.** The container's input ends with the service that attached to it, and
//! the engine removes a container whose program has ended. What survives even that is swept when
//! containers are listed. It has no instance's label, so it never looks like a desktop.

mod closable;

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::models::{
    ContainerCreateBody, ContainerSummary, HostConfig, HostConfigLogConfig, Mount, MountType,
    MountVolumeOptions,
};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, CreateImageOptionsBuilder,
    StartContainerOptions,
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use sha1::{Digest, Sha1};
use tokio::sync::{RwLock, RwLockWriteGuard, Semaphore};
use tokio::time::{sleep, timeout};

use self::closable::Closable;
use super::super::EngineError;
use super::super::home::{HomeAccess, HomeError, Link};
use super::client::{Client, ORDER_LIMIT, READ_LIMIT, is_not_found, limited};
use super::{Docker, labels};
use crate::desktop::Uid;

/// The program, static, so that it needs nothing beside it.
static PROGRAM: &[u8] = include_bytes!(env!("COSAGE_FILES"));

/// What the program is called in its image.
const ENTRYPOINT: &str = "cosage-files";

/// Where the program wants the home.
const MOUNT_POINT: &str = "/home";

/// How many requests may be at files at the same time: each has a container.
const TURNS: usize = 32;

/// What a container may take of the host's memory, in bytes. The program itself needs a few MiB, however many files
/// there are; the rest is for what the kernel keeps of the files that it reads and writes.
const MEMORY: i64 = 64 << 20;

/// How long a container waits for the next request.
const IDLE: Duration = Duration::from_secs(10);

/// How long a container that waited may take to say that it is there.
const PONG_LIMIT: Duration = Duration::from_secs(1);

/// The image: named after what is in it, so that each version finds its own.
static IMAGE: LazyLock<(String, String)> = LazyLock::new(|| {
    let digest = Sha1::digest(PROGRAM);
    let tag = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    ("cosage/files".to_owned(), tag)
});

/// The containers that this process holds.
pub(super) struct Programs {
    turns: Arc<Semaphore>,
    /// Read while a container is made that uses a home, written while a home is deleted: an engine
    /// makes a volume that is not there, and refuses to delete one that is in use. A home has one
    /// of these by its uid's hash.
    gates: [RwLock<()>; 16],
    /// The marks in use, as [`labels::mark`] reads them.
    held: Mutex<HashMap<String, Held>>,
    idle: Mutex<HashMap<Uid, Vec<(u64, Link)>>>,
    kept: AtomicU64,
}

/// A container in use.
struct Held {
    uid: Uid,
    /// What closes the connections to it.
    closers: Vec<Box<dyn Fn() + Send>>,
}

/// A mark of a container for files in use, until it is dropped.
struct Mark {
    programs: Arc<Programs>,
    value: String,
}

/// Removes a container when it is dropped.
struct Removal {
    client: Arc<Client>,
    container: String,
    mark: Option<Mark>,
}

impl Default for Programs {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(TURNS)),
            gates: Default::default(),
            held: Mutex::default(),
            idle: Mutex::default(),
            kept: AtomicU64::new(0),
        }
    }
}

impl Programs {
    fn gate(&self, uid: &Uid) -> &RwLock<()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(uid);
        &self.gates[(hash % self.gates.len() as u64) as usize]
    }

    fn mark(self: &Arc<Self>, uid: &Uid) -> Mark {
        let value = uuid::Uuid::new_v4().to_string();
        let held = Held {
            uid: uid.clone(),
            closers: Vec::new(),
        };
        lock(&self.held).insert(value.clone(), held);
        Mark {
            programs: Arc::clone(self),
            value,
        }
    }

    /// Closes the connections to all containers of a home.
    fn close(&self, uid: &Uid) {
        lock(&self.idle).remove(uid);
        let held = lock(&self.held);
        for held in held.values().filter(|held| held.uid == *uid) {
            held.closers.iter().for_each(|close| close());
        }
    }

    fn take(&self, uid: &Uid) -> Option<Link> {
        let mut idle = lock(&self.idle);
        let links = idle.get_mut(uid)?;
        let link = links.pop();
        if links.is_empty() {
            idle.remove(uid);
        }
        link.map(|(_, link)| link)
    }

    /// Keeps a link for the next request, but not for long.
    fn keep(self: &Arc<Self>, uid: Uid, link: Link) {
        let number = self.kept.fetch_add(1, Ordering::Relaxed);
        lock(&self.idle)
            .entry(uid.clone())
            .or_default()
            .push((number, link));
        let programs = Arc::clone(self);
        tokio::spawn(async move {
            sleep(IDLE).await;
            let mut idle = lock(&programs.idle);
            if let Some(links) = idle.get_mut(&uid) {
                links.retain(|(kept, _)| *kept != number);
                if links.is_empty() {
                    idle.remove(&uid);
                }
            }
        });
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        lock(&self.programs.held).remove(&self.value);
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        // Outside of a runtime the process ends, and with it the container's input.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let client = Arc::clone(&self.client);
        let container = std::mem::take(&mut self.container);
        let mark = self.mark.take();
        runtime.spawn(async move {
            if let Err(error) = client.remove(&container).await {
                tracing::warn!(%error, "a container for files could not be removed; it is tried again");
            }
            drop(mark);
        });
    }
}

impl Docker {
    pub(super) async fn open_home(&self, uid: &Uid) -> Result<HomeAccess, HomeError> {
        let Ok(turn) = Arc::clone(&self.programs.turns).try_acquire_owned() else {
            return Err(HomeError::Engine(EngineError::OutOfResources(format!(
                "{TURNS} transfers of files are going on; ask again when one is through"
            ))));
        };
        let link = match self.idle_link(uid).await {
            Some(link) => link,
            None => self.new_link(uid).await?,
        };
        let (programs, uid) = (Arc::clone(&self.programs), uid.clone());
        Ok(HomeAccess::new(link, move |link| {
            drop(turn);
            programs.keep(uid, link);
        }))
    }

    async fn idle_link(&self, uid: &Uid) -> Option<Link> {
        while let Some(mut link) = self.programs.take(uid) {
            if timeout(PONG_LIMIT, link.is_alive()).await == Ok(true) {
                return Some(link);
            }
        }
        None
    }

    async fn new_link(&self, uid: &Uid) -> Result<Link, HomeError> {
        let gate = self.programs.gate(uid).read().await;
        let volumes = self.home_volumes(uid).await?;
        let volume = volumes.into_iter().next().ok_or(HomeError::NoHome)?.name;
        let removal = self.create_program(uid, volume).await?;
        let docker = self.client.get()?;
        let options = AttachContainerOptionsBuilder::default()
            .stream(true)
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .build();
        let attached = self
            .call(ORDER_LIMIT, |docker| {
                docker.attach_container(&removal.container, Some(options))
            })
            .await?;
        let started = docker.start_container(&removal.container, None::<StartContainerOptions>);
        limited(ORDER_LIMIT, started)
            .await
            .map_err(|error| self.client.explain(error))?;
        let mut link = link(attached, removal);
        // From here on, whoever deletes the home closes the link.
        drop(gate);
        match timeout(READ_LIMIT, link.hello()).await {
            Ok(Ok(())) => Ok(link),
            Ok(Err(_)) => Err(HomeError::Ended),
            Err(_) => Err(HomeError::Engine(EngineError::Unavailable(
                "its files were not reached in time".to_owned(),
            ))),
        }
    }

    /// Makes a container with the volume in it.
    async fn create_program(&self, uid: &Uid, volume: String) -> Result<Removal, EngineError> {
        let mark = self.programs.mark(uid);
        let options = CreateContainerOptionsBuilder::default()
            .name(&format!("{volume}-files-{}", &mark.value[..8]))
            .build();
        let body = self.program_body(uid, volume, &mark.value);
        let docker = self.client.get()?;
        let mut may_import = true;
        loop {
            let order = docker.create_container(Some(options.clone()), body.clone());
            match limited(ORDER_LIMIT, order).await {
                Ok(made) => {
                    return Ok(Removal {
                        client: Arc::clone(&self.client),
                        container: made.id,
                        mark: Some(mark),
                    });
                }
                // The image is all that this order needs to be there.
                Err(error) if may_import && is_not_found(&error) => {
                    may_import = false;
                    self.import_program().await?;
                }
                Err(error) => return Err(self.client.explain(error)),
            }
        }
    }

    fn program_body(&self, uid: &Uid, volume: String, mark: &str) -> ContainerCreateBody {
        let (repository, tag) = &*IMAGE;
        let owner = &self.settings.owner;
        ContainerCreateBody {
            image: Some(format!("{repository}:{tag}")),
            entrypoint: Some(vec![format!("/{ENTRYPOINT}")]),
            labels: Some(labels::of_program(owner, uid, mark)),
            open_stdin: Some(true),
            stdin_once: Some(true),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            host_config: Some(HostConfig {
                auto_remove: Some(true),
                network_mode: Some("none".to_owned()),
                ipc_mode: Some("private".to_owned()),
                readonly_rootfs: Some(true),
                security_opt: Some(vec!["no-new-privileges".to_owned()]),
                cap_drop: Some(vec!["ALL".to_owned()]),
                // To become the home's owner, which is the first thing that the program does.
                cap_add: Some(vec!["SETUID".to_owned(), "SETGID".to_owned()]),
                memory: Some(MEMORY),
                // As much as memory alone is no swap.
                memory_swap: Some(MEMORY),
                pids_limit: Some(16),
                // What it writes are files.
                log_config: Some(HostConfigLogConfig {
                    typ: Some("none".to_owned()),
                    config: None,
                }),
                mounts: Some(vec![Mount {
                    typ: Some(MountType::VOLUME),
                    source: Some(volume),
                    target: Some(MOUNT_POINT.to_owned()),
                    volume_options: Some(MountVolumeOptions {
                        no_copy: Some(true),
                        labels: Some(labels::of_home(owner, uid)),
                        ..MountVolumeOptions::default()
                    }),
                    ..Mount::default()
                }]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }

    /// Gives the program to the engine, as an image with one file in it.
    async fn import_program(&self) -> Result<(), EngineError> {
        let info = self.call(READ_LIMIT, |docker| docker.info()).await?;
        if let Some(machine) = info.architecture
            && machine != std::env::consts::ARCH
        {
            return Err(EngineError::Refused(format!(
                "the engine's machine is {machine}, and this service's program for files is for {}; run the service on a machine of the engine's kind",
                std::env::consts::ARCH
            )));
        }
        let (repository, tag) = &*IMAGE;
        let options = CreateImageOptionsBuilder::default()
            .from_src("-")
            .repo(repository)
            .tag(tag)
            .build();
        let files = image_files().map_err(|error| EngineError::Refused(error.to_string()))?;
        let docker = self.client.get()?;
        let import = docker
            .create_image(Some(options), Some(bollard::body_full(files)), None)
            .try_for_each(|_| async { Ok(()) });
        limited(ORDER_LIMIT, import)
            .await
            .map_err(|error| self.client.explain(error))?;
        tracing::info!(repository, tag, "gave the engine the program for files");
        Ok(())
    }

    /// Ends all that is being done to the files of a home, and keeps others from beginning as long
    /// as the answer is held.
    pub(super) async fn end_programs(
        &self,
        uid: &Uid,
    ) -> Result<RwLockWriteGuard<'_, ()>, EngineError> {
        let gate = self.programs.gate(uid).write().await;
        self.programs.close(uid);
        let filter = labels::owned_for(&self.settings.owner, uid);
        for container in self.containers(&filter).await? {
            if let (Some(_), Some(id)) = (mark_of(&container), &container.id) {
                self.client.remove(id).await?;
            }
        }
        Ok(gate)
    }

    /// Removes those of our containers for files that nobody holds.
    pub(super) fn sweep_programs(&self, containers: &[ContainerSummary]) {
        for container in containers {
            if let (Some(mark), Some(id)) = (mark_of(container), &container.id)
                && !lock(&self.programs.held).contains_key(mark)
            {
                drop(Removal {
                    client: Arc::clone(&self.client),
                    container: id.clone(),
                    mark: None,
                });
            }
        }
    }
}

fn mark_of(container: &ContainerSummary) -> Option<&str> {
    labels::mark(container.labels.as_ref()?)
}

fn link(attached: AttachContainerResults, removal: Removal) -> Link {
    let input = Closable::new(attached.output);
    let output = Closable::new(attached.input);
    if let Some(mark) = &removal.mark
        && let Some(held) = lock(&mark.programs.held).get_mut(&mark.value)
    {
        held.closers = vec![Box::new(input.closer()), Box::new(output.closer())];
    }
    let input = input.filter_map(|part| async {
        match part {
            Ok(LogOutput::StdErr { message }) => {
                let text = String::from_utf8_lossy(&message);
                tracing::warn!(text = text.trim(), "the program for files complains");
                None
            }
            Ok(part) => Some(Ok(part.into_bytes())),
            Err(error) => Some(Err(std::io::Error::other(error))),
        }
    });
    Link::new(input.boxed(), output, removal)
}

/// The image's one file, as a tar archive.
fn image_files() -> std::io::Result<Bytes> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(PROGRAM.len() as u64);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, ENTRYPOINT, PROGRAM)?;
    archive.into_inner().map(Bytes::from)
}

/// What is behind these locks changes in one step, so it is sound also after a panic elsewhere.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
