//! What those are told who asked something of a desktop.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::super::Uid;
use super::super::context::Context;
use super::super::end::EndReason;
use super::super::error::DesktopError;
use super::super::failure::FailReason;
use super::super::keys::KeyLease;
use super::super::lease::{Lease, Release, Successor};
use super::super::lifecycle::{Answer, Event, Holder, RequestId, State};
use super::super::record::DesktopRecord;
use super::{Answering, Driver, MakeRecord, Message, Reply, Report, report};
use crate::engine::{Endpoint, Presence};
use crate::supervise::caught;
use crate::text::SCREEN_AREA_MAX;

type EnsureReply = oneshot::Sender<Result<Answering, DesktopError>>;

/// Takes messages for a desktop that does not exist, until one of them creates it.
pub(super) async fn make(
    context: &Context,
    inbox: &mut mpsc::UnboundedReceiver<Message>,
    uid: &Uid,
) -> Option<(DesktopRecord, MakeRecord, EnsureReply)> {
    while let Ok(message) = inbox.try_recv() {
        match message {
            Message::Ensure(make, reply) => match make() {
                Ok(record) => return Some((record, make, reply)),
                Err(error) => drop(reply.send(Err(error))),
            },
            Message::DeleteHome(reply) => {
                let deleted = caught(delete_home(context, uid)).await;
                let _ = reply.send(deleted.unwrap_or_else(|_| Err(FailReason::Internal.into())));
            }
            other => refuse(other, &DesktopError::UnknownDesktop(uid.clone())),
        }
    }
    None
}

/// Deletes what is left under the name of a desktop that does not exist.
async fn delete_home(context: &Context, uid: &Uid) -> Result<(), DesktopError> {
    let homes = context.engine.homes().map_err(FailReason::Engine)?;
    homes.delete(uid).await.map_err(FailReason::Engine)?;
    context.camera.forget(uid).await;
    tracing::info!(%uid, "deleted a home that belongs to no desktop");
    Ok(())
}

/// Answers a message with an error.
pub(super) fn refuse(message: Message, error: &DesktopError) {
    let error = error.clone();
    match message {
        Message::Ensure(_, reply) => drop(reply.send(Err(error))),
        Message::Acquire(.., reply) | Message::Rejoin(.., reply) | Message::Glance(reply) => {
            drop(reply.send(Err(error)));
        }
        Message::Stop(_, reply) | Message::ForgetUnused(_, reply) | Message::DeleteHome(reply) => {
            drop(reply.send(Err(error)))
        }
        Message::Found(_) | Message::Ended(..) | Message::ServiceShutdown | Message::Report(_) => {}
    }
}

impl Reply {
    pub(super) fn refuse(self, error: DesktopError) {
        match self {
            Self::Ensure(_, reply) => drop(reply.send(Err(error))),
            Self::Acquire(.., reply) => drop(reply.send(Err(error))),
            Self::Stop(reply) => drop(reply.send(Err(error))),
        }
    }
}

