//! What it costs that the gateway follows the messages of a viewer, so that it can keep out what the viewer may not send,
//! and those of its server, so that another one can take its place: the same bytes over a stream of the protocol `rfb`, which
//! it follows, and of `tcp`, at which it does not look.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::contestant::Contestant;
use crate::relay::quantile;
use crate::stream::Dialect;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds; in each, both have their turn
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each throughput measurement
    #[arg(long, default_value_t = 1)]
    seconds: u64,
    /// Round trips of each latency measurement
    #[arg(long, default_value_t = 5000)]
    echoes: usize,
}

/// A `FramebufferUpdateRequest`, a `PointerEvent` and a `KeyEvent` (RFC 6143, 7.5).
const REQUEST: [u8; 10] = [3, 1, 0, 0, 0, 0, 5, 0, 2, 208];
const POINTER: [u8; 6] = [5, 1, 0, 100, 0, 200];
const KEY: [u8; 8] = [4, 1, 0, 0, 0, 0, 0, 0x61];

/// What the service sends for the viewer after its `ClientInit`.
const INTRODUCTION_LEN: usize = 16;

/// `ServerInit` (RFC 6143, 7.3.2) of a desktop without a name.
const SERVER_INIT: [u8; 24] = [
    5, 0, 2, 208, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// Sizes of the pictures in Tight that a server sends, in bytes: those of a video, and those of a text that is typed.
const LARGE: usize = 16 * 1024;
const SMALL: usize = 200;

/// How long a text is pasted, in bytes.
const PASTE_LEN: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// Shakes hands as a VNC server first.
    Vnc,
    /// Takes bytes from the start.
    Plain,
}

/// What a server does with what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// Sends a short piece back, and takes the others.
    Echo,
    /// Sends pictures of this size without end, once it has got something.
    Pictures(usize),
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let contestants = [
        (
            Contestant::following_gateway(Server::Vnc.start(Task::Echo)?)?,
            Server::Vnc,
        ),
        (
            Contestant::gateway(Server::Plain.start(Task::Echo)?)?,
            Server::Plain,
        ),
    ];
    let mut painters = Vec::new();
    for size in [LARGE, SMALL] {
        let task = Task::Pictures(size);
        painters.push([
            Contestant::following_gateway(Server::Vnc.start(task)?)?,
            Contestant::gateway(Server::Plain.start(task)?)?,
        ]);
    }
    let paste = frames(&paste());
    let steering = frames(
        &[&REQUEST[..], &POINTER, &POINTER, &KEY]
            .concat()
            .repeat(2048),
    );
    // For each measure, the samples of both.
    let mut samples = vec![[Vec::new(), Vec::new()]; 6];
    for _ in 0..arguments.rounds {
        for (index, (contestant, server)) in contestants.iter().enumerate() {
            let mut microseconds = echo(contestant.address, *server, arguments.echoes)?;
            samples[0][index].push(quantile(&mut microseconds, 0.5));
            samples[1][index].push(quantile(&mut microseconds, 0.99));
            for (measure, load) in [(2, &paste), (3, &steering)] {
                let time = Duration::from_secs(arguments.seconds);
                samples[measure][index].push(push(contestant.address, *server, load, time)?);
            }
            for (measure, painter) in painters.iter().enumerate() {
                let time = Duration::from_secs(arguments.seconds);
                samples[4 + measure][index].push(pull(painter[index].address, *server, time)?);
            }
        }
    }
    println!("| measure | followed | not followed | cost |");
    println!("|---|---|---|---|");
    let names = [
        ("round trip of 10 bytes, p50", "µs"),
        ("round trip of 10 bytes, p99", "µs"),
        ("pasting texts of 1 MiB", "MB/s"),
        ("nothing but small messages", "MB/s"),
        ("pictures in Tight of 16 KiB", "MB/s"),
        ("pictures in Tight of 200 bytes", "MB/s"),
    ];
    for ((name, unit), [followed, not]) in names.into_iter().zip(&mut samples) {
        let (followed, not) = (quantile(followed, 0.5), quantile(not, 0.5));
        let cost = if unit == "µs" {
            followed / not
        } else {
            not / followed
        };
        println!("| {name} | {followed:.0} {unit} | {not:.0} {unit} | {cost:.3} × |");
    }
    println!("\n- medians of {} rounds in turn", arguments.rounds);
    Ok(())
}

