//! A live WebM stream, split at what a client of Media Source Extensions needs whole: the
//! initialisation segment, which every listener gets first, and the clusters after it.
//!
//! The elements are those of RFC 9559 (Matroska, of which WebM is a part) in the encoding of RFC
//! 8794 (EBML). Nothing inside of a cluster is looked at. Segments and clusters may be of unknown size, as live
//! encoders write them.

use bytes::{Bytes, BytesMut};

/// The longest initialisation segment in bytes; one with an Opus track takes a few hundred.
pub const HEADER_MAX_LEN: usize = 64 * 1024;

/// The longest cluster in bytes: 20 s at the highest rate that Opus has (510 kbit/s, RFC 6716).
pub const CLUSTER_MAX_LEN: usize = 1280 * 1024;

const EBML: u32 = 0x1a45_dfa3;
const SEGMENT: u32 = 0x1853_8067;
const CLUSTER: u32 = 0x1f43_b675;

/// The elements that may follow a cluster in a segment (RFC 9559, 5.1), or a segment. They end a cluster of unknown
/// size (RFC 8794, 6.2).
const AFTER_CLUSTERS: [u32; 9] = [
    CLUSTER,
    EBML,
    SEGMENT,
    0x114d_9b74, // SeekHead
    0x1549_a966, // Info
    0x1654_ae6b, // Tracks
    0x1c53_bb6b, // Cues
    0x1254_c367, // Tags
    0x1941_a469, // Attachments
];

/// A whole part of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything up to the first cluster; always the first part, and there is one.
    Header(Bytes),
    /// A cluster.
    Cluster(Bytes),
}

/// Why a stream is not one that can be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebmError {
    /// It does not begin with an EBML header.
    #[error("it is not WebM")]
    NotWebm,
    /// RFC 8794, 4 and 5.
    #[error("an element's identifier or size is malformed")]
    Malformed,
    /// Longer than [`HEADER_MAX_LEN`] or [`CLUSTER_MAX_LEN`].
    #[error("an element is longer than a live stream's may be")]
    TooLong,
}

/// Takes a stream in whatever pieces it comes.
#[derive(Debug, Default)]
pub struct Splitter {
    buffer: BytesMut,
    /// How much of the buffer is known to belong to the part that is being gathered.
    whole: usize,
    state: Reading,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reading {
    /// Nothing has come yet.
    #[default]
    Start,
    /// Before the first cluster.
    Header,
    /// Between two clusters.
    Between,
    /// In a cluster of unknown size, whose end is only known from what comes after it.
    OpenCluster,
    /// In an element between clusters that is left out, with so many bytes to go.
    Skip(u64),
}

/// The beginning of an element.
#[derive(Clone, Copy, Debug)]
struct Element {
    id: u32,
    /// Of identifier and size.
    head_len: usize,
    /// Of the content in bytes; `None` is unknown.
    size: Option<u64>,
}

impl Splitter {
    /// Where the stream's next bytes are to be put.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next part, once all of it has come.
    ///
    /// # Errors
    /// What has come is no live WebM stream; the splitter is of no use any more then.
    pub fn next_part(&mut self) -> Result<Option<Part>, WebmError> {
        loop {
            if let Reading::Skip(rest) = self.state {
                let here = usize::try_from(rest)
                    .unwrap_or(usize::MAX)
                    .min(self.buffer.len());
                // Of what is skipped nothing is kept.
                let _ = self.buffer.split_to(here);
                let rest = rest - here as u64;
                if rest > 0 {
                    self.state = Reading::Skip(rest);
                    return Ok(None);
                }
                self.state = Reading::Between;
            }
            let Some(element) = Element::read(&self.buffer[self.whole..])? else {
                return Ok(None);
            };
            let part = match self.state {
                Reading::Start if element.id != EBML => return Err(WebmError::NotWebm),
                Reading::Start | Reading::Header => self.in_header(element)?,
                Reading::Between | Reading::Skip(_) => self.between(element)?,
                Reading::OpenCluster => self.in_open_cluster(element)?,
            };
            match part {
                Step::On => {}
                Step::Wait => return Ok(None),
                Step::Part(part) => return Ok(Some(part)),
            }
        }
    }

