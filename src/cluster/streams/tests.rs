//! Streams from a server of this process, by TLS, which tells each over which of its connections it goes.

use super::*;
use crate::Cluster;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::{AsyncBufRead, AsyncBufReadExt, StreamExt, stream};
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A server that speaks these protocols, in a kubeconfig whose user is known by a program.
struct Site {
    folder: tempfile::TempDir,
    kubeconfig: PathBuf,
}

impl Site {
    async fn start(protocols: &[&str]) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let mut tls = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key.into())
            .unwrap();
        tls.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(tls))));

        let folder = tempfile::tempdir().unwrap();
        let (program, runs) = (folder.path().join("who"), folder.path().join("runs"));
        let answer = r#"{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "x", "expirationTimestamp": "2999-01-01T00:00:00Z"}}"#;
        let script = format!("#!/bin/sh\necho run >>{}\necho '{answer}'\n", runs.display());
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\n\
             clusters: [{{name: a, cluster: {{server: 'https://{address}', certificate-authority-data: {authority}}}}}]\n\
             users: [{{name: a, user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, command: {program}, interactiveMode: Never}}}}}}]\n\
             contexts: [{{name: a, context: {{cluster: a, user: a}}}}]\ncurrent-context: a\n",
            authority = BASE64_STANDARD.encode(cert.pem()),
            program = program.display(),
        );
        std::fs::write(&kubeconfig, text).unwrap();
        Self { folder, kubeconfig }
    }

    async fn streams(&self) -> Streams {
        Cluster::connect(Some(&self.kubeconfig), "hythe").await.unwrap().streams
    }

    /// How often the program has run.
    fn runs(&self) -> usize {
        std::fs::read_to_string(self.folder.path().join("runs")).unwrap().lines().count()
    }
}

/// Serves each connection, by its number.
async fn accept(listener: TcpListener, tls: TlsAcceptor) {
    for number in 0_usize.. {
        let (connection, _) = listener.accept().await.unwrap();
        tokio::spawn(serve(connection, tls.clone(), number));
    }
}

/// Answers with the number and goes on for ever.
async fn serve(connection: TcpStream, tls: TlsAcceptor, number: usize) {
    let connection = tls.accept(connection).await.unwrap();
    let answer = service_fn(move |request: Request<hyper::body::Incoming>| async move {
        assert_eq!(request.headers()["authorization"], "Bearer x");
        let line = Frame::data(Bytes::from(format!("{number}\n")));
        let body = stream::iter([Ok::<_, Infallible>(line)]).chain(stream::pending());
        Ok::<_, Infallible>(Response::new(StreamBody::new(body)))
    });
    let server = auto::Builder::new(TokioExecutor::new());
    // However it ends: the client may go.
    let _ = server.serve_connection(TokioIo::new(connection), answer).await;
}

/// A stream that is open.
struct Open {
    /// The connection's number.
    connection: usize,
    _place: Place,
    _rest: Box<dyn AsyncBufRead + Unpin>,
}

async fn open(streams: &Streams) -> Open {
    let place = streams.place();
    let request = Request::get("/log").body(Vec::new()).unwrap();
    let mut rest = Box::new(Box::pin(place.client.request_stream(request).await.unwrap()));
    let mut line = String::new();
    rest.read_line(&mut line).await.unwrap();
    Open { connection: line.trim().parse().unwrap(), _place: place, _rest: rest }
}

/// Over which connections these go.
fn connections(open: &[Open]) -> Vec<usize> {
    let mut numbers: Vec<_> = open.iter().map(|open| open.connection).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_streams_as_there_is_room_for_share_a_connection() {
    let site = Site::start(&["h2", "http/1.1"]).await;
    let streams = site.streams().await;
    let runs = site.runs();
    let mut all = Vec::new();
    for _ in 0..EACH {
        all.push(open(&streams).await);
    }
    assert_eq!(connections(&all), [0]);
    let others = [open(&streams).await, open(&streams).await];
    assert_eq!(connections(&others), [1], "the next connection takes what the first has no room for");
    // A place is given back with its stream.
    drop(all.pop());
    assert_eq!(open(&streams).await.connection, 0);
    assert_eq!(site.runs(), runs, "no connection has the kubeconfig's program run again");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_http_2_each_stream_has_its_own_connection() {
    let site = Site::start(&["http/1.1"]).await;
    let streams = site.streams().await;
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(open(&streams).await);
    }
    assert_eq!(connections(&all), [0, 1, 2, 3]);
}