impl Driver<'_> {
    pub(super) fn acquire(
        &mut self,
        stream: String,
        holder: Holder,
        reply: oneshot::Sender<Result<Lease, DesktopError>>,
    ) {
        let presence = match self.presence_of(&stream) {
            Ok(presence) => presence,
            Err(error) => return drop(reply.send(Err(error))),
        };
        match presence {
            Presence::Viewer => {
                let id = self.remember(Reply::Acquire(stream, holder, reply));
                self.step(match holder {
                    Holder::Viewer => Event::Acquire(id),
                    Holder::Guest => Event::Join(id, holder),
                });
            }
            // A listener alone is not a viewer: it keeps nothing alive and starts nothing.
            Presence::Listener => {
                let lease = match self.machine.state() {
                    State::Ready { .. } => self.lease(&stream, Release::nothing()),
                    _ => Err(self.not_running()),
                };
                let _ = reply.send(lease);
            }
        }
    }

    /// Whether connections to this stream are viewers: as the running instance was started, or
    /// as the catalogue says while none is known.
    fn presence_of(&self, stream: &str) -> Result<Presence, DesktopError> {
        let instance = self.current.as_ref().and_then(|c| c.instance.as_ref());
        if let Some(instance) = instance {
            return match instance.endpoints.get(stream) {
                Some(endpoint) => Ok(endpoint.presence),
                None => Err(unknown_stream(stream, instance.endpoints.keys())),
            };
        }
        let Some(app) = self.context.app(&self.record.app) else {
            return Err(self.not_running());
        };
        match app.streams.get(stream) {
            Some(spec) => Ok(spec.presence),
            None => Err(unknown_stream(stream, app.streams.keys())),
        }
    }

    pub(super) fn answer(&mut self, id: RequestId, answer: Answer) {
        let Some(reply) = self.replies.remove(&id) else {
            return;
        };
        let error = match answer {
            Answer::Ready => {
                let key = self.key.as_ref().map(KeyLease::key);
                if let Reply::Ensure(_, reply) = reply {
                    let answering = key.map(|key| (key, Arc::clone(&self.record)));
                    let _ = reply.send(answering.ok_or_else(|| self.not_running()));
                }
                return;
            }
            Answer::Granted(run) => {
                if let Reply::Acquire(stream, holder, reply) = reply {
                    let own = self.own.clone();
                    let release = Release::new(move || report(&own, Report::Released(run, holder)));
                    let lease = self.lease(&stream, release);
                    // If the asker is gone, the lease comes back here and its drop releases it.
                    let _ =
                        reply.send(lease.map(|lease| lease.followed_by(self.next(stream, holder))));
                }
                return;
            }
            Answer::Stopped => {
                if let Reply::Stop(reply) = reply {
                    let _ = reply.send(Ok(()));
                }
                return;
            }
            // Whoever requests the name now creates a new desktop: the next life of this task takes the message.
            Answer::Gone => {
                if let Reply::Ensure(make, reply) = reply {
                    let _ = self.own.send(Message::Ensure(make, reply));
                    return;
                }
                DesktopError::UnknownDesktop(self.record.uid.clone())
            }
            Answer::NotRunning => self.not_running(),
            Answer::Failed(reason) => DesktopError::Failed(reason),
        };
        reply.refuse(error);
    }

    pub(super) fn not_running(&self) -> DesktopError {
        DesktopError::NotRunning(self.record.uid.clone())
    }

    pub(super) fn lease(&self, stream: &str, release: Release) -> Result<Lease, DesktopError> {
        let ready = self.current.as_ref().and_then(|current| {
            let instance = current.instance.as_ref()?;
            Some((instance, current.ended.subscribe()))
        });
        let Some((instance, ended)) = ready else {
            return Err(self.not_running());
        };
        let Some(endpoint) = instance.endpoints.get(stream) else {
            return Err(unknown_stream(stream, instance.endpoints.keys()));
        };
        let endpoint: Endpoint = endpoint.clone();
        let app = self.context.app(&self.record.app);
        let area_max = app.map_or(SCREEN_AREA_MAX, |app| app.area_max());
        let lease = Lease::new(Arc::clone(instance), endpoint, ended, release);
        Ok(lease.within(area_max))
    }

    /// The way from a lease of this instance to one of the next.
    fn next(&self, stream: String, holder: Holder) -> Successor {
        let (own, closing) = (self.own.clone(), self.context.closing.clone());
        Successor::new(move || {
            let (reply, answer) = oneshot::channel();
            // It fails only when the driver is gone, and the reply with it.
            let _ = own.send(Message::Rejoin(stream, holder, reply));
            async move {
                let answer = tokio::select! {
                    answer = answer => answer,
                    () = closing.cancelled() => return Err(EndReason::ServiceShutdown),
                };
                match answer {
                    Ok(Ok(lease)) => Ok(lease),
                    Ok(Err(
                        DesktopError::Failed(FailReason::StoppedByRequest)
                        | DesktopError::UnknownDesktop(_),
                    )) => Err(EndReason::Stopped),
                    Ok(Err(_)) => Err(EndReason::Exited),
                    Err(_) if closing.is_cancelled() => Err(EndReason::ServiceShutdown),
                    // The driver has retired: nothing comes after the run.
                    Err(_) => Err(EndReason::Exited),
                }
            }
        })
    }
}

pub(super) fn unknown_stream<'a>(
    name: &str,
    known: impl Iterator<Item = &'a String>,
) -> DesktopError {
    DesktopError::UnknownStream {
        name: name.to_owned(),
        known: known.cloned().collect(),
    }
}
