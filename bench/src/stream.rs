//! The two ends of what is measured: instances that send or echo, and clients that take.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::Failure;

/// How an upstream behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// Sends as fast as it is taken.
    Flood,
    /// Sends back what it gets.
    Echo,
}

impl Upstream {
    /// Listens, with a thread for each connection.
    pub(crate) fn start(self) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serve = move || self.serve(stream);
                // A thousand of them are up at a time and do next to nothing.
                if let Err(error) = thread::Builder::new().stack_size(64 * 1024).spawn(serve) {
                    eprintln!("no thread for a connection: {error}");
                }
            }
        });
        Ok(address)
    }

    fn serve(self, mut stream: TcpStream) {
        // The other end hangs up when it has measured enough, which is the only error there is.
        let _ = stream.set_nodelay(true);
        match self {
            Self::Flood => {
                let bytes = vec![0x5a; 256 * 1024];
                while stream.write_all(&bytes).is_ok() {}
            }
            Self::Echo => {
                let mut buffer = [0; 4096];
                while let Ok(len @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..len]).is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Bytes.
    Plain,
    /// Binary WebSocket frames.
    WebSocket,
}

/// A connected client.
pub(crate) struct Client {
    stream: TcpStream,
    dialect: Dialect,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr, dialect: Dialect) -> Result<Self, Failure> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        if dialect == Dialect::WebSocket {
            stream.write_all(
                b"GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte)?;
                head.push(byte[0]);
            }
            if !head.starts_with(b"HTTP/1.1 101 ") {
                return Err(String::from_utf8_lossy(&head).into());
            }
        }
        Ok(Self { stream, dialect })
    }

    /// The connection itself.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Takes what comes, frame headers included, which are next to nothing; how much it was.
    pub(crate) fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        match self.stream.read(buffer)? {
            0 => Err("the relay hung up".into()),
            len => Ok(len),
        }
    }

    /// Sends ten bytes and waits until they are back.
    pub(crate) fn echo(&mut self) -> Result<(), Failure> {
        const MESSAGE: &[u8; 10] = b"0123456789";
        match self.dialect {
            Dialect::Plain => {
                self.stream.write_all(MESSAGE)?;
                let mut answer = [0; 10];
                self.stream.read_exact(&mut answer)?;
                expect(&answer, MESSAGE)
            }
            Dialect::WebSocket => {
                // Masked with zeros, which is a mask.
                let mut frame = [0; 16];
                frame[..2].copy_from_slice(&[0x82, 0x80 | 10]);
                frame[6..].copy_from_slice(MESSAGE);
                self.stream.write_all(&frame)?;
                let mut answer = [0; 12];
                self.stream.read_exact(&mut answer)?;
                expect(&answer[2..], MESSAGE)
            }
        }
    }
}

fn expect(answer: &[u8], message: &[u8]) -> Result<(), Failure> {
    if answer == message {
        Ok(())
    } else {
        Err(format!("an echo came back as {answer:?}").into())
    }
}
