//! How much memory frames may take together.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::{PictureError, TURN_BOUND};

/// Memory for frames, in bytes.
pub(super) struct Room {
    size: u32,
    free: Arc<Semaphore>,
    /// How many wait for some.
    waiting: watch::Sender<usize>,
}

/// Some of it, until it is dropped.
pub(super) struct Space(OwnedSemaphorePermit);

/// One that waits.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl Room {
    pub(super) fn new(size: u32) -> Self {
        Self {
            size,
            free: Arc::new(Semaphore::new(size as usize)),
            waiting: watch::Sender::new(0),
        }
    }

    /// Waits for so many bytes; for all of it where there are less.
    ///
    /// # Errors
    /// [`PictureError::Busy`] when others do not give it back in time.
    pub(super) async fn take(&self, bytes: u32) -> Result<Space, PictureError> {
        let bytes = bytes.min(self.size);
        if let Ok(space) = Arc::clone(&self.free).try_acquire_many_owned(bytes) {
            return Ok(Space(space));
        }
        let _waiting = Waiting::new(&self.waiting);
        let free = Arc::clone(&self.free).acquire_many_owned(bytes);
        match timeout(TURN_BOUND, free).await {
            Ok(Ok(space)) => Ok(Space(space)),
            Ok(Err(_)) | Err(_) => Err(PictureError::Busy),
        }
    }

    /// Makes a space as large as that. It does not wait: whoever has some already and waits for more could wait for ever.
    ///
    /// # Errors
    /// [`PictureError::Busy`] when there is not enough.
    pub(super) fn extend(&self, space: &mut Space, bytes: u32) -> Result<(), PictureError> {
        let more = bytes.min(self.size) as usize;
        let Some(more) = more.checked_sub(space.0.num_permits()) else {
            return Ok(());
        };
        let more = u32::try_from(more).map_err(|_| PictureError::Busy)?;
        let more = Arc::clone(&self.free).try_acquire_many_owned(more);
        space.0.merge(more.map_err(|_| PictureError::Busy)?);
        Ok(())
    }

    /// Waits for as long as that, or until somebody needs room.
    pub(super) async fn idle(&self, time: Duration) {
        let mut waiting = self.waiting.subscribe();
        tokio::select! {
            () = sleep(time) => {}
            _ = waiting.wait_for(|waiting| *waiting > 0) => {}
        }
    }
}

impl<'a> Waiting<'a> {
    fn new(waiting: &'a watch::Sender<usize>) -> Self {
        waiting.send_modify(|waiting| *waiting += 1);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn frames_never_take_more_than_there_is_and_large_ones_take_turns() {
        let room = Room::new(100);
        let small = room.take(30).await.unwrap();
        let large = room.take(60).await.unwrap();
        assert!(room.take(20).now_or_never().is_none());
        drop(large);
        let huge = async {
            let huge = room.take(1_000).await;
            assert!(room.take(1).now_or_never().is_none(), "it has all of it");
            huge
        };
        let (huge, ()) = tokio::join!(huge, async { drop(small) });
        drop(huge.unwrap());
        drop(room.take(100).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_too_long_is_told_that_it_is_busy() {
        let room = Room::new(100);
        let begun = Instant::now();
        let _all = room.take(100).await.unwrap();
        assert_eq!(room.take(1).await.err(), Some(PictureError::Busy));
        assert_eq!(begun.elapsed(), TURN_BOUND, "on the paused clock");
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_nobody_needs_makes_room_for_one_that_somebody_waits_for() {
        let room = Room::new(100);
        let kept = async {
            let kept = room.take(60).await.unwrap();
            room.idle(LONG).await;
            drop(kept);
        };
        let begun = Instant::now();
        let (_, space) = tokio::join!(kept, room.take(60));
        assert!(space.is_ok());
        assert!(begun.elapsed() < TURN_BOUND, "on the paused clock");
        drop(space);
        // Nobody waits, so it lasts; also when somebody has waited before.
        let begun = Instant::now();
        room.idle(LONG).await;
        assert_eq!(begun.elapsed(), LONG);
    }

    #[tokio::test(start_paused = true)]
    async fn a_screen_that_grows_needs_more_room() {
        let room = Room::new(100);
        let mut space = room.take(30).now_or_never().unwrap().unwrap();
        assert_eq!(room.extend(&mut space, 20), Ok(()));
        assert_eq!(room.extend(&mut space, 90), Ok(()));
        assert!(room.take(20).now_or_never().is_none());
        let mut other = room.take(10).now_or_never().unwrap().unwrap();
        assert_eq!(room.extend(&mut other, 11), Err(PictureError::Busy));
    }
}
