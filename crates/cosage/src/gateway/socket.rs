//! A client's WebSocket as a plain stream of bytes, for the few bytes of a handshake.

use std::io;
use std::mem;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::ending::Ending;
use super::frame::{self, CONTROL_MAX_LEN, Decoder, SERVER_HEADER_MAX_LEN};

/// How much is read at a time; handshake messages are shorter.
const READ_LEN: usize = 512;

/// The longest payload of a frame that is written; as short as the shortest header allows.
const WRITE_LEN: usize = CONTROL_MAX_LEN;

/// The server's end of a WebSocket.
pub(super) struct ClientSocket {
    stream: TcpStream,
    decoder: Box<Decoder>,
    inbound: Vec<u8>,
    /// What of `inbound` was not looked at yet.
    raw: Range<usize>,
    /// What of `inbound` is payload that was not read yet.
    payload: Range<usize>,
    ending: Option<Ending>,
    outbound: Vec<u8>,
}

/// What is left when the handshake is over.
pub(super) struct Parts {
    pub(super) stream: TcpStream,
    pub(super) decoder: Box<Decoder>,
    /// Payload that was read ahead.
    pub(super) payload: Vec<u8>,
    /// The client has ended the connection right behind it.
    pub(super) ending: Option<Ending>,
}

impl ClientSocket {
    /// `read_ahead` is what of the stream was read already.
    pub(super) fn new(stream: TcpStream, read_ahead: Vec<u8>) -> Self {
        Self {
            stream,
            decoder: Box::default(),
            raw: 0..read_ahead.len(),
            payload: 0..0,
            inbound: read_ahead,
            ending: None,
            outbound: Vec::new(),
        }
    }

    /// Why the stream ended, where the client has ended it.
    pub(super) fn ending(&mut self) -> Option<Ending> {
        self.ending.take()
    }

    /// What a relay goes on with. Everything written must have been flushed.
    pub(super) fn into_parts(mut self) -> Parts {
        self.decode();
        self.inbound.truncate(self.payload.end);
        self.inbound.drain(..self.payload.start);
        Parts {
            stream: self.stream,
            decoder: self.decoder,
            payload: self.inbound,
            ending: self.ending,
        }
    }

    fn decode(&mut self) {
        if self.raw.is_empty() {
            return;
        }
        match self
            .decoder
            .decode(&mut self.inbound, mem::take(&mut self.raw))
        {
            Ok(decoded) => {
                self.payload = decoded.payload;
                self.ending = decoded.close.map(|close| Ending::ClientClosed(close.code));
            }
            Err(error) => self.ending = Some(Ending::ClientBroke(error)),
        }
    }

    fn poll_outbound(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outbound.is_empty() {
            let len = ready!(Pin::new(&mut self.stream).poll_write(context, &self.outbound))?;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbound.drain(..len);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.payload.is_empty() {
                let len = self.payload.len().min(buffer.remaining());
                let start = self.payload.start;
                buffer.put_slice(&self.inbound[start..start + len]);
                self.payload.start += len;
                return Poll::Ready(Ok(()));
            }
            if self.ending.is_some() {
                return Poll::Ready(Ok(()));
            }
            if self.raw.is_empty() {
                let this = &mut *self;
                this.inbound.resize(READ_LEN, 0);
                let mut inbound = ReadBuf::new(&mut this.inbound);
                ready!(Pin::new(&mut this.stream).poll_read(context, &mut inbound))?;
                let len = inbound.filled().len();
                if len == 0 {
                    this.ending = Some(Ending::ClientGone);
                }
                this.raw = 0..len;
            }
            self.decode();
        }
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_outbound(context))?;
        let len = bytes.len().min(WRITE_LEN);
        let payload = SERVER_HEADER_MAX_LEN..SERVER_HEADER_MAX_LEN + len;
        let mut framed = [0; SERVER_HEADER_MAX_LEN + WRITE_LEN];
        framed[payload.clone()].copy_from_slice(&bytes[..len]);
        let frame = frame::frame_in_place(&mut framed, payload);
        self.outbound.extend_from_slice(&framed[frame]);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_outbound(context)
    }

    /// Only flushes: a WebSocket ends with a close frame, which says why.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}
