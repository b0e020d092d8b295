//! What a driver does about a run that is live in the store and that it does not have: after a restart of the service, until it
//! is adopted. Such a run may well be somebody's work, so no request ends it unasked.

use std::time::Duration;

use tokio::sync::mpsc;

use super::super::Uid;
use super::super::context::Context;
use super::super::error::DesktopError;
use super::super::failure::FailReason;
use super::super::record::{EndCause, StoredDesktop};
use super::{Driver, Message, answers};
use crate::engine::{EngineError, InstanceId};

/// How long to wait before a desktop that is to be adopted is read again.
pub(super) const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The live run of a desktop whose driver is only being made. One that never answered is nobody's work: the next run may
/// take its place.
pub(super) fn unadopted(context: &Context, stored: &StoredDesktop) -> Option<InstanceId> {
    let run = stored.live_run()?;
    let is_ours = run.replica == context.store.replica();
    (is_ours && run.ready_at.is_some()).then(|| run.instance.clone())
}

/// Answers every message about a desktop that cannot be read. Says whether an adoption among them waits for another
/// attempt.
pub(super) fn refuse_all(
    inbox: &mut mpsc::UnboundedReceiver<Message>,
    own: &mpsc::UnboundedSender<Message>,
    uid: &Uid,
    error: &DesktopError,
) -> bool {
    tracing::error!(%uid, %error, "a desktop could not be read");
    let mut finds = Vec::new();
    while let Ok(message) = inbox.try_recv() {
        match message {
            Message::Found(find) => finds.push(find),
            message => answers::refuse(message, error),
        }
    }
    let waits = !finds.is_empty();
    for find in finds {
        let _ = own.send(Message::Found(find));
    }
    waits
}

/// What a message wants of a run that was not adopted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Start,
    Stop,
    Unused,
    Adoption,
    Other,
}

impl About {
    fn of(message: &Message) -> Self {
        match message {
            Message::Ensure(..) => Self::Start,
            Message::Stop(..) => Self::Stop,
            Message::ForgetUnused(..) => Self::Unused,
            Message::Found(_) => Self::Adoption,
            _ => Self::Other,
        }
    }
}

impl Driver<'_> {
    /// Takes a message once it is known what became of a run that was not adopted.
    pub(super) async fn take_known(&mut self, message: Message) {
        if let Some(id) = self.unadopted.clone() {
            let about = About::of(&message);
            let known = match about {
                About::Start => self.has_ended(&id).await,
                About::Stop => self.end_unadopted(&id).await,
                About::Unused => Err(DesktopError::InUse(self.record.uid.clone())),
                About::Adoption | About::Other => Ok(()),
            };
            if let Err(error) = known {
                return answers::refuse(message, &error);
            }
            if about != About::Other {
                self.unadopted = None;
            }
        }
        self.take(message);
    }

    /// Whether nothing of the run is left, so that another one may begin.
    async fn has_ended(&mut self, id: &InstanceId) -> Result<(), DesktopError> {
        match self.context.engine.exit(id).await {
            Ok(Some(_)) | Err(EngineError::Gone) => Ok(()),
            Ok(None) => {
                let reason = "the desktop is being adopted after a restart of the service; request it again in a moment";
                Err(FailReason::Engine(EngineError::Unavailable(reason.to_owned())).into())
            }
            Err(error) => Err(FailReason::Engine(error).into()),
        }
    }

    /// Ends it, as a caller wants.
    async fn end_unadopted(&mut self, id: &InstanceId) -> Result<(), DesktopError> {
        let grace = self.context.timers(&self.record.app).stop_grace;
        let endings = &self.context.endings;
        let ended = endings.end(id, grace, EndCause::Stopped).await;
        ended.map_err(|error| FailReason::Engine(error).into())
    }
}
