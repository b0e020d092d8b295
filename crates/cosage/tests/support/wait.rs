//! Waiting, within a limit, for what gives no sign. Nothing else in these tests sleeps.

#![allow(dead_code, reason = "each test program uses another part of this")]
#![allow(clippy::panic, reason = "a test may stop at what it does not expect")]

use std::time::Duration;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks again and again until there is an answer.
pub(crate) async fn eventually<T>(
    limit: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let looked = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    within(limit, what, looked).await
}

/// Waits for what must come within a limit.
pub(crate) async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, future)
        .await
        .unwrap_or_else(|_| panic!("not within {limit:?}: {what}"))
}

/// Picks the moment at which the test interferes with work that goes on meanwhile. The test holds
/// whatever that work has done by then.
pub(crate) async fn at_phase(phase: Duration) {
    tokio::time::sleep(phase).await;
}

/// Lets time pass that only this process's timers notice: the clock stands, and jumps from timer to
/// timer. Needs a runtime of one thread.
pub(crate) async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::sleep(time).await;
    tokio::time::resume();
}
