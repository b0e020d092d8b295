//! What a driver is told, by callers and by the tasks that perform its effects.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::super::StreamKey;
use super::super::error::DesktopError;
use super::super::failure::FailReason;
use super::super::keys::KeyLease;
use super::super::lease::Lease;
use super::super::lifecycle::{Holder, Run, StopMode};
use super::super::record::DesktopRecord;
use super::super::view::Progress;
use crate::engine::{Exit, Instance, InstanceId};

/// Makes the record of a desktop that is not there yet.
pub(in crate::desktop) type MakeRecord =
    Box<dyn Fn() -> Result<DesktopRecord, DesktopError> + Send>;

/// A desktop that answers: what its addresses carry, and what it is made from.
pub(in crate::desktop) type Answering = (StreamKey, Arc<DesktopRecord>);

/// What a driver is told.
pub(in crate::desktop) enum Message {
    /// Make it run.
    Ensure(MakeRecord, oneshot::Sender<Result<Answering, DesktopError>>),
    /// Let me look at this stream.
    Acquire(String, Holder, oneshot::Sender<Result<Lease, DesktopError>>),
    /// My instance ended by itself: let me look at this stream of the next one, if there is one anyway.
    Rejoin(String, Holder, oneshot::Sender<Result<Lease, DesktopError>>),
    /// Let me look once, without being a viewer.
    Glance(oneshot::Sender<Result<Lease, DesktopError>>),
    /// Stop it.
    Stop(StopMode, oneshot::Sender<Result<(), DesktopError>>),
    /// Delete it if nothing of it runs, nothing is wanted of it, and it was used last at this time.
    ForgetUnused(Timestamp, oneshot::Sender<Result<(), DesktopError>>),
    /// Delete the home of this name, which belongs to no desktop.
    DeleteHome(oneshot::Sender<Result<(), DesktopError>>),
    /// The engine has a running instance of it that nobody claims, and the store its live run.
    Found(Find),
    /// The engine says that this instance ended, or does not know it any more.
    Ended(InstanceId, Exit),
    /// Close all connections: the service ends.
    ServiceShutdown,
    /// A task that was started for an effect reports.
    Report(Report),
}

/// A running instance that nobody claims.
pub(in crate::desktop) struct Find {
    pub(in crate::desktop) instance: Box<Instance>,
    pub(in crate::desktop) key: KeyLease,
    /// Kept until it is known whether the instance answers.
    pub(in crate::desktop) adoption: TaskTrackerToken,
}

/// What the tasks that perform effects report.
pub(in crate::desktop) enum Report {
    /// The run is in the store, and with it the desktop.
    Begun(Run),
    Progress(Run, Progress),
    Launched(Run, Box<Instance>),
    LaunchFailed(Run, FailReason),
    Stopped(Run, String),
    StopDelayed(Run, FailReason),
    Forgotten(Result<(), FailReason>),
    Released(Run, Holder),
    /// A picture was taken then.
    Pictured(Timestamp),
    /// A picture was taken, or could not be.
    Kept(u64),
    /// A task panicked that belongs to this run, or to none.
    Lost(Option<Run>),
}
