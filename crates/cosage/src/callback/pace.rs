//! How often a destination is called.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Spreads calls over time: a number of them at once, and then one every interval (the generic cell rate algorithm).
pub(super) struct Pace {
    interval: Duration,
    /// How far calls may be ahead of one every interval.
    ahead: Duration,
    schedule: Mutex<Schedule>,
}

#[derive(Default)]
struct Schedule {
    /// When the next call would be due if all came one every interval.
    due: Option<Instant>,
    /// The end of the pause that the destination asked for.
    held_until: Option<Instant>,
}

/// Why there is no turn now.
struct NotYet {
    /// When there is one, unless the destination asks for a pause meanwhile.
    at: Instant,
    /// Whether the destination asked for this pause.
    is_held: bool,
}

impl Pace {
    /// `at_once` is 1 or more.
    pub(super) fn new(interval: Duration, at_once: u32) -> Self {
        Self {
            interval,
            ahead: interval * at_once.saturating_sub(1),
            schedule: Mutex::default(),
        }
    }

    /// Every call is let through at once, unless the destination asks for a pause.
    pub(super) fn unlimited() -> Self {
        Self::new(Duration::ZERO, 1)
    }

    /// Waits until one more call may be made; whether it may. It may not when `ending` is cancelled during a pause that the
    /// destination asked for.
    pub(super) async fn turn(&self, ending: &CancellationToken) -> bool {
        // The destination may ask for a pause meanwhile.
        while let Err(NotYet { at, is_held }) = self.take() {
            tokio::select! {
                () = sleep_until(at) => {}
                () = ending.cancelled(), if is_held => return false,
            }
        }
        true
    }

    /// Lets no call through for so long from now on.
    pub(super) fn hold(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let due = until + self.ahead;
        self.change(|schedule| {
            schedule.due = schedule.due.max(Some(due));
            schedule.held_until = schedule.held_until.max(Some(until));
        });
    }

    /// Takes a turn, or says when there is one.
    fn take(&self) -> Result<(), NotYet> {
        let now = Instant::now();
        self.change(|schedule| {
            let next = schedule.due.map_or(now, |due| due.max(now));
            let at = next.checked_sub(self.ahead).unwrap_or(now);
            if at > now {
                let is_held = schedule.held_until > Some(now);
                return Err(NotYet { at, is_held });
            }
            schedule.due = Some(next + self.interval);
            Ok(())
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Schedule) -> T) -> T {
        // It is sound at every moment.
        change(&mut self.schedule.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn pace() -> Pace {
        Pace::new(Duration::from_millis(200), 20)
    }

    #[tokio::test(start_paused = true)]
    async fn no_minute_has_more_calls_than_it_may() {
        let (pace, going_on) = (pace(), CancellationToken::new());
        let mut calls = Vec::new();
        for _ in 0..1000 {
            assert!(pace.turn(&going_on).await);
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
        let (pace, going_on) = (pace(), CancellationToken::new());
        let start = Instant::now();
        assert!(pace.turn(&going_on).await);
        pace.hold(MINUTE);
        // A shorter one takes nothing back.
        pace.hold(Duration::from_secs(1));
        assert!(pace.turn(&going_on).await);
        assert!(start.elapsed() >= MINUTE);
        let before = Instant::now();
        assert!(pace.turn(&going_on).await);
        assert!(
            before.elapsed() >= Duration::from_millis(190),
            "no burst right after it"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_waits_for_no_pause_that_is_asked_for_and_keeps_the_pace() {
        let (pace, ending) = (pace(), CancellationToken::new());
        let start = Instant::now();
        pace.hold(MINUTE);
        let (may_call, ()) = tokio::join!(pace.turn(&ending), async {
            tokio::task::yield_now().await;
            ending.cancel();
        });
        assert!(!may_call && !pace.turn(&ending).await);
        assert_eq!(start, Instant::now());
        tokio::time::advance(MINUTE).await;
        assert!(pace.turn(&ending).await && pace.turn(&ending).await);
        assert!(Instant::now() > start + MINUTE, "no burst right after it");
    }

    #[tokio::test(start_paused = true)]
    async fn where_there_is_no_limit_nothing_waits() {
        let (pace, going_on) = (Pace::unlimited(), CancellationToken::new());
        let start = Instant::now();
        for _ in 0..1000 {
            assert!(pace.turn(&going_on).await);
        }
        assert_eq!(start, Instant::now());
    }
}
