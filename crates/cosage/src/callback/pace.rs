//! How often a destination is called.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Spreads calls over time: a number of them at once, and then one every interval (the generic cell rate algorithm).
pub(super) struct Pace {
    interval: Duration,
    /// How far calls may be ahead of one every interval.
    ahead: Duration,
    /// When the next call would be due if all came one every interval.
    due: Mutex<Option<Instant>>,
}

impl Pace {
    /// `at_once` is 1 or more.
    pub(super) fn new(interval: Duration, at_once: u32) -> Self {
        Self {
            interval,
            ahead: interval * at_once.saturating_sub(1),
            due: Mutex::default(),
        }
    }

    /// Every call is let through at once, unless the destination asks for a pause.
    pub(super) fn unlimited() -> Self {
        Self::new(Duration::ZERO, 1)
    }

    /// Waits until one more call may be made.
    pub(super) async fn turn(&self) {
        // A destination may ask for a pause meanwhile.
        while let Err(at) = self.take() {
            sleep_until(at).await;
        }
    }

    /// Lets no call through for so long from now on.
    pub(super) fn hold(&self, pause: Duration) {
        let until = Instant::now() + pause + self.ahead;
        self.change(|due| *due = Some(due.map_or(until, |due| due.max(until))));
    }

    /// Takes a turn, or says when there is one.
    fn take(&self) -> Result<(), Instant> {
        let now = Instant::now();
        self.change(|due| {
            let next = due.map_or(now, |due| due.max(now));
            let at = next.checked_sub(self.ahead).unwrap_or(now);
            if at > now {
                return Err(at);
            }
            *due = Some(next + self.interval);
            Ok(())
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Option<Instant>) -> T) -> T {
        // It is sound at every moment.
        change(&mut self.due.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn no_minute_has_more_calls_than_it_may() {
        let pace = Pace::new(Duration::from_millis(200), 20);
        let mut calls = Vec::new();
        for _ in 0..1000 {
            pace.turn().await;
            calls.push(Instant::now());
        }
        for (first, call) in calls.iter().enumerate() {
            let within = calls[first..]
                .iter()
                .filter(|other| **other < *call + MINUTE);
            assert!(within.count() <= 320);
        }
        assert_eq!(calls[0], calls[19], "the first ones come at once");
        assert!(calls[999] - calls[0] <= Duration::from_millis(200) * 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_is_asked_for_holds_all_calls() {
        let pace = Pace::new(Duration::from_millis(200), 20);
        let start = Instant::now();
        pace.turn().await;
        pace.hold(MINUTE);
        // A shorter one takes nothing back.
        pace.hold(Duration::from_secs(1));
        pace.turn().await;
        assert!(start.elapsed() >= MINUTE);
        let before = Instant::now();
        pace.turn().await;
        assert!(
            before.elapsed() >= Duration::from_millis(190),
            "no burst right after it"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn where_there_is_no_limit_nothing_waits() {
        let pace = Pace::unlimited();
        let start = Instant::now();
        for _ in 0..1000 {
            pace.turn().await;
        }
        assert_eq!(start, Instant::now());
    }
}
