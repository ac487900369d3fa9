//! Frames on a Unix socket, for blocking and non-blocking ends alike.
//!
//! [`Outgoing`] and [`Incoming`] make one step at a time and say `WouldBlock` where the socket does; [`send`] and
//! [`receive`] run them on a blocking socket.

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Most bytes of JSON and most further bytes in a frame, each.
pub const MAX_FRAME: usize = 16 << 20;
/// Most open files attached to a frame.
pub const MAX_FDS: usize = 4;

const HEADER: usize = 8;

/// One message.
#[derive(Debug, Default)]
pub struct Frame {
    /// A [`super::Request`] or [`super::Reply`].
    pub json: Vec<u8>,
    /// Content that needs no JSON.
    pub bytes: Vec<u8>,
    /// Attached open files.
    pub fds: Vec<OwnedFd>,
}

/// A frame on its way out.
#[derive(Debug)]
pub struct Outgoing {
    buffer: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

impl Outgoing {
    /// Prepares a frame; too large a one is an error.
    pub fn new(frame: Frame) -> io::Result<Self> {
        let length = |bytes: &[u8]| match u32::try_from(bytes.len()) {
            Ok(length) if bytes.len() <= MAX_FRAME => Ok(length),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "message too large")),
        };
        let mut buffer = Vec::with_capacity(HEADER + frame.json.len() + frame.bytes.len());
        buffer.extend_from_slice(&length(&frame.json)?.to_le_bytes());
        buffer.extend_from_slice(&length(&frame.bytes)?.to_le_bytes());
        buffer.extend_from_slice(&frame.json);
        buffer.extend_from_slice(&frame.bytes);
        Ok(Self { buffer, sent: 0, fds: frame.fds })
    }

    /// Sends what the socket takes; `Ok` when all is sent.
    pub fn step(&mut self, socket: impl AsFd) -> io::Result<()> {
        while self.sent < self.buffer.len() {
            let sent = if self.sent == 0 { self.first(&socket)? } else { self.rest(&socket)? };
            if sent == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.sent += sent;
        }
        Ok(())
    }

    fn first(&self, socket: &impl AsFd) -> io::Result<usize> {
        let fds: Vec<BorrowedFd<'_>> = self.fds.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many open files in a message"));
        }
        retry(|| sendmsg(socket, &[IoSlice::new(&self.buffer)], &mut ancillary, SendFlags::NOSIGNAL))
    }

    fn rest(&self, socket: &impl AsFd) -> io::Result<usize> {
        retry(|| rustix::net::send(socket, &self.buffer[self.sent..], SendFlags::NOSIGNAL))
    }
}

/// A frame on its way in.
#[derive(Debug, Default)]
pub struct Incoming {
    header: [u8; HEADER],
    body: Vec<u8>,
    read: usize,
    fds: Vec<OwnedFd>,
}

impl Incoming {
    /// Reads what is there; `None` is the orderly end between frames.
    pub fn step(&mut self, socket: impl AsFd) -> io::Result<Option<Frame>> {
        while self.read < HEADER {
            let (read, from) = (self.read, self.read);
            let got = take(&socket, &mut self.header[from..], &mut self.fds)?;
            if got == 0 {
                return if read == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            self.read += got;
        }
        let (json, bytes) = self.lengths()?;
        self.body.resize(json + bytes, 0);
        while self.read < HEADER + self.body.len() {
            let from = self.read - HEADER;
            let got = take(&socket, &mut self.body[from..], &mut self.fds)?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.read += got;
        }
        let bytes = self.body.split_off(json);
        let done = std::mem::take(self);
        Ok(Some(Frame { json: done.body, bytes, fds: done.fds }))
    }

    fn lengths(&self) -> io::Result<(usize, usize)> {
        let length = |at: usize| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(&self.header[at..at + 4]);
            u32::from_le_bytes(bytes) as usize
        };
        let (json, bytes) = (length(0), length(4));
        if json > MAX_FRAME || bytes > MAX_FRAME {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "message too large"));
        }
        Ok((json, bytes))
    }
}

/// Receives some bytes and the open files attached to them.
pub(crate) fn take(socket: &impl AsFd, into: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let message =
        retry(|| recvmsg(socket, &mut [IoSliceMut::new(into)], &mut ancillary, RecvFlags::CMSG_CLOEXEC))?;
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            fds.extend(received);
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) || fds.len() > MAX_FDS {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too many open files in a message"));
    }
    Ok(message.bytes)
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

/// Sends a frame on a blocking socket.
pub fn send(socket: impl AsFd, frame: Frame) -> io::Result<()> {
    Outgoing::new(frame)?.step(socket)
}

/// Receives a frame from a blocking socket; `None` is the orderly end.
pub fn receive(socket: impl AsFd) -> io::Result<Option<Frame>> {
    Incoming::default().step(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn frames_carry_bytes_and_files() {
        let (a, b) = UnixStream::pair().unwrap();
        let mut file =
            std::fs::File::from(rustix::fs::memfd_create("t", rustix::fs::MemfdFlags::empty()).unwrap());
        file.write_all(b"inside").unwrap();
        let sender = std::thread::spawn(move || {
            let frame = Frame { json: b"{}".to_vec(), bytes: vec![7; 3 << 20], fds: vec![file.into()] };
            send(&a, frame).unwrap();
            send(&a, Frame { json: b"[]".to_vec(), ..Frame::default() }).unwrap();
        });
        let first = receive(&b).unwrap().unwrap();
        assert_eq!(
            (first.json.as_slice(), first.bytes.len(), first.fds.len()),
            (b"{}".as_slice(), 3 << 20, 1)
        );
        let mut received = std::fs::File::from(first.fds.into_iter().next().unwrap());
        let mut text = String::new();
        received.rewind().unwrap();
        received.read_to_string(&mut text).unwrap();
        assert_eq!(text, "inside");
        assert_eq!(receive(&b).unwrap().unwrap().json, b"[]");
        sender.join().unwrap();
        assert!(receive(&b).unwrap().is_none());
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_anything_is_allocated() {
        let (mut a, b) = UnixStream::pair().unwrap();
        a.write_all(&[0xff; 8]).unwrap();
        assert_eq!(receive(&b).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let frame = Frame { json: vec![0; MAX_FRAME + 1], ..Frame::default() };
        assert!(Outgoing::new(frame).is_err());
    }
}
