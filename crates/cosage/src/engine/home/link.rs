//! The frames of one conversation, over whatever carries bytes.

use std::io;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use files::protocol::{Answer, DATA, END, FRAME_MAX, HEAD_LEN, HELLO, Request, head, parse_head};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::HomeError;

/// A way to the program that has a home's files, and back.
pub struct Link {
    input: BoxStream<'static, io::Result<Bytes>>,
    output: Pin<Box<dyn AsyncWrite + Send>>,
    /// What has come and was not asked for yet.
    rest: Bytes,
    /// What has come of a frame's head.
    begun: Vec<u8>,
    /// Ends the program when it is dropped.
    _end: Box<dyn Send>,
}

impl Link {
    /// A link over these two; `end` is dropped with it.
    pub fn new(
        input: BoxStream<'static, io::Result<Bytes>>,
        output: impl AsyncWrite + Send + 'static,
        end: impl Send + 'static,
    ) -> Self {
        Self {
            input,
            output: Box::pin(output),
            rest: Bytes::new(),
            begun: Vec::with_capacity(HEAD_LEN),
            _end: Box::new(end),
        }
    }

    /// Waits until the program can be asked.
    ///
    /// # Errors
    /// [`HomeError::Ended`] when it ends instead.
    pub async fn hello(&mut self) -> Result<(), HomeError> {
        match self.head().await? {
            (HELLO, 0) => Ok(()),
            _ => Err(HomeError::Ended),
        }
    }

    /// Whether the program is still there.
    pub async fn is_alive(&mut self) -> bool {
        self.send(&Request::Ping).await.is_ok() && self.answer().await == Ok(Answer::Done)
    }

    pub(super) async fn send(&mut self, request: &Request) -> Result<(), HomeError> {
        let mut frame = Vec::new();
        request.write(&mut frame).map_err(|_| HomeError::Ended)?;
        self.write(&frame).await
    }

    /// Sends a part of a file, and sees it when the program says meanwhile that it is of no use.
    pub(super) async fn send_data(&mut self, part: &Bytes) -> Result<(), HomeError> {
        for part in part.chunks(FRAME_MAX) {
            let Self {
                input,
                output,
                rest,
                begun,
                ..
            } = self;
            let sending = async {
                output.write_all(&head(DATA, part.len())).await?;
                output.write_all(part).await
            };
            let sent = tokio::select! {
                sent = sending => sent,
                answer = read_head(input, rest, begun) => {
                    return Err(self.refusal(answer?).await);
                }
            };
            if sent.is_err() {
                // Why it hung up may be on its way.
                let answer = self.head().await?;
                return Err(self.refusal(answer).await);
            }
        }
        Ok(())
    }

    pub(super) async fn send_end(&mut self) -> Result<(), HomeError> {
        self.write(&head(END, 0)).await
    }

    /// What an answer in the middle of an upload says.
    async fn refusal(&mut self, (kind, len): (u8, usize)) -> HomeError {
        match self
            .exactly(len)
            .await
            .map(|body| Answer::parse(kind, &body))
        {
            Ok(Some(Answer::Failed(failure))) => failure.into(),
            _ => HomeError::Ended,
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), HomeError> {
        let written = async {
            self.output.write_all(bytes).await?;
            self.output.flush().await
        };
        written.await.map_err(|_| HomeError::Ended)
    }

    /// The next answer.
    pub(super) async fn answer(&mut self) -> Result<Answer, HomeError> {
        let (kind, len) = self.head().await?;
        let body = self.exactly(len).await?;
        Answer::parse(kind, &body).ok_or(HomeError::Ended)
    }

    /// What the next frame is and how long its body; what has come stays when this is dropped.
    pub(super) async fn head(&mut self) -> Result<(u8, usize), HomeError> {
        read_head(&mut self.input, &mut self.rest, &mut self.begun).await
    }

    /// The next bytes, at most `len`, which is not 0.
    pub(super) async fn at_most(&mut self, len: usize) -> Result<Bytes, HomeError> {
        fill(&mut self.input, &mut self.rest).await?;
        Ok(self.rest.split_to(len.min(self.rest.len())))
    }

    /// The next `len` bytes.
    pub(super) async fn exactly(&mut self, len: usize) -> Result<Bytes, HomeError> {
        if self.rest.len() >= len {
            return Ok(self.rest.split_to(len));
        }
        let mut all = BytesMut::with_capacity(len);
        while all.len() < len {
            let part = self.at_most(len - all.len()).await?;
            all.extend_from_slice(&part);
        }
        Ok(all.freeze())
    }
}

async fn read_head(
    input: &mut BoxStream<'static, io::Result<Bytes>>,
    rest: &mut Bytes,
    begun: &mut Vec<u8>,
) -> Result<(u8, usize), HomeError> {
    loop {
        let len = (HEAD_LEN - begun.len()).min(rest.len());
        begun.extend_from_slice(&rest.split_to(len));
        if let Ok(head) = <[u8; HEAD_LEN]>::try_from(begun.as_slice()) {
            begun.clear();
            return parse_head(head).ok_or(HomeError::Ended);
        }
        fill(input, rest).await?;
    }
}

/// Waits until something has come.
async fn fill(
    input: &mut BoxStream<'static, io::Result<Bytes>>,
    rest: &mut Bytes,
) -> Result<(), HomeError> {
    while rest.is_empty() {
        match input.next().await {
            Some(Ok(bytes)) => *rest = bytes,
            Some(Err(_)) | None => return Err(HomeError::Ended),
        }
    }
    Ok(())
}
