//! Why an engine could not do what it was asked.

use super::instance::Exit;

/// Why an engine could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The engine does not answer: not started, no rights on the socket, timed out.
    #[error("the container engine does not answer: {0}")]
    Unavailable(String),
    /// The image is not there and could not be had.
    #[error("image '{image}' is missing: {hint}")]
    ImageMissing {
        /// The reference that was looked for.
        image: String,
        /// What to do about it.
        hint: String,
    },
    /// Another container that is not ours has the name.
    #[error(
        "a container named '{name}' that does not belong to this service is in the way; remove it with: docker rm -f {name}"
    )]
    NameTaken {
        /// The container's name.
        name: String,
    },
    /// The engine's disk is full.
    #[error("the container engine is out of disk space: {0}")]
    OutOfDisk(String),
    /// Memory or another resource of the host is exhausted.
    #[error("the host is out of resources: {0}")]
    OutOfResources(String),
    /// The remote target may not be dialled.
    #[error("{0}")]
    TargetRefused(String),
    /// The instance is not there (any more).
    #[error("no such instance")]
    Gone,
    /// The main process ended before its address was known.
    #[error("the main process ended at once")]
    Exited {
        /// How.
        exit: Exit,
        /// The last lines it wrote.
        logs: String,
    },
    /// The start was cancelled.
    #[error("the start was cancelled")]
    Cancelled,
    /// This kind of engine cannot do it at all: the name of the capability, such as `logs`.
    #[error("this container engine has no {0}; use a service with another engine")]
    Unsupported(&'static str),
    /// Anything else the engine said no to.
    #[error("the container engine refused: {0}")]
    Refused(String),
}

impl EngineError {
    /// Whether the engine did not answer, so that it is not known what it did.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