    fn in_header(&mut self, element: Element) -> Result<Step, WebmError> {
        if element.id == CLUSTER {
            self.state = Reading::Between;
            return Ok(Step::Part(Part::Header(self.take(0))));
        }
        self.state = Reading::Header;
        let len = match (element.id, element.size) {
            // What is in it follows, whether its size is known or not.
            (SEGMENT, _) => element.head_len,
            (_, Some(size)) => element.len(size, HEADER_MAX_LEN)?,
            (_, None) => return Err(WebmError::Malformed),
        };
        self.gather(len, HEADER_MAX_LEN)
    }

    fn between(&mut self, element: Element) -> Result<Step, WebmError> {
        match (element.id, element.size) {
            (CLUSTER, Some(size)) => {
                let len = element.len(size, CLUSTER_MAX_LEN)?;
                if self.buffer.len() < len {
                    // All of it at once, rather than again and again a little more.
                    self.buffer.reserve(len - self.buffer.len());
                    return Ok(Step::Wait);
                }
                Ok(Step::Part(Part::Cluster(self.take(len))))
            }
            (CLUSTER, None) => {
                self.state = Reading::OpenCluster;
                self.whole = element.head_len;
                Ok(Step::On)
            }
            // Another segment would need another header, which listeners have had.
            (EBML | SEGMENT, _) | (_, None) => Err(WebmError::Malformed),
            (_, Some(size)) => {
                let _ = self.buffer.split_to(element.head_len);
                self.state = Reading::Skip(size);
                Ok(Step::On)
            }
        }
    }

    fn in_open_cluster(&mut self, element: Element) -> Result<Step, WebmError> {
        if AFTER_CLUSTERS.contains(&element.id) {
            self.state = Reading::Between;
            return Ok(Step::Part(Part::Cluster(self.take(0))));
        }
        let size = element.size.ok_or(WebmError::Malformed)?;
        let len = element.len(size, CLUSTER_MAX_LEN)?;
        self.gather(len, CLUSTER_MAX_LEN)
    }

    /// Adds an element to the part that is being gathered, once it is there.
    fn gather(&mut self, len: usize, limit: usize) -> Result<Step, WebmError> {
        let end = self.whole + len;
        if end > limit {
            return Err(WebmError::TooLong);
        }
        if self.buffer.len() < end {
            return Ok(Step::Wait);
        }
        self.whole = end;
        Ok(Step::On)
    }

    /// What was gathered, and so much more.
    fn take(&mut self, more: usize) -> Bytes {
        let end = std::mem::take(&mut self.whole) + more;
        self.buffer.split_to(end).freeze()
    }
}

enum Step {
    /// Look at the next element.
    On,
    /// More bytes are needed.
    Wait,
    Part(Part),
}

impl Element {
    /// `None` when more bytes are needed.
    fn read(bytes: &[u8]) -> Result<Option<Self>, WebmError> {
        let Some((id, id_len)) = number(bytes, 4)? else {
            return Ok(None);
        };
        let Some((size, size_len)) = number(&bytes[id_len..], 8)? else {
            return Ok(None);
        };
        // An identifier keeps the bit that tells its length; a size does not.
        let marker = 1 << (7 * size_len);
        let size = size - marker;
        Ok(Some(Self {
            id: u32::try_from(id).map_err(|_| WebmError::Malformed)?,
            head_len: id_len + size_len,
            // All bits set (RFC 8794, 6.2).
            size: (size != marker - 1).then_some(size),
        }))
    }

    /// The length of the whole element.
    fn len(&self, size: u64, limit: usize) -> Result<usize, WebmError> {
        usize::try_from(size)
            .ok()
            .filter(|size| *size <= limit)
            .map(|size| size + self.head_len)
            .ok_or(WebmError::TooLong)
    }
}

/// A number of variable length (RFC 8794, 4), the bit that tells its length included, and its length.
fn number(bytes: &[u8], longest: usize) -> Result<Option<(u64, usize)>, WebmError> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    let len = first.leading_zeros() as usize + 1;
    if len > longest {
        return Err(WebmError::Malformed);
    }
    let value = bytes.get(..len).map(|bytes| {
        bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    });
    Ok(value.map(|value| (value, len)))
}

#[cfg(test)]
mod tests;
