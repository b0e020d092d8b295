//! A viewer is a held [`Lease`], never a counter that somebody must remember to lower.

use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::end::EndReason;
use super::rights::Standing;
use crate::engine::{Endpoint, Instance};
use crate::text::SCREEN_AREA_MAX;

/// The right to be connected to one stream of a running instance. A viewer's lease keeps the
/// desktop from going idle until it is dropped.
pub struct Lease {
    instance: Arc<Instance>,
    endpoint: Endpoint,
    ended: watch::Receiver<Option<EndReason>>,
    standing: Arc<Standing>,
    area_max: u32,
    successor: Option<Successor>,
    _release: Release,
    _leave: Release,
}

/// How to get a lease of a desktop's next instance, once this one has ended by itself.
pub struct Successor(Box<dyn FnOnce() -> NextLease + Send + Sync>);

type NextLease = BoxFuture<'static, Result<Lease, EndReason>>;

/// Runs its function when it is dropped.
pub struct Release(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Lease {
    /// `release` is called once, when the lease is dropped. Its holder may do everything.
    pub fn new(
        instance: Arc<Instance>,
        endpoint: Endpoint,
        ended: watch::Receiver<Option<EndReason>>,
        release: Release,
    ) -> Self {
        Self {
            instance,
            endpoint,
            ended,
            standing: Arc::default(),
            area_max: SCREEN_AREA_MAX,
            successor: None,
            _release: release,
            _leave: Release::nothing(),
        }
    }

    /// The same lease for a holder who may do what `standing` says at each moment. `leave` is called once, when the
    /// lease is dropped.
    #[must_use]
    pub fn held_by(self, standing: Arc<Standing>, leave: Release) -> Self {
        Self {
            standing,
            _leave: leave,
            ..self
        }
    }

    /// The same lease, whose holder may ask for a screen of this many pixels.
    #[must_use]
    pub fn within(self, area_max: u32) -> Self {
        Self { area_max, ..self }
    }

    /// The same lease, whose holder may stay where the instance is started again: see [`Lease::succeed`].
    #[must_use]
    pub fn followed_by(self, successor: Successor) -> Self {
        Self {
            successor: Some(successor),
            ..self
        }
    }

    /// Gives the lease of an instance that has ended by itself away for one of the desktop's next instance, when that
    /// answers. Its holder is the same as before, and may do the same.
    ///
    /// # Errors
    /// Why there is none: the desktop is not started again, or its holder has to go.
    pub async fn succeed(self) -> Result<Self, EndReason> {
        let Some(Successor(next)) = self.successor else {
            return Err(EndReason::Exited);
        };
        let next = tokio::select! {
            next = next() => next?,
            reason = self.standing.ended() => return Err(reason.unwrap_or(EndReason::Exited)),
        };
        Ok(Self {
            standing: self.standing,
            _leave: self._leave,
            ..next
        })
    }

    /// What its holder may do, at each moment.
    pub fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// How many pixels the screen may have at most.
    pub fn area_max(&self) -> u32 {
        self.area_max
    }

    /// The instance that is looked at.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Where to dial.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether the desktop has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Waits until the desktop ends under this lease, or its holder has to go; close the connection
    /// then. Pending until that happens; can be called again after it was dropped.
    pub async fn ended(&self) -> EndReason {
        let mut ended = self.ended.clone();
        let reason = tokio::select! {
            // An error means that the driver is gone, which it is only when the service ends.
            ended = ended.wait_for(Option::is_some) => ended.ok().and_then(|reason| *reason),
            reason = self.standing.ended() => reason,
        };
        reason.unwrap_or(EndReason::ServiceShutdown)
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Lease")
            .field("instance", &self.instance.id)
            .finish_non_exhaustive()
    }
}

impl Successor {
    /// `next` is called at most once; it says why there is no next instance where there is none.
    pub fn new<F>(next: impl FnOnce() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Lease, EndReason>> + Send + 'static,
    {
        Self(Box::new(|| next().boxed()))
    }
}

impl Release {
    /// Calls `function` when dropped.
    pub fn new(function: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(function)))
    }

    /// Does nothing: for a listener, who keeps nothing alive.
    pub fn nothing() -> Self {
        Self(None)
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        if let Some(function) = self.0.take() {
            function();
        }
    }
}
