//! Heads: a request's written, an answer's read, and what follows an answer's (RFC 9112, 6.3).

use super::chunks::Chunks;
use super::{Remains, bad};
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Response, StatusCode, Version, request};
use httparse::{ParserConfig, Status};
use std::io;
use std::mem::MaybeUninit;

/// Most headers of an answer.
const MOST_HEADERS: usize = 128;

/// Writes a request's head; with `chunked`, says that chunks follow.
pub(super) fn write(head: &request::Parts, chunked: bool, out: &mut BytesMut) {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    out.reserve(path.len() + head.headers.len() * 64 + 64);
    for part in [head.method.as_str(), " ", path, " HTTP/1.1\r\n"] {
        out.put_slice(part.as_bytes());
    }
    for (name, value) in &head.headers {
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
    if chunked {
        out.put_slice(b"transfer-encoding: chunked\r\n");
    }
    out.put_slice(b"\r\n");
}

/// Reads an answer's head where it is all there. Folded lines, spaces before colons and the like are errors.
pub(super) fn read(input: &mut BytesMut) -> io::Result<Option<Response<()>>> {
    if input.is_empty() {
        return Ok(None);
    }
    let mut headers = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut parsed, input, &mut headers) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(bad("no head of HTTP/1.1")),
    };
    let mut answer = Response::new(());
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    *answer.status_mut() = status.ok_or_else(|| bad("no status"))?;
    *answer.version_mut() = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    // Offsets, so that the values can share the bytes that were read instead of being copied.
    let start = input.as_ptr() as usize;
    let places: Vec<(HeaderName, usize, usize)> = parsed
        .headers
        .iter()
        .map(|header| {
            let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| bad("a header's name"))?;
            Ok((name, header.value.as_ptr() as usize - start, header.value.len()))
        })
        .collect::<io::Result<_>>()?;
    let bytes = input.split_to(length).freeze();
    answer.headers_mut().reserve(places.len() + 4);
    for (name, at, length) in places {
        answer.headers_mut().append(name, value(bytes.slice(at..at + length))?);
    }
    Ok(Some(answer))
}

fn value(bytes: Bytes) -> io::Result<HeaderValue> {
    HeaderValue::from_maybe_shared(bytes).map_err(|_| bad("a header's value"))
}

/// What follows an answer's head, and whether the connection can be used again after it.
pub(super) fn remains(method: &Method, answer: &mut Response<()>) -> io::Result<(Remains, bool)> {
    let stays = answer.version() == Version::HTTP_11 && !says_close(answer.headers());
    let status = answer.status();
    if method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok((Remains::Nothing, stays));
    }
    if answer.headers().contains_key(TRANSFER_ENCODING) {
        let mut codings = answer.headers().get_all(TRANSFER_ENCODING).iter();
        let only = codings.next().filter(|_| codings.next().is_none());
        let is_chunked = only.is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
        if !is_chunked || answer.version() != Version::HTTP_11 {
            return Err(bad("a transfer coding other than chunked"));
        }
        // A length beside it is a lie to somebody; the chunks count, and nothing is read after them.
        let lied = answer.headers_mut().remove(CONTENT_LENGTH).is_some();
        return Ok((Remains::Chunks(Chunks::default()), stays && !lied));
    }
    match length(answer.headers())? {
        Some(0) => Ok((Remains::Nothing, stays)),
        Some(length) => Ok((Remains::Bytes(length), stays)),
        None => Ok((Remains::UntilEnd, false)),
    }
}

fn says_close(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case("close"))
}

/// The one length that is given; two that differ are an error.
fn length(headers: &HeaderMap) -> io::Result<Option<u64>> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        let this: u64 = digits.and_then(|text| text.parse().ok()).ok_or_else(|| bad("a length"))?;
        if length.is_some_and(|other| other != this) {
            return Err(bad("two lengths"));
        }
        length = Some(this);
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> io::Result<Option<Response<()>>> {
        read(&mut BytesMut::from(text))
    }

    fn follows(method: &Method, text: &str) -> String {
        let mut answer = answer(&format!("HTTP/1.1 {text}\r\n\r\n")).unwrap().unwrap();
        match remains(method, &mut answer) {
            Ok((remains, stays)) => format!("{remains:?} {stays}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_head_is_read_when_it_is_all_there() {
        let whole = "HTTP/1.1 200 OK\r\nServer: x\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\nbody";
        for cut in 0..whole.len() - 4 {
            assert!(answer(&whole[..cut]).unwrap().is_none(), "{cut}");
        }
        let mut input = BytesMut::from(whole);
        let head = read(&mut input).unwrap().unwrap();
        assert_eq!(input, "body");
        assert_eq!((head.status().as_u16(), head.headers()["server"].to_str().unwrap()), (200, "x"));
        let cookies: Vec<_> = head.headers().get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a", "b"]);
    }

    #[test]
    fn what_is_no_head_is_an_error() {
        for text in [
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: a\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx : a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n",
        ] {
            assert!(answer(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_follows_is_clear_or_an_error() {
        let get = |text: &str| follows(&Method::GET, text);
        assert_eq!(get("200 OK\r\ncontent-length: 5"), "Bytes(5) true");
        assert_eq!(get("200 OK\r\ncontent-length: 5\r\nconnection: Close"), "Bytes(5) false");
        assert_eq!(get("200 OK\r\ncontent-length: 5\r\ncontent-length: 5"), "Bytes(5) true");
        assert_eq!(get("200 OK\r\ncontent-length: 5\r\ncontent-length: 6"), "two lengths");
        assert_eq!(get("200 OK\r\ncontent-length: +5"), "a length");
        assert_eq!(get("200 OK\r\ncontent-length: "), "a length");
        assert_eq!(get("200 OK"), "UntilEnd false");
        assert_eq!(get("204 No Content\r\ncontent-length: 5"), "Nothing true");
        assert!(get("200 OK\r\ntransfer-encoding: chunked").ends_with(" true"));
        assert!(get("200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5").ends_with(" false"));
        assert_eq!(get("200 OK\r\ntransfer-encoding: gzip, chunked"), "a transfer coding other than chunked");
        assert_eq!(follows(&Method::HEAD, "200 OK\r\ncontent-length: 5"), "Nothing true");
    }
}
