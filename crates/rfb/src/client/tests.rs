use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use proptest::prelude::*;
use tokio::io::{DuplexStream, duplex};

use super::*;

type Colour = [u8; 3];

/// What a server says when a client introduces itself.
fn server_init(width: u16, height: u16) -> Vec<u8> {
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    [&size[..], &[0; 16], &[0, 0, 0, 2], b"it"].concat()
}

fn update(rectangles: &[Vec<u8>]) -> Vec<u8> {
    let count = u16::try_from(rectangles.len()).unwrap();
    [&[0, 0][..], &count.to_be_bytes(), &rectangles.concat()].concat()
}

fn rectangle([x, y, width, height]: [u16; 4], encoding: i32, data: &[u8]) -> Vec<u8> {
    let area = [x, y, width, height].map(u16::to_be_bytes).concat();
    [&area[..], &encoding.to_be_bytes(), data].concat()
}

fn raw(area: [u16; 4], colour: Colour) -> Vec<u8> {
    let pixels = usize::from(area[2]) * usize::from(area[3]);
    let [blue, green, red] = colour;
    rectangle(area, RAW, &[blue, green, red, 7].repeat(pixels))
}

/// A server that has said `input` already, and takes what it is told.
async fn client(input: &[u8]) -> Result<Client<DuplexStream>, ClientError> {
    let (near, mut far) = duplex(1 << 22);
    far.write_all(input).await.unwrap();
    far.shutdown().await.unwrap();
    // What is said to it stays in the pipe.
    tokio::spawn(async move {
        let _ = tokio::io::copy(&mut far, &mut tokio::io::sink()).await;
    });
    Client::introduce(near, Sharing::Shared, Transfer::Compressed).await
}

async fn picture(input: &[u8]) -> Result<Client<DuplexStream>, ClientError> {
    let mut client = client(input).await?;
    client.full_picture().await?;
    Ok(client)
}

/// A zlib stream that goes on from one rectangle to the next, as a server's does.
struct Packer(ZlibEncoder<Vec<u8>>);

impl Packer {
    fn new() -> Self {
        Self(ZlibEncoder::new(Vec::new(), Compression::default()))
    }

    fn pack(&mut self, tiles: &[u8]) -> Vec<u8> {
        self.0.write_all(tiles).unwrap();
        self.0.flush().unwrap();
        let packed = std::mem::take(self.0.get_mut());
        let len = u32::try_from(packed.len()).unwrap();
        [&len.to_be_bytes()[..], &packed].concat()
    }
}

/// The length of a run as it is sent.
fn run(len: usize) -> Vec<u8> {
    let rest = len - 1;
    let mut bytes = vec![255; rest / 255];
    bytes.push(u8::try_from(rest % 255).unwrap());
    bytes
}

/// A tile in each of the ways that can say it.
fn tile(pixels: &[Colour], width: usize, way: u8) -> Vec<u8> {
    let mut palette: Vec<Colour> = pixels.to_vec();
    palette.sort_unstable();
    palette.dedup();
    let index = |colour| u8::try_from(palette.binary_search(colour).unwrap()).unwrap();
    let grouped: Vec<&[Colour]> = pixels.chunk_by(|a, b| a == b).collect();
    match way {
        1 if palette.len() == 1 => [&[1][..], &palette[0]].concat(),
        2 if (2..=16).contains(&palette.len()) => {
            let bits = match palette.len() {
                2 => 1,
                3..=4 => 2,
                _ => 4,
            };
            let mut bytes = vec![u8::try_from(palette.len()).unwrap()];
            bytes.extend(palette.as_flattened());
            for row in pixels.chunks(width) {
                for places in row.chunks(8 / bits) {
                    let packed = places
                        .iter()
                        .zip(1..)
                        .fold(0_u8, |packed, (colour, place)| {
                            packed | (index(colour) << (8 - bits * place))
                        });
                    bytes.push(packed);
                }
            }
            bytes
        }
        3 => {
            let mut bytes = vec![128];
            for group in grouped {
                bytes.extend(group[0]);
                bytes.extend(run(group.len()));
            }
            bytes
        }
        4 if (2..=127).contains(&palette.len()) => {
            let mut bytes = vec![128 + u8::try_from(palette.len()).unwrap()];
            bytes.extend(palette.as_flattened());
            for group in grouped {
                if group.len() == 1 {
                    bytes.push(index(&group[0]));
                } else {
                    bytes.push(128 | index(&group[0]));
                    bytes.extend(run(group.len()));
                }
            }
            bytes
        }
        _ => [&[0][..], pixels.as_flattened()].concat(),
    }
}

