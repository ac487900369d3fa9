//! A chunked body (RFC 9112, 7.1), piece by piece as it comes.

use super::{MOST_HEAD, bad};
use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use http_body::Frame;
use httparse::{EMPTY_HEADER, Status};
use std::io;

/// Most trailers.
const MOST_TRAILERS: usize = 64;

/// Where a chunked body stands.
#[derive(Debug, Default)]
pub(crate) enum Chunks {
    /// Before the line that begins a chunk.
    #[default]
    Size,
    /// In a chunk; so many bytes are left of it.
    Data(u64),
    /// Before the end of the line after a chunk's bytes.
    DataEnd,
    /// After the last chunk.
    Trailers,
    /// At its end.
    Done,
}

impl Chunks {
    /// Whether all of it was read.
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// The next piece, where enough is there.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> io::Result<Option<Frame<Bytes>>> {
        loop {
            match self {
                Self::Size => {
                    let Some(size) = size(input)? else { return Ok(None) };
                    *self = if size == 0 { Self::Trailers } else { Self::Data(size) };
                }
                Self::Data(left) => {
                    let count = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    if count == 0 {
                        return Ok(None);
                    }
                    *left -= count as u64;
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    return Ok(Some(Frame::data(input.split_to(count).freeze())));
                }
                Self::DataEnd => match input.as_ref() {
                    [b'\r', b'\n', ..] => {
                        input.advance(2);
                        *self = Self::Size;
                    }
                    [] | [b'\r'] => return Ok(None),
                    _ => return Err(bad("a chunk without an end")),
                },
                Self::Trailers => {
                    let Some(trailers) = trailers(input)? else { return Ok(None) };
                    *self = Self::Done;
                    return Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers)));
                }
                Self::Done => return Ok(None),
            }
        }
    }
}

/// The size of a chunk, from its line; extensions are left out.
fn size(input: &mut BytesMut) -> io::Result<Option<u64>> {
    match httparse::parse_chunk_size(input) {
        Ok(Status::Complete((length, size))) => {
            input.advance(length);
            Ok(Some(size))
        }
        Ok(Status::Partial) if input.len() > MOST_HEAD => Err(bad("a chunk's line too long")),
        Ok(Status::Partial) => Ok(None),
        Err(_) => Err(bad("a chunk's size")),
    }
}

fn trailers(input: &mut BytesMut) -> io::Result<Option<HeaderMap>> {
    let mut headers = [EMPTY_HEADER; MOST_TRAILERS];
    match httparse::parse_headers(input, &mut headers) {
        Ok(Status::Complete((length, headers))) => {
            let mut trailers = HeaderMap::new();
            for header in headers {
                let name = HeaderName::from_bytes(header.name.as_bytes());
                let value = HeaderValue::from_bytes(header.value);
                let (Ok(name), Ok(value)) = (name, value) else { return Err(bad("a trailer")) };
                trailers.append(name, value);
            }
            input.advance(length);
            Ok(Some(trailers))
        }
        Ok(Status::Partial) if input.len() > MOST_HEAD => Err(bad("trailers too long")),
        Ok(Status::Partial) => Ok(None),
        Err(_) => Err(bad("trailers")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data, the trailers and what is left, where the text comes in pieces of this size.
    fn read(text: &str, piece: usize) -> io::Result<(String, Vec<String>, bool)> {
        let (mut chunks, mut input) = (Chunks::default(), BytesMut::new());
        let (mut data, mut trailers) = (String::new(), Vec::new());
        for bytes in text.as_bytes().chunks(piece) {
            input.extend_from_slice(bytes);
            while let Some(frame) = chunks.next(&mut input)? {
                match frame.into_data() {
                    Ok(bytes) => data.push_str(std::str::from_utf8(&bytes).unwrap()),
                    Err(frame) => {
                        trailers.extend(frame.into_trailers().unwrap().keys().map(ToString::to_string));
                    }
                }
            }
        }
        Ok((data, trailers, chunks.is_done()))
    }

    #[test]
    fn chunks_are_read_however_they_come() {
        let text = "5\r\nhello\r\n1;ext=\"a\"\r\n \r\nA\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n";
        for piece in 1..=text.len() {
            let (data, trailers, done) = read(text, piece).unwrap();
            assert_eq!(
                (data.as_str(), trailers.as_slice(), done),
                ("hello 0123456789", &["x-sum".to_owned()][..], true)
            );
        }
        assert_eq!(read("0\r\n\r\n", 1).unwrap(), (String::new(), Vec::new(), true));
    }

    #[test]
    fn broken_chunks_are_errors() {
        for text in
            ["xyz\r\n", "-1\r\n", "5\r\nhelloX", "fffffffffffffffff\r\n", "5 5\r\n", "0\r\nno colon\r\n\r\n"]
        {
            assert!(read(text, text.len()).is_err(), "{text:?}");
            assert!(read(text, 1).is_err(), "{text:?}");
        }
    }
}
