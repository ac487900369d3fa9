//! Taking connections in: what a listener hands down to each, and which failures of it pass.

use rustix::io::Errno;
use rustix::net::sockopt;
use std::io;
use std::time::Duration;
use tokio::net::TcpListener;

/// How long a connection is silent before its peer is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_mins(1);
/// How often it is asked then, and so many times without an answer end the connection.
const PROBES: (Duration, u32) = (Duration::from_secs(10), 6);

/// Has the kernel find out which peers have vanished, for every connection that is accepted from now on: Linux hands
/// these options down from the listener, which costs a connection nothing. A peer to which something was sent has at
/// least `stall` to take it.
pub(crate) fn keep_alive(listener: &TcpListener, stall: Duration) -> io::Result<()> {
    let (interval, count) = PROBES;
    let patience = stall.max(KEEP_ALIVE + interval * count);
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, KEEP_ALIVE)?;
    sockopt::set_tcp_keepintvl(listener, interval)?;
    sockopt::set_tcp_keepcnt(listener, count)?;
    sockopt::set_tcp_user_timeout(listener, u32::try_from(patience.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}

/// What a failure to accept says of those that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// One connection was lost before it was taken; the next may be had at once.
    OfOne,
    /// Descriptors or memory are short: what ends meanwhile makes room.
    Shortage,
    /// The listener itself is of no use any more.
    OfListener,
}

impl Failure {
    /// By `accept(2)`, which passes on what the network did to a connection that waited.
    pub(crate) fn of(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Self::Shortage,
            Some(
                Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::INTR
                | Errno::TIMEDOUT
                | Errno::PERM
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NONET,
            ) => Self::OfOne,
            _ => Self::OfListener,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_broken_listener_is_given_up() {
        let of = |errno: Errno| Failure::of(&io::Error::from(errno));
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert_eq!(of(errno), Failure::Shortage, "{errno}");
        }
        for errno in [Errno::CONNABORTED, Errno::CONNRESET, Errno::INTR, Errno::PERM, Errno::NETDOWN] {
            assert_eq!(of(errno), Failure::OfOne, "{errno}");
        }
        for errno in [Errno::BADF, Errno::INVAL, Errno::NOTSOCK] {
            assert_eq!(of(errno), Failure::OfListener, "{errno}");
        }
    }
}
