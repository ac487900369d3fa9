//! Is it ready: a connection, or one HTTP request.

use crate::settings::Readiness;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest status line that is read.
const STATUS_LINE: usize = 1024;

/// Looks once at what this connects to. The error says what was seen instead of readiness.
pub(crate) async fn probe<S>(
    connecting: impl Future<Output = io::Result<S>>,
    readiness: &Readiness,
    host: &str,
) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connected = timeout(PATIENCE, connecting).await;
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Err("connection refused".to_owned());
        }
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no connection within {} s", PATIENCE.as_secs())),
    };
    match readiness {
        Readiness::Tcp => Ok(()),
        Readiness::Http { path } => http(stream, host, path).await,
    }
}

/// Asks for a path over a fresh connection. The error says what was seen instead of a status of 200 to 399.
async fn http<S>(stream: S, host: &str, path: &str) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let seen = |what: String| format!("GET {path} {what}");
    match timeout(PATIENCE, status(stream, host, path)).await {
        Ok(Ok(200..=399)) => Ok(()),
        Ok(Ok(status)) => Err(seen(format!("answered {status}"))),
        Ok(Err(error)) => Err(seen(error)),
        Err(_) => Err(seen(format!("was not answered within {} s", PATIENCE.as_secs()))),
    }
}

async fn status<S>(mut stream: S, host: &str, path: &str) -> Result<u16, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: hythe-readiness\r\naccept: */*\r\nconnection: close\r\n\r\n"
    );
    let broke = |error: io::Error| format!("was not answered: {error}");
    stream.write_all(request.as_bytes()).await.map_err(broke)?;
    let mut line = Vec::new();
    while !line.contains(&b'\n') && line.len() < STATUS_LINE {
        if stream.read_buf(&mut line).await.map_err(broke)? == 0 {
            break;
        }
    }
    let text = String::from_utf8_lossy(&line);
    let mut words = text.split_ascii_whitespace();
    match (words.next(), words.next().map(str::parse)) {
        (Some(version), Some(Ok(status))) if version.starts_with("HTTP/1.") => Ok(status),
        (None, _) => Err("was not answered: the connection was closed".to_owned()),
        _ => Err("was not answered by HTTP".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(answer: &'static str) -> Result<(), String> {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        tokio::spawn(async move {
            let mut request = vec![0; 4096];
            let count = theirs.read(&mut request).await.unwrap();
            assert!(request[..count].starts_with(b"GET /up HTTP/1.1\r\nhost: weather\r\n"));
            theirs.write_all(answer.as_bytes()).await.unwrap();
        });
        http(ours, "weather", "/up").await
    }

    #[tokio::test]
    async fn statuses_below_400_are_well() {
        assert_eq!(asked("HTTP/1.1 204 No Content\r\n\r\n").await, Ok(()));
        assert_eq!(asked("HTTP/1.0 302 Found\r\n").await, Ok(()));
        assert_eq!(asked("HTTP/1.1 503 No\r\n\r\n").await, Err("GET /up answered 503".to_owned()));
        assert_eq!(asked("SSH-2.0-x\r\n").await, Err("GET /up was not answered by HTTP".to_owned()));
        assert_eq!(asked("").await, Err("GET /up was not answered: the connection was closed".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_well_where_no_path_is_asked_for() {
        let (ours, _theirs) = tokio::io::duplex(16);
        assert_eq!(probe(async { Ok(ours) }, &Readiness::Tcp, "weather").await, Ok(()));
        let refused = async { Err::<tokio::io::DuplexStream, _>(io::ErrorKind::ConnectionRefused.into()) };
        assert_eq!(probe(refused, &Readiness::Tcp, "weather").await.unwrap_err(), "connection refused");
        let never = std::future::pending::<io::Result<tokio::io::DuplexStream>>();
        assert_eq!(probe(never, &Readiness::Tcp, "weather").await.unwrap_err(), "no connection within 5 s");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_not() {
        let (ours, _theirs) = tokio::io::duplex(4096);
        let error = http(ours, "weather", "/up").await.unwrap_err();
        assert_eq!(error, "GET /up was not answered within 5 s");
    }
}
