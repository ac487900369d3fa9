//! Work for a client who may leave before it is done.
//!
//! Enter at [`Attended`]: reading and writing through it fail once nobody waits for the outcome.

use rustix::net::{RecvFlags, recv};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// Whether the client of this connection has closed its end.
pub(super) fn has_hung_up(client: &UnixStream) -> bool {
    let peeked = recv(client, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    matches!(peeked, Ok((_, 0)) | Err(rustix::io::Errno::CONNRESET))
}

/// A reader or writer that looks at the client before every call.
pub(super) struct Attended<'a, T> {
    client: &'a UnixStream,
    inner: T,
}

impl<'a, T> Attended<'a, T> {
    pub(super) fn new(client: &'a UnixStream, inner: T) -> Self {
        Self { client, inner }
    }

    fn go_on(&self) -> io::Result<()> {
        if has_hung_up(self.client) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "nobody waits for it any more"));
        }
        Ok(())
    }
}

impl<T: Read> Read for Attended<'_, T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.go_on()?;
        self.inner.read(buf)
    }
}

impl<T: Write> Write for Attended<'_, T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.go_on()?;
        self.inner.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_done_for_a_client_who_has_left() {
        let (theirs, ours) = UnixStream::pair().unwrap();
        let mut out = Attended::new(&ours, Vec::new());
        out.write_all(b"one").unwrap();
        drop(theirs);
        assert_eq!(out.write_all(b"two").unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(out.inner, b"one");
        let mut read = Attended::new(&ours, b"three".as_slice());
        assert!(read.read(&mut [0; 5]).is_err());
    }
}
