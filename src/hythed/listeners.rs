//! Listening sockets that outlive the server.
//!
//! The helper keeps a duplicate of every listener, so that the kernel queues connections while one server stops and the
//! next starts: a restart drops none. Where there is no helper, as in a cluster, a restart refuses some for a moment.

use anyhow::{Context, Result};
use hythe_sandbox::Helper;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use tokio::net::TcpListener;

/// The listener of a front: the one that was kept, where it listens at the address that is wanted; a new one otherwise.
pub(crate) async fn listener(
    helper: Option<&Helper>,
    front: &str,
    wanted: SocketAddr,
) -> Result<TcpListener> {
    let Some(helper) = helper else { return bind(front, wanted).await };
    if let Some(kept) = kept(helper, front).await?
        && fits(kept.local_addr()?, wanted)
    {
        return Ok(TcpListener::from_std(kept)?);
    }
    helper.drop_fd(front).await?;
    let duplicate = bind(front, wanted).await?.into_std()?;
    helper.put_fd(front, OwnedFd::from(duplicate.try_clone()?)).await?;
    Ok(TcpListener::from_std(duplicate)?)
}

async fn bind(front: &str, wanted: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(wanted).await.with_context(|| {
        format!("the {front} front cannot listen at {wanted}: another program does, or the address is not this machine's")
    })
}

async fn kept(helper: &Helper, front: &str) -> Result<Option<std::net::TcpListener>> {
    let Some(fd) = helper.take_fd(front).await? else { return Ok(None) };
    let listener = std::net::TcpListener::from(fd);
    listener.set_nonblocking(true)?;
    Ok(Some(listener))
}

/// Port 0 asks for any port, and so for the one that was given before.
fn fits(kept: SocketAddr, wanted: SocketAddr) -> bool {
    kept.ip() == wanted.ip() && (wanted.port() == 0 || kept.port() == wanted.port())
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_kept_listener_serves_while_the_address_is_the_same() {
        let address = |text: &str| text.parse().unwrap();
        assert!(fits(address("127.0.0.1:8080"), address("127.0.0.1:8080")));
        assert!(fits(address("127.0.0.1:41234"), address("127.0.0.1:0")));
        assert!(!fits(address("127.0.0.1:8080"), address("127.0.0.1:8081")));
        assert!(!fits(address("127.0.0.1:8080"), address("0.0.0.0:8080")));
    }
}
