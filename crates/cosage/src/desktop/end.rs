//! Why connections to a desktop end.

/// Why a desktop ends under those who are connected to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Somebody asked for it.
    Stopped,
    /// It reached its maximum age.
    MaximumAge,
    /// Nobody looked at it.
    Idle,
    /// Its main process ended, or the engine lost it.
    Exited,
    /// The service ends; the desktop itself goes on.
    ServiceShutdown,
    /// The share by which somebody came was deleted; the desktop itself goes on.
    ShareRevoked,
    /// The share by which somebody came has expired; the desktop itself goes on.
    ShareExpired,
}
