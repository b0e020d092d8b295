//! A panic ends what was under way, and nobody who waits for it or comes later.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

/// What was under way has ended by a panic. The panic itself is in the log, by the panic hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an error of the service itself, which is in its log")]
pub(crate) struct Panicked;

/// The outcome of a task, also where it panics. What the task has changed by then stays; the caller puts it right.
///
/// # Errors
/// When it panics.
pub(crate) async fn caught<T>(task: impl Future<Output = T>) -> Result<T, Panicked> {
    AssertUnwindSafe(task)
        .catch_unwind()
        .await
        .map_err(|_| Panicked)
}

/// The same for what does not wait for anything.
///
/// # Errors
/// When it panics.
pub(crate) fn caught_at_once<T>(task: impl FnOnce() -> T) -> Result<T, Panicked> {
    std::panic::catch_unwind(AssertUnwindSafe(task)).map_err(|_| Panicked)
}
