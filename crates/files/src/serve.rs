//! The program: one request after the other, until nobody asks any more.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;

use crate::archive;
use crate::disk_use;
use crate::home::{Found, Home, modified, page, version};
use crate::protocol::{
    Answer, DATA, END, Entry, FRAME_MAX, HEAD_LEN, HELLO, Mark, Request, head, read_frame,
    write_frame,
};

/// How much of a file goes into one frame: much, because each costs its reader a turn; and not so
/// much that it is not in the processor's cache any more when it is written.
const PART_LEN: usize = 128 * 1024;

/// Answers what comes from `input` until it ends.
///
/// # Errors
/// Whoever asks does not listen any more, or says what nobody does. An upload that was going on
/// leaves nothing.
pub fn serve(home: &Home, input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut input = BufReader::with_capacity(PART_LEN + HEAD_LEN, input);
    let mut body = Vec::new();
    // What the request before this one opened.
    let mut opened = None;
    write_frame(&mut output, HELLO, &[])?;
    while let Some(kind) = read_frame(&mut input, &mut body)? {
        let request = Request::parse(kind, &body)
            .ok_or_else(|| io::Error::other("a frame is not a request"))?;
        match request {
            Request::Ping => Answer::Done.write(&mut output)?,
            Request::Open(path) => {
                opened = open(home, &path, &mut output)?;
                continue;
            }
            Request::Read { offset, len } => match opened {
                Some(Found::File(file, _)) => send_file(&file, offset, len, &mut output)?,
                _ => return Err(io::Error::other("no file is open")),
            },
            Request::List { after, limit } => match opened {
                Some(Found::Directory(directory)) => {
                    let (entries, last) = page(&directory, after.as_ref(), limit as usize)
                        .map_err(io::Error::other)?;
                    send_entries(&entries, last.as_ref(), &mut output)?;
                }
                _ => return Err(io::Error::other("no directory is open")),
            },
            Request::Archive(path) => match home.find(&path) {
                Ok(found) => send_archive(found, &path, &mut output)?,
                Err(failure) => Answer::Failed(failure).write(&mut output)?,
            },
            Request::Write {
                path,
                size,
                modified,
                expected,
            } => {
                let mut upload = match home.upload(&path, size) {
                    Ok(upload) => upload,
                    Err(failure) => {
                        Answer::Failed(failure).write(&mut output)?;
                        opened = None;
                        continue;
                    }
                };
                Answer::Ready.write(&mut output)?;
                let outcome = loop {
                    match read_frame(&mut input, &mut body)? {
                        Some(DATA) => {
                            if let Err(failure) = upload.write(&body) {
                                drop(upload);
                                return refuse_rest(input, output, Answer::Failed(failure));
                            }
                        }
                        Some(END) => break upload.finish(modified, expected),
                        Some(_) | None => return Err(io::ErrorKind::UnexpectedEof.into()),
                    }
                };
                outcome.unwrap_or_else(Answer::Failed).write(&mut output)?;
            }
            Request::MakeDirectory { path, expected } => home
                .make_directory(&path, expected)
                .unwrap_or_else(Answer::Failed)
                .write(&mut output)?,
            Request::Measure => disk_use::of_home(home)
                .map_or_else(Answer::Failed, Answer::DiskUse)
                .write(&mut output)?,
            Request::Remove { path, expected } => home
                .remove(&path, expected)
                .map_or_else(Answer::Failed, |()| Answer::Done)
                .write(&mut output)?,
        }
        opened = None;
    }
    Ok(())
}

/// Says at once why an upload cannot go on. What is on its way is read all the same, so that
/// whoever sends it gets to read the answer.
fn refuse_rest(mut input: impl Read, mut output: impl Write, answer: Answer) -> io::Result<()> {
    answer.write(&mut output)?;
    io::copy(&mut input, &mut io::sink()).map(drop)
}

/// Says what is at a path.
fn open(home: &Home, path: &[u8], output: &mut impl Write) -> io::Result<Option<Found>> {
    let opened = home.find(path).and_then(|found| {
        let answer = match &found {
            Found::File(_, stat) => Answer::File {
                size: u64::try_from(stat.st_size).unwrap_or_default(),
                modified: modified(stat),
                version: version(stat),
            },
            Found::Directory(_) => Answer::Directory { free: home.free()? },
        };
        Ok((answer, found))
    });
    match opened {
        Ok((answer, found)) => answer.write(output).map(|()| Some(found)),
        Err(failure) => Answer::Failed(failure).write(output).map(|()| None),
    }
}

/// Sends as many bytes as are wanted. A file that has become shorter meanwhile ends the program,
/// which is how whoever reads learns that it does not have all.
fn send_file(file: &File, offset: u64, len: u64, output: &mut impl Write) -> io::Result<()> {
    let mut frame = vec![0; HEAD_LEN + PART_LEN];
    let (mut at, mut left) = (offset, len);
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(PART_LEN).min(PART_LEN);
        let len = file.read_at(&mut frame[HEAD_LEN..HEAD_LEN + wanted], at)?;
        if len == 0 {
            return Err(io::Error::other(
                "the file became shorter while it was read",
            ));
        }
        frame[..HEAD_LEN].copy_from_slice(&head(DATA, len));
        // One write: a head by itself would cost its reader a turn.
        output.write_all(&frame[..HEAD_LEN + len])?;
        left -= len as u64;
        at += len as u64;
    }
    write_frame(output, END, &[])
}

fn send_entries(entries: &[Entry], last: Option<&Mark>, output: &mut impl Write) -> io::Result<()> {
    let mut body = Vec::with_capacity(FRAME_MAX.min(entries.len() * Entry::LEN_MAX));
    for entry in entries {
        if body.len() + Entry::LEN_MAX > FRAME_MAX {
            write_frame(output, DATA, &body)?;
            body.clear();
        }
        entry.write(&mut body);
    }
    if !body.is_empty() {
        write_frame(output, DATA, &body)?;
        body.clear();
    }
    if let Some(last) = last {
        last.write(&mut body);
    }
    write_frame(output, END, &body)
}

fn send_archive(found: Found, path: &[u8], output: &mut impl Write) -> io::Result<()> {
    Answer::Archive.write(output)?;
    let mut parts = Frames {
        body: Vec::with_capacity(PART_LEN),
        output,
    };
    archive::write(found, path, &mut parts)?;
    parts.flush()?;
    write_frame(parts.output, END, &[])
}

/// What is written becomes frames.
struct Frames<W> {
    body: Vec<u8>,
    output: W,
}

impl<W: Write> Write for Frames<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(PART_LEN - self.body.len());
        self.body.extend_from_slice(&bytes[..len]);
        if self.body.len() == PART_LEN {
            self.flush()?;
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.body.is_empty() {
            write_frame(&mut self.output, DATA, &self.body)?;
            self.body.clear();
        }
        Ok(())
    }
}