/// The tiles of a picture, each in the next of the `ways`.
fn tiles(picture: &[Colour], width: usize, ways: &[u8]) -> Vec<u8> {
    let height = picture.len() / width;
    let mut ways = ways.iter().cycle();
    let mut bytes = Vec::new();
    for y in (0..height).step_by(64) {
        for x in (0..width).step_by(64) {
            let right = width.min(x + 64);
            let pixels: Vec<Colour> = (y..height.min(y + 64))
                .flat_map(|y| &picture[y * width + x..y * width + right])
                .copied()
                .collect();
            bytes.extend(tile(&pixels, right - x, *ways.next().unwrap()));
        }
    }
    bytes
}

fn colours(client: &Client<DuplexStream>) -> Vec<Colour> {
    let (pixels, _) = client.pixels().as_chunks::<4>();
    pixels.iter().map(|[b, g, r, _]| [*b, *g, *r]).collect()
}

#[tokio::test]
async fn a_picture_may_come_in_parts() {
    let input = [
        server_init(4, 2),
        update(&[raw([0, 0, 4, 1], [1, 2, 3])]),
        // The same part again completes nothing.
        update(&[raw([0, 0, 4, 1], [4, 5, 6])]),
        update(&[raw([0, 1, 2, 1], [7, 8, 9]), raw([2, 1, 2, 1], [7, 8, 9])]),
    ]
    .concat();
    let client = picture(&input).await.unwrap();
    let expected = [[[4, 5, 6, 255]; 4], [[7, 8, 9, 255]; 4]].concat();
    assert_eq!(client.pixels(), expected.as_flattened());
    assert_eq!(client.name(), "it");
}

#[tokio::test]
async fn a_screen_may_change_its_size_in_the_middle() {
    let screens = [&[1, 0, 0, 0][..], &[0; 16]].concat();
    let input = [
        server_init(64, 64),
        update(&[raw([0, 0, 64, 32], [9, 9, 9])]),
        update(&[rectangle([0, 0, 2, 2], EXTENDED_DESKTOP_SIZE, &screens)]),
        // The size that it has already throws nothing away.
        update(&[
            raw([0, 0, 2, 1], [1, 1, 1]),
            rectangle([0, 0, 2, 2], DESKTOP_SIZE, &[]),
            raw([0, 1, 2, 1], [1, 1, 1]),
        ]),
    ]
    .concat();
    let client = picture(&input).await.unwrap();
    assert_eq!(client.size(), (2, 2));
    assert_eq!(client.into_pixels()[..], [1, 1, 1, 255].repeat(4));
}

#[tokio::test]
async fn an_update_may_say_itself_where_it_ends() {
    let mut endless = update(&[
        raw([0, 0, 1, 1], [1, 2, 3]),
        rectangle([0; 4], LAST_RECT, &[]),
    ]);
    endless[2..4].copy_from_slice(&[0xff, 0xff]);
    let client = picture(&[server_init(1, 1), endless].concat()).await;
    assert_eq!(client.unwrap().pixels(), [1, 2, 3, 255]);
}

/// Somebody copies a book while a picture is taken.
#[tokio::test]
async fn a_long_text_does_not_end_the_picture() {
    let len = TEXT_MAX_LEN + 7;
    let mut copied = vec![3, 0, 0, 0];
    copied.extend(len.to_be_bytes());
    copied.resize(8 + len as usize, b'a');
    let drawn = update(&[raw([0, 0, 1, 1], [1, 2, 3])]);
    let client = picture(&[server_init(1, 1), copied, drawn].concat()).await;
    assert_eq!(client.unwrap().pixels(), [1, 2, 3, 255]);
}

