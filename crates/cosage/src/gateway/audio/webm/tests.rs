use proptest::prelude::*;

use super::*;

/// An element with a size of known length.
fn element(id: u32, content: &[u8]) -> Vec<u8> {
    let id = id.to_be_bytes();
    let leading = id.iter().take_while(|byte| **byte == 0).count();
    let size = 0x1000_0000 | u32::try_from(content.len()).unwrap();
    [&id[leading..], &size.to_be_bytes(), content].concat()
}

/// The beginning of an element of unknown size.
fn open(id: u32) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    bytes
}

const TIMESTAMP: u32 = 0xe7;
const SIMPLE_BLOCK: u32 = 0xa3;
const INFO: u32 = 0x1549_a966;
const TRACKS: u32 = 0x1654_ae6b;
const CUES: u32 = 0x1c53_bb6b;

fn header() -> Vec<u8> {
    [
        element(EBML, b"\x42\x82\x84webm"),
        open(SEGMENT),
        element(INFO, b"\x4d\x80\x81x"),
        element(TRACKS, &[0xae; 40]),
    ]
    .concat()
}

fn content(packets: &[Vec<u8>]) -> Vec<u8> {
    let blocks = packets.iter().map(|packet| element(SIMPLE_BLOCK, packet));
    std::iter::once(element(TIMESTAMP, &[7]))
        .chain(blocks)
        .collect::<Vec<_>>()
        .concat()
}

fn split(pieces: &[&[u8]]) -> Result<Vec<Part>, WebmError> {
    let mut splitter = Splitter::default();
    let mut parts = Vec::new();
    for piece in pieces {
        splitter.buffer().extend_from_slice(piece);
        while let Some(part) = splitter.next_part()? {
            parts.push(part);
        }
    }
    Ok(parts)
}

fn cluster(bytes: &[u8]) -> Part {
    Part::Cluster(Bytes::copy_from_slice(bytes))
}

#[test]
fn a_part_is_there_as_soon_as_its_last_byte_is() {
    let whole = element(CLUSTER, &content(&[vec![1; 50]]));
    let stream = [header(), whole.clone()].concat();
    let mut splitter = Splitter::default();
    let mut parts = Vec::new();
    for (at, byte) in stream.iter().enumerate() {
        splitter.buffer().extend_from_slice(&[*byte]);
        while let Some(part) = splitter.next_part().unwrap() {
            parts.push((at, part));
        }
    }
    // The header is known to be whole when the first cluster begins.
    let header = header();
    assert_eq!(parts[0].1, Part::Header(Bytes::from(header.clone())));
    assert!(parts[0].0 < header.len() + 12);
    assert_eq!(parts[1], (stream.len() - 1, cluster(&whole)));
    assert_eq!(parts.len(), 2);
}

#[test]
fn what_lies_between_clusters_is_left_out() {
    let one = element(CLUSTER, &content(&[vec![1]]));
    let stream = [
        header(),
        one.clone(),
        element(CUES, &[0; 3000]),
        one.clone(),
    ]
    .concat();
    let parts = split(&[&stream]).unwrap();
    assert_eq!(parts[1..], [cluster(&one), cluster(&one)]);
}

#[test]
fn what_is_no_live_webm_is_refused() {
    for (stream, error) in [
        (b"RFB 003.008\n".to_vec(), WebmError::NotWebm),
        (element(CLUSTER, b""), WebmError::NotWebm),
        (vec![0x00], WebmError::Malformed),
        (
            [header(), element(CLUSTER, b""), header()].concat(),
            WebmError::Malformed,
        ),
        (
            [header(), open(CLUSTER), open(SIMPLE_BLOCK)].concat(),
            WebmError::Malformed,
        ),
        ([header(), open(INFO)].concat(), WebmError::Malformed),
    ] {
        assert_eq!(split(&[&stream]), Err(error), "{stream:?}");
    }
}

/// A size is believed only as far as it may be, so that no stream makes the service gather for ever.
#[test]
fn what_is_too_long_is_refused_before_it_comes() {
    let huge = 0x1fff_fff0_u32.to_be_bytes();
    let cluster = [&CLUSTER.to_be_bytes()[..], &huge].concat();
    assert_eq!(
        split(&[&header(), &cluster]),
        Err(WebmError::TooLong),
        "a cluster"
    );
    let info = [&INFO.to_be_bytes()[..], &huge].concat();
    assert_eq!(split(&[&header(), &info]), Err(WebmError::TooLong));
    let blocks: Vec<_> = (0..20).map(|_| vec![0; 100_000]).collect();
    let endless = [header(), open(CLUSTER), content(&blocks)].concat();
    assert_eq!(split(&[&endless]), Err(WebmError::TooLong));
}

proptest! {
    #[test]
    fn however_a_stream_is_cut_its_parts_are_the_same(
        clusters in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..4)),
            1..8,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut stream = header();
        let mut expected = vec![Part::Header(Bytes::from(stream.clone()))];
        for (known, packets) in &clusters {
            let content = content(packets);
            let bytes = if *known {
                element(CLUSTER, &content)
            } else {
                [open(CLUSTER), content].concat()
            };
            expected.push(cluster(&bytes));
            stream.extend(bytes);
        }
        // The last one, where its size is unknown, is ended by what comes next.
        stream.extend(element(CUES, b""));
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
        prop_assert_eq!(split(&pieces), Ok(expected));
    }

    #[test]
    fn no_bytes_are_too_strange(noise in prop::collection::vec(any::<u8>(), 0..400), after_header: bool) {
        let head = if after_header { header() } else { Vec::new() };
        let _ = split(&[&head, &noise]);
    }
}
