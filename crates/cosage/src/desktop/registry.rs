//! From a uid to its driver. Only desktops of which something is wanted have one: it is made for the first message, and
//! retires when nothing runs and nothing is under way.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use super::Uid;
use super::context::Context;
use super::driver::{self, Message};
use super::error::DesktopError;
use super::failure::FailReason;
use super::view::{Phase, View};
use crate::engine::InstanceId;
use crate::supervise::caught;

/// The drivers that there are.
pub(super) struct Registry {
    context: Arc<Context>,
    drivers: RwLock<HashMap<Uid, Handle>>,
}

/// The way to a driver.
struct Handle {
    inbox: mpsc::UnboundedSender<Message>,
    /// `None` until the driver has read its desktop.
    view: watch::Receiver<Option<Arc<View>>>,
}

impl Registry {
    pub(super) fn new(context: Arc<Context>) -> Arc<Self> {
        Arc::new(Self {
            context,
            drivers: RwLock::default(),
        })
    }

    /// Hands a message to the desktop's driver, which is made where there is none. It is not known here whether there is
    /// such a desktop. A message with a reply is answered, unless the service ends.
    pub(super) fn tell(self: &Arc<Self>, uid: &Uid, message: Message) {
        let Err(message) = self.tell_driver(uid, message) else {
            return;
        };
        let mut drivers = self.write();
        let handle = match drivers.entry(uid.clone()) {
            Entry::Occupied(handle) => handle.into_mut(),
            Entry::Vacant(place) => place.insert(self.spawn(uid)),
        };
        // The driver has its end for as long as it is in the map.
        let _ = handle.inbox.send(message);
    }

    /// Hands a message to the desktop's driver, or back where there is none: then nothing of the desktop runs.
    pub(super) fn tell_driver(&self, uid: &Uid, message: Message) -> Result<(), Message> {
        // Under the lock, so that no driver retires between the look and the message.
        match self.read().get(uid) {
            Some(handle) => handle.inbox.send(message).map_err(|error| error.0),
            None => Err(message),
        }
    }

    /// Deletes the desktop with its home, if nothing of it runs and it was used last at this time. Its driver does it, so
    /// that a request that comes before wins.
    ///
    /// # Errors
    /// [`DesktopError::InUse`], or why it could not be done.
    pub(super) async fn forget_unused(
        self: &Arc<Self>,
        uid: &Uid,
        used_at: Timestamp,
    ) -> Result<(), DesktopError> {
        // A use that is not written yet counts, too.
        self.context.notes.flush().await?;
        let (reply, answer) = oneshot::channel();
        self.tell(uid, Message::ForgetUnused(used_at, reply));
        let ended = |_| Err(DesktopError::Failed(FailReason::ShuttingDown));
        answer.await.unwrap_or_else(ended)
    }

    /// Hands a message to every driver.
    pub(super) fn tell_all(&self, message: impl Fn() -> Message) {
        for handle in self.read().values() {
            let _ = handle.inbox.send(message());
        }
    }

    /// What is known of a desktop that has a driver.
    pub(super) fn view(&self, uid: &Uid) -> Option<Arc<View>> {
        self.read().get(uid)?.view()
    }

    /// What is known of all desktops that have a driver.
    pub(super) fn views(&self) -> Vec<Arc<View>> {
        self.read().values().filter_map(Handle::view).collect()
    }

    /// The desktop whose run has this instance.
    pub(super) fn holder_of(&self, id: &InstanceId) -> Option<Uid> {
        let views = self.views();
        let holder = views.iter().find(|view| view.claimed.as_ref() == Some(id));
        holder.map(|view| view.record.uid.clone())
    }

    fn spawn(self: &Arc<Self>, uid: &Uid) -> Handle {
        let (own, mut inbox) = mpsc::unbounded_channel();
        let (view, receiver) = watch::channel(None);
        let handle = Handle {
            inbox: own.clone(),
            view: receiver,
        };
        let (registry, uid) = (Arc::clone(self), uid.clone());
        tokio::spawn(async move {
            let context = &registry.context;
            let mut runs = 0;
            loop {
                let driven = driver::drive(context, &uid, &own, &mut inbox, &view, &mut runs);
                // A panic is in the log. Who sent a message that it took is told by the end of the reply.
                let _ = caught(driven).await;
                if context.ended.is_cancelled() || registry.retire(&uid, &inbox) {
                    return;
                }
            }
        });
        handle
    }

    /// Removes a driver, unless a message has come for it.
    fn retire(&self, uid: &Uid, inbox: &mpsc::UnboundedReceiver<Message>) -> bool {
        let mut drivers = self.write();
        let retires = inbox.is_empty();
        if retires {
            drivers.remove(uid);
            // What was needed for many desktops at once is given back.
            if drivers.capacity() > 64 && drivers.len() < drivers.capacity() / 4 {
                drivers.shrink_to_fit();
            }
        }
        retires
    }

    // A panic while a lock is held cannot leave the map half-changed: go on with it.
    fn read(&self) -> RwLockReadGuard<'_, HashMap<Uid, Handle>> {
        self.drivers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Uid, Handle>> {
        self.drivers.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    fn view(&self) -> Option<Arc<View>> {
        let view = self.view.borrow().clone();
        view.filter(|view| view.phase != Phase::Forgotten)
    }
}
