//! Logging in, and what is kept of it.

use crate::objects::whoami;
use crate::stage::{Seen, Stage, answer, finish, serve};
use insta::assert_snapshot;
use serde_json::json;
use std::collections::VecDeque;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

#[test]
fn login_tries_the_token_and_keeps_it_to_its_owner() {
    let stage =
        Stage::new([("GET /api/v1/whoami", answer(&whoami())), ("GET /api/v1/whoami", answer(&whoami()))]);
    let ran = finish(&mut stage.bare(&["login", &stage.url, "--token", "-"]), "hythe_abc\n");
    assert_eq!(ran.shown(), format!("Logged in to {}/ as robin.\n", stage.url));
    let mode = std::fs::metadata(stage.settings()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_snapshot!(finish(&mut stage.bare(&["whoami"]), "").shown());
    assert!(stage.seen().iter().all(|seen| seen.token.as_deref() == Some("hythe_abc")));
}

#[test]
fn a_wrong_token_is_not_kept() {
    let refused = answer(&json!({ "id": "api/unauthorized", "what": "The token is wrong." })).status(401);
    let stage = Stage::new([("GET /api/v1/whoami", refused)]);
    let ran = finish(&mut stage.bare(&["login", &stage.url, "--token", "hythe_abc"]), "");
    assert_eq!(ran.code, 5);
    assert!(!stage.settings().exists());
}

#[test]
fn a_saved_token_is_not_sent_to_another_server() {
    let stage = Stage::new([("GET /api/v1/whoami", answer(&whoami()))]);
    assert_eq!(finish(&mut stage.bare(&["login", &stage.url, "--token", "hythe_abc"]), "").code, 0);
    let other = Stage::new([]);
    let ran = finish(stage.bare(&["whoami"]).env("HYTHE_URL", &other.url), "");
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(other.seen().is_empty());
}

#[test]
fn a_proxy_is_for_other_machines() {
    let (stage, proxy) = (Stage::new([("GET /api/v1/whoami", answer(&whoami()))]), Stage::new([]));
    let mut command = stage.command(&["whoami"]);
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        command.env(name, &proxy.url);
    }
    assert_eq!(finish(&mut command, "").code, 0);
    assert!(proxy.seen().is_empty(), "the proxy saw {:?}", proxy.seen());
}

#[test]
fn nobody_logged_in_and_tokens_in_the_clear() {
    let stage = Stage::new([]);
    let said = [
        finish(&mut stage.bare(&["tools", "list"]), ""),
        finish(&mut stage.bare(&["login", "http://hythe.example.org", "--token", "x"]), ""),
        finish(&mut stage.bare(&["login", "hythe.example.org", "--token", "x"]), ""),
        finish(&mut stage.bare(&["login", "https://hythe.example.org", "--token", "-"]), "\n"),
    ];
    assert_snapshot!(said.iter().map(crate::stage::Ran::shown).collect::<String>());
}

#[test]
fn a_settings_file_that_cannot_be_read_does_not_show_the_token() {
    let stage = Stage::new([]);
    std::fs::create_dir_all(stage.settings().parent().unwrap()).unwrap();
    std::fs::write(stage.settings(), "url = \"https://a.example\"\ntoken = \"hythe_abc\" x\n").unwrap();
    let ran = finish(&mut stage.bare(&["tools", "list"]), "");
    assert_eq!(ran.code, 1);
    assert!(!ran.err.contains("hythe_abc"), "{}", ran.err);
}

/// A server with a certificate of a CA that no machine knows.
#[test]
fn a_private_ca_is_trusted_once_it_was_named() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let cert = server.signed_by(&key, &issuer).unwrap();
    let secret = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![cert.der().clone()], secret).unwrap());

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let twice = [
        ("GET /api/v1/whoami".to_owned(), answer(&whoami())),
        ("GET /api/v1/whoami".to_owned(), answer(&whoami())),
    ];
    let answers = Arc::new(Mutex::new(VecDeque::from(twice)));
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let heard = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            serve(rustls::StreamOwned::new(connection, stream), &answers, &heard);
        }
    });

    let stage = Stage::new([]);
    let stranger = finish(&mut stage.bare(&["login", &url, "--token", "hythe_abc"]), "");
    assert_eq!(stranger.code, 4, "{stranger:?}");
    assert!(
        stranger.err.contains("[client/certificate]") && stranger.err.contains("--ca"),
        "{}",
        stranger.err
    );
    let file = stage.home.path().join("ca.pem");
    std::fs::write(&file, ca_cert.pem()).unwrap();
    let login =
        finish(&mut stage.bare(&["login", &url, "--token", "hythe_abc", "--ca", file.to_str().unwrap()]), "");
    assert_eq!(login.code, 0, "{login:?}");
    // The file itself is no longer needed.
    std::fs::remove_file(&file).unwrap();
    assert_eq!(finish(&mut stage.bare(&["whoami"]), "").code, 0);
    assert_eq!(seen.lock().unwrap().len(), 2);
}
