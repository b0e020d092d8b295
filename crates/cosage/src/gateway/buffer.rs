//! Buffers that are borrowed while bytes are on their way through, and only then.

use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// The size of every buffer in bytes: how much one read can bring. Measured: larger ones save system
/// calls and lose more than that to cache misses.
pub(super) const BUFFER_LEN: usize = 64 * 1024;

/// Buffers kept for the next borrower; more are given back to the system. Only connections whose
/// receiver is slower than its sender hold one for longer than a moment.
const SPARE_MAX: usize = 32;

/// Where relays borrow their buffers.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Vec<Box<[u8]>>>>);

/// A borrowed buffer of [`BUFFER_LEN`] bytes, or bytes of one's own; dropping it gives a borrowed
/// one back. What is in a borrowed one is left over from others.
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    pool: Pool,
}

impl Pool {
    /// The buffer that was used last, so that it is still in the processor's cache, or a new one.
    pub(super) fn borrow(&self) -> Buffer {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Buffer {
            bytes: spare.unwrap_or_else(|| vec![0; BUFFER_LEN].into_boxed_slice()),
            pool: self.clone(),
        }
    }

    /// Bytes that did not come by way of a borrowed buffer, to be handled like those that did.
    pub(super) fn adopt(&self, bytes: Vec<u8>) -> Buffer {
        Buffer {
            bytes: bytes.into_boxed_slice(),
            pool: self.clone(),
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.len() != BUFFER_LEN {
            return;
        }
        let mut spare = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_MAX {
            spare.push(mem::take(&mut self.bytes));
        }
    }
}
