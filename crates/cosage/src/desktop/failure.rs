//! Why a desktop could not be had, in words for people.

use std::time::Duration;

use super::keys::KeyError;
use super::record::Failure;
use crate::descriptors;
use crate::engine::{EngineError, Exit};
use crate::store::StoreError;

/// Why a start (or a stop) failed. The text names what was wrong and, where there is one, the next
/// step; it is what the caller reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FailReason {
    /// The engine said no or does not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Every stream key of the range is in use.
    #[error(
        "all {0} ports of PORT_RANGE_START..PORT_RANGE_END are in use; stop a desktop or widen the range"
    )]
    PortsExhausted(usize),
    /// The system does not let a port of the range be held that no program uses; in its words.
    #[error("no port of PORT_RANGE_START..PORT_RANGE_END can be held: {0}; choose another range")]
    PortsForbidden(String),
    /// No file descriptor is left.
    #[error(transparent)]
    Descriptors(#[from] descriptors::Exhausted),
    /// The host has too little memory left.
    #[error(
        "the host has {available_mib} MiB of memory left, and {reserve_mib} MiB are kept free (COSAGE_MEMORY_RESERVE); stop a desktop"
    )]
    MemoryExhausted {
        /// Available memory in MiB.
        available_mib: u64,
        /// What is kept free, in MiB.
        reserve_mib: u64,
    },
    /// As many desktops run as the operator allows.
    #[error("{0} desktops run, which is as many as COSAGE_MAX_DESKTOPS allows; stop one")]
    TooManyDesktops(usize),
    /// It did not answer in time.
    #[error("the desktop did not answer within {} s of its start", .after.as_secs_f32())]
    Timeout {
        /// The time it had.
        after: Duration,
        /// The last lines it wrote.
        logs: String,
    },
    /// Its main process ended.
    #[error("the desktop ended by itself{}", describe(.exit))]
    AppExited {
        /// How.
        exit: Exit,
        /// The last lines it wrote.
        logs: String,
    },
    /// Somebody stopped it while it started.
    #[error("the desktop was stopped by another request while it started; ask again")]
    StoppedByRequest,
    /// Its app is not in the catalogue any more, or does not take its environment any more.
    #[error("{0}")]
    Catalogue(String),
    /// The record could not be kept or deleted.
    #[error("{0}")]
    Store(String),
    /// A start failed that another life of the service's driver made; in the words of then.
    #[error("{text}")]
    Earlier {
        /// What was wrong and the next step.
        text: String,
        /// The last lines it wrote.
        logs: String,
    },
    /// A task of the service panicked over it.
    #[error(
        "the service failed with this desktop, which was stopped; ask again, and look into the service's log"
    )]
    Internal,
    /// The service is shutting down.
    #[error("the service is shutting down; ask again in a moment")]
    ShuttingDown,
}

impl FailReason {
    /// The last lines the desktop wrote, where they tell something.
    pub fn logs(&self) -> Option<&str> {
        match self {
            Self::Timeout { logs, .. }
            | Self::AppExited { logs, .. }
            | Self::Earlier { logs, .. }
                if !logs.is_empty() =>
            {
                Some(logs)
            }
            _ => None,
        }
    }

    /// Adds the last lines it wrote to a reason that has room for them.
    pub(super) fn set_logs(&mut self, text: String) {
        if let Self::Timeout { logs, .. } | Self::AppExited { logs, .. } = self {
            *logs = text;
        }
    }

    /// The reason for the log, which must not carry values of a desktop's environment.
    pub(super) fn for_log(&self) -> String {
        match self {
            Self::Engine(EngineError::TargetRefused(_)) => {
                "its target may not be dialled, or was not found".to_owned()
            }
            reason => reason.to_string(),
        }
    }
}

impl From<StoreError> for FailReason {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

impl From<Failure> for FailReason {
    fn from(failure: Failure) -> Self {
        Self::Earlier {
            text: failure.text,
            logs: failure.logs.unwrap_or_default(),
        }
    }
}

impl From<KeyError> for FailReason {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Exhausted(keys) => Self::PortsExhausted(keys),
            KeyError::TooMany(most) => Self::TooManyDesktops(most),
            KeyError::Descriptors(exhausted) => exhausted.into(),
            KeyError::Forbidden(error) => Self::PortsForbidden(error),
        }
    }
}

fn describe(exit: &Exit) -> String {
    match (exit.out_of_memory, exit.code) {
        (true, _) => ": it used more memory than its app allows".to_owned(),
        (false, Some(code)) => format!(" with exit code {code}"),
        (false, None) => String::new(),
    }
}
