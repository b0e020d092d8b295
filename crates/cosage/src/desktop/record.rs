//! What the store keeps: desktops, their runs, and what happened to them.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use super::access::Takeover;
use super::end::EndReason;
use super::retention::Unused;
use super::{Environment, StreamKey, Uid};
use crate::engine::InstanceId;

/// What a desktop is made from: enough to start it again as it was. It never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesktopRecord {
    /// The desktop's name.
    pub uid: Uid,
    /// The catalog's name of its app (never an alias).
    pub app: String,
    /// The environment of its first start; later ones are ignored.
    pub environment: Environment,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A desktop as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDesktop {
    /// What it is made from.
    pub record: DesktopRecord,
    /// When a run of it last began, ended or had a viewer, or its files were last read or written.
    pub used_at: Timestamp,
    /// Control was taken from its viewers.
    pub takeover: Option<Takeover>,
    /// Its newest run.
    pub last_run: Option<RunRecord>,
    /// Why its last start failed; a new run clears it.
    pub failure: Option<Failure>,
    /// When its deletion was announced, if it was since it was used last.
    pub announced_at: Option<Timestamp>,
}

/// Why a start failed, as its caller was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// What was wrong and the next step.
    pub text: String,
    /// The last lines that the desktop wrote, at most 8 KiB.
    pub logs: Option<String>,
}

/// One run of a desktop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    /// Its instance.
    pub instance: InstanceId,
    /// The desktop.
    pub uid: Uid,
    /// The process that drives it, see [`crate::store::Store::replica`].
    pub replica: String,
    /// Counts the runs of a desktop from 1. An order to an engine is of the run with this number.
    pub epoch: u64,
    /// What its stream addresses carry.
    pub key: StreamKey,
    /// Why it began.
    pub cause: Cause,
    /// When it began.
    pub begun_at: Timestamp,
    /// When it answered first.
    pub ready_at: Option<Timestamp>,
    /// When and why it ended; `None` while it is live.
    pub end: Option<RunEnd>,
}

/// A run that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRun {
    /// Its instance.
    pub instance: InstanceId,
    /// The desktop.
    pub uid: Uid,
    /// What its stream addresses carry.
    pub key: StreamKey,
    /// Why it begins.
    pub cause: Cause,
    /// When it began.
    pub begun_at: Timestamp,
}

/// Why a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A caller requested the desktop.
    Request,
    /// The run before ended by itself while it was in use.
    Restart,
    /// A version without runs in its store had started the instance.
    Upgrade,
}

/// The end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub why: EndCause,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// A caller stopped it.
    Stopped,
    /// It had no viewer for its idle timeout.
    Idle,
    /// It reached its maximum age.
    MaximumAge,
    /// Its main process ended.
    Exited,
    /// It did not start.
    Failed,
    /// Its instance was missing on the engine.
    Lost,
}

/// What the journal records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalKind {
    /// A desktop was created.
    Created,
    /// A run of it began.
    RunBegun,
    /// A run of it ended.
    RunEnded,
    /// A start of it failed.
    Failed,
    /// A share link was created.
    ShareCreated,
    /// The rights of a share link were changed.
    ShareChanged,
    /// A share link was revoked.
    ShareRevoked,
    /// Share links expired.
    ShareExpired,
    /// Control was taken from its viewers.
    ControlTaken,
    /// Its viewers have again the control that their addresses give.
    ControlReturned,
    /// Its deletion for want of use was announced.
    DeletionAnnounced,
    /// It was deleted.
    Deleted,
}

/// An entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Its number; a later entry has a larger one.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub kind: JournalKind,
    /// To which desktop.
    pub uid: Uid,
    /// What else there is to know: an app, a reason, the name of a share. Never a secret.
    pub detail: Option<String>,
}

/// A text of the store that no version of the service writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a known word")]
pub struct UnknownWord(String);

/// The words of an enumeration: for the store, and for people.
macro_rules! words {
    ($type:ty { $($variant:ident => $word:literal),* $(,)? }) => {
        impl $type {
            /// The word for it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl FromStr for $type {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    other => Err(UnknownWord(other.to_owned())),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.as_str())
            }
        }
    };
}

words!(Cause { Request => "request", Restart => "restart", Upgrade => "upgrade" });

words!(EndCause {
    Stopped => "stopped",
    Idle => "idle",
    MaximumAge => "maximum_age",
    Exited => "exited",
    Failed => "failed",
    Lost => "lost",
});

words!(JournalKind {
    Created => "created",
    RunBegun => "run_begun",
    RunEnded => "run_ended",
    Failed => "failed",
    ShareCreated => "share_created",
    ShareChanged => "share_changed",
    ShareRevoked => "share_revoked",
    ShareExpired => "share_expired",
    ControlTaken => "control_taken",
    ControlReturned => "control_returned",
    DeletionAnnounced => "deletion_announced",
    Deleted => "deleted",
});

impl NewRun {
    /// The run, once it has begun.
    pub fn begun(self, replica: &str, epoch: u64) -> RunRecord {
        RunRecord {
            instance: self.instance,
            uid: self.uid,
            replica: replica.to_owned(),
            epoch,
            key: self.key,
            cause: self.cause,
            begun_at: self.begun_at,
            ready_at: None,
            end: None,
        }
    }
}

impl EndCause {
    /// What viewers of the run were told, or would have been.
    pub fn reason(self) -> Option<EndReason> {
        match self {
            Self::Stopped => Some(EndReason::Stopped),
            Self::Idle => Some(EndReason::Idle),
            Self::MaximumAge => Some(EndReason::MaximumAge),
            Self::Exited | Self::Lost => Some(EndReason::Exited),
            Self::Failed => None,
        }
    }
}

impl StoredDesktop {
    /// A desktop that has just been created.
    pub fn new(record: DesktopRecord) -> Self {
        Self {
            used_at: record.created_at,
            record,
            takeover: None,
            last_run: None,
            failure: None,
            announced_at: None,
        }
    }

    /// How long it was not used.
    pub fn unused(&self) -> Unused {
        Unused {
            since: self.used_at,
            announced_at: self.announced_at,
        }
    }

    /// Its run that has not ended, as far as the store knows.
    pub fn live_run(&self) -> Option<&RunRecord> {
        self.last_run.as_ref().filter(|run| run.end.is_none())
    }
}
