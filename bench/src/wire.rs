//! HTTP/1.1 on a kept-alive connection, as much of it as measuring needs: both the load and the receiver of deliveries
//! share the processors with what they measure, and so have to cost little.
//!
//! Bodies have a `content-length`; anything else is an error, not a wrong figure.

use std::{io, ops::Range};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// No message that is measured with is longer.
const MOST_BYTES: usize = 16 << 20;

pub(crate) struct Wire {
    stream: TcpStream,
    /// The message that was read last, and what came after it.
    buffer: Vec<u8>,
    used: usize,
}

/// A request or an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// Its first line, without the line's end.
    pub(crate) start: &'a str,
    pub(crate) body: &'a [u8],
}

impl Message<'_> {
    /// An answer's status.
    pub(crate) fn status(&self) -> Option<u16> {
        self.start.split(' ').nth(1)?.parse().ok()
    }

    /// A request's path.
    pub(crate) fn path(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }
}

/// Where the parts of a whole message lie.
struct Parts {
    start: Range<usize>,
    body: Range<usize>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(4096),
            used: 0,
        })
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next message; None if the connection has ended.
    pub(crate) async fn read(&mut self) -> io::Result<Option<Message<'_>>> {
        self.buffer.drain(..self.used);
        self.used = 0;
        loop {
            if let Some(parts) = parts(&self.buffer)? {
                self.used = parts.body.end;
                return Ok(Some(Message {
                    start: text(&self.buffer[parts.start])?,
                    body: &self.buffer[parts.body],
                }));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(invalid("the connection ended in the middle of a message"))
                };
            }
        }
    }

    /// Waits until the other side has gone.
    pub(crate) async fn ended(&mut self) -> io::Result<()> {
        while self.stream.read_buf(&mut self.buffer).await? > 0 {}
        Ok(())
    }
}

/// Finds the first message. None if it has not arrived whole.
fn parts(bytes: &[u8]) -> io::Result<Option<Parts>> {
    let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let mut lines = text(&bytes[..head])?.split("\r\n");
    let start = lines.next().unwrap_or_default().len();
    let mut length = 0;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            let told = value.trim().parse().ok();
            length = told
                .filter(|length| *length <= MOST_BYTES)
                .ok_or_else(|| invalid("a content-length that is no such number"))?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(invalid("a body without a content-length"));
        }
    }
    let body = head + 4..head + 4 + length;
    Ok((body.end <= bytes.len()).then_some(Parts {
        start: 0..start,
        body,
    }))
}

fn text(bytes: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| invalid("a head that is no text"))
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8]) -> Option<(&str, &[u8], usize)> {
        let parts = parts(bytes).unwrap()?;
        let start = text(&bytes[parts.start]).unwrap();
        Some((start, &bytes[parts.body.clone()], parts.body.end))
    }

    #[test]
    fn a_message_is_found_once_it_is_whole_and_what_follows_is_left() {
        let whole = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 2\r\n\r\nokHTTP/1.1";
        let (first, end) = ("HTTP/1.1 200 OK", whole.len() - 8);
        for cut in 0..end {
            assert_eq!(found(&whole[..cut]), None);
        }
        assert_eq!(found(whole), Some((first, &b"ok"[..], end)));
        assert_eq!(
            found(b"HTTP/1.1 204 No Content\r\n\r\n").map(|(.., end)| end),
            Some(27)
        );
    }

    #[test]
    fn what_cannot_be_measured_is_an_error() {
        for header in [
            "transfer-encoding: chunked",
            "content-length: -1",
            "content-length: 99999999999",
        ] {
            let head = format!("HTTP/1.1 200 OK\r\n{header}\r\n\r\n");
            assert!(parts(head.as_bytes()).is_err(), "{header}");
        }
    }
}
