//! One direction of a connection that somebody else can close.
//!
//! The engine cannot remove a container as long as its output waits for a client that does not
//! read on. So a connection has to be closed before its container is removed, also when whoever
//! reads from it has stopped for a while.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::{Stream, StreamExt};
use tokio::io::AsyncWrite;

/// A half of a connection until it is closed.
pub(super) struct Closable<T>(Arc<Mutex<Slot<T>>>);

struct Slot<T> {
    half: Option<T>,
    waiting: Option<Waker>,
}

impl<T: Send + 'static> Closable<T> {
    pub(super) fn new(half: T) -> Self {
        Self(Arc::new(Mutex::new(Slot {
            half: Some(half),
            waiting: None,
        })))
    }

    /// What closes it. To whoever uses it, it looks as if the other side had closed it.
    pub(super) fn closer(&self) -> impl Fn() + Send + use<T> {
        let state = Arc::downgrade(&self.0);
        move || {
            if let Some(state) = state.upgrade() {
                let mut state = lock(&state);
                drop(state.half.take());
                if let Some(waiting) = state.waiting.take() {
                    waiting.wake();
                }
            }
        }
    }

    /// Polls what is there, or answers `closed`.
    fn poll<R>(
        &self,
        context: &mut Context<'_>,
        closed: R,
        poll: impl FnOnce(&mut T, &mut Context<'_>) -> Poll<R>,
    ) -> Poll<R> {
        let mut state = lock(&self.0);
        let Some(half) = &mut state.half else {
            return Poll::Ready(closed);
        };
        let outcome = poll(half, context);
        state.waiting = outcome.is_pending().then(|| context.waker().clone());
        outcome
    }
}

impl<T: Stream + Unpin + Send + 'static> Stream for Closable<T> {
    type Item = T::Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T::Item>> {
        self.poll(context, None, |half, context| half.poll_next_unpin(context))
    }
}

impl<T: AsyncWrite + Unpin + Send + 'static> AsyncWrite for Closable<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let closed = Err(io::ErrorKind::BrokenPipe.into());
        self.poll(context, closed, |half, context| {
            Pin::new(half).poll_write(context, bytes)
        })
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Err(io::ErrorKind::BrokenPipe.into());
        self.poll(context, closed, |half, context| {
            Pin::new(half).poll_flush(context)
        })
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(context, Ok(()), |half, context| {
            Pin::new(half).poll_shutdown(context)
        })
    }
}

/// What is behind this lock changes in one step, so it is sound also after a panic elsewhere.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn whoever_waits_is_woken_by_the_end() {
        let mut input = Closable::new(stream::pending::<()>());
        let close = input.closer();
        let (next, ()) = tokio::join!(input.next(), async { close() });
        assert_eq!(next, None);

        let (near, mut far) = tokio::io::duplex(4);
        let mut output = Closable::new(near);
        let close = output.closer();
        output.write_all(b"some").await.unwrap();
        let (written, ()) = tokio::join!(output.write_all(b"more"), async { close() });
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"some");
        // Twice is as good as once.
        close();
    }
}