#[tokio::test]
async fn what_no_server_may_send_is_an_error() {
    let mut packer = Packer::new();
    let solid = packer.pack(&[1, 1, 2, 3]);
    let wrong = |area, tiles: &[u8]| {
        let data = Packer::new().pack(tiles);
        update(&[rectangle(area, ZRLE, &data)])
    };
    for (what, message) in [
        ("rectangle beyond", update(&[raw([1, 0, 2, 1], [0; 3])])),
        ("rectangle beyond", wrong([0, 1, 2, 2], &[1, 1, 2, 3])),
        ("encoding 7", update(&[rectangle([0, 0, 2, 2], 7, &[])])),
        (
            "larger than is believed",
            update(&[rectangle([0, 0, 16_384, 16_384], DESKTOP_SIZE, &[])]),
        ),
        ("message type 9", vec![9]),
        ("connection", vec![3, 0, 0, 0, 0xff, 0, 0, 0]),
        ("the kind 17", wrong([0, 0, 2, 2], &[17])),
        ("the kind 129", wrong([0, 0, 2, 2], &[129])),
        ("less than", wrong([0, 0, 2, 2], &[1, 1, 2])),
        ("more than", wrong([0, 0, 2, 2], &[1, 1, 2, 3, 4])),
        ("run beyond", wrong([0, 0, 2, 2], &[128, 1, 2, 3, 4])),
        (
            "not in the palette",
            wrong([0, 0, 2, 2], &[130, 1, 2, 3, 4, 5, 6, 2]),
        ),
        (
            "no zlib stream",
            update(&[rectangle([0, 0, 2, 2], ZRLE, &[0, 0, 0, 2, 1, 1])]),
        ),
        // One byte of the data is missing, and the connection ends.
        (
            "connection",
            update(&[rectangle([0, 0, 2, 2], ZRLE, &solid[..solid.len() - 1])]),
        ),
    ] {
        let error = picture(&[server_init(2, 2), message].concat())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(what), "{error}, not {what}");
    }
    let error = client(&server_init(16_384, 16_384)).await.unwrap_err();
    assert!(error.to_string().contains("larger than is believed"));
}

fn run_to_its_end<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the picture and however its tiles are packed, in however many rectangles of one zlib stream.
    #[test]
    fn zrle_gives_back_every_pixel(
        (width, picture_of) in (1_usize..150, 1_usize..150).prop_flat_map(|(width, height)| {
            let colour = prop_oneof![Just([1, 2, 3]), Just([4, 5, 6]), any::<Colour>()];
            let few = proptest::collection::vec(colour, 1..20);
            (Just(width), few.prop_flat_map(move |few| {
                proptest::collection::vec(proptest::sample::select(few), width * height)
            }))
        }),
        ways in proptest::collection::vec(0_u8..5, 1..8),
        upper in 0.0..1.0_f64,
    ) {
        let height = picture_of.len() / width;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "less than height")]
        let upper = (height as f64 * upper) as usize;
        let mut packer = Packer::new();
        let mut part = |from: usize, to: usize| {
            let data = packer.pack(&tiles(&picture_of[from * width..to * width], width, &ways));
            let side = |side: usize| u16::try_from(side).unwrap();
            rectangle([0, side(from), side(width), side(to - from)], ZRLE, &data)
        };
        let parts = if upper == 0 {
            vec![part(0, height)]
        } else {
            vec![part(0, upper), part(upper, height)]
        };
        let size = server_init(u16::try_from(width).unwrap(), u16::try_from(height).unwrap());
        let seen = run_to_its_end(picture(&[size, update(&parts)].concat())).unwrap();
        prop_assert_eq!(colours(&seen), picture_of);
    }

    /// Whatever a server says: an end, no panic, and no more memory than a screen takes.
    #[test]
    fn any_bytes_end_in_a_picture_or_an_error(
        (width, height) in (0_u16..200, 0_u16..200),
        encoding in proptest::sample::select(vec![RAW, ZRLE, DESKTOP_SIZE, EXTENDED_DESKTOP_SIZE, LAST_RECT, 1]),
        noise in proptest::collection::vec(any::<u8>(), 0..600),
        packed in any::<bool>(),
    ) {
        let data = if packed { Packer::new().pack(&noise) } else { noise };
        let input = [
            server_init(width, height),
            update(&[rectangle([0, 0, width, height], encoding, &data)]),
        ].concat();
        run_to_its_end(async { drop(picture(&input).await) });
    }
}