impl Server {
    /// Listens, with a thread for each connection.
    fn start(self, task: Task) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // The other end hangs up when it has measured enough, which is the only error there is.
                thread::spawn(move || self.serve(stream, task));
            }
        });
        Ok(address)
    }

    fn serve(self, mut stream: TcpStream, task: Task) -> io::Result<()> {
        stream.set_nodelay(true)?;
        if self == Self::Vnc {
            stream.write_all(b"RFB 003.008\n")?;
            stream.read_exact(&mut [0; 12])?;
            stream.write_all(&[1, 1])?;
            stream.read_exact(&mut [0; 1])?;
            stream.write_all(&[0; 4])?;
            stream.read_exact(&mut [0; 1 + INTRODUCTION_LEN])?;
            stream.write_all(&SERVER_INIT)?;
        }
        let mut buffer = vec![0; 256 * 1024];
        if let Task::Pictures(size) = task {
            stream.read_exact(&mut buffer[..1])?;
            let pictures = picture(size).repeat(256 * 1024 / size);
            loop {
                stream.write_all(&pictures)?;
            }
        }
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                len if len == REQUEST.len() => stream.write_all(&buffer[..len])?,
                _ => {}
            }
        }
    }
}

/// A viewer past its handshake.
fn connect(address: SocketAddr, server: Server) -> Result<TcpStream, Failure> {
    let mut stream = crate::stream::Client::connect(address, Dialect::WebSocket)?.into_stream();
    if server == Server::Vnc {
        expect(&mut stream, b"RFB 003.008\n")?;
        stream.write_all(&frames(b"RFB 003.008\n"))?;
        expect(&mut stream, &[1, 1])?;
        stream.write_all(&frames(&[1]))?;
        expect(&mut stream, &[0; 4])?;
        stream.write_all(&frames(&[1]))?;
        expect(&mut stream, &SERVER_INIT)?;
    }
    Ok(stream)
}

/// Reads one frame with this payload, of 125 bytes at most.
fn expect(stream: &mut TcpStream, payload: &[u8]) -> Result<(), Failure> {
    let mut frame = vec![0; 2 + payload.len()];
    stream.read_exact(&mut frame)?;
    if frame[2..] == *payload {
        Ok(())
    } else {
        Err(format!("{payload:?} came as {frame:?}").into())
    }
}

fn echo(address: SocketAddr, server: Server, count: usize) -> Result<Vec<f64>, Failure> {
    let mut stream = connect(address, server)?;
    let message = frames(&REQUEST);
    let mut microseconds = Vec::with_capacity(count);
    for index in 0..count + count / 10 {
        let begun = Instant::now();
        stream.write_all(&message)?;
        expect(&mut stream, &REQUEST)?;
        if index >= count / 10 {
            microseconds.push(begun.elapsed().as_secs_f64() * 1e6);
        }
    }
    Ok(microseconds)
}

/// Sends whole messages for so long; megabytes per second.
fn push(address: SocketAddr, server: Server, load: &[u8], time: Duration) -> Result<f64, Failure> {
    let mut stream = connect(address, server)?;
    let warm = Instant::now();
    while warm.elapsed() < Duration::from_millis(200) {
        stream.write_all(load)?;
    }
    let begun = Instant::now();
    let mut bytes = 0;
    while begun.elapsed() < time {
        stream.write_all(load)?;
        bytes += load.len();
    }
    Ok(bytes as f64 / begun.elapsed().as_secs_f64() / 1e6)
}

/// Reads for so long; megabytes per second.
fn pull(address: SocketAddr, server: Server, time: Duration) -> Result<f64, Failure> {
    let mut stream = connect(address, server)?;
    stream.write_all(&frames(&REQUEST))?;
    let mut buffer = vec![0; 256 * 1024];
    let warm = Instant::now();
    while warm.elapsed() < Duration::from_millis(200) {
        stream.read_exact(&mut buffer)?;
    }
    let begun = Instant::now();
    let mut bytes = 0;
    while begun.elapsed() < time {
        stream.read_exact(&mut buffer)?;
        bytes += buffer.len();
    }
    Ok(bytes as f64 / begun.elapsed().as_secs_f64() / 1e6)
}

/// `FramebufferUpdate` with one rectangle, a JPEG picture in Tight, of so many bytes altogether.
fn picture(size: usize) -> Vec<u8> {
    let mut message = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 64, 0, 64, 0, 0, 0, 7];
    let len = size - message.len() - 4;
    message.extend([
        0x90,
        len as u8 & 0x7f | 0x80,
        (len >> 7) as u8 & 0x7f | 0x80,
        (len >> 14) as u8,
    ]);
    message.resize(size, 0x55);
    message
}

fn paste() -> Vec<u8> {
    let mut message = vec![6, 0, 0, 0];
    message.extend((PASTE_LEN as u32).to_be_bytes());
    message.resize(message.len() + PASTE_LEN, b'a');
    message
}

/// Frames of 16 KiB at most, masked with zeros, which is a mask.
fn frames(payload: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    for piece in payload.chunks(16 * 1024) {
        frames.push(0x82);
        if piece.len() < 126 {
            frames.push(0x80 | piece.len() as u8);
        } else {
            frames.push(0x80 | 126);
            frames.extend((piece.len() as u16).to_be_bytes());
        }
        frames.extend([0; 4]);
        frames.extend_from_slice(piece);
    }
    frames
}
