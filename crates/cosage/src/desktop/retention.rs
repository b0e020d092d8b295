//! When a desktop that is not used is deleted, and when that is announced: times in, decision out.
//!
//! ```text
//!  used                                    announced                deleted
//!   │◀────────────── forget_after ─────────────────────────────────────▶│
//!   │                                          │◀── announcement period ─▶│
//! ```
//!
//! A deletion counts from its announcement where that came late: after an operator has shortened `forget_after`, or when no
//! service ran in the meantime.

use std::time::Duration;

use jiff::Timestamp;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest announcement period. [`crate::catalog::FORGET_AFTER_MIN`] is no shorter.
const PERIOD_MIN: Duration = HOUR;

/// The longest announcement period.
const PERIOD_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long a desktop was not used, as the store has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unused {
    /// When it was used last.
    pub since: Timestamp,
    /// When its deletion was announced.
    pub announced_at: Option<Timestamp>,
}

/// What has to be done about an unused desktop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Announcement,
    Deletion,
}

/// How long before a deletion it is announced, at least: a tenth of the time until then, from an hour to seven days.
pub fn announcement_period(forget_after: Duration) -> Duration {
    (forget_after / 10).clamp(PERIOD_MIN, PERIOD_MAX)
}

/// Desktops that were used last before this time are in their announcement period.
pub(super) fn unused_before(forget_after: Duration, now: Timestamp) -> Timestamp {
    let quiet = forget_after.saturating_sub(announcement_period(forget_after));
    now.saturating_sub(quiet).unwrap_or(Timestamp::MIN)
}

impl Unused {
    /// When the desktop is deleted unless it is used before.
    pub fn deleted_at(self, forget_after: Duration, now: Timestamp) -> Timestamp {
        let announced_at = self.announcement(forget_after, now).unwrap_or(now);
        self.deletion(forget_after, announced_at)
    }

    pub(super) fn due(self, forget_after: Duration, now: Timestamp) -> Due {
        if self.since >= unused_before(forget_after, now) {
            return Due::Nothing;
        }
        match self.announcement(forget_after, now) {
            None => Due::Announcement,
            Some(at) if self.deletion(forget_after, at) <= now => Due::Deletion,
            Some(_) => Due::Nothing,
        }
    }

    fn deletion(self, forget_after: Duration, announced_at: Timestamp) -> Timestamp {
        let counted = later(self.since, forget_after);
        counted.max(later(announced_at, announcement_period(forget_after)))
    }

    /// The announcement that counts. One that came before the announcement period told another time, because the operator has
    /// prolonged `forget_after` since. After one that is long overdue no service ran, or an old store was restored: those
    /// who would have used the desktop could not, or it is not known that they did.
    fn announcement(self, forget_after: Duration, now: Timestamp) -> Option<Timestamp> {
        let at = self.announced_at?;
        let period = announcement_period(forget_after);
        let begin = later(self.since, forget_after.saturating_sub(period));
        let end = later(self.deletion(forget_after, at), period.max(DAY));
        (begin <= at && now <= end).then_some(at)
    }
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// The time by the wall clock, but never ahead of what has passed since the process began to count: a clock that is set
/// forward deletes nothing.
pub(super) struct Clock {
    begun_at: Timestamp,
    begun: tokio::time::Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            begun_at: Timestamp::now(),
            begun: tokio::time::Instant::now(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.at(Timestamp::now())
    }

    fn at(&self, wall: Timestamp) -> Timestamp {
        wall.min(later(self.begun_at, self.begun.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(days: i64) -> Timestamp {
        hour(24 * days)
    }

    fn hour(hours: i64) -> Timestamp {
        Timestamp::from_second(hours * 3600).unwrap()
    }

    fn unused(announced_at: Option<Timestamp>) -> Unused {
        Unused {
            since: day(0),
            announced_at,
        }
    }

    const DAYS_90: Duration = Duration::from_secs(90 * 24 * 60 * 60);

    #[test]
    fn the_announcement_period_is_a_tenth_within_bounds() {
        let period = |hours: u32| announcement_period(HOUR * hours).as_secs() / 3600;
        assert_eq!(
            [1, 5, 10, 24, 240, 1680, 87_600].map(period),
            [1, 1, 1, 2, 24, 168, 168]
        );
        assert!(crate::catalog::FORGET_AFTER_MIN >= PERIOD_MIN);
    }

    #[test]
    fn a_deletion_is_announced_once_and_done_when_its_time_has_come() {
        let due = |announced_at, now| unused(announced_at).due(DAYS_90, now);
        assert_eq!(due(None, day(83)), Due::Nothing);
        assert_eq!(due(None, hour(83 * 24 + 1)), Due::Announcement);
        let announced = Some(hour(83 * 24 + 1));
        assert_eq!(due(announced, day(84)), Due::Nothing);
        assert_eq!(due(announced, day(90)), Due::Nothing);
        assert_eq!(due(announced, hour(90 * 24 + 1)), Due::Deletion);
        let deleted_at = |at, now| unused(at).deleted_at(DAYS_90, now);
        assert_eq!(deleted_at(None, day(1)), day(90));
        assert_eq!(deleted_at(announced, day(85)), hour(90 * 24 + 1));
    }

    #[test]
    fn nothing_is_deleted_without_an_announcement_that_stood_for_its_period() {
        // The operator has shortened the time: it would be over already.
        assert_eq!(unused(None).due(DAYS_90, day(400)), Due::Announcement);
        assert_eq!(unused(None).deleted_at(DAYS_90, day(400)), day(407));
        let announced = unused(Some(day(400)));
        assert_eq!(announced.due(DAYS_90, hour(407 * 24 - 1)), Due::Nothing);
        assert_eq!(announced.due(DAYS_90, day(407)), Due::Deletion);
    }

    #[test]
    fn an_announcement_of_another_time_does_not_count() {
        // The operator has prolonged the time.
        let announced = unused(Some(day(28)));
        assert_eq!(announced.due(DAYS_90, day(60)), Due::Nothing);
        assert_eq!(announced.due(DAYS_90, day(84)), Due::Announcement);
        // It was used since.
        let used = Unused {
            since: day(30),
            announced_at: Some(day(28)),
        };
        assert_eq!(used.due(DAYS_90, day(114)), Due::Announcement);
        // No service ran when the time came.
        let announced = unused(Some(day(84)));
        assert_eq!(announced.due(DAYS_90, day(97)), Due::Deletion);
        assert_eq!(announced.due(DAYS_90, day(120)), Due::Announcement);
        assert_eq!(announced.deleted_at(DAYS_90, day(120)), day(127));
    }

    #[test]
    fn the_shortest_time_is_announced_as_soon_as_it_begins() {
        let minutes = |minutes: i64| Timestamp::from_second(minutes * 60).unwrap();
        let due = |announced_at, now| unused(announced_at).due(HOUR, now);
        assert_eq!(due(None, minutes(10)), Due::Announcement);
        assert_eq!(due(Some(minutes(10)), minutes(69)), Due::Nothing);
        assert_eq!(due(Some(minutes(10)), minutes(70)), Due::Deletion);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_makes_nothing_due() {
        let clock = Clock::start();
        let begun = clock.begun_at;
        tokio::time::advance(HOUR).await;
        let forward = later(begun, DAY);
        assert_eq!(clock.at(forward), later(begun, HOUR));
        let back = begun.checked_sub(DAY).unwrap();
        assert_eq!(clock.at(back), back);
    }
}
