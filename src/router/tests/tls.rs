//! TLS, and HTTP/2 over it.

use crate::support::{settings, text, tool, world_with};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A server's side of TLS, and its certificate.
pub(crate) fn server_config() -> (Arc<rustls::ServerConfig>, CertificateDer<'static>) {
    let own = rcgen::generate_simple_self_signed(["weather.localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let server = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    let certificate = own.cert.der().clone();
    let mut server = server.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (Arc::new(server), certificate)
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_over_tls() {
    let (server, certificate) = server_config();
    let world = world_with(settings(), Some(server)).await;
    let address =
        tool(|request| async move { text(request.headers()["x-forwarded-proto"].to_str().unwrap()) });
    world.live("weather", 1, &[address.await]);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    for alpn in ["h2", "http/1.1"] {
        let client =
            rustls::ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let mut client = client.unwrap().with_root_certificates(roots.clone()).with_no_client_auth();
        client.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let stream = TcpStream::connect(world.address).await.unwrap();
        let name = ServerName::try_from("weather.localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await.unwrap();
        let answer = if alpn == "h2" {
            let io = TokioIo::new(stream);
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            let request = Request::get("https://weather.localhost/").body(Empty::<Bytes>::new()).unwrap();
            sender.send_request(request).await.unwrap()
        } else {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let request =
                Request::get("/").header("host", "weather.localhost").body(Empty::<Bytes>::new()).unwrap();
            sender.send_request(request).await.unwrap()
        };
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "https", "{alpn}");
    }
}
