//! A file in memory that goes back to the operating system as soon as nobody needs it.

use std::io::{self, Write};

use bytes::Bytes;
use memmap2::MmapMut;

/// How much is there at first, in bytes. Pages that are not written take no memory.
const BEGINNING: usize = 256 * 1024;

/// Bytes that are written one after the other. An allocator keeps what large buffers leave behind, and after a few
/// pictures that would be more than all else that the service has.
pub(super) struct Pages {
    map: MmapMut,
    len: usize,
}

impl Pages {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            map: MmapMut::map_anon(BEGINNING)?,
            len: 0,
        })
    }

    /// What was written.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Write for Pages {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = self.len + bytes.len();
        if end > self.map.len() {
            let mut larger = MmapMut::map_anon(end.next_power_of_two())?;
            larger[..self.len].copy_from_slice(&self.map[..self.len]);
            self.map = larger;
        }
        self.map[self.len..end].copy_from_slice(bytes);
        self.len = end;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsRef<[u8]> for Pages {
    fn as_ref(&self) -> &[u8] {
        &self.map[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_there_however_much_it_is() {
        let part: Vec<u8> = (0..100_000_u32).map(|byte| (byte % 251) as u8).collect();
        let mut pages = Pages::new().unwrap();
        for _ in 0..20 {
            pages.write_all(&part).unwrap();
        }
        assert!(pages.into_bytes() == part.repeat(20));
        assert!(Pages::new().unwrap().into_bytes().is_empty());
    }
}
